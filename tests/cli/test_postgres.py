"""Every command on a store in a PostgreSQL database, and a password that none of them shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

import postgres_server
from cli.conftest import Flujoctl
from flujo.client import Client

SECRET = "s3cr3t-canary"
PATIENCE_SECONDS = 60.0

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
hosts
drain nowhere
limits
limits set db 3
limits set task:shell 2 -o name
limits set db 0
limits list
limits -o json
limits unset task:shell
limits unset nothing
config -o json
doctor -vv
"""

MISPLACED = """
list --server URL
list --store postgresql:u:SECRET@h/db
list --store u:SECRET@h/db
list --store postgress://u:SECRET@h/db
list --store URL?pasword=SECRET
inspect URL
run URL
run hello.yaml --id URL
resume URL
serve URL
lst --store URL
db copy URL sqlite:copy.db
list --store URL -vv
"""


@pytest.mark.parametrize("line", [line for line in MISPLACED.splitlines() if line])
def test_a_password_that_is_misplaced_is_not_repeated(flujoctl: Flujoctl, folder: Path, line: str) -> None:
    """Wherever on a line a URL was typed, no error and no line to type has its password."""
    url = f"postgresql://u:{SECRET}@localhost:1/db"
    ended = flujoctl(*line.replace("URL", url).replace("SECRET", SECRET).split())

    assert ended.code != 0
    assert ended.err
    assert SECRET not in ended.out + ended.err


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
        "drain nowhere",
        "limits set db 0",
    }
    assert "flujoctl limits set NAME N" in ended["limits"].err
    assert ended["limits set db 3"].out == "limit db has 3 slots\n"
    assert [line.split()[:3] for line in ended["limits list"].out.splitlines()[1:]] == [
        ["db", "3", "free"],
        ["task:shell", "2", "free"],
    ]
    assert json.loads(ended["limits -o json"].out)[0] == {"name": "db", "slots": 3, "held": [], "waiting": []}
    assert ended["limits unset task:shell"].out == "limit task:shell is removed, it had 2 slots\n"
    assert "there is no limit nothing" in ended["limits unset nothing"].err
    assert "pg_dump" in ended["db backup copy"].err
    assert json.loads(ended["db info -o json"].out)["server"].startswith("PostgreSQL")
    assert json.loads(ended["db info -o json"].out)["runs"] == 4
    assert "4 runs" in ended["doctor"].out
    assert json.loads(ended["inspect b -o json"].out)["status"] == "completed"
    assert SECRET not in (folder / "copy.db").read_bytes().decode(errors="replace")


@pytest.mark.parametrize("line", ["config", "config -o json", "list", "doctor", "ping"])
def test_a_variable_that_holds_a_misplaced_password_is_shown_without_it(
    flujoctl: Flujoctl, folder: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """The URL of a store is no address of a server."""
    monkeypatch.setenv("FLUJO_SERVER", f"postgresql://u:{SECRET}@localhost:1/db")
    ended = flujoctl(*line.split())

    assert SECRET not in ended.out + ended.err


LEAKY = """
name: leaky
steps:
  - {name: shell, task: shell, inputs: {command: "env; echo $FLUJO_STORE >&2"}}
  - {name: python, task: python_code, inputs: {code: "import os; result = dict(os.environ); print(result)"}}
  - {name: broken, task: python_code, inputs: {code: "import os; raise ValueError(os.environ['FLUJO_STORE'])"}}
"""


@pytest.mark.parametrize("place", ["FLUJO_STORE", "PGPASSWORD"])
def test_a_step_that_shows_its_environment_shows_no_password(
    flujoctl: Flujoctl, store: str, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """In no event, log, export or error: the password of a store is a secret of every run."""
    bare = store.replace(f":{SECRET}@", "@")
    monkeypatch.setenv("FLUJO_STORE", store if place == "FLUJO_STORE" else bare)
    monkeypatch.setenv("PGPASSWORD", SECRET if place == "PGPASSWORD" else "")
    (folder / "leaky.yaml").write_text(LEAKY)
    ended = flujoctl("run", "leaky.yaml", "--id", "leaky")
    assert ended.code == 1
    lines = "inspect -o json", "events -o json", "logs", "export"
    told = [ended, *(flujoctl(*line.split(), "leaky") for line in lines)]

    assert all("***" in each.out for each in told[1:])
    assert [each for each in told if SECRET in each.out + each.err] == []


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


def test_a_store_of_one_host_has_no_fleet(flujoctl: Flujoctl, folder: Path) -> None:
    """Its kernels are told by `db info`, and it is said where fleets are."""
    (folder / "hello.yaml").write_text(HELLO)
    assert flujoctl("run", "hello.yaml").code == 0
    for command in (("hosts",), ("drain", "here")):
        ended = flujoctl(*command)
        assert ended.code == 5
        assert "all of one host" in ended.err
    for line in ("limits", "limits set db 3", "limits unset db"):
        ended = flujoctl(*line.split())
        assert ended.code == 5
        assert "flujoctl serve --limit NAME=N" in ended.err


# -- processes ------------------------------------------------------------------------------------------------------


class Serving:
    """A server on the store, as if on a host of its own."""

    def __init__(self, store: str, name: str, folder: Path, *options: str) -> None:
        self.address = f"unix:{folder / name}.sock"
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder / name), "FLUJO_STORE": store}
        command = [sys.executable, "-m", "flujoctl", "serve", "--listen", self.address, *options]
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


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once other processes have brought something about."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


