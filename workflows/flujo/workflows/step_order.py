"""Which steps there are and what waits for what: read before the steps themselves, which mention each other.

In a sequence a step comes after those above it. As soon as one step has `depends_on` the definition is a graph.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from .documents import Node, Position, Problems
from .graphs import Graph
from .reading import NodeReader, has_value, is_text, is_true, kind_of
from .wording import unknown

AT_THE_END = "step `{}` is a clean-up without `depends_on`, which runs at the end"


class StepOrder:
    """The steps of a definition, each with the place of its name.

    `graph` None: they run in order. `clean_ups` always run; those `left_for_the_end` are in a graph and wait for
    nothing in particular.
    """

    def __init__(self) -> None:
        self.steps: dict[str, Position] = {}
        self.clean_ups: set[str] = set()
        self.left_for_the_end: list[str] = []
        self.graph: Graph | None = None
        self.unsaid: set[str] = set()  # of a graph, the steps that wait for the one before without saying so

    def before(self, name: str) -> Collection[str]:
        """Return the steps that have settled when a step starts."""
        names = list(self.steps)
        if name not in names:
            return names
        if self.graph is None:
            return names[: names.index(name)]
        if name in self.left_for_the_end:
            later = self.left_for_the_end[self.left_for_the_end.index(name) :]
            return [each for each in names if each not in later]
        return self.graph.before(name)


def read_order(steps: Sequence[Node], problems: Problems) -> StepOrder:
    """Return the order of the steps whose nodes, all mappings, are given."""
    reader = _OrderReader(problems)
    for step in steps:
        reader.note_name(step)
    reader.read_graph(steps)
    return reader.order


def next_of(step: Node) -> Node | None:
    """Return the node of `on_error: {next: …}`."""
    on_error = step.value.get("on_error")
    following: Node | None = (
        on_error.value.get("next") if on_error is not None and isinstance(on_error.value, dict) else None
    )
    return following


class _OrderReader(NodeReader):
    def __init__(self, problems: Problems) -> None:
        super().__init__(problems)
        self.order = StepOrder()

    def note_name(self, step: Node) -> None:
        """Note what a step is called, and whether it is a clean-up."""
        node = step.value.get("name")
        if node is None or not isinstance(node.value, str):
            return
        if (first := self.order.steps.get(node.value)) is not None:
            self._add(node.at, f"there are two steps called `{node.value}`, the first one in {first.place}")
        else:
            self.order.steps[node.value] = node.at
            if is_true(step.value.get("always_run")):
                self.order.clean_ups.add(node.value)

    def read_graph(self, steps: Sequence[Node]) -> None:
        """Read what waits for what: what `depends_on` says, else the step before; a handler for what it handles."""
        if not any(has_value(step, "depends_on") for step in steps):
            return
        named = [(step.value["name"].value, step) for step in steps if is_text(step.value.get("name"))]
        edges: dict[str, dict[str, Position]] = {name: {} for name, _ in named}
        for name, step in named:
            if name in self.order.clean_ups and not (has_value(step, "depends_on") and step.value["depends_on"].value):
                self.order.left_for_the_end.append(name)
        for name, step in named:
            for other, at in self._read_depends_on(step.value.get("depends_on"), name):
                edges[name].setdefault(other, at)
        for name, step in named:
            handler = next_of(step)
            if handler is not None and handler.value in edges and handler.value != name:
                edges[handler.value].setdefault(name, handler.at)
        unsaid = self._wait_for_the_step_before(named, edges)
        self.order.unsaid = unsaid
        self.order.graph = Graph(edges)
        for cycle in self.order.graph.cycles():
            first = next((name for name in cycle if name in unsaid), None)
            hint = (
                "" if first is None else f"; `{first}` says nothing and waits for the step before it, `depends_on: []`"
            )
            self._add(edges[cycle[0]][cycle[1]], f"these steps wait for each other: {' → '.join(cycle)}{hint}")

    def _wait_for_the_step_before(
        self, named: list[tuple[str, Node]], edges: dict[str, dict[str, Position]]
    ) -> set[str]:
        """Let each step that says nothing wait for the step before it; return these steps."""
        unsaid: set[str] = set()
        before: str | None = None
        for name, step in named:
            if name in self.order.left_for_the_end:
                continue
            if before is not None and not has_value(step, "depends_on") and not edges[name]:
                edges[name][before] = step.value["name"].at
                unsaid.add(name)
            before = name
        return unsaid

    def _read_depends_on(self, node: Node | None, name: str) -> Iterable[tuple[str, Position]]:
        if node is None or node.value is None:
            return
        if not isinstance(node.value, (str, list)):
            self._add(node.at, f"`depends_on` must be a list of step names such as [fetch], not {kind_of(node)}")
            return
        seen: set[str] = set()
        for item in [node] if isinstance(node.value, str) else node.value:
            if not isinstance(item.value, str):
                self._add(item.at, f"`depends_on` must list the names of steps, not {kind_of(item)}")
            elif item.value == name:
                self._add(item.at, f"step `{name}` cannot depend on itself")
            elif item.value not in self.order.steps:
                self._add(
                    item.at,
                    _told_of_list(item.value, self.order.steps) or unknown("step", item.value, self.order.steps),
                )
            elif item.value in seen:
                self._add(item.at, f"`{item.value}` is here twice")
            elif item.value in self.order.left_for_the_end:
                self._add(item.at, f"{AT_THE_END.format(item.value)}, so nothing can depend on it")
            else:
                seen.add(item.value)
                yield item.value, item.at


def _told_of_list(written: str, steps: Collection[str]) -> str | None:
    """Return what to write for several steps in one text; None for any other text."""
    names = re.split(r"[,\s]+", written.strip())
    return f"several steps are a list: [{', '.join(names)}]" if len(names) > 1 and set(names) <= set(steps) else None
