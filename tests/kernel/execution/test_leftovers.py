"""Nothing of an attempt outlives it: each way to end, with all ways to hide at once, real processes and real signals.

What hides is `yes`, which writes into a FIFO of its own. It is dead once nobody holds the writing end, and it dies with
the test in any case, since writing to a FIFO without a reader kills it.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, RetryPolicy, Workflow, current_attempt, workflow
from flujo.kernel.execution.leftovers import Traces, find
from flujo.kernel.execution.subprocesses import Children
from kernel.harness import Harness

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

ROUNDS = int(os.environ.get("ROUNDS", "1"))
"""How often each way to end is tried with all ways to hide: `make torture-processes`."""

KERNEL = str(Path(__file__).parents[3] / "kernel")
ENV = {"PATH": os.environ["PATH"]}
AWAY = "</dev/null >/dev/null 2>&1"

HIDING = {
    "its group": "yes up >FIFO &",
    "timeout": "timeout 600 yes up >FIFO 2>/dev/null </dev/null &",
    "set -m": "set -m; yes up >FIFO & set +m",
    "set -m without variables": "set -m; env -i /usr/bin/yes up >FIFO & set +m",
    "setsid": f"setsid sh -c 'exec yes up >FIFO' {AWAY} &",
    "two forks": f"(setsid sh -c '(yes up >FIFO &) &' {AWAY} &)",
    "nohup": f"nohup setsid sh -c 'exec yes up >FIFO' {AWAY} &",
    "no SIGTERM": f"""setsid sh -c 'trap "" TERM HUP INT; exec yes up >FIFO' {AWAY} &""",
    "holding the output": "setsid yes up 9>&1 >FIFO &",
    "forking for ever": f"setsid sh forks FIFO 0 {AWAY} &",
    "pool workers": f"{sys.executable} -S pool FIFO {AWAY} &",
    "stopped": "setsid sh -c 'echo up; kill -STOP $$; exec yes up' </dev/null >FIFO 2>/dev/null &",
}
if os.geteuid() == 0 and shutil.which("setpriv"):
    HIDING["another user"] = "setsid setpriv --reuid 65534 --clear-groups yes up >FIFO 2>/dev/null &"
"""What a command types for a process to leave it; `forks` is a chain of sessions: each begins the next and ends."""

FORKS = """
exec 9>"$1"
echo up >&9 || exit
[ "$2" -lt 5000 ] || exit
setsid sh "$0" "$1" $(($2 + 1)) &
"""


POOL = """
import multiprocessing, os, signal, sys

def work(place):
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(place, "w") as fifo:
        while True:
            fifo.write("up\\n")
            fifo.flush()

if __name__ == "__main__":
    pool = multiprocessing.get_context("forkserver").Process(target=work, args=(sys.argv[1],))
    pool.start()
    os._exit(0)
"""
"""A pool whose workers are children of a server of their own, and whose user has gone."""


class Hidden:
    """Processes that hide in each of the ways, in a folder with a FIFO for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "forks").write_text(FORKS)
        (folder / "pool").write_text(POOL)
        os.mkfifo(folder / "go")
        self.go = os.open(folder / "go", os.O_RDWR)
        self.store = f"sqlite:{folder}/state.db"
        self.fds = {}
        lines = []
        for number, (way, script) in enumerate(HIDING.items()):
            fifo = folder / f"fifo{number}"
            os.mkfifo(fifo)
            self.fds[way] = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
            lines.append(script.replace("FIFO", str(fifo)))
        self.script = "\n".join([*lines, "read -r code <go", "exit $code"])

    def wait_until_up(self) -> None:
        """Return once each of them has begun."""
        for fd in self.fds.values():
            select.select([fd], [], [])

    def let_the_command_end(self, code: int) -> None:
        """The command ends by itself, with a return code."""
        os.write(self.go, f"{code}\n".encode())

    def alive(self) -> list[str]:
        """The ways in which something is alive."""
        return [way for way, fd in self.fds.items() if not _has_ended(fd, 0)]

    def wait_until_dead(self) -> None:
        """Return once all of them have ended."""
        for fd in self.fds.values():
            assert _has_ended(fd, None)

    def close(self) -> None:
        """Have whatever is alive die of writing without a reader."""
        for fd in (self.go, *self.fds.values()):
            os.close(fd)


