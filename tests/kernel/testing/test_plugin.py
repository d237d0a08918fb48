"""The fixture of pytest, and the guide to testing workflows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_fixture_is_loaded_by_name_only(tmp_path: Path) -> None:
    """A test suite that names the plugin has the fixture; nobody else has it."""
    (tmp_path / "test_mine.py").write_text(
        "from flujo.kernel import workflow\n"
        "\n"
        "@workflow(name='nap')\n"
        "async def nap(ctx):\n"
        "    await ctx.sleep('30d')\n"
        "    return 'rested'\n"
        "\n"
        "def test_nap(virtual_time):\n"
        "    assert virtual_time.run_workflow(nap) == 'rested'\n"
        "    assert virtual_time.crash_at_every_checkpoint(nap).output == 'rested'\n"
    )
    without = _pytest(tmp_path)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["flujo.kernel.testing.plugin"]\n')
    named = _pytest(tmp_path)

    assert "fixture 'virtual_time' not found" in without.stdout
    assert "1 passed" in named.stdout


def _pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_guide_is_true(tmp_path: Path) -> None:
    """Every test that docs/testing.md shows passes as it stands."""
    page = (ROOT / "docs/testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        name = "conftest.py" if block.startswith("pytest_plugins") else f"test_{number}.py"
        (tmp_path / name).write_text(block)

    assert "4 passed" in _pytest(tmp_path).stdout
