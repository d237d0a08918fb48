"""Following all runs of a store in which something is damaged: everything else arrives, and the damage is named."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

from flujo.backends import SQLiteBackend
from flujo.backends.postgres import rows
from flujo.backends.row_checksums import of_event, of_uid
from flujo.kernel import Context, Kernel, Observer, workflow
from flujo.kernel.backend import EventRow
from flujo.kernel.checking import check
from flujo.kernel.store.following import BATCH


@pytest.fixture
def anyio_backend() -> str:
    """aiosqlite runs on asyncio."""
    return "asyncio"


@workflow()
async def counting(ctx: Context, count: int) -> int:
    """So many steps."""

    async def one() -> int:
        return 1

    return sum([await ctx.step(one, name=f"s{number}") for number in range(count)])


async def two_runs(path: Path, damage: str) -> int:
    """A store with a long run `torn` in front of a run `sound`, in which an SQL statement has changed something;
    the events of `sound`."""
    async with Kernel(SQLiteBackend(path), [counting]) as kernel:
        await kernel.run("counting", {"count": BATCH // 2}, run_id="torn")
        await kernel.run("counting", {"count": 1}, run_id="sound")
        seq = (await kernel.summary("sound")).seq
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(damage)
        connection.commit()
    return seq


ALL_OF_TORN = "UPDATE events SET at = at + 1 WHERE run = (SELECT run FROM runs WHERE run_id = 'torn')"


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (f"{ALL_OF_TORN} AND seq = 3", BATCH + 2 - 1),
        (ALL_OF_TORN, 0),
        ("UPDATE runs SET workflow = 'x' WHERE run_id = 'torn'", 0),
    ],
    ids=["one event", "a page of nothing else", "a summary"],
)
async def test_what_is_damaged_of_one_run_ends_no_watch_of_all_runs(
    damage: str, left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left out, which the log says with the id of the run, once; a check names it."""
    seq = await two_runs(tmp_path / "s.db", damage)
    caplog.set_level(logging.ERROR, logger="flujo.kernel")
    async with SQLiteBackend(tmp_path / "s.db") as backend:
        found = []
        with anyio.fail_after(30):
            async with aclosing(Observer(backend).watch_runs()) as events:
                async for event in events:
                    found.append(event)
                    if (event.run_id, event.event.seq) == ("sound", seq):
                        break
        report = await check(backend)

    assert [each.event.seq for each in found if each.run_id == "sound"] == list(range(1, seq + 1))
    assert len([each for each in found if each.run_id == "torn"]) == left
    logged = [record.getMessage() for record in caplog.records if "leaves out" in record.getMessage()]
    assert len(logged) == 1
    assert "run torn" in logged[0]
    assert "flujoctl db check" in logged[0]
    assert report.damaged >= 1
    assert "torn" in {finding.run_id for finding in report.findings}


def test_a_damaged_row_of_postgres_is_handed_on_with_its_damage() -> None:
    """In its place, so that whoever reads page by page goes on behind it."""
    row = EventRow(3, 5, "step_started", 1, "{}", None)
    checksum = of_event(of_uid("u"), row, None)

    sound = rows.change_of(7, "r", "u", (*row, None, checksum))
    torn = rows.change_of(8, "r", "u", (*row._replace(at=6), None, checksum))

    assert (sound.position, sound.row, sound.damage) == (7, row, None)
    assert torn.position == 8
    assert torn.damage == "event 3 of run 'r' is not what was written"