def _has_ended(fd: int, milliseconds: int | None) -> bool:
    """True if the writing end of a FIFO is held by nobody, whatever there is to read yet."""
    poll = select.poll()
    poll.register(fd, 0)  # only the end
    return any(event & select.POLLHUP for _, event in poll.poll(milliseconds))


@pytest.fixture(params=range(1, ROUNDS + 1), ids="round {}".format)
def hidden(tmp_path: Path) -> Iterator[Hidden]:
    hidden = Hidden(tmp_path)
    yield hidden
    hidden.close()


async def a_command_that_hides(hidden: Hidden) -> int:
    """Run the command of the current attempt, until it ends or is cut short."""
    finished = await current_attempt().children.run(
        ["sh", "-c", hidden.script], cwd=hidden.folder, env=ENV, grace_seconds=0.05
    )
    return finished.return_code


Ending = Callable[[Hidden], Awaitable[None]]


async def succeeding(hidden: Hidden) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_let_it_end, hidden, 0)
        assert await a_command_that_hides(hidden) == 0


async def failing(hidden: Hidden) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_let_it_end, hidden, 3)
        assert await a_command_that_hides(hidden) == 3
    raise ConnectionError("code 3")


async def timing_out(hidden: Hidden) -> None:
    with anyio.fail_after(None) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(a_command_that_hides, hidden)
            await anyio.to_thread.run_sync(hidden.wait_until_up)
            scope.deadline = anyio.current_time()
            await anyio.sleep_forever()


async def _let_it_end(hidden: Hidden, code: int) -> None:
    await anyio.to_thread.run_sync(hidden.wait_until_up)
    hidden.let_the_command_end(code)


@pytest.mark.parametrize("ending", [succeeding, failing, timing_out])
async def test_nothing_of_an_attempt_is_alive_when_the_next_one_begins(ending: Ending, hidden: Hidden) -> None:
    """Nor when the step has completed, in whichever way a process has left its command."""
    alive: list[list[str]] = []

    async def body() -> None:
        if current_attempt().attempt == 1:
            await ending(hidden)
        alive.append(hidden.alive())

    flow = _one_step(body)
    async with Harness().kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")

    assert alive == [[]]


async def test_nothing_is_alive_when_a_run_has_been_cancelled(hidden: Hidden) -> None:
    """It has ended only when all of its processes are dead."""

    async def body() -> None:
        await a_command_that_hides(hidden)

    flow = _one_step(body)
    async with Harness().kernel(flow) as kernel:
        await _start_and_wait_until_up(kernel, flow, hidden)
        await kernel.cancel("r")
        await kernel.wait("r")
        assert hidden.alive() == []


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_nothing_is_alive_when_the_clean_ups_of_a_run_begin(how: str, hidden: Hidden) -> None:
    """After a cancel, and when the time of the run is over."""
    alive: list[list[str]] = []

    async def body() -> None:
        await a_command_that_hides(hidden)

    async def look(ctx: Context) -> None:
        alive.append(hidden.alive())

    @workflow(name="one_step", timeout="1h", clean_up=look)
    async def flow(ctx: Context) -> None:
        await ctx.step(body, name="it")

    harness = Harness()
    async with harness.kernel(flow) as kernel:
        await _start_and_wait_until_up(kernel, flow, hidden)
        if how == "cancel":
            await kernel.cancel("r")
        else:
            harness.clock.advance(3600)
        await kernel.wait("r")

    assert alive == [[]]


