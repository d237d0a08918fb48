"""The task `batch` calls another task once per item; it is a loop that goes on when items fail."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.errors import DefinitionError
from flujo.kernel.state import WorkflowState
from flujo.workflows import load_workflow
from flujo.workflows.loading import warnings_in
from workflows.played import PlayHarness, statuses

HEAD = "name: flow\nsteps:\n"


def batch(inputs: str, more: str = "", then: str = "") -> str:
    """A definition with a batch `a`, and a step that tells its counts."""
    return f"{HEAD}- {{name: a, task: batch, inputs: {{{inputs}}}{more}}}\n{then}"


async def ended(harness: PlayHarness, text: str) -> WorkflowState:
    workflow = harness.load_text(text)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        return await kernel.wait("r")


def result(state: WorkflowState) -> dict[str, Any]:
    found: dict[str, Any] = state.step_outputs["a"]["result"]
    return found


async def test_a_batch_calls_its_task_for_each_item() -> None:
    """The task sees the item, under its name as well, and the step's other names."""
    harness = PlayHarness()

    state = await ended(
        harness,
        batch(
            "items: [x, {k: 1}], arg_name: thing, max_workers: 2, chunk_size: 2, task: {task: play, inputs: "
            "{value: ['{{ thing }}', '{{ args.thing }}', '{{ batch.item }}', '{{ batch.index }}', '{{ batch.name }}']}}"
        ),
    )

    assert statuses(state) == {"a": "completed", "a[0]": "completed", "a[1]": "completed"}
    assert result(state)["results"] == [["x", "x", "x", 0, "a"], [{"k": 1}, {"k": 1}, {"k": 1}, 1, "a"]]


async def test_a_task_that_takes_an_input_of_that_name_gets_the_item() -> None:
    """Unless it is given another; a task alone is enough then."""
    harness = PlayHarness()

    state = await ended(harness, batch("items: [x, 5], arg_name: message, task: echo"))
    assert result(state)["results"] == ["x", 5]

    other = await ended(PlayHarness(), batch("items: [x], arg_name: message, task: {task: echo, params: {message: y}}"))
    assert result(other)["results"] == ["y"]


async def test_a_batch_goes_on_when_items_fail() -> None:
    """It completes with what has become of each, unless the step says that a failure ends it."""
    inputs = "items: [x, y, z], max_workers: 1, task: {task: play}"
    harness = PlayHarness(failing={"a[1]": 1})
    state = await ended(harness, batch(inputs))
    assert (state.status, result(state)["results"]) == ("completed", ["a[0]", None, "a[2]"])
    assert [each["item"] for each in result(state)["failed"]] == ["y"]

    strict = PlayHarness(failing={"a[1]": 1})
    state = await ended(strict, batch(inputs, ", on_error: fail"))
    assert (state.status, strict.began) == ("failed", ["a[0]", "a[1]"])


@pytest.mark.parametrize("place", ["inputs", "params", "step"])
async def test_progress_is_set_beside_the_task_or_among_its_inputs(place: str) -> None:
    """As people's files have it: a loop whose progress is not recorded reports none."""
    setting = "progress_update: false, progress_interval: 5"
    inputs = "items: [1, 2], task: {task: play}"
    text = {
        "inputs": batch(f"{inputs}, {setting}"),
        "params": batch(inputs, f", params: {{{setting}}}"),
        "step": batch(inputs, f", {setting}"),
    }[place]
    for told, expected in ((text, None), (text.replace("false", "true"), 2)):
        harness = PlayHarness()
        state = await ended(harness, told)
        progress = state.steps["a"].progress
        assert (None if progress is None else progress.done) == expected


async def test_items_are_a_list_and_nothing_is_made_one() -> None:
    """A JSON object is one item of a list, and text is not split at spaces or quotes."""
    objects = '[\'{"a": "b c"}\', "it\'s one", {"k": "v w"}]'
    state = await ended(PlayHarness(), batch(f"items: {objects}, arg_name: message, task: echo"))
    assert result(state)["results"] == ['{"a": "b c"}', "it's one", {"k": "v w"}]

    failed = await ended(
        PlayHarness(),
        f"{HEAD}- {{name: t, task: echo, inputs: {{message: one two}}}}\n"
        "- {name: a, task: batch, inputs: {items: '{{ steps.t.result }}', task: echo, arg_name: message}}\n",
    )
    assert failed.error is not None
    assert failed.error.message.startswith('`items` must give a list, not the text "one two"')


async def test_numbers_of_a_batch_may_be_templates() -> None:
    """They are checked once they are rendered."""
    inputs = "items: [1, 2, 3], max_workers: '{{ 2 }}', chunk_size: '{{ 1 }}', task: {task: play}"
    state = await ended(PlayHarness(), batch(inputs))
    assert state.status == "completed"

    failed = await ended(PlayHarness(), batch(inputs.replace("{{ 2 }}", '{{ "two" }}')))
    assert failed.error is not None
    assert failed.error.message == '`max_workers` must be a whole number from 1 on, not "two"'


