"""`WorkflowState`: one run, to be read and changed by code that blocks."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from flujo.backends import open_backend
from flujo.backends.discovery import anchored, find_store
from flujo.kernel import WorkflowState as Recorded
from flujo.kernel.amendments import Amendment, Complete, SetVariable, apply_amendment
from flujo.kernel.errors import InvalidNameError

from . import arguments
from .access import MakeHandle, read, record
from .blocking import run_blocking
from .saving import amendment_of_step, current_step_of, execution_of, outputs_of, shape

if TYPE_CHECKING:
    from .backends.base import StateBackend


class WorkflowState:
    """One run as it was when it was loaded, with the changes made to it here since.

    Changes are shown at once and recorded by `save`; until then nobody else sees them. Each is checked when it is made,
    and again when it is saved, against the run as it stands then."""

    def __init__(self, recorded: Recorded, handle: MakeHandle) -> None:
        self._handle = handle
        self._begin(recorded)

    def _begin(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._draft = deepcopy(recorded)  # with the changes, but for the last one
        self._changes: list[Amendment] = []
        self._completion: Complete | None = None  # behind all changes, whenever it was asked for
        self._shown = self._draft

    @classmethod
    def load(cls, workflow_id: str, *, store: str | StateBackend | None = None) -> Self:
        """Return the run with this id. `store` is a store's URL, or a backend of `flujo.state.backends`; without it,
        the store is found as flujoctl finds it: FLUJO_STORE, the nearest flujo.toml, the nearest folder .flujo.

        Raises RunNotFoundError, StoreNotFoundError and other StoreErrors, BlockingCallError."""
        arguments.text("workflow_id", workflow_id)
        if store is None or isinstance(store, str):
            handle: MakeHandle = partial(open_backend, anchored(find_store(store).url, Path.cwd()))
        elif callable(handle_of := getattr(store, "handle", None)):
            handle = handle_of
        else:
            raise InvalidNameError("store", type(store), "the URL of a store, or a backend of flujo.state.backends")
        return cls(run_blocking("WorkflowState.load", partial(read, handle, workflow_id)), handle)

    def __repr__(self) -> str:
        unsaved = " with unsaved changes" if self.has_changes else ""
        return f"<state of run {self.run_id}, {self.status}{unsaved}>"

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def workflow_id(self) -> str:
        """Return the id of the run."""
        return self._shown.run_id

    @property
    def run_id(self) -> str:
        """Return the id of the run, as flujo calls it."""
        return self._shown.run_id

    @property
    def name(self) -> str:
        """Return the name of the workflow."""
        return self._shown.name

    @property
    def status(self) -> str:
        """Return where the run stands: pending, running, waiting, paused, completed, failed or cancelled."""
        return self._shown.status.value

    @property
    def start_time(self) -> str | None:
        """Return when the run started, ISO 8601 in UTC."""
        return self._shown.start_time

    @property
    def last_updated(self) -> str | None:
        """Return when the last event was recorded, ISO 8601 in UTC."""
        return self._shown.last_updated

    @property
    def current_step(self) -> str | None:
        """Return the step that began last."""
        return current_step_of(self._shown)

    @property
    def failed_step(self) -> str | None:
        """Return the step whose failure ended the run."""
        return self._shown.failed_step

    @property
    def step_outputs(self) -> dict[str, dict[str, Any]]:
        """For every completed step its output, as `{name: {"result": output}}`."""
        return outputs_of(self._shown)

    @property
    def retry_state(self) -> dict[str, dict[str, int]]:
        """For every step that has failed and may be tried again, `{name: {"attempt": n, "max_attempts": m}}`."""
        return self._shown.retry_state

    @property
    def execution_state(self) -> dict[str, Any]:
        """status, current_step, failed_step, step_outputs and retry_state together."""
        return execution_of(self._shown)

    @property
    def variables(self) -> dict[str, Any]:
        """Return the variables of the run; a copy, which `set_variable` is there to change."""
        return deepcopy(self._shown.variables)

    @property
    def recorded(self) -> Recorded:
        """Everything recorded of the run when it was loaded or last saved, with flujo's own names."""
        return self._recorded

    @property
    def has_changes(self) -> bool:
        """True if there is anything to save."""
        return bool(self._changes) or self._completion is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the run in the JSON shape of a state file: workflow_id, name, start_time, last_updated, status,
        execution_state and variables."""
        return shape(self._shown)

    # -- changing -----------------------------------------------------------------------------------------------

    def update_step(self, name: str, status: str = "completed", output: Any = None) -> None:
        """Give a step its output, as if it had completed, or with status "skipped" go on without it. A step that has
        completed already gets the new output behind the recorded one.

        Raises StateNotRecordableError for a status that only an attempt can bring, StepNotFoundError,
        StepCompletedError for the skip of a completed step, RunFinishedError, InvalidNameError, InvalidValueError,
        PayloadTooLargeError."""
        arguments.text("name", name)
        arguments.text("status", status)
        self._change(amendment_of_step(self.run_id, name, status, output))

    def set_variable(self, name: str, value: Any) -> None:
        """Set a variable of the run to a JSON value. Raises RunFinishedError, InvalidNameError, InvalidValueError,
        PayloadTooLargeError."""
        self._change(SetVariable(arguments.text("name", name), value))

    def mark_completed(self, output: Any = None) -> None:
        """The run is over and counts as completed, with this output; steps it waits for are skipped, and none runs any
        more. Raises InvalidValueError, PayloadTooLargeError."""
        completion = Complete(deepcopy(output))
        self._show(completion)
        self._completion = completion

    def _change(self, change: Amendment) -> None:
        change = deepcopy(change)  # whoever made it may go on with its value
        if apply_amendment(self._draft, change):
            self._changes.append(change)
        self._show(self._completion)

    def _show(self, completion: Complete | None) -> None:
        if completion is None:
            self._shown = self._draft
            return
        shown = deepcopy(self._draft)
        apply_amendment(shown, completion)
        self._shown = shown

    def save(self, *, reason: str | None = None, by: str | None = None) -> None:
        """Record the changes as events, in one commit, with a reason and who did it (by default the user of this
        process); durable on return. Without changes it does nothing. Afterwards this is the run as it stands then.

        A run that a live process runs takes variables only: for anything else RunActiveError is raised. Raises
        RunReplacedError, BlockingCallError, StoreError, and what making the changes raises; then nothing is recorded
        and the changes are kept."""
        arguments.optional_text("reason", reason)
        arguments.optional_text("by", by)
        if not self.has_changes:
            return
        changes = [*self._changes, *([] if self._completion is None else [self._completion])]
        save = partial(record, self._handle, self._recorded, changes, reason=reason, by=by)
        self._begin(run_blocking("WorkflowState.save", save))
