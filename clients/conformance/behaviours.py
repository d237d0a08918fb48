"""What every client must do, numbered. Each behaviour is judged from what the driver of the client prints."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import anyio

from flujo.client import Client

from . import newer
from .driving import CallError, Driver
from .proxies import Proxy, proxied
from .serving import Server

MANY = 2500
"""Runs to page through."""
PAGES_PREFIX = "page-"
LONG_RUN = "long-run"
LONG_RUN_EVENTS = 5000
FOLLOWS = 300
OUTPUT_BYTES = 3 * 1024 * 1024
MOST_STARTS = 1000
LARGE_STARTS, LARGE_START_BYTES = 50, 150_000
"""Together they are more than one message of gRPC has room for."""
SOON = 5.0
"""Seconds in which what ought to happen at once has happened, on a machine that is busy."""


class Failed(Exception):
    """The client did something else."""


class NotHere(Exception):
    """There is nothing to be tried over this transport."""


def require(holds: object, otherwise: str) -> None:
    """Raise Failed unless it holds."""
    if not holds:
        raise Failed(otherwise)


def require_equal(what: str, found: object, wanted: object) -> None:
    """Raise Failed unless both are the same."""
    if found != wanted:
        raise Failed(f"{what}: {_short(found)}, and not {_short(wanted)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:160]}…{text[-20:]}"


class Trial(NamedTuple):
    """One client before one server: its driver, with the server's `client` of the one who judges."""

    driver: Driver
    server: Server
    judge: Client
    prefix: str
    newer: str

    def run_id(self, name: str) -> str:
        """An id of the client's own."""
        return f"{self.prefix}-{name}"

    async def open(self, name: str, address: str | None = None, **options: Any) -> None:
        """Let the driver make a client; without other options as an administrator."""
        shown = options.pop("shown", self.server.place.admin)
        await self.driver.call("open", client=name, address=address or self.server.place.address, **shown, **options)

    @asynccontextmanager
    async def through_proxy(self, name: str, **options: Any) -> AsyncIterator[Proxy]:
        """A client of the driver that reaches the server through a proxy."""
        async with proxied(self.server.place.address, self.server.folder) as proxy:
            await self.open(name, proxy.address, **options)
            yield proxy

    async def gated(self, name: str) -> str:
        """Start a run that waits in its middle, and return its id."""
        run_id = self.run_id(name)
        await self.judge.start("gated", {}, run_id=run_id)
        return run_id


async def follow_through(trial: Trial, client: str, name: str, at_the_gate: Callable[[], Awaitable[None]]) -> None:
    """Follow a gated run, do something in its middle, let it go on, and require every event once, and the end."""
    run_id = await trial.gated(name)
    seqs: list[int] = []
    answer: dict[str, Any] = {}
    async for line in trial.driver.follow(client=client, run_id=run_id):
        if "ok" in line:
            answer = line["ok"]
            break
        seqs.append(int(line["event"]["seq"]))
        if line["event"]["type"] == "step_waiting":
            await at_the_gate()
            await trial.judge.signal(run_id, "go", name)
    head = (await trial.judge.summary(run_id)).seq
    require_equal("the events", seqs, list(range(1, head + 1)))
    require_equal("the status at the end", answer.get("status"), "completed")


async def refused(call: Awaitable[Any], what: str) -> CallError:
    """The error that a call ends in."""
    try:
        answer = await call
    except CallError as error:
        return error
    raise Failed(f"{what} was not refused, but answered {_short(answer)}")


def require_error(error: CallError, code: str, reason: str) -> None:
    """Require an error of this kind. Clients of Python tell no code where there is a reason."""
    require_equal("the error", (error.code or code, error.reason), (code, reason))


async def start_twice(trial: Trial) -> None:
    """the same start twice makes one run"""
    run_id = trial.run_id("twice")
    asked = {"workflow": "echoing", "inputs": '{"value": 1}', "run_id": run_id, "labels": {"of": "twice"}}
    first = await trial.driver.call("start", **asked)
    second = await trial.driver.call("start", **asked)
    require_equal("the answers", [first, second], [{"run_id": run_id, "created": each} for each in (True, False)])
    by_request = {"workflow": "echoing", "request_id": run_id}
    first, second = [await trial.driver.call("start", **by_request) for _ in range(2)]
    require_equal("the run of the same request", second, {**first, "created": False})
    free = [await trial.driver.call("start", workflow="echoing") for _ in range(2)]
    require(free[0]["run_id"] != free[1]["run_id"], "two starts without ids were taken for one")


