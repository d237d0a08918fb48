"""What users declare: steps and workflows. Declaring builds descriptors and does nothing else.

    @step(retry=RetryPolicy(max_attempts=5), timeout="30s")
    async def fetch(url: str) -> dict: ...

    @workflow(name="report", version="1")
    async def report(ctx: Context, day: str) -> int: ...

A `Step` stays an ordinary callable. A `Workflow` is all the kernel knows of a definition: a program, an async
callable of `(ctx, inputs)`, with what is needed to check inputs and to tell whether the definition still fits a
stored run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from typing_extensions import TypeVar as DefaultTypeVar

from flujo.kernel.checked_calls import declaring
from flujo.kernel.codecs import PLAIN, Codec, codec_for
from flujo.kernel.durations import Duration, parse_duration
from flujo.kernel.errors import (
    DeclarationError,
    Difference,
    InvalidInputError,
    StateIncompatibilityError,
    StepChoiceError,
)
from flujo.kernel.errors.base import shown
from flujo.kernel.journal.overlap import Overlap
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy
from flujo.kernel.journal.state import WorkflowState
from flujo.kernel.journal.step_choice import StepChoice, choice_in
from flujo.kernel.keys import check_step_name, check_workflow_name
from flujo.kernel.store.records import StoredDefinition
from flujo.kernel.store.retention import Retention

from .annotations import UnresolvedAnnotationError, annotation_of, called
from .arguments import digest_arguments, digest_version
from .attempt_runner import StepOptions
from .call_forms import as_recorded, digest_call, forms_of_call, forms_of_values
from .calls import called_plainly
from .inputs import DEFAULTED, Inputs

if TYPE_CHECKING:
    from .signature import Signature

P = ParamSpec("P")
R = TypeVar("R")
Result_co = DefaultTypeVar("Result_co", covariant=True, default=Any)
"""What a run returns. `Workflow` alone is one of which that is not known."""

Program = Callable[[Any, Inputs], Awaitable[Any]]
"""What the kernel runs: it is called with the `Context` of the run, and its inputs. The context is untyped here, since
a program may declare just the part of it that it uses, as the interpreter of `flujo.workflows` does."""


ASKED_TIMEOUT = "asked_timeout_seconds"
"""Under this name the environment of a run has the timeout that it was started with, if that was not the workflow's."""

CLEAN_UP_SECONDS = 60.0
"""How long clean-ups may take after a cancel or a timeout, unless their workflow says otherwise."""


class Step(Generic[P, R]):
    """A function with the name, retry policy, timeout and limit it has as a step. Calling it calls the function, which
    is not recorded: a program that does so is told (calls.py)."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        retry: RetryPolicy = NO_RETRY,
        timeout: Duration | None = None,
        limit: str | None = None,
        version: str | None = None,
        key: Callable[P, Any] | None = None,
    ) -> None:
        _require_callable(function)
        self.function = function
        self.__name__ = called(function)
        self.name = check_step_name(_own_name(function) if name is None else name)
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._is_async = _is_async(function)
        self._retry, self._limit = retry, limit
        self._version, self._key = version, key
        # What tells the arguments of a call from others; not a method, since every step asks for it.
        is_plain = version is None and key is None and type(function) is FunctionType
        self.digest = digest_arguments if is_plain else self._digest
        self._seconds = None if timeout is None else parse_duration(timeout)
        if self._seconds is not None and not self._is_async:
            raise DeclarationError(
                f"step {self.name!r} is a plain def: it runs in a thread, which nothing can stop, so it has no timeout",
                ["make it async def", "or give the timeout to the library it calls"],
            )
        try:
            self.terms  # noqa: B018 - read now, so that a type that cannot be recorded is refused here
        except UnresolvedAnnotationError:
            pass  # the name may be defined further down in the module; it is asked for again at the first call

    @cached_property
    def terms(self) -> StepOptions:
        """Return how a body is run, tried again and read back. Raises DeclarationError for a return type that cannot
        be."""
        codec = codec_for(annotation_of(self.function, "return"), f"the return type of step {self.name!r}")
        return StepOptions(self._is_async, codec, self._retry, self._seconds, self._limit)

    def _digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        if self._key is not None:
            arguments = digest_arguments((self._key(*args, **kwargs),), {})
        else:
            arguments = digest_call(self.function, args, kwargs)
        return arguments if self._version is None else digest_version(self._version, arguments)

    def digest_as_recorded(
        self, recorded: str | None, digest: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str | None:
        """Return the recorded digest in place of this one, of a call, if it is that of the same call."""
        if self._key is None:
            return as_recorded(recorded, digest, forms_of_call(self.function, args, kwargs))
        return as_recorded(recorded, digest, forms_of_values((self._key(*args, **kwargs),), {}))

    def __get__(self, instance: Any, owner: type | None = None) -> Step[P, R]:
        """Return the step itself, or for a method the step of the bound method."""
        if instance is None:
            return self
        bound = copy(self)
        bound.function = bound.__wrapped__ = self.function.__get__(instance, owner)
        bound.digest = bound._digest
        return bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        called_plainly(self.name)
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<step {self.name}>"


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    retry: RetryPolicy = NO_RETRY,
    timeout: Duration | None = None,
    limit: str | None = None,
    version: str | None = None,
    key: Callable[..., Any] | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
@declaring("function")
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy = NO_RETRY,
    timeout: Duration | None = None,
    limit: str | None = None,
    version: str | None = None,
    key: Callable[..., Any] | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Declare a function as a step: `@step` or `@step(retry=…, timeout="30s", limit="db")`.

    A completed step is not run again. If the program calls it with other arguments after a restart, its run is paused
    as incompatible, unless another `version` says that the change is meant: then the step runs again. `key` is a
    function of the arguments that returns what tells one call from another, where some of them do not.

    With `limit` no more of its bodies run at once than the kernel allows under that name (`Kernel(limits={"db": 2})`),
    together with those of all other steps that name it; without limits of that name, as many as there are."""

    def declare(function: Callable[P, R]) -> Step[P, R]:
        return Step(function, name=name, retry=retry, timeout=timeout, limit=limit, version=version, key=key)

    return declare if function is None else declare(function)


