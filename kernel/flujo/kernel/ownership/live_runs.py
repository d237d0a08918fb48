"""The table of the runs that one kernel owns, and where each of them is.

    QUEUED ──▶ STARTING ──▶ RESIDENT ◀──▶ IDLE ──▶ LEAVING ──▶ AWAY or PARKED ──▶ RESIDENT

A run enters the table when the kernel starts or claims it, and leaves it when it ends, is given up or is lost. Nothing
of it is recorded: to the store, all of these are runs of one owner. Only the methods of `LiveRuns` change the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.programs import Workflow


class Residence(Enum):
    """Where a run of a kernel is."""

    QUEUED = "queued"
    """Not in memory, and not begun here: as many runs as `max_runs` allows are at work. Admission calls the first in
    the queue when one of them ends or waits. After a crash the next owner queues it anew."""

    STARTING = "starting"
    """Called from the queue and on its way into memory."""

    RESIDENT = "resident"
    """In memory, driven by a task of its own."""

    IDLE = "idle"
    """In memory; its program's one task waits for an instant, a signal, a child or a slot. Eviction may tell it to
    leave, the longest idle first."""

    STAYING = "staying"
    """As idle, and not to be told to leave: Eviction has seen that the program holds what would be finalized."""

    LEAVING = "leaving"
    """In memory and told to leave; its program unwinds."""

    PARKED = "parked"
    """Not in memory; its ticket keeps its place in the line of a limit, and recalls the run when it is granted."""

    AWAY = "away"
    """Not in memory; a timer, a request or the end of a child recalls it."""


WAITING = (Residence.IDLE, Residence.STAYING)
IN_MEMORY = (Residence.RESIDENT, *WAITING, Residence.LEAVING)


class _Held:
    """One run of the kernel; `run` is there while the run is in memory, `former_owner` until it first gets there, and
    `program` once it has left."""

    __slots__ = ("former_owner", "program", "residence", "run", "run_id", "uid")

    def __init__(
        self, uid: str, run_id: str, residence: Residence, run: LiveRun | None, former_owner: str | None = None
    ) -> None:
        self.uid = uid
        self.run_id = run_id
        self.residence = residence
        self.run = run
        self.former_owner = former_owner
        self.program: Workflow | None = None


class LiveRuns:
    """The runs one kernel owns."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}  # by uid
        self._by_id: dict[
            str, dict[str, _Held]
        ] = {}  # by run id and uid: a refused start is a second life for a moment
        self._at: dict[Residence, dict[str, _Held]] = {each: {} for each in Residence}  # each in order of arrival

    # -- changing -----------------------------------------------------------------------------------------------

    def hold(
        self, uid: str, run_id: str, residence: Residence = Residence.AWAY, *, former_owner: str | None = None
    ) -> None:
        """Enter a run that is not in memory, and that its former owner has not given up if that is named: the first
        thing that is recorded of it here says so."""
        self._enter(_Held(uid, run_id, residence, None, former_owner))

    def admit(self, run: LiveRun) -> None:
        """Enter a run that is in memory from now on."""
        self._enter(_Held(run.uid, run.state.run_id, Residence.RESIDENT, run))

    def move(self, uid: str, residence: Residence) -> None:
        """Say where a run of the table is from now on; one that is not in memory has no `LiveRun` any more."""
        held = self._held[uid]
        del self._at[held.residence][uid]
        held.residence = residence
        if residence not in IN_MEMORY and held.run is not None:
            held.program = held.run.workflow if held.run.workflow.definition is None else None
            held.run = None
        self._at[residence][uid] = held

    def disown(self, uid: str) -> None:
        """Take a run out of the table; without effect if it is not there."""
        if (held := self._held.pop(uid, None)) is None:
            return
        del self._at[held.residence][uid]
        lives = self._by_id[held.run_id]
        del lives[uid]
        if not lives:
            del self._by_id[held.run_id]

    def _enter(self, held: _Held) -> None:
        self.disown(held.uid)
        self._held[held.uid] = held
        self._by_id.setdefault(held.run_id, {})[held.uid] = held
        self._at[held.residence][held.uid] = held

    # -- finding ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many runs are in memory."""
        return sum(len(self._at[residence]) for residence in IN_MEMORY)

    def __iter__(self) -> Iterator[LiveRun]:
        """Iterate over the runs in memory."""
        for residence in IN_MEMORY:
            yield from self.at(residence)

    def holds(self, uid: str) -> bool:
        """True if the kernel owns the run, wherever it is."""
        return uid in self._held

    def where(self, uid: str) -> Residence | None:
        """Return where a run is; None for a run that the kernel does not own."""
        held = self._held.get(uid)
        return None if held is None else held.residence

    def is_outside(self, uid: str) -> bool:
        """True if the kernel owns the run and does not have it in memory."""
        held = self._held.get(uid)
        return held is not None and held.run is None

    def get(self, uid: str) -> LiveRun | None:
        """Return the run with this uid, if it is in memory."""
        held = self._held.get(uid)
        return None if held is None else held.run

    def find(self, run_id: str) -> LiveRun | None:
        """Return the run with this id, if it is in memory."""
        lives = self._by_id.get(run_id, {}).values()
        return next((held.run for held in lives if held.run is not None), None)

    def uid_of(self, run_id: str) -> str | None:
        """Return the uid of the run with this id; None for a run that the kernel does not own."""
        return next(iter(self._by_id.get(run_id, ())), None)

    def run_id_of(self, uid: str) -> str:
        """Return the id of a run of the table."""
        return self._held[uid].run_id

    def program_of(self, uid: str) -> Workflow | None:
        """Return the program that a run had in memory here, with which it comes back: it may have been resumed with
        another one than the kernel has by this name. None for one that was not there, or has a definition."""
        held = self._held.get(uid)
        return None if held is None else held.program

    def former_owner_of(self, uid: str) -> str | None:
        """Return who has died as the owner of a run that has not been in memory since; None for any other run."""
        held = self._held.get(uid)
        return None if held is None else held.former_owner

    def from_the_dead(self) -> Mapping[str, str]:
        """Return the former owners of all such runs, by uid."""
        return {uid: held.former_owner for uid, held in self._held.items() if held.former_owner is not None}

    def at(self, residence: Residence) -> Iterator[LiveRun]:
        """Iterate over the runs that are there, in order of arrival; for the residences in memory."""
        return (held.run for held in self._at[residence].values() if held.run is not None)

    def held(self) -> Sequence[str]:
        """Return the uids of all runs of the table."""
        return list(self._held)

    def first(self, residence: Residence) -> str | None:
        """Return the uid of the run that has been there longest."""
        return next(iter(self._at[residence]), None)

    def count(self, residence: Residence) -> int:
        """Return how many runs are there."""
        return len(self._at[residence])
