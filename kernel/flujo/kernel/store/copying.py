"""Moving runs from one store to another, over the port alone.

    import_run   a run that `export.from_json` has read arrives in a store
    copy_runs    all runs of a store, or some, go straight into another one

A run arrives whole, in one commit, with its id, its uid and every event as it was recorded, and it has no owner: the
kernel that resumes it goes on where it stopped. The requests in its inbox are posted again afterwards. A repeat after a
crash finds the runs that have arrived already and adds what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from flujo.kernel.errors import (
    CorruptStoreError,
    FlujoError,
    InvalidExportError,
    RunActiveError,
    RunExistsError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    UnknownEventError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal.events import EventRow
from flujo.kernel.journal.state import FINAL
from flujo.kernel.journal.summaries import RunSummary

from .backend import StateBackend
from .export import Export, ExportedRun, definition_of, examine_export, require_sound, snapshot, stored_events
from .integrity import EVERY_RUN, Progress
from .reading import READ_EVENTS
from .records import Commit, FoundRun, Request, RunFilter, StoredDefinition, StoredRun, size_of_rows

MOST_REFUSALS = 100
"""How many runs that were left out a copy lists; all are counted."""

_PAGE = 200
_BATCH_RUNS = 200
_BATCH_BYTES = 4 * 1024 * 1024


class Outcome(StrEnum):
    """What became of a run that was to arrive in a store."""

    CREATED = "created"
    """It is there now."""

    UNCHANGED = "unchanged"
    """It was there already."""

    GONE_ON = "gone_on"
    """It was there already, and has gone on since."""


class Arrival(NamedTuple):
    """A run, and what became of it."""

    run_id: str
    outcome: Outcome


class Refusal(NamedTuple):
    """A run that was not copied: why, and what to type."""

    run_id: str
    text: str
    commands: Sequence[str]


class CopyResult(NamedTuple):
    """What a copy has done."""

    created: int
    unchanged: int
    """Runs that were there already."""

    gone_on: int
    """Runs that were there already and have gone on over there."""

    refused: int
    refusals: Sequence[Refusal]
    """The first hundred of them."""


# ---------------------------------------------------------------------------------------------------------------
# Where a run stands in another store
# ---------------------------------------------------------------------------------------------------------------


class Presence(StrEnum):
    """How a store stands to a run that is to arrive."""

    MISSING = "missing"
    OTHER = "other"
    """Another run has its id."""

    BEHIND = "behind"
    """It is there with fewer events."""

    SAME = "same"
    AHEAD = "ahead"


def presence_of(wanted: RunSummary, found: RunSummary | None) -> Presence:
    """Return how a store stands to a run, by what it has under the same id."""
    if found is None:
        return Presence.MISSING
    if found.uid != wanted.uid:
        return Presence.OTHER
    if found.seq < wanted.seq:
        return Presence.BEHIND
    return Presence.SAME if found.seq == wanted.seq else Presence.AHEAD


async def _check_importable(backend: StateBackend, wanted: RunSummary, rows: Sequence[EventRow]) -> Outcome:
    """Return what is going to become of a run, of whose events `rows` are the last ones, or all; raises RunExistsError
    if it is in conflict with what is there."""
    try:
        found = await backend.load(wanted.run_id)
    except RunNotFoundError:
        return Outcome.CREATED
    if presence_of(wanted, found) not in (Presence.SAME, Presence.AHEAD):
        return outcome_of(wanted, rows, found, ())
    begin = wanted.seq - len(rows)
    return outcome_of(
        wanted, rows, found, [row async for row in stored_events(backend, found._replace(seq=wanted.seq), begin)]
    )


def outcome_of(wanted: RunSummary, rows: Sequence[EventRow], found: RunSummary, there: Sequence[EventRow]) -> Outcome:
    """Return what becomes of a run that is there already, with the events `there` in the place of `rows`; raises
    RunExistsError if that is a conflict."""
    run_id = wanted.run_id
    inspect, delete = f"flujoctl inspect {run_id}", f"flujoctl delete {run_id}  # then bring it in again"
    match presence_of(wanted, found):
        case Presence.OTHER:
            raise RunExistsError(run_id, "another history: it is another run", [inspect])
        case Presence.BEHIND:
            difference = f"fewer events, {found.seq} of {wanted.seq}: it has gone on since it was brought there"
            raise RunExistsError(run_id, difference, [inspect, delete])
        case here:
            if list(there) != list(rows):
                raise RunExistsError(run_id, "another history: it has gone on in both places", [inspect, delete])
            return Outcome.UNCHANGED if here is Presence.SAME else Outcome.GONE_ON


def missing(wanted: Sequence[Request], there: Sequence[Request]) -> list[Request]:
    """Return the requests that are not there yet, in their order. Equal ones count as often as they occur."""
    left = Counter(there)
    absent: list[Request] = []
    for request in wanted:
        if left[request]:
            left[request] -= 1
        else:
            absent.append(request)
    return absent


# ---------------------------------------------------------------------------------------------------------------
# Into a store
# ---------------------------------------------------------------------------------------------------------------


async def import_run(backend: StateBackend, export: Export) -> Sequence[Arrival]:
    """Bring an exported run into a store that is open as an owner, with the runs it has started, those first.

    What is there already stays as it is, so that an import may be repeated. Raises RunExistsError, before anything is
    written, when an id is taken by another run or by another history of this one; InvalidExportError, StoreError."""
    examine_export(export)
    runs = [*reversed(export.children), export.run]
    outcomes = [await _check_importable(backend, run.summary, run.events) for run in runs]
    for run in runs:
        await _require_definition(backend, run.definition)
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome is Outcome.CREATED:
            for refused in await _append(backend, [run]):
                raise await _why_refused(backend, refused)
            await _verify(backend, [run])
        if outcome is not Outcome.GONE_ON:
            await _post(backend, run.summary, run.requests)
    return [Arrival(run.summary.run_id, outcome) for run, outcome in zip(runs, outcomes, strict=True)]


async def _require_definition(backend: StateBackend, wanted: StoredDefinition | None) -> None:
    if wanted is None:
        return
    try:
        found = await backend.get_definition(wanted.digest)
    except WorkflowNotFoundError:
        return
    if found.text != wanted.text:
        raise InvalidExportError(f"its definition {wanted.digest} has another text in {backend.url}")


async def copy_runs(
    source: StateBackend,
    target: StateBackend,
    filter: RunFilter = EVERY_RUN,
    *,
    include_live: bool = False,
    progress: Progress = lambda done, total: None,
) -> CopyResult:
    """Copy the runs that match, the newest first, so that children arrive before their parents.

    `target` is open as an owner, `source` need not be. A run that cannot be copied is refused, and keeps nobody from
    the others: it is damaged, or a newer release has written it, or its id is taken, or a live kernel advances it.
    Whoever resumes a copy of the latter runs it a second time; `include_live` copies it as it stands all the same.
    What has arrived is read again and compared. May be repeated: runs that are there are left as they are.

    Holds up to a few hundred runs or a few MiB in memory, or the one run that is larger. Raises StoreError."""
    copying = _Copying(source, target, include_live)
    total = await source.count(filter)
    page: str | None = None
    done = 0
    while True:
        found = await source.list(filter, limit=_PAGE, page=page)
        run_ids = [run.run_id for run in found.runs]
        while run_ids:
            taken = await copying.add(run_ids)
            del run_ids[:taken]
            done += taken
            progress(done, max(total, done))
        if (page := found.next) is None:
            await copying.flush()
            return copying.result()


class _Copying:
    """One copy under way."""

    def __init__(self, source: StateBackend, target: StateBackend, include_live: bool) -> None:
        self._source = source
        self._target = target
        self._include_live = include_live
        self._batch: list[ExportedRun] = []
        self._bytes = 0
        self._counts = Counter[Outcome]()
        self._refused = 0
        self._refusals: list[Refusal] = []
        self._last_definition: StoredDefinition | None = None

    def result(self) -> CopyResult:
        created, unchanged, gone_on = (self._counts[each] for each in Outcome)
        return CopyResult(created, unchanged, gone_on, self._refused, self._refusals)

    async def add(self, run_ids: Sequence[str]) -> int:
        """Bring the first of these runs on their way, or say why not; returns how many."""
        runs = await self._source.read_runs(run_ids, READ_EVENTS)
        there = await self._target.read_runs(run_ids[: len(runs)], READ_EVENTS)
        for run_id, run, found in zip(run_ids, runs, there, strict=False):
            try:
                fetched = await self._fetch(run_id, run, found)
            except (RunNotFoundError, RunReplacedError):
                continue  # somebody has deleted it meanwhile
            except (CorruptStoreError, UnknownEventError, RunExistsError, RunActiveError) as error:
                self._refuse(run_id, error)
                continue
            if fetched is not None:
                await self._load(fetched)
        return len(there)

    async def _fetch(self, run_id: str, run: FoundRun, there: FoundRun) -> ExportedRun | None:
        """Return the run, as it was found; None for one that is there already, which is then made complete."""
        if not isinstance(run, StoredRun):
            raise run
        if len(run.events) >= READ_EVENTS:
            return await self._fetch_by_parts(run_id)
        await self._require_idle(run.summary)
        return await self._examined(run, there)

    async def _examined(self, run: StoredRun, there: FoundRun) -> ExportedRun | None:
        summary = run.summary
        rows = run.events[: summary.seq]
        requests = [posted.request for posted in run.requests]
        if isinstance(there, RunNotFoundError):
            definition = await self._definition(summary)
            exported = ExportedRun(summary._replace(owner=None), rows, definition, requests)
            require_sound(exported)
            return exported
        if not isinstance(there, StoredRun):
            raise there
        outcome = outcome_of(summary, rows, there.summary, there.events[: summary.seq])
        if outcome is Outcome.UNCHANGED:
            await _post(self._target, summary, requests)
        self._counts[outcome] += 1
        return None

    async def _definition(self, summary: RunSummary) -> StoredDefinition | None:
        """Return the definition of a run; neighbours often have the same."""
        if self._last_definition is None or self._last_definition.digest != summary.definition:
            self._last_definition = await definition_of(self._source, summary)
        return self._last_definition

    async def _fetch_by_parts(self, run_id: str) -> ExportedRun | None:
        summary = await self._source.load(run_id)
        await self._require_idle(summary)
        # The last event is enough: two histories that have gone apart do not come to the same one in the same instant.
        last = await self._source.read_events(run_id, summary.uid, summary.seq - 1, 1)
        outcome = await _check_importable(self._target, summary, last)
        if outcome is Outcome.CREATED:
            run = await snapshot(self._source, run_id)
            if run.live:
                await self._require_idle(await self._source.load(run_id))  # taken up between the two looks
            return run
        if outcome is Outcome.UNCHANGED:
            posted = await self._source.requests(run_id, summary.uid)
            await _post(self._target, summary, [each.request for each in posted])
        self._counts[outcome] += 1
        return None

    async def _require_idle(self, summary: RunSummary) -> None:
        if self._include_live or summary.owner is None or not await self._source.is_alive(summary.owner):
            return
        raise RunActiveError(summary.run_id, summary.owner)

    async def _load(self, run: ExportedRun) -> None:
        self._batch.append(run)
        self._bytes += size_of_rows(run.events)
        if len(self._batch) >= _BATCH_RUNS or self._bytes >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Bring what has been taken along into the target."""
        batch, self._batch, self._bytes = self._batch, [], 0
        refused = await _append(self._target, batch)
        for run in refused:
            self._refuse(run.summary.run_id, await _why_refused(self._target, run))
        arrived = [run for run in batch if run not in refused]
        await _verify(self._target, arrived)
        for run in arrived:
            await _post(self._target, run.summary, run.requests)
        self._counts[Outcome.CREATED] += len(arrived)

    def _refuse(self, run_id: str, error: FlujoError) -> None:
        self._refused += 1
        if len(self._refusals) < MOST_REFUSALS:
            self._refusals.append(Refusal(run_id, str(error), error.hints))


