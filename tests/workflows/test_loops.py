"""A step with `for_each` is performed once per item, each with a checkpoint of its own."""

from __future__ import annotations

import pytest

from flujo.kernel.errors import DefinitionError, StateIncompatibilityError
from flujo.kernel.state import WorkflowState
from flujo.workflows import load_workflow
from flujo.workflows.loops import _together
from kernel.harness import ManualClock, settled, until
from workflows.played import PlayHarness, generations, statuses

pytestmark = pytest.mark.anyio


def result(state: WorkflowState, name: str = "a") -> dict[str, object]:
    found: dict[str, object] = state.step_outputs[name]["result"]
    return found


def counts(state: WorkflowState, name: str = "a") -> dict[str, int]:
    stats = state.step_outputs[name]["result"]["stats"]
    return {key: stats[key] for key in ("total", "completed", "failed", "skipped")}


# -- what items see and give ------------------------------------------------------------------------------------------


async def test_each_item_is_a_step_that_sees_its_item() -> None:
    """`item` keeps its type; `index` and `batch` say where it stands."""
    harness = PlayHarness()

    state = await harness.play(
        "{name: a, for_each: [x y, {k: 1}, [2], null], inputs: "
        "{value: '{{ item }}', at: '{{ index }}', of: '{{ batch.total }}'}},"
        "{name: b, inputs: {value: '{{ steps.a.result.results }}'}}"
    )

    assert list(statuses(state)) == ["a", "a[0]", "a[1]", "a[2]", "a[3]", "b"]
    assert [harness.given[f"a[{n}]"]["at"] for n in range(4)] == [0, 1, 2, 3]
    assert harness.given["a[3]"]["of"] == 4
    assert result(state)["results"] == ["x y", {"k": 1}, [2], None]
    assert state.step_outputs["b"]["result"] == ["x y", {"k": 1}, [2], None]


async def test_an_empty_list_is_a_completed_step() -> None:
    """With no items, and nothing performed."""
    harness = PlayHarness()

    state = await harness.play("{name: a, for_each: [], inputs: {value: '{{ item }}'}}, {name: b}")

    assert harness.began == ["b"]
    assert statuses(state) == {"a": "completed", "b": "completed"}
    assert counts(state) == {"total": 0, "completed": 0, "failed": 0, "skipped": 0}


async def test_the_item_has_another_name_besides() -> None:
    """`arg_name` names it, at the root and in `args`."""
    harness = PlayHarness()

    await harness.play(
        "{name: a, for_each: {items: [1], arg_name: n}, inputs: {x: '{{ n }}', y: '{{ args.n }}', z: '{{ item }}'}}"
    )

    assert harness.given["a[0]"] == {"x": 1, "y": 1, "z": 1}


async def test_no_more_items_are_at_work_than_the_loop_allows() -> None:
    """Four by default, or what it or the settings say; the steps of a chunk wait for those of the one before."""
    seven = list(range(7))

    for given, top, expected in [
        (f"{seven}", "", 4),
        (f"{seven}", "settings: {max_workers: 3}\n", 3),
        (f"{{items: {seven}, max_workers: 6}}", "settings: {max_workers: 3}\n", 6),
        (f"{{items: {seven}, max_workers: '{{{{ 1 + 1 }}}}'}}", "", 2),
        (f"{{items: {seven}, chunk_size: 1}}", "", 1),
    ]:
        harness = PlayHarness(together=expected)
        await harness.play(f"{{name: a, for_each: {given}}}", top=top)
        assert harness.most_at_work == expected


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_a_failed_item_ends_the_loop_and_the_run() -> None:
    """Later items are not begun, nothing behind the loop runs, and the failure names the item."""
    harness = PlayHarness(failing={"a[1]": 1})

    state = await harness.play("{name: a, for_each: {items: [1, 2, 3, 4], max_workers: 1}}, {name: b}")

    assert harness.began == ["a[0]", "a[1]"]
    assert state.status == "failed"
    assert state.error is not None
    assert (state.error.step, state.error.type) == ("a", "ItemsFailed")
    assert state.error.message == "1 of 4 items failed, 2 were not begun: a[1]: ValueError: a[1] as told"


