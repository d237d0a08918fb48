"""File stores of earlier formats, written by real runs (fixtures/README.md), are opened and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backends.fixtures.make_store import INBOX, STATUSES, WORKFLOWS, from_text
from flujo.backends import FileBackend
from flujo.kernel import Kernel, Observer
from flujo.kernel.checking import check

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture(params=["file-1"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a store of an earlier format."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / "store"))


@pytest.mark.parametrize("index", ["with its index", "without its index"])
async def test_an_earlier_store_is_read(path: Path, index: str) -> None:
    """Every run of an earlier store is listed with its status, folds to the same one, and its requests are there."""
    if index == "without its index":
        (path / "index").unlink()
    async with FileBackend(path) as store:
        observer = Observer(store)
        listed = {run.run_id: run for run in (await observer.list(limit=100)).runs}
        folded = {run_id: await observer.inspect(run_id) for run_id in listed}
        inboxes = {run_id: len(await store.requests(run_id, run.uid)) for run_id, run in listed.items()}

        assert {run_id: run.status for run_id, run in listed.items()} == STATUSES
        assert {run_id: state.status for run_id, state in folded.items()} == STATUSES
        assert {run_id: state.seq for run_id, state in folded.items()} == {r.run_id: r.seq for r in listed.values()}
        assert {run_id: number for run_id, number in inboxes.items() if number} == INBOX
        report = await check(store)
        assert (report.runs, report.findings) == (len(listed), [])


async def test_an_earlier_store_is_gone_on_with(path: Path, tmp_path: Path) -> None:
    """Runs of an earlier store that wait, are paused or were cancelled go on, and what was posted to them is taken."""
    kernel = Kernel(FileBackend(path), WORKFLOWS, workspaces=tmp_path, load_definition=from_text)
    async with kernel:
        assert await kernel.result("waiting") == "{'n': 0}"
        assert await kernel.result("letters-open") == {"text": "c-d"}
        await kernel.unpause("held")
        await kernel.signal("held", "go", "now")
        assert await kernel.result("held") == "now"
        handle = await kernel.resume("stopped")
        await kernel.signal("stopped", "go", "again")
        assert await handle.result() == "again"
        assert (await kernel.inspect("added")).output == 10
