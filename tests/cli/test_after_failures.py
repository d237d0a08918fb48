"""What follows a failed step: which codes are none, which are tried again, and how the run ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Flujoctl
from flujo.cli.hearing import _up_to_own_code

CHECKS = """\
name: checks
steps:
  - {name: style, task: shell, inputs: {command: "echo s >> log; test -e ok"}, on_error: {action: continue, then: fail}}
  - {name: types, task: shell, inputs: {command: "echo t >> log; exit 3"}, on_error: {next: report, then: fail}}
  - {name: never, task: noop}
  - {name: report, task: shell, inputs: {command: "echo '{{ steps.style.status }} {{ steps.types.status }}' >> log"}}
  - {name: tidy, always_run: true, task: shell, inputs: {command: "echo {{ error.step | default('nobody') }} >> log"}}
outputs: {said: "{{ steps.report.status }}"}
"""


def state_of(flujoctl: Flujoctl, run: str) -> dict[str, Any]:
    """A run as `inspect` has it."""
    told: dict[str, Any] = json.loads(flujoctl("inspect", run, "-o", "json").out)
    return told


def statuses(flujoctl: Flujoctl, run: str) -> dict[str, str]:
    """What has become of each step."""
    return {step["name"]: step["status"] for step in state_of(flujoctl, run)["steps"]}


def test_a_run_can_go_on_and_fail_in_the_end(folder: Path, flujoctl: Flujoctl) -> None:
    """Everything else has run by then, clean-ups in their place."""
    (folder / "checks.yaml").write_text(CHECKS)

    ended = flujoctl("run", "checks.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == 1
    assert (folder / "log").read_text().splitlines() == ["s", "t", "failed failed", "types"]
    assert statuses(flujoctl, "r") == {
        "style": "failed",
        "types": "failed",
        "never": "skipped",
        "report": "completed",
        "tidy": "completed",
    }
    assert "failed in step 'style': ShellError: the command ended with code 1" in ended.err
    assert "step types failed as well: ShellError: the command ended with code 3" in ended.err
    assert "step 'types' failed as well: ShellError: the command ended with code 3" in flujoctl("explain", "r").out


def test_a_resume_tries_what_has_failed_and_not_what_came_after(folder: Path, flujoctl: Flujoctl) -> None:
    """The report keeps what it has said; a run whose failures are mended completes."""
    (folder / "checks.yaml").write_text(CHECKS.replace("exit 3", "test -e ok"))
    flujoctl("run", "checks.yaml", "--id", "r", "--workspace", ".")
    (folder / "ok").touch()
    (folder / "log").unlink()

    resumed = flujoctl("resume", "r", "-o", "json")

    assert resumed.code == 0, resumed
    assert json.loads(resumed.out)["output"] == {"said": "completed"}
    assert (folder / "log").read_text().splitlines() == ["s", "t", "nobody"]


def test_a_graph_goes_on_and_fails_in_the_end_too(folder: Path, flujoctl: Flujoctl) -> None:
    """Dependents of the failed step run."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  - {name: a, task: fail, inputs: {message: no}, on_error: {action: continue, then: fail}}\n"
        "  - {name: b, depends_on: [a], task: noop}\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert statuses(flujoctl, "r") == {"a": "failed", "b": "completed"}
    assert "failed in step 'a'" in ended.err


@pytest.mark.parametrize(
    ("codes", "attempts", "told"),
    [
        ("75, 75, 0", 3, None),
        ("75, 4", 2, "code 4"),
        ("4", 1, "code 4"),
        ("111, 3", 2, None),
        ("75, 75, 75", 3, "code 75"),
    ],
)
def test_only_some_codes_are_tried_again_and_some_are_none(
    folder: Path, flujoctl: Flujoctl, codes: str, attempts: int, told: str | None
) -> None:
    """The command ends with one code after the other."""
    for number, code in enumerate(codes.split(", "), 1):
        (folder / f"code{number}").write_text(code)
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  - name: a\n    task: shell\n"
        "    inputs: {command: 'exit $(cat code$FLUJO_ATTEMPT)', ok_codes: [0, 3]}\n"
        "    retry: {max_attempts: 3, delay: 1ms, exit_codes: [75, 111]}\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == (0 if told is None else 1)
    assert state_of(flujoctl, "r")["steps"][0]["attempt"] == attempts
    if told is not None:
        assert f"ShellError: the command ended with {told}" in ended.err


