"""A new backend is one package and one entry point.

The one that docs/writing-a-backend.md shows passes the suite and is found by its URL; one whose stores have paths
serves every command that asks where a store is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flujo.backends.conformance import BEHAVIOURS

PAGE = Path(__file__).parents[2] / "docs/writing-a-backend.md"


def block(language: str, number: int = 0) -> str:
    """A code block of the page."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found[number]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that holds what the page shows, installed as a package would be."""
    (tmp_path / "audited.py").write_text(block("python"))
    (tmp_path / "test_audited.py").write_text(block("python", 1))
    (group, point) = block("toml").splitlines()
    assert group == '[project.entry-points."flujo.backends"]'
    scheme, _, factory = point.replace('"', "").partition(" = ")
    install(tmp_path, scheme, factory)
    return tmp_path


DRAWER = """
from flujo.backends.file import FileBackend


class DrawerBackend(FileBackend):
    def __init__(self, path):
        super().__init__(path, "normal")
        self.url = f"drawer:{path}"


def open_drawer(url):
    return DrawerBackend(url.removeprefix("drawer:"))
"""

FLOW = """
name: flow
steps:
  - {name: put, task: write_file, inputs: {path: here, content: hello}}
"""


@pytest.fixture
def drawer(tmp_path: Path) -> Path:
    """A package with a backend that flujo has never heard of, installed in a project whose settings name it."""
    install(tmp_path, "drawer", "drawer:open_drawer")
    (tmp_path / "drawer.py").write_text(DRAWER)
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "flujo.toml").write_text('store = "drawer:chest/drawer"\n')
    return tmp_path


def install(folder: Path, scheme: str, factory: str) -> None:
    """Put the metadata of a package that registers a backend into a folder."""
    installed = folder / f"{scheme}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {scheme}\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[flujo.backends]\n{scheme} = {factory}\n")


def run(package: Path, *arguments: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd or package, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_backend_of_the_page_passes_the_suite(package: Path) -> None:
    """Its test module runs as shown, with one test for each behaviour on each event loop."""
    output = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_audited.py")

    assert f"{2 * len(BEHAVIOURS)} passed" in output


def test_the_backend_of_the_page_is_found_by_its_url(package: Path) -> None:
    """The entry point gives it a scheme, and it does what it was written for."""
    script = """
import anyio
from flujo.backends import open_backend
from flujo.backends.conformance import settled
from flujo.kernel.backend import RunFilter

async def main():
    backend = open_backend("audited:gone.txt")
    await backend.open("one")
    await backend.append([settled("a", 1, uid="u1"), settled("b", 2, uid="u2"), settled("c", 3, uid="u3")])
    await backend.delete("b", "u2")
    await backend.prune(RunFilter(id_prefix="a"), limit=9, dry_run=False)
    await backend.close()

anyio.run(main)
"""
    run(package, "-c", script)

    assert (package / "gone.txt").read_text() == "b u2 completed\na u1 completed\n"


def test_a_backend_with_a_path_is_found_looked_after_and_put_back(drawer: Path) -> None:
    """Nothing in flujo knows its scheme. Yet a relative path in flujo.toml counts from there, and the store is backed
    up, restored, and copied to another one."""
    elsewhere = drawer / "elsewhere"
    elsewhere.mkdir()
    flujoctl = ("-m", "flujoctl")
    run(drawer, *flujoctl, "run", "flow.yaml", "--id", "one")
    listed = run(drawer, *flujoctl, "list", "-o", "name", cwd=elsewhere)
    run(drawer, *flujoctl, "db", "backup", "saved")
    run(drawer, *flujoctl, "delete", "one")
    run(drawer, *flujoctl, "db", "restore", "saved", "--force")
    run(drawer, *flujoctl, "db", "copy", "drawer:chest/drawer", "drawer:another")

    assert listed == "one\n"
    assert (drawer / "chest/drawer/runs/one/journal").exists()
    assert (drawer / "another/runs/one/journal").exists()


def test_the_workspaces_of_a_backend_with_a_path_lie_beside_it(drawer: Path) -> None:
    """They go with the run, as those of any other store."""
    run(drawer, "-m", "flujoctl", "run", "flow.yaml", "--id", "one")
    assert (drawer / "chest/workspaces/one/here").read_text() == "hello"
    run(drawer, "-m", "flujoctl", "delete", "one")

    assert not (drawer / "chest/workspaces/one").exists()
