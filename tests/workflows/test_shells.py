"""What docs/shells.md shows is what happens: each block is run, and prints or fails as its last line says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel
from flujo.workflows import load_workflow

PAGE = (Path(__file__).parents[2] / "docs" / "shells.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(name: (\S+)\n.*?)^# (prints|fails): (.+?)\n```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_says_what_comes_of_it() -> None:
    """Or it would not be run."""
    assert len(BLOCKS) == PAGE.count("```yaml") > 10


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("text", "name", "outcome", "told"), BLOCKS, ids=[block[1] for block in BLOCKS])
async def test_a_block_does_what_it_says(text: str, name: str, outcome: str, told: str, tmp_path: Path) -> None:
    """The last step prints exactly that, or the failure has it."""
    workflow = load_workflow(text, source=f"shells.md: {name}", workspace=tmp_path)
    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    if outcome == "fails":
        assert state.error is not None
        assert told in state.error.message
    else:
        assert state.status == "completed", state.error
        assert [step.output for step in state.steps.values()][-1]["stdout"].strip() == told
