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

What programs do with the event loop themselves (flow.py):

    ["within", how, script]                   under a deadline that is far away
    ["give_up", how, seconds, script]         under one that passes: the script waits for what never comes
    ["guard", how, script]                    inside of a handler
    ["group", how, [script…]]                 in tasks of the program's own making
    ["beside", how, seconds, later, script]   while plain code goes on, which does the script `later` in so many seconds
    ["never", kind, name]                     what never comes
    ["nap", name, seconds]                    sleep and signal by names of their own: in tasks that the kernel did not
    ["hear", signal, name]                    start, every name has to be one of a kind
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, cast

import anyio

from flujo.kernel import Context, RetryPolicy, StepFailed, step, workflow
from flujo.kernel.events import EventRow, RunResumed, StepCompleted, StepWaiting, ValueRecorded
from flujo.kernel.values import decode as decode_value

from .flow import DEADLINES, GAVE_UP, GROUPS, HANDLERS, LOOSE, Flow, Work, beside, guarded, side_by_side, within
from .world import current_life, decode

Script = list[Any]
Output = Any

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RETRIED = RetryPolicy(max_attempts=3, delay=0.3, on_error=["ConnectionError"])
_ONCE = RetryPolicy()
_EVER = RetryPolicy(max_attempts=100_000, delay=0.4, on_error=["ConnectionError"])

# -- drawing ------------------------------------------------------------------------------------------------------

NAMES = ("fetch", "check", "store")
SECONDS = (0.0, 0.05, 0.05, 0.3)
NAPS = (0.01, 0.5, 4, 30)


DEADLINE = 5 * 3600.0
"""Seconds that are more than any script takes."""

TIME = 4.0
"""Seconds that a timed workflow has."""


class Room(NamedTuple):
    """What a script may hold: how deep it may branch, whether it is a child's, which signals are left to be sent,
    whether it uses the event loop itself, and whether a task follows it that the kernel did not start."""

    depth: int
    signals: list[str]
    is_child: bool = False
    uses_loop: bool = False
    is_foreign: bool = False


def draw(lots: random.Random, room: Room, longest: int = 5) -> Script:
    """A random script."""
    return [_draw_one(lots, room) for _ in range(lots.randint(1, longest))]


def _draw_one(lots: random.Random, room: Room) -> Any:
    kinds = ["step"] * 6 + ["sleep", "sleep", "signal", "signal", "draw", "draw", "map", "set", "refuse", "progress"]
    if room.depth:
        kinds += ["gather", "gather", "map", "race", "patience", "deaf", "fail", "fail", "child", "child"]
    if room.uses_loop:
        return _draw_wide(lots, room, kinds)
    return _draw_kind(lots, room, lots.choice(kinds), lots.choice(NAMES))


_NOT_FOREIGN = ("sleep", "signal", "draw", "set", "gather")
"""What has no name of its own, or may have it twice, or is set in an order that depends on who is first."""


def _draw_wide(lots: random.Random, room: Room, kinds: list[str]) -> Any:
    """One of these kinds, or of those that use the event loop themselves."""
    kinds = [*kinds, "guard"] + ["guard"] * 2 * (room.depth > 0)
    if room.depth:
        kinds += ["within", "within", "give_up", "give_up", "give_up", "group", "group", "beside", "beside", "beside"]
    name = lots.choice(NAMES)
    if room.is_foreign:
        kinds = [kind for kind in kinds if kind not in _NOT_FOREIGN] + ["nap", "nap"] + ["hear"] * bool(room.signals)
        name = f"{name}{lots.randrange(10**6)}"
    return _draw_kind(lots, room, lots.choice(kinds), name)


def _draw_kind(lots: random.Random, room: Room, kind: str, name: str) -> Any:
    within = room._replace(depth=room.depth - 1)
    foreign = within._replace(is_foreign=True)
    match kind:
        case "within":
            how = lots.choice(DEADLINES)
            return ["within", how, draw(lots, foreign if how == "asyncio.wait_for" else within, 2)]
        case "give_up":
            script = [draw_never(lots)]
            if lots.random() < 0.4:
                script = [["guard", lots.choice(HANDLERS), script]]
            return ["give_up", lots.choice(DEADLINES), lots.choice((0.1, 2)), script]
        case "guard":
            return ["guard", lots.choice(HANDLERS), draw(lots, room._replace(depth=max(0, room.depth - 1)), 2)]
        case "group":
            branches = [draw(lots, foreign, 2) for _ in range(lots.choice((2, 2, 3)))]
            return ["group", lots.choice(GROUPS), branches]
        case "beside":
            later = draw(lots, Room(0, [], is_child=True, uses_loop=True, is_foreign=True), 1)
            return ["beside", lots.choice(LOOSE), lots.choice((0.02, 0.4, 3)), later, draw(lots, within, 2)]
        case "nap":
            return ["nap", name, lots.choice(NAPS)]
        case "hear" if room.signals and not room.is_child:
            return ["hear", lots.choice(room.signals), f"hear-{name}"]
        case "deaf" if room.is_foreign:
            return ["deaf", f"silence-{name}", lots.choice(NAPS)]
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
            script = draw(lots, Room(room.depth - 1, [], is_child=True, uses_loop=room.uses_loop), 3)
            return ["child", f"sub-{name}", script, lots.random() < 0.2]
        case "race":
            return ["race", f"race{lots.randrange(10**6)}"]
        case "patience":
            return ["patience", f"stall-{name}", lots.choice((0.1, 2))]
        case _:
            return _draw_step(lots, name)


