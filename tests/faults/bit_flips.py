"""Single bytes that change in files of a store, and what somebody is told of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from faults.history import Append, Holding, Moment, differences, history, observe
from faults.victims import opened
from flujo.backends import row_checksums
from flujo.backends.sqlite import checksums, integrity
from flujo.kernel.errors import StoreError

NOTHING = Append((), None)
OPERATIONS = 40
"""Which a database is made with: some hundred pages."""


def flipped(path: Path, position: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


async def make_database(path: Path) -> Holding:
    """A database that a history was written to, with all of it in the one file; what it holds."""
    moments = list(islice(history("w", 3), OPERATIONS + 1))
    async with opened(f"sqlite:{path}", "w") as handle:
        for at in moments[:-1]:
            await at.operation.perform(handle)
    assert not path.with_name(path.name + "-wal").exists()
    return moments[-1].held


async def verdict(store: str, held: Holding, *, only_open: bool = False) -> str:
    """What somebody is told of a store that holds this, or should: that it is `refused`, that something is `named` as
    wrong, that all is `well`; or nothing though it holds something else: `silent`."""
    try:
        async with opened(store, None) as reader:
            if only_open:
                return "well"
            if await reader.integrity():
                return "named"
            return "silent" if differences(await observe(reader, "w"), Moment(held, NOTHING)) else "well"
    except StoreError:
        return "refused"
    except AssertionError:  # what was read contradicts itself, and nobody has said so
        return "silent"


async def verdicts(path: Path, held: Holding, positions: Sequence[int], *, only_open: bool = False) -> Counter[str]:
    """What is said of a database of which one byte has changed, for each of these positions."""
    found: Counter[str] = Counter()
    for position in positions:
        flipped(path, position)
        found[await verdict(f"sqlite:{path}", held, only_open=only_open)] += 1
        remove_rest(path)
        flipped(path, position)
    return found


def forget_checksums(patch: Callable[[Any, str, Any], None]) -> None:
    """Let every checksum be the same, and every digest of a large payload that is read."""
    patch(row_checksums, "hash_of", lambda _data, _seed=0: 0)
    patch(checksums, "of_uid", lambda _uid: 0)
    patch(checksums, "_is_of", lambda _payload, _blob: True)
    patch(integrity, "_digest_of", lambda _data: None)


def remove_rest(path: Path) -> None:
    """Remove what is beside a database."""
    for rest in path.parent.glob(f"{path.name}-*"):
        if rest.is_dir():
            shutil.rmtree(rest)
        else:
            rest.unlink()
