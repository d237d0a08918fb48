"""Tasks that a program or a step has started with asyncio and that go on although their run has ended.

What such a task does is recorded nowhere, a restart does not repeat it, and its errors reach nobody. So the end of a
run looks for them and says so. A look takes all tasks of the event loop, of which a server has one for each watcher: so
there is at most one in LOOK_AFTER_SECONDS, and none before a hundred times as long as the last one took, for all runs
that have ended since; the last one is taken when the kernel closes. trio has no such tasks, and one of
anyio's belongs to a task group that somebody waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anyio

from flujo.kernel.execution.leaving import program_of

logger = logging.getLogger("flujo.kernel")

LOOK_AFTER_SECONDS = 0.25

RESTS = 100
"""So many times as long as a look took there is none after it."""

_NAMED = 5
"""How many tasks of one run are named."""


class LeftTasks:
    """The runs of one kernel that have ended and whose tasks were not looked for since."""

    def __init__(self) -> None:
        self._ended: dict[str, str] = {}  # run ids, by uid
        self._look_from = float("-inf")

    def ended(self, run_id: str, uid: str) -> None:
        """A run of this kernel is final."""
        self._ended[uid] = run_id
        if anyio.current_time() >= self._look_from:
            self.look()

    def look(self) -> None:
        """Warn of the tasks of runs that have ended since the last look."""
        ended, self._ended = self._ended, {}
        began = anyio.current_time()
        for uid, tasks in _left_by(ended).items():
            logger.warning(
                "run %s has ended, and goes on outside of its record: %s; await or cancel what a run starts, and start "
                "elsewhere what belongs to the whole application",
                ended[uid],
                listed(tasks),
            )
        ended_at = anyio.current_time()
        self._look_from = ended_at + max(LOOK_AFTER_SECONDS, RESTS * (ended_at - began))


def left_by(uid: str) -> Sequence[str]:
    """Return the tasks that the program and the steps of a run have started and that go on, each with its place."""
    return _left_by({uid: ""}).get(uid, ())


def listed(tasks: Sequence[str]) -> str:
    """Return tasks as a text."""
    return ", ".join(tasks[:_NAMED]) + (f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else "")


def _left_by(uids: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    if uids:
        for uid, task in _tasks():
            if uid in uids:
                found.setdefault(uid, []).append(_described(task))
    return {uid: sorted(tasks) for uid, tasks in found.items()}


def _tasks() -> Iterator[tuple[str, asyncio.Task[Any]]]:
    """Yield the tasks of this event loop that descend from a program and that nobody is known to wait for."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # trio
        return
    descending = [(uid, task) for task in tasks if (uid := program_of(task)) is not None and not task.cancelling()]
    if descending:
        parents = {info.id: info.parent_id for info in anyio.get_running_tasks()}
        yield from ((uid, task) for uid, task in descending if parents.get(id(task)) is None and not _is_ours(task))


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """True for what the kernel itself has started in the name of a program."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("flujo.kernel.")


def _described(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", None) or task.get_name()
    frame = getattr(coroutine, "cr_frame", None)
    return name if frame is None else f"{name} ({frame.f_code.co_filename}:{frame.f_lineno})"
