"""Every command there is, as the parser knows them: what it prints for people, for programs, and when it is called
wrongly, on a store of this host and over a server. A command without a row here fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from flujo.cli import command_index
from flujo.cli.program import program, run

from .conftest import Ended, Flujoctl
from .test_answers import FAILING, PARENT, PLENTY, WAITING


class Row(NamedTuple):
    """What is typed behind `flujoctl`: in order, and wrongly. `{n}` is another number for each call."""

    call: str
    wrong: str
    code: int
    says: str
    prints_json: bool = True


NOBODY = "no run 'nobody'"
ROWS = {
    "run": Row("run plenty.yaml --id new-{n}", "run absent.yaml", 3, "absent.yaml"),
    "resume": Row("resume failed", "resume nobody", 3, NOBODY),
    "retry": Row("retry failed", "retry nobody", 3, NOBODY),
    "fork": Row("fork failed --id forked-{n}", "fork nobody", 3, NOBODY),
    "validate": Row("validate plenty.yaml bad.yaml", "validate", 2, "Missing argument"),
    "tasks": Row("tasks", "tasks no-such-task", 2, "no-such-task"),
    "schema": Row("schema", "schema plenty.yaml", 2, "too much"),
    "init": Row("init fresh-{n}", "init --example no-such", 3, "no-such"),
    "list": Row("list", "list --limit 0", 2, "--limit"),
    "inspect": Row("inspect failed", "inspect nobody", 3, NOBODY),
    "watch": Row("watch done", "watch nobody", 3, NOBODY),
    "explain": Row("explain gate", "explain nobody", 3, NOBODY),
    "logs": Row("logs done", "logs nobody", 3, NOBODY),
    "events": Row("events done", "events nobody", 3, NOBODY),
    "wait": Row("wait done", "wait nobody", 3, NOBODY),
    "graph": Row("graph done", "graph nobody", 3, "nobody"),
    "trace": Row("trace done", "trace nobody", 3, NOBODY),
    "diff": Row("diff failed done", "diff nobody", 3, NOBODY),
    "top": Row("top", "top --since soon", 2, "soon"),
    "stats": Row("stats", "stats --window soon", 2, "soon"),
    "signal": Row("signal asked-{n} go", "signal nobody go", 3, NOBODY),
    "approve": Row("approve answered-{n}", "approve nobody", 3, NOBODY),
    "reject": Row("reject refused-{n} go", "reject nobody", 3, NOBODY),
    "pause": Row("pause other-gate", "pause nobody", 3, NOBODY),
    "unpause": Row("unpause held-{n} --no-wait", "unpause nobody", 3, NOBODY),
    "cancel": Row("cancel doomed-{n}", "cancel nobody", 3, NOBODY),
    "skip": Row("skip failing-{n} boom", "skip failed nothing", 3, "nothing"),
    "set": Row("set failing-{n} a=1", "set nobody a=1", 3, NOBODY),
    "delete": Row("delete old-{n}", "delete nobody", 3, NOBODY),
    "prune": Row("prune --id-prefix aged-{n} --yes", "prune", 2, "no runs are selected"),
    "export": Row("export done", "export nobody", 3, NOBODY),
    "import": Row("import gone.json", "import absent.json", 3, "absent.json"),
    "db check": Row("db check", "db check --store sqlite:absent.db", 3, "absent.db"),
    "db info": Row("db info", "db info --store sqlite:absent.db", 3, "absent.db"),
    "db migrate": Row("db migrate", "db migrate --store sqlite:absent.db", 3, "absent.db"),
    "db backup": Row("db backup copy-{n}.db", "db backup", 2, "Missing argument"),
    "db restore": Row("db restore backup.db --store sqlite:new-{n}.db", "db restore absent.db", 3, "absent.db"),
    "db copy": Row("db copy sqlite:.flujo/state.db file:copied-{n}", "db copy sqlite:no.db file:x", 3, "no.db"),
    "doctor": Row("doctor", "doctor gate", 2, "too much"),
    "serve": Row("serve --help", "serve absent.yaml", 3, "absent.yaml", prints_json=False),
    "workflows": Row("workflows", "workflows nothing", 3, "nothing"),
    "publish": Row("publish spare-{n}.yaml", "publish absent.yaml", 3, "absent.yaml"),
    "unpublish": Row("unpublish spare-{n}", "unpublish nothing", 3, "nothing"),
    "ping": Row("ping", "ping --server unix:absent.sock", 5, "absent.sock"),
    "token create": Row("token create ada-{n} --role viewer", "token create eve --role king", 2, "king"),
    "token list": Row("token list", "token list more", 2, "too much"),
    "token revoke": Row("token revoke bob-{n}", "token revoke nobody", 2, "nobody", prints_json=False),
    "completion": Row("completion bash", "completion powershell", 2, "powershell", prints_json=False),
    "config": Row("config", "config more", 2, "too much"),
    "version": Row("version", "version 2", 2, "too much"),
    "clean": Row("clean --workflow-id cleaned-{n}", "clean --workflow-id nobody", 3, NOBODY),
    "lens list": Row("lens list", "lens list --limit 0", 2, "--limit"),
    "lens show": Row("lens show done", "lens show nobody", 3, NOBODY),
    "lens delete": Row("lens delete seen-{n}", "lens delete nobody", 3, NOBODY),
    "lens prune": Row("lens prune --id-prefix lens-aged-{n} --yes", "lens prune", 2, "no runs are selected"),
    "lens stats": Row("lens stats", "lens stats --window soon", 2, "soon"),
}

WITHOUT_A_SERVER = {
    *("validate", "tasks", "schema", "init", "completion", "config", "version", "serve", "doctor"),
    *("db info", "db migrate", "db restore", "db copy", "token create", "token list", "token revoke"),
}
"""Commands that are about files, or about a store itself. What they do is no server's business."""

