"""What the port takes and gives: filters that ask for values, and what only a creation sets."""

from __future__ import annotations

import re
from pathlib import Path

from flujo.kernel.backend import FIXED_COLUMNS, SAME_VALUE, RunFilter, RunSummary, keep_fixed_columns

PAGE = (Path(__file__).parents[3] / "docs" / "writing-a-backend.md").read_text()


def test_a_part_of_a_filter_that_asks_for_one_value_names_its_column() -> None:
    """Every text in a filter is such a part, or the beginning of an id, which has a meaning of its own."""
    texts = {name for name, type in RunFilter.__annotations__.items() if "str | None" in str(type)}

    assert set(SAME_VALUE) == texts - {"id_prefix"}
    assert set(SAME_VALUE.values()) <= set(RunSummary._fields)


def test_what_only_a_creation_sets_is_what_the_page_for_authors_says() -> None:
    """docs/writing-a-backend.md names each such column, and a commit keeps those and no others."""
    (named,) = re.findall(r"\*\*What the creation sets, stays\.\*\* (.+?)\n- ", PAGE, re.DOTALL)
    stored = RunSummary._make((name, "stored") for name in RunSummary._fields)
    told = RunSummary._make((name, "told") for name in RunSummary._fields)

    kept = keep_fixed_columns(stored, told)

    assert set(FIXED_COLUMNS) == set(re.findall(r"`(\w+)`", named))
    assert {name for name, value in kept._asdict().items() if value[1] == "stored"} == set(FIXED_COLUMNS)
