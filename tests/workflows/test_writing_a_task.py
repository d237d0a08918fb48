"""docs/writing-a-task.md, followed to the letter: its package is installed, and its workflow and tests run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flujo.kernel.errors import DeclarationError
from flujo.workflows import TaskCall, task

PAGE = (Path(__file__).parents[2] / "docs/writing-a-task.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package of the page, as an installer would leave it."""
    for kind, text in BLOCKS:
        if kind == "python" and (named := re.match(r"# (\S+\.py)\n", text)):
            (tmp_path / named[1]).parent.mkdir(exist_ok=True)
            (tmp_path / named[1]).write_text(text)
        elif kind == "yaml":
            (tmp_path / "words.yaml").write_text(text)
    (tmp_path / "word_tasks/__init__.py").write_text("")
    (toml,) = [text for kind, text in BLOCKS if kind == "toml"]
    name, target = re.findall(r'^(\w+) = "(word_tasks.*)"$', toml, re.MULTILINE)[0]
    info = tmp_path / "word_tasks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: word-tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[flujo.tasks]\n{name} = {target}\n")
    return tmp_path


def run(package: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python where the package is installed."""
    env = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run([sys.executable, "-m", *command], cwd=package, env=env, capture_output=True, text=True)


def test_the_task_of_the_page_is_listed_and_shown(package: Path) -> None:
    """As the page says: among the others, with its inputs, its result and its spellings."""
    (line,) = [each for each in run(package, "flujoctl", "tasks").stdout.splitlines() if "count_words" in each]
    shown = run(package, "flujoctl", "tasks", "count_words").stdout

    assert line.split(maxsplit=2)[1:] == [
        "installed",
        "Count the words of a file in the workspace; return {path, words}.",
    ]
    assert "it returns an object: path (string), words (integer)" in shown
    assert "`file` is another word for `path`" in shown


def test_the_workflow_of_the_page_runs(package: Path) -> None:
    """On success, and on the failure that the task has for it."""
    done = run(package, "flujoctl", "run", "words.yaml", "-o", "json")
    failed = run(package, "flujoctl", "run", "words.yaml", "most=2")
    refused = run(package, "flujoctl", "run", "words.yaml", "most=0")

    assert (done.returncode, '"words": 3' in done.stdout) == (0, True), done
    assert failed.returncode == 1
    assert "TooManyWords: page.txt has 3 words, at most 2 are allowed" in failed.stderr
    assert (refused.returncode, "`most` must be at least 1, not 0" in refused.stderr) == (1, True), refused


def test_a_mistake_in_a_workflow_is_found_before_it_runs(package: Path) -> None:
    """By what the task declares."""
    text = (package / "words.yaml").read_text()
    (package / "words.yaml").write_text(text.replace("result.words", "result.wrds").replace('most: "', 'least: "'))

    ended = run(package, "flujoctl", "validate", "words.yaml")

    assert "there is no input of task `count_words` `least`" in ended.stdout + ended.stderr
    assert "has no `wrds`; it has: path, words" in ended.stdout + ended.stderr


def test_the_tests_of_the_page_pass(package: Path) -> None:
    """With pytest, as they stand."""
    ended = run(package, "pytest", "-q", "-p", "no:cacheprovider", "tests")

    assert ended.returncode == 0, ended.stdout


def test_a_plain_function_is_no_task() -> None:
    """It would block every run of its process."""
    with pytest.raises(DeclarationError, match="task 'plain' is a plain def"):

        @task("plain")  # type: ignore[arg-type]
        def plain(call: TaskCall) -> None:
            """Nothing."""


@pytest.mark.parametrize("wrong", [{"spellings": {"file": "path"}}, {"one_of": [("a", "b")]}])
def test_a_declaration_that_names_an_input_it_has_not_is_refused(wrong: dict[str, object]) -> None:
    """It would be missed when a workflow runs."""
    with pytest.raises(DeclarationError, match="declares no input"):
        task("wrong", inputs={"a": {}}, **wrong)  # type: ignore[arg-type]