async def other_input(trial: Trial) -> None:
    """other input under the same id is refused"""
    run_id = trial.run_id("other")
    await trial.driver.call("start", workflow="echoing", inputs='{"value": 1}', run_id=run_id)
    again = trial.driver.call("start", workflow="echoing", inputs='{"value": 2}', run_id=run_id)
    error = await refused(again, "other input")
    require_error(error, "ALREADY_EXISTS", "RUN_EXISTS")


async def follow_cut(trial: Trial) -> None:
    """a follow goes on after its connection was cut"""
    async with trial.through_proxy("cut") as proxy:

        async def cut() -> None:
            proxy.cut()

        await follow_through(trial, "cut", "cut", cut)
        require(proxy.made > 1, "no second connection was made")


async def follow_silent(trial: Trial) -> None:
    """a follow goes on after its connection went silent"""
    async with trial.through_proxy("silent") as proxy:

        async def silence() -> None:
            proxy.go_silent()

        await follow_through(trial, "silent", "silent", silence)
        require(proxy.made > 1, "no second connection was made")
        await trial.driver.call("get", client="silent", run_id=trial.run_id("silent"))


async def follow_killed(trial: Trial) -> None:
    """a follow goes on over SIGKILL and a restart of the server"""

    async def kill() -> None:
        await trial.server.stop(signal.SIGKILL)
        await trial.server.start()

    await follow_through(trial, "main", "killed", kill)


async def draining(trial: Trial) -> None:
    """a server that closes is told from one that fails, and a follow finds the next one"""

    async def restart() -> None:
        await trial.server.stop(signal.SIGTERM)
        await trial.server.start()

    await follow_through(trial, "main", "drained", restart)
    await trial.driver.call("open", client="newer", address=trial.newer)
    error = await refused(trial.driver.call("get", client="newer", run_id=newer.CLOSING), "a call while it closes")
    require_error(error, "UNAVAILABLE", "SERVER_STOPPING")


async def end_after_resume(trial: Trial) -> None:
    """a follow ends with the end message, not with an event"""
    run_id = trial.run_id("resumed")
    await trial.driver.call("start", workflow="fragile", run_id=run_id)
    failed = await trial.driver.call("wait", run_id=run_id)
    require_equal("the status", failed["status"], "failed")
    followed = await followed_types(trial, run_id)
    require_equal("the first end", (followed[0][-1], followed[1]), ("run_failed", "failed"))
    await trial.driver.call("resume", run_id=run_id, inputs='{"works": true}')
    await trial.judge.wait(run_id)
    types, status = await followed_types(trial, run_id)
    require("run_failed" in types[:-1], f"the failure is not among {types}")
    require_equal("the second end", (types[-1], status), ("run_completed", "completed"))


async def followed_types(trial: Trial, run_id: str, client: str = "main") -> tuple[list[str], str]:
    """The types of all events of a run, and the status at the end."""
    lines = [line async for line in trial.driver.follow(client=client, run_id=run_id)]
    return [line["event"]["type"] for line in lines[:-1]], lines[-1]["ok"]["status"]


async def leave_early(trial: Trial) -> None:
    """who leaves a follow ends its call on the server"""
    run_id = await trial.gated("left")
    await trial.judge.events(run_id)
    for _ in range(3):
        answer = await trial.driver.call("follow", client="main", run_id=run_id, leave_at="2")
        require_equal("the answer", answer, {"left": True})
    require_equal("the calls that are still open", await trial.server.calls_left(), 0)
    await trial.judge.cancel(run_id)


async def cancel_twice(trial: Trial) -> None:
    """to cancel twice is no error"""
    run_id = trial.run_id("cancelled")
    await trial.judge.start("stuck", {}, run_id=run_id)
    first = await trial.driver.call("cancel", run_id=run_id)
    ended = await trial.driver.call("wait", run_id=run_id)
    second = await trial.driver.call("cancel", run_id=run_id)
    found = (first["outcome"], ended["status"], second["outcome"])
    require_equal("the outcomes", found, ("requested", "cancelled", "already_finished"))


