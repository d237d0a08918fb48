"""Workers for templates are replaced when they are gone, given up when they are silent, and end with their process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flujo.workflows import worker, workers
from flujo.workflows.marks import EvaluationError
from flujo.workflows.workers import Request, WorkerError, Workers

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, or holds a pidfd")

TEMPLATE = "{% for i in [1, 2] %}{{ i }}{% endfor %}"
PATH = ":".join(entry for entry in sys.path if entry)


@pytest.fixture
def pool() -> Iterator[Workers]:
    pool = Workers()
    yield pool
    pool.close()


def pid_of(pool: Workers) -> int:
    """The process of the one worker that is free."""
    (worker,) = pool._free
    return worker._process.pid


def test_a_worker_is_asked_again(pool: Workers) -> None:
    """One process answers one after the other."""
    assert pool.render(TEMPLATE, {}) == "12"
    first = pid_of(pool)

    assert pool.render([TEMPLATE, {"a": TEMPLATE}], {}) == ["12", {"a": "12"}]
    assert pid_of(pool) == first


def test_a_worker_that_was_killed_is_replaced(pool: Workers) -> None:
    """The next request does not notice."""
    pool.render(TEMPLATE, {})
    os.kill(pid_of(pool), signal.SIGKILL)
    os.waitid(os.P_PID, pid_of(pool), os.WEXITED | os.WNOWAIT)

    assert pool.render(TEMPLATE, {}) == "12"


def test_a_worker_that_has_ended_after_its_last_answer_is_replaced(
    pool: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it does so between the look whether it is alive and the request."""
    pool.render(TEMPLATE, {})
    (worker,) = pool._free

    def ask(request: bytes) -> bytes:
        worker._process.stdin.close()  # type: ignore[union-attr]
        assert worker._process.wait() == 0
        raise workers._Gone

    monkeypatch.setattr(worker, "ask", ask)

    assert pool.render(TEMPLATE, {}) == "12"


