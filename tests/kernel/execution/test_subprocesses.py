"""Child processes die with their kernel; what follows uses real processes and real signals.

A process that holds the writing end of a FIFO is known to be dead when its reader meets the end of the file: no test
waits for a time to pass.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from flujo.kernel import Context, RetryPolicy, RunFailed, Workflow, current_attempt, workflow
from flujo.kernel.errors import KernelClosedError
from flujo.kernel.execution.leftovers import sweep
from flujo.kernel.execution.subprocesses import Children, Finished, find_command
from kernel.execution.processes import ENV, Fifo, a_kernel, fifo, on_linux
from kernel.harness import Harness, crash, until

__all__ = ["fifo"]


@pytest.fixture
async def children(anyio_backend: Any) -> AsyncIterator[Children]:
    children = Children()
    yield children
    await children.close()


async def test_a_command_gets_its_input_and_nothing_else(children: Children, tmp_path: Path) -> None:
    """The line that opens the gate is not part of the command's standard input."""
    finished = await children.run(["cat"], cwd=tmp_path, env=ENV, input=b"\nfirst\nlast")

    assert finished == (0, b"\nfirst\nlast", b"", False)


async def test_a_command_without_input_meets_its_end_at_once(children: Children, tmp_path: Path) -> None:
    """Nothing on standard input means end of file, not a wait for a terminal."""
    finished = await children.run(["wc", "-c"], cwd=tmp_path, env=ENV)

    assert finished.stdout.strip() == b"0"


async def test_large_input_flows_while_output_comes_back(children: Children, tmp_path: Path) -> None:
    """Neither side waits for the other, however full the pipes are."""
    data = b"0123456789abcdef" * 30_000

    finished = await children.run(["cat"], cwd=tmp_path, env=ENV, input=data)

    assert finished.stdout == data


async def test_a_command_may_ignore_its_input(children: Children, tmp_path: Path) -> None:
    """A command that ends without reading is a success."""
    finished = await children.run(["true"], cwd=tmp_path, env=ENV, input=b"x" * 1_000_000)

    assert finished.return_code == 0


async def test_both_outputs_and_the_return_code_come_back(children: Children, tmp_path: Path) -> None:
    """Arguments reach the command verbatim; a signal gives a negative return code."""
    told = await children.run(["sh", "-c", 'echo "$1"; pwd >&2; exit 7', "sh", "a 'b\" $c\n*"], cwd=tmp_path, env=ENV)
    killed = await children.run(["sh", "-c", "kill -KILL $$"], cwd=tmp_path, env=ENV)

    assert told == (7, b"a 'b\" $c\n*\n", f"{tmp_path}\n".encode(), False)
    assert killed.return_code == -signal.SIGKILL


async def test_output_is_bounded_and_keeps_both_ends(children: Children, tmp_path: Path) -> None:
    """Of a flood the first and the last half of the limit are kept, and the gap is marked."""
    script = "echo begin; i=0; while [ $i -lt 20000 ]; do echo xxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done; echo end"

    finished = await children.run(["sh", "-c", script], cwd=tmp_path, env=ENV, output_limit=1000)

    assert finished.truncated
    assert finished.stdout.startswith(b"begin\n")
    assert finished.stdout.endswith(b"end\n")
    assert b"bytes left out" in finished.stdout
    assert len(finished.stdout) < 1100


async def test_output_is_told_as_it_comes(children: Children, tmp_path: Path) -> None:
    """`on_output` sees everything, with the name of its stream, beyond the limit too."""
    seen: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def note(stream: str, chunk: bytes) -> None:
        seen[stream] += chunk

    script = "echo one; echo two >&2; echo three"
    await children.run(["sh", "-c", script], cwd=tmp_path, env=ENV, output_limit=2, on_output=note)

    assert seen == {"stdout": b"one\nthree\n", "stderr": b"two\n"}