async def test_a_batch_is_a_clean_up_and_a_part_of_a_graph() -> None:
    """As any other step."""
    harness = PlayHarness(failing={"bad": 1})
    state = await ended(
        harness,
        f"""{HEAD}
- {{name: bad, task: play}}
- name: a
  task: batch
  always_run: true
  inputs: {{items: [1, 2], task: {{task: play, inputs: {{why: "{{{{ run.reason }}}}"}}}}}}
""",
    )
    assert (state.status, harness.given["a[1]"]["why"], len(result(state)["results"])) == ("failed", "failed", 2)

    graph = PlayHarness()
    await ended(
        graph,
        f"""{HEAD}
- {{name: a, task: batch, inputs: {{items: [1, 2], task: play}}}}
- {{name: b, task: play, depends_on: [], for_each: [1]}}
- {{name: c, task: play, depends_on: [a, b]}}
""",
    )
    assert set(graph.began[:3]) == {"a[0]", "a[1]", "b[0]"}
    assert graph.began[3:] == ["c"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ("task: noop", "3:19: task `batch` needs the input `items`"),
        ("items: [1]", "3:19: task `batch` needs the input `task`"),
        (
            "items: a b, task: noop",
            '3:42: `items` must be a list or one `{{ … }}`, not the text "a b"; text is never split',
        ),
        (
            "items: [1], task: {inputs: {}}",
            "3:53: `task` of a batch is `{task: NAME, inputs: {…}}`; `task` is missing in it",
        ),
        ("items: [1], task: ech", "3:53: there is no task `ech`; did you mean `echo`?"),
        ("items: [1], task: {task: ech}", "3:60: there is no task `ech`; did you mean `echo`?"),
        ("items: [1], task: {task: echo}", "3:60: task `echo` needs the input `message`"),
        (
            "items: [1], task: {task: echo, inputs: {message: 1, massage: 2}}",
            "there is no input of task `echo` `massage`",
        ),
        (
            "items: [1], task: {task: echo, message: x}",
            "3:66: `message` is an input of task `echo`; put it under `inputs`",
        ),
        ("items: [1], task: {task: batch, inputs: {}}", "a batch cannot call `batch`; make one list of all items"),
        ("items: [1], task: noop, batch_size: 5", "3:59: task `batch` has no input `batch_size`; write `chunk_size`"),
        ("items: [1], task: noop, parallel: true", "task `batch` has no input `parallel`; write `max_workers: 1`"),
        ("items: [1], task: noop, retry: 3", "task `batch` has no input `retry`; write it beside `task: batch`"),
        ("items: [1], task: noop, on_error: continue", "task `batch` has no input `on_error`; write it beside"),
        ("items: [1], task: noop, max_wrokers: 5", "there is no input of task `batch` `max_wrokers`; did you mean"),
        ("items: [1], task: noop, progress_interval: soon", '`progress_interval`: "soon" is not a duration'),
        ("items: [1], task: noop, arg_name: steps", "`arg_name` cannot be `steps`, which is another name already"),
        ("items: ['{{ item }}'], task: noop", "`item` is known only in the inputs of what a loop"),
        (
            "items: [1], task: {task: echo, inputs: {message: '{{ itm }}'}}",
            "there is no name `itm`; did you mean `item`?",
        ),
    ],
)
def test_what_is_wrong_with_a_batch_is_told_with_its_place(inputs: str, told: str) -> None:
    """And with the spelling to use."""
    with pytest.raises(DefinitionError) as refused:
        load_workflow(batch(inputs), source="f")

    problems = [f"{each.line}:{each.column}: {each.message}" for each in refused.value.problems]
    assert [problem for problem in problems if told in problem] != []


def test_a_batch_in_a_loop_is_refused() -> None:
    """It is one itself."""
    with pytest.raises(DefinitionError, match="`for_each` does not go with task `batch`, which is a loop itself"):
        load_workflow(batch("items: [1], task: noop", ", for_each: [1]"), source="f")


def test_the_result_of_a_loop_that_goes_on_needs_no_default(tmp_path: Any) -> None:
    """It is there whatever fails; that of one whose condition may be false need not be."""
    use = '- {name: b, task: echo, inputs: {message: "{{ steps.a.result.stats.failed }}"}}\n'
    file = tmp_path / "f.yaml"
    file.write_text(batch("items: [1], task: noop", ", on_error: continue", use))
    assert warnings_in(file) == []

    file.write_text(batch("items: [1], task: noop", ", condition: env.A == 'x'", use))
    assert [each.line for each in warnings_in(file)] == [4]
