"""Writers that are killed at random moments: what they were told is there, and everything is whole."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from faults.history import creation, following
from faults.victims import Life, kill_one, look, opened, victim
from faults.writer import HASTY
from flujo.backends.file.disk import Disk
from flujo.kernel.backend import Request
from shipped import ON_DISK

ROUNDS = 8


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_killed_writer_loses_nothing_it_was_told(scheme: str, tmp_path: Path) -> None:
    """Killed at any moment, over and over on one store, every acknowledged operation is there, the one that was under
    way has happened to each run wholly or not at all, nothing is damaged, and another kernel goes on."""
    random = Random(1)
    findings = [kill_one(Life(f"{scheme}:{tmp_path}/store", f"w{seed}", seed), random) for seed in range(ROUNDS)]

    assert [finding.problems for finding in findings] == [[]] * ROUNDS
    assert sum(finding.acknowledged for finding in findings) > ROUNDS


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_writer_that_acknowledges_too_early_is_caught(scheme: str, tmp_path: Path) -> None:
    """A writer that says what it has done before it is done does not get through this."""
    for seed in range(50):
        life = Life(f"{scheme}:{tmp_path}/store", f"w{seed}", seed, HASTY)
        with victim(life) as writer:
            writer.wait_for(1 + seed % 5)
            writer.kill()
        if look(life, writer.acknowledged):
            return
    raise AssertionError("nothing was lost")


async def test_an_answered_request_is_gone_although_its_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks between the answer to a request and the removal of its file, as after the death of its writer in
    between, finds the request answered."""
    store = f"file:{tmp_path}/store"
    async with opened(store, "w") as writer, opened(store, None) as reader:
        made = creation("w-1", "w", 1)
        assert await writer.append([made]) == {}
        await writer.post("w-1", Request("signal", "{}", 1))
        await writer.post("w-1", Request("signal", "{}", 2))
        first, _ = await writer.requests("w-1", made.uid)
        with monkeypatch.context() as patch:
            patch.setattr(Disk, "remove", _fail)
            assert await writer.append([following(made.summary)._replace(taken=[first.id])]) == {}

        assert [each.request.at for each in await reader.requests("w-1", made.uid)] == [2]


def _fail(*_: object) -> None:
    raise OSError("the process is dead")