async def test_background_jobs_end_with_their_command(children: Children, tmp_path: Path, fifo: Fifo) -> None:
    """What a command leaves running in its group is dead when run() returns, even if it ignores SIGTERM."""
    script = f"{fifo.opening}; (trap '' TERM; while :; do sleep 9; done) & echo done"

    finished = await children.run(["sh", "-c", script], cwd=tmp_path, env=ENV)

    assert finished.stdout == b"done\n"
    assert not fifo.is_held()


async def test_cancellation_kills_grandchildren(children: Children, tmp_path: Path, fifo: Fifo) -> None:
    """When a cancelled run() has raised, the whole group is dead."""
    script = f"{fifo.opening}; sh -c 'sh -c \"echo up >&9; while :; do sleep 9; done\"' & wait"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd=tmp_path, env=ENV))
        assert await fifo.line() == "up\n"
        tasks.cancel_scope.cancel()

    assert not fifo.is_held()


async def test_cancellation_asks_before_it_kills(children: Children, tmp_path: Path, fifo: Fifo) -> None:
    """SIGTERM comes first: a command may tidy up, and print more than a pipe holds while it does."""
    script = (
        f"{fifo.opening}; trap 'yes | head -c 300000; echo tidy >\"$0\"; exit' TERM; echo up >&9; "
        "while :; do sleep 0.01; done"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script, "note"], cwd=tmp_path, env=ENV, grace_seconds=60))
        assert await fifo.line() == "up\n"
        tasks.cancel_scope.cancel()

    assert (tmp_path / "note").read_text() == "tidy\n"


async def test_cancellation_kills_what_does_not_listen(children: Children, tmp_path: Path, fifo: Fifo) -> None:
    """After the grace period SIGKILL ends a command that ignores SIGTERM."""
    script = f"{fifo.opening}; trap '' TERM; echo up >&9; while :; do sleep 9; done"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd=tmp_path, env=ENV, grace_seconds=0.05))
        assert await fifo.line() == "up\n"
        tasks.cancel_scope.cancel()

    assert not fifo.is_held()


async def test_closing_ends_what_still_runs(tmp_path: Path, fifo: Fifo) -> None:
    """close() kills running children and nothing can be started afterwards."""
    children = Children()
    script = f"{fifo.opening}; echo up >&9; while :; do sleep 9; done"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd=tmp_path, env=ENV))
        assert await fifo.line() == "up\n"
        await children.close()

    assert not fifo.is_held()
    with pytest.raises(KernelClosedError):
        await children.run(["true"], cwd=tmp_path, env=ENV)


async def test_a_guardian_that_was_killed_is_replaced(children: Children, tmp_path: Path, fifo: Fifo) -> None:
    """A new guardian knows of the children the old one guarded."""
    script = f"{fifo.opening}; echo up >&9; while :; do sleep 9; done"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd=tmp_path, env=ENV))
        assert await fifo.line() == "up\n"
        assert children._guardian.pid is not None
        os.kill(children._guardian.pid, signal.SIGKILL)
        await anyio.to_thread.run_sync(wait_for_death, children._guardian.pid)
        await children.run(["true"], cwd=tmp_path, env=ENV)
        await children.close()

    assert not fifo.is_held()


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (["no-such-command"], FileNotFoundError, "there is no command 'no-such-command' on the PATH"),
        (["./missing"], FileNotFoundError, "there is no command './missing' in /.+"),
        (["./plain"], PermissionError, "the command './plain' is not executable"),
        (["./folder"], PermissionError, "the command './folder' is a directory"),
        ([], FileNotFoundError, "the command is empty"),
        (["true", "a\0b"], ValueError, "the command 'true' has an argument with a NUL byte"),
    ],
)
def test_a_command_that_cannot_run_is_named(
    tmp_path: Path, command: list[str], error: type[Exception], message: str
) -> None:
    """The failure comes before anything is started, and says what is wrong with what."""
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()

    with pytest.raises(error, match=f"^{message}$"):
        find_command(command, tmp_path, ENV)


