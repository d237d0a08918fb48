"""What the documentation shows can be loaded as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flujo.workflows import load_workflow
from flujo.workflows.registry import BUILT_IN

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("yaml-workflows.md", "tasks.md")


def blocks() -> list[tuple[str, str]]:
    """Every YAML block with the page and line it begins in."""
    fenced = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
    texts = {page: (DOCS / page).read_text() for page in PAGES}
    return [
        (f"{page}:{text.count(chr(10), 0, match.start()) + 2}", match[1])
        for page, text in texts.items()
        for match in fenced.finditer(text)
    ]


@pytest.mark.parametrize(("place", "text"), blocks(), ids=lambda value: value if value.startswith(PAGES) else "")
def test_a_definition_in_the_docs_is_valid(place: str, text: str) -> None:
    """Each one is complete."""
    load_workflow(text, source=place)


def test_every_task_has_its_line() -> None:
    """A new task is a new line in the table."""
    page = (DOCS / "tasks.md").read_text()

    assert [name for name in BUILT_IN if f"| [`{name}`]" not in page] == []
