"""`Store`: what the port asks, done on files, one blocking call each. `backend` brings the calls to threads.

A write goes like this. Know how every run stands (`view`). Decide, in memory, which commits stand. Say in the index
which runs are about to change. Write the records, sync them, rename new runs into place (`writing`). Say in the index
how these runs stand now. Whatever goes wrong in between, their files are looked at again before anybody is told about
them.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from flujo.backends.locks import StoreLock
from flujo.backends.pages import Position
from flujo.backends.selection import overlapping, prunable, tally
from flujo.kernel.backend import (
    READ_BYTES,
    WORKFLOW_KEYS,
    Change,
    ClaimedRun,
    Commit,
    Due,
    EventRow,
    FoundRun,
    Order,
    Posted,
    Problem,
    Refused,
    Request,
    RunFilter,
    RunSummary,
    StoredDefinition,
    StoredRun,
    WorkflowStats,
    keep_fixed_columns,
    refusal,
    size_of_rows,
    workflow_key,
)
from flujo.kernel.errors import (
    CorruptStoreError,
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
    WorkflowNotFoundError,
)
from flujo.kernel.state import FINAL, RunStatus

from . import layout
from .blobs import BLOBS, Blobs, size_of
from .copying import Snapshot, is_held
from .disk import NO_FILE, Disk, content_of
from .global_order import GlobalOrder
from .inbox import Inboxes
from .index import Entry, Removed
from .journal import is_one_record, scan
from .layout import StorePaths, safe_name
from .run_folder import EventReader, UnsoundError, is_as_known, length_of
from .view import View
from .writing import Extension, Writer

Result = TypeVar("Result")


class Store:
    """One handle on a store, for the kernel `owner` or for a reader."""

    def __init__(self, paths: StorePaths, owner: str | None, disk: Disk) -> None:
        self._paths = paths
        self._view = View(paths, owner, disk)
        self._writer = Writer(paths, disk)
        self._inboxes = Inboxes(self._view)
        self._events = EventReader()
        self._global_order = GlobalOrder(paths, self._events)
        self._blobs = Blobs(paths)

    def open(self) -> None:
        """Learn what is there."""
        self._view.open()

    def give_up_opening(self) -> None:
        """Let an opening that is under way end soon, with OpeningGivenUp. From any thread."""
        self._view.stop.set()

    def close(self) -> None:
        """Give the files back; every later call raises StoreError."""
        self._view.close()

    def read(self, work: Callable[[], Result], lock: StoreLock, patience: float) -> Result:
        """Run `work` on what was committed by now; raises LockIsBusy if others keep that from being known."""
        self._view.look(lock, patience)
        return work()

    def write(self, work: Callable[[], Result]) -> Result:
        """Run `work` knowing everything; needs the store lock."""
        self._view.begin_to_write()
        result = work()
        self._view.end_writing()
        return result

    # -- writing, under the store lock ----------------------------------------------------------------------------

    def append(self, commits: Sequence[Commit]) -> dict[str, Refused]:
        """Make the commits; the uids of those that were refused, and why."""
        creations: dict[str, Commit] = {}
        extensions: dict[str, Extension] = {}
        refused: dict[str, Refused] = {}
        positions: dict[str, int] = {}
        with self._view.mutex:
            # Not only one more than the last: that may have been of a run that is gone, and forgotten with it.
            position = max(self._view.last_position, time.time_ns() // 1000)
            blocked = overlapping(commits, self._uids_of)
            for commit in commits:
                position += len(commit.rows)
                folder = safe_name(commit.run_id)
                if commit.expected_seq == 0 and (folder in creations or self._view.run_table.get(folder) is not None):
                    refused[commit.uid] = Refused.EXISTS
                elif commit.uid in blocked:
                    refused[commit.uid] = Refused.OVERLAPS
                elif commit.expected_seq == 0:
                    creations[folder], positions[folder] = commit, position
                elif isinstance(extension := self._extension(folder, commit, position), Refused):
                    refused[commit.uid] = extension
                else:
                    extensions[folder] = extension
        if creations or extensions:
            self._view.begin_change([*creations, *extensions])
            self._writer.write_definitions(commit.definition for commit in creations.values())
            done = self._writer.create(creations, positions) + self._writer.extend(list(extensions.values()))
            for entry in done:
                if entry.summary.owner is None:
                    self._writer.write_state(entry)
            self._view.publish(done)
            self._forget_requests(commit for commit in commits if commit.uid not in refused)
        return refused

    def _uids_of(self, filter: RunFilter) -> Iterator[str]:
        return (entry.summary.uid for entry in self._view.run_table.matching(filter))

    def _extension(self, folder: str, commit: Commit, position: int) -> Extension | Refused:
        """Return what a commit adds to its run, or why it is refused."""
        entry = self._view.run_table.get(folder)
        if entry is None or (entry := self._view.up_to_date(entry)) is None or entry.damage is not None:
            return refusal(None, commit)
        stored = entry.summary
        expected = (commit.run_id, commit.uid, commit.token, commit.expected_seq)
        if (stored.run_id, stored.uid, stored.token, stored.seq) != expected:
            is_same = stored.run_id == commit.run_id
            return refusal((stored.uid, stored.token, stored.seq) if is_same else None, commit)
        summary = keep_fixed_columns(stored, commit.summary)
        return Extension.of(entry, summary, commit.rows, commit.taken, position)

    def _forget_requests(self, commits: Iterable[Commit]) -> None:
        for commit in commits:
            if commit.taken:
                with self._view.mutex:
                    self._inboxes.forget(safe_name(commit.run_id), commit.taken)

    def claim(self, run_id: str, require_idle: Callable[[RunSummary], None]) -> RunSummary:
        """Make this kernel the owner of a run."""
        entry = self._view.sound_entry_of(run_id)
        require_idle(entry.summary)
        if self._view.up_to_date(entry) is not entry:
            entry = self._view.sound_entry_of(run_id)
        summary = ClaimedRun.by(self._view.owner, entry.summary)
        self._view.begin_change([entry.folder])
        done = self._writer.extend([Extension.of(entry, RunSummary._make(summary))])
        with self._view.mutex:
            self._forget_leftovers(entry)
        self._view.publish(done)
        return summary

    def claim_idle(
        self, wanted: RunFilter, workflows: Collection[str], limit: int, is_alive: Callable[[str], bool]
    ) -> Sequence[RunSummary]:
        """Make this kernel the owner of runs whose owner is gone, oldest first."""
        with self._view.mutex:
            found = self._claimable(wanted, workflows, limit, is_alive)
        claimed = [ClaimedRun.by(self._view.owner, entry.summary) for entry in found]
        if found:
            self._view.begin_change([entry.folder for entry in found])
            changes = zip(found, map(RunSummary._make, claimed), strict=True)
            done = self._writer.extend([Extension.of(*each) for each in changes])
            with self._view.mutex:
                for entry in found:
                    self._forget_leftovers(entry)
            self._view.publish(done)
        return claimed

    def _forget_leftovers(self, entry: Entry) -> None:
        """Remove what a crash of its owner has left beside the journal of a run."""
        self._inboxes.forget_answered(entry)
        self._writer.forget_unrecorded(entry)

    def _claimable(
        self, wanted: RunFilter, workflows: Collection[str], limit: int, is_alive: Callable[[str], bool]
    ) -> builtins.list[Entry]:
        found: list[Entry] = []
        for entry in list(self._idle(wanted, is_alive)):
            if len(found) == limit:
                break
            if entry.summary.definition is None and entry.summary.workflow not in workflows:
                continue
            current = self._view.up_to_date(entry)  # with a torn end it is looked at, and stands as it stood
            if current is not None and current.damage is None and current.summary == entry.summary:
                found.append(current)
        return found

    def release(self, uids: Collection[str] | None) -> None:
        """Give up runs of this kernel."""
        with self._view.mutex:
            mine = [
                entry
                for entry in self._view.run_table
                if self._view.is_mine(entry.summary) and (uids is None or entry.summary.uid in uids)
            ]
            chosen = [
                Extension.of(entry, entry.summary._replace(owner=None))
                for entry in map(self._view.up_to_date, mine)
                if entry is not None and entry.damage is None
            ]
        if chosen:
            self._view.begin_change([extension.entry.folder for extension in chosen])
            self._view.publish(self._writer.extend(chosen))

    def delete(self, run_id: str, uid: str, require_idle: Callable[[RunSummary], None]) -> None:
        """Remove a run. A damaged one goes to the quarantine."""
        entry = self._view.entry_of(run_id)
        if entry.summary.uid != uid:
            raise RunNotFoundError(run_id, self._paths.store)
        require_idle(entry.summary)
        self._remove([entry])

    def prunable(self, filter: RunFilter, is_alive: Callable[[str], bool]) -> builtins.list[Sequence[RunSummary]]:
        """Return the families that match and that nobody alive has, in the order in which they go. One with a damaged
        member is left for a person."""
        with self._view.mutex:
            runs = (entry.summary for entry in self._view.run_table.matching(filter))
            found = prunable(filter, runs, self._view.run_table.families(), cache(is_alive))
            return [family for family in found if self._is_sound(family)]

    def size(self, runs: Iterable[RunSummary]) -> int:
        """Return the bytes of the journals and payloads of these runs."""
        with self._view.mutex:
            return sum(self._size(run) for run in runs)

    def prune(
        self, filter: RunFilter, families: Sequence[Sequence[RunSummary]], is_alive: Callable[[str], bool]
    ) -> tuple[builtins.list[RunSummary], int]:
        """Remove families as they are by now, unless somebody has them or they match no more; the runs that went, and
        their bytes."""
        with self._view.mutex:
            roots = [entry.summary for root, *_ in families if (entry := self._entry_of_life(root)) is not None]
            still = prunable(filter, roots, self._view.run_table.families(), cache(is_alive))
            chosen = [run for family in still if self._is_sound(family) for run in family]
            size = sum(self._size(run) for run in chosen)
            entries = [entry for run in chosen if (entry := self._entry_of_life(run)) is not None]
        if entries:
            self._remove(entries)
        return chosen, size

    def _entry_of_life(self, run: RunSummary) -> Entry | None:
        entry = self._view.run_table.get(safe_name(run.run_id))
        return entry if entry is not None and entry.summary.uid == run.uid else None

    def _is_sound(self, family: Sequence[RunSummary]) -> bool:
        entries = (self._view.run_table.get(safe_name(run.run_id)) for run in family)
        return all(entry is not None and entry.damage is None for entry in entries)

    def _size(self, run: RunSummary) -> int:
        entry = self._view.run_table.get(safe_name(run.run_id))
        return 0 if entry is None else entry.length + size_of(self._paths.runs / entry.folder)

    def _idle(self, filter: RunFilter, is_alive: Callable[[str], bool]) -> Iterator[Entry]:
        """Yield the runs that match, that nobody alive has and that are not damaged, oldest first."""
        living: dict[str | None, bool] = {None: False}
        for entry in self._view.run_table.oldest(filter):
            owner = entry.summary.owner
            if owner not in living:
                assert owner is not None
                living[owner] = is_alive(owner)
            if not living[owner] and entry.damage is None:
                yield entry

    def _remove(self, entries: Sequence[Entry]) -> None:
        self._view.begin_change([entry.folder for entry in entries])
        removed = self._writer.remove(entries)
        self._view.publish([Removed(entry.folder) for entry in entries])
        if not is_held(self._paths):
            self._writer.clear(removed)

    def clear_leftovers(self) -> None:
        """Remove what a crash, or a copy that was being made, has left of runs that were created or removed, and
        payloads that no record refers to."""
        self._writer.clear_unfinished()
        if not is_held(self._paths):
            self._writer.clear_removed()
        with self._view.mutex:
            self._writer.clear_blobs(list(self._view.run_table))

    def post(self, run_id: str, request: Request) -> RunSummary:
        """Leave a request for the owner of a run."""
        entry = self._view.sound_entry_of(run_id)
        if entry.summary.status in FINAL:
            raise RunFinishedError(run_id, entry.summary.status)
        self._view.begin_change([entry.folder])
        self._inboxes.post(entry, request)
        return entry.summary

    def discard(self, run_id: str, uid: str, ids: Collection[int]) -> None:
        """Remove requests from the inbox of a run, if it is there and is that one."""
        with self._view.mutex:
            entry = self._view.run_table.get(safe_name(run_id))
            if entry is not None and entry.summary.uid == uid:
                self._inboxes.discard(entry, ids)

    def examine(self, run_id: str) -> None:
        """Read the whole journal of a run whose events could not be read, and tell everybody how it stands."""
        with self._view.mutex:
            entry = self._view.run_table.get(safe_name(run_id))
            if entry is not None:
                self._view.examine(entry, whole=True)

    # -- reading --------------------------------------------------------------------------------------------------

    def take(self) -> builtins.list[Posted]:
        """Return the open requests to this kernel's runs."""
        with self._view.mutex:
            return self._inboxes.take()

    def has_posts(self) -> bool:
        """True if `take` may have something new."""
        with self._view.mutex:
            return self._inboxes.have_news()

    def load(self, run_id: str) -> RunSummary:
        """Return the summary of a run; that of a damaged one says so in its error."""
        with self._view.mutex:
            return self._shown(self._view.entry_of(run_id))

    def read_events(self, run_id: str, uid: str, after_seq: int, limit: int) -> builtins.list[EventRow]:
        """Events of a run; raises UnsoundError if its journal has to be examined first."""
        with self._view.mutex:
            if self._view.entry_of(run_id).summary.uid != uid:
                raise RunReplacedError(run_id)
            entry = self._view.sound_entry_of(run_id)
        return self._events.read(self._paths.runs / entry.folder, entry, after_seq, limit)

    def last_position(self) -> int:
        """Return the position of the last event of all runs."""
        with self._view.mutex:
            return self._view.last_position

    def changes(self, after: int, limit: int) -> builtins.list[Change]:
        """Events of all runs after a position, those of damaged runs left out. Raises UnsoundError with the id of a run
        whose journal has to be examined first."""
        with self._view.mutex:
            entries = [entry for entry in self._view.run_table.changed(after) if entry.damage is None]
        return self._global_order.changes(entries, after, limit)

    def read_runs(self, run_ids: Sequence[str], events: int) -> builtins.list[FoundRun]:
        """What `StateBackend.read_runs` does, up to the first run that has to be looked at by itself: one whose journal
        must be examined, or grows in this moment."""
        found: builtins.list[FoundRun] = []
        size = 0
        for run_id in run_ids:
            if size > READ_BYTES:
                break
            try:
                run = self._read_run(run_id, events)
            except UnsoundError:
                break
            except (RunNotFoundError, CorruptStoreError) as error:
                found.append(error)
            else:
                found.append(run)
                size += size_of_rows(run.events)
        return found

    def _read_run(self, run_id: str, events: int) -> StoredRun:
        with self._view.mutex:
            entry = self._view.sound_entry_of(run_id)
            posted = self._inboxes.of(entry)
        run = self._paths.runs / entry.folder
        rows = self._events.read(run, entry, 0, events) if events else []
        if length_of(run) != entry.length:  # a request that its owner has answered is in neither of them
            raise UnsoundError
        return StoredRun(entry.summary, rows, posted)

    def requests(self, run_id: str, uid: str) -> builtins.list[Posted]:
        """Return the open requests to a run."""
        with self._view.mutex:
            entry = self._view.entry_of(run_id)
            if entry.summary.uid != uid:
                raise RunReplacedError(run_id)
            return self._inboxes.of(entry)

    def paused_with(self, kind: str) -> builtins.list[tuple[str, str]]:
        """Return the paused runs without an owner that have a request of this kind, each as (run_id, uid)."""
        with self._view.mutex:
            paused = self._view.run_table.matching(RunFilter(statuses=(RunStatus.PAUSED,)))
            idle = (entry for entry in paused if entry.summary.owner is None)
            asked = (entry for entry in idle if any(each.request.kind == kind for each in self._inboxes.of(entry)))
            return [(entry.summary.run_id, entry.summary.uid) for entry in asked]

    def stats(self, since: int, workflow: str | None) -> Sequence[WorkflowStats]:
        """Return what runs add up to, by workflow."""
        with self._view.mutex:
            found = self._view.run_table.matching(RunFilter(workflow=workflow))
            return tally((entry.summary for entry in found), since)

    def list(self, filter: RunFilter, order: Order, limit: int, below: Position | None) -> builtins.list[RunSummary]:
        """Summaries, newest first."""
        with self._view.mutex:
            found = self._view.run_table.newest(filter, order, below)
            return [self._shown(entry) for entry in islice(found, limit)]

    def due(self, instant: int, limit: int) -> Due:
        """Runs of this kernel whose time has come, soonest first."""
        assert self._view.owner is not None
        with self._view.mutex:
            waiting = list(islice(self._view.run_table.waiting(self._view.owner), limit + 1))
        instants = [summary.wake_at for summary in waiting if summary.wake_at is not None]
        ready = min(limit, bisect_right(instants, instant))
        return Due(waiting[:ready], instants[ready] if ready < len(instants) else None)

    def count(self, filter: RunFilter) -> int:
        """Return how many runs match."""
        with self._view.mutex:
            return sum(1 for _ in self._view.run_table.matching(filter))

    # -- keeping the store ------------------------------------------------------------------------------------------

    def entries(self) -> builtins.list[Entry]:
        """Return how all runs stand, by their folders."""
        with self._view.mutex:
            return sorted(self._view.run_table, key=attrgetter("folder"))

    def check(self, folders: Sequence[str]) -> tuple[builtins.list[str], builtins.list[Problem]]:
        """Read everything of some runs: the ids of those that have to be examined, and what else is wrong."""
        doubtful: list[str] = []
        problems: list[Problem] = []
        for folder in folders:
            with self._view.mutex:
                entry = self._view.run_table.get(folder)
            if entry is None or entry.damage is not None:
                continue
            is_sound, orphans = is_as_known(self._paths.runs / folder, entry)
            if not is_sound:
                doubtful.append(entry.summary.run_id)
                continue
            texts = [f"{BLOBS}/{name} belongs to none of its events and may be removed" for name in sorted(orphans)]
            texts += self._inboxes.problems(folder)
            problems += (Problem(entry.summary.run_id, text) for text in texts)
        return doubtful, problems

    def problems(self) -> builtins.list[Problem]:
        """Return what is wrong with runs that are known as damaged and with what runs share. Needs the store lock.

        A shared payload that no run uses is no damage: a copy that was made without hard links has only such ones."""
        found = [
            Problem(entry.summary.run_id, self._view.damage_error(entry, entry.damage).problem)
            for entry in self._view.damaged()
            if entry.damage is not None
        ]
        definitions = (path for path in self._paths.definitions.glob("*") if not path.name.endswith(".new"))
        texts = [
            f"the definition {path} does not match its checksum"
            for path in sorted(definitions)
            if not _is_definition(path)
        ]
        return found + [Problem(None, text) for text in texts]

    def snapshot(self) -> Snapshot:
        """Return how all runs stand and what was asked of them. Needs the store lock."""
        with self._view.mutex:
            entries = list(self._view.run_table)
            last = self._view.last_request
        found = ((entry.folder, self._inboxes.files_of(entry.folder)) for entry in entries)
        return Snapshot(entries, {folder: files for folder, files in found if files}, last)

    def details(self) -> dict[str, Any]:
        """Return what an operator wants to know."""
        with self._view.mutex:
            entries = list(self._view.run_table)
            lines = self._view.index_lines
        blobs = _sizes(self._paths.blobs)
        return {
            "folder": str(self._paths.folder),
            "format": layout.FORMAT,
            "durability": "full" if self._view.disk.durable else "normal",
            "runs": len(entries),
            "damaged": sum(entry.damage is not None for entry in entries),
            "journal_bytes": sum(entry.length for entry in entries),
            "blobs": len(blobs),
            "blob_bytes": sum(blobs),
            "definitions": len(_sizes(self._paths.definitions)),
            "quarantined": len(list(self._paths.quarantine.glob("*"))),
            "leftovers": [str(path) for path in self._writer.leftovers()],
            "index_lines": lines,
            "index_bytes": sum(_sizes(self._paths.index_file)),
            "free_bytes": shutil.disk_usage(self._paths.folder).free,
        }

    def damaged(self) -> builtins.list[str]:
        """Return the ids of the runs whose journals are damaged."""
        return [entry.summary.run_id for entry in self._view.damaged()]

    def get_definition(self, digest: str) -> StoredDefinition:
        """Return the definition of a digest."""
        path = self._paths.definitions / safe_name(digest)
        try:
            found = scan(content_of(path))
        except FileNotFoundError:
            raise WorkflowNotFoundError(digest, ()) from None
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            found = scan(b"")
        definition = StoredDefinition(*json.loads(found.lines[0].content)) if is_one_record(found) else None
        if definition is None or definition.digest != digest:
            raise CorruptStoreError(
                self._paths.store,
                f"the definition {path} does not match its checksum",
                ["restore this file from a backup", "or remove it: the next start of the workflow writes it again"],
            )
        return definition

    def put_workflow(self, definition: StoredDefinition) -> StoredDefinition | None:
        """Store a definition under the name of its workflow; returns what was there."""
        try:
            before = self.get_workflow(definition.workflow)
        except (WorkflowNotFoundError, CorruptStoreError):  # damage that is replaced is over
            before = None
        self._writer.write_definitions([definition.under_its_name()])
        return before

    def get_workflow(self, name: str) -> StoredDefinition:
        """Return what is stored under the name of a workflow."""
        try:
            return self.get_definition(workflow_key(name)).of_its_text()
        except WorkflowNotFoundError:
            raise WorkflowNotFoundError(name, ()) from None

    def stored_workflows(self) -> builtins.list[StoredDefinition]:
        """Return what is stored under the names of workflows, in their order."""
        found: builtins.list[StoredDefinition] = []
        for path in self._paths.definitions.glob(f"{WORKFLOW_KEYS}*"):
            if not path.name.endswith(".new"):
                with suppress(WorkflowNotFoundError):  # another process has just removed it
                    found.append(self.get_definition(path.name).of_its_text())
        return sorted(found, key=attrgetter("workflow"))

    def delete_workflow(self, name: str) -> None:
        """Remove what is stored under the name of a workflow."""
        self.get_workflow(name)
        self._writer.remove_definition(workflow_key(name))

    def _shown(self, entry: Entry) -> RunSummary:
        if entry.damage is None:
            return entry.summary
        error = self._view.damage_error(entry, entry.damage)
        return entry.summary._replace(error_type=type(error).__name__, error_message=error.problem)


def _is_definition(path: Path) -> bool:
    """True if a file holds a whole definition, and the one that its name says."""
    try:
        found = scan(content_of(path))
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return False
    return is_one_record(found) and safe_name(StoredDefinition(*json.loads(found.lines[0].content)).digest) == path.name


def _sizes(path: Path) -> builtins.list[int]:
    """Return the bytes of a file, or of each of those in a folder; nothing if it is not there."""
    try:
        files = [entry.stat() for entry in os.scandir(path)] if path.is_dir() else [path.stat()]
    except FileNotFoundError:
        return []
    return [file.st_size for file in files]
