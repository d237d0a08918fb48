"""Small random programs, and what each must return: one workflow, `play`, whose input is the script it follows.

A script is a list of operations, plain JSON, drawn from a seed by `draw`. `play` follows it with a Context. `Model`
reads the same script without any kernel and says what the run has to return if nothing ever befalls it, counting step
keys by rules of its own. Only what a life has drawn by lot (`now`, `random`, `uuid`, who won a race) is looked up in
the journal: there, it must have stayed what it was.

    ["step", name, seconds, fails, text]      fails: how many attempts fail, and are retried
    ["fail", name, text]                      fails for good in its first generation: the run fails until it is resumed
    ["refuse", name]                          fails for good, and the program handles that
    ["map", name, [[seconds, fails, text]…], limit]
    ["gather", [script…], named]              branches with equal step names
    ["sleep", seconds]                        durable
    ["signal", name]                          somebody sends it, sooner or later
    ["deaf", name, seconds]                   nobody ever sends this one
    ["draw", kind]                            a recorded value: now, random or uuid
    ["set", name, value]                      a variable
    ["progress", done]                        of the run
    ["child", name, script, fails]            a run of its own; with fails, one that fails and is resumed by its parent
    ["race", name]                            two steps, of which the first to end cancels the other
    ["patience", name, seconds]               a step that is given up
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import anyio

from flujo.kernel import Context, RetryPolicy, StepFailed, step, workflow
from flujo.kernel.events import EventRow, RunResumed, StepCompleted, StepWaiting, ValueRecorded
from flujo.kernel.values import decode as decode_value

from .world import current_life, decode

Script = list[Any]
Output = Any

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RETRIED = RetryPolicy(max_attempts=3, delay=0.3, on_error=["ConnectionError"])
_ONCE = RetryPolicy()

# -- drawing ------------------------------------------------------------------------------------------------------

NAMES = ("fetch", "check", "store")
SECONDS = (0.0, 0.05, 0.05, 0.3)
NAPS = (0.01, 0.5, 4, 30)


class Room(NamedTuple):
    """What a script may hold: how deep it may branch, whether it is a child's, which signals are left to be sent."""

    depth: int
    signals: list[str]
    is_child: bool = False


def draw(lots: random.Random, room: Room, longest: int = 5) -> Script:
    """A random script."""
    return [_draw_one(lots, room) for _ in range(lots.randint(1, longest))]


def _draw_one(lots: random.Random, room: Room) -> Any:
    kinds = ["step"] * 6 + ["sleep", "sleep", "signal", "signal", "draw", "draw", "map", "set", "refuse", "progress"]
    if room.depth:
        kinds += ["gather", "gather", "map", "race", "patience", "deaf", "fail", "fail", "child", "child"]
    kind = lots.choice(kinds)
    name = lots.choice(NAMES)
    match kind:
        case "step":
            return _draw_step(lots, name)
        case "fail" if not room.is_child:
            return ["fail", name, _text(lots)]
        case "refuse":
            return ["refuse", name]
        case "map":
            items = [_draw_step(lots, name)[2:] for _ in range(lots.randint(2, 4))]
            return ["map", f"each-{name}", items, lots.choice((1, 2, 9))]
        case "gather":
            within = room._replace(depth=room.depth - 1)
            branches = [draw(lots, within, 3) for _ in range(lots.choice((2, 2, 3)))]
            return ["gather", branches, lots.random() < 0.5]
        case "sleep":
            return ["sleep", lots.choice(NAPS)]
        case "signal" if room.signals and not room.is_child:
            return ["signal", lots.choice(room.signals)]
        case "deaf":
            return ["deaf", "silence", lots.choice(NAPS)]
        case "draw":
            return ["draw", lots.choice(("now", "random", "uuid"))]
        case "set":
            return ["set", lots.choice(("x", "y")), lots.randrange(100)]
        case "progress":
            return ["progress", lots.randrange(100)]
        case "child" if not room.is_child:
            script = draw(lots, Room(room.depth - 1, [], is_child=True), 3)
            return ["child", f"sub-{name}", script, lots.random() < 0.2]
        case "race":
            return ["race", f"race{lots.randrange(10**6)}"]
        case "patience":
            return ["patience", f"stall-{name}", lots.choice((0.1, 2))]
        case _:
            return _draw_step(lots, name)


