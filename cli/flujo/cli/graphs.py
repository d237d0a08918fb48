"""Draw which step waits for which: for a terminal, for Mermaid and for Graphviz, with the states of a run. `svg` makes
a picture of the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flujo.kernel import WorkflowState
from flujo.kernel.programs import clean_ups, dependencies, loop_of, planned_name

from .text import COLOURS, coloured, printable

_MERMAID_COLOURS = {"31": "#f8d7da", "32": "#d4edda", "33": "#fff3cd", "35": "#e2d6f3", "36": "#d1ecf1", "2": "#eeeeee"}


class Node(NamedTuple):
    """A step. `depth` is the length of the longest way to it; `status` that of its last repeat in a run."""

    name: str
    waits_for: Sequence[str]
    depth: int
    is_clean_up: bool
    status: str | None


def of_plan(plan: Sequence[Sequence[str]], statuses: Mapping[str, str]) -> list[Node]:
    """Return the steps of a definition whose steps are known before it runs, in its order."""
    waits_for, ending = dependencies(plan), clean_ups(plan)
    places = {row[0]: place for place, row in enumerate(plan)}
    depths: dict[str, int] = {}
    for name in places:
        _measure(name, waits_for, depths)
    return [
        Node(name, sorted(waits_for[name], key=places.__getitem__), depths[name], name in ending, statuses.get(name))
        for name in places
    ]


def of_run(state: WorkflowState) -> list[Node]:
    """Return the steps of a run: those of its plan, or for a program those it has begun, one after another."""
    statuses = {
        planned_name(name): "running" if step.is_open_loop else step.status.value
        for name, step in state.steps.items()
        if loop_of(name) not in state.steps  # an item says less than its loop
    }
    if state.plan is not None:
        return of_plan(state.plan, statuses)
    names = list(state.steps)
    before = [(), *((name,) for name in names)]
    return [
        Node(name, before[place], place, is_clean_up=False, status=state.steps[name].status.value)
        for place, name in enumerate(names)
    ]


def _measure(name: str, waits_for: Mapping[str, frozenset[str]], depths: dict[str, int]) -> None:
    """Add the depth of a step, by those of the steps it waits for. A plan has no circle, and may be very long."""
    todo = [name]
    while todo:
        last = todo[-1]
        if missing := [each for each in waits_for[last] if each not in depths]:
            todo += missing
            continue
        depths[last] = 1 + max((depths[each] for each in waits_for[last]), default=-1)
        todo.pop()


def is_sequence(nodes: Sequence[Node]) -> bool:
    """True if every step but the first waits for the one before it alone."""
    return all(node.depth == place for place, node in enumerate(nodes))


def as_text(nodes: Sequence[Node], *, colour: bool) -> str:
    """Return a line for each step, indented by its depth; of a graph each names what it waits for."""
    in_sequence = is_sequence(nodes)
    names = [("" if in_sequence else "  " * node.depth) + printable(node.name) for node in nodes]
    width = max(map(len, names), default=0) + 2
    statuses = max((len(node.status or "") for node in nodes), default=0) + 2
    lines = []
    for place, (node, name) in enumerate(zip(nodes, names, strict=True)):
        number = f"{place + 1:>3}. " if in_sequence else ""
        status = (
            coloured(node.status or "", colour=colour, width=statuses) if any(each.status for each in nodes) else ""
        )
        if node.is_clean_up:
            told = "however the run ends"
        else:
            told = "" if in_sequence or not node.waits_for else "after " + ", ".join(map(printable, node.waits_for))
        lines.append(f"{number}{name:<{width}}{status}{told}".rstrip())
    return "\n".join(lines)


def as_mermaid(nodes: Sequence[Node]) -> str:
    """Return a flowchart for Mermaid, as Markdown pages show it."""
    ids = {node.name: f"s{place}" for place, node in enumerate(nodes)}
    lines = ["flowchart TD"]
    for node in nodes:
        label = _mermaid_text(node.name) + (f"<br>{node.status}" if node.status else "")
        opening, closing = ("([", "])") if node.is_clean_up else ("[", "]")
        lines.append(f'    {ids[node.name]}{opening}"{label}"{closing}')
    lines += [f"    {ids[other]} --> {ids[node.name]}" for node in nodes for other in node.waits_for]
    lines += _mermaid_classes(nodes, ids)
    return "\n".join(lines)


def _mermaid_classes(nodes: Sequence[Node], ids: Mapping[str, str]) -> Iterator[str]:
    for status in sorted({node.status for node in nodes if node.status in COLOURS and node.status}):
        members = ",".join(ids[node.name] for node in nodes if node.status == status)
        yield f"    classDef {status} fill:{_MERMAID_COLOURS[COLOURS[status]]}"
        yield f"    class {members} {status}"


def colour_of(status: str | None) -> str:
    """Return the colour of the box of a step with a status, as HTML writes colours."""
    return _MERMAID_COLOURS.get(COLOURS.get(status or "", ""), "white")


def _mermaid_text(text: str) -> str:
    """Return a label that Mermaid shows as it is: what means something to it is written by its number."""
    return "".join(each if each.isalnum() or each in " _-./:[]()" else f"#{ord(each)};" for each in printable(text))


def as_dot(nodes: Sequence[Node], name: str) -> str:
    """Return a graph for Graphviz: `flujoctl graph FILE --format dot | dot -Tsvg > graph.svg`."""
    lines = [f"digraph {_dot_text(name)} {{", "    node [shape=box, style=filled, fillcolor=white];"]
    for node in nodes:
        label = printable(node.name) + (f"\n{node.status}" if node.status else "")
        shape = ", shape=oval" if node.is_clean_up else ""
        fill = colour_of(node.status)
        lines.append(f"    {_dot_text(node.name)} [label={_dot_text(label)}, fillcolor={_dot_text(fill)}{shape}];")
    lines += [f"    {_dot_text(other)} -> {_dot_text(node.name)};" for node in nodes for other in node.waits_for]
    return "\n".join([*lines, "}"])


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def as_object(nodes: Sequence[Node], name: str) -> dict[str, Any]:
    """Return the graph as plain JSON."""
    return {
        "workflow": name,
        "steps": [
            {"name": node.name, "waits_for": list(node.waits_for), "clean_up": node.is_clean_up, "status": node.status}
            for node in nodes
        ],
    }
