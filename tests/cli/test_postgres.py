"""Every command on a store in a PostgreSQL database, and a password that none of them shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import postgres_server
from cli.conftest import Flujoctl

SECRET = "s3cr3t-canary"

HELLO = """
name: hello
params: {who: world}
steps:
  - {name: greet, task: shell, inputs: {command: "echo hello {{ who }}"}}
"""
ASK = """
name: ask
steps:
  - {name: ask, task: wait_signal, inputs: {signal: go}}
  - {name: done, task: shell, inputs: {command: echo done}}
"""


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store that is not there yet, with a password in it."""
    (folder / "hello.yaml").write_text(HELLO)
    (folder / "ask.yaml").write_text(ASK)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    return postgres_server.new_store("&lease=6").replace("postgres@", f"postgres:{SECRET}@")


COMMANDS = """
run hello.yaml --id a
run hello.yaml who=you --id b --label team=x -o json
run ask.yaml --id w --no-wait
list
list -o json --label team=x
inspect a
inspect b -o json
explain w
events a
logs a
trace a
graph a
stats
signal w go
resume w
run ask.yaml --id c --no-wait
pause c
unpause c --no-wait
cancel c
watch a
export b -o json
db check
db info -o json
db migrate
db backup copy
db restore copy
doctor
prune --older-than 1d --dry-run
delete b
db copy STORE sqlite:copy.db
db copy sqlite:copy.db STORE
run nothing.yaml
inspect nobody
list --server unix:nowhere.sock
"""


def test_every_command_works_and_shows_no_password(flujoctl: Flujoctl, store: str, folder: Path) -> None:
    """Of a store that is named with one; what cannot be done says what to do instead."""
    ended = {}
    for line in COMMANDS.split("\n"):
        if line:
            place = () if "--server" in line or "STORE" in line else ("--store", store)
            ended[line] = flujoctl(*line.replace("STORE", store).split(), *place)
            assert SECRET not in ended[line].out + ended[line].err, line

    refused = {line for line, end in ended.items() if end.code not in (0, 7)}
    assert refused == {
        "db backup copy",
        "db restore copy",
        "run nothing.yaml",
        "inspect nobody",
        "list --server unix:nowhere.sock",
    }
    assert "pg_dump" in ended["db backup copy"].err
    assert json.loads(ended["db info -o json"].out)["server"].startswith("PostgreSQL")
    assert json.loads(ended["db info -o json"].out)["runs"] == 4
    assert "4 runs" in ended["doctor"].out
    assert json.loads(ended["inspect b -o json"].out)["status"] == "completed"
    assert SECRET not in (folder / "copy.db").read_bytes().decode(errors="replace")


@pytest.mark.skipif("FLUJO_PGBOUNCER" in os.environ, reason="about what a pooler says otherwise")
def test_a_server_that_is_away_is_an_error_with_a_way_on(flujoctl: Flujoctl, folder: Path) -> None:
    """At once, and without its password; so is a database that is not there, and a URL that cannot be read."""
    for url, problem in (
        (f"postgresql://ann:{SECRET}@/db?host={folder}", "cannot be reached"),
        (postgres_server.url().replace("/postgres?", "/nowhere?"), "createdb"),
        (f"postgresql://ann:{SECRET}@host:port/db", "host and port cannot be read"),
        ("postgresql:db", "write postgresql://"),
    ):
        for command in (("list",), ("doctor",), ("run", "hello.yaml")):
            ended = flujoctl(*command, "--store", url)
            assert ended.code != 0
            assert SECRET not in ended.out + ended.err
        assert problem in flujoctl("list", "--store", url).err


# -- processes ------------------------------------------------------------------------------------------------------


class Serving:
    """A server on the store, as if on a host of its own."""

    def __init__(self, store: str, name: str, folder: Path) -> None:
        self.address = f"unix:{folder / name}.sock"
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder / name), "FLUJO_STORE": store}
        command = [sys.executable, "-m", "flujoctl", "serve", "--listen", self.address]
        (folder / name).mkdir()
        self.process = subprocess.Popen(
            command, cwd=folder / name, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()

    def end(self, number: int) -> str:
        """Send it a signal; return what it had to say."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.first + out


@pytest.fixture
def servers(store: str, folder: Path) -> Iterator[list[Serving]]:
    """Three servers on the same store."""
    found = [Serving(store, f"host{number}", folder) for number in range(3)]
    yield found
    for server in found:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


WORK = """
name: work
steps:
  - {name: one, task: shell, inputs: {command: "echo one $$ >> LEDGER"}}
  - {name: two, task: shell, inputs: {command: "sleep 0.5; echo two $$ >> LEDGER"}}
  - {name: three, task: shell, inputs: {command: "echo three $$ >> LEDGER"}}
"""


def test_three_servers_share_what_is_left_to_them(
    flujoctl: Flujoctl, store: str, servers: list[Serving], folder: Path
) -> None:
    """Runs are spread; any server answers for any run; one that is killed and one that is stopped leave theirs to the
    third, and every run ends, with a body more at most for the one that was killed."""
    ledger = folder / "ledger"
    (folder / "work.yaml").write_text(WORK.replace("LEDGER", str(ledger)))
    for number in range(12):
        assert flujoctl("run", "work.yaml", "--id", f"r{number}", "--detach", "--store", store).code == 0
    assert flujoctl("run", "ask.yaml", "--id", "w", "--detach", "--store", store).code == 0
    assert flujoctl("wait", "r0", "--server", servers[1].address).code == 0
    killed = servers[0].end(signal.SIGKILL)
    stopped = servers[1].end(signal.SIGTERM)
    last = servers[2].address
    assert flujoctl("signal", "w", "go", "--store", store).code == 0
    for number in range(12):
        assert flujoctl("wait", f"r{number}", "--server", last).code == 0
    assert flujoctl("wait", "w", "--server", last).code == 0
    listed = json.loads(flujoctl("list", "--server", last, "-o", "json").out)
    watched = flujoctl("watch", "r11", "--server", last, "-o", "jsonl").out.splitlines()
    remaining = servers[2].end(signal.SIGTERM)

    assert {run["status"] for run in (listed if isinstance(listed, list) else listed["runs"])} == {"completed"}
    lines = ledger.read_text().splitlines()
    done = [re.sub(" .*", "", line) for line in lines]
    assert all(12 <= done.count(step) <= 18 for step in ("one", "two", "three"))
    numbers = [json.loads(line)["seq"] for line in watched]
    assert numbers == sorted(set(numbers))
    assert SECRET not in killed + stopped + remaining
    assert flujoctl("db", "check", "--store", store).code == 0
