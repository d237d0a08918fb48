"""The plan of a definition whose steps are known before it runs, as a run stores it.

    ["fetch", "9f2c…"]                     a step, and the digest of what it does as that is written
    ["report", "01ab…", "fetch", "count"]  in a graph also the steps it waits for
    ["tidy", "77d0…", "*"]                 a clean-up, which runs however the run ends

A plan in which no step waits for another is a sequence, unless a row names NOTHING. A sequence is compared with a graph
as the graph in which every step waits for the one before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

Plan = Sequence[Sequence[str]]

ALWAYS = "*"
"""Among what a step waits for: it is a clean-up, and waits for the end of everything else."""

NOTHING = ""
"""Among what the steps of a graph wait for in which no step waits for another."""

ANY = "*"
"""Among the inputs that a step mentions: it may be any of them."""

_KEY_ENDS = re.compile(r"[#\[/]")


def is_graph(plan: Plan) -> bool:
    """True if the steps of a plan wait for those they name, and not for the one before."""
    return any(column != ALWAYS for row in plan for column in row[2:])


def digests(plan: Plan) -> dict[str, str]:
    """Return the digest of every step, in the order of the plan."""
    return {row[0]: row[1] for row in plan}


def dependencies(plan: Plan) -> dict[str, frozenset[str]]:
    """Return what every step waits for by name."""
    if is_graph(plan):
        return {row[0]: frozenset(row[2:]) - {ALWAYS, NOTHING} for row in plan}
    before = [(), *((row[0],) for row in plan)]
    return {row[0]: frozenset(names) for row, names in zip(plan, before, strict=False)}


def clean_ups(plan: Plan) -> frozenset[str]:
    """Return the steps that run however the run ends."""
    return frozenset(row[0] for row in plan if ALWAYS in row[2:])


def dependents(plan: Plan, name: str) -> frozenset[str]:
    """Return a step of a graph and everything that waits for it, directly or not."""
    return reached(name, followers(dependencies(plan)))


def followers(waits_for: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return who waits for whom, the other way round."""
    turned: dict[str, list[str]] = {name: [] for name in waits_for}
    for name, others in waits_for.items():
        for other in others:
            turned.setdefault(other, []).append(name)
    return turned


def reached(start: str, edges: Mapping[str, Collection[str]]) -> frozenset[str]:
    """`start` and all that can be reached from it along edges."""
    found = {start}
    todo = [start]
    while todo:
        for name in edges.get(todo.pop(), ()):
            if name not in found:
                found.add(name)
                todo.append(name)
    return frozenset(found)


def loop_of(key: str) -> str | None:
    """Return the key of the loop or map that the step `key` is an item of: `fetch#2` for `fetch#2[17]`."""
    return key[: key.rindex("[")] if key[-1] == "]" else None


def planned_name(key: str) -> str:
    """Return the step of a definition that a step key belongs to: `fetch` for `fetch#2` and `fetch[17]`."""
    return _KEY_ENDS.split(key, maxsplit=1)[0]
