"""Definitions of a few steps, run by `flujoctl run` in a folder of their own."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Ended, Flujoctl
from cli.conftest import flujoctl as flujoctl
from cli.conftest import folder as folder
from workflows.scripted import without_times


class Runs:
    """Runs definitions, each under the id `r` unless another one is given."""

    def __init__(self, flujoctl: Flujoctl, folder: Path) -> None:
        self.flujoctl, self.folder = flujoctl, folder
        self.workspace = folder / ".flujo" / "workspaces" / "r"

    def run(self, steps: str, *arguments: str, top: str = "") -> Ended:
        """Run steps, written as the items of a list."""
        above = f"{textwrap.dedent(top).strip()}\n" if top else ""
        text = f"name: flow\n{above}steps:\n{textwrap.indent(textwrap.dedent(steps).strip(), '  ')}\n"
        (self.folder / "flow.yaml").write_text(text, encoding="utf-8")
        return self.flujoctl("run", "flow.yaml", "--id", "r", *arguments)

    def results(self, steps: str, *arguments: str, top: str = "") -> dict[str, Any]:
        """Run steps that complete, and return their results by name."""
        ended = self.run(steps, *arguments, top=top)
        assert ended.code == 0, ended
        return {name: output["result"] for name, output in self.state()["step_outputs"].items()}

    def error(self, steps: str, *arguments: str, top: str = "") -> tuple[str, str]:
        """Run steps that fail, and return type and message of what they failed with."""
        ended = self.run(steps, *arguments, top=top)
        assert ended.code == 1, ended
        error = self.state()["error"]
        return error["type"], error["message"]

    def refusal(self, steps: str, *arguments: str, top: str = "") -> str:
        """Run steps that are refused before anything is begun, and return what is said."""
        ended = self.run(steps, *arguments, top=top)
        assert ended.code == 2, ended
        return ended.err

    def state(self, run_id: str = "r") -> dict[str, Any]:
        """What is recorded of a run."""
        state: dict[str, Any] = json.loads(self.flujoctl("inspect", run_id, "-o", "json").out)
        return state

    def log(self) -> str:
        """What the tasks have printed."""
        return without_times(self.workspace.with_suffix(".log").read_text(encoding="utf-8"))


@pytest.fixture
def runs(flujoctl: Flujoctl, folder: Path) -> Runs:
    return Runs(flujoctl, folder)
