"""The part of a definition that one run performs: a flow, without some steps, or from a step on."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from flujo.kernel.errors import StepChoiceError
from flujo.kernel.programs import EVERY_STEP, StepChoice

from .definitions import Definition
from .missing_values import needed_env, needed_inputs, unguarded
from .wording import unknown


def part_of(definition: Definition, choice: StepChoice, goes_on: bool = False) -> Definition:
    """Return the part of a whole definition that is chosen; raises StepChoiceError for what cannot be.

    A run that `goes_on` had chosen when its definition may have been another one: steps that are gone since are not
    missed then, and what a step needs is its own failure.
    """
    part = _of_flow(definition, definition.default_flow if choice.flow is None else choice.flow)
    if not goes_on:
        _require_known(part, "skip_steps", choice.skip_steps)
        _require_known(part, "start_from", () if choice.start_from is None else (choice.start_from,))
    skipped = set(choice.skip_steps)
    earlier = _before(part, choice.start_from)
    part = part._replace(
        chosen=choice._replace(flow=part.chosen.flow),
        left_out={step.name: "it is among --skip-steps" for step in part.steps if step.name in skipped},
        passed_by=dict.fromkeys(earlier, f"the run was started from {choice.start_from!r}"),
    )
    gone = {*part.left_out, *part.passed_by}
    if not goes_on:
        _require_results(part, gone)
    uses = [use for use in part.uses if use.step not in gone]
    return part._replace(needed_env=needed_env(part, uses), needed_inputs=needed_inputs(part, uses))


def _of_flow(definition: Definition, name: str) -> Definition:
    if name == EVERY_STEP:
        return definition._replace(chosen=StepChoice(EVERY_STEP))
    if name not in definition.flows:
        raise StepChoiceError(definition.name, "flow", unknown("flow", name, [*definition.flows, EVERY_STEP]))
    flow = definition.flows[name]
    steps = {step.name: step for step in definition.steps}
    return definition._replace(
        steps=tuple(steps[each] for each in flow.steps),
        graph=flow.graph,
        outside=tuple(each for each in steps if each not in flow.steps),
        chosen=StepChoice(name),
    )


def _require_known(part: Definition, field: str, names: Iterable[str]) -> None:
    known = [step.name for step in part.steps]
    for name in names:
        if name in part.outside:
            problem = f"step `{name}` is not in flow `{part.chosen.flow}`, which has: {', '.join(known)}"
            raise StepChoiceError(part.name, field, problem, [f"flujoctl run FILE --flow {EVERY_STEP}"])
        if name not in known:
            raise StepChoiceError(part.name, field, unknown("step", name, known))


def _before(part: Definition, start: str | None) -> list[str]:
    """Return the steps that come before another one, without clean-ups: these run however the run goes."""
    names = [step.name for step in part.steps if not step.always_run]
    if start is None or all(step.name != start for step in part.steps):
        return []
    if part.graph is not None:
        return [name for name in names if name in part.graph.before(start)]
    order = [step.name for step in part.steps]
    return [name for name in names if order.index(name) < order.index(start)]


def _require_results(part: Definition, gone: Collection[str]) -> None:
    """Raise StepChoiceError if a step that is sure to begin, or the outputs, need the result of one that is skipped."""
    bound = {step.name for step in part.steps if step.condition in (None, True) and step.name not in gone}
    for use, needed in unguarded(part, part.uses):
        if use.step is not None and use.step not in bound:
            continue
        for step in sorted(needed & set(gone)):
            user = "`outputs` use" if use.step is None else f"step `{use.step}` uses"
            field = "skip_steps" if step in part.left_out else "start_from"
            too = "" if use.step is None else f"skip `{use.step}` too, or "
            problem = f"{user} the result of `{step}`, which would be skipped; {too}write `steps.{step}.… | default(…)`"
            raise StepChoiceError(part.name, field, f"{problem} (line {use.at.line})")