async def test_nothing_is_alive_when_a_sibling_has_failed(hidden: Hidden) -> None:
    """The branch beside it is cancelled, and what it has started with it."""
    alive: list[list[str]] = []

    async def body() -> None:
        await a_command_that_hides(hidden)

    async def fail() -> None:
        await anyio.to_thread.run_sync(hidden.wait_until_up)
        raise ValueError("as told")

    @workflow(name="side_by_side")
    async def flow(ctx: Context) -> None:
        try:
            await ctx.gather(ctx.step(body, name="it"), ctx.step(fail, name="fail"))
        finally:
            alive.append(hidden.alive())

    async with Harness().kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await kernel.wait("r")

    assert alive == [[]]


async def test_what_clears_its_variables_is_found_by_its_descent(hidden: Hidden) -> None:
    """A command that is cut short takes its descendants with it, in sessions of their own and without variables."""
    fifo = hidden.folder / "fifo0"
    script = f"setsid env -i /bin/sh -c '/usr/bin/yes up >{fifo}; :' {AWAY} & wait"
    children = Children()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd="/", env=ENV))
        await anyio.wait_readable(hidden.fds["its group"])
        tasks.cancel_scope.cancel()

    assert "its group" not in hidden.alive()
    await children.close()


async def test_what_left_its_group_is_asked_before_it_is_killed(hidden: Hidden) -> None:
    """SIGTERM goes to everything that a cancelled command has started, and the grace is theirs too."""
    fifo, note = hidden.folder / "fifo0", hidden.folder / "note"
    ending = f'trap "echo tidy >{note}; exit" TERM; echo up >{fifo}; while :; do sleep 0.01; done'
    children = Children()
    async with anyio.create_task_group() as tasks:
        script = f"setsid sh -c '{ending}' {AWAY} & wait"
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd="/", env=ENV, grace_seconds=60))
        await anyio.wait_readable(hidden.fds["its group"])
        tasks.cancel_scope.cancel()

    assert note.read_text() == "tidy\n"
    await children.close()


@pytest.mark.parametrize("detach", [True, False])
async def test_what_was_handed_over_lives_on_and_delays_nothing(detach: bool, hidden: Hidden) -> None:
    """By `detach`, or without the two variables, a session of its own is nobody's, even if it holds the output."""
    fifo = hidden.folder / "fifo0"
    without = "" if detach else "env -u FLUJO_COMMAND -u FLUJO_RUN_UID "
    script = f"{without}setsid -f sh -c 'exec yes up >{fifo}'; read -r _ <{fifo}.go"
    os.mkfifo(f"{fifo}.go")
    children = Children()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd="/", env=ENV, detach=detach))
        await anyio.wait_readable(hidden.fds["its group"])
        await anyio.to_thread.run_sync(Path(f"{fifo}.go").write_text, "\n")

    assert "its group" in hidden.alive()
    await children.close()


PROGRAM = """
import sys, signal
import anyio
from flujo.backends import open_backend
from flujo.kernel import Kernel, current_attempt, workflow

async def body() -> None:
    children = current_attempt().children
    await children.run(["sh", "-c", sys.argv[1]], cwd=sys.argv[2], env={"PATH": sys.argv[3]}, grace_seconds=0.05)

@workflow(name="program")
async def program(ctx):
    await ctx.step(body, name="it")

async def main():
    async with anyio.create_task_group() as group:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            group.start_soon(run)
            async for _ in signals:
                group.cancel_scope.cancel()

async def run():
    async with Kernel(open_backend(sys.argv[4]), [program]) as kernel:
        await kernel.start(program, run_id="r")
        await anyio.sleep_forever()

anyio.run(main)
"""


def a_kernel_whose_command_hides(hidden: Hidden) -> subprocess.Popen[bytes]:
    """A kernel in a process of its own, with one attempt, whose processes have begun."""
    kernel = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, hidden.script, str(hidden.folder), os.environ["PATH"], hidden.store],
        env={**ENV, "PYTHONPATH": os.pathsep.join([KERNEL, *sys.path])},
    )
    hidden.wait_until_up()
    return kernel


