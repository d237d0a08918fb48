"""Power cuts under a writer, and a look at what is there once the power is back."""

from __future__ import annotations

from pathlib import Path
from random import Random

from faults.machine import Cuttable
from faults.victims import Finding, Life, look, victim

OPERATIONS = 30


def cut_one(disk: Cuttable, life: Life, random: Random) -> Finding:
    """Let a writer live on a disk, cut its power at a random moment, and look at its store.

    The writer is frozen first: the system may say that a sync has succeeded whose data it could not write because the
    power failed meanwhile, and no disk would be to blame for that but the one that is simulated here."""
    with victim(life) as writer:
        writer.wait_for(random.randrange(OPERATIONS))
        writer.freeze()
        disk.cut()
        writer.kill()
    disk.restart()
    return Finding(writer.acknowledged, look(life, writer.acknowledged))


def life_on(disk: Cuttable, scheme: str, durability: str, seed: int, way: str) -> Life:
    """A life on a disk; all lives with the same scheme and durability share a store."""
    store = Path(disk.folder) / f"{scheme}-{durability}-{way}"
    return Life(f"{scheme}:{store}?durability={durability}", f"w{seed}", seed, way)
