"""The task `notify` in each of its channels, run by `flujoctl run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from workflows.tasks.conftest import Runs
from workflows.tasks.local_server import LocalServer, Reply, serving


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as local:
        local.answer("/hook", Reply(200, b"ok"))
        yield local


def step(**inputs: Any) -> str:
    """The step `tell`."""
    return f"- {json.dumps({'name': 'tell', 'task': 'notify', 'inputs': inputs})}"


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ({"channel": "webhook", "url": "{}/hook"}, {"text": "done"}),
        ({"channel": "webhook", "url": "{}/hook", "payload": {"a": [1]}}, {"a": [1]}),
        ({"channel": "slack", "webhook_url": "{}/hook", "username": "bot"}, {"text": "done", "username": "bot"}),
        (
            {"channel": "slack", "webhook_url": "{}/hook", "color": "good"},
            {"attachments": [{"color": "good", "text": "done", "fallback": "done"}]},
        ),
    ],
)
def test_a_message_is_posted(inputs: dict[str, Any], sent: dict[str, Any], server: LocalServer, runs: Runs) -> None:
    """As the other side expects it."""
    placed = {name: value.format(server.url) if isinstance(value, str) else value for name, value in inputs.items()}

    result = runs.results(step(message="done", **placed))["tell"]

    assert result == {"channel": inputs["channel"], "status": "sent", "message": "done", "status_code": 200}
    assert json.loads(server.seen[0].body) == sent


def test_a_message_goes_to_a_file(runs: Runs) -> None:
    """One line of JSON each, or plain text; behind what is there unless that is to go."""
    runs.results("""
        - {name: one, task: notify, inputs: {channel: file, file: all.jsonl, message: Zoë}}
        - {name: two, task: notify, inputs: {channel: file, file: all.jsonl, message: b}}
        - {name: text, task: notify, inputs: {channel: file, file: last, message: a, format: text}}
        - {name: anew, task: notify, inputs: {channel: file, file: last, message: b, format: text, append: false}}
    """)

    lines = (runs.workspace / "all.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"message": text, "workflow": "flow", "run": "r"} for text in ("Zoë", "b")
    ]
    assert (runs.workspace / "last").read_text() == "b\n"


def test_a_message_goes_to_the_log(runs: Runs) -> None:
    """With its level, and to a file besides."""
    runs.results(step(channel="log", message="careful", level="warning", file="seen.log"))

    assert runs.log() == "tell.1| warning: careful\n"
    assert (runs.workspace / "seen.log").read_text() == "careful\n"


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"channel": "pigeon"}, '`channel` must be one of "webhook", "slack", "log", "file", not "pigeon"'),
        ({"channel": "log", "url": "http://a/"}, "`url` is for the channel webhook"),
        ({"channel": "webhook", "url": "http://x", "file": "a"}, "`file` is for the channel log or file"),
        ({"channel": "slack"}, "flow.yaml:3:30: task `notify`: `webhook_url` is needed for the channel slack"),
        ({"channel": "webhook"}, "flow.yaml:3:30: task `notify`: `url` is needed for the channel webhook"),
        ({"channel": "file"}, "flow.yaml:3:30: task `notify`: `file` is needed for the channel file"),
        ({"channel": "slack", "url": "http://a"}, "`url` is for the channel webhook; for slack write `webhook_url`"),
        ({"channel": "slack", "webhook_url": "hooks/x"}, "`webhook_url` must begin with http:// or https:// and name"),
        ({"message": "x"}, "task `notify` needs the input `channel`"),
    ],
)
def test_what_no_channel_takes_is_refused_before_anything_runs(inputs: dict[str, Any], told: str, runs: Runs) -> None:
    """With its position, and once."""
    refusal = runs.refusal(step(**inputs))

    assert told in refusal
    assert refusal.count("flow.yaml:") == 1


@pytest.mark.parametrize(
    ("inputs", "type", "told"),
    [
        ({"channel": "{{{{ 'slack' }}}}"}, "ValueError", "`webhook_url` is needed for the channel slack"),
        ({"channel": "file", "file": "../../../x"}, "OutsideWorkspaceError", "leads out of"),
        ({"channel": "webhook", "url": "{}/nowhere"}, "HTTPStatusError", "answered 404 Not Found"),
    ],
)
def test_a_message_that_does_not_arrive_fails_its_step(
    inputs: dict[str, Any], type: str, told: str, server: LocalServer, runs: Runs
) -> None:
    """Nobody would miss it otherwise."""
    placed = {name: value.format(server.url) for name, value in inputs.items()}

    found, message = runs.error(step(**placed))

    assert (found, told in message) == (type, True), message


def test_an_input_that_there_is_not_is_told_once(runs: Runs) -> None:
    """And not as one of another channel; the words of other engines are known, also where one does not fit."""
    told = runs.refusal("- {name: tell, task: notify, inputs: {channel: file, title: x, path: a.log, message: b}}")
    assert told.count("flow.yaml:") == 1
    assert "task `notify` has no input `title`; write `message: TEXT`" in told

    told = runs.refusal("- {name: tell, task: notify, inputs: {channel: slack, webhook_url: 'http://x', path: a.log}}")
    assert "`path` is for the channel log or file" in told
