"""What commands print with -o json is what cli/flujo/cli/answers.schema.json promises, member by member."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from flujo.cli import command_index
from flujo.cli.answers import ANSWERS, TABLES, schema
from flujo.cli.commands import db, limits, token
from flujo.cli.output import emit
from flujo.cli.program import run

from .conftest import Flujoctl

SCHEMA = schema()

PLENTY = """\
name: plenty
version: "2"
params: {who: {type: string, default: Ada}}
labels: {team: a}
steps:
  - {name: greet, task: shell, inputs: {command: "echo hello {{ args.who }}"}}
  - {name: shrink, task: batch, inputs: {items: [1, 2, 3], task: {task: echo, inputs: {message: "{{ item }}"}}}}
  - {name: left, task: noop, condition: "false"}
outputs: {said: "{{ steps.greet.result.stdout }}"}
"""
FAILING = """\
name: failing
steps:
  - {name: once, task: echo, inputs: {message: x}}
  - {name: boom, task: fail, inputs: {message: no}, retry: {max_attempts: 2, delay: 0}}
"""
WAITING = """\
name: gate
steps:
  - {name: ask, task: wait_signal, inputs: {signal: go, timeout: 1h}}
  - {name: end, task: noop}
"""
PARENT = """\
name: parent
steps: [{name: child, task: workflow, inputs: {file: plenty.yaml}}]
"""

CALLS: list[tuple[str, list[str]]] = [
    ("run", ["run", "plenty.yaml", "--id", "fresh"]),
    ("run", ["run", "failing.yaml", "--id", "broken"]),
    ("run --dry-run", ["run", "plenty.yaml", "--dry-run"]),
    ("resume", ["resume", "failed"]),
    ("retry", ["retry", "failed"]),
    ("fork", ["fork", "failed", "--id", "forked"]),
    ("validate", ["validate", "bad.yaml", "plenty.yaml"]),
    ("tasks", ["tasks"]),
    ("tasks NAME", ["tasks", "http.request"]),
    ("init", ["init", "fresh"]),
    ("init --list", ["init", "--list"]),
    ("list", ["list"]),
    ("list --count", ["list", "--count"]),
    ("top", ["top"]),
    ("inspect", ["inspect", "done"]),
    ("inspect", ["inspect", "failed"]),
    ("inspect", ["inspect", "gate"]),
    ("inspect", ["inspect", "parent"]),
    ("inspect --step", ["inspect", "failed", "--step", "boom"]),
    ("inspect --definition", ["inspect", "failed", "--definition"]),
    ("inspect", ["inspect", "failed", "--at", "3"]),
    ("watch", ["watch", "failed"]),
    ("watch", ["watch", "done"]),
    ("explain", ["explain", "gate"]),
    ("explain", ["explain", "failed"]),
    ("logs", ["logs", "done"]),
    ("events", ["events", "done"]),
    ("events", ["events", "gate"]),
    ("wait", ["wait", "done"]),
    ("wait (several runs)", ["wait", "done", "failed"]),
    ("resume (several runs)", ["resume", "--status", "failed", "--yes"]),
    ("retry (several runs)", ["retry", "--status", "failed", "--yes"]),
    ("graph", ["graph", "plenty.yaml"]),
    ("graph", ["graph", "done"]),
    ("trace", ["trace", "done"]),
    ("diff", ["diff", "failed", "changed.yaml"]),
    ("diff", ["diff", "failed", "done"]),
    ("stats", ["stats"]),
    ("signal", ["signal", "gate", "go"]),
    ("approve", ["approve", "gate"]),
    ("reject", ["reject", "gate", "go"]),
    ("pause", ["pause", "gate"]),
    ("unpause", ["unpause", "held", "--no-wait"]),
    ("cancel", ["cancel", "gate"]),
    ("skip", ["skip", "failed", "boom"]),
    ("set", ["set", "failed", "a=1", "--result", "boom=7"]),
    ("delete", ["delete", "done"]),
    ("prune", ["prune", "--keep-last", "1", "--yes"]),
    ("prune --dry-run", ["prune", "--keep-last", "1", "--dry-run"]),
    ("export", ["export", "done"]),
    ("import", ["import", "gone.json"]),
    ("db check", ["db", "check"]),
    ("db info", ["db", "info"]),
    ("db migrate", ["db", "migrate"]),
    ("db backup", ["db", "backup", "copy.db"]),
    ("db restore", ["db", "restore", "backup.db", "--store", "sqlite:new.db"]),
    ("db copy", ["db", "copy", "sqlite:.flujo/state.db", "file:other"]),
    ("doctor", ["doctor"]),
    ("token create", ["token", "create", "ada", "--role", "viewer"]),
    ("token list", ["token", "list"]),
    ("config", ["config"]),
    ("version", ["version"]),
]

WITH_A_SERVER = {
    "serve",
    "ping",
    "workflows",
    "workflows NAME",
    "hosts",
    "drain",
    "limits list",
    "publish",
    "unpublish",
}
"""Commands whose answers need a server."""

WITHOUT = {"completion", "schema", "token revoke", "limits set", "limits unset"}
"""Commands that print a script, a schema or nothing."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of runs in many states, which every test copies."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / ".flujo").mkdir()
    texts = {"plenty": PLENTY, "failing": FAILING, "waiting": WAITING, "parent": PARENT, "bad": "name: b\nsteps: 7\n"}
    texts["changed"] = FAILING.replace("name: once", "name: first")
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for arguments in (
            "run plenty.yaml --id gone",
            "export gone --to gone.json",
            "delete gone",
            "run plenty.yaml --id done",
            "run failing.yaml --id failed",
            "run waiting.yaml --id gate --no-wait",
            "run waiting.yaml --id held --no-wait",
            "pause held",
            "run parent.yaml --id parent",
            "signal gate other",
            "db backup backup.db",
            "token create bob --role viewer",
        ):
            run([*arguments.split(), "-q"])
    return folder


