"""What is drawn on a terminal while a run goes on."""

from __future__ import annotations

from rich.console import Console

from flujo.cli.display import LiveDisplay


def test_no_line_takes_more_than_one_line_of_the_terminal() -> None:
    """What does not fit is cut: the next drawing begins at the first line of this one."""
    display = LiveDisplay()
    display.close()
    display._footer = "a long word " * 20
    console = Console(width=40)

    lines = console.render_lines(display._render())

    assert len(lines) == 1
    assert "".join(segment.text for segment in lines[0]).rstrip().endswith("…")