@pytest.fixture
def servers(store: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[list[Serving]]:
    """Three servers on the same store, or as many as a test says."""
    grace = ("--grace", "50s")  # so that what a test does meanwhile is done on a busy machine, too
    found = [Serving(store, f"host{number}", folder, *grace) for number in range(getattr(request, "param", 3))]
    yield found
    for server in found:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


SLOW = """
name: slow
steps:
  - {name: nap, task: shell, inputs: {command: "echo began >> LEDGER; until test -e GO; do sleep 0.05; done"}}
  - {name: after, task: shell, inputs: {command: "echo after >> LEDGER"}}
"""


def started(workflow: str, address: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a run called as its file at a server; the process follows it to its end."""
    command = [
        sys.executable,
        "-m",
        "flujoctl",
        "run",
        workflow,
        "--id",
        Path(workflow).stem,
        "--server",
        address,
        "-q",
    ]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def state_of(flujoctl: Flujoctl, store: str, kernel: str) -> tuple[str, int]:
    """What `hosts` says of a kernel: what it does, and how many runs it has."""
    members = json.loads(flujoctl("hosts", "--store", store, "-o", "json").out)
    return next((each["state"], each["runs"]) for each in members if each["kernel"] == kernel)


@pytest.mark.parametrize("servers", [2], indirect=True)
def test_a_host_that_drains_interrupts_nothing(
    flujoctl: Flujoctl, store: str, servers: list[Serving], folder: Path
) -> None:
    """What waits is handed over, a running step ends where it is, and what is started there begins elsewhere."""
    ledger = folder / "ledger"
    (folder / "slow.yaml").write_text(SLOW.replace("LEDGER", str(ledger)).replace("GO", str(folder / "go")))
    address = servers[0].address
    answer = flujoctl("ping", "--server", address, "-o", "json").out
    kernel = json.loads(answer)["kernel"]
    assert flujoctl("run", "ask.yaml", "--id", "ask", "--no-wait", "--server", address).code in (0, 7)
    following = started("slow.yaml", address, folder)
    wait_until(ledger.exists)
    assert flujoctl("drain", kernel, "--store", store).code == 0
    wait_until(lambda: state_of(flujoctl, store, kernel) == ("draining", 1))
    assert flujoctl("run", "ask.yaml", "--id", "late", "--no-wait", "--server", address).code in (0, 7)
    (folder / "go").touch()
    assert following.wait(timeout=PATIENCE_SECONDS) == 0
    assert flujoctl("drain", kernel, "--wait", "--store", store).code == 0
    for name in ("ask", "late"):
        assert flujoctl("signal", name, "go", "--store", store).code == 0
    told = servers[0].end(signal.SIGTERM)
    for name in ("slow", "ask", "late"):
        assert flujoctl("wait", name, "--server", servers[1].address).code == 0
    slow = json.loads(flujoctl("inspect", "slow", "--store", store, "-o", "json").out)

    assert state_of(flujoctl, store, kernel) == ("closed", 0)
    assert "asked to drain" in told
    assert SECRET not in answer + told
    assert ledger.read_text().split() == ["began", "after"]
    assert [step["interruptions"] for step in slow["steps"]] == [0, 0]


@pytest.mark.parametrize("servers", [2], indirect=True)
def test_a_limit_bounds_all_hosts_together(
    flujoctl: Flujoctl, store: str, servers: list[Serving], folder: Path
) -> None:
    """One step at once at two servers: `limits` and `explain` say who has the slot and who waits for it, and a server
    that is killed gives its slot up with its lease."""
    ledger = folder / "ledger"
    (folder / "slow.yaml").write_text(SLOW.replace("LEDGER", str(ledger)).replace("GO", str(folder / "go")))
    (folder / "hello.yaml").write_text(HELLO)
    assert flujoctl("limits", "set", "task:shell", "1", "--store", store).code == 0
    first = started("slow.yaml", servers[0].address, folder)
    wait_until(ledger.exists)
    second = started("hello.yaml", servers[1].address, folder)
    wait_until(lambda: "waits, 1." in flujoctl("limits", "--store", store).out)
    listed = flujoctl("limits", "--store", store).out.splitlines()
    explained = flujoctl("explain", "hello", "--store", store).out
    at_the_server = flujoctl("explain", "hello", "--server", servers[1].address).out
    servers[0].end(signal.SIGKILL)
    assert flujoctl("wait", "hello", "--server", servers[1].address).code == 0
    (folder / "go").touch()
    assert flujoctl("wait", "slow", "--server", servers[1].address).code == 0
    first.wait(timeout=PATIENCE_SECONDS)
    second.wait(timeout=PATIENCE_SECONDS)

    assert [line.split()[:4] for line in listed[1:]] == [
        ["task:shell", "1", "held", "slow"],
        ["task:shell", "1", "waits,", "1."],
    ]
    for text in (explained, at_the_server):
        assert "waits for a slot of the limit 'task:shell' of all kernels: 1st in line" in text
        assert "of run slow at" in text


@pytest.mark.parametrize("servers", [2], indirect=True)
def test_a_slot_that_another_host_holds_ends_a_command_that_does_not_wait(
    flujoctl: Flujoctl, store: str, servers: list[Serving], folder: Path
) -> None:
    """At the first step and at a later one, through either server and without one: nothing happens before the slot is
    free, and who has it may be at work for hours."""
    ledger = folder / "ledger"
    (folder / "slow.yaml").write_text(SLOW.replace("LEDGER", str(ledger)).replace("GO", str(folder / "go")))
    (folder / "hello.yaml").write_text(HELLO)
    (folder / "later.yaml").write_text(HELLO.replace("steps:", "steps:\n  - {name: before, task: noop}"))
    assert flujoctl("limits", "set", "task:shell", "1", "--store", store).code == 0
    holder = started("slow.yaml", servers[0].address, folder)
    wait_until(ledger.exists)
    there, elsewhere = ("--server", servers[1].address), ("--server", servers[0].address)

    codes = [
        flujoctl("run", f"{name}.yaml", "--id", name, "--no-wait", "-q", *there).code for name in ("hello", "later")
    ]
    codes += [flujoctl("watch", name, "--no-wait", "-q", *elsewhere).code for name in ("hello", "later")]
    codes += [flujoctl("run", "hello.yaml", "--id", "here", "--no-wait", "-q", "--store", store).code]
    (folder / "go").touch()
    ended = [flujoctl("wait", name, "-q", *there).code for name in ("hello", "later")]
    holder.wait(timeout=PATIENCE_SECONDS)

    assert codes == [7] * 5
    assert ended == [0, 0]


@pytest.mark.parametrize("servers", [2], indirect=True)
def test_a_server_that_is_stopped_lets_its_steps_end(
    flujoctl: Flujoctl, store: str, servers: list[Serving], folder: Path
) -> None:
    """On SIGTERM it drains for as long as its grace lasts; what ends meanwhile was not interrupted."""
    ledger = folder / "ledger"
    (folder / "slow.yaml").write_text(SLOW.replace("LEDGER", str(ledger)).replace("GO", str(folder / "go")))
    following = started("slow.yaml", servers[0].address, folder)
    wait_until(ledger.exists)
    servers[0].process.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining" in flujoctl("hosts", "--store", store).out)
    (folder / "go").touch()
    assert flujoctl("wait", "slow", "--server", servers[1].address).code == 0
    servers[0].process.communicate(timeout=PATIENCE_SECONDS)
    following.kill()  # it may wait for its server to come back, if that ended before the end of the run got here
    following.wait()

    assert ledger.read_text().split() == ["began", "after"]


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


RUNS = int(os.environ.get("SERVED", "12"))

GATED = """
name: gated
params: {number: {type: integer}}
steps:
  - name: gate
    task: shell
    inputs: {command: "echo {{ number }} $XDG_RUNTIME_DIR >> LEDGER; until test -e GO; do sleep 0.2; done"}
  - name: code
    task: python_code
    inputs: {code: "result = args.number * 2"}
  - {name: after, task: shell, inputs: {command: "echo after"}}
"""


@pytest.fixture
def three(store: str, folder: Path) -> Iterator[list[Serving]]:
    """Three servers with room for a third of the runs each."""
    store = store.replace("lease=6", f"lease={6 if RUNS < 100 else 60}")  # so many processes keep kernels from theirs
    text = GATED.replace("LEDGER", str(folder / "ledger")).replace("GO", str(folder / "go"))
    (folder / "gated.yaml").write_text(text)
    options = str(folder / "gated.yaml"), "--max-runs", str(RUNS // 3)
    found = [Serving(store, f"host{number}", folder, *options) for number in range(3)]
    yield found
    for server in found:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


async def watched(address: str, run_id: str, seen: dict[str, list[int]]) -> None:
    """Follow a run to its end through a server."""
    async with Client(address) as client, aclosing(client.watch(run_id)) as events:
        async for event in events:
            seen.setdefault(run_id, []).append(event.seq)


def runs_of(flujoctl: Flujoctl, store: str) -> list[int]:
    """How many runs each kernel that is alive has."""
    members = json.loads(flujoctl("hosts", "--store", store, "-o", "json").out)
    return [each["runs"] for each in members if each["state"] == "alive"]


def test_runs_that_are_submitted_to_one_server_are_shared_drained_and_taken_over(
    flujoctl: Flujoctl, store: str, three: list[Serving], folder: Path
) -> None:
    """Every server has a third of them. One is drained, one is killed: all runs complete, what was drained was not
    interrupted, and whoever watches a run through the third server has each of its events once and in order."""
    names = [f"r{number}" for number in range(RUNS)]
    seen: dict[str, list[int]] = {}

    async def submit() -> None:
        async with Client(three[0].address) as client:
            for number, name in enumerate(names):
                await client.start("gated", {"number": number}, run_id=name)

    def end_hosts() -> None:
        drain = [sys.executable, "-m", "flujoctl", "drain", drained, "--store", store]
        subprocess.run(drain, cwd=folder, check=True, capture_output=True)
        three[1].end(signal.SIGKILL)
        (folder / "go").touch()

    async def follow() -> None:
        with anyio.fail_after(4 * PATIENCE_SECONDS):
            async with anyio.create_task_group() as group:
                for name in names:
                    group.start_soon(watched, three[2].address, name, seen)
                await anyio.to_thread.run_sync(end_hosts)

    drained = json.loads(flujoctl("ping", "--server", three[0].address, "-o", "json").out)["kernel"]
    anyio.run(submit)
    ledger = folder / "ledger"
    wait_until(lambda: ledger.exists() and len(ledger.read_text().splitlines()) >= RUNS)
    shares = runs_of(flujoctl, store)
    before = Counter(line.split()[1].rpartition("/")[2] for line in ledger.read_text().splitlines())
    anyio.run(follow)

    assert shares == [RUNS // 3] * 3
    assert before == {f"host{number}": RUNS // 3 for number in range(3)}
    listed = json.loads(flujoctl("list", "--store", store, "-o", "json", "--limit", str(RUNS)).out)
    assert [run["status"] for run in listed] == ["completed"] * RUNS
    assert seen.keys() == set(names)
    for numbers in seen.values():
        assert numbers == list(range(1, len(numbers) + 1))
    lines = ledger.read_text().splitlines()
    begun = Counter(line.split()[0] for line in lines)
    of_the_drained = [line.split()[0] for line in lines if line.endswith("host0")]
    told = [server.end(signal.SIGTERM) for server in (three[0], three[2])]
    if "does not reach its store" not in "".join(told):  # or a busy machine has kept a kernel from it for too long
        assert sum(begun.values()) <= RUNS + RUNS // 3
        assert max(begun.values()) <= 2
        assert {begun[number] for number in of_the_drained} == {1}
