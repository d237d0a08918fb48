"""The Python of every page is executed: by a test of that page, or here, as a reader would type it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from flujo.backends import open_backend
from flujo.kernel import Context, Kernel, Retention, step, workflow
from flujo.workflows import load_workflow

ROOT = Path(__file__).parents[1]

ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/backends.md": "tests/test_readme.py",
    "docs/embedding.md": "tests/acceptance/test_embedding.py",
    "docs/state.md": "tests/state/test_docs.py",
    "docs/testing.md": "tests/kernel/testing/test_plugin.py",
    "docs/values.md": "tests/kernel/test_docs.py",
    "docs/writing-a-backend.md": "tests/backends/test_writing_a_backend.py",
    "docs/writing-a-task.md": "tests/workflows/test_writing_a_task.py",
}
"""Pages whose snippets need something around them, and the tests that have it."""

HERE = (
    *("docs/grpc.md", "docs/operations.md", "docs/performance.md", "docs/python-workflows.md", "docs/tasks.md"),
    "docs/yaml-workflows.md",
)

REPORT = "name: report\nparams: {day: {type: string}}\nsteps: [{name: a, task: echo, inputs: {message: '{{ day }}'}}]\n"
GREET = "name: greet\nsteps: [{name: a, task: greet, inputs: {whom: Ada}}]\noutputs: {said: '{{ steps.a.result }}'}\n"


@step
async def fetch(url: str) -> dict[str, int]:
    """Stand for a body that a page leaves out."""
    return {"size": len(url)}


@step
async def create(zone: str) -> str:
    """The same."""
    return zone


@step
async def remove(server: str) -> None:
    """The same."""


def snippets(page: str) -> list[str]:
    """The Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_page_with_python_has_a_test() -> None:
    """A new one goes into one of the two lists."""
    pages = ["README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]

    assert {page for page in pages if snippets(page)} == {*ELSEWHERE, *HERE}
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), page


async def execute(page: str) -> dict[str, Any]:
    """Run the snippets of a page in one module, with what they take for granted; returns what is in it then."""
    async with Kernel(open_backend("memory:")) as kernel:
        around = {"Context": Context, "Kernel": Kernel, "Retention": Retention, "open_backend": open_backend}
        around |= {"workflow": workflow, "step": step, "create": create, "remove": remove, "kernel": kernel}
        module = {**around, "datetime": datetime, "timedelta": timedelta, "UTC": UTC, "__name__": "page"}
        for snippet in snippets(page):
            if "Client(" in snippet and "anyio.run(" in snippet:
                continue  # the client of tests/test_readme.py
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            run: Callable[..., Any] = eval
            code = compile(snippet, page, "exec", flags=flags, dont_inherit=True)
            if inspect.iscoroutine(made := run(code, module)):
                await made
            module |= {"kernel": kernel, **({"fetch": fetch} if "fetch" in module else {})}
        return module


@pytest.mark.parametrize("page", HERE)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every snippet, and nothing in it fails."""
    (tmp_path / "report.yaml").write_text(REPORT)
    (tmp_path / "greet.yaml").write_text(GREET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)

    assert anyio.run(execute, page)


def test_the_workflows_of_the_page_on_python_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of a run, what is drawn, and the runs that are listed."""
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        page = await execute("docs/python-workflows.md")
        async with Kernel(open_backend("memory:"), workflows=[page["report"]]) as kernel:
            sizes = await kernel.run(page["nightly"], {"days": ["1", "22"]})
            assert sizes == [len("https://example.org/1"), len("https://example.org/22")]
            assert await kernel.run(page["raffle"], {"names": ["ada"]}) == "ada"

    anyio.run(run)


def test_the_task_of_the_page_on_tasks_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a workflow that was loaded with it."""
    (tmp_path / "greet.yaml").write_text(GREET)
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        page = await execute("docs/tasks.md")
        async with Kernel(open_backend("memory:"), workspaces=tmp_path / "w") as kernel:
            loaded = load_workflow("greet.yaml", tasks=[page["greet"]])
            assert await kernel.run(loaded) == {"said": "Hello Ada"}

    anyio.run(run)