def _draw_step(lots: random.Random, name: str) -> Any:
    return ["step", name, lots.choice(SECONDS), lots.choice((0, 0, 0, 1, 2)), _text(lots)]


def _text(lots: random.Random) -> str:
    return f"{lots.randrange(10**4)}"


def signals_of(script: Script) -> list[str]:
    """The signals that a script waits for, each as often as it does."""
    found: list[str] = []
    for operation in script:
        if operation[0] == "signal":
            found.append(operation[1])
        elif operation[0] == "gather":
            for branch in operation[1]:
                found += signals_of(branch)
    return found


def kinds_of(script: Script) -> Iterator[str]:
    """The kinds of operations in a script and in all within it."""
    for operation in script:
        yield operation[0]
        if operation[0] == "gather":
            for branch in operation[1]:
                yield from kinds_of(branch)
        elif operation[0] == "child":
            yield from kinds_of(operation[2])


# -- playing ------------------------------------------------------------------------------------------------------


@step
async def work(seconds: float, fails: int, text: str) -> Any:
    """Fails a few times, then returns a tuple, which is recorded as an array."""
    life = current_life()
    body = await life.body(seconds)
    if life.world.failures_of(body) < fails:
        raise ConnectionError("the line is down")
    return (body.step, text)


@step(name="each", retry=_RETRIED)
async def each(item: list[Any]) -> Any:
    """The same as an item of a map."""
    return await work.function(*item)


@step
async def fail_once(text: str) -> Any:
    """Fails for good in its first generation."""
    body = await current_life().body(0.05)
    if body.generation == 1:
        raise LookupError("not yet")
    return (body.step, text)


@step
async def refuse() -> None:
    """Fails for good, always."""
    await current_life().body(0.05)
    raise PermissionError("not for you")


@step
async def stall() -> None:
    """Takes longer than anybody waits for it."""
    await current_life().body(600)


@workflow(name="play")
async def play(ctx: Context, script: list[Any]) -> Output:
    return await _play(ctx, script)


async def _play(ctx: Context, script: Script) -> Output:
    return [await _play_one(ctx, operation) for operation in script]


async def _play_one(ctx: Context, operation: Any) -> Output:
    match operation:
        case ["step", name, seconds, fails, text]:
            return _seen(await ctx.step(work, seconds, fails, text, name=name, retry=_RETRIED))
        case ["fail", name, text]:
            return _seen(await ctx.step(fail_once, text, name=f"late-{name}"))
        case ["refuse", name]:
            try:
                return await ctx.step(refuse, name=f"no-{name}")
            except StepFailed as failure:
                return ["refused", failure.step, failure.type]
        case ["map", name, items, limit]:
            return [_seen(output) for output in await ctx.map(each, items, limit=limit, name=name)]
        case ["gather", branches, named]:
            works = [_play(ctx, branch) for branch in branches]
            if named:
                return await ctx.gather(**dict(zip("abc", works, strict=False)))
            return await ctx.gather(*works)
        case ["sleep", seconds]:
            return await ctx.sleep(seconds)
        case ["signal", name]:
            return (await ctx.wait_signal(name))["name"]
        case ["deaf", name, seconds]:
            try:
                return await ctx.wait_signal(name, timeout=seconds)
            except StepFailed as failure:
                return ["unheard", failure.step, failure.type]
        case ["draw", "now"]:
            return (await ctx.now() - _UNIX_EPOCH) // timedelta(microseconds=1)
        case ["draw", "random"]:
            return await ctx.random()
        case ["draw", "uuid"]:
            return str(await ctx.uuid())
        case ["set", name, value]:
            await ctx.set_variable(name, value)
            return None
        case ["progress", done]:
            return ctx.progress(done, 100)
        case ["child", name, script, fails]:
            inputs = {"script": [["fail", "child", "x"], *script] if fails else script}
            retry = RetryPolicy(max_attempts=2, delay=0.1) if fails else _ONCE
            return await ctx.run_child(play, inputs, name=name, retry=retry)
        case ["race", name]:
            return await _race(ctx, name)
        case ["patience", name, seconds]:
            with anyio.move_on_after(seconds) as patience:
                await ctx.step(stall, name=name)
            return patience.cancelled_caught
    raise AssertionError(operation)


