"""Keepers of an episode: each starts a run and removes it once it is over, again and again under one id."""

from __future__ import annotations

import random

import anyio

from flujo.kernel import Kernel
from flujo.kernel.errors import FlujoError, KernelClosedError, StoreError

from .episode_world import EpisodeLife
from .plans import Keep
from .programs import play

ROUNDS = 3
"""How often a keeper does so in one life."""


class Keeper:
    """Whoever keeps a store tidy, during one life of its kernel. What it asks for, others may have done just before."""

    def __init__(self, life: EpisodeLife, kernel: Kernel, keep: Keep) -> None:
        self._kernel = kernel
        self._keep = keep
        self._lots = random.Random(f"{life.world.seed}/{life.number}/{keep.number}")

    async def live(self) -> None:
        """Start and remove the run a few times."""
        for _ in range(ROUNDS):
            try:
                await self._start_and_remove()
            except (StoreError, KernelClosedError):
                raise
            except FlujoError:
                pass
            await anyio.sleep(self._lots.choice((0.0, 0.02, 0.3)))

    async def _start_and_remove(self) -> None:
        run_id, kernel, lots = self._keep.run_id, self._kernel, self._lots
        await kernel.start(play, {"script": self._keep.script}, run_id=run_id)
        how = lots.choice(("delete", "prune", "force"))
        if how == "force":
            await anyio.sleep(lots.choice((0.0, 0.01, 0.1)))
            await kernel.delete(run_id, force=True)
            return
        await kernel.wait(run_id)
        if how == "delete":
            await kernel.delete(run_id)
        else:
            await kernel.prune(id_prefix=run_id)
