"""Child processes that die with their kernel, SIGKILL included.

    children = Children(liveness_fd)
    finished = await children.run(["sh", "-c", "make"], cwd=workspace, env=env, input=b"", grace_seconds=2)
    await children.close()

Every child leads a session, and so a process group, of its own. Whatever way `run` ends, nothing of that group is alive
afterwards: a cancellation sends SIGTERM, waits, then sends SIGKILL; what a command leaves behind in the background ends
with it. What has left the group or the session is found by its traces, on Linux, and goes the same way (leftovers.py).

Should the kernel itself die, or hang where others may take over from it, the *guardian* does the killing (guardian.py).
It also holds `liveness_fd`, so that the lock by which others know the kernel to be alive is only free once its last
child is dead.

A child cannot start its command before the guardian knows of it: it waits at a gate, one line on its standard input.

What a command has used, the system tells whoever reaps it, once. So children are reaped here and not by the event loop.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import anyio.to_thread

from flujo.kernel.errors import KernelClosedError
from flujo.kernel.forks import close_in_children
from flujo.kernel.journal.state import Usage

from . import leftovers
from .dead_mans_switch import now
from .guardian import Guardian
from .leftovers import COMMAND, RUN

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

OUTPUT_LIMIT = 1024 * 1024
EOF_SECONDS = 0.5
"""How long to wait for the end of the output once the group is dead: only who left the group can delay it."""

_SHORT_SECONDS = 0.1
"""After a command that took longer, more may have been started than should be looked at in the event loop."""

_CHUNK = 65536

_LOST = 255
"""The return code of a command whose own one somebody else was told."""

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in what the system counts the peak of a resident set in."""

_GATE = 'read -r _ || exit 125; exec "$@"'
"""The shell reads byte by byte up to the newline, so the command finds exactly its own input behind the gate's line."""


class Finished(NamedTuple):
    """How a child ended: `return_code` is -N after signal N. `truncated`: more was printed than was kept."""

    return_code: int
    stdout: bytes
    stderr: bytes
    truncated: bool


class Children:
    """The child processes of one kernel. `close` ends what is left of them; use it from one event loop."""

    def __init__(
        self,
        liveness_fd: int | None = None,
        account: Callable[[], tuple[str, str] | None] = lambda: None,
        certain_seconds: float | None = None,
    ) -> None:
        """The guardian keeps `liveness_fd` open until the last child is dead. `account` names the run (uid) and the
        step that a command started by the calling task is charged to. With `certain_seconds` the guardian kills all
        children so many seconds from now, unless `renew` is called before that."""
        self._account = account
        self._late = anyio.Event()
        good_until = None if certain_seconds is None else now() + certain_seconds
        self._guardian = Guardian(liveness_fd, good_until, self._note_late)
        close_in_children(self)
        self._closed = False
        self.used: dict[tuple[str, str], Usage] = {}  # (uid, step) → by commands of an attempt that have ended

    def renew(self, certain_seconds: float) -> None:
        """Have the children live for so many seconds from now on, if nobody ends them."""
        self._guardian.renew(now() + certain_seconds)

    async def wait_late(self) -> None:
        """Return once the guardian is found to have killed the children because nobody had called `renew` in time."""
        await self._late.wait()
        self._late = anyio.Event()

    def _note_late(self) -> None:
        self._late.set()

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | Path,
        env: Mapping[str, str],
        input: bytes = b"",
        more_input: AsyncIterable[bytes] | None = None,
        output_limit: int = OUTPUT_LIMIT,
        grace_seconds: float = 2.0,
        on_output: Callable[[str, bytes], None] | None = None,
        detach: bool = False,
        stop_signal: int = signal.SIGTERM,
    ) -> Finished:
        """Run a command to its end. `more_input` is what it reads behind `input`, as that comes. When it is cancelled,
        it and all it has started get `stop_signal`, and what is left `grace_seconds` later is killed.

        With `detach`, what the command starts in a session of its own is not looked for and lives on; without, nothing
        of it does.

        Each of stdout and stderr is kept up to `output_limit` bytes, the first and the last half of it. `on_output`
        receives everything as it comes, as ("stdout" or "stderr", bytes); it must not raise. Raises FileNotFoundError
        or PermissionError, before anything is started, for a command that cannot be. Never returns for one that the
        guardian has killed because this process was late (`wait_late`).
        """
        command = find_command(argv, cwd, env)
        if self._closed:
            raise KernelClosedError
        await anyio.lowlevel.checkpoint()
        with ExitStack() as stack:
            (stdin, stdout, stderr), theirs = _streams(stack)
            word = os.urandom(8).hex()
            variables = _unmarked(env) if detach else self._marked(env, word)
            process = _Process(command, theirs, cwd, variables, leftovers.of_command(word), detach)
            stack.callback(process.close)
            for end in theirs:
                end.close()
            out = _Reader("stdout", stdout.fd, output_limit, on_output)
            err = _Reader("stderr", stderr.fd, output_limit, on_output)
            feed = _Writer(stdin, b"\n" + input, more_input)
            try:
                if self._guardian.register(process.pid, word):
                    await _run_to_the_end(process, feed, (out, err), grace_seconds, stop_signal)
            finally:
                with anyio.CancelScope(shield=True):
                    await process.end_all()
                was_late = self._guardian.forget(process.pid, word)
                self._add_up(process.used)
            if was_late:  # how it ended says nothing of it: whoever finds this kernel late stops the body as well
                await anyio.sleep_forever()
            assert process.returncode is not None
            return Finished(process.returncode, out.kept(), err.kept(), out.left_out + err.left_out > 0)

    def _marked(self, env: Mapping[str, str], word: str) -> dict[str, str]:
        """Return the variables with those by which whatever inherits them is found."""
        outer = f"{env[COMMAND]}:" if env.get(COMMAND) else ""
        account = self._account()
        return {**({} if account is None else {RUN: account[0]}), **env, COMMAND: outer + word}

    def _add_up(self, used: Usage | None) -> None:
        if used is not None and (key := self._account()) is not None:
            before = self.used.get(key)
            self.used[key] = used if before is None else before.plus(used)

    async def close(self) -> None:
        """End the guardian, and with it every child that still runs. The liveness fd may be let go of afterwards."""
        self._closed = True
        if self._guardian.pid is not None:
            with anyio.CancelScope(shield=True):
                await _in_thread(self._guardian.leave)

    def close_in_child(self) -> None:
        """Let go of the guardian in a forked child."""
        self._closed = True
        self._guardian.close_in_child()


