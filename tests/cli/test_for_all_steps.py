"""What holds for all steps of a workflow: variables, defaults and settings, run, resumed and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Flujoctl

VARIABLES = """\
name: variables
params: {day: monday}
env: {DAY: "on {{ day }}", FOUR: workflow, COUNT: 3, GREETING: "{{ env.THREE }}!"}
env_files: [one.env, "sub folder/two.env"]
steps:
  - name: command
    task: shell
    env: {FIVE: step}
    inputs: {command: 'echo "$ONE $TWO $THREE $FOUR $FIVE $DAY $COUNT $GREETING" >> said'}
  - {name: python, task: python_code, inputs: {code: "import os; result = os.environ['DAY'] + os.environ['THREE']"}}
  - {name: template, task: echo, inputs: {message: "{{ env.ONE }} {{ env.THREE }} {{ env.FOUR }} {{ env.DAY }}"}}
  - name: last
    task: shell
    retry: {max_attempts: 2, delay: 1ms}
    inputs: {command: "echo $THREE $DAY >> said; test -e ok"}
outputs: {python: "{{ steps.python.result }}", template: "{{ steps.template.result }}"}
"""


@pytest.fixture
def files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five variables, each of which is also given in all weaker places."""
    (folder / "sub folder").mkdir()
    for name in ("ONE", "TWO", "THREE", "FOUR", "FIVE"):
        monkeypatch.setenv(name, "process")
    (folder / "one.env").write_text("TWO=first\nTHREE=first\nFOUR=first\nFIVE=first\n")
    (folder / "sub folder" / "two.env").write_text("THREE=second\nFOUR=second\nFIVE=second\n")
    (folder / "variables.yaml").write_text(VARIABLES)
    return folder


def state_of(flujoctl: Flujoctl, run: str) -> dict[str, Any]:
    """A run as `inspect` has it."""
    told: dict[str, Any] = json.loads(flujoctl("inspect", run, "-o", "json").out)
    return told


def test_the_nearer_place_of_a_variable_counts(files: Path, flujoctl: Flujoctl) -> None:
    """The step, the workflow, a later file, an earlier one, the process: for commands, Python and templates."""
    (files / "ok").touch()

    ended = flujoctl("run", "variables.yaml", "--id", "r", "--workspace", ".", "-o", "json")

    assert ended.code == 0, ended
    assert (files / "said").read_text().splitlines() == [
        "process first second workflow step on monday 3 second!",
        "second on monday",
    ]
    assert json.loads(ended.out)["output"] == {
        "python": "on mondaysecond",
        "template": "process second workflow on monday",
    }