@pytest.mark.parametrize(
    ("told", "together"),
    [
        (["a: no"], "a: no"),
        (["a: no", "b: no"], "a: no; b: no"),
        (["a: no\n(in x)"], "a: no\n(in x)"),
        (["a: no\n(in x)", "b: no\n(in x)"], "a: no\nb: no\n(in x)"),
        (["a: no\n(in x)", "b: no\n(in y)"], "a: no\n(in x)\nb: no\n(in y)"),
        (["a: no\n(in x)", "b: no"], "a: no\n(in x)\nb: no"),
        (["a: 1\n2\n(in x)", "b: 3\n(in x)"], "a: 1\n2\nb: 3\n(in x)"),
        (["no"] * 4, "no; no; no; and 1 more"),
        (["no\n(in x)"] * 4, "no\nno\nno\nand 1 more\n(in x)"),
    ],
)
def test_what_all_failures_say_alike_is_told_once(told: list[str], together: str) -> None:
    """And one that has several lines has them for itself."""
    assert _together(told) == together


async def test_a_resume_tries_the_failed_items_again_and_no_others() -> None:
    """It goes back into the loop, and each result is there once, in its place."""
    harness = PlayHarness(failing={"a[1]": 1})
    steps = "{name: a, for_each: {items: [1, 2, 3, 4], max_workers: 2}}, {name: b}"
    await harness.play(steps)
    began = list(harness.began)
    harness.began.clear()

    state = await harness.resume()

    assert sorted([*began, *harness.began]) == ["a[0]", "a[1]", "a[1]", "a[2]", "a[3]", "b"]
    assert result(state)["results"] == ["a[0]", "a[1]", "a[2]", "a[3]"]
    assert generations(state) == {"a": 2, "a[0]": 1, "a[1]": 2, "a[2]": 1, "a[3]": 1, "b": 1}


async def test_under_continue_each_failed_item_holds_its_place() -> None:
    """The loop completes; failures are kept apart, with all that is known of them."""
    harness = PlayHarness(failing={"a[1]": 1})

    state = await harness.play("{name: a, for_each: [x, y, z], on_error: continue}, {name: b}")

    assert state.status == "completed"
    assert result(state)["results"] == ["a[0]", None, "a[2]"]
    assert result(state)["processed"] == ["x", "z"]
    told = {"index": 1, "item": "y", "step": "a[1]", "error": "a[1] as told", "type": "ValueError", "attempt": 1}
    assert result(state)["failed"] == [told]
    assert counts(state) == {"total": 3, "completed": 2, "failed": 1, "skipped": 0}


async def test_a_run_that_goes_on_may_fail_in_the_end() -> None:
    """With the loop completed; a resume tries the failed items again, and the loop has all results then."""
    harness = PlayHarness(failing={"a[1]": 1})
    steps = "{name: a, for_each: [x, y, z], on_error: {action: continue, then: fail}}, {name: b}"
    failed = await harness.play(steps)
    assert (failed.status, statuses(failed)["a"], statuses(failed)["b"]) == ("failed", "completed", "completed")
    assert failed.error is not None
    assert failed.error.message == "1 of 3 items failed: a[1]: ValueError: a[1] as told"
    harness.began.clear()

    state = await harness.resume()

    assert state.status == "completed"
    assert harness.began == ["a[1]"]
    assert result(state)["results"] == ["a[0]", "a[1]", "a[2]"]


async def test_each_item_has_its_own_retries() -> None:
    """The policy of the step is that of each item."""
    harness = PlayHarness(failing={"a[0]": 1, "a[1]": 2})

    state = await harness.play(
        "{name: a, for_each: {items: [1, 2], max_workers: 1}, retry: {max_attempts: 3, delay: 1s}}"
    )

    assert state.status == "completed"
    assert harness.began == ["a[0]", "a[0]", "a[1]", "a[1]", "a[1]"]


async def test_next_leads_on_from_a_loop_that_has_failed() -> None:
    """As from any other step; a resume does not try again what was handled."""
    harness = PlayHarness(failing={"a[0]": 1, "c": 1})
    steps = (
        "{name: a, for_each: [1, 2], on_error: {next: c}}, {name: b}, {name: c, inputs: {value: '{{ error.step }}'}}"
    )
    await harness.play(steps)
    harness.began.clear()

    state = await harness.resume()

    assert state.status == "completed"
    assert harness.began == ["c"]
    assert state.step_outputs["c"]["result"] == "a"


async def test_a_jump_back_performs_a_loop_anew() -> None:
    """Its repeat has items of its own."""
    harness = PlayHarness(failing={"b": 1})

    state = await harness.play("{name: a, for_each: [1, 2]}, {name: b, on_error: {next: a}}")

    assert statuses(state)["a#2[1]"] == "completed"
    assert state.status == "completed"


