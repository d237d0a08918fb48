"""Workflows in one Python file, as several commands and one server load them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.backends import InMemoryBackend
from flujo.cli import sources
from flujo.kernel import Kernel

FAMILY = """\
from flujo.kernel import Context, workflow

@workflow
async def child(ctx: Context) -> str:
    return "child"

@workflow
async def parent(ctx: Context) -> str:
    return await ctx.run_child(child)
"""


@pytest.mark.parametrize("targets", [["parent", "child"], ["child", "parent"], ["parent"]])
async def test_two_workflows_of_one_file_may_call_each_other(folder: Path, targets: list[str]) -> None:
    """They are served by two names, and the file is one module."""
    (folder / "family.py").write_text(FAMILY, encoding="utf-8")

    loaded = [sources.load(f"family.py:{name}") for name in targets]

    async with Kernel(InMemoryBackend(), loaded) as kernel:
        assert await kernel.run("parent") == "child"


def test_a_file_that_has_changed_is_read_again(folder: Path) -> None:
    """Whoever edits it between two commands of one process gets what it says now."""
    (folder / "family.py").write_text(FAMILY, encoding="utf-8")
    same = [sources.load("family.py:child").program for _ in range(2)]

    (folder / "family.py").write_text(f"{FAMILY}# edited\n", encoding="utf-8")

    assert same[0] is same[1]
    assert sources.load("family.py:child").program is not same[0]
