"""flujoctl doctor on real stores, processes and servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
import yaml

from cli.conftest import Flujoctl
from flujo.backends import open_backend
from flujo.backends.conformance.values import creation
from flujo.kernel.durations import MICROSECONDS
from other_users import OTHER, give_away, root_only

CLEAN = ["versions", "sqlite", "grpc", "store", "clock", "runs", "processes", "outputs", "permissions", "disk"]

HELLO = """\
name: hello
steps:
  - {name: greet, task: echo, inputs: {message: hello}}
"""


def found(flujoctl: Flujoctl, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit code of the command and its findings, of which each has all fields."""
    ended = flujoctl("doctor", "-o", "json", *arguments)
    findings = json.loads(ended.out)
    assert all(list(finding) == ["check", "verdict", "message", "fix"] for finding in findings)
    return ended.code, findings


def by_verdict(findings: list[dict[str, str]], verdict: str) -> dict[str, dict[str, str]]:
    """Return the findings of one verdict, by what was looked at."""
    return {finding["check"]: finding for finding in findings if finding["verdict"] == verdict}


def test_a_folder_without_a_store_is_healthy_and_stays_empty(folder: Path, flujoctl: Flujoctl) -> None:
    """Looking makes no store."""
    code, findings = found(flujoctl)

    assert code == 0
    assert "will be made by the first run" in by_verdict(findings, "ok")["store"]["message"]
    assert list((folder / ".flujo").iterdir()) == []


@pytest.mark.parametrize("store", ["sqlite:here.db", "file:here"])
def test_a_store_in_use_is_healthy(folder: Path, flujoctl: Flujoctl, store: str) -> None:
    """Everything is looked at, once."""
    (folder / "hello.yaml").write_text(HELLO)
    assert flujoctl("run", "hello.yaml", "--store", store).code == 0

    code, findings = found(flujoctl, "--store", store)

    assert code == 0
    assert [finding["check"] for finding in findings] == CLEAN
    assert by_verdict(findings, "ok")["store"]["message"] == f"{store}, 1 run"


def test_findings_are_the_same_in_yaml_and_in_json(folder: Path, flujoctl: Flujoctl) -> None:
    """A verdict is a text in both."""
    in_yaml = yaml.safe_load(flujoctl("doctor", "-o", "yaml").out)
    in_json = json.loads(flujoctl("doctor", "-o", "json").out)

    assert [(each["check"], each["verdict"]) for each in in_yaml] == [
        (each["check"], each["verdict"]) for each in in_json
    ]


def test_a_run_that_nobody_runs_is_named_with_what_is_left_of_it(folder: Path, flujoctl: Flujoctl) -> None:
    """A kernel that died with its guardian leaves processes behind, which carry the uid of their run."""

    async def leave_behind() -> str:
        backend = open_backend("sqlite:left.db")
        await backend.open("the-dead")
        made = creation("left", owner="the-dead", status="running")
        await backend.append([made])
        await backend.close()
        return made.summary.uid

    uid = anyio.run(leave_behind, backend="asyncio")
    survivor = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={"FLUJO_RUN_UID": uid})
    try:
        code, findings = found(flujoctl, "--store", "sqlite:left.db")
    finally:
        survivor.kill()
        survivor.communicate()

    warnings = by_verdict(findings, "warning")
    assert code == 0
    assert warnings["runs"]["fix"] == "flujoctl resume left"
    if sys.platform == "linux":
        assert warnings["processes"]["message"].endswith(f"still alive: {survivor.pid}")


def test_an_event_of_the_future_shows_that_the_clock_was_set_back(folder: Path, flujoctl: Flujoctl) -> None:
    """The newest event of the store is looked at."""

    async def record_tomorrow() -> None:
        backend = open_backend("sqlite:tomorrow.db")
        await backend.open("k")
        tomorrow = 4_000_000_000 * MICROSECONDS
        await backend.append([creation("r", status="completed", owner=None, updated_at=tomorrow)])
        await backend.close()

    anyio.run(record_tomorrow, backend="asyncio")

    assert (
        "2096-10-02" in by_verdict(found(flujoctl, "--store", "sqlite:tomorrow.db")[1], "warning")["clock"]["message"]
    )


@pytest.mark.parametrize(
    ("arguments", "check", "fix"),
    [
        (("--store", "sqlite:junk.db"), "store", "flujoctl list --store sqlite:OTHER-PATH"),
        (("--store", "nothing:x"), "store", None),
        (("--server", "unix:missing.sock"), "server", "flujoctl serve --listen unix:missing.sock"),
        (("--server", "nonsense"), "server", "write unix:PATH, as in unix:.flujo/server.sock"),
    ],
)
def test_what_cannot_be_used_is_a_problem(
    folder: Path, flujoctl: Flujoctl, arguments: tuple[str, ...], check: str, fix: str | None
) -> None:
    """With the code of every command that meets it, and a remedy."""
    (folder / "junk.db").write_text("this is no database\n")

    code, findings = found(flujoctl, *arguments)

    problem = by_verdict(findings, "problem")[check]
    assert code == 5
    assert problem["fix"] == fix if fix is not None else problem["fix"]


def test_a_socket_that_nobody_listens_at_is_a_problem_of_the_server(folder: Path, flujoctl: Flujoctl) -> None:
    """The default socket of the store is looked at without being named: a server was killed."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(".flujo/server.sock")

    code, findings = found(flujoctl)

    assert code == 5
    assert "unix:.flujo/server.sock" in by_verdict(findings, "problem")["server"]["message"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_may_not_be_written_to_is_a_problem(folder: Path, flujoctl: Flujoctl) -> None:
    """Its runs can be read."""
    (folder / "hello.yaml").write_text(HELLO)
    assert flujoctl("run", "hello.yaml", "--store", "sqlite:here.db").code == 0
    os.chmod("here.db", 0o400)

    assert found(flujoctl, "--store", "sqlite:here.db")[0] == 5


@root_only
def test_a_store_of_another_user_is_a_warning_to_whoever_names_it(folder: Path, flujoctl: Flujoctl) -> None:
    """Naming it is how a person insists, and its runs execute what that user has written."""
    (folder / "hello.yaml").write_text(HELLO)
    assert flujoctl("run", "hello.yaml", "--store", "sqlite:here.db").code == 0
    give_away(folder / "here.db")

    warnings = by_verdict(found(flujoctl, "--store", "sqlite:here.db")[1], "warning")
    assert f"user {OTHER}" in warnings["permissions"]["message"]


def test_findings_are_lines_for_people_and_names_for_scripts(folder: Path, flujoctl: Flujoctl) -> None:
    """A fix stands under what it is for, and -o name lists what deserves a look."""
    (folder / "junk.db").write_text("this is no database\n")

    table = flujoctl("doctor", "--store", "sqlite:junk.db").out.splitlines()
    names = flujoctl("doctor", "--store", "sqlite:junk.db", "-o", "name").out.split()

    place = next(number for number, line in enumerate(table) if line.startswith("problem  store"))
    assert table[place + 1].split(maxsplit=1)[0] == "fix:"
    assert "store" in names
    assert "disk" not in names
