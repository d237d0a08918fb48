"""Processes of `flujoctl` that begin where the imports are done.

    with WarmStart(environment) as warm:
        process = warm.popen(["list"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)

Most of the time of a command goes into its imports, and they are the same each time. A process that has done them waits
here, and becomes a command whenever one is asked for: it copies itself, and the copy takes the arguments, folder,
environment and streams of the command. The copy is a child of the process that asked, so all that `subprocess` knows of
a process holds of it, and it ends as any Python does.

Run as a program, this module is the process that waits. That takes Linux (CLONE_PARENT); elsewhere, and where
coverage.py looks at every process from its start, commands start cold."""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import platform
import runpy
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
CLONE_PARENT = 0x8000
LENGTH = struct.Struct("!Q")

IS_POSSIBLE = sys.platform == "linux" and CLONE is not None and "COVERAGE_PROCESS_START" not in os.environ

COLD = "grpc"
"""What is not imported in advance: few commands need it, and a library with threads is not to be copied."""


class WarmStart:
    """One process that waits to become commands. `environment` is what it is started in."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._of_python = _of_python(environment)
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._waiting = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fits(self, environment: Mapping[str, str]) -> bool:
        """True if Python would be the same in this environment: it reads some variables when it starts only."""
        return _of_python(environment) == self._of_python

    def popen(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a command. `options` are those of `subprocess.Popen` that are about streams, folder and environment."""
        return _Command(self._ours, arguments, **options)

    def __enter__(self) -> WarmStart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ours.close()
        self._waiting.wait()


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LANG", "LC_"))}


class _Command(subprocess.Popen[str]):
    """A command as `subprocess` would have started it."""

    def __init__(self, waiting: socket.socket, arguments: Sequence[str], **options: Any) -> None:
        self._waiting = waiting
        super().__init__(["flujoctl", *arguments], **options)

    def _execute_child(self, args: Any, *rest: Any) -> None:  # how Popen makes its process, once there are pipes
        (_, _, _, _, cwd, env, _, _, _, stdin, stdin_write, stdout_read, stdout, stderr_read, stderr) = rest[:15]
        told = json.dumps({"arguments": args[1:], "cwd": os.fspath(cwd), "env": env}).encode()
        fds = array.array("i", [stdin, stdout, stderr])
        self._waiting.sendmsg([LENGTH.pack(len(told))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        self._waiting.sendall(told)
        (self.pid,) = LENGTH.unpack(_received(self._waiting, LENGTH.size))
        self._child_created = True
        ends = stdin, stdin_write, stdout_read, stdout, stderr_read, stderr
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]


def _received(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes from a connection; raises EOFError if it ends before."""
    data = b""
    while len(data) < size:
        if not (part := connection.recv(size - len(data))):
            raise EOFError
        data += part
    return data


# -- the process that waits -----------------------------------------------------------------------------------------


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Copy this process for every command that is asked for. Returns in a copy, with what it is to become; the original
    leaves when nobody asks any more."""
    while True:
        head, ancillary, _, _ = connection.recvmsg(LENGTH.size, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        if not head:
            sys.exit()
        fds = array.array("i", ancillary[0][2])
        told: dict[str, Any] = json.loads(_received(connection, *LENGTH.unpack(head)))
        if (pid := _copy()) == 0:
            connection.close()
            return {**told, "fds": list(fds)}
        for fd in fds:
            os.close(fd)
        connection.sendall(LENGTH.pack(pid))


def _copy() -> int:
    """Do as os.fork does, but leave the copy to the parent of this process. Returns 0 in the copy, else its id."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid: int = ctypes.PyDLL(None, use_errno=True).syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "a process could not be copied")
    return pid


def _become(told: Mapping[str, Any]) -> None:
    """Take the streams, folder, environment and arguments of a command, as a new Python would have them."""
    for number, fd in enumerate(told["fds"]):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    is_direct = bool(os.environ.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = _output(1, write_through=is_direct)  # type: ignore[misc]
    in_lines = {"write_through": is_direct, "line_buffering": not is_direct, "errors": "backslashreplace"}
    sys.stderr = sys.__stderr__ = _output(2, **in_lines)  # type: ignore[misc]
    sys.path.insert(0, told["cwd"])  # as `python -m` does
    sys.argv = ["flujoctl", *told["arguments"]]


def _output(fd: int, **options: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(open(fd, "wb", closefd=False), encoding=sys.stdout.encoding, **options)


def _prepare() -> None:
    """Import what commands import, without looking for garbage among it, neither now nor in the copies."""
    gc.disable()
    for name in (
        "aiosqlite",
        "anyio._backends._asyncio",
        "flujo.kernel",
        "flujo.backends.sqlite",
        "flujo.backends.file",
    ):
        importlib.import_module(name)
    for name in ("flujo.cli", "flujo.workflows"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    assert COLD not in sys.modules
    gc.freeze()
    gc.enable()


def main() -> None:
    """Wait, become a command, and run it."""
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _prepare()
        told = _serve(connection)
    _become(told)
    runpy.run_module("flujoctl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
