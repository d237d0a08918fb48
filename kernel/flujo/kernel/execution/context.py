"""What a program can do durably. Every call here has a key, and its outcome is recorded under it.

Ordinary `await` is allowed between calls; what must not be repeated belongs in a step.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from itertools import chain
from threading import get_ident
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

from flujo.kernel import errors
from flujo.kernel.checked_calls import Count, check_argument, checked_but
from flujo.kernel.clock import Clock, RandomBytes
from flujo.kernel.codecs import codec_for
from flujo.kernel.durations import Duration, parse_duration, to_datetime
from flujo.kernel.errors import RunFinishedError, StepFailed, UnsafeStepNameError
from flujo.kernel.journal.decisions import Stop
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy
from flujo.kernel.journal.state import FINAL, StepState
from flujo.kernel.keys import Branch, check_step_name, check_variable_name, item_key
from flujo.kernel.loops import this_task
from flujo.kernel.values import encode, encode_given

from .arguments import digest_item
from .attempt_runner import StepOptions, bind
from .branches import run_together
from .call_forms import as_recorded, binds_nothing, digest_call, forms_of_call, forms_of_item
from .calls import Calls, noted, on_plain_call
from .child_runs import ChildCall, ChildRuns
from .current_attempt import Wait, current_attempt, in_attempt, leave_every_attempt
from .items import Loop, LoopRunner
from .leaving import running_program
from .live_run import LiveRun
from .programs import Step, Workflow, as_step
from .progress import Reporter
from .rounds import Rounds, RoundsRunner
from .step_runner import StepRunner

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

logger = logging.getLogger("flujo.kernel")

_NAMED = 10
"""How many calls a warning names."""

_branch: ContextVar[Branch | None] = ContextVar("flujo_branch", default=None)


@checked_but("step", "function", "progress")
class Context:
    """A program's way to its run."""

    def __init__(
        self,
        run: LiveRun,
        steps: StepRunner,
        reporter: Reporter,
        child_runs: ChildRuns,
        clock: Clock,
        random: RandomBytes,
    ) -> None:
        self._run = run
        self._steps = steps
        self._reporter = reporter
        self._child_runs = child_runs
        self._clock = clock
        self._random = random
        self._thread = get_ident()  # of the event loop
        self.calls = Calls()
        self._plain_calls: set[str] = set()  # of steps, as they were told

    @property
    def run_id(self) -> str:
        """Return the id of this run."""
        return self._run.state.run_id

    @property
    def labels(self) -> Mapping[str, str]:
        """Return the labels the run was started with."""
        return self._run.state.labels

    @property
    def environment(self) -> Mapping[str, Any]:
        """Return what was read once when the run began, and stays the same for its whole life."""
        return self._run.state.environment

    async def run_program(self) -> Any:
        """Run the workflow's program in this task. The kernel calls this, once per LiveRun."""
        # This task has the context of whoever started the run, which may have been a step's body.
        leave_every_attempt()
        running_program.set(self._run.uid)
        on_plain_call.set(self._tell_plain_call)
        self._enter("")
        try:
            return await self._run.workflow.program(self, self._run.state.inputs)
        finally:
            self._reporter.flush(None)
            self._tell_dropped()

    async def run_clean_up(self) -> None:
        """Run the clean-ups of the workflow in this task, with keys of their own. The kernel calls this."""
        assert self._run.workflow.clean_up is not None
        leave_every_attempt()
        running_program.set(self._run.uid)
        on_plain_call.set(self._tell_plain_call)
        self._enter("")
        try:
            await self._run.workflow.clean_up(self, self._run.state.inputs)
        finally:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        """Warn of calls that nobody has awaited; not of those of a program that is being left."""
        if (dropped := self.calls.end()) and self._run.stopped is None:
            named = ", ".join(dropped[:_NAMED]) + (" …" if len(dropped) > _NAMED else "")
            logger.warning("run %s: called without await, so that nothing of it has run: %s", self.run_id, named)

    def _tell_plain_call(self, step: str) -> None:
        """Warn of a step that the program calls as a plain function: once in this life of the run, and not while it
        repeats what an earlier life has completed."""
        if step not in self._plain_calls and self._run.replay.over:
            self._plain_calls.add(step)
            said = "it calls a step as a plain function, so that nothing of it is recorded and a restart calls it again"
            logger.warning("run %s: %s: %s(…), instead of ctx.step(%s, …)", self.run_id, said, step, step)

    @property
    def ending(self) -> str | None:
        """Why the clean-ups of the workflow run: `cancelled` or `timeout`. None while its program does."""
        return self._run.state.cleaning_up

    # -- steps --------------------------------------------------------------------------------------------------

    @overload
    async def step(
        self,
        function: Callable[P, Awaitable[R]],
        /,
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        **kwargs: Any,
    ) -> R: ...
    @overload
    async def step(
        self,
        function: Callable[P, R],
        /,
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        **kwargs: Any,
    ) -> R: ...
    @noted
    async def step(
        self,
        function: Callable[..., Any],
        /,
        *args: Any,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call `function(*args, **kwargs)` as a step and return its recorded output.

        `name` (default: the step's own) is its key; `retry` and `timeout` (seconds or `30s`) stand in for the
        declared ones. A plain `def` runs in a worker thread. Raises StepFailed when the last attempt has failed, on
        replay as well. A completed step that is called with other arguments pauses the run as incompatible, unless
        another version= of the step says that the change is meant."""
        if name is not None:
            check_argument("name", str, name)
        declared = as_step(function, name)
        key = self._key(declared.name if name is None else name, explicit=name is not None)
        terms = declared.terms
        if retry is not None or timeout is not None:
            terms = _changed(declared, retry, timeout)
        digest = declared.digest(args, kwargs)
        if (step := self._run.state.steps.get(key)) is not None and step.digest != digest:
            digest = declared.digest_as_recorded(step.digest, digest, args, kwargs)
        return await self._steps.perform(key, bind(declared.function, args, kwargs), terms, digest)

    @noted
    async def sleep(self, duration: Duration, *, name: str = "sleep") -> None:
        """Wait durably: the due time is recorded, and a restart waits for what is left."""
        key = self._key(name, explicit=name != "sleep")
        await self._steps.wait(key, Wait(seconds=parse_duration(duration)))

    @noted
    async def wait_signal(
        self, signal: str, *, timeout: Duration | None = None, type: Any = Any, name: str | None = None
    ) -> Any:
        """Wait for the oldest untaken signal of this name, also one sent before, and return its payload.

        `type` is an annotation to read the payload into; `name` the step's name, by default the signal's. After
        `timeout` raises StepFailed with type TimeoutError."""
        check_step_name(signal)
        seconds = None if timeout is None else parse_duration(timeout)
        key = self._key(signal if name is None else name, explicit=True)
        codec = codec_for(type, f"the type of signal {signal!r}")
        return await self._steps.wait(key, Wait(seconds, signal), codec)

    @overload
    async def run_child(
        self,
        workflow: Workflow[R],
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        retry: RetryPolicy = NO_RETRY,
    ) -> R: ...
    @overload
    async def run_child(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        retry: RetryPolicy = NO_RETRY,
        type: Any = None,
        adapt: Callable[[Workflow], Workflow] | None = None,
    ) -> Any: ...
    @noted
    async def run_child(
        self,
        workflow: Workflow | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        retry: RetryPolicy = NO_RETRY,
        type: Any = None,
        adapt: Callable[[Workflow], Workflow] | None = None,
    ) -> Any:
        """Start another run, wait for its end and return its output, read into `type`: by default what the workflow's
        function returns, and plain JSON when only a name is given. `adapt` makes of the workflow that is found under a
        name the one that is started; it keeps the name.

        Its id is `RUN_ID.NAME`; `name`, by default the workflow's, is the step's name. It is cancelled with this run.
        Its failure is the step's: under `retry`, or when this run is resumed, the failed child is resumed. Raises
        StepFailed with the type of the child's error."""
        called = workflow if isinstance(workflow, str) else workflow.name
        key = self._key(called if name is None else name, explicit=name is not None)
        call = ChildCall(workflow, dict(inputs or {}), dict(labels or {}))
        if adapt is not None:
            call = call._replace(adapt=adapt)
        if type is None and isinstance(workflow, Workflow):
            codec = workflow.codec
        else:
            codec = codec_for(type, f"the type of child {called!r}")
        return await self._steps.child(key, call, self._child_runs, retry, codec)

    # -- values that stay ---------------------------------------------------------------------------------------

    @noted
    async def now(self, *, name: str = "now") -> datetime:
        """Return the time, in UTC, as it was when this call was first made. `name` is its key, as of every value
        here."""
        key = self._key(name, explicit=name != "now")
        return to_datetime(await self._steps.value(key, "now", lambda: str(self._clock.now())))

    @noted
    async def random(self, *, name: str = "random") -> float:
        """Return a random number from 0 up to but not including 1, the same on every replay."""

        def draw() -> str:
            return encode(int.from_bytes(self._random(7)) % 2**53 / 2**53)

        drawn: float = await self._steps.value(self._key(name, explicit=name != "random"), "random", draw)
        return drawn

    @noted
    async def uuid(self, *, name: str = "uuid") -> UUID:
        """Return a random UUID, the same on every replay."""

        def draw() -> str:
            return encode(str(UUID(bytes=self._random(16), version=4)))

        return UUID(await self._steps.value(self._key(name, explicit=name != "uuid"), "uuid", draw))

    @noted
    async def set_variable(self, name: str, value: Any) -> None:
        """Set a variable of the run, which others can see and set while it goes on. `value` is plain JSON."""
        key = self._key(f"set.{check_variable_name(name)}", explicit=False)
        await self._steps.set_variable(key, name, encode_given(f"the variable {name!r}", value))

    @noted
    async def variable(self, name: str, default: Any = None, *, key: str | None = None) -> Any:
        """Return the value of a variable as it was when this call was first made. `key` is the name of the step under
        which
        that is recorded, by default `get.NAME`."""
        key = self._key(f"get.{check_variable_name(name)}" if key is None else key, explicit=key is not None)
        variables = self._run.state.variables
        return await self._steps.value(key, "variable", lambda: encode(variables.get(name, default)))

    def progress(self, done: float, total: float | None = None, message: str | None = None, **metrics: float) -> None:
        """Say how far things are, in units of your own: inside of a step's body the step, elsewhere the whole run.

        At most one report per second is recorded, and always the last one. Raises InvalidValueError for numbers that
        are none."""
        step = current_attempt().step if in_attempt() else None
        self._reporter.report(step, done, total, message, metrics)

    def skip(self, name: str, reason: str) -> None:
        """Record that the step `name` is not run this time, and why."""
        encode(reason)  # what a journal cannot hold is refused here
        self._steps.skip(self._key(name, explicit=True), reason)

    async def pause_without_workspace(self) -> NoReturn:
        """Pause the run, since the folder with the files of its steps is gone; ends the program."""
        self._run.stop(Stop.WORKSPACE_GONE)
        await self._run.unwind()

    def peek(self, name: str) -> StepState | None:
        """Return what is recorded of the next step called `name`, or None, without using the name up."""
        return self._run.state.steps.get(self._branch_of(name).next_key(name))

    # -- concurrency --------------------------------------------------------------------------------------------

    @overload
    async def gather(self, first: Awaitable[Any], /, *others: Awaitable[Any]) -> list[Any]: ...
    @overload
    async def gather(self, **branches: Awaitable[Any]) -> dict[str, Any]: ...
    @noted
    async def gather(self, *positional: Awaitable[Any], **named: Awaitable[Any]) -> list[Any] | dict[str, Any]:
        """Run awaitables side by side, each as a branch with step names of its own, and return all their results.

        `gather(a=…, b=…)` names the branches and returns a dict, `gather(…, …)` numbers them and returns a list.
        When one raises, the others are cancelled and an ExceptionGroup is raised."""
        try:
            if positional and named:
                raise errors.DeclarationError("gather takes branches by position or by name, not both")
            for name, work in (*((f"branch {index}", each) for index, each in enumerate(positional)), *named.items()):
                check_argument(name, Awaitable, work)
            if named:
                keys = {name: self._key(name, explicit=True) for name in named}
                return await self._side_by_side({keys[name]: work for name, work in named.items()}, list(named))
            base = self._key("gather", explicit=False)
            works = {item_key(base, index): work for index, work in enumerate(positional)}
            return list((await self._side_by_side(works, list(works))).values())
        finally:
            # A coroutine that was never started must not be left to the garbage collector.
            for work in (*positional, *named.values()):
                if isinstance(work, Coroutine):
                    work.close()

    async def _side_by_side(self, works: Mapping[str, Awaitable[Any]], names: Sequence[str]) -> dict[str, Any]:
        results: dict[str, Any] = dict.fromkeys(names)

        async def branch(prefix: str, name: str, work: Awaitable[Any]) -> None:
            self._enter(f"{prefix}/")
            results[name] = await work

        parts = zip(works.items(), names, strict=True)
        await run_together([partial(branch, prefix, name, work) for (prefix, work), name in parts])
        return results

    @overload
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        limit: Count | None = None,
        key: Callable[[T], str] | None = None,
        on_error: Literal["raise"] = "raise",
        name: str | None = None,
    ) -> list[R]: ...
    @overload
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        limit: Count | None = None,
        key: Callable[[T], str] | None = None,
        on_error: Literal["collect"],
        name: str | None = None,
    ) -> list[R | StepFailed]: ...
    @noted
    async def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        limit: Count | None = None,
        key: Callable[[T], str] | None = None,
        on_error: Literal["raise", "collect"] = "raise",
        name: str | None = None,
    ) -> list[R] | list[R | StepFailed]:
        """Call a step for every item, at most `limit` at a time, and return the outputs in the order of the items.

        Item i is the step `NAME[i]`, or `NAME[key(item)]`, with a checkpoint and the retry policy of its own; an
        item whose argument has changed since it was recorded runs again. In a set the numbers follow what the items
        hold, since each process orders it otherwise. With `on_error="raise"` a failure starts
        no more items, lets running ones finish and raises an ExceptionGroup of every StepFailed; with "collect"
        failures stand in the list."""
        declared = as_step(function, name)
        base = self._key(declared.name if name is None else name, explicit=name is not None)
        todo = list(items)
        keys = _item_keys(base, [key(item) for item in todo] if key else _numbers(items, todo))
        outputs: list[Any] = [None] * len(todo)
        failures: list[StepFailed] = []
        pending = iter(range(len(todo)))

        async def worker() -> None:
            for index in pending:
                item = todo[index]
                body = bind(declared.function, (item,), {})
                try:
                    digest = self._digest_item(keys[index], declared, item)
                    outputs[index] = await self._steps.perform(keys[index], body, declared.terms, digest, is_item=True)
                except StepFailed as failure:
                    outputs[index] = failure
                    failures.append(failure)
                if failures and on_error == "raise":
                    return

        await run_together([worker] * min(limit or len(todo), len(todo)))
        if failures and on_error == "raise":
            raise ExceptionGroup(f"{len(failures)} items of {base} failed", _in_order(failures, keys))
        return outputs

    def _digest_item(self, key: str, declared: Step[Any, Any], item: Any) -> str | None:
        """Return the digest of an item of a map, with what is bound in its function."""
        is_alone = binds_nothing(declared.function)
        digest = digest_item(item) if is_alone else digest_call(declared.function, (item,), {})
        if (step := self._run.state.steps.get(key)) is None or step.digest == digest:
            return digest
        forms = forms_of_item(item)
        if not is_alone:
            forms = chain(forms_of_call(declared.function, (item,), {}), forms)
        return as_recorded(step.digest, digest, forms)

    @noted
    async def loop(self, loop: Loop, /, *, name: str) -> Any:
        """Perform a step for each item of a list, with a checkpoint for each and one for all of them, and return the
        output of the loop; raises StepFailed. For those who describe workflows in another way than by functions."""
        key = self._key(name, explicit=True)
        runner = LoopRunner(self._run, self._steps, self._child_runs, self._reporter, self._clock, key, loop)
        return await runner.perform()

    @noted
    async def rounds(self, rounds: Rounds, /, *, name: str) -> Any:
        """Perform a step round by round until its result is as wanted, with a checkpoint for each round and each pause,
        and return what the last one has returned; raises StepFailed. For those who describe workflows in another way
        than by functions."""
        key = self._key(name, explicit=True)
        return await RoundsRunner(self._run, self._steps, key, rounds).perform()

    # -- keys ---------------------------------------------------------------------------------------------------

    def _key(self, name: str, *, explicit: bool) -> str:
        if in_attempt():
            # On replay the outer step is not run again, and every later repeat of this name would get another key.
            raise UnsafeStepNameError(name, "it was called from inside of another step's body")
        branch, task = self._branch_of(name), this_task()
        if task != branch.task and get_ident() != self._thread:
            # Its answer would never come: tests/kernel/execution/test_context.py
            raise errors.WrongEventLoopError(f"the kernel of run {self.run_id!r}")
        return branch.key(check_step_name(name), task, explicit)

    def _enter(self, prefix: str) -> None:
        """Have the running task be a branch of this run's program."""
        _branch.set(Branch(prefix, this_task(), self._run.uid))

    def _branch_of(self, name: str) -> Branch:
        """Return the branch that calls for a step of this name; raises for a caller that is none of this run's
        program."""
        branch = _branch.get()
        if branch is not None and branch.uid == self._run.uid:
            return branch
        state = self._run.state
        if self._run.ended.is_set():
            raise RunFinishedError(state.run_id, state.status) if state.status in FINAL else errors.KernelClosedError()
        problem = "where its context variables are not known, as in a thread or a callback of its own"
        if branch is not None:
            problem = "in the program of another run, which has a ctx of its own"
        raise UnsafeStepNameError(
            name,
            f"the ctx of run {state.run_id!r} was used outside of its program, {problem}",
            ["call it in the program; a thread hands its result back to it (anyio.to_thread.run_sync)"],
        )


