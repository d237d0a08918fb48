"""Resume one run: choose its definition, and say which one it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Unpack

import anyio

from flujo.kernel import RunHandle, Runs, StoredDefinition, Workflow, WorkflowState
from flujo.kernel.api import ResumeOptions
from flujo.kernel.errors import DefinitionError, RunActiveError, WorkflowNotFoundError
from flujo.kernel.owners import note_if_gone

from . import sources
from .connect import reading
from .failures import SourceNotFoundError
from .foreground import advance
from .session import Session
from .shared_workspaces import note_shared_workspace
from .target import ServerTarget

LEFTOVERS_SECONDS = 10.0
"""How long a resume waits for what a killed owner has left: it asks to be ended, and is killed two seconds later."""

LOOK_SECONDS = 0.05


async def resume_run(
    session: Session,
    run_id: str,
    *,
    stored: bool = False,
    no_wait: bool = False,
    programs: Sequence[Workflow] = (),
    **options: Unpack[ResumeOptions],
) -> int:
    """Resume a run, follow it until it rests and return the exit code.

    `stored` uses the definition that the run has in the store. Otherwise it is the `workflow` of the options, if the
    command line named one, or the one that is found through what the run has recorded. `programs` are what a named
    Python workflow may call by name.
    """
    async with reading(session.target) as runs:
        state = await runs.inspect(run_id)
    note_shared_workspace(session, state)
    workflow = chosen_workflow(session, state, stored=stored, named=options.get("workflow"))
    options |= {"workflow": workflow, "by": session.user}

    async def begin(runs: Runs) -> RunHandle:
        handle = await _once_its_owner_is_gone(session, partial(runs.resume, run_id, **options))
        if workflow is not None and workflow.definition is not None:  # said when it is accepted: a refusal comes first
            file = sources.file_of(state) or "the definition"
            session.note(f"{file} has changed since this run last began; using it as it is now")
        return handle

    def load_definition(stored: StoredDefinition) -> Workflow:
        return sources.from_stored_text(stored, state)

    return await advance(
        session,
        run_id,
        begin,
        no_wait=no_wait,
        after_seq=state.seq,
        load_definition=load_definition,
        workflows=programs or programs_known_to(session, state),
    )


async def _once_its_owner_is_gone(session: Session, resume: Callable[[], Awaitable[RunHandle]]) -> RunHandle:
    """Resume a run, if its owner was killed as soon as the guardian of that has ended what it had started: whoever
    types `resume` behind `kill -9` need not know of that moment (tests/acceptance/test_remembered.py)."""
    deadline = anyio.current_time() + LEFTOVERS_SECONDS
    is_told = False
    while True:
        try:
            return await resume()
        except RunActiveError as error:
            if not (gone := note_if_gone(error.owner)) or anyio.current_time() > deadline:
                raise
            if not is_told:
                session.note(f"waiting for what is left of its owner{gone}")
                is_told = True
        await anyio.sleep(LOOK_SECONDS)


def programs_known_to(session: Session, state: WorkflowState) -> Sequence[Workflow]:
    """Return the Python workflows that a run may call by name; none for a server, which has its own."""
    return () if isinstance(session.target, ServerTarget) else sources.programs_of_run(state)


def chosen_workflow(session: Session, state: WorkflowState, *, stored: bool, named: Workflow | None) -> Workflow | None:
    """Return the workflow that a run is resumed with; None for the one that the store, or the server, has."""
    if named is None and not isinstance(session.target, ServerTarget):
        _refuse_missing_program(state)
    return None if stored and state.definition is not None else _changed(named or _current(session, state), state)


def _refuse_missing_program(state: WorkflowState) -> None:
    """Raise WorkflowNotFoundError for a run that only the application that started it can advance."""
    if sources.TARGET in state.environment or state.definition is not None:
        return
    error = WorkflowNotFoundError(state.workflow, ())
    error.args = (
        f"run {state.run_id!r} was started by a program with its own workflow {state.workflow!r}; resume it there",
    )
    error.hints = (f"flujoctl run --resume FILE.py:NAME --id {state.run_id}", f"flujoctl inspect {state.run_id}")
    raise error


def _changed(current: Workflow | None, state: WorkflowState) -> Workflow | None:
    """Return the workflow unless its definition is the one in the store."""
    if current is None or current.definition is None:
        return current
    return None if current.definition.digest == state.definition else current


def _current(session: Session, state: WorkflowState) -> Workflow | None:
    """Return the workflow a run was started from as it is now; None for the one that the store or the server has."""
    if isinstance(session.target, ServerTarget) and state.definition is None:
        return None  # a Python workflow: the server has it, or refuses
    try:
        current = sources.of_run(state)
    except DefinitionError as error:
        raise DefinitionError(
            error.problems, [f"flujoctl resume {state.run_id} --stored  # use the definition in the store"]
        ) from error
    except SourceNotFoundError as error:
        raise SourceNotFoundError(error.message, [f"flujoctl inspect {state.run_id}"]) from error
    if current is None and (file := sources.file_of(state)) is not None:
        session.note(f"{file} cannot be read; using the definition in the store")
    return current