def test_a_command_is_found_from_the_folder_it_runs_in(tmp_path: Path) -> None:
    """Relative commands and relative PATH entries count from `cwd`, not from where the kernel was started."""
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o700)

    assert find_command(["./tool", "x"], tmp_path, ENV) == [f"{tmp_path}/./tool", "x"]
    assert find_command(["tool"], tmp_path, {"PATH": "."}) == [f"{tmp_path}/./tool"]
    with pytest.raises(FileNotFoundError, match=r"the working directory '.*nowhere' does not exist"):
        find_command(["./tool"], tmp_path / "nowhere", ENV)


def test_sigkill_of_the_kernel_leaves_nothing_alive(tmp_path: Path, fifo: Fifo) -> None:
    """Children and grandchildren die, also those that ignore every signal that can be ignored."""
    kernel = a_kernel(
        """
        await Children().run(["sh", "-c", sys.argv[1]], cwd=".", env=dict(os.environ))
        """,
        f"{fifo.opening}; trap '' TERM HUP INT; sh -c 'echo up >&9; while :; do sleep 9; done' & wait",
    )
    assert fifo.line_now() == "up\n"

    kernel.kill()
    kernel.communicate()

    fifo.wait_for_the_end()


@on_linux
def test_a_kernel_that_dies_before_registering_a_child_starts_no_command(tmp_path: Path) -> None:
    """The gate stays shut: the command never begins, and the process behind the gate ends by itself."""
    kernel = a_kernel(
        """
        from flujo.kernel.execution.guardian import Guardian
        class Dying(Guardian):
            def register(self, group, word):
                print(group, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        children = Children()
        children._guardian = Dying(None, None, print)
        await children.run(["touch", sys.argv[1]], cwd=".", env=dict(os.environ))
        """,
        str(tmp_path / "started"),
    )
    output, _ = kernel.communicate()
    wait_for_death(int(output))

    assert not (tmp_path / "started").exists()


@on_linux
def test_the_lock_of_the_kernel_is_held_until_its_last_child_is_dead(tmp_path: Path, fifo: Fifo) -> None:
    """Whoever gets the lock after a SIGKILL may start the next attempt: nothing of the last one is alive."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    kernel = a_kernel(
        """
        lock = os.open(sys.argv[2], os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        children = Children(lock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: children.run(["sh", "-c", sys.argv[1]], cwd=".", env=dict(os.environ)))
            await children.run(["true"], cwd=".", env=dict(os.environ))
            print(children._guardian.pid, flush=True)
        """,
        f"{fifo.opening}; echo up >&9; while :; do sleep 9; done",
        str(tmp_path / "lock"),
    )
    assert kernel.stdout is not None
    guardian = int(kernel.stdout.readline())
    assert fifo.line_now() == "up\n"
    os.kill(guardian, signal.SIGSTOP)
    kernel.kill()
    kernel.communicate()

    assert fifo.is_held()
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(guardian, signal.SIGCONT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert not fifo.is_held()
    os.close(lock)


@on_linux
async def test_children_inherit_no_descriptor_but_their_three(tmp_path: Path) -> None:
    """The lock of the kernel would otherwise outlive it in a child that left its group."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    children = Children(lock)
    program = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])"

    finished = await children.run([sys.executable, "-c", program], cwd=tmp_path, env=ENV)
    await children.close()
    os.close(lock)

    assert finished.stdout == b"['0', '1', '2']\n"


@on_linux
def test_sweep_kills_all_processes_of_one_run_and_no_other(tmp_path: Path, fifo: Fifo) -> None:
    """They are known by the uid they inherited; what belongs to other runs lives on."""
    script = ["sh", "-c", f"{fifo.opening}; setsid sh -c 'sleep 999 & echo up >&9; wait'"]
    mine = subprocess.Popen(script, env={**ENV, "FLUJO_RUN_UID": "u-mine"})
    other = subprocess.Popen(["sleep", "999"], env={**ENV, "FLUJO_RUN_UID": "u-mine-not"})
    assert fifo.line_now() == "up\n"

    killed = sweep(["u-mine", "u-nobody"])

    assert killed >= 2
    assert not fifo.is_held()
    assert mine.wait() == -signal.SIGKILL
    assert other.poll() is None
    assert sweep(["u-mine", "u-nobody"]) == 0
    other.kill()
    other.wait()


