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
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from flujo.kernel.durations import Duration, parse_duration
from flujo.kernel.errors import DeclarationError, InvalidInputError
from flujo.kernel.journal.retry import NO_RETRY, RetryPolicy
from flujo.kernel.keys import check_step_name
from flujo.kernel.store.backend import StoredDefinition
from flujo.kernel.store.retention import Retention
from flujo.kernel.values import PLAIN, Codec, codec_for

from .attempt_runner import Terms

P = ParamSpec("P")
R = TypeVar("R")

Inputs = dict[str, Any]
Program = Callable[[Any, Inputs], Awaitable[Any]]
"""What the kernel runs: it is called with the `Context` of the run, and its inputs. The context is untyped here, since
a program may declare just the part of it that it uses, as the interpreter of `flujo.workflows` does."""


class Step(Generic[P, R]):
    """A function with the name, retry policy, timeout and limit it has as a step. Calling it calls the function."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        retry: RetryPolicy = NO_RETRY,
        timeout: Duration | None = None,
        limit: str | None = None,
    ) -> None:
        self.function = function
        self.name = check_step_name(name or function.__name__)
        seconds = None if timeout is None else parse_duration(timeout)
        self.terms = Terms(_is_async(function), codec_for(_return_annotation(function)), retry, seconds, limit)
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function
        if seconds is not None and not self.terms.is_async:
            raise DeclarationError(
                f"step {self.name!r} is a plain def: it runs in a thread, which nothing can stop, so it has no timeout",
                ["make it async def", "or give the timeout to the library it calls"],
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
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
) -> Callable[[Callable[P, R]], Step[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy = NO_RETRY,
    timeout: Duration | None = None,
    limit: str | None = None,
) -> Step[P, R] | Callable[[Callable[P, R]], Step[P, R]]:
    """Declare a function as a step: `@step` or `@step(retry=…, timeout="30s", limit="db")`.

    With `limit` no more of its bodies run at once than the kernel allows under that name (`Kernel(limits={"db": 2})`),
    together with those of all other steps that name it; without limits of that name, as many as there are."""

    def declare(function: Callable[P, R]) -> Step[P, R]:
        return Step(function, name=name, retry=retry, timeout=timeout, limit=limit)

    return declare if function is None else declare(function)


def as_step(function: Step[P, R] | Callable[P, R]) -> Step[P, R]:
    """The descriptor of a declared step, or a default one for a plain function."""
    return function if isinstance(function, Step) else Step(function)


class Beginning(NamedTuple):
    """What is known when a run begins, for a workflow that records some of it once and for all."""

    run_id: str
    now: int  # microseconds UTC
    run_number: int  # how many runs of this workflow the store holds, this one included
    workspace: Path  # the folder made for this run unless the workflow names another


def _take_any_inputs(inputs: Inputs) -> Inputs:
    return inputs


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A definition the kernel can run.

    `check_inputs` returns the inputs as they are recorded (complete, plain JSON) or raises InvalidInputError;
    `program` receives them decoded. `plan` lists the steps of a definition whose steps are known beforehand (plans.py),
    `definition` is its text and `file` where that was read from. `environment` says what is read once, when a run
    begins, and stays for its whole life (plain JSON). `retention` says how long its runs are kept by the kernels it is
    given to."""

    name: str
    program: Program
    version: str | None = None
    timeout_seconds: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    check_inputs: Callable[[Inputs], Inputs] = _take_any_inputs
    codec: Codec = PLAIN
    definition: StoredDefinition | None = None
    file: str | None = None
    plan: Sequence[tuple[str, ...]] | None = None
    environment: Callable[[Beginning], Mapping[str, Any]] | None = None
    retention: Retention | None = None

    def __post_init__(self) -> None:
        check_step_name(self.name)


def workflow(
    *,
    name: str | None = None,
    version: str | None = None,
    timeout: Duration | None = None,
    retention: Retention | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], Workflow]:
    """Declare `async def f(ctx, …)` as a workflow. Its inputs are keyword arguments, or one pydantic model.

    With `retention` a kernel that has the workflow forgets its old runs by itself."""

    def declare(function: Callable[..., Awaitable[Any]]) -> Workflow:
        if not _is_async(function):
            raise DeclarationError(f"workflow {function.__name__!r} must be an async def taking (ctx, …)")
        chosen = name or function.__name__
        model, whole = _inputs_model(chosen, function)

        def check(inputs: Inputs) -> Inputs:
            return _validated(chosen, model, inputs).model_dump(mode="json")

        async def program(ctx: Any, inputs: Inputs) -> Any:
            checked = _validated(chosen, model, inputs)
            if whole:
                return await function(ctx, checked)
            return await function(ctx, **{field: getattr(checked, field) for field in type(checked).model_fields})

        return Workflow(
            name=chosen,
            version=version,
            program=program,
            timeout_seconds=None if timeout is None else parse_duration(timeout),
            check_inputs=check,
            codec=codec_for(_return_annotation(function)),
            retention=retention,
        )

    return declare


def _validated(workflow: str, model: type[BaseModel], inputs: Inputs) -> BaseModel:
    try:
        return model.model_validate(inputs)
    except ValidationError as error:
        problems = {
            ".".join(map(str, each["loc"])) or "inputs": each["msg"] for each in error.errors(include_url=False)
        }
        raise InvalidInputError(workflow, problems) from error


def _inputs_model(name: str, function: Callable[..., Any]) -> tuple[type[BaseModel], bool]:
    """The pydantic model of a workflow's inputs, and whether the function takes it whole."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise DeclarationError(
            f"workflow {name!r} must take the context as its first argument", ["async def f(ctx, …)"]
        )
    hints = _hints(function)
    inputs = parameters[1:]
    if len(inputs) == 1:
        only = hints.get(inputs[0].name)
        if isinstance(only, type) and issubclass(only, BaseModel):
            return only, True
    fields: dict[str, Any] = {}
    for parameter in inputs:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DeclarationError(f"workflow {name!r}: input {parameter.name!r} must be a named argument")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(
        f"{name}_inputs", __config__=ConfigDict(extra="forbid", ser_json_inf_nan="constants"), **fields
    ), False


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__ is an async function too
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # an annotation that names something only type checkers see
        return {}


def _return_annotation(function: Callable[..., Any]) -> Any:
    return _hints(function).get("return", Any)
