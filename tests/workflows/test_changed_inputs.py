"""A run that is resumed with other inputs: steps that keep what they have made of the old ones bind."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel.errors import InvalidInputError, StateIncompatibilityError
from flujo.kernel.state import WorkflowState
from kernel.harness import until
from workflows.played import PlayHarness, generations, statuses

PARAMS = "params: {day: {default: mon}, n: {type: integer, default: 1}}\n"


async def failed_run(steps: str, top: str = PARAMS, failing: str = "end") -> PlayHarness:
    """A run of these steps and of `end`, which has failed."""
    harness = PlayHarness(failing={failing: 1})
    await harness.play(f"{steps}, {{name: end}}", top=top)
    harness.began.clear()
    return harness


async def resumed(harness: PlayHarness, steps: str | None = None, top: str = PARAMS, **options: Any) -> WorkflowState:
    """The run, resumed with these options and come to its end."""
    workflow = None if steps is None else harness.flow(f"{steps}, {{name: end}}", top=top)
    async with harness.kernel(load_definition=harness.load) as kernel:
        await kernel.resume("r", workflow=workflow, **options)
        return await kernel.wait("r")


async def refused(harness: PlayHarness, steps: str | None = None, top: str = PARAMS, **options: Any) -> list[str]:
    """What a resume with these options is refused for."""
    seq = harness.journal_state().seq
    with pytest.raises(StateIncompatibilityError) as raised:
        await resumed(harness, steps, top, **options)
    assert harness.journal_state().seq == seq
    return [str(each) for each in raised.value.differences]


MENTIONED = 'a: it has completed with `day` "mon", now "tue"'


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("{name: a, inputs: {x: '{{ day }}'}}", [MENTIONED]),
        ("{name: a, inputs: {x: '{{ args.day }}'}}", [MENTIONED]),
        ("{name: a, inputs: {x: [{y: 'on {{ args[\"day\"] | upper }}'}]}}", [MENTIONED]),
        ("{name: a, inputs: {x: '{{ args }}'}}", [MENTIONED]),
        ("{name: a, inputs: {x: '{{ args.get(\"day\") }}'}}", [MENTIONED]),
        ("{name: a, inputs: {x: '{{ args[n | string] | default(0) }}'}}", [MENTIONED]),
        ("{name: a, condition: day == 'mon'}", [MENTIONED]),
        ("{name: a, condition: day == 'sun', inputs: {x: 1}}", ['a: it was skipped with `day` "mon", now "tue"']),
        ("{name: a, inputs: {x: '{{ n }} {{ args.n }}'}}", []),
        ("{name: a, inputs: {x: 'day {% raw %}{{ day }}{% endraw %}'}}", []),
        ("{name: a, inputs: {x: '{% for day in [1] %}{{ day }}{% endfor %}'}}", []),
        ("{name: a, on_error: {action: continue, message: 'on {{ day }}'}}", []),
    ],
)
async def test_a_step_that_mentions_what_has_changed_binds(step: str, found: list[str]) -> None:
    """In its inputs and its condition, in whatever words; nothing has happened to the run when that is refused."""
    harness = await failed_run(step)

    if found:
        assert await refused(harness, inputs={"day": "tue"}) == found
    else:
        state = await resumed(harness, inputs={"day": "tue"})
        assert (state.status, state.inputs["day"], harness.began) == ("completed", "tue", ["end"])


@pytest.mark.parametrize(
    ("code", "binds"),
    [
        ("result = args.day", True),
        ("result = args['day']", True),
        ("result = args.get('day')", True),
        ("result = len(args)", True),
        ("result = context['day']", True),
        ("result = '{{ day }}'", True),
        ("result = {{ n }} + len(args.day)", True),
        ("result = args.n", False),
    ],
)
async def test_code_binds_by_what_it_takes_out_of_its_names(code: str, binds: bool) -> None:
    """Also where templates in it make something that is Python only once they are rendered."""
    harness = PlayHarness()
    text = f'name: flow\n{PARAMS}steps:\n- {{name: a, task: python_code, inputs: {{code: "{code}"}}}}\n'

    assert bool({"day", "*"} & set(harness.load_text(text).mentions.get("a", ()))) is binds


async def test_a_template_in_a_file_may_mention_anything() -> None:
    """Nobody knows what stood in it."""
    text = "name: flow\nsteps:\n- {name: a, task: template, inputs: {file: page.md}}\n"

    assert PlayHarness().load_text(text).mentions == {"a": {"*"}}


async def test_the_same_value_again_is_no_change() -> None:
    """Also as a text that is read into the declared type."""
    harness = await failed_run("{name: a, inputs: {x: '{{ n }} {{ day }}'}}")

    state = await resumed(harness, inputs={"day": "mon", "n": "1"})

    assert (state.status, harness.began) == ("completed", ["end"])


async def test_a_value_where_there_was_none_is_a_change() -> None:
    """The default in the template stood for it."""
    harness = await failed_run("{name: a, inputs: {x: '{{ args.ratio | default(1) }}'}}", top="params: {ratio: }\n")

    assert await refused(harness, inputs={"ratio": 2}) == ["a: it has completed with `ratio` not set, now 2"]


async def test_all_steps_that_bind_are_named_at_once() -> None:
    """In the order of the file, those that the text contradicts first."""
    steps = "{name: a, inputs: {x: '{{ day }}'}}, {name: b, inputs: {x: '{{ n }}'}}, {name: c}"
    harness = await failed_run(steps)

    found = await refused(harness, steps.replace("c}", "c, inputs: {x: 1}}"), inputs={"day": "tue", "n": 2})

    assert [each.partition(" with ")[0] for each in found[1:]] == ["a: it has completed", "b: it has completed"]
    assert found[0].startswith("c: its task, inputs or condition have changed")


async def test_running_again_from_the_first_of_them_is_allowed() -> None:
    """Nothing of the old inputs is left then."""
    harness = await failed_run("{name: z}, {name: a, inputs: {x: '{{ day }}'}}, {name: b, inputs: {x: '{{ day }}'}}")
    with pytest.raises(StateIncompatibilityError) as raised:
        await resumed(harness, inputs={"day": "tue"})
    assert "flujoctl resume r --from-step a day=tue  # run that step and all later ones again" in raised.value.hints
    assert await refused(harness, inputs={"day": "tue"}, from_step="b") == [MENTIONED]

    state = await resumed(harness, inputs={"day": "tue"}, from_step="a")

    assert (state.status, harness.began) == ("completed", ["a", "b", "end"])
    assert harness.given["a"] == {"x": "tue"}


async def test_accepted_inputs_are_those_of_the_run_from_then_on() -> None:
    """A later resume has nothing to ask about."""
    harness = await failed_run("{name: a, inputs: {x: '{{ day }}'}}")
    harness.failing["end"] = 1
    assert (await resumed(harness, inputs={"day": "tue"}, accept_changes=True)).status == "failed"

    state = await resumed(harness)

    assert (state.status, state.inputs["day"], harness.began) == ("completed", "tue", ["end", "end"])


async def test_what_runs_anew_anyway_does_not_bind() -> None:
    """The failed step and the clean-ups see the new inputs."""
    harness = await failed_run(
        "{name: tidy, always_run: true, inputs: {x: '{{ day }}'}}, {name: a, inputs: {x: '{{ day }}'}}", failing="a"
    )

    state = await resumed(harness, inputs={"day": "tue"})

    assert state.status == "completed"
    assert harness.given["a"] == harness.given["tidy"] == {"x": "tue"}


async def test_a_repeat_that_has_completed_binds_as_well() -> None:
    """The step itself has failed once, and was handled."""
    steps = "{name: go}, {name: a, inputs: {x: '{{ day }}'}, on_error: {next: go}}"
    harness = PlayHarness(failing={"a": 1, "end": 1})
    state = await harness.play(f"{steps}, {{name: end}}", top=PARAMS)
    assert statuses(state) == {
        "go": "completed",
        "a": "failed",
        "go#2": "completed",
        "a#2": "completed",
        "end": "failed",
    }

    assert await refused(harness, inputs={"day": "tue"}) == [MENTIONED]
    assert len(await refused(harness, steps.replace("x:", "y:"))) == 1


async def test_a_step_that_waits_binds_by_what_it_waits_for() -> None:
    """It would wait for the approval of another day."""
    harness = PlayHarness()
    text = f"name: flow\n{PARAMS}steps:\n- {{name: a, task: wait_signal, inputs: {{signal: 'go-{{{{ day }}}}'}}}}\n"
    workflow = harness.load_text(text)
    async with harness.kernel(workflow) as kernel:
        await kernel.start(workflow, run_id="r")
        await until(kernel, "r", "step_waiting", "a")

    assert await refused(harness, inputs={"day": "tue"}) == ['a: it waits with `day` "mon", now "tue"']
    async with harness.kernel(load_definition=harness.load, recover=False) as kernel:
        await kernel.resume("r", inputs={"day": "tue"}, from_step="a")
        await kernel.signal("r", "go-tue")
        assert (await kernel.wait("r")).status == "completed"


GRAPH = (
    "{name: a, inputs: {x: '{{ day }}'}}, {name: b, depends_on: [], inputs: {x: '{{ day }}'}},"
    " {name: c, depends_on: [b]}"
)


async def test_a_graph_names_a_step_only_if_running_from_there_is_enough() -> None:
    """Of two that do not depend on each other neither is."""
    harness = PlayHarness(failing={"end": 1})
    await harness.play(f"{GRAPH}, {{name: end, depends_on: [a, c]}}", top=PARAMS)

    async with harness.kernel(load_definition=harness.load) as kernel:
        with pytest.raises(StateIncompatibilityError) as raised:
            await kernel.resume("r", inputs={"day": "tue"})

    assert [each.step for each in raised.value.differences] == ["a", "b"]
    assert not any("--from-step" in hint for hint in raised.value.hints)
    assert any("--accept-changes day=tue" in hint for hint in raised.value.hints)


async def test_a_fork_with_other_inputs_leaves_behind_what_was_made_of_the_old_ones() -> None:
    """Or it is refused, with the step from which it can be made."""
    harness = await failed_run("{name: z}, {name: a, inputs: {x: '{{ day }}'}}")
    async with harness.kernel(load_definition=harness.load) as kernel:
        with pytest.raises(StateIncompatibilityError) as raised:
            await kernel.fork("r", new_run_id="f", inputs={"day": "tue"})
        assert (
            raised.value.hints[0] == "flujoctl fork r --from-step a day=tue  # run that step and all later ones again"
        )
        await kernel.fork("r", from_step="a", new_run_id="f", inputs={"day": "tue"})
        state = await kernel.wait("f")

    assert (state.status, harness.began) == ("completed", ["a", "end"])


SETTINGS = "settings: {region: eu, other: 1}\nversion: '1'\n"


@pytest.mark.parametrize(
    ("step", "binds"),
    [
        ("{name: a, inputs: {x: '{{ settings.region }}'}}", True),
        ("{name: a, condition: settings.region != ''}", True),
        ("{name: a, inputs: {x: '{{ settings }}'}}", True),
        ("{name: a, inputs: {x: '{{ workflow.version }}'}}", True),
        ("{name: a, inputs: {x: '{{ settings.other }} {{ workflow.name }}'}}", False),
    ],
)
async def test_a_setting_that_a_completed_step_reads_binds(step: str, binds: bool) -> None:
    """As its own text does; others may change freely."""
    harness = await failed_run(step, top=SETTINGS)
    changed = "settings: {region: us, other: 1, more: 2}\nversion: '2'\n"

    if binds:
        (found,) = await refused(harness, step, top=changed)
        assert found.startswith("a: its task, inputs or condition have changed")
    else:
        assert (await resumed(harness, step, top=changed)).status == "completed"


async def test_the_shell_that_is_set_binds_commands_that_are_texts() -> None:
    """A list of arguments needs no shell."""
    steps = (
        "steps:\n- {name: a, task: shell, inputs: {command: 'x'}}\n- {name: b, task: shell, inputs: {command: [x]}}\n"
    )
    plain, bash = (
        {row[0]: row[1] for row in PlayHarness().load_text(f"name: f\n{top}{steps}").plan or ()}
        for top in ("", "settings: {shell: bash}\n")
    )

    assert (plain["a"] == bash["a"], plain["b"] == bash["b"]) == (False, True)


async def test_a_parameter_that_is_new_in_the_file_has_its_default() -> None:
    """The steps that are new with it need it."""
    harness = await failed_run("{name: a}")

    state = await resumed(
        harness,
        "{name: a}, {name: b, inputs: {x: '{{ level }}'}}",
        top=PARAMS.replace("{day", "{level: {default: low}, day"),
    )

    assert state.status == "completed"
    assert (state.inputs, harness.given["b"]) == ({"level": "low", "day": "mon", "n": 1}, {"x": "low"})


async def test_a_recorded_input_that_fits_no_longer_is_named() -> None:
    """And one that is needed now; what is not declared any more is forgotten, since nothing mentions it."""
    harness = await failed_run("{name: a}")
    top = "params: {n: {type: integer, minimum: 5}, who: {type: string, required: true}}\n"

    assert await refused(harness, "{name: a}", top=top) == [
        "inputs.n: its recorded value no longer fits: it must be at least 5, not 1",
        "inputs.who: the run was started without it, and the workflow needs it now",
    ]
    state = await resumed(harness, "{name: a}", top=top, inputs={"n": "7", "who": "ada"})
    assert (state.status, state.inputs) == ("completed", {"n": 7, "who": "ada"})


async def test_an_input_that_does_not_exist_is_still_refused() -> None:
    """It is somebody's slip, and not forgotten like a recorded one."""
    harness = await failed_run("{name: a}")

    with pytest.raises(InvalidInputError):
        await resumed(harness, inputs={"dya": "tue"})


async def test_the_stored_text_never_contradicts_itself() -> None:
    """Whatever a release puts into the digest of a step besides: the text is the same."""
    harness = await failed_run("{name: a, inputs: {x: 1}}")
    run = harness.store.runs["r"]
    first = run.events[0]
    run.events[0] = first._replace(body=first.body.replace(harness.journal_state().plan[0][1], "0" * 64))  # type: ignore[index]

    assert (await resumed(harness)).status == "completed"
    assert generations(harness.journal_state())["a"] == 1