def test_nothing_is_alive_when_a_kernel_has_ended_by_sigterm(hidden: Hidden) -> None:
    """It goes in good order: when its process is gone, so are all others."""
    with a_kernel_whose_command_hides(hidden) as kernel:
        kernel.terminate()
        kernel.wait()

        assert hidden.alive() == []


def test_nothing_outlives_a_kernel_that_was_killed(hidden: Hidden) -> None:
    """Its guardian finds them all, without anybody who resumes the run."""
    with a_kernel_whose_command_hides(hidden) as kernel:
        kernel.kill()

        hidden.wait_until_dead()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_is_alive_when_another_kernel_takes_over(hidden: Hidden) -> None:
    """The run is free once the guardian of the killed kernel has found them all."""
    with a_kernel_whose_command_hides(hidden) as kernel:
        kernel.kill()
        kernel.wait()

    assert await _alive_at_the_next_attempt(hidden) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_nothing_is_alive_at_a_takeover_when_the_guardian_was_killed_too(hidden: Hidden) -> None:
    """The uid of the run is what they are found by then; the command did not have to pass it on."""
    with a_kernel_whose_command_hides(hidden) as kernel:
        kernel.send_signal(signal.SIGSTOP)  # or it would have another guardian
        for pid in _children_of(kernel.pid):
            os.kill(pid, signal.SIGKILL)
        kernel.kill()
        kernel.wait()

    assert await _alive_at_the_next_attempt(hidden) == ["set -m without variables"]  # as docs/processes.md says


async def _alive_at_the_next_attempt(hidden: Hidden) -> list[str]:
    """Resume the run of a killed kernel, and return what its step finds alive."""
    alive: list[str] = []

    async def body() -> None:
        alive.extend(hidden.alive())

    @workflow(name="program")
    async def program(ctx: Context) -> None:
        await ctx.step(body, name="it")

    async with Kernel(open_backend(hidden.store), [program], recover=False) as kernel:
        summary = await kernel.summary("r")
        assert summary.owner is not None
        while await kernel.backend.is_alive(summary.owner):
            await checkpoint()
        await kernel.resume("r")
        await kernel.result("r")
    return alive


def test_a_process_is_found_by_the_number_it_got(hidden: Hidden) -> None:
    """A search among what was born after another process does not find what was there before it."""
    mine = subprocess.Popen(["cat", str(hidden.folder / "go")], env={**ENV, "FLUJO_COMMAND": "word-of-mine"})
    try:
        traces = Traces((b"word-of-mine",))
        assert find(traces) == {mine.pid}
        assert find(traces, mine.pid - 1) == {mine.pid}
        assert find(traces, mine.pid) == set()
    finally:
        mine.kill()
        mine.wait()


def test_a_process_is_found_in_the_middle_of_an_exec() -> None:
    """Its variables cannot be read for a moment, which is no reason to take it for another's."""
    script = 'i=$1; [ "$i" -lt 1500 ] || exec cat; exec sh -c "$0" "$0" $((i + 1))'
    mine = subprocess.Popen(["sh", "-c", script, script, "0"], env={**ENV, "FLUJO_COMMAND": "execs"}, stdin=-1)
    try:
        born_after = mine.pid - 1
        while Path(f"/proc/{mine.pid}/comm").read_text() != "cat\n":
            assert find(Traces((b"execs",)), born_after) == {mine.pid}
    finally:
        mine.kill()
        mine.communicate()


def _children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def _start_and_wait_until_up(kernel: Kernel, flow: Workflow, hidden: Hidden) -> None:
    await kernel.start(flow, run_id="r")
    await anyio.to_thread.run_sync(hidden.wait_until_up)


def _one_step(body: Any) -> Workflow:
    """A workflow of one step, tried twice."""

    @workflow(name="one_step")
    async def program(ctx: Context) -> Any:
        return await ctx.step(body, name="it", retry=RetryPolicy(max_attempts=2, delay=0))

    return program
