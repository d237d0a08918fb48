"""Errors of a request that a run, as it is recorded, cannot answer: it is missing, in the way, or it differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any, NamedTuple, Self

from flujo.kernel.owners import note_if_gone

from .base import FlujoError


class RunNotFoundError(FlujoError, LookupError):
    """No run has this id in this store.

    `flujoctl list` shows the runs of this store; name another store with --store, or a server with --server.
    """

    reason = "RUN_NOT_FOUND"

    def __init__(self, run_id: str, store: str) -> None:
        super().__init__(f"no run {run_id!r} in {store}", ["flujoctl list"])
        self.run_id, self.store = run_id, store


class RunReplacedError(FlujoError):
    """The run that was being watched was deleted, and another one was started under its id.

    Watch it again from its first event: `flujoctl watch ID`.
    """

    reason = "RUN_REPLACED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was deleted and started anew", [f"flujoctl watch {run_id}"])
        self.run_id = run_id


class RunDeletedError(FlujoError):
    """The run that was being watched was deleted.

    `flujoctl list` shows what is left.
    """

    reason = "RUN_DELETED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was deleted", ["flujoctl list"])
        self.run_id = run_id


class CursorError(FlujoError, ValueError):
    """A watch asked to continue after an event the run does not have.

    Continue after the last event that the run has, which the message names.
    """

    reason = "CURSOR_OUT_OF_RANGE"

    def __init__(self, run_id: str, after_seq: int, last_seq: int) -> None:
        super().__init__(
            f"run {run_id!r} has {last_seq} events, there is nothing after {after_seq}",
            [f"flujoctl watch {run_id} --after {last_seq}"],
        )
        self.run_id, self.after_seq, self.last_seq = run_id, after_seq, last_seq


class ForeignCursorError(FlujoError, ValueError):
    """A watch of all runs asked to continue at a place in the order of another store: one of another name, or the one
    that was here before a backup took its place.

    What happened since cannot be told from here. Watch from the first event that is stored, or from now on.
    """

    reason = "CURSOR_OF_ANOTHER_STORE"

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"the cursor {cursor!r} is of another store, or of this one before a backup took its place",
            [
                "flujoctl watch --after 0  # from the first event that is stored",
                "flujoctl watch  # what comes from now on",
            ],
        )
        self.cursor = cursor


class RunExistsError(FlujoError):
    """The run id is taken by a run of another workflow or with other inputs.

    Choose another id with --id, or none to get a fresh one; `flujoctl inspect ID` shows the run that has it.
    """

    reason = "RUN_EXISTS"

    def __init__(self, run_id: str, difference: str, hints: Iterable[str] = ()) -> None:
        super().__init__(
            f"run {run_id!r} exists already with {difference}",
            tuple(hints) or [f"flujoctl inspect {run_id}", "choose another id with --id, or none to get a fresh one"],
        )
        self.run_id, self.difference = run_id, difference


class RunOverlapError(FlujoError):
    """Another run of the workflow is not finished, and `on_overlap` of the workflow allows no second one."""

    reason = "RUN_OVERLAPS"

    def __init__(self, workflow: str, run_id: str, status: str, on_overlap: str) -> None:
        """`status` is that of the other run, `run_id`; one without a live owner is `interrupted`."""
        going_on = status in ("interrupted", "paused")
        first = f"flujoctl resume {run_id}" if going_on else f"flujoctl wait {run_id}"
        super().__init__(
            f"run {run_id!r} of {workflow!r} is {status}, and its workflow says on_overlap: {on_overlap}",
            [first, f"flujoctl cancel {run_id}"],
        )
        self.workflow, self.run_id, self.status, self.on_overlap = workflow, run_id, status, on_overlap


class RequestReusedError(FlujoError):
    """A request came under an id under which the run was asked for something else. Nothing has changed.

    Give each request an id of its own, and only a repeat the same one.
    """

    reason = "REQUEST_ID_REUSED"

    def __init__(self, run_id: str, request_id: str) -> None:
        super().__init__(
            f"run {run_id!r} was asked for something else under the request id {request_id!r}",
            [f"flujoctl events {run_id}", "give each request an id of its own, and only a repeat the same one"],
        )
        self.run_id, self.request_id = run_id, request_id


class RunActiveError(FlujoError):
    """A live process owns the run.

    `flujoctl watch ID` follows it there, `flujoctl cancel ID` stops it; then the command works.
    """

    reason = "RUN_ACTIVE"

    def __init__(self, run_id: str, owner: str) -> None:
        super().__init__(
            f"run {run_id!r} is being run by the live process {owner}{note_if_gone(owner)}",
            [f"flujoctl watch {run_id}", f"flujoctl cancel {run_id}"],
        )
        self.run_id, self.owner = run_id, owner


class RunFinishedError(FlujoError):
    """The run is final and takes no more requests.

    `flujoctl inspect ID` shows how it ended; `flujoctl resume ID --from-step STEP` begins a part of it again.
    """

    reason = "RUN_FINISHED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id!r} is already {status}", [f"flujoctl inspect {run_id}"])
        self.run_id, self.status = run_id, status


class RunNotResumableError(FlujoError):
    """A resume was asked of a run that has nothing to resume.

    Only `--from-step STEP` begins a part of a completed run again; `flujoctl fork ID` begins another one.
    """

    reason = "RUN_NOT_RESUMABLE"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id!r} is {status}, there is nothing to resume",
            [f"flujoctl resume {run_id} --from-step STEP", f"flujoctl inspect {run_id}"],
        )
        self.run_id, self.status = run_id, status


class StepNotFoundError(FlujoError, LookupError):
    """The run has not begun a step of this name.

    `flujoctl inspect ID` lists the steps that the run has begun.
    """

    reason = "STEP_NOT_FOUND"

    def __init__(self, run_id: str, step: str, known: Sequence[str]) -> None:
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "") if known else "none"
        super().__init__(
            f"run {run_id!r} has not begun a step {step!r}; it has begun: {listed}", [f"flujoctl inspect {run_id}"]
        )
        self.run_id, self.step, self.known = run_id, step, tuple(known)


class NoLogError(FlujoError, LookupError):
    """A run has no log, or none that can be read.

    `flujoctl events ID` shows what is recorded of the run.
    """

    reason = "LOG_NOT_FOUND"

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(f"run {run_id!r} has no log: {problem}", [f"flujoctl events {run_id}"])
        self.run_id, self.problem = run_id, problem


class StepCompletedError(FlujoError):
    """A step was to be skipped, or given an output, although it has completed: what is recorded does not change.

    `flujoctl resume ID --from-step STEP` gives the step a new life, in which all is possible.
    """

    reason = "STEP_COMPLETED"

    def __init__(self, run_id: str, step: str) -> None:
        super().__init__(
            f"step {step!r} of run {run_id!r} has completed, and its output does not change",
            [f"flujoctl resume {run_id} --from-step {quote(step)}  # run it and all later ones again"],
        )
        self.run_id, self.step = run_id, step


class StateNotRecordableError(FlujoError, ValueError):
    """A caller wants to save a state that no events of a run lead to; `hints` name the calls that do what was meant.

    Change a run through its steps, its variables and its status; the message names what else was changed.
    """

    reason = "STATE_NOT_RECORDABLE"

    def __init__(self, run_id: str, problem: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"this state of run {run_id!r} cannot be recorded: {problem}", hints)
        self.run_id, self.problem = run_id, problem


class RunNotPausedError(FlujoError):
    """Only a paused run can be unpaused.

    `flujoctl inspect ID` shows what the run does; `flujoctl resume ID` is for runs that failed or were interrupted.
    """

    reason = "RUN_NOT_PAUSED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id!r} is {status}, not paused", [f"flujoctl explain {run_id}"])
        self.run_id, self.status = run_id, status


class UnknownEventError(FlujoError):
    """A run holds an event this release cannot read; that run is read-only here, all others are not affected.

    Use the release that wrote the event: `pip install --upgrade flujoctl`.
    """

    reason = "EVENT_UNKNOWN"

    def __init__(self, type: str, format: int) -> None:
        super().__init__(
            f"an event {type!r} of format {format} was written by a newer release", ["pip install --upgrade flujoctl"]
        )
        self.type, self.format = type, format


class Difference(NamedTuple):
    """One way a definition no longer fits what a run has recorded."""

    step: str  # or `inputs.NAME` for an input of the run
    change: str  # changed, removed, renamed, reordered, inserted, misfit; outdated, if only the run's inputs changed
    detail: str

    def __str__(self) -> str:
        return f"{self.step}: {self.detail}"


class StateIncompatibilityError(FlujoError):
    """The current definition, or the inputs given, differ from what the completed steps of a run were recorded with.

    `differences` lists every one by name; `hints` are the remedies as exact commands, gentlest first. `remedies` says
    what only the one who has found the differences knows of them.

    `flujoctl diff ID` shows what has changed. Go on with the definition that is stored (`flujoctl resume ID
    --stored`), begin again at the first step that has changed (`--from-step STEP`), or accept the changes
    (`--accept-changes`). The last ways are to delete the run, to prune old ones, or to start another one under a
    new id.
    """

    reason = "STATE_INCOMPATIBLE"

    def __init__(
        self,
        run_id: str,
        differences: Sequence[Difference],
        source: str = "FILE",
        remedies: Remedies | None = None,
    ) -> None:
        lines = "".join(f"\n  {difference}" for difference in differences)
        known = Remedies(_first_changed(differences)) if remedies is None else remedies
        is_outdated = all(each.change == "outdated" for each in differences)
        what = "the inputs differ" if is_outdated else "the definition differs"
        super().__init__(
            f"run {run_id!r} cannot {'fork' if known.is_fork else 'resume'}: {what} from what its completed steps "
            f"were recorded with (StateIncompatibilityError){lines}",
            [*_remedies(run_id, differences, known), *_last_remedies(run_id, source, known.inputs)],
        )
        self.run_id, self.differences = run_id, tuple(differences)

    @classmethod
    def recorded(cls, run_id: str, rows: Iterable[Sequence[str]], *, has_definition: bool) -> Self:
        """Return the error of a run that was paused since its program contradicts what is recorded: `rows` of (step,
        change, detail)."""
        found = [Difference(*row) for row in rows]
        return cls(run_id, found, remedies=Remedies(_first_changed(found), has_definition=has_definition))


class Remedies(NamedTuple):
    """What the remedies of an incompatibility depend on: the step from which all differences are gone, if there is one,
    the inputs that were given, whether it was a fork that met the differences, whether the run has stored a definition
    to go back to, and whether the workflow has defaults for the inputs that do not fit."""

    from_step: str | None
    inputs: Mapping[str, Any] = {}
    is_fork: bool = False
    has_definition: bool = True
    has_defaults: bool = False


def _first_changed(differences: Sequence[Difference]) -> str | None:
    """Return the step to run again from, where no more is known than the differences: a new step has not begun."""
    steps = [each for each in differences if not _is_input(each) and each.change != "inserted"]
    return next((each.step for each in steps if each.change == "changed"), steps[0].step if steps else None)


def _is_input(difference: Difference) -> bool:
    return difference.step == _INPUTS or difference.step.startswith(f"{_INPUTS}.")


_INPUTS = "inputs"


def _remedies(run_id: str, differences: Sequence[Difference], known: Remedies) -> list[str]:
    """Return the commands that let a run go on, gentlest first."""
    resume, given = f"flujoctl resume {run_id}", "".join(f" {each}" for each in _assignments(known.inputs))
    inputs = [each for each in differences if _is_input(each)]
    fitting = _fitting_inputs(inputs, known)
    of_steps = [each for each in differences if not _is_input(each)]
    again = f" --from-step {quote(known.from_step)}" if known.from_step and of_steps else ""
    if known.is_fork:
        return [f"flujoctl fork {run_id}{again}{given}  # run that step and all later ones again"] if again else []
    commands = []
    is_outdated = all(each.change == "outdated" for each in differences)
    if is_outdated:
        commands.append(f"{resume}  # keep the inputs that the run has")
    elif known.has_definition:
        stored = "" if any(each.change == "outdated" for each in of_steps) else given
        commands.append(f"{resume} --stored{stored}  # use the definition the run was started with")
    if not of_steps:
        return [*commands, *(f"{resume}{option}" for option in fitting)]
    fill = fitting[0].partition("  #")[0] if fitting else ""
    misfits = [each.step for each in of_steps if each.change == "misfit"]
    for step in misfits[:1]:
        result = quote(f"{step}=JSON")
        commands.append(f"flujoctl set {run_id} --result {result}  # give the step an output that fits, then resume")
    if again:
        commands.append(f"{resume}{again}{given}{fill}  # run that step and all later ones again")
    if not misfits:  # accepting makes no value fit
        which = "inputs" if is_outdated else "definition"
        fill = fill.replace(_ACCEPT, "")
        commands.append(f"{resume}{_ACCEPT}{given}{fill}  # keep the recorded outputs, use the new {which}")
    return commands


_ACCEPT = " --accept-changes"


def _fitting_inputs(inputs: Sequence[Difference], known: Remedies) -> list[str]:
    """Return the options of a resume that make recorded inputs fit, gentlest first: values for those that the workflow
    wants, and leaving out those that it takes no longer."""
    wanted = [each.step.removeprefix(_INPUTS).removeprefix(".") for each in inputs if each.change != "removed"]
    drops = _ACCEPT if len(wanted) < len(inputs) else ""
    values = "".join(" " + quote(f"{name}:=JSON") if name else " NAME:=JSON" for name in wanted)
    options = []
    if wanted:
        what = "give the inputs values that fit" if len(wanted) > 1 else "give the input a value that fits"
        options.append(f"{values}{drops}  # {what}{', without the others' if drops else ''}")
    if drops and not wanted:
        options.append(f"{drops}  # go on without the inputs that it takes no longer")
    elif wanted and known.has_defaults:
        options.append(f"{_ACCEPT}  # go on with the defaults of the inputs that do not fit")
    return options


def _assignments(inputs: Mapping[str, Any]) -> list[str]:
    """Return inputs as a command line gives them; of one that is long only the name."""
    written = []
    for name, value in inputs.items():
        text = quote(f"{name}={value}" if isinstance(value, str) else f"{name}:={json.dumps(value)}")
        written.append(text if len(text) <= 200 and text.isprintable() else f"{name}=TEXT")
    return written


def _last_remedies(run_id: str, source: str, inputs: Mapping[str, Any]) -> list[str]:
    """Return the commands that give the run up."""
    given = "".join(f" {assignment}" for assignment in _assignments(inputs))
    return [
        f"flujoctl delete {run_id}                     # delete the run",
        "flujoctl prune --older-than 30d              # delete old finished runs",
        f"flujoctl run {quote(source)}{given} --id NEW-ID            # start a new run beside it",
        "remove the store, only as a last resort",
    ]
