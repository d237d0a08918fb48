"""The tasks that say something or make one value of others, run by `flujoctl run`."""

from __future__ import annotations

import pytest

from workflows.tasks.conftest import Runs


def test_strings_are_joined_and_numbers_added(runs: Runs) -> None:
    """What is no text is taken as JSON; a space is the separator unless another one is given."""
    results = runs.results("""
        - {name: words, task: join_strings, inputs: {strings: [a, 1, true, {b: null}]}}
        - {name: lines, task: join_strings, inputs: {strings: "{{ ['x', 'y'] }}", separator: "-"}}
        - {name: sum, task: add_numbers, inputs: {a: 1, b: "{{ 2.5 }}"}}
    """)

    assert results == {"words": 'a 1 true {"b": null}', "lines": "x-y", "sum": 3.5}


def test_a_message_goes_to_the_log(runs: Runs) -> None:
    """Not to what a script reads."""
    results = runs.results(
        """
        - {name: say, task: print_message, inputs: {message: "Hello {{ args.whom }}"}}
        - {name: nothing, task: print_message}
        """,
        top="params: {whom: {default: Zoë}}",
    )

    assert results["say"] == {"success": True, "printed_length": 9}
    assert results["nothing"] == {"success": True, "printed_length": 0}
    assert runs.log() == "say.1| Hello Zoë\n"


def test_every_name_is_printed_with_its_value(runs: Runs) -> None:
    """As JSON, long ones cut; a step without a result has its status."""
    runs.results(
        """
        - {name: long, task: echo, inputs: {message: "{{ 'x' * 5000 }}"}}
        - {name: never, task: noop, condition: false}
        - {name: show, task: print_vars, inputs: {message: here}}
        """,
        top="params: {day: {default: monday}}",
    )

    shown = [line for line in runs.log().splitlines() if line.startswith("show.1| ")]
    assert shown[0] == "show.1| --- here ---"
    assert 'show.1| args = {"day": "monday"}' in shown
    assert 'show.1| day = "monday"' in shown
    (steps,) = [line for line in shown if line.startswith("show.1| steps = ")]
    assert len(steps) < 2_100
    assert steps.endswith("xxx…")


def test_noop_hands_back_what_it_was_given(runs: Runs) -> None:
    """Any inputs; without any it returns null."""
    results = runs.results("""
        - {name: all, task: noop, inputs: {anything: [1], more: "{{ 1 + 1 }}"}}
        - {name: nothing, task: noop}
    """)

    given = {"anything": [1], "more": 2}
    assert results == {
        "all": {"processed_inputs": given, "task_name": "all", "task_type": "noop"},
        "nothing": None,
    }


def test_noop_fails_when_it_is_asked_to(runs: Runs) -> None:
    """To try what follows a failure."""
    assert runs.error("- {name: a, task: noop, inputs: {should_fail: true}}")[0] == "TaskFailed"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("task: join_strings, inputs: {strings: a}", '3:53: `strings` must be an array, not "a"'),
        ("task: add_numbers, inputs: {a: one, b: 2}", '3:46: `a` must be a number, not "one"'),
        ("task: add_numbers, inputs: {a: 1}", "3:21: task `add_numbers` needs the input `b`"),
        ("task: noop, inputs: {should_fail: maybe}", '3:49: `should_fail` must be a boolean, not "maybe"'),
    ],
)
def test_wrong_inputs_are_refused_before_anything_runs(step: str, told: str, runs: Runs) -> None:
    """With the place in the file."""
    assert told in runs.refusal(f"- {{name: a, {step}}}")


def test_wrong_inputs_that_templates_make_fail_their_step(runs: Runs) -> None:
    """They are checked once they are known."""
    type, message = runs.error("- {name: a, task: add_numbers, inputs: {a: \"{{ 'one' }}\", b: 2}}")

    assert type == "TaskInputError"
    assert message == "the inputs of task 'add_numbers' are not valid: `a` must be a number, not \"one\""