ONLY_WITH_A_SERVER = {"workflows", "ping", "publish", "unpublish"}

OF_A_FLEET = {"hosts", "drain", "limits list", "limits set", "limits unset"}
"""Commands for kernels on many hosts. tests/cli/test_postgres.py has their tables, their JSON and their errors; a store
on one host refuses them."""

WAITERS = ("asked", "answered", "refused", "held", "doomed")
SPARE = ("old", "aged", "cleaned", "seen", "lens-aged")
"""Beginnings of the ids of runs that a call uses up, of each one for every call: some wait, some have ended."""

CALLS = 2


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The commands of a group and of those in it, by the words that are typed."""
    context = click.Context(group)
    for name in (*group.list_commands(context), *(command_index.HIDDEN if not path else ())):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_of_the_parser_is_in_the_table() -> None:
    """And nothing else is."""
    assert set(leaves(program)) == {*ROWS, *OF_A_FLEET}


@pytest.mark.parametrize("call", ["hosts", "drain nobody", "limits list"])
def test_a_command_for_many_hosts_says_so_on_one(call: str, place: Flujoctl) -> None:
    """In a line, for people and for programs."""
    ended = place(*call.split())
    told = place(*call.split(), "-o", "json")

    assert (ended.code, ended.out) == (5, "")
    assert re.match(r"error\[[a-z-]+\]: ", ended.err)
    assert json.loads(told.err)["error"]["exit_code"] == 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with workflows, documents and a store of runs in many states, which the tests copy."""
    folder = tmp_path_factory.mktemp("every")
    (folder / ".flujo").mkdir()
    texts = {"plenty": PLENTY, "failing": FAILING, "waiting": WAITING, "parent": PARENT, "bad": "name: b\nsteps: 7\n"}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    numbers = range(1, CALLS + 1)
    for n in numbers:
        (folder / f"spare-{n}.yaml").write_text(f"name: spare-{n}\nsteps: [{{name: a, task: noop}}]\n")
    lines = ["run plenty.yaml --id gone", "export gone --to gone.json", "delete gone", "run plenty.yaml --id done"]
    lines += [
        "run failing.yaml --id failed",
        *(f"run waiting.yaml --id {id} --no-wait" for id in ("gate", "other-gate")),
    ]
    lines += [f"run failing.yaml --id failing-{n}" for n in numbers]
    lines += [f"run waiting.yaml --id {id}-{n} --no-wait" for id in WAITERS for n in numbers]
    lines += [f"pause held-{n}" for n in numbers]
    lines += [f"fork done --id {id}-{n}" for id in SPARE for n in numbers]
    lines += ["db backup backup.db", *(f"token create bob-{n} --role viewer" for n in numbers)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in lines:
            run([*line.split(), "-q"])
    return folder


@pytest.fixture
def place(world: Path, folder: Path, flujoctl: Flujoctl) -> Flujoctl:
    """The commands, in a copy of that folder."""
    shutil.copytree(world, folder, dirs_exist_ok=True)
    return flujoctl


def require_table(ended: Ended, row: Row) -> None:
    """Fail unless a command has said something to a person."""
    assert ended.code in (0, 1, 2, 4, 7), ended
    assert (ended.out + ended.err).strip(), ended
    assert "Traceback" not in ended.err
    if not ended.out.lstrip().startswith(("{", "[")):
        return
    assert row.call.startswith(("schema", "export")), "people are shown no JSON"


def require_json(ended: Ended) -> None:
    """Fail unless each line, or all of them, are JSON."""
    assert ended.out.strip(), ended
    try:
        json.loads(ended.out)
    except ValueError:
        assert all(isinstance(json.loads(line), dict) for line in ended.out.splitlines()), ended.out


def require_error(ended: Ended, row: Row) -> None:
    """Fail unless a mistake is one line with a stable code, and the command that helps, and nothing on stdout."""
    first, *rest = ended.err.splitlines()
    assert (ended.code, ended.out) == (row.code, ""), ended
    assert re.match(r"error\[[a-z-]+\]: ", first), ended.err
    assert row.says in first
    assert rest, "nothing helps"
    assert all(line.startswith("try: ") for line in rest), ended.err


def require_json_error(ended: Ended, row: Row) -> None:
    """Fail unless a program is told the same."""
    assert (ended.code, ended.out) == (row.code, ""), ended
    error = json.loads(ended.err.splitlines()[-1])["error"]
    assert error["exit_code"] == row.code
    assert row.says in error["message"]


@pytest.mark.parametrize("name", sorted(set(ROWS) - ONLY_WITH_A_SERVER))
def test_a_command_answers_people_and_programs(name: str, place: Flujoctl) -> None:
    """On the store of the folder."""
    row = ROWS[name]

    require_table(place(*row.call.format(n=1).split()), row)
    if row.prints_json:
        require_json(place(*row.call.format(n=2).split(), "-o", "json"))
    require_error(place(*row.wrong.split()), row)
    if row.prints_json:
        require_json_error(place(*row.wrong.split(), "-o", "json"), row)


@pytest.fixture(scope="module")
def served(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A copy of that folder, and the address of a server of its store."""
    folder = tmp_path_factory.mktemp("served") / "copy"
    shutil.copytree(world, folder)
    command = [sys.executable, "-m", "flujoctl", "serve", "plenty.yaml", "-q", "-o", "json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        for n in range(1, CALLS + 1):
            publish = [*command[:3], "publish", f"spare-{n}.yaml", "-q", "--server", address]
            subprocess.run(publish, env=environment, cwd=folder, check=True, capture_output=True)
        yield folder, address
        server.terminate()


@pytest.mark.parametrize("name", [name for name in ROWS if name not in WITHOUT_A_SERVER])
def test_a_command_answers_the_same_over_a_server(
    name: str, served: tuple[Path, str], flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is about runs."""
    row, (folder, address) = ROWS[name], served
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FLUJO_SERVER", address)

    require_table(flujoctl(*row.call.format(n=1).split()), row)
    require_json(flujoctl(*row.call.format(n=2).split(), "-o", "json"))
    if "--store" not in row.wrong:
        require_error(flujoctl(*row.wrong.split()), row)
        require_json_error(flujoctl(*row.wrong.split(), "-o", "json"), row)


@pytest.mark.parametrize("name", sorted(each for each in ROWS if each not in {*WITHOUT_A_SERVER, *ONLY_WITH_A_SERVER}))
def test_a_command_prints_yaml_or_says_that_it_does_not(name: str, place: Flujoctl) -> None:
    """No format is taken and then not kept."""
    ended = place(*ROWS[name].call.format(n=1).split(), "-o", "yaml")

    if "has no output format" not in ended.err:
        assert list(yaml.safe_load_all(ended.out)), ended
