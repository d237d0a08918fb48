"""flujoctl run --flow, --skip-steps and --start-from: parts of a workflow, on a resume and a fork as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Ended, Flujoctl

RELEASE = """\
name: Release it
steps:
  - {name: build, task: echo, inputs: {message: built}}
  - {name: check, task: echo, inputs: {message: "checked {{ steps.build.result }}"}}
  - {name: publish, task: shell, inputs: {command: "test -e ok"}}
  - {name: report, task: echo, inputs: {message: "{{ steps.build.status }} {{ steps.publish.status }}"}}
flows:
  default: verify
  definitions:
    - verify: [build, check]
    - ship: [report, publish]
"""

GRAPH = """\
name: fan
steps:
  - {name: a, task: echo, depends_on: [], inputs: {message: a}}
  - {name: b, task: echo, depends_on: [], inputs: {message: b}}
  - {name: c, task: echo, depends_on: [a, b], inputs: {message: c}}
  - {name: d, task: echo, depends_on: [b], inputs: {message: d}}
  - {name: tidy, task: echo, always_run: true, inputs: {message: tidy}}
flows: {definitions: {half: [b, d], turned: [d, b]}}
"""

LOOP = """\
name: loop
steps:
  - {name: login, task: echo, inputs: {message: x}}
  - {name: work, task: shell, inputs: {command: "test -e done || { touch done; exit 1; }"}, on_error: {next: login}}