async def signal_repeated(trial: Trial) -> None:
    """a signal with a repeated request id arrives once"""
    run_id = await trial.gated("signalled")
    asked = {"run_id": run_id, "name": "other", "payload": '{"n": 1}', "request_id": "the-one"}
    for _ in range(2):
        await trial.driver.call("signal", **asked)
    events = await trial.judge.events(run_id, limit=10_000)
    received = [event for event in events if event.type == "signal_received"]
    require_equal("the signals received", len(received), 1)
    await trial.judge.cancel(run_id)


async def pages(trial: Trial) -> None:
    """a list goes on over its pages"""
    answer = await trial.driver.call("list", id_prefix=PAGES_PREFIX)
    wanted = [f"{PAGES_PREFIX}{number:04}" for number in range(MANY)]
    require_equal("the runs", sorted(answer["run_ids"]), wanted)


async def numbers(trial: Trial) -> None:
    """64-bit numbers keep their digits"""
    value = [2**53 + 1, -(2**63), 2**63 - 1, 2**64 - 1, 0.1, -1, True, None]
    await echoed(trial, "numbers", value)
    await trial.driver.call("open", client="newer", address=trial.newer)
    lines = [line async for line in trial.driver.follow(client="newer", run_id="large")]
    seqs = [int(line["event"]["seq"]) for line in lines[:-1]]
    require_equal("the numbers of the events", seqs, newer.SEQS)


async def echoed(trial: Trial, name: str, value: Any) -> None:
    """Require that a value comes back as it is, through the types of the language."""
    run_id = trial.run_id(name)
    await trial.driver.call("start", workflow="echoing", run_id=run_id, inputs=json.dumps({"value": value}))
    answer = await trial.driver.call("wait", run_id=run_id)
    require_equal("the output", json.dumps(json.loads(answer["output"])), json.dumps(value))
    require_equal("what the server has", await trial.judge.result(run_id), value)


async def text(trial: Trial) -> None:
    """text of any kind and NUL come back as they are"""
    value = {"é\u0000ñ": ["\u0000", "日本語", "👩‍👩‍👧", "\u202etxt", "\u2028", '"\\/\b', "\ufeff", "\U0010ffff", "<&>"]}
    await echoed(trial, "text", value)
    shown = "Zürich 日本"
    await trial.driver.call("start", workflow="echoing", run_id=trial.run_id("label"), labels={"ort": shown})
    require_equal("the label", dict((await trial.judge.inspect(trial.run_id("label"))).labels), {"ort": shown})


