"""Every definition of docs/tasks.md runs as it stands, and ends as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from workflows.test_docs import blocks

PAGE = "tasks.md"
ENDS = {"messages": 1, "signals": 7, "sleeping": 7}
"""The exit codes of those that do not complete: one fails in the end, two wait."""


@pytest.mark.parametrize("text", [text for place, text in blocks() if place.startswith(PAGE)])
def test_a_snippet_runs_to_the_end_the_page_tells_of(text: str, flujoctl: Flujoctl, folder: Path) -> None:
    """In an empty folder, but for the one template that a snippet renders."""
    (folder / "flow.yaml").write_text(text)
    (folder / "page.md.j2").write_text("day {{ timestamp }}")
    name = text.partition("\n")[0].removeprefix("name: ")

    ended = flujoctl("run", "flow.yaml", "--no-wait")

    assert ended.code == ENDS.get(name, 0), ended
