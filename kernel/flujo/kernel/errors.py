"""Every error a user can see, with its wording and what to type next.

One class per situation, fields instead of text to parse. `hints` holds the commands or edits that help, most useful
first; the command line prints them under the message, and `reason` is the stable machine name of the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from .owners import note_if_gone

if TYPE_CHECKING:
    from pathlib import Path


class FlujoError(Exception):
    """Root of every error flujo raises on purpose; `str(error)` is one line, `hints` what to try."""

    reason = "INTERNAL"

    def __init__(self, message: str, hints: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)


# ---------------------------------------------------------------------------------------------------------------
# What the caller asked for is not well formed
# ---------------------------------------------------------------------------------------------------------------


class InvalidNameError(FlujoError, ValueError):
    """A run id, step name or label does not have the documented form."""

    reason = "INVALID_FIELD"

    def __init__(self, what: str, name: object, rule: str) -> None:
        super().__init__(f"{name!r} is not a valid {what}: {rule}")
        self.what, self.name, self.rule = what, name, rule


class InvalidInputError(FlujoError, ValueError):
    """The inputs of a run do not fit what its workflow declares; `problems` maps a field to what is wrong with it."""

    reason = "INVALID_FIELD"

    def __init__(self, workflow: str, problems: dict[str, str]) -> None:
        listed = "; ".join(f"{field}: {problem}" for field, problem in problems.items())
        super().__init__(f"the inputs of {workflow!r} are not valid: {listed}", ["give each as NAME=VALUE"])
        self.workflow, self.problems = workflow, problems


class InvalidDurationError(FlujoError, ValueError):
    """A text is not a duration such as `30s`, `1h30m` or `P1D`."""

    reason = "INVALID_FIELD"

    def __init__(self, text: object) -> None:
        super().__init__(f"{text!r} is not a duration", ["write 90, 90s, 1h30m, 2w, 30d or PT1H30M"])
        self.text = text


class InvalidValueError(FlujoError, ValueError):
    """A value that has to be recorded is not plain JSON; `path` says where inside it, as in `$.rows[3].price`."""

    reason = "PAYLOAD_INVALID"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"the value at {path} cannot be recorded: {problem}",
            ["return JSON types, or annotate the return type with one that pydantic can write and read back"],
        )
        self.path, self.problem = path, problem


class OutputTooLargeError(FlujoError, ValueError):
    """An output is larger than a store accepts; sizes in bytes."""

    reason = "PAYLOAD_TOO_LARGE"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the output has {size} bytes, more than the limit of {limit}",
            ["write the data to a file in the workspace and return its path"],
        )
        self.size, self.limit = size, limit


class PayloadTooLargeError(FlujoError, ValueError):
    """What a caller gives a run is larger than a run takes; sizes in bytes of JSON. `what` names it."""

    reason = "PAYLOAD_TOO_LARGE"

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size} bytes, more than the limit of {limit}",
            ["write the data to a file or a bucket and pass its name"],
        )
        self.what, self.size, self.limit = what, size, limit


class InvalidExportError(FlujoError, ValueError):
    """A document is no export of a run that this release can import."""

    reason = "INVALID_FIELD"

    def __init__(self, problem: str, hints: Iterable[str] = ("flujoctl export ID --to FILE  # writes one",)) -> None:
        super().__init__(f"this is no export of a run that can be imported: {problem}", hints)
        self.problem = problem


class Problem(NamedTuple):
    """One thing wrong with a definition; `line` and `column` count from 1, 0 means the whole file."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class DefinitionError(FlujoError, ValueError):
    """A workflow definition is not valid; `problems` lists everything that is wrong with it, in file order."""

    reason = "INVALID_FIELD"

    def __init__(self, problems: Sequence[Problem], hints: Iterable[str] = ()) -> None:
        super().__init__("\n".join(map(str, problems)), hints)
        self.problems = tuple(problems)