def _seen(output: Any) -> Any:
    """What the program has received, and in which form: an array, not the tuple that the body returned."""
    return [type(output).__name__, *output]


async def _race(ctx: Context, name: str) -> str:
    finished: list[str] = []

    async def run(key: str) -> None:
        finished.append((await ctx.step(work, 0.2, 0, "", name=key))[0])
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for key in _racers(name):
            group.start_soon(run, key)
    return finished[0]


def _racers(name: str) -> tuple[str, str]:
    return f"{name}-x", f"{name}-y"


# -- what it must come to -----------------------------------------------------------------------------------------


class Model:
    """What a run returns that nothing befalls. `rows_of` reads the journal of a run, for what was drawn by lot."""

    def __init__(self, run_id: str, rows_of: Callable[[str], Sequence[EventRow]]) -> None:
        self._rows_of = rows_of
        self._values: dict[str, Any] = {}
        self._completed: list[str] = []
        self._children: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        for row in rows_of(run_id):
            match fact := decode(row).fact:
                case ValueRecorded():
                    self._values[fact.step] = decode_value(fact.output)
                case StepCompleted():
                    self._completed.append(fact.step)
                case RunResumed():
                    self._completed = [done for done in self._completed if done not in fact.reset]
                case StepWaiting(child=str(child)):
                    self._children[fact.step] = child

    def output(self, script: Script) -> Output:
        """The output of a run that follows this script."""
        return self._branch(script, "", {})

    def texts(self, script: Script) -> Mapping[str, str]:
        """What the steps that fail once return then, by their keys."""
        self.output(script)
        return self._texts

    def _branch(self, script: Script, prefix: str, counts: dict[str, int]) -> list[Output]:
        return [self._one(operation, prefix, counts) for operation in script]

    def _one(self, operation: Any, prefix: str, counts: dict[str, int]) -> Output:
        def key(name: str) -> str:
            counts[name] = counts.get(name, 0) + 1
            return prefix + (name if counts[name] == 1 else f"{name}#{counts[name]}")

        match operation:
            case ["step", name, _, _, text]:
                return ["list", key(name), text]
            case ["fail", name, text]:
                full = key(f"late-{name}")
                self._texts[full] = text
                return ["list", full, text]
            case ["refuse", name]:
                return ["refused", key(f"no-{name}"), "PermissionError"]
            case ["map", name, items, _]:
                base = key(name)
                return [["list", f"{base}[{index}]", item[2]] for index, item in enumerate(items)]
            case ["gather", branches, True]:
                keys = [(name, key(name)) for name, _ in zip("abc", branches, strict=False)]
                pairs = zip(keys, branches, strict=True)
                return {name: self._branch(branch, f"{whole}/", {}) for (name, whole), branch in pairs}
            case ["gather", branches, False]:
                base = key("gather")
                return [self._branch(branch, f"{base}[{index}]/", {}) for index, branch in enumerate(branches)]
            case ["sleep", _]:
                return None
            case ["signal", name]:
                key(name)
                return name
            case ["deaf", name, _]:
                return ["unheard", key(name), "TimeoutError"]
            case ["draw", kind]:
                return self._values.get(key(kind), "nothing was recorded")
            case ["set" | "progress", *_]:
                return None
            case ["child", name, script, fails]:
                child = self._children.get(key(name), "")
                output = Model(child, self._rows_of).output(script)
                return [["list", "late-child", "x"], *output] if fails else output
            case ["race", name]:
                racers = [prefix + racer for racer in _racers(name)]
                return next((done for done in self._completed if done in racers), "nobody")
            case ["patience", name, _]:
                key(name)
                return True
        raise AssertionError(operation)


def variables_of(script: Script) -> Mapping[str, Any]:
    """The variables that a run leaves which follows this script, but for those that a concurrent branch sets."""
    last = {operation[1]: operation[2] for operation in script if operation[0] == "set"}
    for operation in script:
        if operation[0] == "gather":
            for name in _set_within(operation):
                last.pop(name, None)
    return last


def _set_within(operation: Any) -> Iterator[str]:
    if operation[0] == "set":
        yield operation[1]
    elif operation[0] == "gather":
        for branch in operation[1]:
            for each_operation in branch:
                yield from _set_within(each_operation)
