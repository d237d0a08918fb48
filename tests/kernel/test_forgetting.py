"""Deleting families of runs, however many there are and in whatever state their journals."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.kernel import Context, Kernel, Observer, Workflow, step, workflow
from kernel.harness import Harness


@step
async def nothing() -> None:
    pass


@workflow(name="leaf")
async def leaf(ctx: Context) -> None:
    await ctx.step(nothing)


def names_in(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def calling(children: int) -> Workflow:
    """A workflow that starts so many children, one after another."""

    @workflow(name="calling")
    async def program(ctx: Context) -> None:
        for number in range(children):
            await ctx.run_child(leaf, name=f"c{number}")

    return program


async def test_a_family_of_any_size_goes_with_its_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Children are found a page at a time, and the workspaces of all of them go along."""
    monkeypatch.setattr("flujo.kernel.store.deletion.READ_RUNS", 2)
    harness = Harness()
    flow = calling(5)
    async with harness.kernel(flow, leaf, workspaces=tmp_path) as kernel:
        await kernel.run(flow, run_id="r")
        await kernel.run(leaf, run_id="lone")
        for run_id in harness.store.runs:
            (tmp_path / run_id).mkdir()
        assert len(harness.store.runs) == 7
        await kernel.delete("r")

    assert set(harness.store.runs) == {"lone"}
    assert names_in(tmp_path) == ["lone"]


async def test_a_damaged_run_takes_its_children_along() -> None:
    """Whose children they are is in their summaries, so a journal that cannot be read is no obstacle."""
    harness = Harness()
    flow = calling(1)
    async with harness.kernel(flow, leaf) as kernel:
        await kernel.run(flow, run_id="r")
        rows = harness.store.runs["r"].events
        rows[:] = [row._replace(body="[") for row in rows]
        await kernel.delete("r")

    assert not harness.store.runs


async def test_children_of_an_earlier_life_stay() -> None:
    """A run that was started anew under the id of a deleted one has not started what that one had."""
    harness = Harness()
    flow = calling(1)
    async with harness.kernel(flow, leaf) as kernel:
        await kernel.run(flow, run_id="r")
        await kernel.backend.delete("r", harness.summary("r").uid)  # just the parent
        harness.clock.advance(60)
        await kernel.run(leaf, run_id="r")
        await kernel.delete("r")

    assert set(harness.store.runs) == {"r.c0"}


async def test_a_prune_that_is_repeated_ends(tmp_path: Path) -> None:
    """Limit by limit, until nothing is left; each answer counts what it took, and `more` tells when to go on."""
    harness = Harness()
    async with Kernel(harness.backend(), [leaf], clock=harness.clock, workspaces=tmp_path) as kernel:
        for number in range(5):
            await kernel.run(leaf, run_id=f"r{number}")
        observer = Observer(kernel.backend, clock=harness.clock)
        taken = [await observer.prune(older_than_seconds=0, limit=2) for _ in range(3)]

    assert [(each.total, each.more) for each in taken] == [(2, True), (2, True), (1, False)]
    assert [run.run_id for each in taken for run in each.runs] == [f"r{number}" for number in range(5)]