class DeclarationError(FlujoError, TypeError):
    """A `@step` or `@workflow` declaration asks for something that cannot be done."""

    reason = "INVALID_FIELD"


class UnsafeStepNameError(FlujoError, RuntimeError):
    """A step name was used where its number of repeats would depend on timing."""

    reason = "INVALID_FIELD"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f"step {name!r}: {problem}",
            ["start concurrent steps with ctx.gather or ctx.map", "or give each call its own name="],
        )
        self.name = name


# ---------------------------------------------------------------------------------------------------------------
# What the caller named does not exist, or is in the way
# ---------------------------------------------------------------------------------------------------------------


class RunNotFoundError(FlujoError, LookupError):
    """No run has this id in this store."""

    reason = "RUN_NOT_FOUND"

    def __init__(self, run_id: str, store: str) -> None:
        super().__init__(f"no run {run_id!r} in {store}", ["flujoctl list"])
        self.run_id, self.store = run_id, store


class RunReplacedError(FlujoError):
    """The run that was being watched was deleted, and another one was started under its id."""

    reason = "RUN_REPLACED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was deleted and started anew", [f"flujoctl watch {run_id}"])
        self.run_id = run_id


class RunDeletedError(FlujoError):
    """The run that was being watched was deleted."""

    reason = "RUN_DELETED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} was deleted", ["flujoctl list"])
        self.run_id = run_id


class CursorError(FlujoError, ValueError):
    """A watch asked to continue after an event the run does not have."""

    reason = "CURSOR_OUT_OF_RANGE"

    def __init__(self, run_id: str, after_seq: int, last_seq: int) -> None:
        super().__init__(
            f"run {run_id!r} has {last_seq} events, there is nothing after {after_seq}",
            [f"flujoctl watch {run_id} --after {last_seq}"],
        )
        self.run_id, self.after_seq, self.last_seq = run_id, after_seq, last_seq


class RunExistsError(FlujoError):
    """The run id is taken by a run of another workflow or with other inputs."""

    reason = "RUN_EXISTS"

    def __init__(self, run_id: str, difference: str, hints: Iterable[str] = ()) -> None:
        super().__init__(
            f"run {run_id!r} exists already with {difference}",
            tuple(hints) or [f"flujoctl inspect {run_id}", "choose another id with --id, or none to get a fresh one"],
        )
        self.run_id, self.difference = run_id, difference