def find_command(argv: Sequence[str], cwd: str | Path, env: Mapping[str, str]) -> list[str]:
    """`argv` with the file its command stands for, as the child would find it; raises an OSError if there is none."""
    from shutil import which  # which brings four compressors along

    if not os.path.isdir(cwd):
        raise FileNotFoundError(f"the working directory {str(cwd)!r} does not exist")
    if not argv or not argv[0]:
        raise FileNotFoundError("the command is empty")
    if any("\0" in part for part in argv):
        raise ValueError(f"the command {argv[0]!r} has an argument with a NUL byte")
    name, here = argv[0], os.path.join(os.getcwd(), cwd)
    where, places = name, None
    if os.path.dirname(name):
        where = os.path.join(here, name)
    else:
        listed = env.get("PATH", os.defpath).split(os.pathsep)
        places = os.pathsep.join(os.path.join(here, place) for place in listed)
    if found := which(where, path=places):
        return [found, *argv[1:]]
    if which(where, mode=os.F_OK, path=places):
        raise PermissionError(f"the command {name!r} is not executable")
    if os.path.isdir(where):
        raise PermissionError(f"the command {name!r} is a directory")
    place = " on the PATH" if not os.path.dirname(name) else "" if os.path.isabs(name) else f" in {cwd}"
    raise FileNotFoundError(f"there is no command {name!r}{place}")


async def _run_to_the_end(
    process: _Process, writer: _Writer, readers: Sequence[_Reader], grace_seconds: float, stop_signal: int
) -> None:
    """Feed and drain the child until it has exited, or until we are cancelled and have ended it."""
    streams: list[_Writer | _Reader] = [writer, *readers]
    async with anyio.create_task_group() as tasks:
        for stream in streams:
            tasks.start_soon(stream.run)
        try:
            await process.wait()
        finally:
            # The streams go on under their own shields: a command that says good-bye must not block on a full pipe.
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    await process.ask_all(stop_signal)
                    with anyio.move_on_after(grace_seconds):
                        await process.wait()
                        for reader in readers:  # its subprocesses may need a moment longer than the leader
                            await reader.ended.wait()
                        await process.wait_for_all()
                await process.end_all()
                with anyio.move_on_after(EOF_SECONDS):
                    for reader in readers:
                        await reader.ended.wait()
            for stream in streams:
                if not stream.is_over:  # to cancel a scope that nothing is in takes a third of the time of a small step
                    stream.scope.cancel()


