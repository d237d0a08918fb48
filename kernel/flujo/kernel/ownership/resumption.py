"""What a resume asks for, and what it records.

`ResumeOptions` are the keywords of `Runs.resume`; `Resumption` is the same as one value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from flujo.kernel.errors import (
    Difference,
    InvalidInputError,
    Remedies,
    RunExistsError,
    RunNotPausedError,
    StateIncompatibilityError,
)
from flujo.kernel.execution.programs import Workflow
from flujo.kernel.journal import events
from flujo.kernel.journal.compatibility import differences, outdated
from flujo.kernel.journal.decisions import at_resume, restart_at, skip
from flujo.kernel.journal.events import Fact
from flujo.kernel.journal.requests import Fingerprint, check_request_id, fingerprint
from flujo.kernel.journal.state import RunStatus, WorkflowState
from flujo.kernel.principals import principal
from flujo.kernel.store.filters import check_mapping, check_text
from flujo.kernel.values import encode_given


class ResumeOptions(TypedDict, total=False):
    """How a run goes on."""

    workflow: Workflow | None
    """With this definition; by default the one the run has stored, or the one registered under its name."""

    from_step: str | None
    """Run this step and every later one again; the only way to resume a completed run."""

    retry: Collection[str]
    """Run these steps again and no others."""

    skip: Mapping[str, Any] | None
    """Mark these steps as skipped, each with an output or None."""

    inputs: Mapping[str, Any] | None
    """Merge these over the recorded inputs."""

    accept_changes: bool
    """Go on although the definition contradicts completed steps."""

    empty_workspace: bool
    """Make the workspace of the run anew, empty, if it is gone."""

    by: str | None
    """Who asks, for the journal."""

    request_id: str | None
    """Tells a repeat of this request from another one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)  # a half of what one takes to make
class Resumption:
    """The value of `ResumeOptions`, with the defaults of its parts.

    Raises InvalidNameError for a malformed request id, InvalidValueError for text that UTF-8 cannot hold."""

    workflow: Workflow | None = None
    from_step: str | None = None
    retry: Collection[str] = ()
    skip: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    accept_changes: bool = False
    empty_workspace: bool = False
    by: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        check_text("by", self.by)
        check_mapping("inputs", self.inputs)
        check_mapping("skip", self.skip)
        check_request_id(self.request_id)

    @property
    def is_plain(self) -> bool:
        """True if nothing is asked for but to go on."""
        return self.from_step is None and not (self.retry or self.skip or self.inputs or self.accept_changes)

    def fingerprint(self) -> Fingerprint | None:
        """Return the fingerprint of this request; None without a request id."""
        definition = None if self.workflow is None else self.workflow.definition
        return fingerprint(
            self.request_id,
            "resume",
            definition=None if definition is None else definition.digest,
            from_step=self.from_step,
            retry=sorted(self.retry),
            skip=dict(self.skip or {}),
            inputs=dict(self.inputs or {}),
            accept_changes=self.accept_changes,
            by=self.by,
            **({"empty_workspace": True} if self.empty_workspace else {}),  # earlier releases did not have it
        )


def resumed(state: WorkflowState, chosen: Workflow, asked: Resumption, request: Fingerprint | None) -> list[Fact]:
    """Return the facts that a resume with the workflow `chosen` records; raise what forbids it."""
    _require_same_name(state, chosen)
    reset = at_resume(state, asked.from_step, asked.retry)
    merged = _merged_inputs(state, chosen, asked, invalidated=reset)
    digest = None if chosen.definition is None else chosen.definition.digest
    changed = digest is not None and digest != state.definition
    fact = events.RunResumed(
        reset=reset,
        from_step=asked.from_step,
        inputs=merged,
        definition=digest if changed else None,
        plan=chosen.plan if changed else None,
        version=chosen.version if changed else None,
        by=asked.by,
        changes_accepted=asked.accept_changes,
        timeout_seconds=None if chosen.timeout_seconds == state.timeout_seconds else chosen.timeout_seconds or 0.0,
        request=request,
        principal=principal(),
    )
    return [fact, *_skipped(state, asked, reset)]


