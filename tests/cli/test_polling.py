"""Steps with `repeat`: rounds until the result is as wanted, over restarts, cancels and failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Flujoctl

POLL = """\
name: poll
steps:
  - {name: first, task: echo, inputs: {message: "3"}}
  - name: poll
    task: shell
    inputs: {command: "echo x >> n; wc -l < n"}
    repeat: {until: "result.stdout | int >= steps.first.result | int", interval: 1ms, max: 5}
  - {name: after, task: echo, inputs: {message: "{{ steps.poll.result.stdout | trim }}"}}
  - {name: tidy, always_run: true, task: shell, inputs: {command: "echo {{ steps.poll.status }} > tidied"}}
"""


def write(folder: Path, text: str) -> None:
    """The workflow of a test."""
    (folder / "poll.yaml").write_text(text)


def rounds(folder: Path) -> int:
    """How many there were."""
    return len((folder / "n").read_text().splitlines())


def steps_of(flujoctl: Flujoctl, run: str) -> dict[str, Any]:
    """The status of each step that has begun."""
    told = json.loads(flujoctl("inspect", run, "-o", "json").out)
    return {step["name"]: step["status"] for step in told["steps"]}


def test_a_step_is_repeated_until_its_result_is_as_wanted(folder: Path, flujoctl: Flujoctl) -> None:
    """Later steps see the last round; each round and each pause is recorded, and none has failed."""
    write(folder, POLL)

    ended = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == 0, ended
    assert rounds(folder) == 3
    found = steps_of(flujoctl, "r")
    assert set(found.values()) == {"completed"}
    assert list(found) == ["first", "poll", "poll#2", "poll#3", "poll#4", "poll#5", "after", "tidy"]
    assert json.loads(flujoctl("inspect", "r", "-o", "json").out)["step_outputs"]["after"]["result"] == "3"


def test_a_pause_is_left_and_gone_on_with(folder: Path, flujoctl: Flujoctl) -> None:
    """--no-wait ends with 7 in it; a resume goes on with the next round and repeats none."""
    write(folder, POLL.replace("interval: 1ms", "interval: 3s"))

    left = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".", "--no-wait")
    seen = rounds(folder)
    resumed = flujoctl("resume", "r")

    assert (left.code, seen) == (7, 1)
    assert resumed.code == 0
    assert rounds(folder) == 3


def test_the_last_round_fails_the_step(folder: Path, flujoctl: Flujoctl) -> None:
    """It is not retried, handlers apply, and a resume from the step begins anew."""
    text = POLL.replace('message: "3"', 'message: "7"').replace(
        "max: 5}", "max: 5}\n    retry: {max_attempts: 3, delay: 1ms}"
    )
    write(folder, text)

    failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")
    count = rounds(folder)
    resumed = flujoctl("resume", "r", "--from-step", "poll")

    assert failed.code == 1
    assert "RepeatLimitError: after 5 rounds it is not so that result.stdout | int >= steps.first" in failed.err
    assert count == 5
    assert resumed.code == 0, resumed
    assert rounds(folder) == 7
    assert steps_of(flujoctl, "r")["after"] == "completed"


def test_a_limit_can_be_handled(folder: Path, flujoctl: Flujoctl) -> None:
    """As any failure of a step."""
    write(
        folder, POLL.replace("max: 5}", "max: 2}\n    on_error: continue").replace("| trim }}", "| default('none') }}")
    )

    ended = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == 0, ended
    assert steps_of(flujoctl, "r")["poll#3"] == "failed"
    assert (folder / "tidied").read_text() == "failed\n"


def test_a_round_that_fails_fails_the_step(folder: Path, flujoctl: Flujoctl) -> None:
    """And a resume goes on with that round."""
    text = POLL.replace("wc -l < n", "wc -l < n; test $(wc -l < n) != 2")
    write(folder, text)

    failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")
    resumed = flujoctl("resume", "r")

    assert (failed.code, resumed.code) == (1, 0), (failed, resumed)
    assert "failed in step 'poll#3'" in failed.err
    assert rounds(folder) == 3


def test_a_run_that_is_cancelled_in_a_pause_begins_no_round(folder: Path, flujoctl: Flujoctl) -> None:
    """Its clean-ups run, and see the step as it was."""
    text = POLL.replace("interval: 1ms", "interval: 1h")
    write(folder, text)
    flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".", "--no-wait")

    cancelled = flujoctl("cancel", "r")

    assert cancelled.code == 0, cancelled
    assert rounds(folder) == 1
    assert (folder / "tidied").read_text() == "pending\n"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("repeat: 3", "2:40: `repeat` must be a mapping such as {until: result.json.state == 'done'"),
        ("repeat: {interval: 1s}", "2:40: `repeat` needs `until`, a condition, as in {until: "),
        ("repeat: {until: true}", "2:48: `repeat` needs `until`, a condition"),
        ("repeat: {until: result.x, max: 0}", "2:63: `max` must be at least 1, not 0"),
        ("repeat: {until: result.x, intervall: 1s}", "2:58: `repeat` has no key `intervall`; did you mean `interval`?"),
        ("repeat: {until: 'resutl.x'}", "2:48: there is no name `resutl`"),
        ("repeat: {until: 'steps.b.result.x'}", "2:48: there is no step `b`"),
        ("repeat: {until: result.x}, for_each: [1]", "2:32: `repeat` does not go with a loop over items"),
    ],
)
def test_what_cannot_be_repeated_is_refused_where_it_stands(
    folder: Path, flujoctl: Flujoctl, says: str, told: str
) -> None:
    """With what to write instead."""
    write(folder, f"name: poll\nsteps: [{{name: a, task: shell, {says}, inputs: {{command: x}}}}]\n")

    assert f"poll.yaml:{told}" in flujoctl("validate", "poll.yaml").out


def test_a_wait_cannot_be_repeated(folder: Path, flujoctl: Flujoctl) -> None:
    """It has no result that could be looked at."""
    write(folder, "name: poll\nsteps: [{name: a, task: sleep, repeat: {until: result}, inputs: {duration: 1}}]\n")

    assert "2:32: `repeat` does not go with task `sleep`" in flujoctl("validate", "poll.yaml").out


GRAPH = """\
name: poll
max_parallel: 2
steps:
  - {name: first, task: echo, inputs: {message: "3"}}
  - name: poll
    task: shell
    depends_on: [first]
    inputs: {command: "echo x >> n; wc -l < n"}
    repeat: {until: "result.stdout | int >= steps.first.result | int", interval: 1ms, max: 5}
  - {name: beside, task: echo, depends_on: [first], inputs: {message: "beside"}}
  - {name: after, task: echo, depends_on: [poll], inputs: {message: "{{ steps.poll.result.stdout | trim }}"}}
  - {name: tidy, always_run: true, task: shell, inputs: {command: "echo {{ steps.poll.status }} > tidied"}}