async def large_output(trial: Trial) -> None:
    """an output of 3 MiB is read back whole"""
    run_id = trial.run_id("large")
    asked = json.dumps({"size": OUTPUT_BYTES})
    await trial.driver.call("start", workflow="writing", run_id=run_id, inputs=asked)
    answer = await trial.driver.call("wait", run_id=run_id)
    require_equal("the output", json.loads(answer["output"]), "é" * (OUTPUT_BYTES // 2))


async def deadline(trial: Trial) -> None:
    """a call ends at its deadline"""
    async with trial.through_proxy("late", call_seconds=0.5) as proxy:
        await trial.driver.call("list", client="late", id_prefix="nothing")
        proxy.go_silent()
        began = time.monotonic()
        error = await refused(trial.driver.call("get", client="late", run_id="any"), "a call without an answer")
        require_equal("the code", error.code, "DEADLINE_EXCEEDED")
        require(time.monotonic() - began < SOON, "it took too long")


async def endless_deadlines(trial: Trial) -> None:
    """a huge deadline is one, and an infinite one is none"""
    for name, seconds in (("huge", 1e9), ("infinite", "inf")):
        await trial.open(name, call_seconds=seconds)
        run_id = trial.run_id(name)
        await trial.driver.call("start", client=name, workflow="echoing", run_id=run_id)
        answer = await trial.driver.call("wait", client=name, run_id=run_id)
        require_equal("the status", answer["status"], "completed")


async def unknown_caller(trial: Trial) -> None:
    """who is not known is refused"""
    if not trial.server.place.stranger:
        raise NotHere
    with anyio.fail_after(4 * SOON):
        await trial.open("stranger", shown=trial.server.place.stranger, call_seconds=SOON)
        error = await refused(trial.driver.call("list", client="stranger", id_prefix="x"), "a stranger")
    if trial.server.place.transport == "token":
        require_error(error, "UNAUTHENTICATED", "UNAUTHENTICATED")
    else:  # TLS itself refuses it: there is no call
        require_equal("the code", error.code, "UNAVAILABLE")
        require(error.message, "the error says nothing")


async def wrong_role(trial: Trial) -> None:
    """who may not is refused, and may do the rest"""
    if not trial.server.place.viewer:
        raise NotHere
    await trial.open("viewer", shown=trial.server.place.viewer)
    await trial.driver.call("list", client="viewer", id_prefix="nothing")
    error = await refused(trial.driver.call("start", client="viewer", workflow="echoing"), "a viewer's start")
    require_error(error, "PERMISSION_DENIED", "PERMISSION_DENIED")


async def newer_server(trial: Trial) -> None:
    """what a newer server adds is passed over or shown, never an error"""
    await trial.driver.call("open", client="newer", address=trial.newer)
    answer = await trial.driver.call("get", client="newer", run_id="beam")
    settled = {"paused", "completed", "failed", "cancelled"}  # the contract: take it for unfinished
    require(answer["status"] not in settled, f"the unknown status is shown as {answer['status']!r}")
    outcome = (await trial.driver.call("cancel", client="newer", run_id="beam"))["outcome"]
    require(outcome not in ("requested", "cancelled", "already_finished"), f"an outcome is shown as {outcome!r}")
    types, status = await followed_types(trial, "beam", "newer")
    require_equal("the events", types, newer.TYPES)
    require(status not in settled, f"the unknown status at the end is shown as {status!r}")


async def error_details(trial: Trial) -> None:
    """an error tells its reason, the field and what helps"""
    error = await refused(trial.driver.call("signal", run_id="any", name="no name!", payload="1"), "a bad name")
    require_error(error, "INVALID_ARGUMENT", "INVALID_FIELD")
    require(error.fields in (["name"], ["step name"]), f"the fields are {error.fields}")  # Python says it in words
    error = await refused(trial.driver.call("get", run_id="nobody"), "an id of no run")
    require_error(error, "NOT_FOUND", "RUN_NOT_FOUND")
    require("nobody" in error.message, f"the message is {error.message!r}")
    require(any("flujoctl" in hint for hint in error.hints), f"the hints are {error.hints}")


async def many_follows(trial: Trial) -> None:
    """300 follows at once hold up nothing"""
    run_ids = [trial.run_id(f"many-{number:03}") for number in range(FOLLOWS)]
    async with anyio.create_task_group() as group:
        for run_id in run_ids:
            group.start_soon(partial(trial.judge.start, "gated", {"steps": 1}, run_id=run_id))
    await trial.driver.send("follows", client="main", run_ids=run_ids)
    require_equal("those that are open", (await trial.driver.line())["event"], {"open": FOLLOWS})
    async with anyio.create_task_group() as group:
        for run_id in run_ids:
            group.start_soon(trial.judge.signal, run_id, "go")
    counts = (await trial.driver.line())["ok"]["events"]
    heads = [str((await trial.judge.summary(run_id)).seq) for run_id in run_ids]
    require_equal("how many events came", [str(count) for count in counts], heads)


async def acting(trial: Trial) -> None:
    """pause, resume, retry, fork and prune do what they say"""
    paused = await trial.gated("paused")
    await trial.judge.events(paused)
    answer = await trial.driver.call("pause", run_id=paused)
    require(answer["outcome"] in ("requested", "paused"), f"the outcome is {answer['outcome']!r}")
    require_equal("the status", (await trial.driver.call("wait", run_id=paused))["status"], "paused")
    await trial.driver.call("resume", run_id=paused)
    await trial.driver.call("signal", run_id=paused, name="go", payload='"on"')
    require_equal("the output", (await trial.driver.call("wait", run_id=paused))["output"], '"on"')
    failed = trial.run_id("retried")
    await trial.judge.start("fragile", {}, run_id=failed)
    await trial.judge.wait(failed)
    await trial.driver.call("retry", run_id=failed, step="second")
    require_equal("the status", (await trial.driver.call("wait", run_id=failed))["status"], "failed")
    require_equal("the resumes", (await trial.judge.summary(failed)).resume_count, 1)
    forked = trial.run_id("forked")
    answer = await trial.driver.call("fork", run_id=failed, new_run_id=forked, inputs='{"works": true}')
    require_equal("the fork", answer, {"run_id": forked, "created": True})
    require_equal("the status", (await trial.driver.call("wait", run_id=forked))["status"], "completed")
    answer = await trial.driver.call("prune", id_prefix=trial.run_id(""), statuses=["completed"], dry_run=True)
    would_go = int(answer["total"])
    require(would_go > 0, "a dry run finds nothing to prune")
    answer = await trial.driver.call("prune", id_prefix=trial.run_id("forked"), statuses=["completed"], dry_run=False)
    require_equal("the runs pruned", int(answer["total"]), 1)
    error = await refused(trial.driver.call("get", run_id=forked), "a run that was pruned")
    require_equal("the reason", error.reason, "RUN_NOT_FOUND")


async def many_starts(trial: Trial) -> None:
    """many starts in one call have an outcome each, in their order"""
    first, other, unnamed = (trial.run_id(f"starts-{name}") for name in ("first", "other", "unnamed"))
    asked = [
        {"workflow": "echoing", "inputs": '{"value": 9007199254740993}', "run_id": first, "labels": {"of": "starts"}},
        {"workflow": "no such workflow"},
        {"workflow": "echoing", "run_id": "no id!"},
        {"workflow": "echoing", "inputs": '{"value": 2}', "run_id": first},
        {"workflow": "echoing", "request_id": unnamed},
        {"workflow": "echoing", "run_id": other},
    ]
    for created in (True, False):
        outcomes = (await trial.driver.call("starts", starts=asked))["outcomes"]
        made = [(each.get("run_id"), each["created"]) for each in outcomes if "error" not in each]
        require_equal("the runs", (made[0], made[2]), ((first, created), (other, created)))
        require_equal("whether the one without an id is new", made[1][1], created)
        errors = [CallError(outcomes[number]["error"]) for number in (1, 2, 3)]
        require_error(errors[0], "NOT_FOUND", "WORKFLOW_NOT_FOUND")
        require(errors[0].hints, "nothing is said that helps")
        require_error(errors[1], "INVALID_ARGUMENT", "INVALID_FIELD")
        require(errors[1].fields in (["run_id"], ["run id"]), f"the fields are {errors[1].fields}")
        require_error(errors[2], "ALREADY_EXISTS", "RUN_EXISTS")
    answer = await trial.driver.call("wait", run_id=first)
    require_equal("the output", answer["output"], "9007199254740993")
    require_equal("the label", dict((await trial.judge.inspect(first)).labels), {"of": "starts"})


async def very_many_starts(trial: Trial) -> None:
    """many starts may be large, and may all be refused"""
    ids = [trial.run_id(f"large-{number:02}") for number in range(LARGE_STARTS)]
    inputs = json.dumps({"value": "é" * (LARGE_START_BYTES // 2)}, ensure_ascii=False)
    asked = [{"workflow": "echoing", "inputs": inputs, "run_id": run_id} for run_id in ids]
    outcomes = (await trial.driver.call("starts", starts=asked))["outcomes"]
    require_equal("the runs", outcomes, [{"run_id": run_id, "created": True} for run_id in ids])
    refusals = (await trial.driver.call("starts", starts=[{"workflow": "x" * 150}] * MOST_STARTS))["outcomes"]
    reasons = {CallError(each["error"]).reason for each in refusals}
    require_equal("the reasons", (len(refusals), reasons), (MOST_STARTS, {"WORKFLOW_NOT_FOUND"}))
    call = trial.driver.call("starts", starts=[{"workflow": "echoing"}] * (MOST_STARTS + 1))
    error = await refused(call, "one start too many")
    require_error(error, "INVALID_ARGUMENT", "INVALID_FIELD")
    require_equal("the fields", error.fields, ["starts"])
    require_equal("the outcomes of none", await trial.driver.call("starts", starts=[]), {"outcomes": []})


async def parts_of_a_workflow(trial: Trial) -> None:
    """a start says which flow, which steps and from which on"""
    chosen: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["one"]),
        ({"flow": "long"}, ["one", "two", "three"]),
        ({"flow": "all", "skip_steps": ["two", "three"]}, ["one", "four"]),
        ({"flow": "long", "start_from": "three"}, ["three"]),
    ]
    starts = [
        {"workflow": "parted", "run_id": trial.run_id(f"parted-{number}"), **parts}
        for number, (parts, _) in enumerate(chosen)
    ]
    alone = await trial.driver.call("start", **starts[1])
    require_equal("the start of one", alone, {"run_id": starts[1]["run_id"], "created": True})
    outcomes = (await trial.driver.call("starts", starts=starts))["outcomes"]
    require_equal("which are new", [each.get("created") for each in outcomes], [True, False, True, True])
    for start, (_, performed) in zip(starts, chosen, strict=True):
        await trial.driver.call("wait", run_id=start["run_id"])
        steps = (await trial.judge.inspect(start["run_id"])).steps
        found = [name for name, step in steps.items() if step.status == "completed"]
        require_equal(f"the steps of {start}", found, performed)
    error = await refused(trial.driver.call("start", workflow="parted", flow="none"), "a flow that there is not")
    require_error(error, "INVALID_ARGUMENT", "INVALID_FIELD")
    require_equal("the fields", error.fields, ["flow"])


OWN = """name: own
params:
  whom: {type: string}
steps:
  - name: greet
    task: python_code
    inputs: {code: "result = 'hello'"}
outputs: {greeting: "{{ steps.greet.result }} {{ args.whom }}"}
"""
ODD = OWN.replace("    task: python_code\n", "    tsak: python_code\n")


async def own_definition(trial: Trial) -> None:
    """a start may bring its workflow as YAML; what is wrong with one is told with its place"""
    own = {"workflow": "own.yaml", "definition": OWN, "inputs": '{"whom": "Ada"}', "run_id": trial.run_id("own")}
    alone = await trial.driver.call("start", **own)
    require_equal("the start of one", alone, {"run_id": own["run_id"], "created": True})
    answer = await trial.driver.call("wait", run_id=own["run_id"])
    require_equal("the end", (answer["status"], json.loads(answer["output"])), ("completed", {"greeting": "hello Ada"}))
    again = (await trial.driver.call("starts", starts=[own]))["outcomes"]
    require_equal("the start of it among many", again, [{"run_id": own["run_id"], "created": False}])
    odd = trial.driver.call("start", workflow="odd.yaml", definition=ODD)
    error = await refused(odd, "a definition that is wrong")
    require_error(error, "INVALID_ARGUMENT", "INVALID_FIELD")
    require_equal("the fields", set(error.fields), {"definition"})
    require("odd.yaml:6:5: " in error.message, f"the message is {error.message!r}")


async def bounded_run(trial: Trial) -> None:
    """a start says how long the run may take"""
    run_id = trial.run_id("bounded")
    await trial.driver.call("start", workflow="stuck", run_id=run_id, timeout=0.25)
    answer = await trial.driver.call("wait", run_id=run_id)
    require_equal("the status", answer["status"], "failed")
    failed = (await trial.judge.inspect(run_id)).error
    require(failed is not None and "0.25s" in failed.message, f"the error is {failed}")


BEHAVIOURS: tuple[Callable[[Trial], Awaitable[None]], ...] = (
    start_twice,
    other_input,
    follow_cut,
    follow_silent,
    follow_killed,
    end_after_resume,
    leave_early,
    cancel_twice,
    signal_repeated,
    pages,
    numbers,
    text,
    large_output,
    deadline,
    endless_deadlines,
    unknown_caller,
    wrong_role,
    draining,
    newer_server,
    error_details,
    many_follows,
    acting,
    many_starts,
    very_many_starts,
    parts_of_a_workflow,
    bounded_run,
    own_definition,
)


def title(number: int) -> str:
    """The sentence of a behaviour, by its number, which counts from 1."""
    return (BEHAVIOURS[number - 1].__doc__ or "").strip()


async def prepare(judge: Client) -> None:
    """Make the runs that are only read: those to page through."""
    limit = anyio.CapacityLimiter(100)

    async def start(number: int) -> None:
        async with limit:
            await judge.start("echoing", {}, run_id=f"{PAGES_PREFIX}{number:04}")

    async with anyio.create_task_group() as group:
        for number in range(MANY):
            group.start_soon(start, number)


async def prepare_long_run(judge: Client) -> None:
    """Make a run with many stored events."""
    await judge.run("mapping", {"count": LONG_RUN_EVENTS // 2}, run_id=LONG_RUN)
