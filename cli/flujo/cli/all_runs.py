"""Show the events of many runs as they come, each on a line with the run it is of."""

from __future__ import annotations

import sys
from collections import OrderedDict
from contextlib import aclosing

from flujo.kernel import StoredRuns, WorkflowState
from flujo.kernel.api import RunEvent, WatchQuery
from flujo.kernel.errors import RunNotFoundError, RunReplacedError
from flujo.kernel.events import UnknownFact, to_json_object
from flujo.kernel.transitions import fold

from .event_text import event_line, event_time
from .output import emit
from .text import printable

REMEMBERED = 200
"""Of how many runs it is known how they stand, so that a line can say what an event means."""

_PAGE = 500


class AllRuns:
    """Shows what happens to the runs of a store or a server. `cursor` is where to go on."""

    def __init__(self, runs: StoredRuns, output: str, time: str | None = None) -> None:
        self._runs = runs
        self._output = output
        self._time = time
        self._states: OrderedDict[str, WorkflowState] = OrderedDict()  # by uid, the one used last at the end
        self.cursor: str | None = None

    async def show(self, cursor: str | None, types: list[str], wanted: WatchQuery) -> None:
        """Show each event behind the cursor, or with None from now on. Ends by an error only."""
        watch = self._runs.watch_runs(cursor, from_now=cursor is None, types=types, **wanted)
        async with aclosing(watch) as events:
            async for event in events:
                if self._output == "jsonl":
                    told = {"workflow": event.workflow, "cursor": event.cursor}
                    emit(to_json_object(event.run_id, event.event) | told, "jsonl")
                else:
                    at = event_time(event.event.at, self._time)
                    print(f"{at}  {printable(event.run_id)}  {await self._line(event)}")
                sys.stdout.flush()
                self.cursor = event.cursor

    async def _line(self, event: RunEvent) -> str:
        """Return an event in words. It takes how its run stood then, so a run that is new here is read up to it."""
        state = self._states.get(event.uid) or WorkflowState(run_id=event.run_id, uid=event.uid)
        self._states[event.uid] = state
        self._states.move_to_end(event.uid)
        try:
            await self._catch_up(state, event.event.seq)
        except (RunNotFoundError, RunReplacedError):
            del self._states[event.uid]
            return f"{event.event.type} (the run is gone)"
        if state.is_final:
            del self._states[event.uid]
        elif len(self._states) > REMEMBERED:
            self._states.popitem(last=False)
        return event_line(event.event, state)

    async def _catch_up(self, state: WorkflowState, seq: int) -> None:
        while state.seq < seq:
            limit = min(seq - state.seq, _PAGE)
            for event in await self._runs.events(state.run_id, state.seq, limit=limit, uid=state.uid):
                if isinstance(event.fact, UnknownFact):
                    return
                fold(state, event)
