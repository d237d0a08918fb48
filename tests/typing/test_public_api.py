"""The types of the public interface, as type checkers see them from a user's file."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = "tests/typing/public_api.py"


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("module", "options"), [("mypy", ["--strict", "--warn-unused-ignores"]), ("pyright", [])], ids=["mypy", "pyright"]
)
def test_a_users_file_type_checks(module: str, options: list[str]) -> None:
    """A file that uses everything public is clean under the strictest settings."""
    if find_spec(module) is None or run(module, "--version").returncode != 0:
        pytest.skip(f"{module} is not installed, or not complete: pyright fetches itself on its first use")

    checked = run(module, *options, FILE)

    assert checked.returncode == 0, checked.stdout + checked.stderr