class _Process:
    """A command behind its gate, reaped by `wait`, with whatever it starts. One task at a time may wait for it."""

    def __init__(
        self,
        command: Sequence[str],
        streams: tuple[_End, _End, _End],
        cwd: str | Path,
        env: Mapping[str, str],
        traces: leftovers.Traces,
        detach: bool,
    ) -> None:
        """Start it. By its session and by `traces` all is known that it starts, and by its descent unless `detach`.

        This blocks for the millisecond it takes: a thread would take longer to get at."""
        stdin, stdout, stderr = (end.fd for end in streams)
        self._popen = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "sh", *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        self._started = anyio.current_time()
        self._traces = traces._replace(sessions=frozenset([self.pid]))
        self._detach = detach
        self._all_ended = False
        self.returncode: int | None = None
        self.used: Usage | None = None
        self._floor = _own_peak()  # not before it has begun: what was counted until then is not more
        self._reaped: tuple[int, resource.struct_rusage | None] | None = None
        self._ended = self._watch()

    async def wait(self) -> None:
        """Return once it has ended and is reaped."""
        if self.returncode is None:
            await anyio.wait_readable(self._ended.fd)
            self._reap()
            assert self._reaped is not None
            status, told = self._reaped
            self.returncode = self._popen.returncode = os.waitstatus_to_exitcode(status)
            self.used = None if told is None else _usage(told, self._floor)

    async def ask_all(self, number: int) -> None:
        """Send a signal to the command and to all it has started, wherever that is by now."""
        if not self._detach:
            family = await _in_thread(leftovers.descendants, self.pid)
            self._traces = self._traces._replace(family=family)
        _signal_group(self.pid, number)
        await _in_thread(leftovers.ask, self._traces, self.pid, number)

    async def wait_for_all(self) -> None:
        """Return once nothing is left of what the command, which has ended, has started."""
        while await _in_thread(leftovers.find, self._traces):  # noqa: ASYNC110
            await anyio.sleep(0.01)  # they are not our children, nothing reports their end

    async def end_all(self) -> None:
        """SIGKILL the command and all it has started; return once it is reaped and nothing of it is alive."""
        if self._all_ended:
            return
        await _kill_group(self)
        if await self._has_left_something():
            await _in_thread(leftovers.kill, self._traces)
        self._all_ended = True

    async def _has_left_something(self) -> bool:
        """Look at what was started since the command was, which is next to nothing after a short one."""
        lasted = anyio.current_time() - self._started
        if lasted < _SHORT_SECONDS:
            return bool(leftovers.find(self._traces, self.pid))
        born_after = self.pid if lasted < leftovers.in_order_for() else None
        return bool(await _in_thread(leftovers.find, self._traces, born_after))

    def close(self) -> None:
        """Let go of what tells its end."""
        self._ended.close()

    def _watch(self) -> _End:
        """Return a file descriptor that becomes readable when the process has ended."""
        if sys.platform.startswith("linux"):
            try:
                return _End(os.pidfd_open(self.pid))
            except OSError:  # a kernel, or a sandbox, that does not have it
                pass
        read, write = map(_End, os.pipe())

        def watch() -> None:
            self._reap()
            write.close()

        threading.Thread(target=watch, name=f"flujo-wait-{self.pid}", daemon=True).start()
        return read

    def _reap(self) -> None:
        if self._reaped is not None:
            return
        try:
            _, status, told = os.wait4(self.pid, 0)
        except ChildProcessError:  # SIGCHLD is ignored here, or somebody waits for whatever ends: how it did is lost
            self._reaped = _LOST << 8, None
        else:
            self._reaped = status, told


