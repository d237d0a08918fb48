"""What the README and the guides show works as shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flujo.workflows import load_workflow_text

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_runs_twice_and_does_its_steps_once(tmp_path: Path) -> None:
    """The second run of the script finds its run finished and prints the same result."""
    (tmp_path / "sizes.py").write_text(blocks("README.md", "python")[0])
    # A .flujo further up must not be found instead; the script names its own.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    first, second = (
        subprocess.run(
            [sys.executable, "sizes.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    )

    assert first.stdout == second.stdout == "4500\n"
    assert (tmp_path / ".flujo" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize(("page", "number"), [("README.md", 1), ("docs/grpc.md", 0)])
def test_the_client_of_a_page_talks_to_the_server_of_that_page(page: str, number: int, tmp_path: Path) -> None:
    """`flujoctl serve examples/hello.yaml`, and the ten lines of Python beside it."""
    (tmp_path / "client.py").write_text(blocks(page, "python")[number])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = [sys.executable, "-m", "flujoctl", "serve", "--store", "sqlite:.flujo/state.db"]
    with subprocess.Popen(
        [*commands, str(ROOT / "examples/hello.yaml")], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening at unix:.flujo/server.sock\n"
        client = subprocess.run(
            [sys.executable, "client.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        server.terminate()

    assert client.stdout.splitlines()[0] == "1 run_created"
    assert client.stdout.splitlines()[-1] == "{'greeting': 'Hello Grace!'}"
    assert server.returncode == 0


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in an empty folder with a workflow in it, where `flujoctl` is this one."""
    (tmp_path / "hello.yaml").write_text((ROOT / "examples/hello.yaml").read_text())
    (tmp_path / "flujoctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flujoctl "$@"\n')
    (tmp_path / "flujoctl").chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLUJO_")},
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    (tmp_path / ".flujo").mkdir()  # or else a store further up would be found
    return environment


def test_the_page_on_clocks_and_disks_works_as_shown(tmp_path: Path, shell: dict[str, str]) -> None:
    """Its commands, one after the other."""
    commands = "".join(blocks("docs/clocks-and-disks.md", "sh"))

    ended = subprocess.run(["/bin/sh", "-ec", commands], cwd=tmp_path, env=shell, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "clocks.backup").exists()


def test_the_page_on_backends_works_as_shown(tmp_path: Path, shell: dict[str, str]) -> None:
    """Its commands, one after the other, and the Python among them."""
    environment = shell
    sessions = "".join(blocks("docs/backends.md", "sh"))
    (tmp_path / "move.py").write_text(blocks("docs/backends.md", "python")[0])

    for command in (["/bin/sh", "-e", "-c", sessions], [sys.executable, "move.py"]):
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    assert ended.stdout == "1 copied, 0 left out, sound\n"
    assert (tmp_path / "monday.json").exists()
    assert (tmp_path / "archive" / "runs" / "monday").is_dir()


def test_the_workflow_of_the_readme_is_valid() -> None:
    """The tour's YAML loads, with its steps in the order the text tells."""
    loaded = load_workflow_text(blocks("README.md", "yaml")[0], "tour.yaml")

    assert loaded.plan is not None
    assert [name for name, _ in loaded.plan] == ["greet", "think", "approve", "sum-up"]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """Every relative link of a page names a file or folder that exists."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())

    missing = [target for target in targets if not ((ROOT / page).parent / target).exists()]

    assert missing == []


def test_every_test_that_a_guarantee_names_exists() -> None:
    """docs/guarantees.md names a test file, or a function in it, for each promise."""
    promised = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs/guarantees.md").read_text())

    for each in promised:
        file, _, function = each.partition("::")
        assert (ROOT / file).exists(), each
        assert not function or f"def {function}(" in (ROOT / file).read_text(), each