class RequestReusedError(FlujoError):
    """A request came under an id under which the run was asked for something else. Nothing has changed."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, run_id: str, request_id: str) -> None:
        super().__init__(
            f"run {run_id!r} was asked for something else under the request id {request_id!r}",
            [f"flujoctl events {run_id}", "give each request an id of its own, and only a repeat the same one"],
        )
        self.run_id, self.request_id = run_id, request_id


class RunActiveError(FlujoError):
    """A live process owns the run."""

    reason = "RUN_ACTIVE"

    def __init__(self, run_id: str, owner: str) -> None:
        super().__init__(
            f"run {run_id!r} is being run by the live process {owner}{note_if_gone(owner)}",
            [f"flujoctl watch {run_id}", f"flujoctl cancel {run_id}"],
        )
        self.run_id, self.owner = run_id, owner


class RunFinishedError(FlujoError):
    """The run is final and takes no more requests."""

    reason = "RUN_FINISHED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id!r} is already {status}", [f"flujoctl inspect {run_id}"])
        self.run_id, self.status = run_id, status


class RunNotResumableError(FlujoError):
    """A resume was asked of a run that has nothing to resume."""

    reason = "RUN_NOT_RESUMABLE"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id!r} is {status}, there is nothing to resume",
            [f"flujoctl resume {run_id} --from-step STEP", f"flujoctl inspect {run_id}"],
        )
        self.run_id, self.status = run_id, status


class StepNotFoundError(FlujoError, LookupError):
    """The run has not begun a step of this name."""

    reason = "STEP_NOT_FOUND"

    def __init__(self, run_id: str, step: str, known: Sequence[str]) -> None:
        listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "") if known else "none"
        super().__init__(
            f"run {run_id!r} has not begun a step {step!r}; it has begun: {listed}", [f"flujoctl inspect {run_id}"]
        )
        self.run_id, self.step, self.known = run_id, step, tuple(known)


class StepCompletedError(FlujoError):
    """A step was to be skipped, or given an output, although it has completed: what is recorded does not change."""

    reason = "STEP_COMPLETED"

    def __init__(self, run_id: str, step: str) -> None:
        super().__init__(
            f"step {step!r} of run {run_id!r} has completed, and its output does not change",
            [f"flujoctl resume {run_id} --from-step {quote(step)}  # run it and all later ones again"],
        )
        self.run_id, self.step = run_id, step


class StateNotRecordableError(FlujoError, ValueError):
    """Somebody wants a state saved that a journal cannot come to honestly; `hints` say what does what they want."""

    reason = "STATE_NOT_RECORDABLE"

    def __init__(self, run_id: str, problem: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"this state of run {run_id!r} cannot be recorded: {problem}", hints)
        self.run_id, self.problem = run_id, problem


class RunNotPausedError(FlujoError):
    """Only a paused run can be unpaused."""

    reason = "RUN_NOT_PAUSED"

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id!r} is {status}, not paused", [f"flujoctl explain {run_id}"])
        self.run_id, self.status = run_id, status


class WorkflowNotFoundError(FlujoError, LookupError):
    """A run needs a workflow this kernel was not given."""

    reason = "WORKFLOW_NOT_FOUND"

    def __init__(self, workflow: str, known: Sequence[str]) -> None:
        listed = ", ".join(known) or "none"
        super().__init__(
            f"this kernel has no workflow {workflow!r}; it has: {listed}",
            ["pass it: Kernel(backend, workflows=[…])", "flujoctl run FILE"],
        )
        self.workflow, self.known = workflow, tuple(known)


class TaskNotFoundError(FlujoError, LookupError):
    """A definition names a task that is not installed."""

    reason = "TASK_NOT_FOUND"

    def __init__(self, task: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no task {task!r}; there are: {', '.join(known)}")
        self.task, self.known = task, tuple(known)


class Difference(NamedTuple):
    """One way a definition no longer fits what a run has recorded."""

    step: str  # or `inputs.NAME` for an input of the run
    change: str  # changed, removed, renamed, reordered, inserted
    detail: str

    def __str__(self) -> str:
        return f"{self.step}: {self.detail}"


class StateIncompatibilityError(FlujoError):
    """The current definition differs from what the completed steps of a run were recorded with.

    `differences` lists every one by name; `hints` are the remedies as exact commands, gentlest first.
    """

    reason = "STATE_INCOMPATIBLE"

    def __init__(self, run_id: str, differences: Sequence[Difference], source: str = "FILE") -> None:
        lines = "".join(f"\n  {difference}" for difference in differences)
        super().__init__(
            f"run {run_id!r} cannot resume: the definition differs from what its completed steps were recorded "
            f"with (StateIncompatibilityError){lines}",
            [*_remedies(run_id, differences), *_last_remedies(run_id, source)],
        )
        self.run_id, self.differences = run_id, tuple(differences)


def _remedies(run_id: str, differences: Sequence[Difference]) -> list[str]:
    """Return the commands that let a run go on, gentlest first."""
    inputs = [each.step.removeprefix("inputs.") for each in differences if each.step.startswith("inputs")]
    if len(inputs) == len(differences):
        return [
            f"flujoctl resume {run_id} {inputs[0] or 'NAME'}:=JSON         # give the input another value",
            f"flujoctl resume {run_id} --accept-changes    # go on without the inputs that do not fit",
        ]
    steps = [each for each in differences if not each.step.startswith("inputs")]
    first = next((each.step for each in steps if each.change == "changed"), steps[0].step)
    return [
        f"flujoctl resume {run_id} --stored            # use the definition the run was started with",
        f"flujoctl resume {run_id} --from-step {first}  # run that step and all later ones again",
        f"flujoctl resume {run_id} --accept-changes    # keep the recorded outputs, use the new definition",
    ]


def _last_remedies(run_id: str, source: str) -> list[str]:
    """Return the commands that give the run up."""
    return [
        f"flujoctl delete {run_id}                     # delete the run",
        "flujoctl prune --older-than 30d              # delete old finished runs",
        f"flujoctl run {quote(source)} --id NEW-ID            # start a new run beside it",
        "remove the store, only as a last resort",
    ]


# ---------------------------------------------------------------------------------------------------------------
# How a run or a step ended
# ---------------------------------------------------------------------------------------------------------------


class StepFailed(FlujoError):
    """A step ended in failure: the same class, with the same fields, live and on replay.

    `type` is the class name of the original error (`ConnectionError`, `mymodule.MyError`), `error` its text,
    `attempt` the attempt that failed last."""

    reason = "STEP_FAILED"

    def __init__(self, step: str, type: str, error: str, attempt: int) -> None:
        super().__init__(f"step {step!r} failed at attempt {attempt}: {type}: {error}")
        self.step, self.type, self.error, self.attempt = step, type, error, attempt


class RunFailed(FlujoError):
    """The run whose result was asked for has failed. `type`, `error` and `step` are what is recorded of it."""

    reason = "RUN_FAILED"

    def __init__(self, run_id: str, type: str, error: str, step: str | None) -> None:
        where = f" in step {step!r}" if step else ""
        super().__init__(
            f"run {run_id!r} failed{where}: {type}: {error}",
            [f"flujoctl inspect {run_id}", f"flujoctl resume {run_id}"],
        )
        self.run_id, self.type, self.error, self.step = run_id, type, error, step


class RunCancelled(FlujoError):
    """The run whose result was asked for has been cancelled."""

    reason = "RUN_CANCELLED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} was cancelled" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunPaused(FlujoError):
    """The run whose result was asked for is paused and goes on only after a resume."""

    reason = "RUN_PAUSED"

    def __init__(self, run_id: str, why: str | None) -> None:
        super().__init__(f"run {run_id!r} is paused" + (f": {why}" if why else ""), [f"flujoctl resume {run_id}"])
        self.run_id, self.why = run_id, why


class RunInterrupted(FlujoError):
    """The run whose result was asked for is not final and no live process runs it."""

    reason = "RUN_INTERRUPTED"

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} is interrupted: no process runs it", [f"flujoctl resume {run_id}"])
        self.run_id = run_id


# ---------------------------------------------------------------------------------------------------------------
# The kernel and its store
# ---------------------------------------------------------------------------------------------------------------


class KernelClosedError(FlujoError, RuntimeError):
    """The kernel is not open: it was never entered, or it is closing."""

    reason = "KERNEL_CLOSED"

    def __init__(self) -> None:
        super().__init__("the kernel is not open", ["use it inside `async with Kernel(…) as kernel:`"])


class UnsupportedEventLoopError(FlujoError, RuntimeError):
    """Something was used on an event loop it cannot run on. `what` names it."""

    reason = "EVENT_LOOP_UNSUPPORTED"

    def __init__(self, what: str, loop: str, supported: Sequence[str]) -> None:
        super().__init__(f"{what} does not run on {loop}", [f"anyio.run(main, backend={supported[0]!r})"])
        self.what, self.loop, self.supported = what, loop, tuple(supported)


class WrongEventLoopError(FlujoError, RuntimeError):
    """A kernel was called from another event loop than the one it was opened in, as `asyncio.run` makes one in a
    thread: the answer would never come."""

    reason = "WRONG_EVENT_LOOP"

    def __init__(self, kernel: str) -> None:
        super().__init__(
            f"kernel {kernel} was opened in another event loop than the one it is called from",
            [
                "await it in the event loop that opened it",
                "from a thread: asyncio.run_coroutine_threadsafe(kernel.start(…), loop).result()",
            ],
        )
        self.kernel = kernel


class BlockingCallError(FlujoError, RuntimeError):
    """A call that blocks its thread was made in one where an event loop runs, which would stand still meanwhile."""

    reason = "BLOCKING_CALL"

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} blocks, and an event loop runs in this thread",
            [
                f"await anyio.to_thread.run_sync({call}, …)",
                "or use what does not block: flujo.kernel.Observer, flujo.kernel.Kernel",
            ],
        )
        self.call = call


class ServerUnreachableError(FlujoError, ConnectionError):
    """No flujo server answers at this address, or it has gone away in the middle of a call.

    What was asked for may have happened: repeat it with the same `request_id`, or look before you repeat it."""

    reason = "SERVER_UNREACHABLE"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(
            f"the server at {address} cannot be reached: {problem}",
            [f"flujoctl serve --listen {quote(address)}", "or leave --server out to work on a store directly"],
        )
        self.address, self.problem = address, problem


class ServerFailedError(FlujoError, RuntimeError):
    """The server met a bug of its own while it answered; its log has the rest under `id`."""

    reason = "INTERNAL"

    def __init__(self, id: str) -> None:
        super().__init__(f"the server failed inside; its log has the rest under {id}")
        self.id = id


class CallTimeoutError(FlujoError, TimeoutError):
    """A call to a server took longer than it was given. What was asked for may have happened."""

    reason = "CALL_TIMED_OUT"

    def __init__(self, call: str, seconds: float) -> None:
        super().__init__(f"{call} took longer than {seconds:g} seconds")
        self.call, self.seconds = call, seconds


class CallFailedError(FlujoError):
    """A call to a server failed in a way that is not flujo's own. `code` is the name of the gRPC status code."""

    reason = "CALL_FAILED"

    def __init__(self, call: str, code: str, problem: str) -> None:
        hints = ["upgrade the server: pip install --upgrade 'flujoctl[grpc]'"] if code == "UNIMPLEMENTED" else []
        super().__init__(f"{call} failed: {code}: {problem}", hints)
        self.call, self.code, self.problem = call, code, problem


