"""Bytes that changed and ends that are missing: what is noticed of it, and by whom.

Every offset of a journal is tried in tests/backends/test_file_journal.py, on the functions that judge it. Here whole
stores are opened, as somebody does who knows of nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from faults.bit_flips import flipped, forget_checksums, make_database, verdicts
from faults.history import DEFINITION, creation, following
from faults.victims import opened
from flujo.backends.file import journal
from flujo.backends.sqlite import files
from flujo.kernel.backend import Request, RunFilter, StateBackend
from flujo.kernel.errors import CorruptStoreError, RunReplacedError

STRIDE = 11  # bytes between those that are tried
PAGE = 4096


# -- a folder -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A file store with the runs `w-1`, of three commits, and `w-2`; nobody has written its index."""
    first, second = creation("w-1", "w", 1), creation("w-2", "w", 2)
    more = following(first.summary, 2)
    async with opened(f"file:{tmp_path}/made", "w") as handle:
        for batch in ([first, second], [more], [following(more.summary)]):
            assert await handle.append(batch) == {}
    (tmp_path / "made" / "index").unlink()
    return tmp_path / "made"


async def unnoticed_flips(folder: Path, positions: Sequence[int]) -> list[int]:
    """Which of these bytes of the journal of `w-1` can change without anybody being told."""
    found = []
    for position in positions:
        store = folder.with_name("flipped")
        shutil.copytree(folder, store)
        flipped(store / "runs" / "w-1" / "journal", position)
        async with opened(f"file:{store}", None) as reader:
            named = [problem.run_id for problem in await reader.integrity()]
            assert {run.run_id for run in (await reader.list(RunFilter(), limit=9)).runs} >= {"w-2"}
            assert len(await reader.read_events("w-2", "uid-w-2", 0, 9)) == 1
            if named == ["w-1"]:
                with pytest.raises((CorruptStoreError, RunReplacedError)):  # without a first record it is another run
                    await reader.read_events("w-1", "uid-w-1", 0, 9)
            else:
                found.append(position)
        shutil.rmtree(store)
    return found


async def test_a_flipped_byte_of_a_journal_is_named(folder: Path) -> None:
    """Whichever byte of a journal changes, `integrity` names the run, its events are refused, and others can be
    read."""
    size = len((folder / "runs" / "w-1" / "journal").read_bytes())

    assert await unnoticed_flips(folder, range(0, size, STRIDE)) == []


