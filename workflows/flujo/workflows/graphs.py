"""Which steps of a graph wait for which, and which of them may start now. Nothing here waits or records.

    graph = Graph({"fetch": [], "count": ["fetch"], "report": ["fetch", "count"]})
    schedule = Schedule(graph)
    schedule.take()          "fetch"; then None until it has settled
    schedule.settle("fetch")
    schedule.take()          "count"

A step is ready once everything it waits for has settled, in whatever way. Of several ready steps the one that stands
first in the file comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from functools import cached_property

from flujo.kernel.programs import followers, reached


class Graph:
    """The steps of a definition in the order of the file, each with the steps it waits for."""

    def __init__(self, waits_for: Mapping[str, Collection[str]]) -> None:
        self.waits_for = {name: tuple(others) for name, others in waits_for.items()}

    @cached_property
    def followers(self) -> Mapping[str, Collection[str]]:
        """Return, for each step, the steps that wait for it directly."""
        return followers(self.waits_for)

    @property
    def has_edges(self) -> bool:
        """True if any step waits for another one."""
        return any(self.waits_for.values())

    def before(self, name: str) -> frozenset[str]:
        """Return the steps that have settled when a step starts."""
        return reached(name, self.waits_for) - {name}

    def after(self, name: str) -> frozenset[str]:
        """Return the steps that wait for a step, directly or not."""
        return reached(name, self.followers) - {name}

    def cycles(self) -> list[list[str]]:
        """Return steps that wait for each other, as `[a, b, a]`: at least one such cycle for each group of them."""
        found: list[list[str]] = []
        done: set[str] = set()
        for start in self.waits_for:
            path: dict[str, None] = {}
            ways = [iter((start,))]
            while ways:
                name = next(ways[-1], None)
                if name is None:
                    ways.pop()
                    if path:
                        done.add(path.popitem()[0])
                elif name in path:
                    names = list(path)
                    found.append(self._from_first(names[names.index(name) :]))
                elif name not in done and name in self.waits_for:
                    path[name] = None
                    ways.append(iter(self.waits_for[name]))
        return found

    def _from_first(self, ring: list[str]) -> list[str]:
        """Return the ring, begun and closed with the step that stands first in the file."""
        order = list(self.waits_for)
        first = ring.index(min(ring, key=order.index))
        return [*ring[first:], *ring[:first], ring[first]]


class Schedule:
    """What has started and settled in one execution of a graph.

    `max_parallel` bounds how many steps are between their start and their settling; steps in `unbounded` do not count.
    """

    def __init__(
        self, graph: Graph, max_parallel: int | None = None, *, unbounded: Collection[str] = frozenset()
    ) -> None:
        self._graph = graph
        self._places = {name: place for place, name in enumerate(graph.waits_for)}
        self._names = list(graph.waits_for)
        self._unsettled = {name: len(others) for name, others in graph.waits_for.items()}
        self._max_parallel = max_parallel
        self._unbounded = unbounded
        self._at_work: set[str] = set()
        self._ready: list[int] = []
        self._ready_at_once: list[int] = []
        for name, count in self._unsettled.items():
            if count == 0:
                self._put(name)

    def take(self) -> str | None:
        """Return the next step to start, which counts as running from now on; None if there is none, or no room."""
        if self._ready_at_once:
            return self._names[heapq.heappop(self._ready_at_once)]
        if self._ready and (self._max_parallel is None or len(self._at_work) < self._max_parallel):
            name = self._names[heapq.heappop(self._ready)]
            self._at_work.add(name)
            return name
        return None

    def drop(self, name: str) -> None:
        """Give up a step: it is not performed after all, and what waits for it does not start."""
        self._at_work.discard(name)

    def settle(self, name: str) -> None:
        """Note that a step has an outcome: what waits for it may be ready now."""
        self._at_work.discard(name)
        for follower in self._graph.followers[name]:
            self._unsettled[follower] -= 1
            if self._unsettled[follower] == 0:
                self._put(follower)

    def _put(self, name: str) -> None:
        heapq.heappush(self._ready_at_once if name in self._unbounded else self._ready, self._places[name])
