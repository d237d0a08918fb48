"""What `flujoctl doctor` finds, made one by one as it happens, and the fix that it prints: run, it leaves nothing."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from acceptance.terminal import is_alive
from flujo.cli import diagnosis
from flujo.cli.commands import doctor
from flujo.cli.diagnosis import Finding, Verdict

from .conftest import Ended, Flujoctl

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
GATE = "name: gate\nsteps: [{name: go, task: wait_signal}]\n"
SMALL = "name: small\nsteps: [{name: a, task: echo, inputs: {message: %s}}]\n"


def found(flujoctl: Flujoctl, *options: str) -> dict[str, Finding]:
    """What deserves a look, by what was looked at."""
    read = [Finding(**each) for each in json.loads(flujoctl("doctor", "-o", "json", *options).out)]
    return {each.check: each for each in read if each.verdict not in (Verdict.OK, Verdict.NOTE)}


def typed(flujoctl: Flujoctl, fix: str | None) -> Ended:
    """How a fix ends that is a command."""
    assert fix is not None
    name, *words = shlex.split(fix.partition("  #")[0])
    assert name == "flujoctl"
    return flujoctl(*words)


def test_a_run_that_nobody_runs(folder: Path, flujoctl: Flujoctl) -> None:
    """The resume that is printed ends it."""
    (folder / "gate.yaml").write_text(GATE)
    flujoctl("run", "gate.yaml", "--id", "r", "--no-wait")
    flujoctl("signal", "r", "go")

    finding = found(flujoctl)["runs"]

    assert finding.message.startswith("1 unfinished run that no process runs: r")
    assert typed(flujoctl, finding.fix).code == 0
    assert found(flujoctl) == {}


def test_a_run_that_only_a_program_can_go_on_with(folder: Path, flujoctl: Flujoctl) -> None:
    """No resume is printed that is refused."""
    (folder / "gate.py").write_text(
        "from flujo.kernel import Context, workflow\n\n@workflow\nasync def gate(ctx: Context) -> None:\n"
        '    await ctx.wait_signal("go")\n'
    )
    flujoctl("run", "gate.py", "--id", "r", "--no-wait")
    flujoctl("signal", "r", "go")
    (folder / "gate.py").rename(folder / "moved.py")

    fix = found(flujoctl)["runs"].fix

    assert fix is not None
    assert typed(flujoctl, fix.replace("FILE.py:NAME", "moved.py:gate")).code == 0
    assert found(flujoctl) == {}


def test_a_store_that_was_left_uncleanly(folder: Path, flujoctl: Flujoctl) -> None:
    """The check that is printed looks it through."""
    (folder / "small.yaml").write_text(SMALL % "x")
    flujoctl("run", "small.yaml")
    (folder / ".flujo" / "state.db-kernels" / "unchecked").touch(0o600)  # as the next kernel does that finds a dead one

    finding = found(flujoctl)["store"]

    assert "a process ended without closing the store" in finding.message
    assert typed(flujoctl, finding.fix).code == 0
    assert found(flujoctl) == {}


def test_a_damaged_run(folder: Path, flujoctl: Flujoctl) -> None:
    """The check that is printed names it, and the command that it prints takes it out of the way."""
    store = f"file:{folder}/store"
    (folder / "small.yaml").write_text(SMALL % "remember")
    flujoctl("run", "small.yaml", "--id", "r", "--store", store)
    (journal,) = (folder / "store" / "runs" / "r").glob("journal*")
    journal.write_bytes(journal.read_bytes().replace(b"remember", b"disremem", 1))
    for index in (folder / "store").glob("index*"):
        shutil.rmtree(index) if index.is_dir() else index.unlink()

    finding = found(flujoctl, "--store", store)["store"]

    assert (finding.verdict, finding.message) == ("problem", "1 damaged run")
    checked = typed(flujoctl, finding.fix)
    assert "r" in checked.out
    ways = [line.removeprefix("try: ") for line in checked.err.splitlines() if line.startswith("try: flujoctl delete")]
    assert typed(flujoctl, ways[0]).code == 0
    assert found(flujoctl, "--store", store) == {}


def test_a_log_that_a_reader_keeps_from_being_emptied(
    folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with its size, and with what shows the reader."""
    (folder / "gate.yaml").write_text(GATE)
    flujoctl("run", "gate.yaml", "--id", "r", "--no-wait")
    flujoctl("delete", "r", "--force")
    monkeypatch.setattr(diagnosis, "LONG_LOG_BYTES", -1)

    finding = found(flujoctl)["store"]

    assert "a program reads for so long" in finding.message
    assert finding.fix == f"fuser -v {folder / '.flujo' / 'state.db'}  # shows which"


