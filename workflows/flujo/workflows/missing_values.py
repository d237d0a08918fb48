"""What a valid definition uses although it may be missing when it does: results of steps, environment variables,
parameters without a default.

A step may have no result: its condition is false, it fails and the run goes on, a failure elsewhere leaves it out.
Nothing is amiss where what takes the result away leaves out its user as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .definitions import Definition, StepDefinition, Use
from .documents import Position
from .parameters import MISSING
from .templates import condition_references

Causes = Mapping[str, Mapping[tuple[str, str], str]]
"""By step what may leave it without a result, each told as the end of a sentence that begins with the step."""


def needed_env(definition: Definition, uses: Iterable[Use]) -> frozenset[str]:
    """Return the environment variables without which a run cannot end as completed, whatever happens in it."""
    return frozenset[str]().union(*(use.mentioned.bare_env for use in _certain(definition, uses)))


def needed_inputs(definition: Definition, uses: Iterable[Use]) -> frozenset[str]:
    """Return the parameters of which the same is true: they are not required, and have no default."""
    optional = {each.name for each in definition.parameters if each.default is MISSING and not each.required}
    used = frozenset[str]().union(*(use.mentioned.bare_inputs for use in _certain(definition, uses)))
    return used & optional


def _certain(definition: Definition, uses: Iterable[Use]) -> Iterator[Use]:
    """Yield the templates that are rendered in each run that ends as completed."""
    causes = _causes(definition)
    bound = {step.name for step in definition.steps if not causes[step.name]}
    judged = {name for name, why in causes.items() if not why.keys() - {("condition", name)}}
    for use in uses:
        if use.is_certain and (use.step is None or use.step in bound or (use.is_condition and use.step in judged)):
            yield use


def uses_of_optional_results(definition: Definition, uses: Iterable[Use]) -> Iterator[tuple[Position, str]]:
    """Yield a warning for each result that is used without a `default` although there may be none."""
    causes = _causes(definition)
    for use, steps in unguarded(definition, uses):
        own = causes.get(use.step or "", {})
        for step in sorted(steps):
            for cause, why in causes.get(step, {}).items():
                if cause not in own:
                    yield use.at, f"step `{step}` may have no result, since {why}: write `steps.{step}.… | default(…)`"
                    break


def unguarded(definition: Definition, uses: Iterable[Use]) -> Iterator[tuple[Use, frozenset[str]]]:
    """Yield each template with the steps whose result it cannot do without, and which its step's condition does not
    ask about."""
    asked = {step.name: _asked(step) for step in definition.steps}
    for use in uses:
        guarded = asked.get(use.step or "", frozenset()) if not use.is_condition else frozenset()
        yield use, use.mentioned.bare_results - guarded


def _asked(step: StepDefinition) -> frozenset[str]:
    """Return the steps that a step's condition asks about."""
    return condition_references(step.condition).steps if isinstance(step.condition, str) else frozenset()


def _causes(definition: Definition) -> Causes:
    causes: dict[str, dict[tuple[str, str], str]] = {step.name: {} for step in definition.steps}
    for step in definition.steps:
        if step.condition not in (None, True):
            causes[step.name]["condition", step.name] = "its condition may be false"
        if not step.on_error.goes_on or (step.loop is not None and step.loop.goes_on):
            continue  # a loop that goes on when items fail has a result
        failure = ("failure", step.name)
        causes[step.name][failure] = "it may fail and the run goes on"
        for name in _left_out(definition, step):
            causes[name][failure] = f"it is left out when `{step.name}` fails"
    if definition.graph is not None:
        for handler in definition.handled:
            causes[handler]["handles", handler] = "it runs only when a step fails that it handles"
    return causes


def _left_out(definition: Definition, failed: StepDefinition) -> Iterator[str]:
    """Yield the steps that do not run when a step has failed, because its `next` leads past them."""
    target = failed.on_error.next
    if target is None:
        return
    names = [step.name for step in definition.steps]
    if definition.graph is None:
        passed = frozenset(names[names.index(failed.name) + 1 : names.index(target)])
    else:
        passed = definition.graph.after(failed.name) - definition.graph.after(target) - {target}
    yield from (step.name for step in definition.steps if step.name in passed and not step.always_run)
