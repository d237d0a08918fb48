"""Why a run does not go on by itself right now, or what it is doing, and what to type about it.

Every run that is not final has a live owner that runs it, an instant or a signal it waits for, or no live owner.
`explain` says which, from what is recorded and from which owners are alive; it is a pure function, so that a watchdog
can ask it about every run all the time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from shlex import quote
from typing import Any, NamedTuple, assert_never

from flujo.kernel.durations import MICROSECONDS, format_duration, format_instant
from flujo.kernel.errors import StateIncompatibilityError, ways_on

from .plans import loop_of
from .rest import Rest
from .state import (
    FINAL,
    ITEMS,
    LIVE,
    CleanUpReason,
    Failure,
    PauseReason,
    RunStatus,
    StepState,
    StepStatus,
    WorkflowState,
)


class Why(StrEnum):
    """The reasons a run can have."""

    FINISHED = "finished"
    """It has ended, and nothing will happen unless somebody resumes it."""

    PAUSED = "paused"
    """It was stopped, by somebody or after too many interruptions, until somebody resumes it."""

    INTERRUPTED = "interrupted"
    """It ought to run, and no live process runs it."""

    UNREGISTERED = "unregistered"
    """The same, and the process that answers does not know its workflow."""

    WORKING = "working"
    """An attempt of a step runs."""

    BETWEEN_STEPS = "between_steps"
    """Its program runs its own code, or waits for something of its own."""

    BACKOFF = "backoff"
    """A step has failed and its next attempt is due later."""

    TIMER = "timer"
    """It sleeps until an instant."""

    SIGNAL = "signal"
    """It waits for a signal."""

    TIMEOUT = "timeout"
    """Beside what else it does: its workflow allows it so much time, and the run fails when that is over."""

    UNTAKEN = "untaken"
    """It has ended, or is paused, with a signal that no wait has taken; a resume takes it along."""

    CHILD = "child"
    """It waits for a run it has started."""

    LIMIT = "limit"
    """It waits for a free slot: the limit on concurrent runs or steps is reached."""

    OVERLAP = "overlap"
    """It begins once an earlier run of its workflow has ended."""

    STOPPING = "stopping"
    """A cancel or a pause was asked for, and a body has not ended yet; or it cleans up before it ends."""

    UNKNOWN = "unknown"
    """A newer server knows what it is; the sentence says it."""


class Reason(NamedTuple):
    """One reason: a sentence, the step it is about, until when at the latest (microseconds UTC), and what helps."""

    why: Why
    text: str
    step: str | None = None
    until: int | None = None
    commands: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the reason as users see it in JSON."""
        return {
            "why": self.why.value,
            "text": self.text,
            "step": self.step,
            "until": format_instant(self.until),
            "commands": list(self.commands),
        }


class SlotWait(NamedTuple):
    """A step that waits for a slot of a limit of all kernels."""

    step: str
    limit: str
    slots: int
    place: int
    """In line, from 1."""

    holders: Sequence[str]
    """Who has the slots, for people."""