async def test_what_is_no_list_fails_the_loop() -> None:
    """The failure says what was given, and what to write."""
    for given, told in [
        (
            "'a b'",
            '`for_each` must give a list, not the text "a b"; text is never split: write `| split` for its words',
        ),
        ("'[1, 2]'", "it is JSON, so write `| fromjson`"),
        ("{k: 1}", 'not the mapping {"k": 1}; write [ ] around it for a list of one item'),
        ("5", "not 5; write [ ] around it for a list of one item"),
    ]:
        harness = PlayHarness()
        state = await harness.play(
            "{name: a, for_each: '{{ steps.b.result }}'}".join(["{name: b, inputs: {value: " + given + "}}, ", ""])
        )
        assert state.status == "failed"
        assert state.error is not None
        assert state.error.type == "ItemsError"
        assert told in state.error.message
        assert harness.began == ["b"]


# -- crashes and resumes ----------------------------------------------------------------------------------------------


async def test_a_loop_goes_on_where_its_process_died() -> None:
    """What has completed is not performed again."""
    harness = PlayHarness()
    harness.held = {"a[2]"}
    steps = "{name: a, for_each: {items: [1, 2, 3, 4], max_workers: 2}}, {name: b}"
    await harness.play_until(steps, "step_completed", "a[3]")

    state = await harness.recover()

    assert harness.began == ["a[2]", "b"]
    assert result(state)["results"] == ["a[0]", "a[1]", "a[2]", "a[3]"]


async def test_after_a_crash_a_failed_loop_begins_no_more_items() -> None:
    """A replay knows of the failure before it could begin another item; what had begun goes on."""
    harness = PlayHarness(failing={"a[0]": 1})
    harness.held = {"a[1]"}
    steps = "{name: a, for_each: {items: [1, 2, 3, 4], max_workers: 2}}, {name: b}"
    await harness.play_until(steps, "step_failed", "a[0]")

    state = await harness.recover()

    assert harness.began == ["a[1]"]
    assert statuses(state) == {"a": "failed", "a[0]": "failed", "a[1]": "completed"}


async def test_from_step_goes_back_into_a_loop() -> None:
    """From the loop everything runs anew; from an item just that one, and what follows on the loop."""
    harness = PlayHarness()
    steps = "{name: before}, {name: a, for_each: [1, 2, 3]}, {name: b}"
    await harness.play(steps)
    harness.began.clear()
    await harness.resume("a[1]")
    assert harness.began == ["a[1]", "b"]
    harness.began.clear()

    state = await harness.resume("a")

    assert sorted(harness.began) == ["a[0]", "a[1]", "a[2]", "b"]
    assert generations(state) == {"before": 1, "a": 3, "a[0]": 2, "a[1]": 3, "a[2]": 2, "b": 3}


async def test_from_an_item_in_a_graph() -> None:
    """What depends on the loop runs again, and nothing beside it."""
    harness = PlayHarness()
    await harness.play("{name: a, for_each: [1, 2]}, {name: b, depends_on: [a]}, {name: c, depends_on: []}")
    harness.began.clear()

    await harness.resume("a[0]")

    assert harness.began == ["a[0]", "b"]


async def test_a_skipped_item_counts_as_such() -> None:
    """Somebody may go on without an item."""
    harness = PlayHarness(failing={"a[1]": 5})
    await harness.play("{name: a, for_each: {items: [1, 2, 3], max_workers: 1}}")
    async with harness.kernel(load_definition=harness.load) as kernel:
        await kernel.skip("r", "a[1]")

    state = await harness.resume()

    assert result(state)["results"] == ["a[0]", None, "a[2]"]
    assert counts(state) == {"total": 3, "completed": 2, "failed": 0, "skipped": 1}


# -- changes under a run ----------------------------------------------------------------------------------------------


def loop_of(items: str, more: str = "") -> str:
    return f"{{name: a, for_each: {{items: {items}, max_workers: 1}}{more}}}, {{name: b}}"


async def test_a_list_may_grow_while_its_loop_is_not_completed() -> None:
    """The items that have completed are the same."""
    harness = PlayHarness(failing={"a[1]": 1})
    await harness.play(loop_of("[x, y]"))
    harness.began.clear()

    state = await harness.resume(steps=loop_of("[x, z, y]"))

    assert state.status == "completed"
    assert harness.began == ["a[1]", "a[2]", "b"]


