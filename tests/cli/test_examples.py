"""Every example in the help of a command works as it is printed."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flujo.cli import command_index
from flujo.cli.commands import db, limits, token
from flujo.cli.examples import EXAMPLES
from flujo.cli.program import run

from .conftest import Flujoctl

REPORT = """\
name: report
params: {day: {type: string, default: today}}
steps:
  - {name: fetch, task: echo, inputs: {message: "{{ args.day }}"}}
  - {name: shrink, task: shell, inputs: {command: "echo small; test -e '{{ start_dir }}/mended'"}}
"""
APPROVAL = """\
name: approval
steps: [{name: approve, task: wait_signal}]
"""
PLACES = [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"]
CODES = {
    "flujoctl fork report-2": 0,
    "flujoctl watch approval-1": 7,
    "flujoctl diff": 0,
    "flujoctl unpause approval-2": 7,
    "flujoctl retry --status failed --since 2h": 0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the examples are about."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / ".flujo").mkdir()
    (folder / "report.yaml").write_text(REPORT)
    (folder / "approval.yaml").write_text(APPROVAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(["run", "report.yaml", "--id", "report-2", "-q"])
        (folder / "mended").touch()
        for arguments in (
            "run report.yaml --id report-1 --label team=a",
            "run report.yaml --id exported",
            "export exported --to exported.json",
            "delete exported",
            "run approval.yaml --id approval-1 --no-wait",
            "run approval.yaml --id approval-2 --no-wait",
            "pause approval-2",
            "token create bob --role viewer",
            "db backup backup.db",
        ):
            run([*arguments.split(), "-q"])
    for place in PLACES:
        (folder / place).mkdir(parents=True)
    (folder / "flujoctl").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flujoctl "$@"\n')
    (folder / "flujoctl").chmod(0o755)
    return folder


HERE = [each for examples in EXAMPLES.values() for each in examples if "postgresql://" not in each]
"""Those that need no database; tests/cli/test_postgres.py tries the commands of the others."""


NEEDING_A_SERVER = ("flujoctl ping", "flujoctl workflows", "flujoctl publish", "flujoctl unpublish")


OF_A_SHELL = frozenset("|&;<>()$`*?[#~\n")
"""What a shell makes something of, beside quotes. A line without them is words, as `shlex` finds them too."""


@pytest.mark.parametrize("example", HERE)
def test_an_example_works_as_printed(
    example: str, world: Path, folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed in a folder of its own: into a shell where that has something to do, or where a server is."""
    shutil.copytree(world, folder, dirs_exist_ok=True)
    paths = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    environment = {**os.environ, **paths, "PYTHONPATH": os.pathsep.join(sys.path)}
    if example.startswith(("flujoctl serve", *NEEDING_A_SERVER)):
        _with_a_server(example, environment, folder)
        return

    if OF_A_SHELL.isdisjoint(example) and example.startswith("flujoctl "):
        monkeypatch.setenv("HOME", str(folder))
        code, _, said = flujoctl(*shlex.split(example)[1:])
    else:
        ended = subprocess.run(["/bin/sh", "-c", example], env=environment, cwd=folder, capture_output=True, text=True)
        code, said = ended.returncode, ended.stderr

    wanted = next((code for start, code in CODES.items() if example.startswith(start)), 0)
    assert code == wanted, said
    assert "error[" not in said


@contextmanager
def ended_at_last(server: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a server behind an assertion that fails: leaving the block of a Popen waits for it."""
    try:
        yield
    except BaseException:
        server.kill()
        raise


def _with_a_server(example: str, environment: dict[str, str], folder: Path) -> None:
    publishes = "publish" in example  # what a server was given has its name for good
    served = (
        example
        if example.startswith("flujoctl serve")
        else f"flujoctl serve {'approval' if publishes else 'report'}.yaml"
    )
    with (
        subprocess.Popen(
            ["/bin/sh", "-c", f"exec {served}"], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True
        ) as server,
        ended_at_last(server),
    ):
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening at unix:")
        if example.startswith("flujoctl unpublish"):
            publish = example.replace("unpublish report", "publish report.yaml")
            subprocess.run(["/bin/sh", "-c", publish], env=environment, cwd=folder, check=True)
        if served != example:
            assert subprocess.run(["/bin/sh", "-c", example], env=environment, cwd=folder).returncode == 0
        server.send_signal(signal.SIGTERM)
    assert server.returncode == 0


COMMANDS = [
    *(name for name in command_index.COMMANDS if name not in ("db", "limits", "token")),
    *(f"db {name}" for name in db.COMMANDS),
    *(f"token {name}" for name in token.COMMANDS),
    *(f"limits {name}" for name in limits.COMMANDS),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_examples(name: str, flujoctl: Flujoctl) -> None:
    """By --help, and by help COMMAND, which are the same."""
    shown = flujoctl(*name.split(), "--help")

    assert shown.code == 0
    assert f"Examples:\n  flujoctl {name}" in shown.out
    assert flujoctl("help", *name.split()).out == shown.out
