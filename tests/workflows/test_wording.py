"""How names are shown in messages: one line each, and never very long."""

from __future__ import annotations

import pytest

from flujo.workflows.wording import named, unknown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shell", "`shell`"),
        ("größe", "`größe`"),
        ("a folded text\n", "`a folded text\\n`"),
        ("two\r\nlines\u2028more", "`two\\r\\nlines\\u2028more`"),
        ("\x1b[2J", "`\\x1b[2J`"),
        ("\udc80", "`\\udc80`"),
        ("x" * 200, "`" + "x" * 99 + "…`"),
    ],
)
def test_a_name_is_on_one_line(name: str, expected: str) -> None:
    """A line of a message that is no name would stand without its file and place."""
    assert named(name) == expected
    assert unknown("task", name, ["noop"]).startswith(f"there is no task {expected}; ")