@cache
def plain_options(limit: str | None = None) -> StepOptions:
    """Return the options of an async step that returns plain JSON, under a limit."""
    return StepOptions(True, PLAIN, NO_RETRY, None, limit)


def prepared(function: Callable[[], Awaitable[Any]], options: StepOptions) -> Step[[], Awaitable[Any]]:
    """Return a step of a function without arguments whose options are known. Nothing of the function is looked at, so
    that one may be made anew for each call, which has to give it a name."""
    made: Step[[], Awaitable[Any]] = Step.__new__(Step)
    made.function, made.name, made.digest = function, "", _no_digest
    made.__dict__["terms"] = options
    return made


def _no_digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    return None


def as_step(function: Step[P, R] | Callable[P, R], name: str | None = None) -> Step[P, R]:
    """Return the descriptor of a declared step, or a default one for a plain function."""
    return function if isinstance(function, Step) else Step(function, name=name)


class RunStart(NamedTuple):
    """What is known when a run begins, for a workflow that records some of it once and for all."""

    run_id: str
    now: int  # microseconds UTC
    run_number: int  # how many runs of this workflow the store holds, this one included
    workspace: Path  # the folder made for this run unless the workflow names another
    inputs: Mapping[str, Any] = {}
    origin: Mapping[str, Any] = {}  # the environment of the run that it is forked from


def _take_any_inputs(inputs: Inputs) -> Inputs:
    return inputs