def test_a_command_is_asked_to_stop_in_the_way_it_wants(folder: Path, flujoctl: Flujoctl) -> None:
    """By its own signal, and with the time it needs: a loop that ignores SIGTERM ends on SIGINT, in good order."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  - name: a\n    task: shell\n    timeout: 3s\n    inputs:\n      stop_signal: SIGINT\n"
        "      stop_grace: 30s\n      command: |\n        #!/usr/bin/env python3\n        import signal, time\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n        try:\n            time.sleep(60)\n"
        "        finally:\n            open('said', 'w').write('good-bye')\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == 1
    assert (folder / "said").read_text() == "good-bye"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("on_error: {then: fail}", "2:49: `then: fail` goes with `action: continue` or `next`"),
        ("on_error: {action: continue, then: stop}", "2:67: `then` says what follows in the end, and can be fail only"),
        ("retry: {exit_codes: 0}", "2:52: `exit_codes` must be a list of codes other than 0"),
        ("retry: {exit_codes: [a]}", "2:52: `exit_codes` must be a list of codes other than 0"),
        ("inputs: {command: x, ok_codes: []}", "2:63: `ok_codes` must have at least 1 items"),
        ("inputs: {command: x, stop_signal: TERM}", '2:66: `stop_signal` must be one of "SIGTERM", "SIGINT"'),
        ("inputs: {command: x, stop_grace: soon}", "2:65: `stop_grace` must be a duration such as 90"),
    ],
)
def test_what_is_not_meant_so_is_refused_where_it_stands(
    folder: Path, flujoctl: Flujoctl, says: str, told: str
) -> None:
    """With what to write instead."""
    command = "" if "command" in says else ", inputs: {command: x}"
    (folder / "w.yaml").write_text(f"name: w\nsteps: [{{name: a, task: shell, {says}{command}}}]\n")

    refused = flujoctl("validate", "w.yaml")

    assert refused.code == 2
    assert f"w.yaml:{told}" in refused.out + refused.err


SEQUENCE = """\
name: checks
steps:
  - {name: style, task: shell, inputs: {command: "test -e ok"}, on_error: {action: continue, then: fail}}
  - {name: report, task: echo, inputs: {message: "{{ steps.style.status }}"}}
  - {name: deploy, task: echo, condition: steps.style.status == 'completed', inputs: {message: deployed}}
  - {name: never, task: echo, condition: "1 > 2 or steps.style.status == 'skipped'", inputs: {message: never}}
"""

JUMP = """\
name: checks
steps:
  - {name: style, task: shell, inputs: {command: "test -e ok"}, on_error: {next: report, then: fail}}
  - {name: deploy, task: echo, inputs: {message: deployed}}
  - {name: report, task: echo, inputs: {message: "{{ steps.style.status }}"}}
"""

GRAPH = """\
name: checks
steps:
  - {name: style, task: shell, inputs: {command: "test -e ok"}, on_error: {next: report, then: fail}}
  - {name: deploy, task: echo, depends_on: [style], inputs: {message: deployed}}
  - {name: after, task: echo, depends_on: [deploy], inputs: {message: after}}
  - {name: aside, task: echo, depends_on: [], condition: "1 > 2 or args.x is defined", inputs: {message: no}}
  - {name: report, task: echo, inputs: {message: "{{ steps.style.status }}"}}
"""

LOOP = """\
name: checks
steps:
  - name: style
    for_each: [a, b]
    task: shell
    inputs: {command: "test {{ item }} = a || test -e ok"}
    on_error: {action: continue, then: fail}
  - {name: report, task: echo, inputs: {message: "{{ steps.style.result.stats.failed }}"}}
  - {name: deploy, task: echo, condition: steps.style.result.stats.failed == 0, inputs: {message: deployed}}
