"""Every definition of docs/tasks.md runs as it stands, and ends as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from workflows.tasks.local_server import Reply, serving
from workflows.test_docs import blocks

PAGE = "tasks.md"
ENDS = {"messages": 1, "signals": 7, "sleeping": 7}
"""The exit codes of those that do not complete: one fails in the end, two wait."""

ANSWERS = {"/report/monday": b'{"lines": 3}', "/reports": b"", "/report.pdf": b"%PDF", "/hook": b"ok"}
"""What the server of the page answers; anything else is not found."""

CHILD = "name: child\nparams: {day: {}}\noutputs: {lines: 3}\nsteps: [{name: a, task: noop}]\n"


@pytest.mark.parametrize("text", [text for place, text in blocks() if place.startswith(PAGE)])
def test_a_snippet_runs_to_the_end_the_page_tells_of(text: str, flujoctl: Flujoctl, folder: Path) -> None:
    """In a folder with the template and the child that two of them name, beside the server that some of them ask."""
    (folder / "child.yaml").write_text(CHILD)
    (folder / "page.md.j2").write_text("day {{ timestamp }}")
    name = text.partition("\n")[0].removeprefix("name: ")

    with serving() as server:
        for path, body in ANSWERS.items():
            server.answer(path, Reply(200, body))
        (folder / "flow.yaml").write_text(text.replace("http://127.0.0.1:8008", server.url))
        ended = flujoctl("run", "flow.yaml", "--no-wait")

    assert ended.code == ENDS.get(name, 0), ended
