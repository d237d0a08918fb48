"""The backend that docs/writing-a-backend.md shows is complete: it passes the suite and is found by its URL."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flujo.backends.conformance import BEHAVIOURS

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"


def block(language: str, number: int = 0) -> str:
    """A code block of the page."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found[number]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that holds what the page shows, installed as a package would be."""
    (tmp_path / "audited.py").write_text(block("python"))
    (tmp_path / "test_audited.py").write_text(block("python", 1))
    (group, point) = block("toml").splitlines()
    installed = tmp_path / "audited-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: audited\nVersion: 1.0\n")
    name = group.split(".", 2)[2].strip('"]')
    (installed / "entry_points.txt").write_text(f"[{name}]\n{point.replace(chr(34), '')}\n")
    return tmp_path


def run(package: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=package, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_backend_of_the_page_passes_the_suite(package: Path) -> None:
    """Its test module runs as shown, with one test for each behaviour on each event loop."""
    output = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_audited.py")

    assert f"{2 * len(BEHAVIOURS)} passed" in output


def test_the_backend_of_the_page_is_found_by_its_url(package: Path) -> None:
    """The entry point gives it a scheme, and it does what it was written for."""
    script = """
import anyio
from flujo.backends import open_backend
from flujo.backends.conformance import settled
from flujo.kernel.backend import RunFilter

async def main():
    backend = open_backend("audited:gone.txt")
    await backend.open("one")
    await backend.append([settled("a", 1, uid="u1"), settled("b", 2, uid="u2"), settled("c", 3, uid="u3")])
    await backend.delete("b", "u2")
    await backend.prune(RunFilter(id_prefix="a"), limit=9, dry_run=False)
    await backend.close()

anyio.run(main)
"""
    run(package, "-c", script)

    assert (package / "gone.txt").read_text() == "b u2 completed\na u1 completed\n"
