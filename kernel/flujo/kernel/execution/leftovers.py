"""What is left of a command, found and killed on Linux, wherever it hides.

A process is known to belong to a command by any of three traces: the word that the command was given in the variable
FLUJO_COMMAND, which whatever it starts inherits; its session; its descent, as far as that was seen before the command
ended. Elsewhere than on Linux other processes cannot be looked at, and nothing is found.

The standard library is all that is imported here: when a kernel has been killed, its guardian runs this file as a
program of its own, `leftovers.py SESSION:WORD …`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

COMMAND = "FLUJO_COMMAND"
"""The variable with the word of a command, behind those of the commands it was itself started by: `OUTER:INNER`."""

RUN = "FLUJO_RUN_UID"
"""The variable with the uid of the run."""

_FEW = 1000
"""Up to so many numbers are tried one by one; listing /proc takes longer for fewer."""

_ROUNDS = 100
"""How often a search goes on with the processes that were born during it. Others start processes too."""

_PAUSE = 0.002

_LOOKS = 5
"""How often in a row a process must be seen without variables."""

_EXEC_SECONDS = 1.0
"""How long a process may be in the middle of an exec until it counts as one without variables."""

_BIRTHS = 131_072
"""More processes than are started in a second by any system."""


class Traces(NamedTuple):
    """What a process is known by: bytes in its variables, its session, its number with the time it was started at."""

    variables: tuple[bytes, ...] = ()
    sessions: frozenset[int] = frozenset()
    family: frozenset[tuple[int, str]] = frozenset()

    def fit(self, pid: int) -> bool:
        """True if the process is alive and has one of these traces."""
        variables = _variables(pid)
        if any(each in variables for each in self.variables):
            return True
        if not self.sessions and not self.family:
            return False
        stat = _stat(pid)
        return not _is_dead(stat) and (int(stat[3]) in self.sessions or (pid, stat[19]) in self.family)


def of_command(*words: str) -> Traces:
    """Return the traces of the commands that were given these words."""
    return Traces(tuple(word.encode() for word in words))


def descendants(pid: int) -> frozenset[tuple[int, str]]:
    """Return the processes that descend from this one, each with the time it was started at."""
    parents = {each: stat for each in _processes() if (stat := _stat(each))}
    family, fresh = set[int](), {pid}
    while fresh:
        fresh = {each for each, stat in parents.items() if int(stat[1]) in fresh and each not in family}
        family |= fresh
    return frozenset((each, parents[each][19]) for each in family)


def find(traces: Traces, born_after: int | None = None) -> set[int]:
    """Return the living processes with these traces; only those with a number given out after `born_after`, if given.

    Those that are born during the search are looked at as well, in the order of their birth: a process that starts
    another one and ends is met either itself or in its child.
    """
    newest = _newest()
    looked_at = _born(born_after, newest)
    found = set[int]()
    for _ in range(_ROUNDS):
        found.update(_process_of(pid) for pid in looked_at if traces.fit(pid))
        before, newest = newest, _newest()
        if newest == before:
            break
        looked_at = _born(before, newest)
    return found


def ask(traces: Traces, but_group: int, number: int = signal.SIGTERM) -> None:
    """Send a signal to the processes with these traces, except for those in one group, which have got it."""
    for pid in find(traces) - {os.getpid()}:
        stat = _stat(pid)
        if stat and stat[2] != str(but_group):
            _send(pid, number)


def kill(traces: Traces) -> int:
    """Kill the processes with these traces, and return how many there were once all are dead. Blocks.

    They are stopped before the first one is killed: what starts processes for ever would else be ahead for ever. What
    belongs to another user is left alone."""
    killed, spared = 0, {os.getpid()}
    while found := find(traces) - spared:
        stopped: dict[int, str] = {}
        while fresh := found - spared - stopped.keys():
            for pid in fresh:
                stat = _stat(pid)
                if _send(pid, signal.SIGSTOP) and stat:
                    stopped[pid] = stat[19]
                else:
                    spared.add(pid)
            found = find(traces)
        for pid in stopped:
            _send(pid, signal.SIGKILL)
        killed += len(stopped)
        # A dying process loses its variables before its files, so it is watched by its number until it is dead.
        while any(_is_alive(*each) for each in stopped.items()):
            time.sleep(_PAUSE)
    return killed


def sweep(uids: Collection[str]) -> int:
    """Kill what is left of the child processes of these runs, and wait until they are dead. Returns how many there
    were.

    They are known by the variable FLUJO_RUN_UID they inherited. Elsewhere than on Linux other processes' variables
    cannot be read and nothing is found. Blocks, so call it in a thread.
    """
    return kill(_of_runs(uids))


def processes_of(uids: Collection[str]) -> set[int]:
    """Return the living processes that commands of these runs have started, as far as `sweep` would find them."""
    return find(_of_runs(uids)) if uids else set()


def _of_runs(uids: Collection[str]) -> Traces:
    return Traces(tuple(f"\0{RUN}={uid}\0".encode() for uid in uids))


def is_group_alive(group: int) -> bool:
    """True if a process of the group is alive."""
    stats = (_stat(pid) for pid in _processes())
    return any(stat[2] == str(group) and not _is_dead(stat) for stat in stats if stat)


def _born(after: int | None, newest: int | None) -> Iterable[int]:
    """Return the numbers, in order, of what was started between two processes; all where that cannot be told."""
    if after is None or newest is None or newest < after:  # the last: numbers are used again from the first one on
        return _processes()
    if newest - after < _FEW:
        return range(after + 1, newest + 1)
    return [pid for pid in _processes() if after < pid <= newest]


@lru_cache(maxsize=1)
def in_order_for() -> float:
    """Return for how many seconds after a process began no number is given out again: `born_after` holds so long."""
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text()) / _BIRTHS
    except (OSError, ValueError):
        return 0


def _newest() -> int | None:
    """Return the number that was given to a process or thread last; None where it is not known."""
    if not _tells_the_newest():
        return None
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[-1])


@lru_cache(maxsize=1)
def _tells_the_newest() -> bool:
    """True if /proc/loadavg is the system's own: in some containers it is another file, with stale numbers."""
    try:
        with open("/proc/loadavg", "rb") as file:
            last = int(file.read().split()[-1])
        return last > 0 and os.stat("/proc/loadavg").st_dev == os.stat("/proc").st_dev
    except (OSError, ValueError, IndexError):
        return False