def wait_for_death(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    select.select([fd], [], [])
    os.close(fd)


# -- what commands have used -----------------------------------------------------------------------------------------

BURN = "import time\nwhile time.process_time() < {}: pass"
GROW = "x = bytearray({})\nfor i in range(0, len(x), 4096): x[i] = 1"


async def python(program: str) -> Finished:
    """Run a program as a command of the attempt this is called in."""
    return await current_attempt().children.run([sys.executable, "-S", "-c", program], cwd="/", env=ENV)


def one_step(body: Any, **options: Any) -> Workflow:
    """A workflow of one step, called `it`."""

    @workflow(name="one_step")
    async def program(ctx: Context) -> Any:
        return await ctx.step(body, name="it", **options)

    return program


async def test_the_cpu_time_of_commands_is_recorded_with_their_step() -> None:
    """That of what a command has waited for counts too, as does every command of the step; it costs no commit."""

    async def body() -> None:
        burn = f"{sys.executable} -S -c '{BURN.format(0.2)}'"
        await current_attempt().children.run(["sh", "-c", f"{burn}; true"], cwd="/", env=ENV)
        await python(BURN.format(0.1))

    flow, harness = one_step(body), Harness()
    async with harness.kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        state = await kernel.inspect("r")
        assert kernel._runtime.driver.committer.commits == 3
        assert kernel._runtime.driver._engine is not None
        assert kernel._runtime.driver._engine.children.used == {}

    assert harness.types("r")[1:4] == ["step_started", "progress_reported", "step_completed"]
    assert state.steps["it"].progress is not None
    assert 0.3 <= state.steps["it"].progress.metrics["cpu_seconds"] < 60
    assert state.progress["resources"]["cpu_seconds"] == state.steps["it"].progress.metrics["cpu_seconds"]


async def test_the_peak_of_memory_is_recorded_where_it_is_known() -> None:
    """A command that takes more than this process ever did has a peak; of one that takes less it is left out."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) + 64 * 2**20

    async def hungry() -> None:
        await python(GROW.format(size))
        await python("")

    async def modest() -> None:
        await python("")

    @workflow()
    async def program(ctx: Context) -> None:
        await ctx.step(hungry)
        await ctx.step(modest)

    async with Harness().kernel(program) as kernel:
        await kernel.run(program, run_id="r")
        state = await kernel.inspect("r")

    told = {name: step.progress.used for name, step in state.steps.items() if step.progress is not None}
    assert set(told) == {"hungry", "modest"}
    assert told["hungry"] is not None
    assert told["hungry"].peak_bytes is not None
    assert size <= told["hungry"].peak_bytes < size + 256 * 2**20
    assert told["modest"] is not None
    assert told["modest"].peak_bytes is None
    assert state.progress["resources"] == {
        "cpu_seconds": pytest.approx(told["hungry"].cpu_seconds + told["modest"].cpu_seconds),
        "peak_bytes": told["hungry"].peak_bytes,
    }


async def test_attempts_add_up_beside_what_the_body_reports() -> None:
    """A failed attempt counts as well, and the step's own progress stays as the body told it."""

    async def body() -> None:
        attempt = current_attempt()
        await python(BURN.format(0.15))
        attempt.progress(attempt.attempt, 2, "burnt", heat=7)
        if attempt.attempt == 1:
            raise ConnectionError("no")

    flow = one_step(body, retry=RetryPolicy(max_attempts=2, delay=0))
    async with Harness().kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        step = (await kernel.inspect("r")).steps["it"]

    assert step.progress is not None
    assert (step.progress.done, step.progress.total, step.progress.message) == (2, 2, "burnt")
    assert step.progress.metrics["heat"] == 7
    assert step.progress.metrics["cpu_seconds"] >= 0.3


async def test_another_life_goes_on_counting(fifo: Fifo) -> None:
    """What was recorded before a crash is part of the sum."""
    harness = Harness()

    async def body() -> None:
        await python(BURN.format(0.15))
        if current_attempt().attempt == 1:
            raise ConnectionError("no")

    flow = one_step(body, retry=RetryPolicy(max_attempts=2, delay=60, jitter=0))
    async with harness.kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        await until(kernel, "r", "attempt_failed")
        crash(kernel)
    harness.clock.advance(60)
    async with harness.kernel(flow) as kernel:
        await kernel.result("r")
        state = await kernel.inspect("r")

    assert state.progress["resources"]["cpu_seconds"] >= 0.3


async def test_a_step_without_commands_reports_nothing() -> None:
    """No event, and no figure of zero."""

    async def body() -> None: ...

    flow, harness = one_step(body), Harness()
    async with harness.kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        state = await kernel.inspect("r")

    assert "progress_reported" not in harness.types("r")
    assert state.progress["resources"] is None


async def test_a_command_that_is_cut_short_counts_too() -> None:
    """The timeout of a step ends its command, and what that had used until then is recorded."""

    async def body() -> None:
        await python(BURN.format(999))

    flow = one_step(body, timeout=0.3)
    async with Harness().kernel(flow) as kernel:
        with pytest.raises(RunFailed, match="TimeoutError"):
            await kernel.run(flow, run_id="r")
        state = await kernel.inspect("r")

    assert 0 < state.progress["resources"]["cpu_seconds"] < 60


async def test_nothing_is_kept_of_a_run_that_is_stopped(fifo: Fifo) -> None:
    """An attempt that has no outcome has no figures, and they are not counted with a later one."""

    async def body() -> None:
        script = f"{fifo.opening}; echo up >&9; while :; do sleep 9; done"
        await current_attempt().children.run(["sh", "-c", script], cwd="/", env=ENV)

    flow = one_step(body)
    async with Harness().kernel(flow) as kernel:
        await kernel.start(flow, run_id="r")
        assert await fifo.line() == "up\n"
        await kernel.cancel("r")
        await kernel.wait("r")
        assert kernel._runtime.driver._engine is not None
        assert kernel._runtime.driver._engine.children.used == {}
    assert not fifo.is_held()


def _no_pidfd(pid: int) -> int:
    raise OSError(errno.ENOSYS, "not here")


@on_linux
async def test_a_thread_waits_where_the_system_cannot_tell(
    children: Children, tmp_path: Path, fifo: Fifo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pidfds, as on macOS, ends, return codes, cancellations and figures are the same."""
    monkeypatch.setattr(os, "pidfd_open", _no_pidfd)

    assert await children.run(["sh", "-c", "echo hi; exit 3"], cwd=tmp_path, env=ENV) == (3, b"hi\n", b"", False)
    script = f"{fifo.opening}; echo up >&9; while :; do sleep 9; done"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: children.run(["sh", "-c", script], cwd=tmp_path, env=ENV))
        assert await fifo.line() == "up\n"
        tasks.cancel_scope.cancel()
    assert not fifo.is_held()

    async def body() -> None:
        await python(BURN.format(0.1))

    flow = one_step(body)
    async with Harness().kernel(flow) as kernel:
        await kernel.run(flow, run_id="r")
        assert (await kernel.inspect("r")).progress["resources"]["cpu_seconds"] >= 0.1


def test_a_child_that_somebody_else_reaps_is_not_waited_for_in_vain() -> None:
    """Where SIGCHLD is ignored nobody learns how a child ended: the code is 255, and what it printed is there."""
    program = """
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        children = Children()
        print(*await children.run(["echo", "hi"], cwd="/", env=os.environ))
        await children.close()
    """
    with a_kernel(program) as kernel:
        assert kernel.communicate()[0] == "255 b'hi\\n' b'' False\n"