async def test_a_journal_without_checksums_is_caught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that believes every checksum does not get through this."""
    monkeypatch.setattr(journal, "_checksum", lambda length, content, before: before or bytes(8))
    for path in (folder / "runs").glob("*/journal"):
        commits = [line.split(b" ", 2)[2] for line in path.read_bytes().splitlines()]
        path.write_bytes(b"".join(journal.encode(content, b"")[0] for content in commits))

    data = (folder / "runs" / "w-1" / "journal").read_bytes()
    positions = [data.index(b"day"), data.index(b"run_created"), data.index(b"step_started")]

    assert await unnoticed_flips(folder, positions) == positions


async def test_a_torn_tail_is_as_good_as_not_written(folder: Path) -> None:
    """Wherever a journal ends that nobody has vouched for, its whole records are there, nothing counts as damaged, and
    the run goes on from the last one."""
    path = folder / "runs" / "w-1" / "journal"
    whole = path.read_bytes()
    ends = [len(line) for line in whole.splitlines(keepends=True)]
    for size in range(ends[0], len(whole), STRIDE):
        store = folder.with_name("torn")
        shutil.copytree(folder, store)
        (store / "runs" / "w-1" / "journal").write_bytes(whole[:size])
        async with opened(f"file:{store}", "next") as handle:
            assert await handle.integrity() == []
            run = await handle.claim("w-1")
            assert run.seq == (1 if size < ends[0] + ends[1] else 3)
            assert await handle.append([following(run)]) == {}
        async with opened(f"file:{store}", None) as reader:
            assert len(await reader.read_events("w-1", "uid-w-1", 0, 9)) == run.seq + 1
        shutil.rmtree(store)


# -- a database -----------------------------------------------------------------------------------------------------


def kinds_of_pages(path: Path) -> list[int]:
    """Where the pages of tables and indexes say which of the two they are."""
    data = path.read_bytes()
    starts = [100, *range(PAGE, len(data), PAGE)]
    return [start for start in starts if data[start] in (2, 5, 10, 13)]


async def test_a_database_whose_structure_is_damaged_is_refused_or_named(tmp_path: Path) -> None:
    """A changed byte in the first 16, which say what the file is, or in one that says what a page is, is never passed
    over in silence."""
    path = tmp_path / "store"
    held = await make_database(path)
    found = await verdicts(path, held, [*range(16), *kinds_of_pages(path)])

    assert found.keys() <= {"refused", "named"}
    assert found["named"] > 0


async def test_looking_at_the_header_only_is_not_enough(tmp_path: Path) -> None:
    """A look that only opens the database passes over pages that are damaged."""
    path = tmp_path / "store"
    held = await make_database(path)

    assert (await verdicts(path, held, kinds_of_pages(path), only_open=True))["well"] > 0


FLIPS = 400  # campaign.py makes 2,000 by default


async def flips_of_a_database(path: Path, number: int) -> Counter[str]:
    """What is said of a database, byte by byte that has changed."""
    held = await make_database(path)
    random = Random(1)
    size = files.size_of(path)
    return await verdicts(path, held, [random.randrange(size) for _ in range(number)])


async def test_every_changed_byte_that_a_reader_would_get_is_named(tmp_path: Path) -> None:
    """Wherever the byte is: the database is refused, or the damage is named, or everything reads as it was written."""
    found = await flips_of_a_database(tmp_path / "store", FLIPS)

    assert found.keys() <= {"refused", "named", "well"}
    assert found["refused"] + found["named"] > 0
    assert found["well"] > 0


async def test_changed_bytes_of_rows_without_checksums_go_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the checksums, and the digests of large payloads, some changes are in what a reader gets."""
    forget_checksums(monkeypatch.setattr)

    assert (await flips_of_a_database(tmp_path / "store", FLIPS // 8))["silent"] > 0


async def read_everything(reader: StateBackend) -> None:
    """Read what is stored of the runs `w-1` and `w-2`, one by one."""
    await reader.load("w-1")
    await reader.read_events("w-1", "uid-w-1", 0, 9)
    await reader.requests("w-1", "uid-w-1")
    await reader.requests("w-2", "uid-w-2")
    await reader.get_definition("digest")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE runs SET status = 'failed' WHERE run = 1", "its summary is not what was written"),
        ("UPDATE runs SET current_step = 'other' WHERE run = 1", "its summary is not what was written"),
        ("UPDATE runs SET owner = 'v' WHERE run = 1", "its summary is not what was written"),
        ("UPDATE runs SET token = 2 WHERE run = 1", "its summary is not what was written"),
        ("UPDATE runs SET checksum = NULL WHERE run = 1", "its summary is not what was written"),
        ("UPDATE events SET body = '{\"a\":1}' WHERE run = 1 AND seq = 1", "its event 1 is not what was written"),
        ("UPDATE events SET payload = NULL WHERE run = 1 AND seq = 1", "its event 1 is not what was written"),
        ("UPDATE events SET at = at + 1 WHERE run = 1 AND seq = 1", "its event 1 is not what was written"),
        ("UPDATE events SET run = 2 WHERE run = 1", "its event 1 is not what was written"),
        ("UPDATE inbox SET body = '{}'", "request 1 in its inbox is not what was written"),
        ("UPDATE inbox SET run = 2", "request 1 in its inbox is not what was written"),
        ("UPDATE definitions SET text = 'steps: []'", "the definition digest is not what was written"),
        ("UPDATE definitions SET workflow = 'other'", "the definition digest is not what was written"),
    ],
)
async def test_a_row_that_was_changed_is_named_by_whoever_reads_it(tmp_path: Path, change: str, named: str) -> None:
    """Any column of a row that differs from what was written is named by `integrity`, and no reader gets the row."""
    path = tmp_path / "store"
    async with opened(f"sqlite:{path}", "w") as handle:
        first = creation("w-1", "w", 1, DEFINITION)
        assert await handle.append([first, creation("w-2", "w", 2)]) == {}
        await handle.post("w-1", Request("signal", '{"name":"go"}', 3))
    async with opened(f"sqlite:{path}", None) as reader:
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA foreign_keys = OFF")
            shell.execute("DELETE FROM events WHERE run = 2")
            shell.execute(change)
            shell.commit()
        assert named in [problem.text for problem in await reader.integrity()]
        with pytest.raises(CorruptStoreError):
            await read_everything(reader)
        listed = (await reader.list(RunFilter(), limit=9)).runs
        assert [run.run_id for run in listed] == ["w-2", "w-1"]
        await reader.delete("w-1", "uid-w-1")
