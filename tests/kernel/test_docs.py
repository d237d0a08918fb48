"""The page on values and types: what it shows is what happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import anyio
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "values.md").read_text()

EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\nprints\n\n```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_print_what_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, as a reader would type them."""
    assert len(EXAMPLES) == PAGE.count("```python") == 2
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    for code, printed in EXAMPLES:
        exec(compile(code, "docs/values.md", "exec", dont_inherit=True), vars(page))
        anyio.run(page.main)
        assert capsys.readouterr().out == printed
