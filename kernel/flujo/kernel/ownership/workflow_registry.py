"""The workflows one kernel knows: those it was given, and those it can rebuild from a text that a run has stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from flujo.kernel.checked_calls import check_argument
from flujo.kernel.errors import (
    CorruptStoreError,
    DeclarationError,
    DefinitionError,
    FlujoError,
    StateIncompatibilityError,
    StoreError,
    WorkflowNotFoundError,
)
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.journal.compatibility import differences
from flujo.kernel.journal.state import RunStatus, WorkflowState
from flujo.kernel.store.backend import StateBackend
from flujo.kernel.store.records import StoredDefinition

_KEPT_LOADED = 64
"""How many workflows that a store has by name are not read anew each time they are started."""


def needs_definition(state: WorkflowState) -> bool:
    """True if a run goes on with what it has stored as soon as somebody takes it, or asks for that."""
    return state.unowned or state.status is RunStatus.PAUSED


class WorkflowRegistry:
    """`load` rebuilds a workflow from a stored text, and `load_program` finds that of a run of a program by what it has
    recorded; without them only registered workflows are known."""

    def __init__(
        self,
        workflows: Iterable[Workflow],
        load: Callable[[StoredDefinition], Workflow] | None,
        load_program: Callable[[WorkflowState], Workflow | None] | None = None,
    ) -> None:
        self.registered: dict[str, Workflow] = {}
        for each in workflows:
            self._register(each)
        self.load = load
        self._load_program = load_program
        self._loaded: dict[str, Workflow] = {}  # what was loaded by name last, by digest of its text

    def _register(self, workflow: Workflow) -> None:
        """Remember a workflow by its name; raises DeclarationError if another one has it, or if its function has an
        annotation that cannot be resolved."""
        check_argument("workflows", Workflow, workflow)  # of an iterator, which is not looked into
        workflow.require_resolved()
        known = self.registered.setdefault(workflow.name, workflow)
        # What reads the surroundings of a run is added by whoever loads the workflow.
        if known != workflow and replace(known, environment=workflow.environment) != workflow:
            # A stored run knows its program by name only: it would go on with the wrong one.
            raise DeclarationError(
                f"this kernel has another workflow called {workflow.name!r}", ["give one of them a name of its own"]
            )

    def resolve(self, workflow: Workflow | str) -> Workflow:
        """Return the workflow to start, registered if it has to be found again by its name; raises
        WorkflowNotFoundError, DeclarationError."""
        if isinstance(workflow, Workflow):
            if workflow.definition is not None and self.load is not None:
                return workflow  # its runs go on with the text they have stored, so there is nothing to remember
            if workflow.definition is None or workflow.name not in self.registered:
                self._register(workflow)
            return workflow
        if workflow not in self.registered:
            raise WorkflowNotFoundError(workflow, sorted(self.registered))
        return self.registered[workflow]

    def remember(self, workflow: Workflow | None) -> None:
        """Register the program that a run is resumed or forked with, so that it is found by its name when the run
        calls it or comes back to memory. A kernel that has one of this name keeps its own, which other runs have."""
        if workflow is not None and workflow.name not in self.registered:
            self.resolve(workflow)

    async def find(self, workflow: Workflow | str, backend: StateBackend) -> Workflow:
        """Return the workflow to start as `resolve` does, or else the one that the store has under this name. Raises
        what the loader of definitions raises, WorkflowNotFoundError, DeclarationError, StoreError."""
        if isinstance(workflow, Workflow) or workflow in self.registered or self.load is None:
            return self.resolve(workflow)
        try:
            stored = await backend.get_workflow(workflow)
        except WorkflowNotFoundError:
            return self.resolve(workflow)
        if stored.digest not in self._loaded:
            while len(self._loaded) >= _KEPT_LOADED:
                del self._loaded[next(iter(self._loaded))]
            self._loaded[stored.digest] = self.load(stored)
        return self._loaded[stored.digest]

    def may_know(self, workflow: str, definition: str | None) -> bool:
        """True if a run of this workflow, with this stored definition, can perhaps go on here."""
        return workflow in self.registered or definition is not None

    async def obstacle(self, state: WorkflowState, backend: StateBackend) -> str | None:
        """Return what keeps a stored run with a definition from going on here; None if nothing does, and for a run of
        a program. Raises StoreError when the store does not answer."""
        if state.definition is None:
            return None
        try:
            await self.for_run(state, backend)
        except StoreError as error:
            if not isinstance(error, CorruptStoreError):
                raise
            return error.message
        except FlujoError as error:
            return str(error)
        except Exception as error:  # such as a loader of definitions
            return f"{type(error).__name__}: {error}"
        return None

    async def for_run(self, state: WorkflowState, backend: StateBackend) -> Workflow:
        """Return the workflow a stored run goes on with: the registered one if it is the same definition, or else the
        stored text, or what finds its program. Raises WorkflowNotFoundError, StateIncompatibilityError."""
        registered = self.registered.get(state.workflow)
        same = registered is not None and (
            registered.definition is None or registered.definition.digest == state.definition
        )
        if registered is not None and same:
            return registered.as_started(state)
        if state.definition is not None and self.load is not None:
            definition = await backend.get_definition(state.definition)
            if not definition.is_genuine:
                problem = f"the text of its definition {definition.digest} is another one than its digest says"
                raise CorruptStoreError(state.run_id, problem, ["flujoctl db check"])
            return self._rebuilt(definition, state)
        if registered is None and self._load_program is not None:
            registered = self._load_program(state)
        if registered is None:
            raise WorkflowNotFoundError(state.workflow, sorted(self.registered))
        started = registered.as_started(state)
        if found := differences(state, started.plan):
            raise StateIncompatibilityError.recorded(state.run_id, found, has_definition=state.definition is not None)
        return started

    def _rebuilt(self, definition: StoredDefinition, state: WorkflowState) -> Workflow:
        """Return the workflow in the text that a run has stored; raises what the loader raises, with what to type
        about a text that cannot be used here, such as one with a task that is missing."""
        assert self.load is not None
        try:
            return self.load(definition).as_started(state)
        except DefinitionError as error:
            error.hints = error.hints or (f"flujoctl explain {state.run_id}", "flujoctl tasks  # those that there are")
            raise