class Explanation(NamedTuple):
    """How a run stands, and every reason for it, the most urgent one first."""

    run_id: str
    status: RunStatus
    reasons: Sequence[Reason]

    rest: Rest | None = None
    """What the run waits for if nothing of it or of its children can happen before; None if something can."""

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as users see it in JSON."""
        reasons = [reason.to_dict() for reason in self.reasons]
        return {"run_id": self.run_id, "status": self.status.value, "reasons": reasons}


def explain(
    state: WorkflowState,
    now: int,
    *,
    known: bool = True,
    obstacle: str | None = None,
    queued: Collection[str] = (),
    limits: Mapping[str, str] = {},
    slot_waits: Sequence[SlotWait] = (),
    is_queued: bool = False,
    untaken: Collection[str] = (),
    left: Sequence[str] = (),
    ahead: tuple[str, str] | None = None,
    outlived: tuple[str, str] | None = None,
) -> Explanation:
    """Explain a run as `inspect` returned it.

    `known` says whether whoever answers knows its workflow, `obstacle` why its stored definition cannot be used there,
    such as a task that is missing; `queued` are steps of it that wait for a slot, with the
    name of the limit in `limits` if it has one, and `slot_waits` those of them that wait for one of a limit of all
    kernels; `is_queued` says that the whole run waits for a free slot; `ahead` is
    the id of the run that it waits for before it begins, and how that stands; `left` are tasks that its program has
    left behind and that go on; `outlived` is the id of its parent, and how that has ended, if nobody waits for the run
    any more. At least one reason is always given.
    """
    if state.status in FINAL:
        reasons = [_finished(state)]
        if left:
            told = f"{reasons[0].text}; tasks that it has started go on outside of its record: {', '.join(left)}"
            reasons = [reasons[0]._replace(text=told)]
    elif state.status is RunStatus.PAUSED:
        reasons = [_paused(state, obstacle)]
    elif state.unowned:
        reasons = [_unowned(state, known, obstacle), *_awaited(state, now, untaken)]
    elif is_queued:
        text = "it waits for a free slot: the limit on concurrent runs is reached"
        reasons = [Reason(Why.LIMIT, text, commands=["flujoctl list --status running", _cancel(state)])]
    else:
        shared = {each.step: each for each in slot_waits}
        queued = sorted({*queued, *shared})
        reasons = [*_stopping(state, now), *_steps(state, now), *_queued(state, queued, limits, shared)]
        reasons = reasons or ([] if ahead is not None else [_between(state)])
    if outlived is not None and state.status not in FINAL:
        reasons = [_outliving(reasons[0], state, *outlived), *reasons[1:]]
    others = [
        *([] if ahead is None else [_in_line(state, *ahead)]),
        *_given_up(state),
        *_failed_besides(state),
        *_failed_items(state),
        *_untaken(state, () if state.status in LIVE else untaken),
        *_timeout(state, now),
    ]
    return Explanation(state.run_id, state.status, [*reasons, *others])


def _finished(state: WorkflowState) -> Reason:
    if state.status is RunStatus.COMPLETED:
        return Reason(Why.FINISHED, "it has completed", commands=[f"flujoctl inspect {state.run_id}"])
    if state.status is RunStatus.CANCELLED:
        why = f": {state.cancel_reason}" if state.cancel_reason else ""
        return Reason(Why.FINISHED, f"it was cancelled{why}", commands=[_resume(state)])
    assert state.error is not None
    where = f"step {state.error.step!r} failed: " if state.error.step else ""
    text = f"it has failed: {where}{state.error.type}: {state.error.message}"
    commands = [*ways_to_resume(state), f"flujoctl inspect {state.run_id}"]
    if state.error.step is not None:
        commands.insert(1, f"flujoctl skip {state.run_id} {quote(state.error.step)}")
    return Reason(Why.FINISHED, text, state.error.step, commands=commands)


_UNUSABLE = "its definition cannot be used here: "


def _paused(state: WorkflowState, obstacle: str | None) -> Reason:
    if obstacle is not None:
        text = f"it is paused{_why_paused(state, state.paused_reason)}; {_UNUSABLE}{obstacle}"
        return Reason(Why.PAUSED, text, commands=[f"flujoctl inspect {state.run_id}", _cancel(state)])
    text = f"it is paused{_why_paused(state, state.paused_reason)}"
    return Reason(Why.PAUSED, text, commands=ways_to_resume(state))


def ways_to_resume(state: WorkflowState) -> list[str]:
    """Return the commands that go on with a run that does not go on by itself, by what is recorded of it."""
    if state.status is RunStatus.FAILED and state.error is not None:
        file = state.environment.get("workflow_file")
        return ways_on(state.run_id, state.error.type, state.error.message, file)
    if state.status is RunStatus.PAUSED and state.paused_reason == PauseReason.INCOMPATIBLE:
        return [f"flujoctl diff {state.run_id}  # shows what differs, and what helps", *_despite_differences(state)]
    if state.status is RunStatus.PAUSED and state.paused_reason == PauseReason.WORKSPACE_GONE:
        return _without_workspace(state)
    return [_resume(state)]


def _despite_differences(state: WorkflowState) -> list[str]:
    """Return the gentlest resumes that do not meet the same differences again."""
    if not state.differences:
        return [_resume(state)]
    error = StateIncompatibilityError.recorded(
        state.run_id, state.differences, has_definition=state.definition is not None
    )
    return [each for each in error.hints if each.startswith(f"{_resume(state)} ")][:2]


def _without_workspace(state: WorkflowState) -> list[str]:
    """Return what helps a run whose workspace is gone. A step has worked in it if a body of it ran in this run."""
    bodies = (step for step in state.steps.values() if step.attempt and step.first_seq > 1)
    first = min(bodies, key=lambda step: step.first_seq, default=None)
    start = None if first is None else loop_of(first.name) or first.name  # not just the first item of a loop
    from_step = [] if start is None else [f"--from-step {quote(start)}  # run what has filled it again"]
    options = [
        f" # once {_workspace(state)} is there again",
        *from_step,
        "--empty-workspace  # go on with an empty one",
    ]
    return [f"{_resume(state)} {option}" for option in options]


def _workspace(state: WorkflowState) -> str:
    return str(state.environment.get("workspace", "folder"))


def _why_paused(state: WorkflowState, recorded: str | None) -> str:
    if recorded not in tuple(PauseReason):
        return f": {recorded}" if recorded else ""  # of a newer release
    match reason := PauseReason(recorded):
        case PauseReason.REQUESTED:
            return ": a pause was asked for"
        case PauseReason.INTERRUPTED:
            last = "" if state.taken_over is None else f", the last one was {state.taken_over.former_owner}"
            return f": the process that ran it died in the same step too often{last}"
        case PauseReason.INCOMPATIBLE:
            return f": its program has changed and contradicts what is recorded{_first_difference(state)}"
        case PauseReason.WORKSPACE_GONE:
            return f": its workspace {_workspace(state)} is gone, in which its steps have left files"
        case _:
            assert_never(reason)


def _first_difference(state: WorkflowState) -> str:
    rows = state.differences
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f": {rows[0][0]}: {rows[0][2]}{more}" if rows else ""


def _outliving(reason: Reason, state: WorkflowState, parent: str, status: str) -> Reason:
    text = f"{reason.text}; run {parent}, which has started it, is {status} and does not wait for it any more"
    return reason._replace(text=text, commands=[_cancel(state), *reason.commands])


def _in_line(state: WorkflowState, ahead: str, status: str) -> Reason:
    text = f"it begins once run {ahead}, which is {status}, has ended: its workflow says on_overlap: queue"
    first = f"flujoctl resume {ahead}" if status in ("interrupted", "paused") else f"flujoctl watch {ahead}"
    return Reason(Why.OVERLAP, text, commands=[first, f"flujoctl cancel {ahead}", _cancel(state)])


def _unowned(state: WorkflowState, known: bool, obstacle: str | None) -> Reason:
    if obstacle is not None:
        text = f"no process runs it, and {_UNUSABLE}{obstacle}"
        return Reason(Why.UNREGISTERED, text, commands=[f"flujoctl inspect {state.run_id}", _cancel(state)])
    if not known:
        text = f"no process runs it, and its workflow {state.workflow!r} is not registered here"
        source = str(state.environment.get("target") or f"FILE.py:{state.workflow}")
        return Reason(Why.UNREGISTERED, text, commands=[f"flujoctl serve {quote(source)}", _resume(state)])
    interrupted = [step.name for step in state.open_steps() if step.interrupted]
    if state.cleaning_up is not None:
        text = "no process runs its clean-ups, which a resume goes on with; a cancel ends it without them"
        where = interrupted[0] if interrupted else None
        return Reason(Why.INTERRUPTED, text, where, commands=[_resume(state), _cancel(state)])
    text = "no process runs it" + (f"; it was interrupted in {', '.join(interrupted)}" if interrupted else "")
    return Reason(Why.INTERRUPTED, text, interrupted[0] if interrupted else None, commands=[_resume(state)])


def _stopping(state: WorkflowState, now: int) -> Iterator[Reason]:
    """What holds up a cancel or a pause: bodies, a program that swallows its cancellation, clean-ups that come after
    one."""
    if state.cleaning_up is not None:
        yield from _clean_ups(state, now)
        return
    asked_at, what = state.cancel_requested_at, "cancel"
    if asked_at is None:
        asked_at, what = state.pause_requested_at, "pause"
    if asked_at is None:
        return
    since = format_duration(max(0, now - asked_at) // MICROSECONDS)
    bodies = [step for step in state.open_steps() if step.status is StepStatus.RUNNING and not step.interrupted]
    for step in bodies:
        text = f"a {what} was asked for {since} ago, and the body of {step.name!r} has not ended yet"
        yield Reason(Why.STOPPING, text, step.name, commands=[f"flujoctl watch {state.run_id}"])
    if what == "cancel" and not bodies:
        text = f"a cancel was asked for {since} ago, and its program has not stopped yet{_where(state)}"
        yield Reason(Why.STOPPING, text, state.current_step, commands=[f"flujoctl watch {state.run_id}"])


def _where(state: WorkflowState) -> str:
    """Where a program is that has not stopped, and what keeps programs from that."""
    names = ", ".join(repr(name) for name in state.current_steps)
    if not names and state.current_step is not None:
        names = f"code behind {state.current_step!r}"
    return f": it is at {names or 'its beginning'}; an `except` around that must let the cancellation pass"


def _clean_ups(state: WorkflowState, now: int) -> Iterator[Reason]:
    why = "its time is over" if state.cleaning_up == CleanUpReason.TIMEOUT else "it is cancelled"
    for step in state.open_steps():
        if step.status is StepStatus.RUNNING and not step.interrupted:
            since = format_duration(max(0, now - (step.attempt_started_at or now)) // MICROSECONDS)
            text = f"{why}, and its clean-up {step.name!r} has been at work for {since}; another cancel ends that"
            yield Reason(Why.STOPPING, text, step.name, commands=[f"flujoctl watch {state.run_id}", _cancel(state)])


def _steps(state: WorkflowState, now: int) -> Iterator[Reason]:
    is_cancelled = state.cancel_requested_at is not None and state.cleaning_up is None
    for step in state.open_steps():
        match step.status:
            case StepStatus.RETRYING | StepStatus.WAITING if is_cancelled:
                pass  # nothing that it waits for will be seen to
            case StepStatus.WAITING if step.is_open_loop:
                text = f"step {step.name!r} is at its items{_how_far(step)}"
                yield Reason(Why.WORKING, text, step.name, commands=[f"flujoctl watch {state.run_id}"])
            case StepStatus.RETRYING:
                yield _backoff(state, step, now)
            case StepStatus.WAITING:
                yield _waiting(state, step, now)
            case _ if not step.interrupted and not _is_stopping(state):
                since = format_duration(max(0, now - (step.attempt_started_at or now)) // MICROSECONDS)
                text = f"step {step.name!r} has been at work for {since}, attempt {step.attempt}"
                yield Reason(Why.WORKING, text, step.name, commands=[f"flujoctl watch {state.run_id}"])


def _how_far(loop: StepState) -> str:
    """Return how many items of a loop have come to an outcome, as far as it reports that."""
    if (said := loop.progress) is None or said.total is None:
        return ""
    failed = f", {said.metrics['failed']:g} failed" if said.metrics.get("failed") else ""
    return f": {said.done:g} of {said.total:g} done{failed}"


def failed_besides(state: WorkflowState) -> list[StepState]:
    """Return the steps that ended a run together with the one whose failure is its own."""
    if state.status is not RunStatus.FAILED or state.error is None:
        return []
    others = [state.steps[name] for name in state.failed_steps if name != state.error.step and name in state.steps]
    return [step for step in others if step.status is StepStatus.FAILED and step.error is not None]


def _given_up(state: WorkflowState) -> Iterator[Reason]:
    """Which failed steps were not tried as often as their policy says at most, since it is not for such failures, or
    its time was over."""
    for name in dict.fromkeys(filter(None, (state.error and state.error.step, *state.failed_steps))):
        step = state.steps.get(name)
        if step is not None and step.status is StepStatus.FAILED and 0 < step.failures < step.max_attempts:
            text = (
                f"step {name!r} has failed {step.failures} of {step.max_attempts} times, and its `retry` allows no "
                "other attempt: it is not for this failure, or its time was over"
            )
            yield Reason(Why.FINISHED, text, name, commands=[_of_step(state, name)])


def _failed_besides(state: WorkflowState) -> Iterator[Reason]:
    """What failed beside the step whose failure the run is told with: several did at once, or the run went on."""
    for step in failed_besides(state):
        assert step.error is not None
        text = f"step {step.name!r} failed as well: {_in_a_line(step.error)}"
        yield Reason(Why.FINISHED, text, step.name, commands=[_of_step(state, step.name)])


def _failed_items(state: WorkflowState) -> Iterator[Reason]:
    """Which items of each loop have failed, in the order of its list."""
    failed: dict[str, list[StepState]] = {}
    for step in state.steps.values():
        if step.status is StepStatus.FAILED and (loop := loop_of(step.name)) is not None:
            failed.setdefault(loop, []).append(step)
    for loop, items in failed.items():
        if loop not in state.steps or state.steps[loop].kind != ITEMS:
            continue
        items.sort(key=lambda item: int(item.name[len(loop) + 1 : -1]))
        told = [f"{item.name}: {_in_a_line(item.error)}" for item in items[:_ITEMS_NAMED] if item.error]
        more = f"; and {len(items) - _ITEMS_NAMED} more" if len(items) > _ITEMS_NAMED else ""
        which = "1 item" if len(items) == 1 else f"{len(items)} items"
        text = f"{which} of step {loop!r} failed: {'; '.join(told)}{more}"
        why = Why.FINISHED if state.status in FINAL else Why.WORKING
        commands = [_of_step(state, items[0].name)]
        if state.status is RunStatus.COMPLETED:
            commands.insert(0, f"{_resume(state)} --from-step {quote(items[0].name)}")
        yield Reason(why, text, loop, commands=commands)


_ITEMS_NAMED = 10


def _is_stopping(state: WorkflowState) -> bool:
    asked = state.cancel_requested_at is not None or state.pause_requested_at is not None
    return asked or state.cleaning_up is not None


_HOLDERS_NAMED = 3


def _queued(
    state: WorkflowState, queued: Collection[str], limits: Mapping[str, str], shared: Mapping[str, SlotWait]
) -> Iterator[Reason]:
    for name in queued:
        if (wait := shared.get(name)) is not None:
            yield Reason(Why.LIMIT, _in_fleet(wait), name, commands=["flujoctl limits", _cancel(state)])
            continue
        limit = f"the limit {limits[name]!r}" if name in limits else "the limit on concurrent steps"
        text = f"step {name!r} waits for a free slot: {limit} is reached"
        yield Reason(Why.LIMIT, text, name, commands=["flujoctl list --status running", _cancel(state)])


def _in_fleet(wait: SlotWait) -> str:
    text = (
        f"step {wait.step!r} waits for a slot of the limit {wait.limit!r} of all kernels: {ordinal(wait.place)} in line"
    )
    if not wait.holders:
        return text
    slots = "its slot is" if wait.slots == 1 else f"its {wait.slots} slots are"
    more = len(wait.holders) - _HOLDERS_NAMED
    others = f", and {more} more" if more > 0 else ""
    return f"{text}; {slots} held by {', '.join(wait.holders[:_HOLDERS_NAMED])}{others}"


def ordinal(number: int) -> str:
    """Return a number as a place in line: 1st, 2nd, 3rd, 4th, 11th."""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'}"


def _backoff(state: WorkflowState, step: StepState, now: int) -> Reason:
    failure = "" if step.error is None else f" ({_in_a_line(step.error)})"
    text = (
        f"step {step.name!r} has failed {step.failures} of {step.max_attempts} times{failure}; "
        f"its next attempt is due {_when(step.next_attempt_at, now)}"
    )
    commands = [f"flujoctl watch {state.run_id}", _of_step(state, step.name)]
    return Reason(Why.BACKOFF, text, step.name, step.next_attempt_at, commands)


def _in_a_line(error: Failure) -> str:
    """Return an error without the end of what its step has printed, which `inspect` has."""
    return f"{error.type}: {error.message.partition(chr(10))[0]}"


def _waiting(state: WorkflowState, step: StepState, now: int) -> Reason:
    if step.kind == "child" and step.child is not None:
        text = f"step {step.name!r} waits for the run {step.child!r}"
        return Reason(Why.CHILD, text, step.name, commands=[f"flujoctl explain {step.child}"])
    if step.signal is not None:
        limit = "" if step.until is None else f", {_when(step.until, now)} at the latest"
        aside = "" if step.error is None else f"; the last one was set aside: {step.error.message}"
        text = f"step {step.name!r} waits for the signal {step.signal!r}{limit}{aside}"
        command = f"flujoctl signal {state.run_id} {quote(step.signal)}{' JSON' if aside else ''}"
        return Reason(Why.SIGNAL, text, step.name, step.until, [command])
    text = f"step {step.name!r} sleeps and goes on {_when(step.until, now)}"
    return Reason(Why.TIMER, text, step.name, step.until, [f"flujoctl watch {state.run_id}"])


def _awaited(state: WorkflowState, now: int, sent: Collection[str]) -> Iterator[Reason]:
    """What a run waits for that no process runs: signals, which somebody may send it at any time and has not, and
    instants. Nobody can watch it."""
    for step in state.open_steps():
        if step.status is StepStatus.WAITING and step.signal is not None:
            if step.signal not in sent:
                yield _waiting(state, step, now)
        elif step.status is StepStatus.RETRYING and not _is_stopping(state):
            yield (reason := _backoff(state, step, now))._replace(commands=reason.commands[1:])
        elif step.status is StepStatus.WAITING and step.until is not None and not _is_stopping(state):
            yield _waiting(state, step, now)._replace(commands=[_resume(state)])


def _untaken(state: WorkflowState, names: Collection[str]) -> Iterator[Reason]:
    for name in names:
        text = f"no wait has taken the signal {name!r}"
        if state.status is RunStatus.COMPLETED:
            yield Reason(Why.UNTAKEN, text, commands=[f"flujoctl inspect {state.run_id}"])
        else:
            yield Reason(Why.UNTAKEN, f"{text}; a resume takes it along", commands=[_resume(state)])


def _timeout(state: WorkflowState, now: int) -> Iterator[Reason]:
    if state.status in LIVE and (instant := state.timeout_at) is not None:
        text = f"its timeout is over {_when(instant, now)}: the run fails then, wherever it is"
        if instant <= now - MICROSECONDS and not state.unowned:
            since = format_duration((now - instant) // MICROSECONDS)
            text = f"its timeout was over {since} ago, and its program has not stopped yet{_where(state)}"
        yield Reason(Why.TIMEOUT, text, until=instant, commands=[f"flujoctl watch {state.run_id}"])


def _between(state: WorkflowState) -> Reason:
    text = "its program is between two steps: its own code runs, or waits for something flujo does not know of"
    return Reason(Why.BETWEEN_STEPS, text, state.current_step, commands=[f"flujoctl watch {state.run_id}"])


def _when(instant: int | None, now: int) -> str:
    if instant is None:
        return "some time"
    if instant <= now:
        return "now"
    return f"in {format_duration((instant - now) // MICROSECONDS)}"


def _resume(state: WorkflowState) -> str:
    return f"flujoctl resume {state.run_id}"


def _of_step(state: WorkflowState, step: str) -> str:
    return f"flujoctl inspect {state.run_id} --step {quote(step)}"


def _cancel(state: WorkflowState) -> str:
    return f"flujoctl cancel {state.run_id}"
