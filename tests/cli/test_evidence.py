"""Whoever sees a failure sees what the program said of it, where it ran, and the command that shows all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Ended, Flujoctl

SAID = "FAILED test_x: 3 != 4"

WAYS = {
    "on stdout": f"echo '{SAID}'; exit 1",
    "on stderr": f"echo '{SAID}' >&2; exit 1",
    "on both": f"echo 'collected 3 items'; echo '{SAID}' >&2; exit 1",
    "among bytes of no text": f"printf '\\377\\376\\001\\n'; echo '{SAID}'; printf '\\377\\n'; exit 1",
    "at the end of a gigantic line": f"head -c 300000 /dev/zero | tr '\\0' x; echo; printf '%s' '{SAID}'; exit 1",
    "behind a bar that is drawn over": f"printf '10%%\\r50%%\\r100%%\\n{SAID}\\r\\n'; exit 1",
    "in colours": f"printf '\\033[1;31m{SAID}\\033[0m\\n'; exit 1",
    "after much else": f"seq 100000; echo '{SAID}'; exit 1",
}


def shell(command: str, more: str = "") -> str:
    """A workflow whose step `check` runs a command."""
    return f"name: w\nsteps:\n  - {{name: check, task: shell{more}, inputs: {{command: {json.dumps(command)}}}}}\n"


def tells(told: str) -> bool:
    """True if somebody who reads this knows what is wrong, without a look anywhere else."""
    return SAID in told and "\x1b" not in told


@pytest.mark.parametrize("way", WAYS)
def test_what_a_command_said_is_in_every_place_that_shows_its_failure(
    folder: Path, flujoctl: Flujoctl, way: str
) -> None:
    """Wherever it said it; and those that tell of the whole run name the command that shows the rest."""
    (folder / "w.yaml").write_text(shell(WAYS[way]))
    logs = "flujoctl logs r --step check"

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert tells(ended.err)
    assert logs in ended.err
    assert f"it ran in {folder}/.flujo/workspaces/r; what it printed: {folder}/.flujo/workspaces/r.log" in ended.err
    for command in ("inspect", "explain"):
        told = flujoctl(command, "r")
        assert tells(told.out)
        assert logs in told.err
    waited = flujoctl("wait", "r")
    assert tells(waited.err)
    assert logs in waited.err
    for arguments in (["inspect", "r", "--step", "check"], ["watch", "r"]):
        told = flujoctl(*arguments)
        assert tells(told.out), arguments
        assert logs in told.err, arguments
    assert tells(flujoctl("events", "r").out)
    for again in ("resume", "retry"):
        told = flujoctl(again, "r")
        assert tells(told.err), again
        assert logs in told.err
    assert SAID in flujoctl("logs", "r", "--step", "check", "--tail", "3").out


def test_a_command_that_said_nothing_is_shown_itself(folder: Path, flujoctl: Flujoctl) -> None:
    """With its code, and where it ran."""
    (folder / "w.yaml").write_text(shell("test -e absent"))

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert "the command ended with code 1, and printed nothing: test -e absent" in ended.err
    assert f"(it ran in {folder}/.flujo/workspaces/r;" in ended.err
    assert "test -e absent" in flujoctl("explain", "r").out


FAILS = f"echo '{SAID}'; exit 1"
STEPS = {
    "python_code": f"{{name: check, task: python_code, inputs: {{code: \"raise ValueError('{SAID}')\"}}}}",
    "python_script": "{name: check, task: python_script, inputs: {path: check.py}}",
    "loop": f'{{name: check, task: shell, for_each: [1, 2], inputs: {{command: "{FAILS}"}}}}',
    "child": "{name: check, task: workflow, inputs: {file: child.yaml}}",
    "clean-up": f'{{name: check, always_run: true, task: shell, inputs: {{command: "{FAILS}"}}}}',
}


@pytest.mark.parametrize("kind", STEPS)
def test_what_any_kind_of_step_said_is_shown(folder: Path, flujoctl: Flujoctl, kind: str) -> None:
    """Code, scripts, items of loops, children and clean-ups as commands."""
    (folder / "check.py").write_text(f"print('{SAID}')\nraise SystemExit(1)\n")
    (folder / "child.yaml").write_text(shell(FAILS))
    (folder / "w.yaml").write_text(f"name: w\nsteps:\n  - {STEPS[kind]}\n")

    ended = flujoctl("run", "w.yaml", "--id", "r", "--workspace", ".")

    assert ended.code == 1, ended
    assert tells(ended.err)
    assert "flujoctl explain r" in ended.err if kind == "child" else "flujoctl logs r" in ended.err
    for arguments in (["inspect", "r"], ["explain", "r"], ["inspect", "r", "--step", "check"], ["events", "r"]):
        assert tells(flujoctl(*arguments).out), arguments
    assert tells(flujoctl("wait", "r").err)


def test_where_the_items_of_a_loop_ran_is_told_once(folder: Path, flujoctl: Flujoctl) -> None:
    """Each that failed has a line of its own, and what is the same of all of them stands behind."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  - name: each\n    for_each: [a, b]\n    on_error: {action: continue, then: fail}\n"
        "    task: shell\n    inputs: {command: 'echo no {{ item }} >&2; exit 3'}\n"
    )

    lines = flujoctl("run", "w.yaml", "--id", "r").err.splitlines()

    begin = next(number for number, line in enumerate(lines) if line.startswith("error[run-failed]"))
    assert lines[begin].endswith("2 of 2 items failed: each[0]: ShellError: the command ended with code 3: no a")
    assert lines[begin + 1] == "each[1]: ShellError: the command ended with code 3: no b"
    assert lines[begin + 2].startswith(f"(it ran in {folder}/.flujo/workspaces/r;")
    assert lines[begin + 3].startswith("try: ")