class _End:
    """Our end of a pipe, closed once."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._open = True
        close_in_children(self)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)

    def close_in_child(self) -> None:
        """Close the copy of a forked child, or a command would wait for the end of its input as long as that lives."""
        self.close()


def _unmarked(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in (COMMAND, RUN)}


def _pipe(stack: ExitStack) -> tuple[_End, _End]:
    read, write = map(_End, os.pipe())
    stack.callback(read.close)
    stack.callback(write.close)
    return read, write


def _streams(stack: ExitStack) -> tuple[tuple[_End, _End, _End], tuple[_End, _End, _End]]:
    """Return our ends of the standard input, output and error of a command, and its own ends."""
    stdin_read, stdin = _pipe(stack)
    stdout, stdout_write = _pipe(stack)
    stderr, stderr_write = _pipe(stack)
    # Plain pipes, not those of open_process: asyncio before 3.12.4 does not report an exit while some stranger holds
    # the other end of one. Only our own ends are made non-blocking; the command's ends are not touched.
    for end in (stdin, stdout, stderr):
        os.set_blocking(end.fd, False)
    return (stdin, stdout, stderr), (stdin_read, stdout_write, stderr_write)


class _Writer:
    """Writes the gate's line and the input, then closes the child's standard input."""

    def __init__(self, end: _End, data: bytes, more: AsyncIterable[bytes] | None) -> None:
        self.scope = anyio.CancelScope(shield=True)
        self.is_over = False
        self._end = end
        self._data = data
        self._more = more

    async def run(self) -> None:
        try:
            with self.scope:
                await self._write(self._data)
                if self._more is not None:
                    async for data in self._more:
                        await self._write(data)
        except BrokenPipeError:  # the command does not want its input; that is its right
            pass
        self._end.close()
        self.is_over = True

    async def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            await anyio.wait_writable(self._end.fd)
            try:
                left = left[os.write(self._end.fd, left[:_CHUNK]) :]
            except BlockingIOError:
                pass


class _Reader:
    """Drains one output of the child and keeps the first and the last part of it."""

    def __init__(self, name: str, fd: int, limit: int, on_output: Callable[[str, bytes], None] | None) -> None:
        self.scope = anyio.CancelScope(shield=True)
        self.ended = anyio.Event()
        self.left_out = 0
        self._name, self._fd, self._on_output = name, fd, on_output
        self._half = limit // 2
        self._head, self._tail = bytearray(), bytearray()

    async def run(self) -> None:
        with self.scope:
            while True:
                await anyio.wait_readable(self._fd)
                try:
                    chunk = os.read(self._fd, _CHUNK)
                except BlockingIOError:
                    continue
                if not chunk:
                    break
                self._keep(chunk)
                if self._on_output is not None:
                    self._on_output(self._name, chunk)
        self.ended.set()

    @property
    def is_over(self) -> bool:
        return self.ended.is_set()

    def _keep(self, chunk: bytes) -> None:
        room = self._half - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if (excess := len(self._tail) - self._half) > 0:
            del self._tail[:excess]
            self.left_out += excess

    def kept(self) -> bytes:
        gap = f"\n[... {self.left_out} bytes left out ...]\n".encode() if self.left_out else b""
        return bytes(self._head) + gap + bytes(self._tail)


def _usage(told: resource.struct_rusage, floor: int) -> Usage:
    """Return what a child has used, as the system tells it.

    A peak that is not above `floor` is not its own: Linux counts the peak of a process from that of the one it was made
    from, this one, and keeps it through the exec."""
    peak = told.ru_maxrss if told.ru_maxrss > floor else None
    return Usage(round(told.ru_utime + told.ru_stime, 6), None if peak is None else peak * _PEAK_UNIT)


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _in_thread(function: Callable[[*Arguments], R], *arguments: *Arguments) -> R:
    """Call a function that blocks, in a thread that nothing else can be occupying."""
    return await anyio.to_thread.run_sync(function, *arguments, limiter=anyio.CapacityLimiter(1))


async def _kill_group(process: _Process) -> None:
    """SIGKILL the group of `process` and return once its leader is reaped and nobody in it is alive."""
    survivors = _signal_group(process.pid, signal.SIGKILL)
    await process.wait()
    while survivors and _is_group_alive(process.pid):
        _signal_group(process.pid, signal.SIGKILL)
        await anyio.sleep(0.002)  # they are not our children, nothing reports their end


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to every process of a group; whether there was one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # the latter: only zombies left, on macOS
        return False
    return True


def _is_group_alive(group: int) -> bool:
    if not sys.platform.startswith("linux"):
        return _signal_group(group, 0)
    return leftovers.is_group_alive(group)
