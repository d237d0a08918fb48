"""Reading a run from a store: page by page, sound or refused, owned or interrupted."""

from __future__ import annotations

import pytest

from flujo.kernel import RunStatus
from flujo.kernel.errors import CorruptStoreError
from flujo.kernel.store import reading
from flujo.kernel.store.listing import is_interrupted
from flujo.kernel.store.reading import read_journal, read_state
from kernel.flows import doubling, waiting
from kernel.harness import Harness, crash, until


@pytest.mark.parametrize("page", [1, 2, 3, 500])
async def test_a_journal_is_read_in_pages_of_any_size(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event is read twice or left out, whether the last page is full or not."""
    monkeypatch.setattr(reading, "READ_EVENTS", page)
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        await kernel.run(doubling, {"number": 4}, run_id="r")
    async with harness.backend() as backend:
        state = await read_state(backend, harness.summary("r"))
        journal = await read_journal(backend, harness.summary("r"))

    assert (state.status, state.output, state.seq) == (RunStatus.COMPLETED, 8, len(journal))
    assert journal == harness.journal("r")


@pytest.mark.parametrize("body", ["{", '{"unknown": 1}', "{}", "[]"])
async def test_an_event_that_cannot_be_read_is_named(body: str) -> None:
    """With its run, its number and its kind, by the state as by the list of events."""
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")
    rows = harness.store.runs["r"].events
    rows[1] = rows[1]._replace(body=body)
    async with harness.backend() as backend:
        for read in (read_state, read_journal):
            with pytest.raises(CorruptStoreError, match=r"event 2 \(step_started\)") as refused:
                await read(backend, harness.summary("r"))
            assert refused.value.store == "r"


async def test_an_event_out_of_its_place_is_refused() -> None:
    """Each event has the number behind the one before."""
    harness = Harness()
    async with harness.kernel(doubling) as kernel:
        await kernel.run(doubling, run_id="r")
    rows = harness.store.runs["r"].events
    rows[2] = rows[2]._replace(seq=9)
    async with harness.backend() as backend:
        with pytest.raises(CorruptStoreError):
            await read_state(backend, harness.summary("r"))


async def test_a_run_is_interrupted_if_it_should_go_on_and_its_owner_is_dead() -> None:
    """Not while the owner lives, not once it is final; a run without an owner counts as interrupted."""
    harness = Harness()
    async with harness.kernel(waiting):
        pass  # there is a store from now on
    async with harness.backend() as backend:
        async with harness.kernel(waiting) as kernel:
            await kernel.start(waiting, run_id="r")
            await until(kernel, "r", "step_waiting")
            assert not await is_interrupted(backend, harness.summary("r"))
            crash(kernel)
        assert harness.summary("r").owner is not None
        assert await is_interrupted(backend, harness.summary("r"))
        assert await is_interrupted(backend, harness.summary("r")._replace(owner=None))

        async with harness.kernel(waiting) as kernel:
            await kernel.signal("r", "go", 1)
            await kernel.result("r")
        assert not await is_interrupted(backend, harness.summary("r"))
