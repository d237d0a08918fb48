"""`flujoctl approve` and `reject`: a person answers a run that waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Flujoctl

GATE = """\
name: gate
steps:
  - {name: ask, task: wait_signal, inputs: {signal: go}}
  - {name: say, task: echo, inputs: {message: "{{ steps.ask.result.approved }} by {{ steps.ask.result.by }}"}}
  - {name: again, task: wait_signal, inputs: {signal: go}}
outputs: {said: "{{ steps.say.result }}", why: "{{ steps.ask.result.comment }}"}
"""
TWO = """\
name: two
steps:
  - {name: a, depends_on: [], task: wait_signal}
  - {name: b, depends_on: [], task: wait_signal}
"""


@pytest.fixture(autouse=True)
def gate(folder: Path, flujoctl: Flujoctl) -> None:
    """A run `g` that waits for the signal `go`, twice, one wait after the other."""
    (folder / "gate.yaml").write_text(GATE, encoding="utf-8")
    (folder / "two.yaml").write_text(TWO, encoding="utf-8")
    assert flujoctl("run", "gate.yaml", "--id", "g", "--no-wait").code == 7


@pytest.mark.parametrize(("verb", "said"), [("approve", "true by Ada"), ("reject", "false by Ada")])
def test_the_one_signal_that_a_run_waits_for_is_sent_with_yes_or_no(verb: str, said: str, flujoctl: Flujoctl) -> None:
    """Who says so and why go with it."""
    answered = flujoctl(verb, "g", "--by", "Ada", "--comment", "seen")
    assert (answered.code, answered.out) == (0, "signal go sent to run g\n")
    assert flujoctl("resume", "g", "--no-wait").code == 7
    assert flujoctl(verb, "g").code == 0
    assert flujoctl("resume", "g").code == 0

    output = json.loads(flujoctl("inspect", "g", "-o", "json").out)["output"]
    assert output == {"said": said, "why": "seen"}


def test_a_second_answer_is_refused_instead_of_being_kept_for_a_later_wait(flujoctl: Flujoctl) -> None:
    """Whoever sends it on purpose names the signal."""
    assert flujoctl("approve", "g").code == 0

    refused = flujoctl("reject", "g")

    assert refused.code == 4
    assert refused.err.startswith("error[signal-unclear]: run 'g' waits for no signal now that is not there already; ")
    assert flujoctl("reject", "g", "go").code == 0


def test_a_run_that_waits_for_several_signals_wants_one_named(flujoctl: Flujoctl) -> None:
    """The lines that are printed work."""
    assert flujoctl("run", "two.yaml", "--id", "t", "--no-wait").code == 7

    unclear = flujoctl("approve", "t")

    assert unclear.code == 4
    assert "waits for several signals: a, b; nothing was sent" in unclear.err
    hints = [line.removeprefix("try: ").split()[1:] for line in unclear.err.splitlines() if line.startswith("try: ")]
    assert hints[:2] == [["approve", "t", "a"], ["approve", "t", "b"]]
    assert [flujoctl(*hint).code for hint in hints] == [0, 0, 0]


def test_a_signal_that_the_run_does_not_wait_for_is_refused(flujoctl: Flujoctl) -> None:
    """A slip would be an answer that nobody gets."""
    refused = flujoctl("approve", "g", "og")

    assert refused.code == 4
    assert refused.err.splitlines()[1] == "try: flujoctl signal g go"


def test_runs_are_answered_that_options_choose(flujoctl: Flujoctl) -> None:
    """Each with the signal that it waits for; with --resume they go on at once."""
    assert flujoctl("run", "gate.yaml", "--id", "h", "--no-wait").code == 7
    assert flujoctl("approve", "--workflow", "gate", "--dry-run").code == 0

    answered = flujoctl("approve", "--workflow", "gate", "--yes")

    assert answered.code == 0
    assert sorted(answered.out.splitlines()) == ["signal go sent to run g", "signal go sent to run h"]
    assert flujoctl("approve").code == 2