"""


def state_of(flujoctl: Flujoctl, run: str) -> dict[str, Any]:
    """What `inspect` tells of a run."""
    told: dict[str, Any] = json.loads(flujoctl("inspect", run, "-o", "json").out)
    return told


class TestInAGraph:
    """Rounds and pauses are items of their step there."""

    def test_a_step_is_repeated_until_its_result_is_as_wanted(self, folder: Path, flujoctl: Flujoctl) -> None:
        """What depends on it begins when the last round has ended, and what does not goes on beside it."""
        write(folder, GRAPH)

        ended = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

        assert ended.code == 0, ended
        assert rounds(folder) == 3
        found = steps_of(flujoctl, "r")
        assert set(found.values()) == {"completed"}
        assert set(found) == {"first", "beside", "after", "tidy", "poll", *(f"poll[{index}]" for index in range(5))}
        state = state_of(flujoctl, "r")
        assert state["step_outputs"]["after"]["result"] == "3"
        assert state["step_outputs"]["poll"]["result"]["stdout"] == "3\n"
        assert state["progress"]["done"] == state["progress"]["total"] == 5

    def test_a_pause_is_left_and_gone_on_with(self, folder: Path, flujoctl: Flujoctl) -> None:
        """--no-wait ends with 7 in it; a resume goes on with the next round and repeats none."""
        write(folder, GRAPH.replace("interval: 1ms", "interval: 2s"))

        left = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".", "--no-wait")
        seen = rounds(folder)
        waits = [(each["kind"], each["step"]) for each in state_of(flujoctl, "r")["wait"]]
        resumed = flujoctl("resume", "r")

        assert (left.code, seen, waits) == (7, 1, [("sleep", "poll[1]")]), left
        assert resumed.code == 0, resumed
        assert rounds(folder) == 3

    def test_the_last_round_fails_the_step(self, folder: Path, flujoctl: Flujoctl) -> None:
        """It is not retried; a resume tries that round once more, and one from the step begins anew."""
        text = GRAPH.replace('message: "3"', 'message: "8"').replace(
            "max: 5}", "max: 5}\n    retry: {max_attempts: 3, delay: 1ms}"
        )
        write(folder, text)

        failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")
        told = flujoctl("explain", "r").out
        counted = [rounds(folder)]
        flujoctl("resume", "r")
        counted.append(rounds(folder))
        resumed = flujoctl("resume", "r", "--from-step", "poll")

        assert failed.code == 1
        assert "in step 'poll': RepeatLimitError: after 5 rounds it is not so that result.stdout" in failed.err
        assert "after 5 rounds" in told
        assert counted == [5, 6]
        assert resumed.code == 0, resumed
        assert rounds(folder) == 8
        assert steps_of(flujoctl, "r")["after"] == "completed"

    def test_a_limit_can_be_handled(self, folder: Path, flujoctl: Flujoctl) -> None:
        """By `continue`, as any failure of a step."""
        write(
            folder,
            GRAPH.replace("max: 5}", "max: 2}\n    on_error: continue").replace("| trim }}", "| default('none') }}"),
        )

        ended = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

        assert ended.code == 0, ended
        state = state_of(flujoctl, "r")
        assert steps_of(flujoctl, "r")["poll"] == "failed"
        assert state["step_outputs"]["after"]["result"] == "none"
        assert (folder / "tidied").read_text() == "failed\n"

    def test_a_limit_can_lead_to_a_handler(self, folder: Path, flujoctl: Flujoctl) -> None:
        """What else depends on the step is skipped; the handler sees the failure."""
        text = GRAPH.replace("max: 5}", "max: 2}\n    on_error: {next: help}") + (
            '  - {name: help, task: echo, inputs: {message: "{{ error.type }} {{ steps.poll.status }}"}}\n'
        )
        write(folder, text)

        ended = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

        assert ended.code == 0, ended
        found = steps_of(flujoctl, "r")
        assert (found["after"], found["beside"]) == ("skipped", "completed")
        assert state_of(flujoctl, "r")["step_outputs"]["help"]["result"] == "RepeatLimitError failed"

    def test_a_round_that_fails_is_retried_and_then_fails_the_step(self, folder: Path, flujoctl: Flujoctl) -> None:
        """With the error of the command; a resume goes on with that round."""
        text = GRAPH.replace("wc -l < n", "wc -l < n; test -e go || test $(wc -l < n) = 1").replace(
            "max: 5}", "max: 5}\n    retry: {max_attempts: 2, delay: 1ms}"
        )
        write(folder, text)

        failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")
        seen = rounds(folder)
        (folder / "go").write_text("")
        resumed = flujoctl("resume", "r")

        assert (failed.code, seen) == (1, 3), failed
        assert "failed in step 'poll': ShellError: the command ended with code 1" in failed.err
        assert "the last lines of poll" in failed.err
        assert resumed.code == 0, resumed
        assert rounds(folder) == 4

    def test_a_round_takes_no_longer_than_its_timeout(self, folder: Path, flujoctl: Flujoctl) -> None:
        """Each round on its own."""
        write(
            folder, GRAPH.replace("wc -l < n", "wc -l < n; sleep 60").replace("max: 5}", "max: 5}\n    timeout: 200ms")
        )

        failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

        assert failed.code == 1
        assert "failed in step 'poll': TimeoutError: it took longer than" in failed.err

    def test_a_run_that_is_cancelled_in_a_pause_begins_no_round(self, folder: Path, flujoctl: Flujoctl) -> None:
        """Its clean-ups run, and a resume goes on with the rounds."""
        write(folder, GRAPH.replace("interval: 1ms", "interval: 2s"))
        flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".", "--no-wait")

        cancelled = flujoctl("cancel", "r")
        seen = rounds(folder)
        tidied = (folder / "tidied").read_text()
        resumed = flujoctl("resume", "r")

        assert (cancelled.code, seen, tidied) == (0, 1, "pending\n"), cancelled
        assert resumed.code == 0, resumed
        assert rounds(folder) == 3

    def test_two_steps_are_repeated_side_by_side(self, folder: Path, flujoctl: Flujoctl) -> None:
        """Each with rounds of its own, within `max_parallel`, also when the run is gone on with."""
        write(
            folder,
            """\
