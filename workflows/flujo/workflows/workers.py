"""Worker processes for templates that may be heavy: started when first needed, warm from then on.

    render(value, names)     in a thread: it blocks for as long as the worker takes, which is bounded

A worker is limited in processor time and memory (`worker.py`); one that was ended by a limit is replaced by the next
request. It needs nothing of this process but its standard input, ends with it, and is not used by a forked child.
"""

from __future__ import annotations

import atexit
import marshal
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .bounds import MAX_VALUE, bounded_value
from .marks import EvaluationError
from .seen import NotRun
from .worker import CPU_SECONDS, LENGTH, MEMORY_MIB

MAX_WORKERS = 2
MAX_SECONDS = 20.0
"""After which a worker that has said nothing is given up. Its processor time is limited far below; this is for one that
was stopped, or a machine that has no time for it."""

_CHUNK = 1 << 20

_LOOK_SECONDS = 0.1
"""How often somebody who waits for a free worker looks whether that is still wanted."""


class WorkerError(OSError):
    """A worker cannot be started."""


class _Gone(Exception):
    """A worker has ended without an answer."""


class _Silent(Exception):
    """A worker has said nothing for `MAX_SECONDS`, and was ended."""


class Request:
    """What one caller asks, until it gives that up: the thread that waits for the answer ends then, and with it the
    worker. A thread that is still at work would keep its process from ending."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self.is_given_up = False

    def give_up(self) -> None:
        """Wait for the answer no longer."""
        with self._lock:
            self.is_given_up = True
            if self._worker is not None:
                self._worker.kill()

    @contextmanager
    def asking(self, worker: _Worker) -> Iterator[None]:
        """Inside, this worker is ended when the caller gives up. Raises InterruptedError if it has."""
        with self._lock:
            self.require_wanted()
            self._worker = worker
        try:
            yield
        finally:
            with self._lock:
                self._worker = None

    def require_wanted(self) -> None:
        """Raise InterruptedError once the caller has given up."""
        if self.is_given_up:
            raise InterruptedError("nobody waits for the answer any more")


class Workers:
    """The workers of this process. Any number of threads may ask; more than `MAX_WORKERS` wait for each other."""

    def __init__(self) -> None:
        self._free: list[_Worker] = []
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_WORKERS)

    def render(self, value: Any, names: Mapping[str, Any], asked: Request | None = None) -> Any:
        """Return the value with every text in it rendered. Raises EvaluationError, WorkerError, and InterruptedError
        once the caller has given `asked` up."""
        asked = asked or Request()
        request = marshal.dumps((value, _plain(names)))
        while not self._room.acquire(timeout=_LOOK_SECONDS):
            asked.require_wanted()
        try:
            is_value, answer = marshal.loads(self._ask(request, asked))
        finally:
            self._room.release()
        if not is_value:
            raise EvaluationError(*answer)
        return answer

    def close(self) -> None:
        """End the workers that are free."""
        with self._lock:
            free, self._free = self._free, []
        for worker in free:
            worker.close()

    def _ask(self, request: bytes, asked: Request) -> bytes:
        for is_fresh in (False, True):
            worker = self._take(is_fresh)
            try:
                with asked.asking(worker):
                    answer = worker.ask(request)
            except _Gone:
                code = worker.close()
                asked.require_wanted()
                if code == 0 and not is_fresh:
                    continue  # one that had ended after its last answer
                raise _ended(code) from None
            except _Silent:
                worker.close()
                raise EvaluationError(f"it has given no answer within {MAX_SECONDS:g} s") from None
            except BaseException:
                worker.close()
                raise
            with self._lock:
                self._free.append(worker)
            return answer
        raise AssertionError

    def _take(self, is_fresh: bool) -> _Worker:
        while not is_fresh:
            with self._lock:
                worker = self._free.pop() if self._free else None
            if worker is None or worker.is_alive:
                return worker or _Worker()
            worker.close()
        return _Worker()


class _Worker:
    """One process, asked by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *_places()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={"PATH": os.defpath},  # nothing by which a run's left processes are known
            start_new_session=True,  # a Ctrl-C in the terminal is not for it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)

    @property
    def is_alive(self) -> bool:
        """True unless the process has ended."""
        return self._process.poll() is None

    def ask(self, request: bytes) -> bytes:
        """Return the answer; raises _Gone if the worker ends without one, and _Silent if it gives none."""
        deadline = time.monotonic() + MAX_SECONDS
        left = memoryview(len(request).to_bytes(LENGTH) + request)
        while left:
            self._wait(self._stdin, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._stdin, left[:_CHUNK]) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                raise _Gone from None
        length = int.from_bytes(self._read(LENGTH, deadline))
        return self._read(length, deadline)

    def kill(self) -> None:
        """End it at once; whoever waits for its answer notices."""
        self._process.kill()

    def close(self) -> int:
        """End it and return its code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        if self._process.poll() is None:
            try:
                return self._process.wait(1)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            self._wait(self._stdout, select.POLLIN, deadline)
            part = os.read(self._stdout, min(size, _CHUNK))
            if not part:
                raise _Gone
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            self._process.kill()
            raise _Silent


def _ended(code: int) -> Exception:
    if code > 0:
        return WorkerError(f"the process that evaluates templates, {sys.executable}, cannot work: it ended with {code}")
    if code == -signal.SIGPROF:
        return EvaluationError(f"it needs more than {CPU_SECONDS:g} s of processor time")
    if code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):  # a library that does not expect a lack of memory
        return EvaluationError(f"it needs more than {MEMORY_MIB} MiB of memory")
    return EvaluationError(f"it was interrupted: the worker was ended by signal {-code}")


def _plain(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return names as marshal can hand them over; raises EvaluationError if they are too large."""
    plain = dict(names)
    not_run: dict[str, Any] = {}
    if isinstance(steps := plain.get("steps"), Mapping):
        not_run = {name: (step.step, step.status) for name, step in steps.items() if isinstance(step, NotRun)}
        plain["steps"] = {name: step for name, step in steps.items() if name not in not_run}
    handed_over: dict[str, Any] = bounded_value(plain, MAX_VALUE, _too_large)
    if not_run:
        handed_over["steps"] |= not_run
    return handed_over


def _too_large() -> Exception:
    return EvaluationError(
        f"the values it mentions are larger than {MAX_VALUE // 1024 // 1024} MiB; "
        "hand them on as they are, as `{{ steps.NAME.result }}` alone, or use a file"
    )


_PROGRAM = "import sys; sys.path += sys.argv[1:]; from flujo.workflows.worker import main; main()"


def _places() -> list[str]:
    """Return the folders that a worker imports from: ours, and those of what it needs."""
    import jinja2
    import markupsafe

    ours = str(Path(__file__).resolve().parents[2])
    others = [str(Path(each.__file__ or "").parents[1]) for each in (jinja2, markupsafe)]
    return list(dict.fromkeys([ours, *others]))


workers = Workers()
"""The workers of this process, which end with it."""


def _after_fork() -> None:
    """Leave the parent's workers to it: their pipes would be shared, and their end not noticed."""
    global workers
    parents, workers = workers, Workers()
    for worker in parents._free:
        worker._process.returncode = 0  # not our child
        worker.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: workers.close())
