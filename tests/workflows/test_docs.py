"""What the documentation shows can be loaded as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Kernel, WorkflowState
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


def block(name: str) -> str:
    """The one definition of the docs that is called so."""
    (text,) = [text for _, text in blocks() if text.startswith(f"name: {name}\n")]
    return text


async def played(name: str, folder: Path, **inputs: Any) -> WorkflowState:
    """Run a definition of the docs in a folder, to its end."""
    workflow = load_workflow(block(name), workspace=folder)
    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, inputs, run_id="r")
        return await kernel.wait("r")


@pytest.mark.parametrize(
    ("shrink", "told", "failed"),
    [("echo small", "3 of 3 pictures", []), ("test $1 != b.png || exit 5", "2 of 3 pictures", ["b.png"])],
)
async def test_the_loop_of_the_docs_runs_on_both_its_paths(
    tmp_path: Path, shrink: str, told: str, failed: list[str]
) -> None:
    """With all of its pictures, and with one that cannot be shrunk."""
    commands(tmp_path, shrink=shrink)
    text = block("thumbnails").replace("delay: 1s", "delay: 1ms")
    workflow = load_workflow(text, workspace=tmp_path)

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.status == "completed"
    assert state.step_outputs["report"]["result"] == told
    assert state.output["failed"] == failed
    assert [result is None for result in state.output["results"]] == [False, bool(failed), False]


@pytest.mark.parametrize(("fetch", "ends"), [('echo "$1"', "completed"), ('test "$1" != 3', "failed")])
async def test_the_chunks_of_the_docs_run_on_both_their_paths(tmp_path: Path, fetch: str, ends: str) -> None:
    """The pages are joined in their order; without one of them nothing is."""
    commands(tmp_path, **{"fetch-page": fetch, "join-pages": 'printf "%s" "$@"'})

    state = await played("chunks", tmp_path)

    assert state.status == ends
    if ends == "completed":
        assert state.step_outputs["all"]["result"]["stdout"] == "1\n2\n3\n4\n5\n"
    else:
        assert [name for name in state.steps if name.startswith("pages[")] == [f"pages[{n}]" for n in range(4)]


@pytest.mark.parametrize(
    ("missing", "output"),
    [([], {"sizes": [1, 1, 1], "failed": "none"}), (["b.txt"], {"sizes": [1, None, 1], "failed": "b.txt"})],
)
async def test_the_batch_of_the_docs_runs_on_both_its_paths(
    tmp_path: Path, missing: list[str], output: dict[str, Any]
) -> None:
    """A file that is not there fails its item, and holds its place."""
    for name in {"a.txt", "b.txt", "c.txt"} - set(missing):
        (tmp_path / name).write_text("x")

    state = await played("batch", tmp_path)

    assert state.output == output


@pytest.mark.parametrize(
    ("fetch", "told"), [("echo fetched", "7 lines"), ("echo no network >&2; exit 6", "as yesterday")]
)
async def test_the_graph_of_the_docs_runs_on_both_its_paths(tmp_path: Path, fetch: str, told: str) -> None:
    """With the data, and when it cannot be had, which is what its handler is there for."""
    workflow = load_workflow(block("graph"), workspace=tmp_path)
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


@pytest.mark.parametrize(("types", "status"), [("exit 0", "failed"), ("exit 1", "failed")])
async def test_all_checks_of_the_docs_run(tmp_path: Path, types: str, status: str) -> None:
    """Whether one or both fail, and the report has both."""
    (text,) = [text for _, text in blocks() if text.startswith("name: all-checks\n")]
    workflow = load_workflow(text, workspace=tmp_path)
    commands(tmp_path, style="exit 1", types=types)

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.status == status
    told = "style failed, types " + ("completed" if types == "exit 0" else "failed")
    assert state.step_outputs["report"]["result"] == told


@pytest.mark.parametrize(("upload", "attempts"), [("exit 3", 1), ("exit 4", 1), ("exit 75", 5)])
async def test_the_finer_retries_of_the_docs_look_at_codes(tmp_path: Path, upload: str, attempts: int) -> None:
    """A code that is no failure, one that is not worth another try, and one that is."""
    (text,) = [text for _, text in blocks() if text.startswith("name: finer-retries\n")]
    workflow = load_workflow(text, workspace=tmp_path)
    commands(tmp_path, upload=f"echo x >> tries; {upload}")

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r", skip_steps=["tell"])
        state = await kernel.wait("r")

    assert (tmp_path / "tries").read_text() == "x\n" * attempts
    assert state.status == ("completed" if upload == "exit 3" else "failed")


@pytest.mark.parametrize("name", ["polling", "polling in a graph"])
@pytest.mark.parametrize(("ready", "status"), [(3, "completed"), (99, "failed")])
async def test_the_polling_of_the_docs_waits_for_its_result(tmp_path: Path, name: str, ready: int, status: str) -> None:
    """And gives up in the end."""
    (text,) = [text for _, text in blocks() if text.startswith(f"name: {name}\n")]
    workflow = load_workflow(text.replace("max: 50", "max: 4").replace("100ms", "1ms"), workspace=tmp_path)
    commands(tmp_path, prepare="exit 0", status=f'echo >> n; [ "$(wc -l < n)" -lt {ready} ] && echo busy || echo ready')

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.status == status
    assert (state.error is not None and state.error.type == "RepeatLimitError") == (status == "failed")


async def test_the_shaped_result_of_the_docs_is_what_others_see(tmp_path: Path) -> None:
    """And nothing else of what the task returned."""
    (text,) = [text for _, text in blocks() if text.startswith("name: shaped\n")]
    workflow = load_workflow(text, workspace=tmp_path)

    async with Kernel(InMemoryBackend(), workflows=[workflow]) as kernel:
        await kernel.start(workflow, run_id="r")
        state = await kernel.wait("r")

    assert state.step_outputs["count"]["result"] == {"files": 3, "said": "3 files"}
    assert state.step_outputs["tell"]["result"] == 4