def test_a_worker_that_says_nothing_is_given_up(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped, for example; the next request has another one."""
    pool.render(TEMPLATE, {})
    os.kill(pid_of(pool), signal.SIGSTOP)
    monkeypatch.setattr(workers, "MAX_SECONDS", 0.05)

    with pytest.raises(EvaluationError, match=r"it has given no answer within 0\.05 s"):
        pool.render(TEMPLATE, {})

    monkeypatch.undo()
    assert pool.render(TEMPLATE, {}) == "12"


def test_a_request_that_is_given_up_ends_its_worker_and_its_thread(pool: Workers) -> None:
    """The next one has a worker of its own; a thread at work would keep its process from ending."""
    pool.render(TEMPLATE, {})
    os.kill(pid_of(pool), signal.SIGSTOP)
    asked, ended = Request(), []

    def ask() -> None:
        with pytest.raises(InterruptedError, match="nobody waits"):
            pool.render(TEMPLATE, {}, asked)
        ended.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    asked.give_up()
    thread.join()

    assert ended == [True]
    assert pool.render(TEMPLATE, {}) == "12"


def test_a_request_that_is_given_up_waits_for_no_free_worker(pool: Workers) -> None:
    """However long others take."""
    for _ in range(workers.MAX_WORKERS):
        pool._room.acquire()
    asked = Request()
    asked.give_up()

    with pytest.raises(InterruptedError):
        pool.render(TEMPLATE, {}, asked)


def test_a_worker_of_another_request_is_left_alone(pool: Workers) -> None:
    """Whoever gives up after the answer ends nothing."""
    asked = Request()
    pool.render(TEMPLATE, {}, asked)
    pid = pid_of(pool)

    asked.give_up()

    assert pool.render(TEMPLATE, {}) == "12"
    assert pid_of(pool) == pid


ENDING = f"""
import os, signal
import anyio
from flujo.workflows import templates, workers
workers.MAX_SECONDS = 1000
async def main():
    await templates.render({TEMPLATE!r}, {{}})
    os.kill(workers.workers._free[0]._process.pid, signal.SIGSTOP)
    async with anyio.create_task_group() as group:
        group.start_soon(templates.render, {TEMPLATE!r}, {{}})
        while workers.workers._free:
            await anyio.sleep(0)
        group.cancel_scope.cancel()
anyio.run(main, backend="BACKEND")
print("ended")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_does_not_wait_for_a_template_that_was_given_up(backend: str) -> None:
    """It ends in the same breath, though its worker would be silent for a quarter of an hour."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.replace("BACKEND", backend)],
        env={"PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )

    assert ended.stdout == "ended\n"


def test_a_worker_that_cannot_start_says_so(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """No template is at fault then."""
    monkeypatch.setattr(workers, "_PROGRAM", "raise SystemExit(3)")

    with pytest.raises(WorkerError, match=f"{sys.executable}, cannot work: it ended with 3"):
        pool.render(TEMPLATE, {})


def test_large_values_are_named_before_they_are_sent(pool: Workers) -> None:
    """And where they belong."""
    with pytest.raises(EvaluationError, match="are larger than 16 MiB; hand them on as they are"):
        pool.render(TEMPLATE, {"x": "x" * 17_000_000})


@on_linux
def test_a_worker_sees_nothing_of_the_environment(pool: Workers) -> None:
    """What a run's processes are known by is not in it, or they would be looked for and killed."""
    pool.render(TEMPLATE, {})

    assert Path(f"/proc/{pid_of(pool)}/environ").read_bytes().startswith(b"PATH=")
    assert Path(f"/proc/{pid_of(pool)}/environ").read_bytes().count(b"\0") == 1


def test_a_forked_process_has_workers_of_its_own(pool: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one pipe would read each other's answers."""
    monkeypatch.setattr(workers, "workers", pool)
    pool.render(TEMPLATE, {})
    mine = pid_of(pool)

    child = os.fork()
    if child == 0:
        try:
            is_right = workers.workers is not pool and workers.workers.render(TEMPLATE, {}) == "12"
            workers.workers.close()
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.render(TEMPLATE, {}) == "12"
    assert pid_of(pool) == mine


PROGRAM = f"""
import signal, sys
from flujo.workflows.workers import workers
workers.render({TEMPLATE!r}, {{}})
print(workers._free[0]._process.pid, flush=True)
sys.stdin.read()
"""


@on_linux
def test_a_process_ends_with_its_workers_and_without_a_warning() -> None:
    """Nothing has to be closed by hand."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        env={"PYTHONPATH": PATH},
        input="",
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stderr == ""
    assert not os.path.exists(f"/proc/{int(ended.stdout)}")


@on_linux
def test_a_worker_ends_with_a_process_that_was_killed() -> None:
    """Its standard input ends then."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        watched = os.pidfd_open(worker)
        process.kill()

    assert select.select([watched], [], [], 60)[0]
    os.close(watched)


@pytest.mark.parametrize(("is_short", "said"), [(True, "MiB of memory"), (False, "takes two numbers")])
def test_what_is_raised_where_there_is_no_memory_left_names_the_limit(
    monkeypatch: pytest.MonkeyPatch, is_short: bool, said: str
) -> None:
    """Code in C that has no room to tell of an error raises some other one; a mistake beside room is told as it is."""
    monkeypatch.setattr(worker, "_has_run_short", lambda: is_short)

    with pytest.raises(EvaluationError, match=said):
        worker.answered("{{ 'x' * 'y' }}", {})


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is looked at on Linux")
def test_a_process_knows_that_it_has_run_short_of_memory() -> None:
    """Once it has filled what it may take with small things, also when it has given that back."""
    script = """
from flujo.workflows import worker
worker._limit_memory(worker._address_space() + 16 * worker.MIB)
print(worker._has_run_short())
many = []
try:
    while True:
        many.append([None])
except MemoryError:
    many.clear()
print(worker._has_run_short())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "True"]