@pytest.fixture
def stored(prepared: Path, folder: Path, flujoctl: Flujoctl) -> Flujoctl:
    """The commands, in a copy of that folder."""
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    return flujoctl


def check(answer: Any, kind: str) -> None:
    """Fail unless the answer of a command is as the schema says, and has no member that it does not know."""
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{kind}".replace(" ", "%20")}).validate(answer)


def unlisted(answer: Any, kind: str) -> list[str]:
    """The members of an answer that its table does not list."""
    inner = kind.removesuffix("?").strip("[]")
    if inner not in TABLES or answer is None or inner in ("event", "store"):
        return []
    if isinstance(answer, list):
        return [name for each in answer for name in unlisted(each, inner)]
    table = TABLES[inner]
    return [f"{inner}.{name}" for name in answer if name not in table] + [
        name for member, each in answer.items() if member in table for name in unlisted(each, table[member])
    ]


@pytest.mark.parametrize(("command", "arguments"), CALLS, ids=lambda each: each if isinstance(each, str) else "")
def test_the_answer_of_a_command_is_as_promised(command: str, arguments: list[str], stored: Flujoctl) -> None:
    """Every member that is promised is there, and every member that is there is promised."""
    ended = stored(*arguments, "-o", "json")

    assert ended.out, ended.err
    answers = [json.loads(line) for line in ended.out.splitlines()] if command == "watch" else [json.loads(ended.out)]
    for answer in answers:
        check(answer, f"answer of {command}")
        assert unlisted(answer, ANSWERS[command]) == []


@pytest.mark.parametrize(("command", "arguments"), CALLS, ids=lambda each: each if isinstance(each, str) else "")
def test_each_line_of_jsonl_is_one_object(command: str, arguments: list[str], stored: Flujoctl) -> None:
    """Of the same kind as in the array of json; a few commands have no such output."""
    lines = stored(*arguments, "-o", "jsonl")
    if lines.code != 2 or "has no output format" not in lines.err:
        for line in lines.out.splitlines():
            kind = "workflow statistics" if command == "stats" else ANSWERS[command].strip("[]")
            kind = "damage" if command == "db check" else kind
            check(json.loads(line), kind)