class InvalidAddressError(FlujoError, ValueError):
    """A text does not say where a server listens."""

    reason = "INVALID_FIELD"

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address!r} is no address: {problem}", ["write unix:PATH, as in unix:.flujo/server.sock"])
        self.address, self.problem = address, problem


class AddressInUseError(FlujoError):
    """Another server listens at this address already."""

    reason = "ADDRESS_IN_USE"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"another server listens at {address}",
            [f"flujoctl list --server {quote(address)}", "choose another --listen"],
        )
        self.address = address


class UntrustedOwnerError(FlujoError):
    """A file that was found, not named by the user, belongs to another user; `insist` is the command that names it."""

    reason = "OWNER_UNTRUSTED"

    def __init__(self, path: str, owner: str, insist: str) -> None:
        super().__init__(
            f"{path} belongs to {owner}, neither to you nor to root, and nothing named it; it is not used",
            [f"{insist}  # if you trust {owner}"],
        )
        self.path, self.owner, self.insist = path, owner, insist


class ExtraMissingError(FlujoError, ImportError):
    """Something was asked for that needs an optional part of flujo, which is not installed."""

    reason = "EXTRA_MISSING"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}", [f"pip install 'flujoctl[{extra}]'"])
        self.what, self.extra = what, extra


_LOOK_AT_THE_DISK = "look at the disk, its mount and the permissions of the store, then try again"