def test_files_are_read_once_for_the_whole_life_of_a_run(
    files: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry and a resume see what was there at the start, although the files are gone and the process has others."""
    flujoctl("run", "variables.yaml", "--id", "r", "--workspace", ".")
    for name in ("one.env", "sub folder/two.env"):
        (files / name).unlink()
    monkeypatch.setenv("THREE", "other")
    (files / "ok").touch()

    resumed = flujoctl("resume", "r")

    assert resumed.code == 0, resumed
    assert (files / "said").read_text().splitlines()[1:] == ["second on monday"] * 3


def test_completed_commands_are_bound_by_the_variables_of_the_workflow(files: Path, flujoctl: Flujoctl) -> None:
    """And by the parameters in them; what sees none of them is not."""
    flujoctl("run", "variables.yaml", "--id", "r", "--workspace", ".")
    other = flujoctl("resume", "r", "day=tuesday")
    (files / "variables.yaml").write_text(VARIABLES.replace("COUNT: 3", "COUNT: 4"))

    changed = flujoctl("resume", "r")

    assert (other.code, changed.code) == (4, 4)
    assert 'command: it has completed with `day` "monday", now "tuesday"' in other.err
    assert "command: its task, inputs or condition have changed" in changed.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "env_files: one.env: {0}/one.env: No such file or directory"),
        ("A=1\nno\n", "env_files: one.env: line 2: write NAME=VALUE"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_before_the_run(
    files: Path, flujoctl: Flujoctl, content: str | None, told: str
) -> None:
    """With its place, or the line."""
    (files / "one.env").unlink()
    if content is not None:
        (files / "one.env").write_text(content)

    refused = flujoctl("run", "variables.yaml", "--id", "r")

    assert refused.code == 2
    assert told.format(files) in refused.err
    assert flujoctl("inspect", "r").code == 3


DEFAULTS = """\
name: defaults
defaults: {retry: {max_attempts: 3, delay: 1ms}, timeout: 200ms, on_error: continue}
steps:
  - {name: a, task: shell, inputs: {command: "exit 1"}}
  - {name: b, task: shell, retry: 0, inputs: {command: "exit 1"}}
  - {name: c, task: shell, on_error: {action: retry, retry: 1, delay: 1ms}, inputs: {command: "exit 1"}}
  - {name: d, task: noop}
"""


def test_defaults_are_for_steps_that_say_nothing_themselves(folder: Path, flujoctl: Flujoctl) -> None:
    """What a step says counts; `on_error: {action: retry}` is its own rule for retries."""
    (folder / "w.yaml").write_text(DEFAULTS)

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    steps = {step["name"]: (step["attempt"], step["status"]) for step in state_of(flujoctl, "r")["steps"]}
    assert steps == {"a": (3, "failed"), "b": (1, "failed"), "c": (2, "failed")}


def test_the_default_timeout_is_for_work_and_not_for_waits(folder: Path, flujoctl: Flujoctl) -> None:
    """An approval may take longer than an attempt."""
    (folder / "w.yaml").write_text(
        "name: w\ndefaults: {timeout: 300ms}\nsteps:\n  - {name: a, task: sleep, inputs: {duration: 400ms}}\n"
        "  - {name: b, task: shell, inputs: {command: sleep 30}}\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert "run 'r' failed in step 'b': TimeoutError" in ended.err


def test_the_timeout_of_a_run_can_stand_among_the_settings(folder: Path, flujoctl: Flujoctl) -> None:
    """Where other engines have it."""
    (folder / "w.yaml").write_text(
        "name: w\nsettings: {timeout: 300ms}\nsteps: [{name: a, task: shell, inputs: {command: sleep 30}}]\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert "TimeoutError" in ended.err


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("env: [A]", "2:6: `env` must be a mapping, not a list"),
        ("env: {2A: x}", '2:7: "2A" is not the name of a variable: letters, digits and _'),
        ("env: {A: [x]}", "2:10: variable `A` must be text, not a list"),
        ("env: {A: '{{ steps.a.result }}'}", "2:14: step `a` runs later than this one"),
        ("env: {TOKEN: x}\nsecrets: TOKEN", "2:6: `TOKEN` is a secret, which `env` of the workflow cannot hold"),
        ("env: {A: '{{ env.TOKEN }}'}\nsecrets: TOKEN", "2:6: `TOKEN` is a secret, which `env` of the workflow"),
        ("env: {A: '{{ secrets.TOKEN }}'}\nsecrets: TOKEN", "2:6: `TOKEN` is a secret, which `env` of the workflow"),
        ("env_files: [3]", "2:13: `env_files` must be a list of paths such as [.env], not the number 3"),
        ("defaults: {retires: 3}", "2:12: `defaults` has no key `retires`; did you mean `retry`?"),
        ("defaults: {on_error: {next: a}}", "2:23: `next` is not for all steps; say it at the step"),
        (
            "defaults: {on_error: {action: retry, retry: 3}}",
            "2:38: `retry` is not for all steps; write `retry` beside it",
        ),
        ("defaults: {timeout: soon}", '2:21: `timeout`: "soon" is not a duration'),
        ("settings: {on_overlap: no}", '2:24: `on_overlap` must be one of allow, skip, queue, fail, not "no"'),
        ("settings: {on_overlap: [skip]}", '2:24: `on_overlap` must be one of allow, skip, queue, fail, not ["skip"]'),
        ("settings: {max_workers: none}", '2:25: `max_workers` must be an integer, not "none"'),
        (
            "timeout: 1s\nsettings: {timeout: 2s}",
            "3:21: `timeout` is given at the top level too; leave one of them out",
        ),
        (
            "settings: {error_handling: {undefined_variables: ignore}}",
            "2:50: `undefined_variables` can be strict only, not \"ignore\": write `NAME | default('')`",
        ),
        ("settings: {error_handling: {show_available: false}}", "2:45: `show_available` can be true only"),
        ("settings: {error_handling: {undefined: x}}", "2:29: `error_handling` has no key `undefined`"),
    ],
)
def test_what_is_not_so_is_refused_where_it_stands(folder: Path, flujoctl: Flujoctl, says: str, told: str) -> None:
    """With what to write instead."""
    (folder / "w.yaml").write_text(f"name: w\n{says}\nsteps: [{{name: a, task: noop}}]\n")

    refused = flujoctl("validate", "w.yaml")

    assert refused.code == 2
    assert f"w.yaml:{told}" in refused.out + refused.err


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("task: echo, env: {A: x}, inputs: {message: x}", "2:31: task `echo` runs no command that could see `env`"),
        ("task: shell, env: {A: x}, inputs: {command: x, env: {}}", "2:32: `env` is given under `inputs` too"),
    ],
)
def test_the_variables_of_a_step_go_with_a_command(folder: Path, flujoctl: Flujoctl, step: str, told: str) -> None:
    """And stand in one place."""
    (folder / "w.yaml").write_text(f"name: w\nsteps: [{{name: a, {step}}}]\n")

    assert f"w.yaml:{told}" in flujoctl("validate", "w.yaml").out


def test_settings_of_other_engines_are_taken_for_what_they_are(folder: Path, flujoctl: Flujoctl) -> None:
    """Those that are so here in any case."""
    (folder / "w.yaml").write_text(
        "name: w\nsettings:\n  on_overlap: allow\n  max_workers: 2\n  timeout: 3600\n"
        "  error_handling: {undefined_variables: strict, show_available: true}\nsteps: [{name: a, task: noop}]\n"
    )

    assert flujoctl("run", "w.yaml").code == 0


def test_a_secret_is_not_taken_from_a_file(files: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """What files say is recorded, and a secret never is."""
    monkeypatch.setenv("TWO", "12345678")
    (files / "variables.yaml").write_text(VARIABLES + "secrets: [TWO]\n")

    refused = flujoctl("run", "variables.yaml", "--id", "r")

    assert refused.code == 2
    assert "`TWO` is among `secrets`, which are never recorded; take it out of" in refused.err
