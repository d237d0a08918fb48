"""Recovering: becoming the owner of every unfinished run that may go on here and that has no live owner, when a kernel
opens, and while it lives of what a kernel that died has left behind.

What a kernel that closed in good order has given up waits for the next one that opens, or for a resume: it was stopped
on purpose."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial

import anyio

from flujo.kernel.errors import CorruptStoreError, KernelClosedError, RunNotFoundError, StoreError
from flujo.kernel.journal.events import CancelRequested
from flujo.kernel.journal.requests import request_kind
from flujo.kernel.journal.state import LIVE, RunStatus
from flujo.kernel.journal.summaries import RunSummary, is_overdue
from flujo.kernel.store.listing import is_interrupted
from flujo.kernel.store.records import ClaimedRun, RunFilter

from .driver import Driver
from .live_runs import Residence
from .parts import Parts
from .releasing import takeover_of
from .setbacks import Setbacks
from .takeover import Takeover

logger = logging.getLogger("flujo.kernel")

CLAIM_AT_ONCE = 1000


class UnownedScan:
    """Pages through the unowned runs with the given statuses while they are claimed. `limit` grows past runs that were
    claimed and given up again, so that newer ones are reached."""

    def __init__(self, statuses: Sequence[str], owner: str | None) -> None:
        self.statuses = tuple(statuses)
        self.owner = owner
        self.limit = CLAIM_AT_ONCE
        self.is_over = False
        self._seen: set[str] = set()

    def note(self, claimed: Sequence[RunSummary]) -> None:
        """These were claimed when `limit` were asked for.

        A run that cannot go on here was given up again since, and is found again, before all that are newer. So there
        has to be an end although some always stay unowned, and room for others behind any number of these."""
        uids = {summary.uid for summary in claimed}
        self.is_over = len(uids) < self.limit
        self.limit += len(uids & self._seen)
        self._seen |= uids


class Recovery:
    """Recovers runs for one kernel."""

    def __init__(self, parts: Parts, driver: Driver, takeover: Takeover) -> None:
        self._backend = parts.backend
        self._clock = parts.clock
        self._registry = parts.registry
        self._runs = parts.runs
        self._tasks = parts.tasks
        self._recalls = parts.recalls
        self._alarm = parts.alarm
        self._latecomers = parts.latecomers
        self._driver = driver
        self._takeover = takeover
        self._is_shared = parts.backend.capabilities.several_hosts
        self._sharing = anyio.Lock()
        self._adopting = anyio.Lock()
        self._is_serving = False
        self._adopted: set[str] = set()  # kernels that died, and have left nothing more that goes on here
        # Of what statuses claims have failed that may be durable, and of whose runs; None stands for any owner.
        self._unsure: dict[tuple[str, ...], set[str | None]] = {}

    async def recover(self) -> int:
        """Claim the runs that may go on here and go on with those that do not only wait; return how many.

        Those that wait are brought into memory when their time has come, and beyond the first thousand of them are
        claimed in the background. Where kernels are on several hosts, it is this one's share of them. Raises
        StoreError."""
        count = await self.take_share() if self._is_shared else await self._adopt(None)
        await self._look_at_paused()
        await self._warn_about_unregistered()
        return count

    async def serve(self) -> None:
        """Adopt what kernels leave behind that die while this one lives, until cancelled."""
        left: list[str] = []
        setbacks = Setbacks(self._clock, "the runs of kernels that died cannot be adopted yet")
        self._is_serving = True
        try:
            while True:
                try:
                    left += [] if left else await self._backend.wait_for_dead_owners()
                    while left:
                        await self._adopt_from(left[0])
                        del left[0]
                except StoreError as error:
                    await setbacks.wait_after(error)
        except KernelClosedError:  # in the midst of it: what is claimed is released with all the rest
            return
        finally:
            self._is_serving = False

    async def _adopt_from(self, owner: str) -> None:
        async with self._adopting:
            if count := await (self.take_share() if self._is_shared else self._adopt(owner)):
                logger.warning("the kernel %s has died: %d of its runs go on here", owner, count)
            await self._look_at_paused()

    def adoption_of(self, summary: RunSummary) -> Callable[[], Awaitable[None]] | None:
        """Return what adopts a run of this host that a dead owner has left, with all that this owner has left, and
        waits for that; None if the run does not go on here.

        Whoever has seen that the owner is dead need not wait until this kernel looks by itself."""
        if self._is_shared or not self._is_serving or self._driver.is_draining:
            return None
        if summary.owner == self._driver.owner:  # it may have become ours, and not be held yet
            return self._until_adopted if self._adopting.locked() else None
        if summary.owner is None or summary.owner in self._adopted:
            return None
        if not self._registry.may_know(summary.workflow, summary.definition):
            return None
        return partial(self._adopt_now, summary.owner)

    async def _adopt_now(self, owner: str) -> None:
        async def unless_done() -> None:
            if owner not in self._adopted:
                await self._adopt_from(owner)

        with suppress(KernelClosedError):
            await self._tasks.finish(unless_done)

    async def _until_adopted(self) -> None:
        async with self._adopting:
            pass

    async def share(self) -> None:
        """Take this kernel's share of what nobody has, as often as there is something, until cancelled."""
        setbacks = Setbacks(self._clock, "runs that nobody has cannot be taken yet")
        while True:
            try:
                await self._backend.wait_for_idle()
                await self.take_share()
            except StoreError as error:
                await setbacks.wait_after(error)
            except KernelClosedError:
                return

    async def take_share(self) -> int:
        """Claim and begin this kernel's share of the runs without a live owner, as far as it has room; return how
        many. None while it drains."""
        count = 0
        if self._driver.is_draining:
            return count
        async with self._sharing:
            for statuses in ((RunStatus.PENDING, RunStatus.RUNNING), (RunStatus.WAITING,)):
                while (room := self._room(statuses)) > 0 and (claimed := await self._claim_share(statuses, room)):
                    count += len(claimed)
                    if RunStatus.WAITING not in statuses:
                        await self._takeover.sweep([each.uid for each in claimed])
                        for summary in claimed:
                            await self._begin(summary, is_opening=False)
        return count

    def _room(self, statuses: Sequence[str]) -> int:
        room = None if RunStatus.WAITING in statuses else self._driver.admission.room
        return CLAIM_AT_ONCE if room is None else min(room, CLAIM_AT_ONCE)

    async def _claim_share(self, statuses: tuple[str, ...], room: int) -> Sequence[RunSummary]:
        workflows = sorted(self._registry.registered)
        try:
            claimed = await self._backend.claim_share(statuses, workflows, room, self._takeover.unfit)
        except StoreError:
            self._unsure.setdefault(statuses, set()).add(None)
            raise
        return await self._keep(statuses, claimed)

    async def regain(self) -> None:
        """Go on with all runs that the store has as this kernel's and that are not in memory."""
        self._driver.be_certain()
        wanted = RunFilter(statuses=LIVE, owner=self._driver.owner)
        page: str | None = None
        while True:
            listed = await self._backend.list(wanted, limit=CLAIM_AT_ONCE, page=page)
            for summary in listed.runs:
                if self._runs.get(summary.uid) is None and self._runs.where(summary.uid) is not Residence.QUEUED:
                    former = self._runs.former_owner_of(summary.uid)
                    self._runs.hold(summary.uid, summary.run_id, former_owner=former)
                    self._alarm.note(summary.wake_at)
                    if summary.status != RunStatus.WAITING or summary.uid in self._driver.stopped_unrecorded:
                        await self._begin(summary, is_opening=False)
            if (page := listed.next) is None:
                return

    async def _adopt(self, owner: str | None) -> int:
        """Claim and begin the runs without a live owner, or those that one owner has left; return how many."""
        count = 0
        at_work = UnownedScan((RunStatus.PENDING, RunStatus.RUNNING), owner)
        while not at_work.is_over:
            claimed = await self._claim(at_work)
            count += len(claimed)
            await self._takeover.sweep([each.uid for each in claimed])
            for summary in claimed:
                await self._begin(summary, is_opening=owner is None)
        waiting = UnownedScan((RunStatus.WAITING,), owner)
        count += len(await self._claim(waiting))
        if waiting.is_over:
            self._adopted.add(owner or "")
        else:
            self._tasks.spawn(partial(self._claim_remaining, waiting))
        return count

    async def _begin(self, summary: RunSummary, *, is_opening: bool) -> None:
        """Reload a claimed run, or queue it. A kernel that opens raises what the store says; one that lives tries
        again."""
        if not self._driver.admission.is_full:
            if is_opening:
                await self._takeover.revive(summary.run_id)
            else:
                self._recalls.ask(summary.run_id)
        elif self._runs.is_outside(summary.uid):
            self._runs.move(summary.uid, Residence.QUEUED)

    async def _claim(self, scan: UnownedScan) -> Sequence[RunSummary]:
        try:
            claimed = await self._backend.claim_idle(
                scan.statuses, sorted(self._registry.registered), scan.limit, owner=scan.owner
            )
        except StoreError:
            self._unsure.setdefault(scan.statuses, set()).add(scan.owner)
            raise
        scan.note(claimed)
        return await self._keep(scan.statuses, claimed)

    async def _keep(self, statuses: tuple[str, ...], claimed: Sequence[RunSummary]) -> Sequence[RunSummary]:
        """Hold what was claimed, and what was claimed before without an answer."""
        if statuses in self._unsure:
            owners = self._unsure[statuses]
            former = next(iter(owners)) if len(owners) == 1 else None
            unawares = await self._claimed_unawares(statuses, {each.uid for each in claimed})
            claimed = [*claimed, *(ClaimedRun.of(each, former) for each in unawares)]
            del self._unsure[statuses]
        for summary in claimed:
            await self._driver.end_former_life(summary.uid)
            taken_over = takeover_of(summary)
            former_owner = None if taken_over is None else taken_over.former_owner
            self._runs.hold(summary.uid, summary.run_id, former_owner=former_owner)
            self._alarm.note(summary.wake_at)
            is_overdue_run = is_overdue(summary.wake_at, summary.updated_at, self._clock.now())
            # A child may have missed the end of its parent.
            if summary.status == RunStatus.WAITING and (is_overdue_run or summary.parent_run_id is not None):
                self._recalls.ask(summary.run_id)
        return claimed

    async def _claimed_unawares(self, statuses: Sequence[str], known: Collection[str]) -> Sequence[RunSummary]:
        """Return the runs that are this kernel's as the store has it, and of which the kernel does not know: a claim of
        them has failed and is durable all the same. Nobody else would ever take them, and here nobody would wake them.

        A run that is just being taken over may be among them; to recall it once more does nothing."""
        found: list[RunSummary] = []
        wanted = RunFilter(statuses=statuses, owner=self._driver.owner)
        page: str | None = None
        while True:
            listed = await self._backend.list(wanted, limit=CLAIM_AT_ONCE, page=page)
            found += [each for each in listed.runs if not self._runs.holds(each.uid) and each.uid not in known]
            if (page := listed.next) is None:
                break
        for summary in found:
            if summary.status == RunStatus.WAITING:  # or it is begun by who has asked for it
                self._recalls.ask(summary.run_id)
        return found

    async def _claim_remaining(self, scan: UnownedScan) -> None:
        setbacks = Setbacks(self._clock, "not every waiting run was claimed")
        while not scan.is_over:
            try:
                async with self._adopting:
                    await self._claim(scan)
            except StoreError as error:
                await setbacks.wait_after(error)
            except KernelClosedError:
                return
        self._adopted.add(scan.owner or "")

    async def _look_at_paused(self) -> None:
        """Have runs cancelled that were paused by kernels that died before they saw that cancel: whoever asked for it
        was told that it would be. What this kernel has no workflow for stays, and so do its clean-ups."""
        for run_id, uid in await self._backend.paused_with(request_kind(CancelRequested()).name):
            with suppress(RunNotFoundError, CorruptStoreError):
                summary = await self._backend.load(run_id)
                if self._registry.may_know(summary.workflow, summary.definition):
                    self._latecomers.left(run_id, uid)

    async def _warn_about_unregistered(self) -> None:
        """Log which runs wait for a workflow to be registered; the newest of them, if they are many."""
        found = await self._backend.list(RunFilter(statuses=LIVE), limit=200)
        for summary in found.runs:
            if not self._registry.may_know(summary.workflow, summary.definition) and await is_interrupted(
                self._backend, summary
            ):
                logger.warning("run %s waits for a workflow %r to be registered", summary.run_id, summary.workflow)
