"""Commands that act on many runs at once: how runs are chosen, who is asked, and how each run came to rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.conftest import Copied, Flujoctl

FLAKY = """\
name: flaky
params: {n: {type: integer}}
steps:
  - {name: check, task: shell, inputs: {command: "test -e '{{ start_dir }}/mended{{ n }}'"}}
"""

GATE = """\
name: gate
steps:
  - {name: approve, task: wait_signal}
"""


@pytest.fixture(autouse=True)
def runs(copied: Copied) -> None:
    """Three failed runs of one workflow, one of which stays broken, and two of another that wait for a signal."""
    copied(fill)


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("flaky.yaml").write_text(FLAKY)
    Path("gate.yaml").write_text(GATE)
    for n in range(3):
        assert flujoctl("run", "flaky.yaml", f"n={n}", "--id", f"f{n}", "--label", f"half={n % 2}").code == 1
    for name in ("g0", "g1"):
        assert flujoctl("run", "gate.yaml", "--id", name, "--no-wait").code == 7
    Path("mended0").touch()
    Path("mended1").touch()


def statuses(flujoctl: Flujoctl) -> dict[str, str]:
    """Return the status of each run."""
    return {run["run_id"]: run["status"] for run in json.loads(flujoctl("list", "-o", "json").out)}


def test_failed_runs_are_tried_again_together(flujoctl: Flujoctl) -> None:
    """Each goes its own way, and the exit code is that of the worst."""
    ended = flujoctl("retry", "--workflow", "flaky", "--yes")

    assert [line.split()[:2] for line in ended.out.splitlines()] == [
        ["failed", "f2"],
        ["completed", "f1"],
        ["completed", "f0"],
    ]
    assert (ended.code, ended.err.splitlines()[-1]) == (1, "2 completed, 1 failed")
    assert statuses(flujoctl) == {
        "f0": "completed",
        "f1": "completed",
        "f2": "failed",
        "g0": "waiting",
        "g1": "waiting",
    }


def test_several_runs_may_be_named_by_their_ids(flujoctl: Flujoctl) -> None:
    """Nobody is asked then, and ids may be abbreviated as ever."""
    ended = flujoctl("retry", "f0", "f1", "-o", "json")

    assert ended.code == 0
    assert [run["run_id"] for run in json.loads(ended.out)] == ["f0", "f1"]


def test_runs_that_wait_are_left_waiting(flujoctl: Flujoctl) -> None:
    """A command that resumes many does not stay for one of them."""
    ended = flujoctl("resume", "--workflow", "gate", "--yes")

    assert (ended.code, ended.err.splitlines()[-1]) == (7, "2 waiting")


def test_inputs_that_are_given_go_to_every_run(flujoctl: Flujoctl, folder: Path) -> None:
    """As if each had been resumed with them."""
    ended = flujoctl("resume", "n=1", "--status", "failed", "--label", "half=0", "--yes", "-o", "json")

    assert [(run["run_id"], run["inputs"], run["status"]) for run in json.loads(ended.out)] == [
        ("f2", {"n": 1}, "completed"),
        ("f0", {"n": 1}, "completed"),
    ]


def test_one_run_that_cannot_be_resumed_keeps_no_other_from_it(flujoctl: Flujoctl, folder: Path) -> None:
    """Its refusal is told, and decides the exit code."""
    assert flujoctl("retry", "f0").code == 0

    ended = flujoctl("resume", "--workflow", "flaky", "--status", "failed", "--status", "completed", "--yes")

    assert ended.code == 4
    assert "run 'f0' is completed, there is nothing to resume" in ended.err
    assert ended.err.splitlines()[-1] == "1 completed, 1 failed, 1 not resumed"


def test_waiting_runs_are_paused_continued_and_cancelled_together(flujoctl: Flujoctl) -> None:
    """The command that undoes a pause is printed, and works as printed."""
    paused = flujoctl("pause", "--workflow", "gate", "--yes")
    assert paused.err.splitlines() == ["try: flujoctl unpause --workflow gate --status paused"]
    assert statuses(flujoctl)["g0"] == statuses(flujoctl)["g1"] == "paused"

    assert flujoctl(*paused.err.split()[2:], "--yes").code == 7
    assert statuses(flujoctl)["g0"] == statuses(flujoctl)["g1"] == "waiting"

    assert flujoctl("cancel", "--id-prefix", "g", "--yes").out.splitlines() == [
        "run g1 is cancelled",
        "run g0 is cancelled",
    ]


@pytest.mark.parametrize(
    "command", [("retry", "--workflow", "flaky"), ("cancel", "--status", "waiting"), ("pause", "--id-prefix", "g")]
)
def test_chosen_runs_are_counted_before_anything_is_done(command: Sequence[str], flujoctl: Flujoctl) -> None:
    """Without a terminal to ask on, --yes is needed; --dry-run shows them."""
    before = statuses(flujoctl)

    refused = flujoctl(*command)
    shown = flujoctl(*command, "--dry-run", "-o", "name")

    number = 3 if "flaky" in command else 2
    assert (refused.code, f"{number} runs? There is no terminal to ask on" in refused.err) == (2, True)
    assert len(shown.out.split()) == number
    assert statuses(flujoctl) == before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("cancel",), "no runs are named"),
        (("retry", "--dry-run"), "no runs are named"),
        (("cancel", "g0", "--workflow", "gate"), "not both"),
        (("retry", "--status", "waiting", "--yes"), "retry does nothing to waiting runs"),
        (("cancel", "--status", "completed", "--yes"), "cancel does nothing to completed runs"),
    ],
)
def test_what_names_no_run_clearly_is_refused(command: Sequence[str], says: str, flujoctl: Flujoctl) -> None:
    """Before anything is done to any."""
    before = statuses(flujoctl)

    ended = flujoctl(*command)

    assert (ended.code, says in ended.err) == (2, True)
    assert statuses(flujoctl) == before


def test_a_choice_that_fits_no_run_is_no_error(flujoctl: Flujoctl) -> None:
    """As in a script that has nothing to do today."""
    assert flujoctl("cancel", "--workflow", "absent", "--yes") == (0, "", "no run matches\n")


# -- short things that are done to each: signal, skip, delete --------------------------------------------------------


def test_a_signal_goes_to_every_run_that_is_chosen(flujoctl: Flujoctl) -> None:
    """By default to those that wait; the ID is left out, and nobody has to be told which runs there are."""
    shown = flujoctl("signal", "approve", "--workflow", "gate", "--dry-run")
    sent = flujoctl("signal", "approve", "--workflow", "gate", "--yes")

    assert (shown.code, shown.err) == (0, "signal would act on 2 runs\n")
    assert sent.out.splitlines() == ["signal approve sent to run g1", "signal approve sent to run g0"]
    assert sent.err.splitlines()[-1] == "2 runs have the signal"
    assert flujoctl("resume", "--workflow", "gate", "--yes").code == 0


def test_a_signal_to_many_can_resume_them_at_once(flujoctl: Flujoctl) -> None:
    """With a payload."""
    ended = flujoctl("signal", "approve", '{"by": "me"}', "--workflow", "gate", "--yes", "--resume")

    assert (ended.code, ended.err.splitlines()[-1]) == (0, "2 completed")


def test_what_some_runs_refuse_keeps_it_from_no_other(flujoctl: Flujoctl) -> None:
    """The refusals are told, and how many there are; the exit code is that of the worst."""
    flujoctl("signal", "g0", "approve", "--resume")
    ended = flujoctl("skip", "check", "--workflow", "flaky", "--yes", "--reason", "known")
    again = flujoctl("skip", "nothing", "--status", "failed", "--yes")

    assert ended.err.splitlines()[-1] == "3 runs have a step skipped"
    assert again.code == 3
    assert again.err.count("error[step-not-found]") == 3
    assert again.err.splitlines()[-1] == "0 runs have a step skipped, 3 refused"
    assert flujoctl("resume", "--status", "failed", "--yes").code == 0


def test_runs_are_deleted_by_options(flujoctl: Flujoctl) -> None:
    """By default final ones; first as a dry run."""
    shown = flujoctl("delete", "--label", "half=0", "--dry-run", "-o", "name")
    ended = flujoctl("delete", "--label", "half=0", "--yes", "-o", "json")

    assert shown.out.split() == ["f2", "f0"]
    assert json.loads(ended.out) == [{"run_id": "f2"}, {"run_id": "f0"}]
    assert set(statuses(flujoctl)) == {"f1", "g0", "g1"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["signal", "approve", "--workflow", "gate"], "There is no terminal to ask on: add --yes"),
        (["skip", "check", "--status", "failed"], "There is no terminal to ask on: add --yes"),
        (["delete", "--status", "failed"], "There is no terminal to ask on: add --yes"),
        (["signal", "g0"], "say which signal"),
        (["skip", "f0"], "say which step"),
        (["delete"], "no runs are named"),
        (["skip", "f0", "check", "--status", "failed"], "leave the ID 'f0' out"),
        (["signal", "approve", "--status", "failed", "--yes"], "does nothing to failed runs"),
    ],
)
def test_nothing_is_done_to_many_by_accident(flujoctl: Flujoctl, arguments: list[str], told: str) -> None:
    """Nobody is asked where there is no terminal, so --yes is needed; what is unclear is refused."""
    before = statuses(flujoctl)

    ended = flujoctl(*arguments)

    assert ended.code == 2
    assert told in ended.err
    assert statuses(flujoctl) == before
