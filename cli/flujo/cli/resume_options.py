"""Resume one run: choose its definition, and say which one it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flujo.kernel import RunHandle, Runs, StoredDefinition, Workflow, WorkflowState
from flujo.kernel.errors import DefinitionError, WorkflowNotFoundError

from . import sources
from .connect import reading
from .failures import SourceNotFoundError
from .foreground import advance
from .session import Session
from .target import ServerTarget


@dataclass(frozen=True, kw_only=True)
class _Choices:
    from_step: str | None = None
    retry: Sequence[str] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    stored: bool = False
    accept_changes: bool = False
    workflow: Workflow | None = None


@dataclass(frozen=True)
class Resumption(_Choices):
    """How to resume the run `run_id`.

    `stored` uses the definition that the run has in the store, `accept_changes` the current one although it contradicts
    completed steps. `workflow` is the current one, if the command line named it; otherwise it is found through what the
    run has recorded.
    """

    run_id: str

    async def carry_out(self, session: Session, *, no_wait: bool = False) -> int:
        """Resume the run, follow it to rest and return the exit code."""
        is_remote = isinstance(session.target, ServerTarget)
        async with reading(session.target) as runs:
            state = await runs.inspect(self.run_id)
        if not is_remote:
            self._refuse_missing_program(state)
        workflow = self._definition(session, state)

        async def begin(runs: Runs) -> RunHandle:
            return await runs.resume(
                self.run_id,
                workflow=workflow,
                from_step=self.from_step,
                retry=self.retry,
                by=session.user,
                inputs=self.inputs or None,
                accept_changes=self.accept_changes,
            )

        def load_definition(stored: StoredDefinition) -> Workflow:
            return sources.from_stored_text(stored, state)

        return await advance(
            session, self.run_id, begin, no_wait=no_wait, after_seq=state.seq, load_definition=load_definition
        )

    def _refuse_missing_program(self, state: WorkflowState) -> None:
        """Raise WorkflowNotFoundError for a run that only the application that started it can advance."""
        named = self.workflow is not None or sources.TARGET in state.environment
        if named or state.definition is not None:
            return
        error = WorkflowNotFoundError(state.workflow, ())
        error.args = (
            f"run {self.run_id!r} was started by a program with its own workflow {state.workflow!r}; resume it there",
        )
        error.hints = (f"flujoctl run --resume FILE.py:NAME --id {self.run_id}", f"flujoctl inspect {self.run_id}")
        raise error

    def _definition(self, session: Session, state: WorkflowState) -> Workflow | None:
        """Return the workflow to resume with; None for the definition in the store."""
        if self.stored and state.definition is not None:
            return None
        current = self.workflow or self._current(session, state)
        if current is None or current.definition is None:
            return current
        if current.definition.digest == state.definition:
            return None
        file = sources.file_of(state) or "the definition"
        session.note(f"{file} has changed since this run last began; using it as it is now")
        return current

    def _current(self, session: Session, state: WorkflowState) -> Workflow | None:
        if isinstance(session.target, ServerTarget) and state.definition is None:
            return None  # a Python workflow: the server has it, or refuses
        try:
            current = sources.of_run(state)
        except DefinitionError as error:
            raise DefinitionError(
                error.problems, [f"flujoctl resume {self.run_id} --stored  # use the definition in the store"]
            ) from error
        except SourceNotFoundError as error:
            raise SourceNotFoundError(error.message, [f"flujoctl inspect {self.run_id}"]) from error
        if current is None and (file := sources.file_of(state)) is not None:
            session.note(f"{file} cannot be read; using the definition in the store")
        return current