async def test_another_item_in_place_of_a_completed_one_is_named() -> None:
    """The run pauses, and says which; nothing of it runs."""
    harness = PlayHarness(failing={"a[1]": 1})
    await harness.play(loop_of("[x, y]"))
    harness.began.clear()

    state = await harness.resume(steps=loop_of("[w, y]"))

    assert state.status == "paused"
    assert [tuple(row) for row in state.differences] == [
        ("a[0]", "changed", "the item it was made of has changed since it completed")
    ]
    assert harness.began == []


async def test_a_list_that_lacks_a_completed_item_is_named() -> None:
    """Its result would be lost."""
    harness = PlayHarness(failing={"a[1]": 1})
    await harness.play(loop_of("[x, y]"))

    state = await harness.resume(steps=loop_of("[]"))

    assert state.status == "paused"
    assert [tuple(row)[:2] for row in state.differences] == [("a[0]", "removed")]


async def test_what_completed_items_were_made_of_binds() -> None:
    """The inputs of the items, before the loop has completed; its list as well, once it has."""
    harness = PlayHarness(failing={"a[1]": 1})
    await harness.play(loop_of("[x, y]"))
    with pytest.raises(StateIncompatibilityError):
        await harness.resume(steps=loop_of("[x, y]", ", inputs: {value: 1}"))
    with pytest.raises(StateIncompatibilityError):
        await harness.resume(steps="{name: a}, {name: b}")

    done = PlayHarness(failing={"b": 1})
    await done.play(loop_of("[x, y]"))
    with pytest.raises(StateIncompatibilityError) as refused:
        await done.resume(steps=loop_of("[x, y, z]"))
    assert [each[:2] for each in refused.value.differences] == [("a", "changed")]


# -- definitions ------------------------------------------------------------------------------------------------------


def problems(steps: str, top: str = "") -> list[str]:
    """What is wrong with a definition, each with its place."""
    with pytest.raises(DefinitionError) as refused:
        load_workflow(f"name: f\n{top}steps:\n{steps}", source="f")
    return [f"{each.line}:{each.column}: {each.message}" for each in refused.value.problems]


def test_names_of_a_loop_are_known_in_it_and_nowhere_else() -> None:
    """Its list and its condition are read once, before it begins."""
    only = (
        "is known only in the inputs of what a loop (`for_each`, `batch`) calls; its list and its condition are read "
        "once, before it begins (in a template)"
    )
    steps = """\
- {name: a, task: echo, inputs: {message: '{{ item }}'}}
- {name: b, task: echo, for_each: '{{ index }}', condition: item == 1, inputs: {message: '{{ item }}{{ batch.index }}'}}
- {name: c, task: echo, inputs: {message: '{{ batch.item }}'}}
"""
    assert problems(steps) == [
        f"3:47: `item` {only}",
        f"4:39: `index` {only}",
        f"4:61: `item` {only}",
        f"5:47: `batch` {only}",
    ]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("for_each: a b, inputs: {message: x}", '`for_each` must be a list or one `{{ … }}`, not the text "a b"'),
        ("for_each: args.files, inputs: {message: x}", 'for what `args.files` gives write "{{ args.files }}"'),
        (
            "for_each: '{{ env.A }},{{ env.B }}', inputs: {message: x}",
            "gives text, since it is more than one expression",
        ),
        ("for_each: {items: [1], max_workers: 0}, inputs: {message: x}", "`max_workers` must be at least 1"),
        ("for_each: {items: [1], workers: 2}, inputs: {message: x}", "`for_each` has no key `workers`"),
        ("for_each: {items: [1], arg_name: env}, inputs: {message: x}", "`arg_name` cannot be `env`"),
        ("for_each: {max_workers: 2}, inputs: {message: x}", "`for_each` needs `items`, the list"),
        ("progress_update: true, inputs: {message: x}", "`progress_update` is for loops"),
        ("params: {message: x, progress_interval: 5}", "`progress_interval` is for loops"),
        ("max_workers: 2, inputs: {message: x}", "`max_workers` belongs to `for_each`"),
    ],
)
def test_what_is_wrong_with_a_loop_is_told_with_its_place(step: str, told: str) -> None:
    """And with what to write."""
    (problem,) = problems(f"- {{name: a, task: echo, {step}}}\n")

    assert problem.startswith("3:")
    assert told in problem