async def _append(backend: StateBackend, runs: Sequence[ExportedRun]) -> list[ExportedRun]:
    """Create runs in a store; returns those whose id is taken."""
    if not runs:
        return []
    refused = await backend.append([_creation(run) for run in runs])
    return [run for run in runs if run.summary.uid in refused]


def _creation(run: ExportedRun) -> Commit:
    summary = run.summary
    return Commit(summary.run_id, summary.uid, summary.token, 0, run.events, summary, definition=run.definition)


async def _why_refused(backend: StateBackend, run: ExportedRun) -> RunExistsError:
    """Why a run was refused that was not there a moment ago."""
    try:
        await _check_importable(backend, run.summary, run.events)
    except RunExistsError as error:
        return error
    difference = "an id that differs in case only, or it has arrived at this very moment"
    return RunExistsError(run.summary.run_id, difference, ["flujoctl list"])


async def _verify(backend: StateBackend, runs: Sequence[ExportedRun]) -> None:
    """Raise CorruptStoreError unless runs that have arrived are what was sent; they may have gone on since."""
    left = list(runs)
    while left:
        there = await backend.read_runs([run.summary.run_id for run in left], READ_EVENTS)
        for run, found in zip(left, there, strict=False):
            await _verify_one(backend, run, found)
        del left[: len(there)]


