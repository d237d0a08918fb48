"""Every error of flujoctl has a code that people can look up and programs can read."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import flujo.cli
import flujo.workflows
from flujo.cli import failures
from flujo.cli.usage import CODES, OTHERS
from flujo.kernel.errors import FlujoError

from .conftest import Copied, Flujoctl

ROOT = Path(__file__).parents[2]
SMALL = "name: small\nsteps: [{name: a, task: noop}]\n"
BROKEN = "name: broken\nparams: {n: {type: integer}}\nsteps: [{name: a, task: noop}, {name: b, task: fail}]\n"

MISTAKES = [
    ("unknown-command", ["lsit"]),
    ("unknown-command", ["db", "chekc"]),
    ("unknown-option", ["list", "--statsu", "failed"]),
    ("missing-argument", ["inspect"]),
    ("bad-value", ["list", "--limit", "-1"]),
    ("bad-value", ["list", "--status", "broken"]),
    ("usage", ["list", "--all", "--limit", "3"]),
    ("usage", ["inspect", "a", "b"]),
    ("usage", ["list", "--server", "unix:s", "--store", "memory:"]),
    ("run-not-found", ["inspect", "nobody"]),
    ("store-not-found", ["list", "--store", "sqlite:nowhere.db"]),
    ("invalid-store-url", ["list", "--store", "nowhere"]),
    ("invalid-address", ["list", "--server", "nowhere"]),
    ("server-unreachable", ["list", "--server", "unix:nobody.sock"]),
    ("source-not-found", ["run", "missing.yaml"]),
    ("invalid-definition", ["run", "bad.yaml"]),
    ("invalid-input", ["run", "broken.yaml", "n=many"]),
    ("invalid-name", ["run", "small.yaml", "--id", "a b"]),
    ("invalid-duration", ["prune", "--older-than", "soon", "--yes"]),
    ("run-failed", ["resume", "broken", "--stored"]),
    ("run-finished", ["signal", "done", "go"]),
    ("run-not-resumable", ["resume", "done"]),
    ("step-not-found", ["inspect", "done", "--step", "z"]),
    ("state-incompatible", ["resume", "broken"]),
    ("invalid-export", ["import", "small.yaml"]),
]


def classes_below(kind: type[FlujoError]) -> Iterator[type[FlujoError]]:
    """Every class of an error, whichever module declares it."""
    for each in kind.__subclasses__():
        yield each
        yield from classes_below(each)


@pytest.fixture
def with_a_run(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """A folder with a completed run, whose file has changed since, and a definition that is not valid."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs."""
    Path("small.yaml").write_text(SMALL)
    Path("bad.yaml").write_text("name: bad\nsteps: 7\n")
    Path("broken.yaml").write_text(BROKEN)
    assert flujoctl("run", "small.yaml", "--id", "done").code == 0
    assert flujoctl("run", "broken.yaml", "--id", "broken").code == 1


@pytest.mark.parametrize(("code", "arguments"), MISTAKES, ids=lambda each: each if isinstance(each, str) else each[0])
def test_a_mistake_has_its_code_on_the_terminal_and_in_json(
    code: str, arguments: list[str], folder: Path, with_a_run: Flujoctl
) -> None:
    """The same code, text, and exit code; what is printed for people is not printed for programs."""
    (folder / "broken.yaml").write_text(BROKEN.replace("name: a,", "name: another,"))

    told = with_a_run(*arguments)
    read = with_a_run(*arguments, "-o", "json")

    first = next(line for line in told.err.splitlines() if line.startswith("error"))
    answer = json.loads(read.err.splitlines()[-1])["error"]
    assert re.fullmatch(rf"error\[{code}\]: .+", first)
    assert answer["code"] == code
    assert f"error[{code}]: {answer['message']}".splitlines()[0] == first
    assert answer["exit_code"] == told.code == read.code != 0
    lines = [hint.split("  #")[0].rstrip().replace(" -o json", "") for hint in answer["hints"][:3]]
    assert all(f"try: {line}" in told.err for line in lines)


def test_no_two_errors_share_a_code_and_each_is_documented() -> None:
    """Of those that are in flujo.kernel.errors or the command line, and of command lines themselves."""
    for package in (flujo.workflows, flujo.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".worker"):
                importlib.import_module(module.name)
    # Not those that were made on the way, as by the test of another module in this process.
    kinds = {
        kind
        for kind in classes_below(FlujoError)
        if kind.__module__.startswith("flujo.")
        and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    }
    documented = re.findall(r"^## (\S+)$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)

    codes = Counter([*(kind.reason_code for kind in kinds), *CODES, *OTHERS])
    met = {kind.reason_code for kind in kinds if kind.__module__ in ("flujo.kernel.errors", failures.__name__)}

    assert [code for code, count in codes.items() if count > 1] == []
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert sorted(documented) == sorted({*met, *CODES, *OTHERS})


def test_the_pages_on_errors_name_the_classes_that_people_search_for() -> None:
    """Each with its own name and at least a sentence on what helps."""
    page = (ROOT / "docs/errors.md").read_text()
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]

    assert "`StateIncompatibilityError`" in next(each for each in sections if each.startswith("state-incompatible"))
    for section in sections:
        assert len(section.strip().split("\n\n")) >= 3 or section.split("\n")[0] in {*CODES, *OTHERS}, section


def test_nothing_prints_an_error_that_has_no_code() -> None:
    """No text of the command line begins with `error:`; errors are printed by the two functions that add the code."""
    for path in [*(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                is_field = path.name == "inspect.py" and node.value == "error: "  # the recorded error of a step
                assert is_field or not re.match(r"(?i)error:", node.value), f"{path}:{node.lineno}"
