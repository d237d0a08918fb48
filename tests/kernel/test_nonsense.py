"""Nonsense for every argument of every public call: a call takes what its type says, or refuses it by name.

No call ends in an error of a library, and none stores what nobody can read again. Arguments are found by introspection,
and judged by their type: a call or a type that is not in the tables below fails a test.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, NamedTuple, cast

import anyio
import pytest

import flujo.kernel
from flujo.backends import FileBackend, SQLiteBackend, open_backend
from flujo.backends.memory import InMemoryBackend
from flujo.client import Client, Credentials, blocking
from flujo.kernel import Context, Kernel, Observer, Retention, RetryPolicy, RunHandle, RunStatus, step, workflow
from flujo.kernel import blocking as kernel_blocking
from flujo.kernel.errors import FlujoError, KernelClosedError
from flujo.kernel.execution.items import Loop
from flujo.kernel.execution.programs import plain_options
from flujo.kernel.execution.rounds import Rounds
from flujo.kernel.ownership.many_runs import NewRun
from flujo.workflows import load_workflow, task
from kernel.flows import doubling, waiting
from kernel.harness import Harness, until
from kernel.hostile_arguments import Argument, arguments_of, declared_types
from server.harness import served


class Nonsense:
    """A class, where nobody asks for one."""


async def _coroutine(*args: Any, **kwargs: Any) -> None:
    """A function, where nobody asks for one."""


HUGE = 10**4300

NONSENSE: dict[str, Any] = {
    "none": None,
    "an object": object(),
    "-1": -1,
    "0": 0,
    "5": 5,
    "huge": HUGE,
    "nan": nan,
    "inf": inf,
    "empty": "",
    "NUL": "\0",
    "half a character": "\ud800",
    "bytes": b"x",
    "a list": [],
    "a dict": {},
    "true": True,
    "a class": Nonsense,
    "a function": _coroutine,
}

_NUMBERS = {"-1", "0", "5"}
_TEXTS = {"empty", "NUL"}

FITTING_BY_TYPE: dict[str, set[str]] = {
    "Any": set(NONSENSE),
    "str": _TEXTS,
    "bool": {"true"},
    "int": _NUMBERS,
    "float": {*_NUMBERS, "inf"},
    "Count": {"5"},
    "CountOrZero": {"0", "5"},
    "float | int | str | timedelta": {"0", "5"},
    "datetime | int": _NUMBERS,
    "Mapping[str, Any]": {"a dict"},
    "Mapping[str, str]": {"a dict"},
    "Mapping[str, Count]": {"a dict"},
    "Sequence[str]": {"a list"},
    "Collection[str]": {"a list"},
    "Sequence[NewRun]": {"a list"},
    "Sequence[SetOutput | Skip | SetVariable | Complete]": {"a list"},
    "Iterable[Workflow]": {"a list"},
    "Iterable[~T]": {"a list"},
    "Workflow | str": _TEXTS,
    "Overlap | str": set(),
    "Workflow": set(),
    "RunSummary": set(),
    "WorkflowState": set(),
    "StateBackend": set(),
    "Retention": set(),
    "RetryPolicy": set(),
    "Credentials": set(),
    "Clock": set(),
    "LocalRuns": set(),
    "Path": set(),
    "Export": set(),
    "Loop": set(),
    "Rounds": set(),
    "Literal['raise', 'collect']": set(),
    "Literal['full', 'normal']": set(),
    "Path | str": {"empty"},
    "MemoryStore": set(),
    "Awaitable[Any]": set(),
}
"""Which of these are values of a type, so that a call may take them or refuse them as it likes."""


def fits(type: str) -> set[str]:
    """The names of the nonsense that is a value of a type."""
    if type.endswith(" | None"):
        return {"none", *fits(type.removesuffix(" | None"))}
    if type.startswith("Callable["):
        return {"a class", "a function"}
    return FITTING_BY_TYPE[type]


def misjudged(argument: str, name: str, type: str, raised: BaseException | None) -> str | None:
    """What is wrong with the answer to some nonsense; None if it was refused by its name, or may be taken."""
    given = f"{argument}={name} ({type})"
    if raised is None:
        return None if name in fits(type) else f"{given} was taken"
    if not isinstance(raised, FlujoError):
        return f"{given}: {raised!r:.200}"
    names = (argument, *OTHER_NAMES.get(argument, ()))
    if name in fits(type) or any(re.search(rf"\b{each}\b", str(raised)) for each in names):
        return None
    return f"{given} is not named: {raised!s:.200}"


OTHER_NAMES: dict[str, Sequence[str]] = {
    "name": ("step name", "workflow name", "variable name"),
    "address": ("address", "URL"),
    "url": ("URL",),
}
"""What messages call an argument besides."""


# -- what makes something ----------------------------------------------------------------------------------------------


async def body(n: int = 1) -> int:
    return n


async def program(ctx: Context, n: int = 1) -> int:
    return n


def _open(url: str) -> None:
    """What `open_backend` takes: its own annotations are for type checkers."""


MAKERS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "Kernel": (Kernel.__init__, lambda **given: Kernel(**{"backend": InMemoryBackend(), **given})),
    "blocking.Kernel": (
        Kernel.__init__,
        lambda **given: kernel_blocking.Kernel(**{"backend": InMemoryBackend(), **given}),
    ),
    "Observer": (Observer.__init__, lambda **given: Observer(**{"backend": InMemoryBackend(), **given})),
    "Client": (Client.__init__, lambda **given: Client(**{"address": "unix:s", **given})),
    "blocking.Client": (Client.__init__, lambda **given: blocking.Client(**{"address": "unix:s", **given})),
    "RetryPolicy": (RetryPolicy.__init__, RetryPolicy),
    "Retention": (Retention.__init__, lambda **given: Retention(**{"completed": 5, **given})),
    "open_backend": (_open, open_backend),
    "FileBackend": (FileBackend.__init__, lambda **given: FileBackend(**{"path": "s", **given})),
    "SQLiteBackend": (SQLiteBackend.__init__, lambda **given: SQLiteBackend(**{"path": "s", **given})),
    "InMemoryBackend": (InMemoryBackend.__init__, InMemoryBackend),
    "step": (step, lambda **given: step(**given)(body)),
    "workflow": (workflow, lambda **given: workflow(**given)(program)),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_what_is_made_refuses_what_does_not_fit(maker: str) -> None:
    """Each argument of each constructor and decorator, at once and not when it is used first."""
    signature, make = MAKERS[maker]
    types = declared_types(signature)
    types.pop("self", None)

    types.pop("function", None)  # of what cannot be called, below

    found = [
        misjudged(argument, name, type, raised_by(partial(make, **{argument: value})))
        for argument, type in types.items()
        for name, value in NONSENSE.items()
        if argument != "random" or name not in fits(type)  # it is called, and raises what it raises
    ]

    assert list(filter(None, found)) == []


def raised_by(call: Callable[[], Any]) -> Exception | None:
    """What a call raises."""
    try:
        call()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", NONSENSE)
def test_what_cannot_be_called_is_no_step_and_no_workflow(name: str) -> None:
    """None of this has a context as its first argument; a class and a function may be steps."""
    if name == "none":
        return  # `@step()` is for options
    value = NONSENSE[name]
    with pytest.raises(FlujoError, match="workflow"):
        workflow(value)
    if not callable(value):
        with pytest.raises(FlujoError, match="function"):
            step(value)


@pytest.mark.parametrize("name", NONSENSE)
def test_so_does_what_stands_beside_the_kernel(name: str) -> None:
    """Files of definitions, names of tasks, and what a client shows a server."""
    calls: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
        "path": (load_workflow, {"empty"}),
        "name": (task, {"empty", "NUL"}),
        "token": (lambda value: Client("unix:s", credentials=Credentials(token=value)), {"none", "empty"}),
        "ca": (lambda value: Client("unix:s", credentials=Credentials(ca=value)), {"none"}),
    }

    for argument, (call, may_be) in calls.items():
        raised = raised_by(partial(call, NONSENSE[name]))
        if name not in may_be:
            assert isinstance(raised, FlujoError), argument
            assert argument in str(raised)
        else:
            assert raised is None or isinstance(raised, FlujoError)


async def test_options_of_a_start_among_many_are_looked_at() -> None:
    """A name that there is not ended in an error of a task group, after others had begun."""
    async with Harness().kernel(doubling) as kernel:
        wrong: list[Any] = [{"nope": 1}, 5, None, [], "ab"]
        for options in wrong:
            with pytest.raises(FlujoError, match="option"):
                await kernel.start_runs([NewRun(doubling), NewRun(doubling, {}, options)])
        assert await kernel.count() == 0


NOTHING_TO_CALL = {
    "Context": "made by a kernel; its calls are below",
    "Step": "made by `step`",
    "Workflow": "made by `workflow`, and by who reads definitions",
    "Runs": "a protocol",
    "StoredRuns": "a protocol",
    "StateBackend": "written by who adds a backend",
    "Clock": "a protocol",
    "current_attempt": "takes nothing",
    **dict.fromkeys(["Attempt", "Wait"], "what a step is told, and answers"),
    **dict.fromkeys(
        [
            "CancelOutcome",
            "Delivery",
            "PauseOutcome",
            "PruneResult",
            "RunHandle",
            "Event",
            "Explanation",
            "Reason",
            "Why",
        ],
        "what calls return",
    ),
    **dict.fromkeys(
        ["Progress", "RunStatus", "RunSummary", "StepState", "StepStatus", "WorkflowState"], "what is read"
    ),
    **dict.fromkeys(["Statistics", "StepDurations", "WorkflowStatistics"], "what is read"),
    **dict.fromkeys(["Instant", "Order", "RunFilter", "StoredDefinition", "RunStart"], "for backends and loaders"),
    "SystemClock": "takes nothing",
}


def test_everything_public_is_here() -> None:
    """A name that is added to the package has to be tried, or said to take nothing from users."""
    errors = {name for name in flujo.kernel.__all__ if _is_error(getattr(flujo.kernel, name))}

    assert set(flujo.kernel.__all__) - errors == {
        *NOTHING_TO_CALL,
        "Kernel",
        "Observer",
        "RetryPolicy",
        "Retention",
        "step",
        "workflow",
    }


def _is_error(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Exception)


# -- calls of what is open ---------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """What calls are tried on, and the kernel whose runs they are about."""

    target: Any
    kernel: Kernel


async def opened(kind: str, stack: AsyncExitStack, folder: Path) -> Opened:
    """A kernel on a real store with a run `r` that waits, and what its calls are tried on."""
    backend = open_backend(f"sqlite:{folder / 'state.db'}")
    kernel = await stack.enter_async_context(Kernel(backend, [doubling, waiting], workspaces=folder / "workspaces"))
    if kind == "Client":
        await stack.enter_async_context(served(kernel, f"unix:{folder}/s"))
        return Opened(await stack.enter_async_context(Client(f"unix:{folder}/s", call_seconds=10)), kernel)
    handle = await kernel.start(waiting, run_id="r")
    return Opened({"Kernel": kernel, "Observer": kernel._observer, "RunHandle": handle}[kind], kernel)


CLASSES = {"Kernel": Kernel, "Observer": Observer, "Client": Client, "RunHandle": RunHandle}
METHODS = [
    (kind, method)
    for kind, cls in CLASSES.items()
    for method in dict.fromkeys(each.method for each in arguments_of(cls))
]
NOT_TRIED = {"drain", "close"}

ENDLESS = 0.3
"""Seconds after which a call that takes its nonsense, and then waits, is left."""


@pytest.fixture
def anyio_backend() -> str:
    """SQLite and gRPC run on asyncio."""
    return "asyncio"


@pytest.mark.parametrize(("kind", "method"), METHODS, ids=[f"{kind}.{method}" for kind, method in METHODS])
async def test_a_call_takes_what_fits_and_refuses_the_rest(kind: str, method: str, tmp_path: Path) -> None:
    """On a real store, over a real socket: what fits the type may be taken or refused, never by an error of others, and
    everything that is stored is read again."""
    async with AsyncExitStack() as stack:
        target, kernel = await opened(kind, stack, tmp_path)
        found = [
            await _try(target, argument, name, tmp_path)
            for argument in arguments_of(CLASSES[kind])
            if argument.method == method
            for name in NONSENSE
        ]
        assert list(filter(None, found)) == []
        for each in (await kernel.list(limit=1000)).runs:
            await kernel.inspect(each.run_id)
            await kernel.events(each.run_id)


async def _try(target: Any, argument: Argument, name: str, folder: Path) -> str | None:
    given = {**argument.needed, argument.name: NONSENSE[name]}
    if "target" in argument.needed:
        given["target"] = folder / "copy"
    raised: Exception | None = None
    try:
        with anyio.move_on_after(ENDLESS if name in fits(argument.type) else 60):
            await _called(partial(getattr(target, argument.method), **given))
    except Exception as error:
        raised = error
    return misjudged(argument.name, name, argument.type, raised)


async def _called(call: Callable[[], Any]) -> None:
    answer = call()
    if inspect.isasyncgen(answer):
        try:
            await anext(answer, None)
        finally:
            await answer.aclose()
    elif inspect.isawaitable(answer):
        await answer


@pytest.mark.parametrize("make", [lambda: kernel_blocking.Kernel(InMemoryBackend()), lambda: blocking.Client("unix:s")])
def test_the_blocking_facades_refuse_the_same(make: Callable[[], Any]) -> None:
    """In the thread of the caller, who has not opened it; a call that is refused before says so."""
    target = make()
    cls: Any = Kernel if isinstance(target, kernel_blocking.Kernel) else Client

    found = []
    for argument in arguments_of(cls):
        for name in NONSENSE.keys() - fits(argument.type):
            call = getattr(target, argument.method)
            raised = raised_by(partial(call, **{**argument.needed, argument.name: NONSENSE[name]}))
            if not isinstance(raised, KernelClosedError):  # some look at nothing before they are open
                found.append(misjudged(argument.name, name, argument.type, raised))

    assert list(filter(None, found)) == []


# -- calls of ctx ------------------------------------------------------------------------------------------------------

CTX_NEEDED: dict[str, dict[str, Any]] = {
    "map": {"function": body, "items": [1]},
    "run_child": {"workflow": "doubling"},
    "sleep": {"duration": 0},
    "wait_signal": {"signal": "go", "timeout": 0},
    "set_variable": {"name": "a", "value": 1},
    "variable": {"name": "a"},
    "skip": {"name": "a", "reason": "b"},
    "peek": {"name": "a"},
    "progress": {"done": 1},
    "now": {},
    "random": {},
    "uuid": {},
    "loop": {"loop": cast(Any, Loop)(body, body, plain_options(), body), "name": "a"},
    "rounds": {"rounds": cast(Any, Rounds)(*[None] * len(Rounds._fields)), "name": "a"},
    "step": {},
    "gather": {},
}
"""What else a call of `ctx` needs."""

TAKEN = {("progress", "message"): {"half a character"}}
"""What is taken although it does not fit: messages are cleaned."""

BY_PLACE = {"loop", "rounds"}
NOT_OF_USERS = {"run_program", "run_clean_up", "pause_without_workspace"}


def calls_of_ctx() -> Iterator[tuple[str, str, str]]:
    """The method, the argument and its type, of every call of `ctx`."""
    for method, call in inspect.getmembers(Context, inspect.isfunction):
        if method.startswith("_") or method in NOT_OF_USERS:
            continue
        for argument, type in declared_types(call).items():
            if argument not in ("self", "args", "kwargs", "positional", "named", "metrics"):
                yield method, argument, type


CTX_CALLS = list(calls_of_ctx())


@pytest.mark.parametrize("method", CTX_NEEDED)
async def test_a_call_of_ctx_refuses_what_does_not_fit(method: str) -> None:
    """Before anything is recorded: the run has no step when it ends."""
    found: list[str | None] = []

    @workflow()
    async def flow(ctx: Context) -> None:
        for _, argument, type in (each for each in CTX_CALLS if each[0] == method):
            for name in NONSENSE.keys() - fits(type) - TAKEN.get((method, argument), set()):
                raised: Exception | None = None
                try:
                    await _asked(ctx, method, argument, NONSENSE[name])
                except Exception as error:
                    raised = error
                found.append(misjudged(argument, name, type, raised))

    async with Harness().kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        state = await kernel.inspect("r")

    assert list(filter(None, found)) == []
    assert found or method == "gather"
    assert not state.steps


async def _asked(ctx: Context, method: str, argument: str, value: Any) -> None:
    needed = dict(CTX_NEEDED[method])
    if method == "step":
        function = value if argument == "function" else body
        answer = ctx.step(function, **({} if argument == "function" else {argument: value}))
    elif method in BY_PLACE:
        needed[argument] = value
        answer = getattr(ctx, method)(needed.pop(method), **needed)
    else:
        answer = getattr(ctx, method)(**{**needed, argument: value})
    if inspect.isawaitable(answer):
        await answer


async def test_gather_refuses_what_cannot_be_awaited() -> None:
    """By its name or its place; what stands beside it is closed, so that nobody hears of it again."""

    @workflow()
    async def flow(ctx: Context) -> None:
        for name in NONSENSE:
            with pytest.raises(FlujoError, match=r"\ba\b"):
                await ctx.gather(a=NONSENSE[name], b=ctx.sleep(0))
            with pytest.raises(FlujoError, match="branch 1"):
                await ctx.gather(ctx.sleep(0), NONSENSE[name])

    async with Harness().kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        assert not (await kernel.inspect("r")).steps


def test_every_call_of_ctx_is_here() -> None:
    """One that is added has to say what it needs."""
    assert {each[0] for each in CTX_CALLS} | {"gather"} == set(CTX_NEEDED)


@pytest.mark.parametrize("name", sorted(NONSENSE))
async def test_a_step_and_its_kernel_survive_values_of_any_kind(name: str) -> None:
    """As a result, an item, a payload, a variable or a default: taken and read back, or refused in our own words."""
    value = NONSENSE[name]

    @workflow(name="flow")
    async def flow(ctx: Context) -> None:
        async def give(_: Any = None) -> Any:
            return value

        for call in (
            lambda: ctx.step(give),
            lambda: ctx.step(give, value, name="argument"),
            lambda: ctx.map(give, [value], name="map"),
            lambda: ctx.map(give, [1], name="keyed", key=lambda item: value),
            lambda: ctx.set_variable("v", value),
            lambda: ctx.variable("w", value),
            lambda: ctx.run_child(doubling, {"number": value}, name="child"),
            lambda: ctx.wait_signal("s", type=value, timeout=0),
        ):
            try:
                await call()
            except* (FlujoError, ZeroDivisionError):
                pass

    async with Harness().kernel(flow, doubling, real_time=True) as kernel:
        await kernel.start(flow, run_id="r")
        with anyio.fail_after(60):
            assert (await kernel.wait("r")).status is RunStatus.COMPLETED
        await until(kernel, "r", "run_completed")