"""


@pytest.mark.parametrize("text", [SEQUENCE, JUMP, GRAPH, LOOP], ids=["sequence", "jump", "graph", "loop"])
def test_what_a_failure_has_left_out_is_decided_anew_by_a_resume(text: str, folder: Path, flujoctl: Flujoctl) -> None:
    """A run that goes on and fails in the end leaves steps out for its failure; once that is mended they run. What has
    completed meanwhile stays, and so does what was left out for another reason."""
    (folder / "w.yaml").write_text(text)
    assert flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".").code == 1
    before = statuses(flujoctl, "r")
    (folder / "ok").touch()

    assert flujoctl("resume", "r").code == 0

    after = statuses(flujoctl, "r")
    assert (before["deploy"], after["deploy"]) == ("skipped", "completed")
    assert after.get("after", "completed") == "completed"
    assert after.get("never", "skipped") == after.get("aside", "skipped") == "skipped"
    events = [json.loads(line) for line in flujoctl("events", "r", "-o", "jsonl").out.splitlines()]
    assert [each["type"] for each in events if each.get("step") == "report"].count("step_started") == 1


def test_what_somebody_has_skipped_stays_skipped(folder: Path, flujoctl: Flujoctl) -> None:
    """A resume decides anew on what the run itself has left out, and on nothing that a person has."""
    (folder / "w.yaml").write_text(SEQUENCE)
    assert flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".").code == 1
    assert flujoctl("skip", "r", "deploy").code == 0
    (folder / "ok").touch()

    assert flujoctl("resume", "r").code == 0
    assert statuses(flujoctl, "r")["deploy"] == "skipped"


RAISES = """\
from flujo.kernel import Context, workflow

@workflow
async def raises(ctx: Context) -> None:
    await ctx.step(fetch)

@workflow
async def between(ctx: Context) -> None:
    fetch()

def fetch() -> int:
    return {}["missing"]
"""


@pytest.mark.parametrize("name", ["raises", "between"])
def test_whoever_looks_at_a_failed_program_is_shown_the_line(name: str, flujoctl: Flujoctl, folder: Path) -> None:
    """At once, and in `explain`: the log of a Python program is its own, so nothing else says where it was."""
    (folder / "raises.py").write_text(RAISES, encoding="utf-8")

    ended = flujoctl("run", f"raises.py:{name}", "--id", "r")

    for said in (ended.err, flujoctl("explain", "r").out):
        lines = said[said.index("it failed here:") :].splitlines()
        assert any(line.endswith('raises.py", line 12, in fetch') for line in lines)
        assert '  |     return {}["missing"]' in lines
    assert "it failed here:" not in flujoctl("resume", "r", "-q").err


def test_a_task_of_flujo_shows_its_message_and_no_code_of_ours(flujoctl: Flujoctl, folder: Path) -> None:
    """Nobody who wrote a YAML file can mend that."""
    (folder / "gets.yaml").write_text(
        "name: g\nsteps: [{name: get, task: http.request, inputs: {url: 'http://127.0.0.1:1/x'}}]\n", encoding="utf-8"
    )

    ended = flujoctl("run", "gets.yaml", "--id", "r")

    assert ended.code == 1
    assert "ConnectionError: GET http://127.0.0.1:1/x: cannot connect" in ended.err
    for said in (ended.err, flujoctl("explain", "r").out):
        assert "it failed here:" not in said


OURS = '  File "/x/site-packages/flujo/workflows/calls.py", line 1, in call\n    ours()\n'
PYTHONS = '  File "/usr/lib/python3.11/json/decoder.py", line 2, in decode\n    raise\n'
INSTALLED = '  File "/x/lib/python3.11/site-packages/httpx/a.py", line 3, in get\n    get()\n'
OWN = '  File "/home/ada/job.py", line 4, in fetch\n    json.loads(text)\n'


@pytest.mark.parametrize(
    ("traceback", "shown"),
    [
        (OWN, OWN),
        (OURS + OWN + PYTHONS, OURS + OWN),
        (OURS + OWN + INSTALLED + PYTHONS, OURS + OWN),
        (OURS, ""),
        (OURS + PYTHONS, ""),
        (INSTALLED + "that led to:\n" + OURS, ""),
        (OURS + INSTALLED, OURS + INSTALLED),
        ("no frames", "no frames"),
        ("", ""),
    ],
)
def test_a_traceback_ends_with_the_code_of_whoever_reads_it(traceback: str, shown: str) -> None:
    """And there is none of what only flujo and Python have done."""
    assert _up_to_own_code(traceback.splitlines()) == shown.splitlines()
