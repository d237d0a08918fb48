"""The guardian of a kernel: a small shell that knows which commands run, and kills them once the kernel is gone.

It reads from a pipe what runs, and meets the end of that pipe when the kernel has ended, however it has. It also holds
the lock by which others know the kernel to be alive, which so is only free once the last command is dead.

Where others may take over from a kernel that lives (`Capabilities.lease_seconds`), the end of the pipe comes as well
when the kernel has not renewed in time that it counts as alive: a kernel that hangs, or is stopped, cannot end its
commands itself. A process between the two sees to that (dead_mans_switch.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from . import dead_mans_switch, leftovers

# Kept to what dash, bash 3.2 and busybox have in common. `kill -0` still finds a zombie, and in a container nobody may
# ever reap it: so where there is a /proc, the states in it decide who is alive, by the rule of _is_dead in leftovers.
# A command is written GROUP:WORD. `$1` and `$2` are what ends those that have left their group.
_SCRIPT = r"""
trap '' HUP INT TERM
commands=' '
while read -r line; do
    command=${line#?}
    case $line in
        +*) commands="$commands$command " ;;
        -*) case $commands in *" $command "*) commands="${commands%% $command *} ${commands#* $command }" ;; esac ;;
    esac
done
alive() {
    if [ -r /proc/self/stat ]; then
        for file in /proc/[0-9]*/stat; do
            read -r stat <"$file" || continue
            set -- ${stat##*) }
            case $1 in Z|X) [ "${18}" -gt 1 ] || continue ;; esac
            case $commands in *" $3:"*) return 0 ;; esac
        done
        return 1
    fi
    for each in $commands; do kill -s 0 -- "-${each%:*}" && return 0; done
    return 1
}
python=$1 leftovers=$2
while :; do
    for each in $commands; do kill -s KILL -- "-${each%:*}"; done
    alive || break
    sleep 0.01
done
[ "$commands" = ' ' ] || [ ! -x "$python" ] || exec "$python" -I -S "$leftovers" $commands
"""


class _Post(NamedTuple):
    """A guardian at work: what is written to, and the processes that end when that is closed."""

    pipe: int
    processes: tuple[subprocess.Popen[bytes], ...]

    def tell(self, line: str) -> None:
        os.write(self.pipe, line.encode())  # shorter than PIPE_BUF: never split

    def leave(self) -> None:
        """Let it meet the end of its pipe, and return when it has done what it then does."""
        os.close(self.pipe)
        for process in self.processes:
            process.wait()


class Guardian:
    """Has the commands of this process killed when it is gone, or late. Use it from one thread."""

    def __init__(self, liveness_fd: int | None, good_until: float | None, acted: Callable[[], None]) -> None:
        """It holds `liveness_fd` open until the last command is dead. It acts at `good_until`, an instant of
        `dead_mans_switch.now`, unless that is renewed; without one it only waits for the end of this process. `acted`
        is called when it is found to have acted."""
        self._liveness_fd = liveness_fd
        self._good_until = good_until
        self._acted = acted
        self._commands: set[str] = set()
        self._post: _Post | None = None
        self._has_left = False
        self._killed: set[str] = set()  # commands that were killed because this process was late

    @property
    def pid(self) -> int | None:
        """Return the process id of the shell, None while there is none."""
        return None if self._post is None else self._post.processes[-1].pid

    def register(self, group: int, word: str) -> bool:
        """Have a command killed, if it comes to that; False if it has come to that: nobody guards the command, which
        is not to begin."""
        command = f"{group}:{word}"
        if self._good_until is not None and dead_mans_switch.now() >= self._good_until:
            self._note_deaths({command})
            return False
        told = self._tell(f"+{command}\n")
        self._commands.add(command)
        return told or self._has_left or self._begin()

    def forget(self, group: int, word: str) -> bool:
        """A command has ended; return whether it has because this process was late."""
        command = f"{group}:{word}"
        told = self._tell(f"-{command}\n")
        self._commands.discard(command)
        if not told and self._commands and not self._has_left:
            self._begin()
        was_late = command in self._killed
        self._killed.discard(command)
        return was_late

    def renew(self, good_until: float) -> None:
        """Act at this instant, and no earlier."""
        self._good_until = good_until
        self._tell(f"{dead_mans_switch.RENEWED.decode()}{good_until!r}\n")

    def leave(self) -> None:
        """Kill what still runs, and guard nothing from now on. Blocks until nothing of it is alive."""
        if (post := self._take_post()) is not None:
            post.leave()

    def close_in_child(self) -> None:
        """Let go of the pipe in a forked child: by its end the guardian knows that the kernel is gone."""
        if (post := self._take_post()) is not None:
            os.close(post.pipe)
            for process in post.processes:
                process.returncode = 0  # it is not the child's to wait for

    def _take_post(self) -> _Post | None:
        self._has_left = True
        post, self._post = self._post, None
        return post

    def _tell(self, line: str) -> bool:
        """Write a line; False if nobody is there to read it. One that has ended has killed what it guarded if it had a
        deadline; without one somebody else has ended it, and its commands go on."""
        if self._post is None:
            return False
        try:
            self._post.tell(line)
        except BrokenPipeError:
            self._post.leave()
            self._post = None
            if self._good_until is not None:
                self._note_deaths(self._commands)
                self._commands = set()
            return False
        return True

    def _note_deaths(self, commands: Set[str]) -> None:
        self._killed |= commands
        self._acted()

    def _begin(self) -> bool:
        """Have a new one guard all commands; False if that is too late for them."""
        self._post = self._start()
        return all(self._tell(f"+{command}\n") for command in tuple(self._commands))

    def _start(self) -> _Post:
        python = sys.executable or ""
        pipe, shell = _reading(
            ["/bin/sh", "-c", _SCRIPT, "sh", python, leftovers.__file__],
            subprocess.DEVNULL,
            {"PATH": os.defpath},  # nothing of ours: sweep() of a run we may ourselves be part of must not find it
            () if self._liveness_fd is None else (self._liveness_fd,),
        )
        if self._good_until is None or not python:
            return _Post(pipe, (shell,))
        try:
            instant = repr(self._good_until)
            ours, switch = _reading([python, "-I", "-S", dead_mans_switch.__file__, instant], pipe, {})
        finally:
            os.close(pipe)
        return _Post(ours, (switch, shell))


def _reading(
    argv: Sequence[str], stdout: int, env: Mapping[str, str], pass_fds: Sequence[int] = ()
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a program in a session of its own, and return what it reads from, with it."""
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            argv,
            stdin=theirs,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=env,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return ours, process
