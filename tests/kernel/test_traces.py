"""Where a run stands in the trace of whoever started it: recorded, the same in each process, and told to commands."""

from __future__ import annotations

from typing import Any

import pytest

from flujo.kernel import Context, current_attempt, traces, workflow
from flujo.kernel.traces import TraceContext, parse, started_in
from kernel.harness import Harness

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, CALLER),
        (f"{HEADER[:-2]}00", CALLER._replace(is_sampled=False)),
        (f"{HEADER[:-2]}03", CALLER),
        (f"01{HEADER[2:]}-more", CALLER),
        (f"{HEADER}-more", None),
        (f"ff{HEADER[2:]}", None),
        (HEADER.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        ("", None),
        (None, None),
        (5, None),
        ("x" * 100_000, None),
    ],
)
def test_a_header_is_read_as_the_standard_says(header: object, expected: TraceContext | None) -> None:
    """What is none is passed over: tracing never keeps a call from being answered."""
    assert parse(header) == expected
    if expected is not None:
        assert parse(expected.header) == expected


def test_spans_follow_from_what_they_are_of() -> None:
    """The same in each process, another one for each attempt, and all in one trace."""
    run = traces.of_run("uid", CALLER)
    of = [traces.of_step(run, "uid", "a", 1), traces.of_attempt(run, "uid", "a", 1, 1)]
    of += [traces.of_attempt(run, "uid", "a", 1, 2), traces.of_attempt(run, "uid", "a", 2, 1), run, CALLER]

    assert len({span.span_id for span in of}) == len(of)
    assert {span.trace_id for span in of} == {CALLER.trace_id}
    assert traces.of_attempt(traces.of_run("uid", CALLER), "uid", "a", 1, 1) == of[1]
    assert traces.of_run("uid", None).trace_id == traces.of_run("uid", None).trace_id != CALLER.trace_id
    assert parse(traces.of_run("uid", None).header) is not None


async def told() -> Any:
    """What a command of this attempt would be told."""
    return current_attempt().environment().get("TRACEPARENT")


@workflow()
async def telling(ctx: Context) -> Any:
    """The spans of two steps."""
    return [await ctx.step(told, name="a"), await ctx.step(told, name="b")]


@workflow()
async def parent(ctx: Context) -> Any:
    """Those of a run that it starts."""
    return await ctx.run_child(telling, {})


async def test_a_command_is_told_the_span_of_its_attempt() -> None:
    """Of a run that was started in a span; a process that knows the run only by its journal says the same."""
    harness = Harness()
    async with harness.kernel(telling) as kernel:
        with started_in(CALLER):
            handle = await kernel.start(telling, run_id="r")
        found = await handle.result()
        alone = await kernel.run(telling)
    async with harness.kernel(telling) as kernel:
        await (await kernel.resume("r", from_step="a")).result()
        state = await kernel.inspect("r")

    run = traces.of_run(state.uid, CALLER)
    assert found == [traces.of_attempt(run, state.uid, step, 1, 1).header for step in ("a", "b")]
    assert state.output == [traces.of_attempt(run, state.uid, step, 2, 1).header for step in ("a", "b")]
    assert alone == [None, None]


async def test_a_run_that_a_run_starts_belongs_to_it() -> None:
    """In the same trace, below the span of its parent."""
    async with Harness().kernel(parent, telling) as kernel:
        with started_in(CALLER):
            await kernel.run(parent, run_id="r")
        state = await kernel.inspect("r")
        (child,) = (await kernel.list(parent_run_id="r")).runs
        started = await kernel.inspect(child.run_id)

    assert traces.parent_of(started.environment) == traces.of_run(state.uid, CALLER)
    assert all(parse(each) for each in state.output)
    assert {parse(each).trace_id for each in state.output} == {CALLER.trace_id}  # type: ignore[union-attr]
