"""What belongs to a run of a YAML file is the run's own: remembered over a kill, and shared with no other run."""

from __future__ import annotations

import json
from typing import Any

from acceptance.terminal import Terminal, finish, kill


def steps_of(terminal: Terminal, run_id: str) -> dict[str, Any]:
    """The steps of a run by their names, as `inspect` tells them."""
    return {step["name"]: step for step in json.loads(terminal.flujoctl("inspect", run_id, "-o", "json").out)["steps"]}


TELLS = """\
name: tells
params: {who: nobody, size: 1}
steps:
  - name: before
    task: shell
    inputs:
      command: |
        echo kept > kept
        echo {{ who }} {{ size }} {{ timestamp }} {{ workspace }} >> {{ start_dir }}/told
  - name: stops
    task: shell
    inputs: {command: "echo >> {{ start_dir }}/begun; [ -e {{ start_dir }}/go ] || exec sleep 600"}
  - name: after
    task: shell
    inputs:
      command: |
        cat kept
        echo {{ who }} {{ size }} {{ timestamp }} {{ workspace }} >> {{ start_dir }}/told
"""


def test_a_killed_run_has_the_parameters_the_workspace_and_the_time_it_began_with(terminal: Terminal) -> None:
    """SIGKILL in the second of three steps; the third sees what the first saw."""
    terminal.write("tells.yaml", TELLS)
    terminal.fifo("begun")
    run = terminal.start("run", "tells.yaml", "who=Ada", "size:=2.5", "--id", "r")
    terminal.read("begun")
    kill(run)
    (terminal.folder / "begun").unlink()
    terminal.write("go", "")

    resumed = terminal.flujoctl("resume", "r")

    assert resumed.code == 0, resumed
    before, after = (terminal.folder / "told").read_text(encoding="utf-8").splitlines()
    assert before == after
    assert before.startswith("Ada 2.5 ")
    assert before.endswith(f" {terminal.folder}/.flujo/workspaces/r")


MEETS = """\
name: meets
steps:
  - {name: mine, task: shell, inputs: {command: "echo {{ run.id }} > mine; echo >> {{ start_dir }}/{{ run.id }}.begun"}}
  - {name: still, task: shell, inputs: {command: "cat {{ start_dir }}/{{ run.id }}.go; ls; cat mine"}}
"""


def test_two_runs_of_one_file_at_once_share_no_workspace(terminal: Terminal) -> None:
    """Each finds the file of its own, and no other, although both have written one of that name."""
    terminal.write("meets.yaml", MEETS)
    for name in ("one.begun", "two.begun", "one.go", "two.go"):
        terminal.fifo(name)
    runs = {name: terminal.start("run", "meets.yaml", "--id", name) for name in ("one", "two")}
    for name in runs:
        terminal.read(f"{name}.begun")
    for name in runs:
        terminal.write(f"{name}.go", "")

    for name, run in runs.items():
        assert finish(run).code == 0
        still = steps_of(terminal, name)["still"]
        assert still["output"]["stdout"].split() == ["mine", name]


AGREES = """\
name: agrees
params: {ok: true}
steps:
  - {name: a, task: echo, inputs: {message: {ok: "{{ args.ok }}"}}}
  - {name: plain, task: noop, condition: "steps.a.result.ok == true"}
  - {name: templated, task: noop, condition: "{{ steps.a.result.ok == true }}"}
"""


def test_a_condition_means_the_same_with_braces_and_without(terminal: Terminal) -> None:
    """Both hold, or neither does."""
    terminal.write("agrees.yaml", AGREES)

    for ok, status in (("true", "completed"), ("false", "skipped")):
        assert terminal.flujoctl("run", "agrees.yaml", f"ok={ok}", "--id", ok).code == 0
        steps = steps_of(terminal, ok)
        assert [steps[name]["status"] for name in ("plain", "templated")] == [status, status]