def _send(pid: int, number: int) -> bool:
    """Send a signal; return whether that was possible."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _processes() -> list[int]:
    if not sys.platform.startswith("linux"):
        return []
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def _process_of(thread: int) -> int:
    """Return the process that a thread belongs to: threads have numbers as well, though none in the list of /proc."""
    try:
        lines = Path(f"/proc/{thread}/status").read_text(errors="replace").splitlines()
    except OSError:
        return thread
    return next((int(line.split()[1]) for line in lines if line.startswith("Tgid:")), thread)


def _variables(pid: int) -> bytes:
    """Return the variables a process was started with, each between NUL bytes; none without such a process.

    In the middle of an exec there are none to be read, for as long as the system is busy with others, so what has none
    is looked at several times."""
    without, until = 0, time.monotonic() + _EXEC_SECONDS
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = file.read()
        except OSError:  # gone, or somebody else's
            return b""
        if variables:
            return b"\0" + variables
        stat = _stat(pid)
        without = without + 1 if _has_memory(stat) and _is_without_variables(stat) else 0
        if without == _LOOKS or not _has_memory(stat):
            return b""
        time.sleep(_PAUSE / 20)
    return b""


def _is_without_variables(stat: Sequence[str]) -> bool:
    """True if the variables begin where they end, and this is no exec in which they are not there yet: only at its end
    does it say where the code of the program begins."""
    return stat[47] == stat[48] != "0" and stat[23] != "0"


def _has_memory(stat: Sequence[str]) -> bool:
    """True if the process is alive and no part of the system itself."""
    return not _is_dead(stat) and stat[20] != "0"


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on: state, parent, group, …; none without such a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def _is_dead(stat: Sequence[str]) -> bool:
    """Gone or a zombie, and not one whose other threads still run."""
    return not stat or (stat[0] in "ZX" and int(stat[17]) <= 1)


def _is_alive(pid: int, started: str) -> bool:
    stat = _stat(pid)
    return not _is_dead(stat) and stat[19] == started


if __name__ == "__main__":
    _commands = [each.split(":") for each in sys.argv[1:]]
    _traces = of_command(*(word for _, word in _commands))
    kill(_traces._replace(sessions=frozenset(int(session) for session, _ in _commands)))