def draw_never(lots: random.Random) -> Any:
    """A wait for what never comes."""
    kind = lots.choice(("signal", "signal", "step", "child", "backoff", "map", "sleep", "plain"))
    return ["never", kind, f"never{lots.randrange(10**6)}"]


def _draw_step(lots: random.Random, name: str) -> Any:
    return ["step", name, lots.choice(SECONDS), lots.choice((0, 0, 0, 1, 2)), _text(lots)]


def _text(lots: random.Random) -> str:
    return f"{lots.randrange(10**4)}"


def signals_of(script: Script) -> list[str]:
    """The signals that a script waits for, each as often as it does."""
    found: list[str] = []
    for operation in script:
        if operation[0] in ("signal", "hear"):
            found.append(operation[1])
        for part in _parts(operation):
            found += signals_of(part)
    return found


def _parts(operation: Any) -> Sequence[Script]:
    """The scripts that an operation holds, for the same run."""
    match operation:
        case ["gather", branches, _] | ["group", _, branches]:
            return cast("list[Script]", branches)
        case ["within" | "guard", _, script] | ["give_up", _, _, script]:
            return [script]
        case ["beside", _, _, later, script]:
            return [later, script]
    return []


def kinds_of(script: Script) -> Iterator[str]:
    """The kinds of operations in a script and in all within it."""
    for operation in script:
        yield operation[0]
        for part in [operation[2]] if operation[0] == "child" else _parts(operation):
            yield from kinds_of(part)


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


@step
async def fail_always() -> None:
    """Fails at every attempt."""
    await current_life().body(0.05)
    raise ConnectionError("the line stays down")


@step
async def stall_for_ever(item: str) -> None:
    """Takes longer than an episode."""
    await current_life().body(10 * DEADLINE)


@workflow(name="play")
async def play(ctx: Context, script: list[Any]) -> Output:
    return await _play(ctx, Flow(current_life().begin_stay(ctx.run_id)), script)


@workflow(name="timed", timeout=TIME)
async def timed(ctx: Context, script: list[Any]) -> Output:
    return await _play(ctx, Flow(current_life().begin_stay(ctx.run_id)), script)


async def _play(ctx: Context, flow: Flow, script: Script) -> Output:
    return [await _play_one(ctx, flow, operation) for operation in script]


async def _play_one(ctx: Context, flow: Flow, operation: Any) -> Output:
    if operation[0] in ("within", "give_up", "guard", "group", "beside"):
        return await _play_wide(ctx, flow.deeper(), operation)
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
            works = [_play(ctx, flow.deeper(), branch) for branch in branches]
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
        case ["nap", name, seconds]:
            return await ctx.sleep(seconds, name=name)
        case ["hear", signal, name]:
            return (await ctx.wait_signal(signal, name=name))["name"]
        case ["never", kind, name]:
            return await _wait_in_vain(ctx, kind, name)
    raise AssertionError(operation)


async def _wait_in_vain(ctx: Context, kind: str, name: str) -> Output:
    match kind:
        case "signal":
            return await ctx.wait_signal("silence", name=name)
        case "step":
            return await ctx.step(stall_for_ever, "", name=name)
        case "child":
            return await ctx.run_child(play, {"script": [["never", "signal", name]]}, name=name)
        case "backoff":
            return await ctx.step(fail_always, name=name, retry=_EVER)
        case "map":
            return await ctx.map(stall_for_ever, ["a", "b"], name=name)
        case "sleep":
            return await ctx.sleep("30d", name=name)
    return await anyio.sleep_forever()


async def _play_wide(ctx: Context, flow: Flow, operation: Any) -> Output:
    """Follow what uses the event loop itself, at a place of its own in the program."""

    def follow(script: Script) -> Work:
        return partial(_play, ctx, flow, script)

    match operation:
        case ["within", how, script]:
            output = await within(how, DEADLINE, follow(script))
        case ["give_up", how, seconds, script]:
            output = await within(how, seconds, follow(script))
        case ["guard", how, script]:
            output = await guarded(flow, how, follow(script))
        case ["group", how, branches]:
            output = await side_by_side(how, [follow(branch) for branch in branches])
        case ["beside", how, seconds, later, script]:
            output = await beside(flow, how, seconds, follow(script), follow(later))
        case _:
            raise AssertionError(operation)
    flow.goes_on()
    return output


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
            case ["nap", *_]:
                return None
            case ["hear", name, _]:
                return name
            case ["give_up", *_]:
                return GAVE_UP
            case ["within" | "guard", _, script]:
                return self._branch(script, prefix, counts)
            case ["group", _, branches]:
                return [self._branch(branch, prefix, counts) for branch in branches]
            case ["beside", _, _, later, script]:
                return [self._branch(script, prefix, counts), self._branch(later, prefix, counts)]
        raise AssertionError(operation)


def variables_of(script: Script) -> Mapping[str, Any]:
    """The variables that a run leaves which follows this script, but for those that a concurrent branch sets."""
    flat = list(_in_a_row(script))
    last = {operation[1]: operation[2] for operation in flat if operation[0] == "set"}
    for operation in flat:
        if operation[0] != "set":
            for name in _set_within(operation):
                last.pop(name, None)
    return last


def _in_a_row(script: Script) -> Iterator[Any]:
    """The operations of a script, and of those within it that the same task follows."""
    for operation in script:
        if operation[0] in ("within", "guard", "beside"):
            yield from _in_a_row(operation[-1])
        else:
            yield operation


def _set_within(operation: Any) -> Iterator[str]:
    if operation[0] == "set":
        yield operation[1]
    for part in _parts(operation):
        for each_operation in part:
            yield from _set_within(each_operation)