def _require_same_name(state: WorkflowState, chosen: Workflow) -> None:
    if chosen.name != state.workflow:
        raise RunExistsError(state.run_id, f"the workflow {state.workflow!r}")


def require_compatible(state: WorkflowState, chosen: Workflow) -> None:
    """Raise StateIncompatibilityError if a plain resume with this workflow would be refused."""
    _merged_inputs(state, chosen, Resumption(), invalidated=())


def differences_with(state: WorkflowState, chosen: Workflow) -> Sequence[Difference]:
    """Return in what a workflow contradicts what a run has recorded, for which a plain resume with it would be refused.
    Raises RunExistsError for another workflow."""
    _require_same_name(state, chosen)
    try:
        require_compatible(state, chosen.as_started(state))
    except StateIncompatibilityError as error:
        return list(error.differences)
    return []


def _merged_inputs(
    state: WorkflowState, chosen: Workflow, asked: Resumption, invalidated: Collection[str]
) -> str | None:
    """Return the inputs that a resume records, None if they stay; raise StateIncompatibilityError for recorded ones,
    and for completed steps, that do not fit. Accepted, such inputs are dropped."""
    given, recorded = asked.inputs or {}, state.inputs
    inputs, found = chosen.fitting({**recorded, **given}, state.environment)
    misfits = {name: each for each in found if (name := each.step.removeprefix("inputs.")) not in given}
    if misfits and not asked.accept_changes:
        require_fit(state, chosen, invalidated, misfits=list(misfits.values()))
    merged: Mapping[str, Any] = recorded
    if given or misfits or (chosen.signature is None and inputs != recorded):
        kept = {name: value for name, value in {**inputs, **given}.items() if name not in misfits}
        merged = chosen.check_inputs(kept)
    if not asked.accept_changes:
        require_fit(state, chosen, invalidated, inputs=merged, given=given)
    return None if merged is recorded else encode_given("the inputs", merged)


def _skipped(state: WorkflowState, asked: Resumption, reset: Collection[str]) -> list[Fact]:
    return [
        skip(
            state, name, None if output is None else encode_given(f"the output of {name!r}", output), asked.by, reset
        )._replace(principal=principal())
        for name, output in (asked.skip or {}).items()
    ]


def require_fit(
    state: WorkflowState,
    chosen: Workflow,
    invalidated: Collection[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    misfits: Sequence[Difference] = (),
    given: Mapping[str, Any] | None = None,
    is_fork: bool = False,
) -> None:
    """Raise StateIncompatibilityError unless a workflow, and the inputs it goes on with, fit the completed steps of a
    run that are not invalidated; `misfits` are inputs that do not fit, `given` those that somebody asked for."""
    same = chosen.definition is not None and chosen.definition.digest == state.definition
    plan = None if same else chosen.plan
    merged = state.inputs if inputs is None else inputs

    def found(invalidated: Collection[str]) -> list[Difference]:
        return [
            *differences(state, plan, invalidated=invalidated),
            *outdated(state, chosen.mentions, merged, invalidated=invalidated),
        ]

    if all_found := [*misfits, *found(invalidated)]:
        again = restart_at(state, all_found, lambda reset: not found(reset))
        has_defaults = bool(misfits) and _takes(chosen, merged, misfits)
        remedies = Remedies(again, given or {}, is_fork, state.definition is not None, has_defaults)
        file = str(state.environment.get("workflow_file") or "FILE")
        raise StateIncompatibilityError(state.run_id, all_found, file, remedies)


def _takes(chosen: Workflow, inputs: Mapping[str, Any], misfits: Sequence[Difference]) -> bool:
    """True if a workflow takes recorded inputs once those that do not fit are left out."""
    names = {each.step.removeprefix("inputs.") for each in misfits}
    try:
        chosen.check_inputs({name: value for name, value in inputs.items() if name not in names})
    except InvalidInputError:
        return False
    return True


def require_paused(state: WorkflowState) -> None:
    """Raise RunNotPausedError unless a run is paused: it may have been cancelled since the caller looked."""
    if state.status is not RunStatus.PAUSED:
        raise RunNotPausedError(state.run_id, state.status)
