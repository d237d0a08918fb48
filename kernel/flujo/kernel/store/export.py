"""A run as a value and as a JSON document: `export_run` reads one, `to_json` and `from_json` write and read it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from flujo.kernel.clock import Clock, SystemClock
from flujo.kernel.durations import format_instant
from flujo.kernel.errors import (
    CorruptStoreError,
    InvalidExportError,
    InvalidNameError,
    RunReplacedError,
    UnknownEventError,
    WorkflowNotFoundError,
)
from flujo.kernel.journal.events import EventRow
from flujo.kernel.journal.summaries import RunSummary, is_child
from flujo.kernel.json_core import to_json as _to_json
from flujo.kernel.keys import check_run_id

from .backend import StateBackend
from .integrity import Severity, verify, verify_request
from .reading import READ_EVENTS
from .records import Posted, Request, RunFilter, StoredDefinition

FORMAT = 1
"""Of the document. A release reads all earlier ones."""


_PAGE = 200
_LARGEST = 2**63 - 1
_UID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ExportedRun(NamedTuple):
    """One run, whole."""

    summary: RunSummary  # without an owner
    events: Sequence[EventRow]
    definition: StoredDefinition | None = None
    requests: Sequence[Request] = ()  # what waits in its inbox
    live: bool = False  # a live kernel had it, so it has gone on since


class Export(NamedTuple):
    """A run, and with it the runs it has started if they were asked for, parents before their children."""

    format: int
    flujo: str  # the release that wrote it
    exported_at: str
    run: ExportedRun
    children: Sequence[ExportedRun] = ()


async def snapshot(backend: StateBackend, run_id: str) -> ExportedRun:
    """Return a run as it stands, with what waits in its inbox, both of one moment.

    Raises RunNotFoundError, RunReplacedError, and CorruptStoreError or UnknownEventError for one that cannot be read.
    """
    summary = await backend.load(run_id)
    uid, rows = summary.uid, list[EventRow]()
    waiting = await backend.requests(run_id, uid)
    while True:
        summary = await backend.load(run_id)
        if summary.uid != uid:
            raise RunReplacedError(run_id)
        async for row in stored_events(backend, summary, len(rows)):
            rows.append(row)
        still = await backend.requests(run_id, uid)
        # What was taken in between is in the journal, but perhaps behind what was read of it: then read on.
        if {posted.id for posted in waiting} <= {posted.id for posted in still}:
            break
        waiting = still
    live = summary.owner is not None and await backend.is_alive(summary.owner)
    run = ExportedRun(
        summary._replace(owner=None),
        rows,
        await definition_of(backend, summary),
        [posted.request for posted in still],
        live,
    )
    require_sound(run)
    return run


def require_sound(run: ExportedRun) -> None:
    """Raise CorruptStoreError or UnknownEventError for a run that cannot be read."""
    for problem in verify(run.summary, run.events):
        raise CorruptStoreError(run.summary.run_id, problem, ["flujoctl db check"])


async def stored_events(backend: StateBackend, summary: RunSummary, after_seq: int) -> AsyncIterator[EventRow]:
    """Yield the events of a run up to the last one of its summary."""
    while after_seq < summary.seq:
        limit = min(READ_EVENTS, summary.seq - after_seq)
        rows = await backend.read_events(summary.run_id, summary.uid, after_seq, limit)
        for row in rows:
            yield row
        if not rows:
            return
        after_seq += len(rows)


async def definition_of(backend: StateBackend, summary: RunSummary) -> StoredDefinition | None:
    """Return the definition that a run goes by, if it has one that is stored; raises CorruptStoreError for a changed
    one."""
    if summary.definition is None:
        return None
    try:
        definition = await backend.get_definition(summary.definition)
    except WorkflowNotFoundError:
        return None  # a check names it; with the workflow at hand the run goes on all the same
    if not definition.is_genuine:
        problem = f"the text of its definition {definition.digest} is another one than its digest says"
        raise CorruptStoreError(summary.run_id, problem, ["flujoctl db check"])
    return definition


async def export_run(
    backend: StateBackend, run_id: str, *, with_children: bool = False, clock: Clock | None = None
) -> Export:
    """Return a run as a document; `with_children` takes all runs along that came of it.

    Of a run that a live kernel advances it is a snapshot (`live` says so). Raises as `snapshot`."""
    runs = [await snapshot(backend, run_id)]
    if with_children:
        for parent in runs:
            runs += [await snapshot(backend, child) for child in await _children(backend, parent.summary)]
    instant = format_instant((clock or SystemClock()).now())
    assert instant is not None
    return Export(FORMAT, _release(), instant, runs[0], runs[1:])


async def _children(backend: StateBackend, parent: RunSummary) -> list[str]:
    found: list[str] = []
    page: str | None = None
    while True:
        listed = await backend.list(RunFilter(parent=parent.run_id), limit=_PAGE, page=page)
        found += [run.run_id for run in listed.runs if is_child(run, parent.run_id, parent.created_at)]
        if (page := listed.next) is None:
            return found


def _release() -> str:
    try:
        return version("flujoctl")
    except PackageNotFoundError:  # the sources alone
        return "unknown"


def to_json(export: Export) -> str:
    """Return the document. What was recorded is in it as the text that was recorded: `body`, `payload`, `labels`."""
    plain = {
        **export._asdict(),
        "run": _plain_run(export.run),
        "children": [_plain_run(child) for child in export.children],
    }
    return _to_json(plain, indent=1).decode() + "\n"


def _plain_run(run: ExportedRun) -> dict[str, Any]:
    return {
        "summary": run.summary._asdict(),
        "events": [row._asdict() for row in run.events],
        "definition": None if run.definition is None else run.definition._asdict(),
        "requests": [request._asdict() for request in run.requests],
        "live": run.live,
    }


def from_json(text: str | bytes) -> Export:
    """Return the export that a document holds; `examine_export` says whether its runs are sound.

    Raises InvalidExportError for a document that is not whole, or that a newer release has written."""
    try:
        format = _Head.model_validate_json(text).format
        if format > FORMAT:
            problem = f"it has format {format}, this release knows up to {FORMAT}"
            raise InvalidExportError(problem, ["pip install --upgrade flujoctl"])
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidExportError(f"{where}: {first['msg']}" if where else first["msg"]) from error


class _Head(BaseModel):
    """What is looked at before anything else is asked of a document that may be newer."""

    format: int


@cache
def _adapter() -> TypeAdapter[Export]:
    return TypeAdapter(Export, config=ConfigDict(strict=True))


def examine_export(export: Export) -> None:
    """Raise InvalidExportError unless each run of an export is sound and belongs to it."""
    ids: dict[str, int] = {}
    for run in (export.run, *export.children):
        if (problem := _problem(run)) is not None:
            raise InvalidExportError(f"run {run.summary.run_id!r}: {problem}")
        parent = run.summary.parent_run_id
        if ids and (parent not in ids or not is_child(run.summary, parent, ids[parent])):
            raise InvalidExportError(f"run {run.summary.run_id!r} was started by none of the runs before it")
        if run.summary.run_id in ids:
            raise InvalidExportError(f"run {run.summary.run_id!r} is in it twice")
        ids[run.summary.run_id] = run.summary.created_at


def _problem(run: ExportedRun) -> str | None:
    """Return what keeps a run from being brought into a store."""
    summary, definition = run.summary, run.definition
    try:
        check_run_id(summary.run_id)
        problems = verify(summary, run.events)
    except (InvalidNameError, UnknownEventError) as error:
        return str(error)
    if problems:
        return problems[0]
    if summary.owner is not None:
        return f"it is owned by {summary.owner!r}"
    if (malformed := _malformed(run)) is not None:
        return malformed
    if definition is not None and not definition.is_genuine:
        return f"the text of its definition {definition.digest} is another one than its digest says"
    if definition is not None and definition.digest != summary.definition:
        return f"it goes by the definition {summary.definition}, and this is {definition.digest}"
    return None


_HIGHEST_TOKEN = 2**53  # each owner and each restore makes it larger, and a store counts up to 2**63


def _malformed(run: ExportedRun) -> str | None:
    """Return what no kernel would have written: numbers beyond any store, a token below 1, a uid that is no name, a
    request that is none."""
    numbers = [*run.summary, *(request.at for request in run.requests)]
    if any(isinstance(value, int) and not -_LARGEST <= value <= _LARGEST for value in numbers):
        return "a number in it is larger than any store can hold"
    if run.summary.token > _HIGHEST_TOKEN:
        return f"its token {run.summary.token} leaves no room for later owners"
    if run.summary.token < 1:
        return f"its token is {run.summary.token}, and the first owner of a run has 1"
    if not _UID.fullmatch(run.summary.uid):
        return f"its uid {run.summary.uid[:40]!r} is malformed"
    verdicts = (verify_request(Posted(number, run.summary.uid, each)) for number, each in enumerate(run.requests, 1))
    damaged = (text for severity, text in filter(None, verdicts) if severity is Severity.DAMAGED)
    return next(damaged, None)