name: poll
max_parallel: 1
steps:
  - name: a
    task: shell
    depends_on: []
    inputs: {command: "echo x >> n; wc -l < n"}
    repeat: {until: "result.stdout | int >= 2", interval: 2s}
  - {name: b, task: shell, depends_on: [], inputs: {command: "echo x >> m; wc -l < m"},
     repeat: {until: "result.stdout | int >= 3", interval: 1ms}}
  - name: both
    task: echo
    depends_on: [a, b]
    inputs: {message: "{{ steps.a.result.stdout ~ steps.b.result.stdout }}"}
""",
        )

        left = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".", "--no-wait")
        begun = set(steps_of(flujoctl, "r"))
        resumed = flujoctl("resume", "r")

        assert left.code == 7, left
        assert begun == {"a", "a[0]", "a[1]"}
        assert resumed.code == 0, resumed
        assert state_of(flujoctl, "r")["step_outputs"]["both"]["result"] == "2\n3\n"

    def test_a_condition_that_cannot_be_judged_fails_the_step(self, folder: Path, flujoctl: Flujoctl) -> None:
        """As its own failure, which is handled like any other."""
        write(folder, GRAPH.replace("result.stdout | int >= steps.first.result | int", "result.nothing.at_all == 1"))

        failed = flujoctl("run", "poll.yaml", "--id", "r", "--workspace", ".")

        assert failed.code == 1
        assert (
            "failed in step 'poll': TemplateError: poll.yaml:9:22: {{ result.nothing.at_all }}: there is no"
            in failed.err
        )
        assert rounds(folder) == 1
