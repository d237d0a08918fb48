"""What is wrong is said in one go, in one line each, with the exit code that fits and without a traceback."""

from __future__ import annotations

import json

from acceptance.terminal import Place

BAD = """\
name: bad
colour: red
steps:
  - {name: one, task: no_such_task}
  - {name: two, task: shell}
  - {name: two, task: echo, inputs: {message: "{{ steps.three.result }}"}}
"""


def test_a_bad_definition_shows_everything_that_is_wrong_and_stores_nothing(place: Place) -> None:
    """run and validate name the same places; there is no store afterwards."""
    place.write("bad.yaml", BAD)

    run = place.flujoctl("run", "bad.yaml")
    validate = place.flujoctl("validate", "bad.yaml")
    as_json = place.flujoctl("validate", "bad.yaml", "-o", "json")

    assert (run.code, validate.code, as_json.code) == (2, 2, 2)
    problems = [line for line in run.err.splitlines() if line.startswith("bad.yaml:")]
    assert problems == validate.out.splitlines()
    assert [problem.split(":")[1] for problem in problems] == ["2", "4", "5", "6", "6"]
    assert len(json.loads(as_json.out)) == len(problems)
    assert list((place.folder / ".flujo").iterdir()) == []


def test_wrong_inputs_store_nothing(place: Place) -> None:
    """A run whose inputs do not fit does not begin."""
    place.write(
        "typed.yaml", "name: typed\nparams: {n: {type: integer, required: true}}\nsteps: [{name: a, task: noop}]\n"
    )

    assert place.flujoctl("run", "typed.yaml", "n=many").code == 2
    assert place.flujoctl("run", "typed.yaml").code == 2
    assert list((place.folder / ".flujo").iterdir()) == []


def test_an_unknown_run_is_one_line_and_one_hint(place: Place) -> None:
    """Exit code 3, in a folder without a store and in one with a store."""
    no_store = place.flujoctl("inspect", "nobody")
    place.write("small.yaml", "name: small\nsteps: [{name: a, task: noop}]\n")
    place.flujoctl("run", "small.yaml")

    unknown = place.flujoctl("inspect", "nobody")

    assert no_store.code == 3
    assert unknown.code == 3
    assert unknown.err.splitlines() == ["error: no run 'nobody' in sqlite:.flujo/state.db", "try: flujoctl list"]


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    """`flujoctl watch … | head` ends quietly with 141."""
    place.write("small.yaml", "name: small\nsteps: [{name: a, task: noop}]\n")
    place.flujoctl("run", "small.yaml", "--id", "r")
    watch = place.start("watch", "r", "-o", "jsonl")
    assert watch.stdout is not None
    assert watch.stderr is not None
    watch.stdout.close()

    assert watch.stderr.read() == ""
    watch.stderr.close()
    assert watch.wait() == 141
