"""Every key of `retry`, and those of loops that say when: what `flujoctl run` makes of them, as its events tell."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Ended, Flujoctl


def run(folder: Path, flujoctl: Flujoctl, step: str) -> Ended:
    """Run a workflow of one step, `a`."""
    (folder / "flow.yaml").write_text(f"name: flow\nsteps:\n  - {{name: a, {step}}}\n")
    return flujoctl("run", "flow.yaml", "--id", "r", "--workspace", ".")


def events_of(flujoctl: Flujoctl, type: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    lines = flujoctl("events", "r", "-o", "jsonl").out.splitlines()
    return [event for line in lines if (event := json.loads(line))["type"] == type]


def delays(flujoctl: Flujoctl) -> list[int]:
    """How many milliseconds each failed attempt has put off the next one."""
    found = events_of(flujoctl, "attempt_failed")
    pairs = [(datetime.fromisoformat(event["at"]), datetime.fromisoformat(event["next_attempt_at"])) for event in found]
    return [round((due - at).total_seconds() * 1000) for at, due in pairs]


FAILS = "task: shell, inputs: {command: 'echo x >> n; exit 3'}"


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ("max_attempts: 4, delay: 20ms, jitter: 0", [20, 40, 80]),
        ("max_attempts: 4, delay: 20ms, backoff: 3, jitter: 0", [20, 60, 180]),
        ("max_attempts: 4, delay: 20ms, backoff: 1, jitter: 0", [20, 20, 20]),
        ("max_attempts: 4, delay: 20ms, max_delay: 30ms, jitter: 0", [20, 30, 30]),
        ("max_attempts: 2, delay: 20ms, jitter: 0, on_error: [OSError, ShellError]", [20]),
        ("max_attempts: 3, delay: 20ms, jitter: 0, on_error: [OSError]", []),
        ("max_attempts: 3, delay: 20ms, jitter: 0, give_up_on: [ShellError]", []),
        ("max_attempts: 3, delay: 20ms, jitter: 0, on_error: [Exception], give_up_on: [ExitCode3]", []),
        ("max_attempts: 2, delay: 20ms, jitter: 0, give_up_on: [ExitCode4]", [20]),
    ],
)
def test_the_next_attempt_comes_when_the_keys_of_retry_say(
    folder: Path, flujoctl: Flujoctl, retry: str, expected: list[int]
) -> None:
    """And the step fails when they allow no other."""
    ended = run(folder, flujoctl, f"{FAILS}, retry: {{{retry}}}")

    assert ended.code == 1
    assert delays(flujoctl) == expected
    assert len((folder / "n").read_text().splitlines()) == len(expected) + 1


def test_jitter_spreads_the_delays(folder: Path, flujoctl: Flujoctl) -> None:
    """By that part of them at most, and not always by the same."""
    run(folder, flujoctl, f"{FAILS}, retry: {{max_attempts: 6, delay: 40ms, backoff: 1, jitter: 0.5}}")

    found = delays(flujoctl)
    assert all(20 <= each <= 60 for each in found)
    assert len(set(found)) > 1


def test_nothing_is_tried_again_once_the_time_is_over(folder: Path, flujoctl: Flujoctl) -> None:
    """However many attempts there might be: the second delay, of five minutes, would lead beyond."""
    rule = "max_attempts: 1000, delay: 20ms, backoff: 15000, jitter: 0, max_elapsed: 2m"
    ended = run(folder, flujoctl, f"{FAILS}, retry: {{{rule}}}")

    assert ended.code == 1
    assert delays(flujoctl) == [20]


def test_chunks_come_one_after_the_other(folder: Path, flujoctl: Flujoctl) -> None:
    """Whatever `max_workers` says; and a failure in one lets none of the next begin."""
    loop = "for_each: {items: [1, 2, 3, 4, 5], chunk_size: 2, max_workers: 5}"
    command = "echo b{{ batch.chunk_index }} >> n; test {{ item }} != 3 && echo e{{ batch.chunk_index }} >> n"

    ended = run(folder, flujoctl, f"task: shell, {loop}, inputs: {{command: '{command}'}}")

    assert ended.code == 1
    assert sorted((folder / "n").read_text().split()[:4]) == ["b0", "b0", "e0", "e0"]
    assert sorted((folder / "n").read_text().split()[4:]) == ["b1", "b1", "e1"]


@pytest.mark.parametrize(
    ("step", "reports"),
    [
        ("task: echo, for_each: [1, 2, 3], inputs: {message: x}", True),
        ("task: echo, for_each: [1, 2, 3], progress_interval: 1, inputs: {message: x}", True),
        ("task: echo, for_each: [1, 2, 3], progress_update: false, inputs: {message: x}", False),
        ("task: batch, progress_interval: 1, inputs: {items: [1, 2, 3], task: {task: noop}}", True),
        ("task: batch, params: {items: [1, 2, 3], task: {task: noop}, progress_interval: 5}", True),
        ("task: batch, params: {items: [1, 2, 3], task: {task: noop}, progress_update: false}", False),
    ],
)
def test_a_loop_reports_its_progress_as_it_is_told(folder: Path, flujoctl: Flujoctl, step: str, reports: bool) -> None:
    """The last report always says that all is done."""
    assert run(folder, flujoctl, step).code == 0

    found = [
        (event["done"], event["total"]) for event in events_of(flujoctl, "progress_reported") if event["step"] == "a"
    ]
    assert found[-1:] == [(3, 3)] * reports


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("retry: {max_attempts: 0}", "`max_attempts` must be at least 1, not 0"),
        ("retry: {backoff: 0.5}", "`backoff` must be at least 1"),
        ("retry: {jitter: 2}", "`jitter` must be"),
        ("retry: {delay: x}", '`delay`: "x" is not a duration; write 90, 90s'),
        ("retry: {max_delay: -1}", "`max_delay`: -1 is not a duration"),
        ("retry: {max_elapsed: []}", "`max_elapsed`: [] is not a duration"),
        ("retry: {on_error: 3}", "`on_error` must be a list of error names such as [ConnectionError]"),
        ("retry: {give_up_on: {}}", "`give_up_on` must be a list of error names such as [ConnectionError]"),
        ("retry: {attempts: 3}", "`retry` has no key `attempts`"),
        ("for_each: {items: [1], chunk_size: x}", "`chunk_size` must be"),
        ("for_each: [1], progress_interval: x", '`progress_interval`: "x" is not a duration'),
    ],
)
def test_what_a_key_cannot_be_is_refused_where_it_stands(
    folder: Path, flujoctl: Flujoctl, step: str, told: str
) -> None:
    """Before anything runs."""
    ended = run(folder, flujoctl, f"task: noop, {step}")

    assert ended.code == 2
    assert "flow.yaml:3:" in ended.err
    assert told in ended.err
