"""Tell all that is known of one run, as `inspect` shows it: what it is, who runs it, where its files are, what has been
asked of it, and which other runs it belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from flujo.kernel import Observer, RunStatus, RunSummary, StoredRuns, WorkflowState
from flujo.kernel.backend import Posted
from flujo.kernel.durations import format_duration
from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import EVERY_STEP, KEYS, Retention, choice_in
from flujo.kernel.state import LIVE

from . import sources, text
from .definition_texts import stored_definition
from .find_run import every_run

CHILDREN_SHOWN = 10
"""How many runs that a run has started are named at most."""

_SHORT = 60
"""How many characters of a value are shown, unless tables are wide."""

_OWNER = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]+")


class Surroundings(NamedTuple):
    """What is known of a run beside its own journal; of a run on a server some of it is not."""

    summary: RunSummary
    children: Sequence[RunSummary] = ()
    requests: Sequence[Posted] = ()
    retention: Retention | None = None


async def surroundings_of(runs: StoredRuns, state: WorkflowState) -> Surroundings:
    """Read what surrounds a run."""
    summary = await runs.summary(state.run_id)
    children = [run async for run in _first(every_run(runs, parent_run_id=state.run_id), CHILDREN_SHOWN + 1)]
    if not isinstance(runs, Observer):
        return Surroundings(summary, children)
    requests = await runs.backend.requests(state.run_id, summary.uid)
    return Surroundings(summary, children, requests, await _retention(runs, state))


async def _first(found: Any, number: int) -> Any:
    count = 0
    async for each in found:
        yield each
        if (count := count + 1) >= number:
            return


async def _retention(runs: Observer, state: WorkflowState) -> Retention | None:
    """Return how long the definition of a run says that it is kept."""
    try:
        stored = await stored_definition(runs, state)
        if stored is None:
            return None
        return sources.from_stored_text(stored, state).retention if "retention" in stored.text else None
    except FlujoError:  # a definition that only an older release could read
        return None


def described(
    state: WorkflowState, around: Surroundings, now: int, *, time: str | None, relative: bool, wide: bool
) -> Iterator[tuple[str, str]]:
    """Yield what is known of a run, each with its name; "" for what there is nothing to say of.

    `time` is the style of --time, `relative` adds ages to instants, `wide` shows values in full."""

    def instant(at: int | None) -> str:
        if at is None:
            return ""
        shown = text.instant(at, now, time or "iso")
        return f"{shown} ({text.instant(at, now, 'relative')})" if relative and time is None else shown

    def values(named: Mapping[str, Any]) -> str:
        return ", ".join(f"{name}={text.value(value, None if wide else _SHORT)}" for name, value in named.items())

    is_still = state.unowned or state.status is RunStatus.PAUSED
    end = state.finished_at or (state.updated_at if is_still else now)
    yield "workflow", state.workflow + (f" version {state.version}" if state.version else "")
    yield "file", str(sources.file_of(state) or "")
    yield "reason", _reason(state)
    yield "progress", _progress(state)
    yield "created", instant(state.created_at) if state.started_at != state.created_at else ""
    yield "started", instant(state.started_at) or "not yet"
    yield "ended", instant(state.finished_at)
    yield "updated", instant(state.updated_at) if state.finished_at is None else ""
    yield "duration", text.elapsed(state.started_at, end, now)
    yield "resumed", _times(state.resume_count)
    yield "owner", _owner(around.summary, state)
    yield "taken over", "" if (last := state.taken_over) is None else f"from {last.former_owner}, {instant(last.at)}"
    yield "wakes", instant(around.summary.wake_at) if state.status in LIVE else ""
    yield "steps", _chosen(state)
    yield "labels", ", ".join(f"{name}={label}" for name, label in state.labels.items())
    yield "inputs", values(state.inputs)
    yield "variables", values(state.variables)
    yield "signals", _untaken(state)
    yield "requests", _requests(around.requests)
    yield "parent", state.parent_run_id or ""
    yield "children", _children(around.children)
    yield "forked", f"from {state.forked_from}" if state.forked_from else ""
    yield from _places(state)
    yield "kept", _kept(around.retention)
    yield "output", text.value(state.output, None if wide else 500) if state.output is not None else ""


def _times(number: int) -> str:
    return "" if not number else "once" if number == 1 else f"{number} times"


def _progress(state: WorkflowState) -> str:
    said = text.progress_of_state(state)
    if (eta := state.eta_seconds) is not None:
        said += f", about {format_duration(round(eta))} left"
    return said if state.report is None else f"{said}; {text.progress(state.report)}"


def _chosen(state: WorkflowState) -> str:
    """Return which part of its workflow a run performs; nothing if it is all of it."""
    choice = choice_in(state.environment)
    parts = [
        "" if choice.flow == EVERY_STEP else f"flow {choice.flow}",
        f"from {choice.start_from}" if choice.start_from else "",
        f"without {', '.join(choice.skip_steps)}" if choice.skip_steps else "",
    ]
    return ", ".join(part for part in parts if part)


def _reason(state: WorkflowState) -> str:
    if state.error is not None:
        where = f"step {state.error.step!r}: " if state.error.step else ""
        return where + text.failure(state.error)
    reason = state.paused_reason if state.status is RunStatus.PAUSED else state.cancel_reason
    return text.printable(reason or "")


def _owner(summary: RunSummary, state: WorkflowState) -> str:
    """Return which process of which host runs a run, or was the last to."""
    if summary.owner is None:
        return ""
    named = _OWNER.fullmatch(summary.owner)
    who = summary.owner if named is None else f"process {named['pid']} on {named['host']} ({summary.owner})"
    return f"none; the last one was {who}" if state.unowned else who


def _untaken(state: WorkflowState) -> str:
    """Return the signals that no wait has taken."""
    waiting = ((name, len(signals)) for name, signals in state.signals.items() if signals)
    return ", ".join(f"{name} not taken yet" + (f" ({count} times)" if count > 1 else "") for name, count in waiting)


def _requests(requests: Sequence[Posted]) -> str:
    """Return what is stored for the owner of a run and not recorded yet."""
    return ", ".join(f"{each.request.kind} is stored" for each in requests)


def _children(children: Sequence[RunSummary]) -> str:
    named = [f"{run.run_id} {run.status}" for run in islice(children, CHILDREN_SHOWN)]
    return ", ".join([*named, *(["and more"] if len(children) > CHILDREN_SHOWN else [])])


def _places(state: WorkflowState) -> Iterator[tuple[str, str]]:
    """Yield where the files of a run are, and what its environment holds that is recorded."""
    known = state.environment
    for name, key in (("workspace", "workspace"), ("log", "log_file"), ("started in", "start_dir")):
        path = known.get(key)
        if not isinstance(path, str):
            yield name, ""
        elif name == "log" and os.path.exists(path):
            yield name, f"{path}, {text.size_text(Path(path).stat().st_size)}"
        else:
            yield name, path
    if isinstance(variables := known.get("env"), Mapping):
        yield "env", ", ".join(map(str, variables))


def _kept(retention: Retention | None) -> str:
    """Return how long a run is kept once it has ended."""
    if retention is None:
        return ""
    rules = [(key, getattr(retention, key)) for key in KEYS]
    told = [
        f"the last {rule}" if key == "last" else f"{key} for {format_duration(rule)}"
        for key, rule in rules
        if rule is not None
    ]
    return ", ".join(told)