@dataclass(frozen=True, kw_only=True)
class Workflow(Generic[Result_co]):
    """A definition the kernel can run; `Workflow[int]` is one whose runs return an int.

    `check_inputs` returns the inputs as they are recorded (complete, plain JSON) or raises InvalidInputError;
    `program` receives them decoded; without a `signature`, `fit_inputs` does for recorded ones what `fitting` says.
    `plan` lists the steps of a definition whose steps are known beforehand (plans.py), `parameters` the inputs it
    declares if it takes others as well, `mentions` the inputs that each step is written with (ANY if that may be any),
    which bind once it has completed. `definition` is its text and `file` where that was read from. `environment` says
    what is read once, when a run begins, and stays for its whole life (plain JSON). `retention` says how long its runs
    are kept by the kernels it is given to. `signature` is what a Python function takes and returns; a definition that
    has none takes and returns plain JSON. `clean_up` is a program that runs for `clean_up_seconds` at most when a run
    was cancelled or has taken too long, once its program has stopped (LiveRun.drive). `choose` returns a part of a
    definition: for a run that is started it raises StepChoiceError for what cannot be chosen, and for one that goes on,
    of which the second argument is true, only for a flow that is gone. `on_overlap` says what a run does that is
    started while another one of the workflow is not finished. `asked_timeout` is what was said
    when a run was started, in place of the definition."""

    name: str
    program: Program
    version: str | None = None
    timeout_seconds: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    check_inputs: Callable[[Inputs], Inputs] = _take_any_inputs
    fit_inputs: Callable[[Inputs], tuple[Inputs, Sequence[Difference]]] | None = None
    definition: StoredDefinition | None = None
    file: str | None = None
    plan: Sequence[tuple[str, ...]] | None = None
    parameters: Collection[str] | None = None
    mentions: Mapping[str, Collection[str]] = field(default_factory=dict)
    environment: Callable[[RunStart], Mapping[str, Any]] | None = None
    retention: Retention | None = None
    signature: Callable[[], Signature] | None = None
    clean_up: Program | None = None
    clean_up_seconds: float = CLEAN_UP_SECONDS
    choose: Callable[[StepChoice, bool], Workflow] | None = None
    on_overlap: Overlap = Overlap.ALLOW
    asked_timeout: float | None = None

    def __post_init__(self) -> None:
        check_workflow_name(self.name)

    @property
    def codec(self) -> Codec:
        """Return what writes and reads the output of a run."""
        return PLAIN if self.signature is None else self.signature().codec

    def require_resolved(self) -> None:
        """Raise DeclarationError if an annotation of the function cannot be resolved. A kernel asks when it gets to
        know the workflow: by then every module is imported."""
        if self.signature is not None:
            self.signature()

    def with_steps(self, choice: StepChoice) -> Workflow:
        """Return the part of the workflow that is chosen for a new run; raises StepChoiceError."""
        if choice.is_open:
            return self
        if self.choose is None:
            field = next(
                name for name in ("flow", "skip_steps", "start_from") if getattr(choice, name) not in (None, ())
            )
            raise StepChoiceError(
                self.name, field, "it is a Python workflow, which decides by itself what its steps are"
            )
        return self.choose(choice, False)

    def with_timeout(self, seconds: float | None) -> Workflow:
        """Return the workflow for a run that may take so long from its start, and from each resume; None: as long as
        the workflow says."""
        return self if seconds is None else replace(self, timeout_seconds=seconds, asked_timeout=seconds)

    def as_started(self, state: WorkflowState) -> Workflow:
        """Return the part of the workflow that a run performs, as it was started with it; raises StepChoiceError."""
        asked_timeout = state.environment.get(ASKED_TIMEOUT)
        if self.choose is None:
            return self.with_timeout(asked_timeout)
        try:
            return self.choose(choice_in(state.environment), True).with_timeout(asked_timeout)
        except StepChoiceError as error:
            error.hints = (f"flujoctl resume {state.run_id} --stored  # with the definition it was started with",)
            raise

    def defaulted(self, inputs: Inputs) -> Mapping[str, Any]:
        """Return what the environment of a run says of the inputs that are left to their defaults."""
        names = () if self.signature is None else self.signature().defaulted(inputs)
        return {DEFAULTED: list(names)} if names else {}

    def fitting(self, inputs: Inputs, environment: Mapping[str, Any]) -> tuple[Inputs, Sequence[Difference]]:
        """Return recorded inputs without forgotten defaults, and how they differ from what the workflow takes now."""
        if self.signature is None:
            return (inputs, ()) if self.fit_inputs is None else self.fit_inputs(inputs)
        signature = self.signature()
        kept = signature.without_dropped(inputs, environment.get(DEFAULTED, ()))
        return kept, signature.misfits(kept)

    def inherited(self, inputs: Inputs, environment: Mapping[str, Any]) -> Inputs:
        """Return the recorded inputs of another run that a fork of it begins with: those that were given, and that the
        workflow still takes."""
        kept, misfits = self.fitting(inputs, environment)
        gone = {each.step.removeprefix("inputs.") for each in misfits if each.change == "removed"}
        return {name: value for name, value in kept.items() if name not in gone}


@overload
def workflow(function: Callable[..., Awaitable[R]], /) -> Workflow[R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    version: str | None = None,
    timeout: Duration | None = None,
    retention: Retention | None = None,
    clean_up: Callable[..., Awaitable[Any]] | None = None,
    clean_up_timeout: Duration = CLEAN_UP_SECONDS,
    on_overlap: Overlap | str = Overlap.ALLOW,
) -> Callable[[Callable[..., Awaitable[R]]], Workflow[R]]: ...
@declaring("function", "on_overlap")
def workflow(
    function: Callable[..., Awaitable[R]] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    timeout: Duration | None = None,
    retention: Retention | None = None,
    clean_up: Callable[..., Awaitable[Any]] | None = None,
    clean_up_timeout: Duration = CLEAN_UP_SECONDS,
    on_overlap: Overlap | str = Overlap.ALLOW,
) -> Workflow[R] | Callable[[Callable[..., Awaitable[R]]], Workflow[R]]:
    """Declare `async def f(ctx, …)` as a workflow: `@workflow`, or `@workflow(name=…, timeout="1h")`.

    Its inputs are keyword arguments, or one pydantic model. With `retention` a kernel that has the workflow forgets its
    old runs by itself.

    `clean_up` takes what the function takes: when a run was cancelled or has taken longer than its `timeout`, it runs
    once the function has stopped, and may take `clean_up_timeout`. `ctx.ending` says why it runs, `ctx.peek(NAME)` what
    a step has come to. Its steps are recorded as all steps are, and run anew after a resume.

    `on_overlap` says what a run does that is started while another one of the workflow is not finished: under `skip`
    and `fail` it is not (RunOverlapError), under `queue` it begins once those before it have ended.

    Raises DeclarationError for a function that cannot be one, or whose types cannot be recorded and read back."""
    seconds = None if timeout is None else parse_duration(timeout)

    def declare(function: Callable[..., Awaitable[R]]) -> Workflow[R]:
        declared = replace(_declare(function, name, version, seconds, retention), on_overlap=_overlap(on_overlap))
        return declared if clean_up is None else _with_clean_up(declared, clean_up, parse_duration(clean_up_timeout))

    return declare if function is None else declare(function)


