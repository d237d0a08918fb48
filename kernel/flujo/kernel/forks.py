"""What a forked child of this process must not keep: locks that tell others this process lives, and pipes whose end
others wait for.

A child that is made by fork alone, as `multiprocessing` and servers that preload make them, has every open file of its
parent. It would hold the lock of a kernel that has died, and keep a command waiting for the end of its input. Whatever
owns such a file registers here; in the child it closes its copy, so that nothing of the parent's is usable there.
Programs that are started by exec never have these files (PEP 446).
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class HoldsFiles(Protocol):
    """An owner of open files that a forked child must not keep."""

    def close_in_child(self) -> None:
        """Close the child's copies; called in a forked child, once, before any other code of it."""
        ...


_holders: WeakSet[HoldsFiles] = WeakSet()


def close_in_children(holder: HoldsFiles) -> None:
    """Have a holder close its files in every child that is forked from now on, for as long as the holder is there."""
    _holders.add(holder)


def _in_child() -> None:
    for holder in list(_holders):
        holder.close_in_child()
    _holders.clear()


os.register_at_fork(after_in_child=_in_child)