@pytest.mark.parametrize(("free", "verdict"), [(1 << 20, "problem"), (512 << 20, "warning")])
def test_a_disk_that_is_nearly_full(
    free: int, verdict: str, folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that is printed shows what pruning would free, and changes nothing."""
    (folder / "small.yaml").write_text(SMALL % "x")
    flujoctl("run", "small.yaml")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))

    finding = found(flujoctl)["disk"]

    assert finding.verdict == verdict
    assert typed(flujoctl, finding.fix).code == 0


def test_another_package_called_flujo(folder: Path) -> None:
    """It would hide ours: every command says so, and nothing else works before it is gone."""
    (folder / "flujo").mkdir()
    (folder / "flujo" / "__init__.py").touch()
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{folder}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    command = [sys.executable, "-m", "flujoctl", "doctor"]

    hidden = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)

    assert hidden.returncode == 70
    assert hidden.stderr.startswith(f"error[name-clash]: {folder}/flujo/__init__.py is another package called flujo")
    assert "pip uninstall flujo" in hidden.stderr


@contextmanager
def serving(*options: str) -> Iterator[subprocess.Popen[str]]:
    """A server of the store in this folder, once it listens."""
    command = [sys.executable, "-m", "flujoctl", "serve", *options]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "listening" in server.stdout.readline()
        yield server
        server.kill()


def test_a_server_that_is_older_and_then_dead(
    folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is looked at without being named. The command that is printed for a dead one starts another one."""
    with serving("-q") as server:
        assert found(flujoctl) == {}
        monkeypatch.setattr(doctor, "VERSION", "9.9")
        older = found(flujoctl)["server"]
        monkeypatch.undo()
        monkeypatch.chdir(folder)
        server.send_signal(signal.SIGKILL)
        server.wait()

    dead = found(flujoctl)["server"]

    assert older.message.endswith("this flujoctl 9.9")
    assert older.fix == "install the same version on both sides"
    assert dead.verdict == "problem"
    assert dead.fix is not None
    with serving("-q", *shlex.split(dead.fix)[2:]):
        assert found(flujoctl) == {}


HOLDS = """\
name: holds
steps:
  - name: hold
    task: shell
    inputs: {command: "test -p ../../../begun || exit 0; echo $$ > ../../../begun; exec sleep 600"}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_processes_that_a_dead_run_has_left(folder: Path, flujoctl: Flujoctl) -> None:
    """A run was killed with its guardian. The resume that is printed ends what is left of it, and then goes on."""
    (folder / "holds.yaml").write_text(HOLDS)
    os.mkfifo(folder / "begun")
    command = [sys.executable, "-m", "flujoctl", "run", "holds.yaml", "--id", "r", "-q"]
    with subprocess.Popen(command, env=ENVIRONMENT) as run:
        left = int((folder / "begun").read_text())
        guardians = [pid for pid in descendants(run.pid) if pid != left]
        for pid in (*guardians, run.pid):
            os.kill(pid, signal.SIGKILL)
    (folder / "begun").unlink()

    finding = found(flujoctl)["processes"]

    assert finding.message.endswith(f"still alive: {left}")
    assert typed(flujoctl, finding.fix).code == 0
    assert not is_alive(left)
    assert found(flujoctl) == {}


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields = stat.read_text().rpartition(")")[2].split()
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    below = children.get(pid, [])
    return [*below, *(each for child in below for each in descendants(child))]
