"""docs/cli.md says what the commands say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flujo.cli import command_index
from flujo.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    """`make fmt` writes it anew."""
    roots = [str(ROOT / name) for name in ("kernel", "backends", "workflows", "cli")]
    ended = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(roots)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


PAGE = ROOT / "docs" / "flujoctl.1"

REQUESTS = {"TH", "SH", "SS", "PP", "TP", "RS", "RE", "nf", "fi", "B"}
"""What a manual page of ours is written with: every man there is knows these."""


def test_the_manual_page_has_every_command_and_its_examples() -> None:
    """Made from the page of the reference; what is an example there is one here."""
    text = PAGE.read_text(encoding="utf-8")
    sections = re.findall(r"^\.SS flujoctl (\S+)", text, re.MULTILINE)

    assert set(command_index.COMMANDS) <= set(sections)
    assert f"flujoctl {command_index.VERSION}" in text.splitlines()[0]
    plain = text.replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")
    assert [each for name in EXAMPLES for each in EXAMPLES[name] if each not in plain] == []


def test_the_manual_page_is_plain_roff() -> None:
    """No text is taken for a request, and no font is left open."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        assert not line.startswith(".") or line[1:].split()[0] in REQUESTS, line
        assert len(re.findall(r"\\f[BI]", line)) == line.count("\\fR"), line
        assert "`" not in line or line.startswith(("flujoctl", "\\fB")), line


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_shown_without_a_warning() -> None:
    """By the program that most systems show manual pages with."""
    command = ["groff", "-man", "-ww", "-k", "-Tutf8", str(PAGE)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)

    assert shown.stderr == ""
    assert "run workflows whose steps survive crashes" in shown.stdout


def test_the_manual_page_is_installed_where_man_looks() -> None:
    """Beside the command, in the environment that pip installs it into."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {"docs/flujoctl.1": "share/man/man1/flujoctl.1"}