def test_an_attempt_that_failed_before_one_that_did_not_is_still_there(folder: Path, flujoctl: Flujoctl) -> None:
    """In the events and in the log, by its number."""
    (folder / "w.yaml").write_text(
        shell(f"test -e ok || {{ touch ok; echo '{SAID}'; exit 1; }}", ", retry: {max_attempts: 2, delay: 0}")
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 0
    assert f"attempt 1 failed: ShellError: the command ended with code 1: {SAID}" in ended.err
    assert tells(flujoctl("events", "r").out)
    assert flujoctl("logs", "r", "--attempt", "1").out == f"check.1| {SAID}\n"


def test_every_attempt_has_its_evidence_however_much_all_print(folder: Path, flujoctl: Flujoctl) -> None:
    """The beginning and the end of each, also of what comes last in a run whose log was full long before."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  - {name: first, task: shell, inputs: {command: echo only this}}\n"
        "  - {name: noisy, task: shell, retry: {max_attempts: 3, delay: 0}, on_error: continue,"
        " inputs: {command: 'echo begins; seq 1000000; echo ends; exit 1'}}\n"
        "  - {name: last, task: shell, inputs: {command: echo and this}}\n"
    )

    flujoctl("run", "w.yaml", "--id", "r")

    lines = flujoctl("logs", "r").out.splitlines()
    for attempt in (1, 2, 3):
        of_it = [line for line in lines if line.startswith(f"noisy.{attempt}| ")]
        assert (of_it[0], of_it[-1]) == (f"noisy.{attempt}| begins", f"noisy.{attempt}| ends")
        assert any("bytes left out" in line for line in of_it)
    assert (lines[0], lines[-1]) == ("first.1| only this", "last.1| and this")
    assert (folder / ".flujo" / "workspaces" / "r.log").stat().st_size < 11 * 1024 * 1024


@pytest.fixture
def server(folder: Path) -> Iterator[Callable[..., Ended]]:
    """Commands of other processes, in another folder, to a server of the store."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "flujoctl"]
    with subprocess.Popen(
        [*command, "serve", "-q", "-o", "json"], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = f"unix:{folder}/" + json.loads(process.stdout.readline())["address"].removeprefix("unix:")

        def call(*arguments: str) -> Ended:
            done = subprocess.run(
                [*command, arguments[0], "--server", address, *arguments[1:]],
                env=environment,
                cwd=elsewhere,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            return Ended(done.returncode, done.stdout, done.stderr)

        try:
            yield call
        finally:
            process.terminate()


def test_a_server_leads_to_the_same(folder: Path, server: Callable[..., Ended]) -> None:
    """The file is on its side; what was said of it is here."""
    (folder / "elsewhere" / "w.yaml").write_text(shell(f"seq 3000; echo '{SAID}'; exit 1"))

    ended = server("run", "w.yaml", "--id", "r")

    assert ended.code == 1, ended
    assert tells(ended.err)
    assert "logs r --step check" in ended.err
    assert f"it ran in {folder}/.flujo/workspaces/r" in ended.err
    assert tells(server("explain", "r").out)
    assert tells(server("inspect", "r", "--step", "check").out)
    assert server("logs", "r", "--step", "check", "--tail", "1").out == f"check.1| {SAID}\n"


# -- where paths count from ------------------------------------------------------------------------------------------

PATHS = """\
name: paths
params:
  folder: {type: string, format: path, default: data}
  several: {type: array, items: {type: string, format: path}, default: []}
steps:
  - {name: one, task: shell, inputs: {command: "cat {{ folder | quote }}/file"}}
  - {name: each, task: shell, for_each: "{{ several }}", inputs: {command: "cat {{ item | quote }}/file"}}
  - {name: go, task: wait_signal}
  - {name: child, task: workflow, inputs: {file: child.yaml, inputs: {folder: "{{ folder }}"}}}
  - {name: again, task: shell, inputs: {command: "cat {{ folder | quote }}/file"}}
outputs: {one: "{{ steps.one.result.stdout }}", again: "{{ steps.again.result.stdout }}"}
"""
CHILD = """\
name: child
params: {folder: {type: string, format: path}}
steps: [{name: one, task: shell, inputs: {command: "cat {{ folder | quote }}/file"}}]
outputs: {one: "{{ steps.one.result.stdout }}"}
"""


@pytest.mark.parametrize("given", [[], ["folder=data"], ["folder=data", 'several:=["data", "../there/data"]']])
def test_a_path_counts_from_where_the_person_was(
    folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch, given: list[str]
) -> None:
    """Given or a default, in items and in a child, and after a resume from elsewhere: not from where the file of the
    workflow lies, nor the store, nor the workspace."""
    for name in ("flows", "there/data", "third"):
        (folder / name).mkdir(parents=True)
    (folder / "there" / "data" / "file").write_text("mine")
    (folder / "flows" / "paths.yaml").write_text(PATHS)
    (folder / "flows" / "child.yaml").write_text(CHILD)
    monkeypatch.chdir(folder / "there")

    begun = flujoctl("run", "../flows/paths.yaml", *given, "--id", "r", "--no-wait")
    monkeypatch.chdir(folder / "third")
    flujoctl("signal", "r", "go")
    ended = flujoctl("resume", "r", "-o", "json")

    assert begun.code == 7, begun
    assert ended.code == 0, ended
    assert json.loads(ended.out)["output"] == {"one": "mine", "again": "mine"}
    told = flujoctl("inspect", "r").out
    assert f"workspace  {folder}/.flujo/workspaces/r" in told
    assert f"started in {folder}/there" in told


def test_a_folder_that_is_gone_is_named(folder: Path, flujoctl: Flujoctl) -> None:
    """The one that the step asks for, and the one that it counts from."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps: [{name: s, task: shell, inputs: {command: pwd, working_dir: absent/deep}}]\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert "absent/deep" in ended.err
    assert f"{folder}/.flujo/workspaces/r" in ended.err + flujoctl("explain", "r").out


def test_a_folder_that_a_command_removes_under_itself_is_named(folder: Path, flujoctl: Flujoctl) -> None:
    """It is not there any more when the failure is told."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n  - {name: s, task: shell, inputs: {command: 'mkdir sub; cd sub; rmdir $PWD; exit 3'}}\n"
    )

    flujoctl("run", "w.yaml", "--id", "r")
    shutil.rmtree(folder / ".flujo" / "workspaces" / "r")

    assert f"it ran in {folder}/.flujo/workspaces/r" in flujoctl("inspect", "r", "--step", "s").out


@pytest.mark.parametrize("inputs", ['command: [echo, "{{ big }}"]', 'command: echo, env: {A: "{{ big }}"}'])
def test_a_value_that_is_too_long_for_a_command_is_told_where_it_belongs(
    folder: Path, flujoctl: Flujoctl, inputs: str
) -> None:
    """In an argument or a variable; the system calls it an argument list."""
    (folder / "w.yaml").write_text(
        "name: w\nsteps:\n"
        "  - {name: make, task: python_code, inputs: {code: \"result = 'x' * 400_000\"}}\n"
        f"  - {{name: use, task: shell, inputs: {{{inputs.replace('{{ big }}', '{{ steps.make.result }}')}}}}}\n"
    )

    ended = flujoctl("run", "w.yaml", "--id", "r")

    assert ended.code == 1
    assert "put large values into `stdin` or a file" in ended.err
