"""What the simulated kernels run: three concurrent runs, their clients, and what their outputs must be.

    ingest   a step that fails twice and is retried, a durable sleep; more: cancelled steps, handled failures
    compare  a map one item of which is retried, a gather whose branches use equal step names, repeated
    approve  a signal sent before its wait; more: one posted by another process, and a race two steps win in one tick
    oversee  recorded values and a variable, a child that fails once and is resumed, another one that is given up; its
             client pauses it and lets it go on

Which of several concurrent steps finishes first is a real race, so an output has two parts. `fixed` must equal that of
an uninterrupted run. `order` must equal what the journal implies (`implied_order`): once an order is recorded, every
later life has to take the same path. Values pass through forms that differ before and after they are recorded (a tuple
is read back as a list), and the outputs tell which form the program has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from flujo.kernel import Context, RetryPolicy, StepFailed, Workflow, step, workflow
from flujo.kernel.events import EventRow, StepCompleted

from .world import current_life, decode

Order = dict[str, Any]
Output = dict[str, Any]


def _pace() -> float:
    """How many seconds one second of the scenario takes: 1 under virtual time."""
    return current_life().pace


# -- steps --------------------------------------------------------------------------------------------------------


@step
async def fetch() -> Any:
    """Fails twice, then returns a tuple, which is recorded as a JSON array."""
    body = await current_life().body(0.1)
    if body.attempt <= 2:
        raise ConnectionError("the line is down")
    return ("rows", 3)


@step
async def weigh(text: str) -> float:
    """Returns an int, which its annotation reads back as a float."""
    await current_life().body(0.1)
    return len(text)


@step
async def stall() -> None:
    """Takes longer than anybody waits for it."""
    await current_life().body(600)


@step
async def refuse() -> None:
    """Fails for good."""
    await current_life().body(0.1)
    raise PermissionError("not for you")


@step(name="measure", retry=RetryPolicy(max_attempts=2, delay=0.01, on_error=["TimeoutError"]))
async def measure(text: str) -> int:
    """One of its items needs a second attempt."""
    body = await current_life().body(0.2)
    if text == "ccc" and body.attempt == 1:
        raise TimeoutError("too slow")
    return len(text)


@step
async def visit() -> str:
    """Returns its own key."""
    return (await current_life().body(0.3)).step


@step
async def race(name: str) -> str:
    """Two racers wait for the starter and end in the very same tick, before the first can stop the other."""
    life = current_life()
    body = await life.body(0.3)
    if name == "starter":
        life.gate.set()
        await anyio.sleep_forever()
    await life.gate.wait()
    return body.step


@step
async def stumble() -> str:
    """Fails in its first generation."""
    if (body := await current_life().body(0.1)).generation == 1:
        raise ConnectionError("the line is down")
    return body.step


@step
async def note(text: str) -> tuple[str, str]:
    """Returns what it was given, beside its own key."""
    return (await current_life().body(0.05)).step, text


# -- programs -----------------------------------------------------------------------------------------------------


def retried() -> RetryPolicy:
    """The policy of `fetch`."""
    return RetryPolicy(max_attempts=3, delay=0.5 * _pace(), on_error=["ConnectionError"])


@workflow(name="ingest")
async def ingest(ctx: Context, full: bool) -> Output:
    page = await ctx.step(fetch, retry=retried())
    fixed: dict[str, Any] = {"page": page, "page_is": type(page).__name__}
    if full:
        weight = await ctx.step(weigh, "four")
        fixed["weight_is"] = type(weight).__name__
        with anyio.move_on_after(1 * _pace()) as patience:
            await ctx.step(stall)
        fixed["gave_up"] = patience.cancelled_caught
        try:
            await ctx.step(refuse)
        except StepFailed as failure:
            fixed["handled"] = [failure.step, failure.type]
        try:
            await ctx.gather(lost=ctx.step(stall), broken=ctx.step(refuse, name="break"))
        except* StepFailed as group:
            fixed["group"] = [each.step for each in group.exceptions if isinstance(each, StepFailed)]
    await ctx.sleep(5 * _pace())
    fixed["noted"] = await ctx.step(note, "the end")
    return {"fixed": fixed, "order": {}}


@workflow(name="compare")
async def compare(ctx: Context, full: bool) -> Output:
    words = ["a", "bb", "ccc", "dddd", "eeeee"] if full else ["a", "ccc"]
    sizes = await ctx.map(measure, words, limit=2)
    order: list[str] = []

    async def branch() -> list[str]:
        mine: list[str] = []
        for _ in range(3 if full else 2):
            mine.append(await ctx.step(visit))
            order.append(mine[-1])
        return mine

    branches = await ctx.gather(a=branch(), b=branch())
    first = order[0].partition("/")[0]
    won = await ctx.step(note, "won", name=f"won-{first}")
    return {"fixed": {"sizes": sizes, "branches": branches}, "order": {"visits": order, "won": won}}


def _order_of_compare(rows: Sequence[EventRow]) -> Order:
    visits = [key for key in _completed(rows) if "visit" in key]
    return {"visits": visits, "won": [f"won-{visits[0][0]}", "won"]}


@workflow(name="approve")
async def approve(ctx: Context, full: bool) -> Output:
    draft = await ctx.step(note, "draft")
    early = await ctx.wait_signal("early")
    fixed: dict[str, Any] = {"draft": draft, "early": early}
    order: Order = {}
    if full:
        await ctx.sleep(1 * _pace())
        fixed["late"] = await ctx.wait_signal("late", timeout=3600)
        finished: list[str] = []

        async def run(name: str) -> None:
            finished.append(await ctx.step(race, name, name=name))
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for name in ("race-x", "race-y", "starter"):
                group.start_soon(run, name)
        order["finished"] = finished
    fixed["noted"] = await ctx.step(note, "approved")
    return {"fixed": fixed, "order": order}


def _order_of_approve(rows: Sequence[EventRow]) -> Order:
    finished = [key for key in _completed(rows) if key.startswith("race-")]
    return {"finished": finished} if finished else {}


@workflow(name="errand")
async def errand(ctx: Context, text: str) -> list[str]:
    carried = await ctx.step(note, text)
    await ctx.sleep(1 * _pace())
    return [*carried, await ctx.step(stumble)]


@workflow(name="vigil")
async def vigil(ctx: Context) -> None:
    await ctx.step(stall)


@workflow(name="oversee")
async def oversee(ctx: Context, full: bool) -> Output:
    lot, name, began = await ctx.random(), await ctx.uuid(), await ctx.now()
    await ctx.set_variable("lot", lot)
    _, noted = await ctx.step(note, f"{lot} {name} {began}")
    # What was read once is read again by every later life, or it would differ from what its first one has noted.
    fixed: dict[str, Any] = {"same": noted == f"{lot} {name} {began}"}
    fixed["errand"] = await ctx.run_child(errand, {"text": "far"}, retry=retried())
    with anyio.move_on_after(1 * _pace()) as patience:
        await ctx.run_child(vigil)
    fixed["gave_up"] = patience.cancelled_caught
    fixed["variable"] = await ctx.variable("lot") == lot
    fixed["noted"] = await ctx.step(note, "done")
    return {"fixed": fixed, "order": {}}


def _no_order(rows: Sequence[EventRow]) -> Order:
    return {}


def _completed(rows: Sequence[EventRow]) -> list[str]:
    """The keys of the steps that completed, in the order the journal has them."""
    facts = [decode(row).fact for row in rows]
    return [fact.step for fact in facts if isinstance(fact, StepCompleted)]


# -- scenarios ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """One run, what its client does, and what its journal implies about its output."""

    run_id: str
    workflow: Workflow
    inputs: Mapping[str, Any]
    signals: Sequence[str] = ()
    posts: Sequence[str] = ()  # signals sent by another process, once the run waits for them
    implied_order: Callable[[Sequence[EventRow]], Order] = _no_order
    pauses: bool = False  # its client pauses it once, and lets it go on whenever it is paused
    children: Mapping[str, Workflow] = field(default_factory=dict)  # by run id


@dataclass(frozen=True)
class Scenario:
    """Concurrent runs."""

    name: str
    plans: Sequence[Plan]

    @property
    def workflows(self) -> list[Workflow]:
        return [each for plan in self.plans for each in (plan.workflow, *plan.children.values())]

    @property
    def run_ids(self) -> list[str]:
        """Of all runs there may be, children included."""
        return [run_id for plan in self.plans for run_id in (plan.run_id, *plan.children)]


LEAN = Scenario(
    "lean",
    [
        Plan("ingest-1", ingest, {"full": False}),
        Plan("compare-1", compare, {"full": False}, implied_order=_order_of_compare),
        Plan("approve-1", approve, {"full": False}, ["early"]),
    ],
)
"""Just the features that recovery has to cope with: retry, sleep, map, gather, a signal before its wait."""

FULL = Scenario(
    "full",
    [
        Plan("ingest-1", ingest, {"full": True}),
        Plan("compare-1", compare, {"full": True}, implied_order=_order_of_compare),
        Plan("approve-1", approve, {"full": True}, ["early"], ["late"], _order_of_approve),
    ],
)
"""The same three runs with everything else that was ever found to be delicate."""

NESTED = Scenario(
    "nested",
    [
        Plan(
            "oversee-1",
            oversee,
            {"full": True},
            pauses=True,
            children={"oversee-1.errand": errand, "oversee-1.vigil": vigil},
        ),
        Plan("approve-1", approve, {"full": False}, ["early"]),
    ],
)
"""A run with children, which is paused and goes on, beside another one."""

SCENARIOS = {scenario.name: scenario for scenario in (LEAN, FULL, NESTED)}