def _numbers(items: Iterable[T], todo: Sequence[T]) -> Sequence[int]:
    """Return the number of each item of a map: its place. Each process iterates a set in another order, so an item of
    a set has its place among the digests (tests/kernel/test_changed_programs.py: items_of_a_set)."""
    places = range(len(todo))
    if not isinstance(items, (set, frozenset)):
        return places
    by_digest = sorted(places, key=lambda place: digest_item(todo[place]) or "")
    return sorted(places, key=by_digest.__getitem__)


def _item_keys(base: str, names: Iterable[str | int]) -> list[str]:
    """Return the names of the steps of a map; raises UnsafeStepNameError where two items have one."""
    keys = [item_key(base, name) for name in names]
    if len(set(keys)) < len(keys):
        raise UnsafeStepNameError(base, "two items have the same key")
    return keys


def _in_order(failures: Iterable[StepFailed], keys: Sequence[str]) -> list[StepFailed]:
    """Return failures in the order of the items they belong to, whichever failed first."""
    places = {key: index for index, key in enumerate(keys)}
    return sorted(failures, key=lambda failure: places[failure.step])


def _changed(declared: Step[Any, Any], retry: RetryPolicy | None, timeout: Duration | None) -> StepOptions:
    """Return the options of a step for one call that gives some of its own."""
    terms = declared.terms
    check_argument("retry", RetryPolicy | None, retry)
    check_argument("timeout", Duration | None, timeout)
    seconds = terms.timeout_seconds if timeout is None else parse_duration(timeout)
    if seconds is not None and not terms.is_async:
        raise errors.DeclarationError(
            f"step {declared.name!r} is a plain def and cannot have a timeout; make it async def"
        )
    return terms._replace(retry=retry or terms.retry, timeout_seconds=seconds)
