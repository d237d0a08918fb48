"""Items of a loop run Python in processes that stay warm, and that nobody can tell from fresh ones."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel, WorkflowState
from flujo.workflows import load_workflow
from workflows.scripted import without_times


async def performed(
    folder: Path, code: str, *, items: str = "[0, 1, 2, 3]", at_once: int = 1, more: str = "on_error: continue"
) -> WorkflowState:
    """Run the code once per item in a folder, as a loop called `a`."""
    text = f"""\
name: f
steps:
  - name: a
    task: python_code
    for_each: {{items: {items}, max_workers: {at_once}}}
    {more}
    inputs:
      code: |
{indent(code, " " * 8)}
"""
    workflow = load_workflow(text, workspace=folder)
    async with Kernel(InMemoryBackend(), workflows=[workflow], workspaces=folder / "logs") as kernel:
        await kernel.start(workflow, run_id="r")
        return await kernel.wait("r")


def results(state: WorkflowState) -> list[Any]:
    found: list[Any] = state.step_outputs["a"]["result"]["results"]
    return found


def log_of(state: WorkflowState) -> str:
    return without_times(Path(state.environment["log_file"]).read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_items_share_processes_that_end_with_the_loop(tmp_path: Path) -> None:
    """As many as are at work at once, each with the variables of the item it works on."""
    code = "import os\nresult = [os.getpid(), os.environ['FLUJO_STEP'], item, index, batch['total']]"
    state = await performed(tmp_path, code, items="[x, y, z, w, v, u]", at_once=2)

    pids = {pid for pid, *_ in results(state)}
    assert 1 <= len(pids) <= 2
    assert not any(map(is_alive, pids))
    assert [rest for _, *rest in results(state)] == [[f"a[{n}]", item, n, 6] for n, item in enumerate("xyzwvu")]


@pytest.mark.parametrize(
    "leaves",
    [
        "import threading, time; threading.Thread(target=time.sleep, args=(0.05,)).start()",
        "import subprocess; subprocess.Popen(['sleep', '1000'])",
        "import signal; signal.setitimer(signal.ITIMER_REAL, 1000)",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "import atexit; atexit.register(open, 'late', 'w')",
        "import sys; sys.stdout.close()",
        "open('mine.py', 'w').write('x = 1'); import mine",
    ],
)
async def test_an_item_that_leaves_something_behind_is_the_last_of_its_process(tmp_path: Path, leaves: str) -> None:
    """And what it has left is gone before the next item begins."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    code = f"import os, sys\nsys.path.insert(0, os.getcwd())\nresult = os.getpid()\nif item == 1:\n  {leaves}\n"

    state = await performed(folder, code, items="[0, 1, 2]")

    first, second, third = results(state)
    assert (first == second, second == third) == (True, False)
    assert not is_alive(second)


@pytest.mark.parametrize(
    ("changes", "shows"),
    [
        ("os.environ['A'] = 'b'; del os.environ['PATH']", "[os.environ.get('A'), 'PATH' in os.environ]"),
        ("os.chdir('/')", "os.getcwd()"),
        ("os.umask(0o001)", "os.umask(os.umask(0o022)) == 1"),
        ("sys.path.insert(0, '/nowhere')", "'/nowhere' in sys.path"),
        ("sys.stdout = open(os.devnull, 'w')", "sys.stdout.name"),
        ("kept = 1", "'kept' in globals()"),
    ],
)
async def test_what_an_item_changes_no_other_one_sees(tmp_path: Path, changes: str, shows: str) -> None:
    """What can be put back is, and the process stays warm."""
    code = f"import os, sys\nresult = [os.getpid(), {shows}]\nif item == 1:\n  {changes}\n"

    (first, before), _, (third, after) = results(await performed(tmp_path, code, items="[0, 1, 2]"))

    assert before == after
    assert first == third


async def test_an_item_that_ends_its_process_fails_alone(tmp_path: Path) -> None:
    """With the code it has ended with and what it has printed itself; the next one has another process."""
    code = "import os\nprint('this is', item)\nif item == 1: os._exit(3)\nresult = item"

    state = await performed(tmp_path, code)

    assert results(state) == [0, None, 2, 3]
    (failed,) = state.step_outputs["a"]["result"]["failed"]
    assert failed["type"] == "ChildProcessError"
    assert failed["error"] == "the Python process ended with code 3: this is 1"


async def test_an_item_that_takes_too_long_is_ended_with_its_process(tmp_path: Path) -> None:
    """Before the next attempt begins, which has a process of its own."""
    code = (
        "import os\nopen('pids', 'a').write(f'{os.getpid()}\\n')\n"
        "if item == 1 and len(open('pids').readlines()) == 2:\n  while True: pass\nresult = item"
    )
    state = await performed(
        tmp_path, code, items="[0, 1]", more="timeout: 3s\n    retry: {max_attempts: 2, delay: 1ms}"
    )

    first, cut, again = map(int, (tmp_path / "pids").read_text().split())
    assert results(state) == [0, 1]
    assert state.steps["a[1]"].attempt == 2
    assert (first == cut, cut == again) == (True, False)


async def test_a_result_that_is_too_large_fails_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has said too much to go on."""
    monkeypatch.setattr("flujo.workflows.tasks.python_pool.MAX_ANSWER", 10_000)

    state = await performed(tmp_path, "result = 'x' * (20_000 if item == 1 else 1)", items="[0, 1, 2]")

    assert results(state) == ["x", None, "x"]
    assert state.step_outputs["a"]["result"]["failed"][0]["type"].endswith("OutputTooLargeError")


async def test_errors_and_prints_are_those_of_each_item(tmp_path: Path) -> None:
    """The log has the lines of each attempt, and nothing of what ends them."""
    code = (
        "import sys\nprint('out', item, end='')\nprint('\\nerr', item, file=sys.stderr)\nif item: raise KeyError('no')"
    )

    state = await performed(tmp_path, code, items="[0, 1]")

    log = log_of(state)
    assert [line for line in log.splitlines() if " out" in line or " err" in line] == [
        "a[0].1| out 0",
        "a[0].1| err 0",
        "a[1].1| out 1",
        "a[1].1| err 1",
    ]
    assert "\0" not in log
    assert state.step_outputs["a"]["result"]["failed"][0]["error"] == "'no' (line 4 of the code)"
