"""Find runs: by an id that may be abbreviated, the newest one, and the one unfinished run of a workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from shlex import quote
from typing import TYPE_CHECKING, Unpack

from flujo.kernel.backend import Order
from flujo.kernel.errors import CorruptStoreError, RunActiveError, RunNotFoundError
from flujo.kernel.state import RunStatus

from .failures import AmbiguousRunError, NothingToResumeError

if TYPE_CHECKING:
    from flujo.kernel import RunSummary, StoredRuns
    from flujo.kernel.backend import RunLists, RunQuery

NEWEST = "@last"
"""Stands for the run that was started last. No id of a run begins with @."""

SHORTEST_ENDING = 4
UNFINISHED = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED, RunStatus.FAILED)
"""What `run --resume` looks for. Not cancelled ones: a user has decided about those."""

_PAGE = 500


async def find_run(runs: StoredRuns, given: str, *, shortest: int = 1) -> str:
    """Return the id of the run that `given` names: an exact id, or the first characters of exactly one run id, or the
    last ones, at least four; `@last` is the run that was started last. `shortest` is the minimum length of an
    abbreviation.

    Raises RunNotFoundError, AmbiguousRunError.
    """
    if given == NEWEST:
        return await _newest(runs)
    try:
        return (await runs.summary(given)).run_id
    except CorruptStoreError:
        return given  # its summary is damaged; it is there all the same, and can be deleted
    except RunNotFoundError as missing:
        found = await _with_prefix(runs, given) if len(given) >= shortest else []
        if not found and len(given) >= SHORTEST_ENDING:
            found = await _with_suffix(runs, given)
        if not found:
            if not given:
                missing.hints = ("look for a variable of the shell that is empty", *missing.hints)
            elif len(given) < shortest:
                missing.hints = (f"type at least {shortest} characters of an id here, or all of it", *missing.hints)
            if given in ("run", "runs"):
                missing.hints = ("leave the word out: all commands are about runs", *missing.hints)
            elif given.startswith(("run/", "runs/")):
                missing.hints = (f"leave {given.partition('/')[0]}/ out: all commands are about runs", *missing.hints)
            raise
    if len(found) > 1:
        is_prefix = found[0].startswith(given)
        hint = f"flujoctl list --id-prefix {quote(given)}" if is_prefix else "flujoctl list"
        raise AmbiguousRunError(f"{given!r} matches several runs", found, [hint])
    return found[0]


async def _newest(runs: StoredRuns) -> str:
    for run in (await runs.list(limit=1)).runs:
        return run.run_id
    raise RunNotFoundError(NEWEST, runs.url)


async def _with_prefix(runs: StoredRuns, prefix: str) -> list[str]:
    page = await runs.list(id_prefix=prefix, limit=20)
    return [run.run_id for run in page.runs]


async def _with_suffix(runs: StoredRuns, suffix: str) -> list[str]:
    return [run.run_id async for run in every_run(runs) if run.run_id.endswith(suffix)]


async def every_run(
    runs: StoredRuns | RunLists, *, order: str = Order.CREATED, **wanted: Unpack[RunQuery]
) -> AsyncIterator[RunSummary]:
    """Yield all runs that match, newest first."""
    page: str | None = None
    while True:
        found = await runs.list(order=order, limit=_PAGE, page=page, **wanted)
        for run in found.runs:
            yield run
        if (page := found.next) is None:
            return


async def run_to_resume(runs: StoredRuns, workflow: str, command: str, *, any_status: bool) -> str:
    """Return the id of the one unfinished run of a workflow; with `any_status` the newest of any status if none is
    unfinished.

    `command` is the command line so far, for hints that add `--id ID`. Raises RunNotFoundError for no run,
    AmbiguousRunError for several, RunActiveError for one that a live process runs.
    """
    found = [run async for run in every_run(runs, workflow=workflow, statuses=UNFINISHED)]
    ids = {run.run_id for run in found}
    found = [run for run in found if run.parent_run_id not in ids]  # a run resumes those that it has called
    if len(found) > 1:
        listed = [f"{run.run_id}  {run.status}" for run in found]
        raise AmbiguousRunError(
            f"there are {len(found)} unfinished runs of {workflow!r}", listed, [f"{command} --id {found[0].run_id}"]
        )
    if not found and any_status:
        found = list((await runs.list(workflow=workflow, limit=1)).runs)
    if not found:
        raise await _nothing_to_resume(runs, workflow)
    await refuse_active(runs, found[0])
    return found[0].run_id


async def refuse_active(runs: StoredRuns, run: RunSummary) -> None:
    """Raise RunActiveError if a live process runs the run."""
    if run.owner is not None and not await runs.is_interrupted(run):
        raise RunActiveError(run.run_id, run.owner)


async def _nothing_to_resume(runs: StoredRuns, workflow: str) -> NothingToResumeError:
    message = f"there is no unfinished run of {workflow!r} in {runs.url}"
    settled = (await runs.list(workflow=workflow, limit=1)).runs
    if not settled:
        return NothingToResumeError(message, ["flujoctl list"])
    newest = settled[0]
    since = "" if newest.status == RunStatus.CANCELLED else " --from-step STEP"
    return NothingToResumeError(
        message, [f"flujoctl resume {newest.run_id}{since}  # the newest one is {newest.status}", "flujoctl list"]
    )