def _overlap(given: Overlap | str) -> Overlap:
    if given not in tuple(Overlap):
        raise DeclarationError(f"`on_overlap` must be {', '.join(Overlap)}, not {shown(given)}")
    return Overlap(given)


def _declare(
    function: Callable[..., Awaitable[R]],
    name: str | None,
    version: str | None,
    timeout_seconds: float | None,
    retention: Retention | None,
) -> Workflow[R]:
    if not _is_async(function):
        raise DeclarationError(f"workflow {called(function)!r} must be an async def taking (ctx, …)")
    from .signature import Signature

    chosen = _own_name(function) if name is None else name
    signature = cache(partial(Signature, chosen, function))
    try:
        signature()
    except UnresolvedAnnotationError:
        pass  # the name may be defined further down in the module; a kernel asks again (require_resolved)

    async def program(ctx: Any, inputs: Inputs) -> R:
        kept = signature().without_dropped(inputs, ctx.environment.get(DEFAULTED, ()))
        try:
            args, kwargs = signature().arguments(kept)
        except InvalidInputError as error:
            misfits = signature().misfits(kept)
            raise StateIncompatibilityError.recorded(ctx.run_id, misfits, has_definition=False) from error
        return await function(ctx, *args, **kwargs)

    declared: Workflow[R] = Workflow(
        name=chosen,
        version=version,
        program=program,
        timeout_seconds=timeout_seconds,
        check_inputs=lambda inputs: signature().recorded(inputs),
        retention=retention,
        signature=signature,
    )
    return declared


def _with_clean_up(declared: Workflow[R], clean_up: Callable[..., Awaitable[Any]], seconds: float) -> Workflow[R]:
    if not _is_async(clean_up):
        raise DeclarationError(f"the clean-up of workflow {declared.name!r} must be an async def taking (ctx, …)")

    async def program(ctx: Any, inputs: Inputs) -> None:
        assert declared.signature is not None
        args, kwargs = declared.signature().arguments(declared.fitting(inputs, ctx.environment)[0])
        await clean_up(ctx, *args, **kwargs)

    return replace(declared, clean_up=program, clean_up_seconds=seconds)


def _require_callable(function: Any) -> None:
    """Raise DeclarationError for what is no function that could be a step's, by what was probably meant."""
    if isinstance(function, staticmethod | classmethod):
        raise DeclarationError(
            f"step {called(function.__func__)!r} is a method of a class", ["put @step below @staticmethod"]
        )
    if inspect.iscoroutine(function):
        function.close()  # or Python would say as well that it was never awaited
        raise DeclarationError(
            f"the function of a step was called already: {called(function)}(…)",
            ["give the function and its arguments: await ctx.step(f, x), not ctx.step(f(x))"],
        )
    if isinstance(function, Workflow):
        raise DeclarationError(
            f"workflow {function.name!r} is no step", ["start it as a child: await ctx.run_child(workflow, {…})"]
        )
    if not callable(function):
        raise DeclarationError(
            f"the function of a step is missing: {type(function).__name__} cannot be called",
            ["give the function itself: await ctx.step(f, x)"],
        )


def _own_name(function: Any) -> str:
    """Return the name of a function; raises DeclarationError for what has none, or none that could be a step's."""
    own = getattr(function, "__name__", None)
    if own is None or own == "<lambda>":
        what = "a lambda" if own else f"an object of {type(function).__name__}"
        raise DeclarationError(
            f"{what} has no name of its own",
            ['give it one: await ctx.step(f, x, name="…")', 'or step(name="…")(f)'],
        )
    return str(own)


def _is_async(function: Callable[..., Any]) -> bool:
    """True if calling the function, the outermost one under decorators, returns a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__ is an async function too
    )
