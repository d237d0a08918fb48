"""The folder of workspaces beside a store, and the files of runs in it.

A folder belongs to one store: a file `.store` in it names that store by its path from there, so that a project may be
moved as a whole. A copy of a store beside the original has the same runs under the same ids; it finds the name of the
other one, makes its workspaces in a folder of its own, and never removes a file of the original's runs. A store that
was renamed takes the folder over, since the one that is named is not there any more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from flujo.kernel.journal.summaries import RunSummary
from flujo.kernel.trust import NAMING_A_WORKSPACE, foreign_owner, make_own_folder, read_plain, write_own

from .backend import StateBackend
from .log_compaction import compacted_name

logger = logging.getLogger("flujo.kernel")

MARK = ".store"
_LONGEST_MARK = 16 * 1024


def workspace_in(folder: Path, run_id: str) -> Path:
    """Return the workspace of a run in a folder of workspaces. That of a run named `a.log` is `a.log~`, which is no
    run's id: `a.log` is the log of the run `a`."""
    return folder / (f"{run_id}~" if run_id.lower().endswith(".log") else run_id)


class Workspaces:
    """The workspaces of the runs of one store. A folder that a user has named for a run is not in here. Without a
    folder there is nothing to make and nothing to remove."""

    def __init__(self, folder: Path | None, backend: StateBackend) -> None:
        self.folder = folder
        self._backend = backend

    def make(self) -> Path:
        """Return the folder for the workspaces of new runs, marked as this store's."""
        home = self._home()
        make_own_folder(home, self._backend.path, NAMING_A_WORKSPACE)
        self._mark(home)
        return home

    def make_own(self, run_id: str, environment: Mapping[str, Any]) -> None:
        """Make the workspace of a run that takes over what another one has done, empty: so that it is known from one
        that is gone. A folder that its user has named is left alone."""
        own = workspace_in(self.make().absolute(), run_id) if "workspace" in environment else None
        if own is not None and str(own) == environment["workspace"]:
            make_own_folder(own, own.parent, NAMING_A_WORKSPACE)

    def claim(self) -> None:
        """Mark a folder that is there and that no store has marked, as earlier releases left it."""
        if self.folder is not None and self.folder.is_dir() and self._is_trusted(home := self._home()):
            self._mark(home)

    async def remove(self, runs: Sequence[RunSummary]) -> None:
        """Remove what flujo made for these runs, which are gone from the store. A cancel does not stop it: the files
        would stay, and nothing would name them any more."""
        if runs and self.folder is not None:
            with anyio.CancelScope(shield=True):
                from flujo.kernel.loops import in_thread

                await in_thread(partial(self._remove, [run.run_id for run in runs]))

    def _remove(self, run_ids: Sequence[str]) -> None:
        if not self._is_trusted(home := self._home()):
            return
        for run_id in run_ids:
            _remove_all(workspace_in(home, run_id))
            for name in (f"{run_id}.log", compacted_name(f"{run_id}.log")):
                with suppress(OSError):
                    (home / name).unlink()

    def _home(self) -> Path:
        """Return this store's own folder: the given one, or one beside it while that belongs to another store."""
        assert self.folder is not None
        store = self._backend.path
        if store is None or (owner := _owner(self.folder)) in (None, self._name_from(self.folder)):
            return self.folder
        if os.path.lexists(self.folder / owner):
            return self.folder.with_name(f"{self.folder.name}-{store.name}")
        return self.folder

    def _is_trusted(self, home: Path) -> bool:
        """True unless another user has put a folder or a link in this place: nothing of flujo's is behind it."""
        return foreign_owner(home, self._backend.path) is None

    def _mark(self, home: Path) -> None:
        """Name this store in its folder. One that lives in memory only names nothing."""
        if self._backend.path is None or _owner(home) == (name := self._name_from(home)):
            return
        new = home / f"{MARK}.{os.getpid()}"
        with suppress(OSError):  # on a folder that cannot be written nothing will be made either
            new.unlink(missing_ok=True)  # of a process of the same number that has died
            write_own(new, name + "\n")
            new.replace(home / MARK)

    def _name_from(self, folder: Path) -> str:
        assert self._backend.path is not None
        return os.path.relpath(self._backend.path.resolve(), folder.resolve())


def _remove_all(workspace: Path) -> None:
    """Remove a folder as far as that can be done. What has to stay is named: nothing else tells of it, and the next run
    of this id would work among it. A link is not followed, and stays."""
    import shutil

    try:
        shutil.rmtree(workspace)
    except FileNotFoundError:
        pass
    except OSError as error:
        shutil.rmtree(workspace, ignore_errors=True)
        if os.path.lexists(workspace):
            logger.warning("the workspace %s of a deleted run stays: %s", workspace, error.strerror or error)


def make_if_gone(workspace: str) -> bool:
    """Make a workspace that is gone anew, empty; return whether it was gone. Raises OSError."""
    if os.path.isdir(workspace):
        return False
    os.makedirs(workspace, mode=0o700)
    return True


def other_owner(workspace: Path, store: Path) -> Path | None:
    """Return the path of the store that a workspace was made for, if that store is there and is not `store`."""
    folder = workspace.parent
    if (name := _owner(folder)) is None:
        return None
    owner = folder / name
    is_other = os.path.lexists(owner) and owner.resolve() != store.resolve()
    return Path(os.path.normpath(owner)) if is_other else None


def _owner(folder: Path) -> str | None:
    """Return the store that a folder names; None for a folder without a mark."""
    try:
        return read_plain(folder / MARK, _LONGEST_MARK).strip() or None
    except (OSError, UnicodeDecodeError):
        return None