async def _verify_one(backend: StateBackend, run: ExportedRun, found: FoundRun) -> None:
    summary = run.summary
    if isinstance(found, RunNotFoundError) or (isinstance(found, StoredRun) and found.summary.uid != summary.uid):
        return  # somebody has pruned it, which is for them to decide
    if not isinstance(found, StoredRun):
        raise found
    arrived = list(found.events[: summary.seq])
    try:
        arrived += [row async for row in stored_events(backend, summary, len(arrived))]
    except (RunNotFoundError, RunReplacedError):
        return
    told = found.summary._replace(owner=None, token=summary.token)
    if arrived != list(run.events) or (found.summary.seq == summary.seq and told != summary):
        raise CorruptStoreError(
            backend.url, f"the copy of run {summary.run_id!r} in the target does not match the source"
        )


async def _post(backend: StateBackend, summary: RunSummary, requests: Sequence[Request]) -> None:
    """Leave requests in the inbox of a run that has arrived, as far as they are not there."""
    if not requests or summary.status in FINAL:
        return
    try:
        there = await backend.requests(summary.run_id, summary.uid)
        for request in missing(requests, [posted.request for posted in there]):
            await backend.post(summary.run_id, request)
    except (RunNotFoundError, RunReplacedError, RunFinishedError):
        pass  # somebody was quick
