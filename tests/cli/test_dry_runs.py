"""flujoctl run --dry-run: which steps would run, with the inputs that are known, and nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Flujoctl

FILE = """\
name: Dry
params: {day: monday, count: 2, hosts: [a, b]}
settings: {size: 3}
secrets: [TOKEN]
env: {MODE: 3, SAID: "{{ day }}"}
steps:
  - name: fetch
    task: shell
    inputs: {command: "get {{ day }} {{ env.PLACE }} {{ env.TOKEN }}", env: {N: "{{ count + 1 }}"}}
  - {name: many, task: echo, condition: count > 2, inputs: {message: x}}
  - name: use
    task: echo
    condition: steps.fetch.result.return_code == 0
    inputs: {message: "{{ steps.fetch.result.stdout }}"}
  - {name: each, task: echo, for_each: "{{ hosts }}", inputs: {message: "{{ item }} {{ day }}"}}
  - {name: late, task: echo, inputs: {message: "{{ workspace }} {{ run.id }} {{ timestamp }} {{ settings.size }}"}}
  - {name: more, task: echo, inputs: {message: ["{{ env.MODE }}", "{{ env.SAID }}"]}}
  - {name: wrong, task: echo, inputs: {message: "{{ hosts.colour }}"}}
flows: {definitions: [{few: [fetch, late]}]}
"""

SHOWN = """\
Dry is valid; nothing was run
inputs:
  day: monday
  count: 2
  hosts: ["a", "b"]
steps:
  1. fetch (shell)
       command: get {{ day }} {{ env.PLACE }} {{ env.TOKEN }}
       env: {"N": 3}
  2. many (echo): skipped, its condition is false: count > 2
  3. use (echo): if steps.fetch.result.return_code == 0
       message: {{ steps.fetch.result.stdout }}
  4. each (echo)
       items: ["a", "b"]
       message: {{ item }} {{ day }}
  5. late (echo)
       message: {{ workspace }} {{ run.id }} {{ timestamp }} {{ settings.size }}
  6. more (echo)
       message: ["3", "{{ env.SAID }}"]
  7. wrong (echo)
       message: {{ hosts.colour }}
"""


@pytest.fixture
def dry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of all kinds of inputs, in a folder without a store."""
    monkeypatch.setenv("PLACE", "here")
    (folder / "dry.yaml").write_text(FILE)
    (folder / ".flujo").rmdir()
    return "dry.yaml"


def test_steps_are_shown_with_what_is_known_of_them(dry: str, flujoctl: Flujoctl, folder: Path) -> None:
    """What a step, the run or a secret would give stays as it is written, and what would fail is told."""
    ended = flujoctl("run", dry, "--dry-run")

    lines = ended.out.splitlines()
    assert ended.code == 0
    assert lines[: len(SHOWN.splitlines())] == SHOWN.splitlines()
    assert lines[-1].startswith("       this would fail: {{ hosts.colour }}: ")
    assert not (folder / ".flujo").exists()


@pytest.mark.parametrize("mention", ["args.host", "args['host']", "args.host ~ day", "args | tojson", "host", "item"])
def test_what_an_item_brings_is_not_known_before(mention: str, folder: Path, flujoctl: Flujoctl) -> None:
    """Under its name, also among the parameters; it stays as it is written, and nobody says that it would fail."""
    (folder / "loop.yaml").write_text(
        "name: Loop\nparams: {hosts: [a, b], day: monday}\nsteps:\n"
        "  - name: each\n    task: batch\n    inputs:\n      items: '{{ hosts }}'\n      arg_name: host\n"
        f'      task: {{task: echo, inputs: {{message: "{{{{ {mention} }}}}"}}}}\n'
    )
    ended = flujoctl("run", "loop.yaml", "--dry-run")

    assert ended.code == 0, ended
    assert "would fail" not in ended.out
    assert f"{{{{ {mention} }}}}" in ended.out


def test_a_part_is_shown_as_it_would_run(dry: str, flujoctl: Flujoctl) -> None:
    """The steps of the flow, and which of them would be skipped."""
    ended = flujoctl("run", dry, "--flow", "few", "--skip-steps", "fetch", "--dry-run")

    assert ended.out.splitlines()[5:8] == [
        "steps:",
        "  1. fetch (shell): skipped, it is among --skip-steps",
        "  2. late (echo)",
    ]


def test_the_same_is_there_as_json(dry: str, flujoctl: Flujoctl) -> None:
    """For programs."""
    told = json.loads(flujoctl("run", dry, "count=3", "--dry-run", "-o", "json").out)

    assert told["inputs"]["count"] == 3
    assert told["steps"] == ["fetch", "many", "use", "each", "late", "more", "wrong"]
    assert told["preview"][1] == {
        "name": "many",
        "task": "echo",
        "inputs": {"message": "x"},
        "waits_for": None,
        "skipped": None,
        "condition": None,
        "problems": [],
        "description": None,
    }


def test_what_a_step_says_of_itself_is_shown(folder: Path, flujoctl: Flujoctl) -> None:
    """Its `description`, below its name."""
    step = "{name: a, task: shell, description: Fetch the orders, inputs: {command: ls}}"
    (folder / "told.yaml").write_text(f"name: told\nsteps: [{step}]\n")

    lines = flujoctl("run", "told.yaml", "--dry-run").out.splitlines()

    assert lines[lines.index("  1. a (shell)") + 1].strip() == "Fetch the orders"