async def test_each_item_that_waits_takes_a_signal_of_its_own() -> None:
    """All of the step's name; a repeat after a jump waits for it as well."""
    harness = PlayHarness(failing={"b": 1})
    text = (
        "name: flow\nsteps:\n- {name: ok, task: wait_signal, for_each: [x, y]}\n- {name: again, task: wait_signal}\n"
        "- {name: b, task: play, on_error: {next: again}}\n"
    )
    workflow = harness.load_text(text)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        for name, payload in (("ok", 1), ("ok", 2), ("again", 3), ("again", 4)):
            await kernel.signal("r", name, payload)
        state = await kernel.wait("r")

    assert state.status == "completed"
    assert sorted(str(each) for each in result(state, "ok")["results"]) == ["1", "2"]  # type: ignore[attr-defined]
    assert state.steps["again#2"].output == 4


# -- ends from outside ------------------------------------------------------------------------------------------------


async def test_a_cancel_in_a_loop_is_followed_by_its_clean_ups() -> None:
    """Which may be loops; a resume goes back into the one that was cut short."""
    harness = PlayHarness()
    harness.clock = ManualClock()  # the time for clean-ups must not pass by itself
    harness.held = {"a[1]"}
    workflow = harness.flow(
        "{name: a, for_each: {items: [1, 2, 3], max_workers: 1}}, {name: b},"
        " {name: tidy, always_run: true, for_each: {items: [x, y], max_workers: 1}, inputs: {why: '{{ run.reason }}'}}"
    )
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await settled(lambda: "a[1]" in harness.began)
        await kernel.cancel("r")
        cancelled = await kernel.wait("r")
        assert harness.began == ["a[0]", "a[1]", "tidy[0]", "tidy[1]"]
        assert harness.given["tidy[1]"]["why"] == "cancelled"
        harness.began.clear()
        harness.held.clear()
        await kernel.resume("r")
        state = await kernel.wait("r")

    assert (cancelled.status, state.status) == ("cancelled", "completed")
    assert harness.began == ["a[1]", "a[2]", "b", "tidy[0]", "tidy[1]"]
    assert result(state)["results"] == ["a[0]", "a[1]", "a[2]"]


async def test_a_fork_of_a_run_takes_its_items_along() -> None:
    """From an item on, those that have completed are there, and the rest is performed."""
    harness = PlayHarness()
    workflow = harness.flow("{name: a, for_each: {items: [1, 2, 3], max_workers: 1}}, {name: b}")
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await kernel.wait("r")
        harness.began.clear()
        handle = await kernel.fork("r", from_step="a[1]")
        forked = await kernel.wait(handle.run_id)

    assert harness.began == ["a[1]", "b"]
    assert result(forked)["results"] == ["a[0]", "a[1]", "a[2]"]


async def test_one_item_is_tried_again_by_name() -> None:
    """Its loop goes on from there, and the other failed ones as well."""
    harness = PlayHarness(failing={"a[0]": 1})
    await harness.play("{name: a, for_each: {items: [1, 2], max_workers: 1}}, {name: b}")
    harness.began.clear()
    async with harness.kernel(load_definition=harness.load) as kernel:
        await kernel.resume("r", retry=["a[0]"])
        state = await kernel.wait("r")

    assert state.status == "completed"
    assert harness.began == ["a[0]", "a[1]", "b"]


async def test_a_run_whose_loop_only_waits_may_leave_memory() -> None:
    """One item after the other, as well as several at once: it goes on when the signal of an item has come."""
    for at_once in (1, 2):
        harness = PlayHarness()
        workflow = harness.load_text(
            "name: flow\nsteps:\n- {name: ok, task: wait_signal, for_each: "
            f"{{items: [1, 2, 3], max_workers: {at_once}}}}}\n- {{name: b, task: play}}\n"
        )
        async with harness.kernel(workflow, max_resident=1) as kernel:
            for number in range(4):
                await kernel.start(workflow, run_id=f"r{number}")
                await until(kernel, f"r{number}", "step_waiting", "ok[0]")
            for number in range(4):
                for payload in (1, 2, 3):
                    await kernel.signal(f"r{number}", "ok", payload)
            states = [await kernel.wait(f"r{number}") for number in range(4)]

        assert [state.status for state in states] == ["completed"] * 4
        assert sorted(harness.began) == ["b"] * 4