class StoreError(FlujoError):
    """A store could not do what was asked; nothing that was not acknowledged may be assumed to be in it."""

    reason = "STORE_UNAVAILABLE"

    def __init__(self, store: str, problem: str, hints: Iterable[str] = ()) -> None:
        super().__init__(f"{store}: {problem}", tuple(hints) or [_LOOK_AT_THE_DISK])
        self.store, self.problem = store, problem


class StoreNotFoundError(StoreError):
    """There is no store at this place, and reading never creates one."""

    reason = "STORE_NOT_FOUND"

    def __init__(self, store: str) -> None:
        super().__init__(store, "there is no store here yet", ["flujoctl run FILE", "or name one with --store URL"])


class StoreUrlError(StoreError):
    """A store URL names no known backend or has a malformed part."""

    reason = "INVALID_FIELD"

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(url, problem, ["write SCHEME:PATH, as in sqlite:.flujo/state.db"])


class ForeignStoreError(StoreError):
    """The file at this place was not written by flujo; it is left untouched."""

    reason = "STORE_FOREIGN"

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(
            store, f"this is not a flujo store ({problem}); it was left untouched", ["--store sqlite:OTHER-PATH"]
        )


class NewerStoreError(StoreError):
    """The store was written by a newer release; it is left untouched."""

    reason = "STORE_NEWER"

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            store,
            f"it has schema {found}, this release knows up to {known}; it was left untouched",
            ["pip install --upgrade flujoctl"],
        )
        self.found, self.known = found, known


