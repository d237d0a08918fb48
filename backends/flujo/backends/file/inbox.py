"""Requests to the owners of runs: a file each, in the folder `inbox` of the run, named by a number that only grows.

A request is answered by the record that lists its number as taken; its file is removed after that, and if a crash comes
in between, by whoever claims the run next.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from flujo.kernel.backend import Posted, Request

from . import index
from .disk import content_of, opened, read_at
from .index import Entry
from .journal import NOTHING_BEFORE, encode, from_json, is_one_record, scan, to_text
from .run_folder import INBOX, JOURNAL
from .view import View

logger = logging.getLogger("flujo.backends.file")


class Inboxes:
    """The open requests to the runs of one handle's kernel."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._open: dict[str, dict[int, Posted]] = {}  # by folder
        self._answered: set[int] = set()  # recorded as taken, though the file could not be removed

    def post(self, entry: Entry, request: Request) -> None:
        """Leave a request; needs the store lock. Numbers are instants if the index, with the last one, was lost."""
        disk = self._view.disk
        number = max(self._view.last_request + 1, time.time_ns() // 1_000)
        inbox = self._view.paths.runs / entry.folder / INBOX
        if not inbox.exists():
            disk.make_folder(inbox)
            disk.sync_folder(inbox.parent)
        disk.replace(inbox / str(number), encode(to_text([entry.summary.uid, *request]), NOTHING_BEFORE)[0])
        disk.sync_folder(inbox)
        self._view.publish([index.NewRequest(entry.folder, number)])

    def take(self) -> list[Posted]:
        """Return all open requests, in order."""
        self._forget_lost_runs()
        for folder in sorted(self._view.dirty_inboxes):
            if (entry := self._view.run_table.get(folder)) is not None:
                self._open[folder] = self._read(entry)
        self._view.dirty_inboxes.clear()
        return sorted(posted for inbox in self._open.values() for posted in inbox.values())

    def of(self, entry: Entry) -> list[Posted]:
        """Return the open requests to one run, whoever owns it, in order. Its owner may have died before their files
        went."""
        found = self._read(entry)
        recorded = self._recorded(entry) if found and entry.damage is None else set()
        return [posted for number, posted in found.items() if number not in recorded]

    def files_of(self, folder: str) -> dict[str, bytes]:
        """Return the files of the open requests to a run, by their names. Needs the store lock."""
        inbox = self._view.paths.runs / folder / INBOX
        return {str(number): content_of(inbox / str(number)) for number in _numbers_in(inbox)}

    def problems(self, folder: str) -> Sequence[str]:
        """Return what is wrong with the requests to a run."""
        inbox = self._view.paths.runs / folder / INBOX
        if os.path.lexists(inbox) and (inbox.is_symlink() or not inbox.is_dir()):
            return [f"{INBOX} is no folder, so nothing can be asked of the run; move it away"]
        numbers = [number for number in _numbers_in(inbox) if not _is_whole(inbox / str(number))]
        return [f"{INBOX}/{number} is no whole request" for number in numbers]

    def have_news(self) -> bool:
        """True if `take` may find something it has not found before."""
        self._forget_lost_runs()
        return bool(self._view.dirty_inboxes)

    def forget(self, folder: str, taken: Collection[int]) -> None:
        """Remove requests whose answers are durable. One that cannot be removed counts as answered all the same."""
        for number in taken:
            try:
                self._view.disk.remove(self._view.paths.runs / folder / INBOX / str(number))
            except OSError as error:
                self._answered.add(number)
                logger.warning("%s: an answered request stays: %s", self._view.paths.store, error)
            self._open.get(folder, {}).pop(number, None)

    def discard(self, entry: Entry, ids: Collection[int]) -> None:
        """Remove requests that nobody will answer."""
        self.forget(entry.folder, {*ids} & {*_numbers_in(self._view.paths.runs / entry.folder / INBOX)})

    def forget_answered(self, entry: Entry) -> None:
        """Remove the requests that a crash has left although their answers are recorded."""
        numbers = set(_numbers_in(self._view.paths.runs / entry.folder / INBOX))
        if numbers:
            self.forget(entry.folder, numbers & self._recorded(entry))

    def _recorded(self, entry: Entry) -> set[int]:
        """Return the numbers of the requests that were answered, as the journal has them."""
        with opened(self._view.paths.runs / entry.folder / JOURNAL) as file:
            lines = scan(read_at(file, entry.length, 0)).lines
        return {number for line in lines for number in from_json(line.content).taken}

    def _forget_lost_runs(self) -> None:
        for folders in (self._view.dirty_inboxes, self._open):
            for folder in list(folders):
                entry = self._view.run_table.get(folder)
                if entry is None or not self._view.is_mine(entry.summary):
                    folders.pop(folder) if isinstance(folders, dict) else folders.discard(folder)

    def _read(self, entry: Entry) -> dict[int, Posted]:
        inbox = self._view.paths.runs / entry.folder / INBOX
        before = self._open.get(entry.folder, {})
        found: dict[int, Posted] = {}
        for number in _numbers_in(inbox):
            posted = before.get(number) or self._read_request(inbox / str(number), number)
            if posted is not None and posted.uid == entry.summary.uid and number not in self._answered:
                found[number] = posted
        return found

    def _read_request(self, path: Path, number: int) -> Posted | None:
        try:
            with opened(path) as file:
                found = scan(read_at(file, os.fstat(file).st_size, 0))
        except FileNotFoundError:  # answered, or gone with its run, in this moment
            return None
        if not is_one_record(found):
            logger.error("%s: the request %s is damaged; it is left there", self._view.paths.store, path)
            return None
        uid, kind, body, at = json.loads(found.lines[0].content)
        return Posted(number, uid, Request(kind, body, at))


def _is_whole(path: Path) -> bool:
    try:
        with opened(path) as file:
            return is_one_record(scan(read_at(file, os.fstat(file).st_size, 0)))
    except FileNotFoundError:  # answered in this moment
        return True


def _numbers_in(inbox: Path) -> Sequence[int]:
    """Return the numbers of the requests in an inbox, ascending."""
    try:
        names = os.listdir(inbox)
    except (FileNotFoundError, NotADirectoryError):  # `problems` names the latter
        return []
    return sorted(int(name) for name in names if name.isdecimal())
