"""What the documentation shows can be loaded as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel
from flujo.kernel.errors import DefinitionError
from flujo.workflows import load_workflow
from flujo.workflows.registry import BUILT_IN

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("yaml-workflows.md", "tasks.md", "processes.md", "shells.md")


def blocks() -> list[tuple[str, str]]:
    """Every YAML block with the page and line it begins in."""
    fenced = re.compile(r"^```yaml(?: file=\S+)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    texts = {page: (DOCS / page).read_text() for page in PAGES}
    return [
        (f"{page}:{text.count(chr(10), 0, match.start()) + 2}", match[1])
        for page, text in texts.items()
        for match in fenced.finditer(text)
    ]


@pytest.mark.parametrize(("place", "text"), blocks(), ids=lambda value: value if value.startswith(PAGES) else "")
def test_a_definition_in_the_docs_is_valid(place: str, text: str) -> None:
    """Each one is complete, but for the files it imports."""
    if "\nimports: " not in text:
        load_workflow(text, source=place)


def test_every_task_has_its_line() -> None:
    """A new task is a new line in the table."""
    page = (DOCS / "tasks.md").read_text()

    assert [name for name in BUILT_IN if f"| [`{name}`]" not in page] == []


def commands(folder: Path, **scripts: str) -> None:
    """Commands in a workspace, as the snippets call them: `./fetch`."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o700)


@pytest.mark.parametrize(
    ("fetch", "told"), [("echo fetched", "7 lines"), ("echo no network >&2; exit 6", "as yesterday")]
)
async def test_the_graph_of_the_docs_runs_on_both_its_paths(tmp_path: Path, fetch: str, told: str) -> None:
    """With the data, and when it cannot be had, which is what its handler is there for."""
    (text,) = [text for _, text in blocks() if text.startswith("name: graph\n")]
    workflow = load_workflow(text, workspace=tmp_path)
    commands(tmp_path, fetch=fetch, count="printf '7 lines'", check="exit 0")

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.status == "completed"
    assert state.step_outputs["report"]["result"] == told


@pytest.mark.parametrize(
    ("flow", "publish", "told"),
    [
        (None, "exit 1", None),
        ("ship", "exit 0", "build completed, publish completed"),
        ("all", "exit 1", None),
    ],
)
async def test_the_flows_of_the_docs_run_by_themselves(
    tmp_path: Path, flow: str | None, publish: str, told: str | None
) -> None:
    """The default does without what fails in the others."""
    (text,) = [text for _, text in blocks() if text.startswith("name: release\n")]
    workflow = load_workflow(text, workspace=tmp_path)
    commands(tmp_path, build="exit 0", check="exit 0", publish=publish)

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r", flow=flow)
        state = await kernel.wait("r")

    assert state.status == ("failed" if flow == "all" else "completed")
    assert (state.step_outputs.get("report") or {}).get("result") == told


async def test_the_files_of_the_docs_import_each_other(tmp_path: Path) -> None:
    """With the file in its place, and with a way out without it."""
    page = (DOCS / "yaml-workflows.md").read_text()
    for name, text in re.findall(r"^```yaml file=(\S+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    workflow = load_workflow(tmp_path / "nightly.yaml")

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, {"user": "Ada"}, run_id="r")
        state = await kernel.wait("r")
    (tmp_path / "login.yaml").unlink()

    assert state.step_outputs["work"]["result"] == "hello Ada, to work"
    with pytest.raises(DefinitionError, match=r"imported file `login.yaml` does not exist"):
        load_workflow(tmp_path / "nightly.yaml")
