"""One workflow of five steps, in YAML and in Python: each appends its number to `log`, and the third one hangs once."""

from __future__ import annotations

from acceptance.terminal import Terminal

_YAML = """\
name: five-steps
steps:
  - {name: one, task: shell, inputs: {command: "echo 1 >> {{ start_dir }}/log"}}
  - {name: two, task: shell, inputs: {command: "echo 2 >> {{ start_dir }}/log"}}
  - name: three
    task: shell
    inputs:
      command: |
        cd '{{ start_dir }}' && echo 3 >> log
        if mkdir once 2>/dev/null; then
          TRAP
          echo $$ > begun
          read -r _ < never
        fi
  - {name: four, task: shell, inputs: {command: "echo 4 >> {{ start_dir }}/log"}}
  - {name: five, task: shell, inputs: {command: "echo 5 >> {{ start_dir }}/log"}}
"""

_PYTHON = """\
import os

import anyio

from flujo.kernel import Context, step, workflow


@step
async def append(number: int) -> int:
    with open("log", "a") as log:
        print(number, file=log)
    return number


@step
async def hang_once(number: int) -> int:
    await append(number)
    try:
        os.mkdir("once")
    except FileExistsError:
        return number
    with open("begun", "w") as begun:
        print(os.getpid(), file=begun)
    await anyio.sleep_forever()
    return number


@workflow(name="five-steps")
async def five_steps(ctx: Context) -> int:
    await ctx.step(append, 1, name="one")
    await ctx.step(append, 2, name="two")
    await ctx.step(hang_once, 3, name="three")
    await ctx.step(append, 4, name="four")
    return await ctx.step(append, 5, name="five")
"""


def make(terminal: Terminal, kind: str, *, stubborn: bool = False) -> str:
    """Write the workflow; returns what to give to `flujoctl run`. A stubborn third step does not mind SIGTERM.

    In its first attempt the third step writes the number of its process into the named pipe `begun`, and hangs.
    """
    terminal.fifo("begun")
    terminal.fifo("never")
    if kind == "yaml":
        terminal.write("five-steps.yaml", _YAML.replace("TRAP", "trap '' TERM" if stubborn else ":"))
        return "five-steps.yaml"
    terminal.write("five_steps_program.py", _PYTHON)
    return "five_steps_program.py:five_steps"