def test_yaml_is_the_same_as_json(stored: Flujoctl) -> None:
    """With instants as texts."""
    assert yaml.safe_load(stored("inspect", "done", "-o", "yaml").out) == json.loads(
        stored("inspect", "done", "-o", "json").out
    )


def test_yaml_keeps_texts_that_other_readers_take_for_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """In quotes."""
    emit({"commit": "25921e05", "seconds": 1.5}, "yaml")

    assert capsys.readouterr().out == "commit: '25921e05'\nseconds: 1.5\n"


def test_an_error_is_as_promised(stored: Flujoctl) -> None:
    """On stderr, one line."""
    check(json.loads(stored("inspect", "nobody", "-o", "json").err), "error")


REMOTE = [
    ("ping", ["ping"]),
    *((command, call) for command, call in CALLS if command in ("list", "inspect", "explain", "events", "stats")),
    ("workflows", ["workflows"]),
    ("workflows NAME", ["workflows", "plenty"]),
    ("publish", ["publish", "waiting.yaml"]),
    ("unpublish", ["unpublish", "gate"]),
    ("tasks", ["tasks"]),
    ("tasks NAME", ["tasks", "shell"]),
    ("export", ["export", "done"]),
    ("import", ["import", "gone.json"]),
    ("db check", ["db", "check"]),
    ("db backup", ["db", "backup", "copy.db"]),
    ("signal", ["signal", "gate", "go"]),
]


def test_the_answers_over_a_server_are_the_same(stored: Flujoctl, folder: Path) -> None:
    """So that a script need not know whether there is one."""
    with subprocess.Popen(
        [sys.executable, "-m", "flujoctl", "serve", "plenty.yaml", "-q", "-o", "json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        listening = json.loads(server.stdout.readline())
        check(listening, "answer of serve")
        try:
            for command, arguments in REMOTE:
                ended = stored(*arguments, "-o", "json", "--server", listening["address"])
                assert ended.code == 0, ended.err
                check(json.loads(ended.out), f"answer of {command}")
                assert unlisted(json.loads(ended.out), ANSWERS[command]) == []
        finally:
            server.terminate()


def test_every_command_has_its_answer() -> None:
    """A new command has its table here, and its call above."""
    commands = {name for name in command_index.COMMANDS if name not in ("db", "limits", "token")}
    commands |= {f"db {name}" for name in db.COMMANDS} | {f"token {name}" for name in token.COMMANDS}
    commands |= {f"limits {name}" for name in limits.COMMANDS}

    promised = {command.partition(" -")[0].partition(" (")[0].removesuffix(" NAME") for command in ANSWERS}

    assert commands - WITHOUT == promised
    assert {command for command, _ in CALLS} == set(ANSWERS) - WITH_A_SERVER


def test_the_schema_is_one_and_can_be_printed(flujoctl: Flujoctl) -> None:
    """By `flujoctl schema --answers`."""
    printed = json.loads(flujoctl("schema", "--answers").out)

    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed == SCHEMA


def test_wide_tables_have_more_columns(stored: Flujoctl) -> None:
    """What list leaves out for the width of a terminal."""
    narrow, wide = (stored("list", "-o", output).out.splitlines()[0].split() for output in ("table", "wide"))

    assert narrow == ["ID", "WORKFLOW", "STATUS", "PROGRESS", "CREATED", "DURATION", "RETRIES"]
    assert wide == [*narrow, "UPDATED", "VERSION", "STEP", "OWNER", "PARENT", "LABELS", "ERROR"]
    assert "team=a" in stored("list", "-o", "wide").out


@pytest.mark.parametrize(
    ("style", "pattern"),
    [("iso", r" \d{4}-\d\d-\d\dT[\d:.]+Z "), ("epoch", r" \d{10}(\.\d+)? "), ("relative", r" (\d+[smh])+ ago ")],
)
def test_instants_are_shown_as_asked_for(style: str, pattern: str, stored: Flujoctl) -> None:
    """In lists, and in the lines of events."""
    _, *rows = stored("list", "--time", style).out.splitlines()

    assert rows
    assert all(re.search(pattern, row) for row in rows)
    assert all(re.search(pattern, row) for row in stored("events", "done", "--time", style).out.splitlines())
