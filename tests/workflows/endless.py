"""Python programs that never end, for each task that runs Python.

Each attempt writes the processes it consists of into `begun`, and one that finds those of an earlier attempt there says
which of them are alive, in `found`, and ends. So an attempt that is cut short before it has begun proves nothing and
breaks nothing: the next one takes its place. Where there is a FIFO `up`, it is told that an attempt has begun.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

BEGINNING = """\
import ctypes, multiprocessing, os, re, signal, sys, threading, time

def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

def begin(*others):
    with open("begun", "a") as file:
        file.write(" ".join(map(str, [os.getpid(), *others])) + "\\n")
    if os.path.exists("up"):
        with open("up", "w") as up:
            up.write("up\\n")

def earlier():
    return [int(pid) for pid in open("begun").read().split()] if os.path.exists("begun") else []

def fork(work):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        work()
    return pid

def spin():
    while True:
        pass

def stubborn():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    spin()
"""

ENDLESS = {
    "a loop": "begin(); spin()",
    "one that ignores signals": "begin(); stubborn()",
    "one that swallows all it is told": """\
def refuse(*_):
    raise SystemExit("no")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, refuse)
begin()
while True:
    try:
        spin()
    except BaseException:
        pass
""",
    "arithmetic": "begin(); 10 ** 10 ** 9",
    "a pattern": "begin(); re.match('(x+x+)+y', 'x' * 90)",
    "a call that keeps the interpreter": "begin(); ctypes.PyDLL(None).sleep(100_000)",
    "threads": """\
for _ in range(3):
    threading.Thread(target=spin).start()
begin()
""",
    "sessions of its own": "begin(fork(spin), fork(stubborn)); spin()",
    "a parent that has gone": "begin(fork(stubborn), fork(stubborn)); time.sleep(100_000)",
    "a pool": """\
workers = [multiprocessing.get_context('fork').Process(target=stubborn) for _ in range(2)]
for worker in workers:
    worker.start()
begin(*[worker.pid for worker in workers])
workers[0].join()
""",
    "one that was stopped": "begin(); os.kill(os.getpid(), signal.SIGSTOP)",
    "an end that does not come": "import atexit; atexit.register(stubborn); begin(); sys.exit()",
}
"""What the first attempt does."""


def program(endless: str) -> str:
    """A program whose first attempt does not end; a later one leaves what is alive of it in `found`."""
    return f"""\
{BEGINNING}
if before := earlier():
    result = [pid for pid in before if alive(pid)]
    with open("found", "w") as file:
        file.write(repr(result))
else:
{indent(endless, "    ")}
"""


STEPS = {
    "python_code": "task: python_code\n    inputs: {code: PROGRAM}",
    "an item": "task: python_code\n    for_each: [1]\n    inputs: {code: PROGRAM}",
    "python_function": "task: python_function\n    inputs: {module: endless, function: work}",
    "python_script": "task: python_script\n    inputs: {script: endless.py}",
    "python_module": "task: python_module\n    inputs: {module: endless}",
}

WAYS = [(step, way) for number, way in enumerate(ENDLESS) for step in [list(STEPS)[number % len(STEPS)]]]
"""Each way not to end, in one of the steps, and each step in several ways."""

each_way = pytest.mark.parametrize(("step", "way"), WAYS, ids=[f"{way} in {step}" for step, way in WAYS])


def definition(folder: Path, step: str, way: str, more: str = "") -> str:
    """A workflow of one step that does not end in this way; `folder` is its workspace."""
    text = program(ENDLESS[way])
    called = f"def work():\n{indent(text, '    ')}\n    return 'ended'\n" if step == "python_function" else text
    (folder / "endless.py").write_text(called)
    shown = "|\n" + indent(text, " " * 8)
    body = STEPS[step].replace("{code: PROGRAM}", f"\n      code: {shown}")
    return f"name: f\nsteps:\n  - name: a\n    {body}\n    {more}\n"