"""


@pytest.fixture
def files(folder: Path) -> Path:
    """A workflow with two flows, a graph with two, and a sequence that jumps back."""
    (folder / "release.yaml").write_text(RELEASE)
    (folder / "fan.yaml").write_text(GRAPH)
    (folder / "loop.yaml").write_text(LOOP)
    return folder


def state_of(flujoctl: Flujoctl, run: str) -> dict[str, Any]:
    """A run as `inspect` has it."""
    told: dict[str, Any] = json.loads(flujoctl("inspect", run, "-o", "json").out)
    return told


def statuses(flujoctl: Flujoctl, run: str) -> dict[str, str]:
    """What has become of each step that was reached, in that order."""
    return {step["name"]: step["status"] for step in state_of(flujoctl, run)["steps"]}


def reasons(ended: Ended) -> list[str]:
    """What a run has said of steps it skips."""
    return [line.split(" ", 1)[1] for line in ended.err.splitlines() if ": skipped: " in line]


@pytest.mark.parametrize(
    ("asked", "performed"),
    [
        ((), ["build", "check"]),
        (("--flow", "verify"), ["build", "check"]),
        (("--flow", "ship"), ["report", "publish"]),
        (("--flow", "all"), ["build", "check", "publish", "report"]),
    ],
)
def test_a_run_performs_the_steps_of_its_flow_in_their_order(
    files: Path, flujoctl: Flujoctl, asked: tuple[str, ...], performed: list[str]
) -> None:
    """Without one the flow that the file names itself."""
    (files / "ok").touch()

    ended = flujoctl("run", "release.yaml", "--id", "r", "--workspace", ".", *asked)

    assert ended.code == 0
    assert list(statuses(flujoctl, "r")) == performed
    assert state_of(flujoctl, "r")["status"] == "completed"


def test_a_resume_needs_nothing_of_it_repeated(files: Path, flujoctl: Flujoctl) -> None:
    """The flow and the steps to skip are those the run was started with, whatever the default is by now."""
    started = flujoctl("run", "release.yaml", "--id", "r", "--workspace", ".", "--flow", "all", "--skip-steps", "check")
    (files / "release.yaml").write_text(RELEASE.replace("default: verify", "default: ship"))
    (files / "ok").touch()

    resumed = flujoctl("resume", "r")

    assert started.code == 1
    assert reasons(started) == ["check: skipped: it is among --skip-steps"]
    assert resumed.code == 0
    assert statuses(flujoctl, "r") == {
        "build": "completed",
        "check": "skipped",
        "publish": "completed",
        "report": "completed",
    }
    assert "steps      without check" in flujoctl("inspect", "r").out


def test_a_step_to_skip_is_skipped_in_every_generation(files: Path, flujoctl: Flujoctl) -> None:
    """Also when a resume begins before it, or with it."""
    flujoctl("run", "release.yaml", "--id", "r", "--skip-steps", "check")

    for step in ("build", "check"):
        assert flujoctl("resume", "r", "--from-step", step).code == 0
        assert statuses(flujoctl, "r")["check"] == "skipped"


def test_what_comes_before_the_start_is_skipped_until_somebody_asks_for_it(files: Path, flujoctl: Flujoctl) -> None:
    """`--from-step` may name a step that `--start-from` has passed over; the ones before it stay skipped."""
    (files / "ok").touch()
    started = flujoctl(
        "run", "release.yaml", "--id", "r", "--workspace", ".", "--flow", "all", "--start-from", "report"
    )
    before = statuses(flujoctl, "r")

    resumed = flujoctl("resume", "r", "--from-step", "publish")

    assert reasons(started) == [f"{step}: skipped: the run was started from 'report'" for step in list(before)[:3]]
    assert before == {"build": "skipped", "check": "skipped", "publish": "skipped", "report": "completed"}
    assert resumed.code == 0
    assert statuses(flujoctl, "r") == {**before, "publish": "completed"}


def test_in_a_graph_what_a_step_waits_for_comes_before_it(files: Path, flujoctl: Flujoctl) -> None:
    """Another branch runs, and so does a clean-up."""
    assert flujoctl("run", "fan.yaml", "--id", "r", "--start-from", "d").code == 0

    assert statuses(flujoctl, "r") == {
        "b": "skipped",
        "a": "completed",
        "d": "completed",
        "c": "completed",
        "tidy": "completed",
    }


def test_a_jump_back_performs_what_the_start_has_passed_over(files: Path, flujoctl: Flujoctl) -> None:
    """It was passed over once; to skip a step every time is what --skip-steps is for."""
    for option, step in (("--start-from", "work"), ("--skip-steps", "login")):
        (files / "done").unlink(missing_ok=True)
        assert flujoctl("run", "loop.yaml", "--id", option[2:7], "--workspace", ".", option, step).code == 0

    assert statuses(flujoctl, "start")["login#2"] == "completed"
    assert statuses(flujoctl, "skip-")["login#2"] == "skipped"


def test_a_fork_performs_the_same_part(files: Path, flujoctl: Flujoctl) -> None:
    """It is a run with the same history."""
    flujoctl("run", "release.yaml", "--id", "r", "--flow", "ship")

    assert flujoctl("fork", "r", "--id", "f").code == 1

    assert list(statuses(flujoctl, "f")) == ["report", "publish"]
    assert "flow ship" in flujoctl("inspect", "f").out


def test_the_same_id_with_another_part_is_another_run(files: Path, flujoctl: Flujoctl) -> None:
    """It is refused and not attached to."""
    flujoctl("run", "release.yaml", "--id", "r")

    refused = flujoctl("run", "release.yaml", "--id", "r", "--flow", "all")

    assert refused.code == 4
    assert "exists already with another choice of steps" in refused.err
    assert flujoctl("run", "release.yaml", "--id", "r").code == 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--flow", "shipp"), "there is no flow `shipp`; did you mean `ship`?"),
        (("--skip-steps", "chekc"), "there is no step `chekc`; did you mean `check`?"),
        (("--skip-steps", "build,report"), "step `report` is not in flow `verify`, which has: build, check"),
        (("--start-from", "bild"), "there is no step `bild`; did you mean `build`?"),
        (
            ("--start-from", "check"),
            "step `check` uses the result of `build`, which would be skipped; skip `check` too, or write "
            "`steps.build.… | default(…)` (line 4)",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_is_made(
    files: Path, flujoctl: Flujoctl, asked: tuple[str, ...], told: str
) -> None:
    """With the nearest name, or what would be missing."""
    (files / ".flujo").rmdir()

    refused = flujoctl("run", "release.yaml", *asked)

    assert refused.code == 2
    assert refused.err.startswith(
        f"error[invalid-step-choice]: the steps of 'Release it' cannot be chosen so: {told}\n"
    )
    assert not (files / ".flujo").exists()


@pytest.mark.parametrize("asked", [("--flow", "ship"), ("--skip-steps", "build"), ("--skip-steps", "build,check")])
def test_a_resume_takes_no_other_part(files: Path, flujoctl: Flujoctl, asked: tuple[str, ...]) -> None:
    """The run keeps the one it has."""
    refused = flujoctl("run", "--resume", "release.yaml", *asked)

    assert refused.code == 2
    assert "a resumed run keeps the steps it was started with; leave --flow and --skip-steps out" in refused.err


def test_a_flow_that_is_gone_keeps_the_stored_definition_usable(files: Path, flujoctl: Flujoctl) -> None:
    """The resume is refused with its name, and --stored goes on with the text that has it."""
    flujoctl("run", "release.yaml", "--id", "r", "--workspace", ".", "--flow", "ship")
    (files / "release.yaml").write_text(RELEASE.replace("- ship:", "- shop:"))
    (files / "ok").touch()

    refused = flujoctl("resume", "r")

    assert refused.code == 2
    assert "there is no flow `ship`; did you mean `shop`?" in refused.err
    assert "flujoctl resume r --stored" in refused.err
    assert flujoctl("resume", "r", "--stored").code == 0


def test_a_python_workflow_has_no_parts(files: Path, flujoctl: Flujoctl) -> None:
    """Its steps are what its program does."""
    (files / "program_of_flow_tests.py").write_text(
        "from flujo.kernel import Context, workflow\n\n@workflow\nasync def w(ctx: Context) -> int:\n    return 1\n"
    )

    refused = flujoctl("run", "program_of_flow_tests.py:w", "--skip-steps", "a")

    assert refused.code == 2
    assert "it is a Python workflow, which decides by itself what its steps are" in refused.err
