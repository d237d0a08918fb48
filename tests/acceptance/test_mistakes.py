"""What is wrong is said in one go, in one line each, with the exit code that fits and without a traceback."""

from __future__ import annotations

import json

from acceptance.terminal import Terminal

BAD = """\
name: bad
colour: red
steps:
  - {name: one, task: no_such_task}
  - {name: two, task: shell}
  - {name: two, task: echo, inputs: {message: "{{ steps.three.result }}"}}
"""


def test_a_bad_definition_shows_everything_that_is_wrong_and_stores_nothing(terminal: Terminal) -> None:
    """run and validate name the same places; there is no store afterwards."""
    terminal.write("bad.yaml", BAD)

    run = terminal.flujoctl("run", "bad.yaml")
    validate = terminal.flujoctl("validate", "bad.yaml")
    as_json = terminal.flujoctl("validate", "bad.yaml", "-o", "json")

    assert (run.code, validate.code, as_json.code) == (2, 2, 2)
    problems = [line for line in run.err.splitlines() if line.startswith("bad.yaml:")]
    assert problems == validate.out.splitlines()
    assert [problem.split(":")[1] for problem in problems] == ["2", "4", "5", "6", "6"]
    assert len(json.loads(as_json.out)) == len(problems)
    assert list((terminal.folder / ".flujo").iterdir()) == []


def test_wrong_inputs_store_nothing(terminal: Terminal) -> None:
    """A run whose inputs do not fit does not begin."""
    terminal.write(
        "typed.yaml", "name: typed\nparams: {n: {type: integer, required: true}}\nsteps: [{name: a, task: noop}]\n"
    )

    assert terminal.flujoctl("run", "typed.yaml", "n=many").code == 2
    assert terminal.flujoctl("run", "typed.yaml").code == 2
    assert list((terminal.folder / ".flujo").iterdir()) == []


def test_an_unknown_run_is_one_line_and_one_hint(terminal: Terminal) -> None:
    """Exit code 3, in a folder without a store and in one with a store."""
    no_store = terminal.flujoctl("inspect", "nobody")
    terminal.write("small.yaml", "name: small\nsteps: [{name: a, task: noop}]\n")
    terminal.flujoctl("run", "small.yaml")

    unknown = terminal.flujoctl("inspect", "nobody")

    assert no_store.code == 3
    assert unknown.code == 3
    assert unknown.err.splitlines() == [
        "error[run-not-found]: no run 'nobody' in sqlite:.flujo/state.db",
        "try: flujoctl list",
    ]


def test_a_reader_that_goes_away_is_no_error(terminal: Terminal) -> None:
    """`flujoctl watch … | head` ends quietly with 141."""
    terminal.write("small.yaml", "name: small\nsteps: [{name: a, task: noop}]\n")
    terminal.flujoctl("run", "small.yaml", "--id", "r")
    watch = terminal.start("watch", "r", "-o", "jsonl")
    assert watch.stdout is not None
    assert watch.stderr is not None
    watch.stdout.close()

    assert watch.stderr.read() == ""
    watch.stderr.close()
    assert watch.wait() == 141