class OlderStoreError(StoreError):
    """The store was written by an older release and has to be migrated first, which reading never does."""

    reason = "STORE_OLDER"

    def __init__(self, store: str, found: int, known: int) -> None:
        super().__init__(
            store,
            f"it has schema {found}, this release reads schema {known}; it was left untouched",
            [f"flujoctl db migrate --store {quote(store)}  # copies it first"],
        )
        self.found, self.known = found, known


class StoreInUseError(StoreError):
    """Something was asked for that needs a store alone, and others have it open. `kernels` are those that are alive on
    it; none when it is a process that advances nothing."""

    reason = "STORE_IN_USE"

    def __init__(self, store: str, purpose: str, kernels: Sequence[str], file: Path | str) -> None:
        holders = f"the kernels {', '.join(kernels)}" if kernels else "another process"
        super().__init__(
            store,
            f"{purpose} needs the store alone, and {holders} {'have' if kernels else 'has'} it open",
            [f"fuser -v {quote(str(file))}  # shows which processes; end them, then try again"],
        )
        self.purpose, self.kernels, self.file = purpose, tuple(kernels), str(file)


class StoreExistsError(StoreError):
    """Something is already where a store or a copy of one should go; it is left untouched."""

    reason = "STORE_EXISTS"

    def __init__(self, store: str, hints: Iterable[str] = ("name a place where there is nothing yet",)) -> None:
        super().__init__(store, "there is something here already; it was left untouched", hints)


class CorruptStoreError(StoreError):
    """The store is damaged; it is left as it is."""

    reason = "STORE_CORRUPT"

    def __init__(
        self,
        store: str,
        problem: str,
        hints: Iterable[str] = ("copy the file and its -wal away before anything else", "restore a backup"),
    ) -> None:
        super().__init__(store, f"the store is damaged: {problem}", hints)


class StoreFullError(StoreError):
    """The disk under the store is full. Nothing recorded is lost; runs can be resumed once there is space."""

    reason = "STORE_FULL"

    def __init__(self, store: str, hints: Iterable[str] = ("free some space, then: flujoctl resume RUN_ID",)) -> None:
        super().__init__(store, "the disk is full; what was recorded is safe", hints)


class StoreBusyError(StoreError):
    """Another process has held the store for too long."""

    reason = "STORE_BUSY"

    def __init__(self, store: str, holder: Path | str, seconds: float) -> None:
        super().__init__(
            store,
            f"another process has held {holder} for {seconds:g} seconds",
            [f"fuser -v {holder}  # shows which one"],
        )


class UnknownEventError(FlujoError):
    """A run holds an event this release cannot read; that run is read-only here, all others are not affected."""

    reason = "EVENT_UNKNOWN"

    def __init__(self, type: str, format: int) -> None:
        super().__init__(
            f"an event {type!r} of format {format} was written by a newer release", ["pip install --upgrade flujoctl"]
        )
        self.type, self.format = type, format
