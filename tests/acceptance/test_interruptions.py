"""A run whose process dies, or is told to stop, goes on where it stopped."""

from __future__ import annotations

import signal

import pytest

from acceptance.five_steps import make
from acceptance.place import Place, finish, is_alive, kill, lines_until, statuses

RESUMED_LOG = ["1", "2", "3", "3", "4", "5"]


@pytest.mark.parametrize("kind", ["yaml", "python"])
def test_a_killed_run_is_resumed_without_repeating_what_has_completed(place: Place, kind: str) -> None:
    """SIGKILL in the third of five steps: two are completed, the third ran in part and runs again."""
    run = place.start("run", make(place, kind), "--id", "night")
    in_step_three = int(place.read("begun"))
    kill(run)

    state = place.inspect_interrupted("night")
    shown = place.flujoctl("inspect", "night")
    assert statuses(state) == ["completed", "completed", "interrupted"]
    assert not is_alive(in_step_three)
    assert "running (interrupted)" in shown.out
    assert shown.remedies == ["flujoctl resume night"]
    assert "running (interrupted)" in place.flujoctl("list").out

    resumed = place.shell(shown.remedies[0])
    assert resumed.code == 0, resumed
    assert resumed.out.startswith("completed  night")
    assert place.lines("log") == RESUMED_LOG


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("yaml", signal.SIGINT),
        ("python", signal.SIGINT),
        ("yaml", signal.SIGTERM),
        ("python", signal.SIGHUP),
    ],
)
def test_an_interrupted_run_goes_on_with_the_printed_command(place: Place, kind: str, number: signal.Signals) -> None:
    """Ctrl-C and its relatives: exit code 130, nothing left behind, and the command works as printed.

    The store is not the default one, so that the command has to say which one it is.
    """
    run = place.start("run", make(place, kind), "--id", "night", "--store", "sqlite:other store.db")
    in_step_three = int(place.read("begun"))
    run.send_signal(number)
    interrupted = finish(run)

    assert interrupted.code == 130, interrupted
    assert not is_alive(in_step_three)
    assert interrupted.remedies == ["flujoctl resume night --store 'sqlite:other store.db'"]

    state = place.inspect("night", "--store", "sqlite:other store.db")
    assert statuses(state) == ["completed", "completed", "interrupted"]
    assert state["steps"][2]["interruptions"] == 0  # an orderly stop counts against nothing

    assert place.shell(interrupted.remedies[0]).code == 0
    assert place.lines("log") == RESUMED_LOG


def test_the_second_ctrl_c_ends_the_process_at_once(place: Place) -> None:
    """A step that does not mind being told to stop does not keep anybody waiting, and dies all the same."""
    run = place.start("run", make(place, "yaml", stubborn=True), "--id", "night")
    in_step_three = int(place.read("begun"))
    run.send_signal(signal.SIGINT)
    lines_until(run, "stopping in good order")
    run.send_signal(signal.SIGINT)

    assert finish(run).code == 130
    assert statuses(place.inspect_interrupted("night")) == ["completed", "completed", "interrupted"]
    assert not is_alive(in_step_three)
