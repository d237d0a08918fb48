"""Ctrl-C in a program with a kernel: it ends, in good order, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import foreground

ROOT = Path(__file__).parents[2]


SCRIPT = """
    import sys
    import anyio
    from flujo.backends import open_backend
    from flujo.kernel import Context, Kernel, step, workflow

    def say(*words):
        print(*words, flush=True)

    @step
    async def first():
        say("first")
        return 1

    @step
    async def second():
        say("second")
        if sys.argv[2] == "stubborn":
            try:
                await anyio.sleep_forever()
            finally:
                say("cleaning")
                with anyio.CancelScope(shield=True):
                    await anyio.sleep_forever()
        if sys.argv[2] == "raise":
            raise KeyboardInterrupt
        if sys.argv[2] == "wait":
            await anyio.sleep_forever()
        return 2

    @workflow()
    async def program(ctx: Context):
        return [await ctx.step(first), await ctx.step(second)]

    async def main():
        async with Kernel(open_backend(f"sqlite:{sys.argv[1]}"), workflows=[program]) as kernel:
            handle = await kernel.start(program, run_id="r")
            say("result", await handle.result())

    anyio.run(main)
"""


class Script:
    """The script above as a process of its own."""

    def __init__(self, folder: Path, behaviour: str) -> None:
        path = folder / "script.py"
        path.write_text(textwrap.dedent(SCRIPT))
        roots = os.pathsep.join(str(ROOT / root) for root in ("kernel", "backends"))
        self.process = subprocess.Popen(
            [sys.executable, str(path), str(folder / "state.db"), behaviour],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": roots},
            preexec_fn=foreground.listen,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """The exit code, and what was printed besides."""
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@pytest.mark.parametrize("behaviour", ["wait", "stubborn", "raise"])
def test_ctrl_c_never_hangs_and_loses_nothing(tmp_path: Path, behaviour: str) -> None:
    """One Ctrl-C closes in good order, a second one ends the process; the next one goes on after the finished step."""
    script = Script(tmp_path, behaviour)
    assert [script.line(), script.line()] == ["first", "second"]
    if behaviour != "raise":
        script.interrupt()
    if behaviour == "stubborn":
        assert script.line() == "cleaning"
        script.interrupt()
    code, _ = script.end()
    _, output = Script(tmp_path, "finish").end()

    assert code != 0
    assert output.split("\n")[:2] == ["second", "result [1, 2]"]
