"""The flows of a definition: parts of its steps that are run by themselves, checked as if the others were not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import chain

from flujo.kernel.programs import EVERY_STEP

from .definition_keys import FLOWS_KEYS, check_keys
from .definitions import Flow, Use
from .documents import Node, Position, Problems, TooManyProblems
from .reading import NodeReader, is_text, kind_of
from .step_order import StepOrder, next_of, read_order
from .template_checks import TemplateChecks
from .wording import unknown

_FORM = "[{quick: [fetch, report]}]"


class FlowReader(NodeReader):
    """Reads `flows`, when the steps and their templates are known."""

    def __init__(self, problems: Problems, steps: Sequence[Node], templates: TemplateChecks) -> None:
        super().__init__(problems)
        self._problems = problems
        self._steps = {step.value["name"].value: step for step in steps if is_text(step.value.get("name"))}
        self._templates = templates
        self._is_sound = not problems.found  # else what is wrong with the definition itself comes first

    def read(self, node: Node | None) -> tuple[dict[str, Flow], str]:
        """Return the flows by name, and the name of the one that runs if none is asked for."""
        given = self._mapping(node, "`flows`")
        if node is None or not isinstance(node.value, dict):
            return {}, EVERY_STEP
        check_keys(node, self._problems, "`flows`", FLOWS_KEYS)
        if given.get("definitions") is None:
            self._add(node.at, f"`flows` needs `definitions`, the flows with their steps: {_FORM}")
        flows: dict[str, Flow] = {}
        first: dict[str, Position] = {}
        for name, at, steps in self._definitions(given.get("definitions")):
            if name in flows:
                self._add(at, f"there are two flows called `{name}`, the first one in {first[name].place}")
            elif name == EVERY_STEP:
                self._add(at, f"`{EVERY_STEP}` is the flow of all steps, which every workflow has; choose another name")
            flows[name], first[name] = self._flow(name, at, steps), at
        default = self._text(given.get("default"), "`default`") or EVERY_STEP
        if default not in flows and default != EVERY_STEP:
            self._add(given["default"].at, unknown("flow", default, [*flows, EVERY_STEP]))
        return flows, default

    def _definitions(self, node: Node | None) -> Iterator[tuple[str, Position, Node]]:
        """Yield the flows of a list of mappings, or of one mapping."""
        if node is None:
            return
        if not isinstance(node.value, (dict, list)):
            self._add(node.at, f"`definitions` must be a list of flows such as {_FORM}, not {kind_of(node)}")
            return
        for each in [node] if isinstance(node.value, dict) else node.value:
            if isinstance(each.value, dict):
                yield from ((name, each.keys[name], steps) for name, steps in each.value.items())
            else:
                self._add(each.at, f"a flow is a name with a list of steps, as in {_FORM}, not {kind_of(each)}")

    def _flow(self, name: str, at: Position, node: Node) -> Flow:
        if not isinstance(node.value, list) or not node.value:
            given = "an empty list" if node.value == [] else kind_of(node)
            self._add(node.at, f"flow `{name}` must be a list of the names of steps, not {given}")
            return Flow((), None)
        found = len(self._problems.found)
        steps: dict[str, Node] = {}
        for item in node.value:
            if not isinstance(item.value, str):
                self._add(item.at, f"flow `{name}` must list the names of steps, not {kind_of(item)}")
            elif item.value not in self._steps:
                self._add(item.at, unknown("step", item.value, self._steps))
            elif item.value in steps:
                self._add(item.at, f"`{item.value}` is twice in flow `{name}`")
            else:
                steps[item.value] = self._steps[item.value]
        if not self._is_sound or len(self._problems.found) > found:
            return Flow((), None)
        return self._checked(name, at, steps)

    def _checked(self, name: str, at: Position, steps: Mapping[str, Node]) -> Flow:
        """Return a flow of steps that exist, after noting what they need and the flow does not have."""
        missing = [each for each in _named_by(steps) if each[2] not in steps]
        for step, place, needed, word in missing:
            self._add(place, f"flow `{name}` has `{step}` and not `{needed}`, which its `{word}` names; add it there")
        if missing:
            return Flow((), None)
        apart = Problems(self._problems.file)  # what is wrong with the flow alone
        with suppress(TooManyProblems):
            order = read_order(list(steps.values()), apart)
        for problem in apart.found:
            self._add(at, f"flow `{name}`: {problem.message}")
        if apart.found:
            return Flow((), None)
        self._check_templates(name, order)
        return Flow(tuple(steps), order.graph)

    @cached_property
    def _needed(self) -> dict[str | None, list[tuple[Use, frozenset[str]]]]:
        """Return by step the templates that need results; under None those of the outputs."""
        found: dict[str | None, list[tuple[Use, frozenset[str]]]] = {}
        for use, needed in self._templates.unguarded_uses():
            if needed:
                found.setdefault(use.step, []).append((use, needed))
        return found

    def _check_templates(self, name: str, order: StepOrder) -> None:
        for use, needed in chain.from_iterable(self._needed.get(step, ()) for step in (None, *order.steps)):
            before = order.steps if use.step is None else order.before(use.step)
            user = "`outputs` use" if use.step is None else f"step `{use.step}` uses"
            for step in sorted(needed - {*before, use.step}):
                why = "runs later there" if step in order.steps else "is not in that flow"
                way_out = f"write `steps.{step}.… | default(…)`"
                if step not in order.steps:
                    way_out = f"add it, or {way_out}"
                self._add(use.at, f"flow `{name}`: {user} the result of `{step}`, which {why}; {way_out}")


def _named_by(steps: Mapping[str, Node]) -> Iterator[tuple[str, Position, str, str]]:
    """Yield each step with a step that it names under `depends_on` or `next`, and where."""
    for name, step in steps.items():
        node = step.value.get("depends_on")
        for item in () if node is None else node.value if isinstance(node.value, list) else [node]:
            if is_text(item):
                yield name, item.at, item.value, "depends_on"
        following = next_of(step)
        if following is not None and is_text(following):
            yield name, following.at, following.value, "next"
