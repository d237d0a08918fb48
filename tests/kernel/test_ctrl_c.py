"""Ctrl-C in a program with a kernel: it ends, in good order, and the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import pytest

import foreground
from flujo.backends import open_backend

ROOT = Path(__file__).parents[2]
TWICE = Path(__file__).with_name("interrupted_twice.py")
INTERRUPTED, BY_THE_SIGNAL, NOT_REACHED = 130, -signal.SIGINT, 0
"""How a try of that script ends: by an exception; by the signal itself, which came right behind the closing; or having
closed before the moment came."""


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
        output, _ = self.process.communicate(timeout=100)
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


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("loop", "store", "stride"),
    [("asyncio", "sqlite:{}/state.db", 211), ("asyncio", "file:{}/runs", 211), ("blocking", "sqlite:{}/state.db", 7)],
)
def test_a_second_ctrl_c_at_any_moment_of_closing_ends_the_program(
    tmp_path: Path, loop: str, store: str, stride: int
) -> None:
    """It ends by itself, whatever it interrupts, and the store it leaves is sound. Where the moments are depends on
    the machine a little, so that each run of this test looks at others."""
    url = store.format(tmp_path)
    found = subprocess.run(
        [sys.executable, str(TWICE), url, loop, "1", str(stride), "100"], capture_output=True, text=True
    )
    tried = json.loads(found.stdout)

    ends = [code for _, code in tried]
    assert [each for each in tried if each[1] not in (INTERRUPTED, BY_THE_SIGNAL, NOT_REACHED)] == []
    assert ends.count(INTERRUPTED) >= 10
    assert ends[-1] == NOT_REACHED
    anyio.run(_require_sound, url)


async def _require_sound(url: str) -> None:
    async with open_backend(url) as backend:
        assert await backend.integrity() == []
