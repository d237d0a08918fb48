"""Every command that a command prints works as printed, in the state of the run that it is printed about.

One table: kinds of runs in each state, times the commands that print others. Every printed line is then run, each on
what is stored when it is printed, and does what it says.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from flujo.backends import open_backend
from flujo.cli.program import run
from flujo.cli.sources import load
from flujo.kernel import Context, Kernel, workflow
from flujo.kernel.errors import RunPaused
from flujo.workflows import load_workflow

from .conftest import Ended


def flow(*steps: str, head: str = "") -> str:
    """A definition with these steps; what a failed step has printed, and where it was, is told too."""
    return "\n".join(["name: flow", *([head] if head else []), "steps:", *(f"  - {{{step}}}" for step in steps), ""])


FAILING = "name: b, task: shell, inputs: {command: 'echo no; exit 1'}"
WAITING = "name: b, task: wait_signal, inputs: {signal: go}"
FIRST = "name: a, task: noop"
LAST = "name: c, task: noop"
FAILS = flow("name: a, task: echo, inputs: {message: x}", FAILING)
GOOD = FAILS.replace("exit 1", "true")
GATE = flow(FIRST, WAITING)
NAP = flow(FIRST, "name: b, task: sleep, inputs: {seconds: 600}")
BACKOFF = flow(f"{FAILING}, retry: {{max_attempts: 3, delay: 600}}")
ITEMS = "name: b, for_each: [1, 2, 3], task: shell, inputs: {command: 'test {{ item }} = 2'}"
LOOP = flow(ITEMS, LAST)
LOOP_ON = flow(f"{ITEMS}, on_error: continue", LAST)
DIVIDES = "{task: python_code, inputs: {code: 'result = 1 / (item - 1)'}}"
BATCH = flow(f"name: b, task: batch, inputs: {{items: [1, 2], task: {DIVIDES}}}")
GRAPH = flow(FIRST, f"{FAILING}, depends_on: [a]", "name: c, depends_on: [a], task: fail")
PARENT = flow("name: b, task: workflow, inputs: {file: flow.yaml}").replace("name: flow", "name: top", 1)
ASKS = "params: {ask: {type: boolean, default: true}}"
LATE = flow(FIRST, "name: b, task: echo, condition: ask, inputs: {message: '{{ env.LATE_TOKEN }}'}", head=ASKS)
FORMULA = LATE.replace("env.LATE_TOKEN", "[1][9]")
SECRET = flow(FIRST, "name: b, task: fail", head="secrets: [FLOW_SECRET]")
LINE = flow(FIRST, WAITING, head="settings: {on_overlap: queue}")
WRITES = "name: a, task: write_file, inputs: {path: page, content: x}"
WRITTEN = flow(WRITES, WAITING, "name: c, task: read_file, inputs: {path: page}")
DIES = flow(
    FIRST,
    "name: b, task: shell, inputs: {command: 'test -p ../../../begun || exit 1; echo > ../../../begun; sleep 600'}",
)

PYTHON = """\
from flujo.kernel import Context, workflow

@workflow
async def flow(ctx: Context, n: int = 1) -> int:
    await ctx.step(a)
    return await ctx.step(b, n)

@workflow
async def gate(ctx: Context) -> None:
    await ctx.step(a)
    await ctx.wait_signal("go")

@workflow
async def asks(ctx: Context) -> None:
    await ctx.wait_signal("go", type=int)

async def a() -> int:
    return 1

async def b(n: int) -> int:
    return {}["missing"]
"""


@workflow
async def embedded(ctx: Context, n: int = 1) -> int:
    """A workflow that a program starts, and no file that flujoctl knows of."""

    async def a() -> int:
        return 1

    async def b() -> int:
        raise ValueError("no")

    await ctx.step(a, name="a")
    return await ctx.step(b, name="b")


@workflow
async def embedded_gate(ctx: Context) -> None:
    """The same, waiting."""
    await ctx.wait_signal("go")


def again(name: str) -> str:
    """A Python file with a workflow of this name, for a run whose own file is gone, or that never had one."""
    body = 'await ctx.wait_signal("go")' if name.endswith("gate") else "await ctx.step(a)\n    await ctx.step(b, n)"
    begins = PYTHON.partition("@workflow")[0]
    steps = PYTHON[PYTHON.index("async def a(") :]
    return (
        f'{begins}@workflow(name="{name}")\nasync def again(ctx: Context, n: int = 1) -> None:\n    {body}\n\n{steps}'
    )


class Place(NamedTuple):
    """The folder of a test: what is written and typed in it. `there` are the options that lead to its runs."""

    folder: Path
    there: Sequence[str] = ()

    def write(self, **texts: str) -> None:
        """Put files into the folder; `_` stands for the dot of a name."""
        for name, text in texts.items():
            (self.folder / name.replace("_", ".")).write_text(text, encoding="utf-8")

    def type(self, line: str | Sequence[str]) -> Ended:
        """Type a command in this process."""
        words = shlex.split(line, comments=True) if isinstance(line, str) else line
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run([*words, *self.there])
        return Ended(code, out.getvalue(), err.getvalue())

    def state(self, run_id: str) -> tuple[Any, ...] | None:
        """How a run stands, read where it is stored: its workflow, status, last event and requests; None if it is
        gone."""
        (path,) = self.folder.glob("**/*.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            stands = "workflow, status, seq, (SELECT count(*) FROM inbox WHERE inbox.run = runs.run)"
            found = store.execute(f"SELECT {stands} FROM runs WHERE run_id = ?", [run_id]).fetchone()
        return None if found is None else tuple(found)


Make = Callable[[Place], None]


def typed(*lines: str, **texts: str) -> Make:
    """A run made by commands, of files."""

    def make(place: Place) -> None:
        place.write(**texts)
        for line in lines:
            ended = place.type(line)
            assert ended.code in (0, 1, 7, 8), ended

    return make


def then(*parts: Make | Callable[[Path], Any]) -> Make:
    def make(place: Place) -> None:
        for part in parts:
            part(place)  # type: ignore[arg-type]

    return make


def by_program(program: Any, run_id: str = "r", *, wait: bool = False) -> Make:
    """A run that a Python program starts in the store of the folder."""

    async def start(place: Place) -> None:
        backend = open_backend(f"sqlite:{place.folder}/.flujo/state.db")
        async with Kernel(backend, [program], workspaces=place.folder / ".flujo" / "workspaces") as kernel:
            handle = await kernel.start(program, run_id=run_id)
            if wait:
                async for event in kernel.watch(run_id):
                    if event.type == "step_waiting":
                        return
            await kernel.wait(handle.run_id)

    return lambda place: anyio.run(start, place)


def killed(line: str) -> Make:
    """A run whose process is killed while a step of it is at work."""

    def make(place: Place) -> None:
        os.mkfifo(place.folder / "begun")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "flujoctl", *line.split()]
        with subprocess.Popen(
            command, cwd=place.folder, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as process:
            (place.folder / "begun").read_text()
            process.send_signal(signal.SIGKILL)
        (place.folder / "begun").unlink()
        while not as_json(place.type("inspect r -o json").out)["interrupted"]:
            pass  # until its guardian has gone

    return make


def gone(name: str) -> Make:
    def make(place: Place) -> None:
        path = place.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def written(**texts: str) -> Make:
    return lambda place: place.write(**texts)


def recovered(name: str) -> Make:
    """Recovery of a run by a process with the workflow of a Python file as it is now."""

    async def recover(place: Place) -> None:
        backend = open_backend(f"sqlite:{place.folder}/.flujo/state.db")
        async with Kernel(backend, [load(name)], workspaces=place.folder / ".flujo" / "workspaces") as kernel:
            await kernel.signal("r", "go")  # it has left memory until then
            with suppress(RunPaused):
                await kernel.wait("r")

    return lambda place: anyio.run(recover, place)


def with_secret(make: Make) -> Make:
    """What is made while a secret is set that is not set later."""

    def make_with_it(place: Place) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FLOW_SECRET", "12345678")
            make(place)

    return make_with_it


STATES: dict[str, Make] = {
    "completed": typed("run flow.yaml --id r", flow_yaml=GOOD),
    "completed, file gone": then(typed("run flow.yaml --id r", flow_yaml=GOOD), gone("flow.yaml")),
    "late text": by_program(load_workflow(FORMULA)),
    "completed with failed items": typed("run flow.yaml --id r", flow_yaml=LOOP_ON),
    "failed": typed("run flow.yaml --id r", flow_yaml=FAILS),
    "failed, edited": then(
        typed("run flow.yaml --id r", flow_yaml=FAILS), written(flow_yaml=FAILS.replace("message: x", "message: y"))
    ),
    "failed, broken file": then(
        typed("run flow.yaml --id r", flow_yaml=FAILS), written(flow_yaml="name: flow\nsteps: 7\n")
    ),
    "failed items": typed("run flow.yaml --id r", flow_yaml=LOOP),
    "failed batch": typed("run flow.yaml --id r", flow_yaml=BATCH),
    "failed graph": typed("run flow.yaml --id r", flow_yaml=GRAPH),
    "failed late": typed("run flow.yaml --id r", flow_yaml=LATE),
    "failed late, file gone": then(typed("run flow.yaml --id r", flow_yaml=LATE), gone("flow.yaml")),
    "failed child": typed("run top.yaml --id r", flow_yaml=FAILS, top_yaml=PARENT),
    "waiting child": typed("run top.yaml --id r --no-wait", flow_yaml=GATE, top_yaml=PARENT),
    "failed fork": typed("run flow.yaml --id old", "fork old --id r", flow_yaml=FAILS),
    "failed python": typed("run flow.py:flow --id r", flow_py=PYTHON),
    "failed python, file gone": then(typed("run flow.py:flow --id r", flow_py=PYTHON), gone("flow.py")),
    "failed program": by_program(embedded),
    "waiting program": by_program(embedded_gate, wait=True),
    "paused program": then(by_program(embedded_gate, wait=True), typed("pause r")),
    "cancelled": typed("run flow.yaml --id r --no-wait", "cancel r", flow_yaml=GATE),
    "paused": typed("run flow.yaml --id r --no-wait", "pause r", flow_yaml=GATE),
    "paused, incompatible": then(
        typed("run flow.py:gate --id r --no-wait", flow_py=PYTHON),
        written(flow_py=PYTHON.replace('ctx.step(a)\n    await ctx.wait_signal("go")', "ctx.step(b, 1)")),
        recovered("flow.py:gate"),
    ),
    "paused, workspace gone": then(
        typed("run flow.yaml --id r --no-wait", flow_yaml=WRITTEN),
        gone(".flujo/workspaces/r"),
        typed("signal r go", "resume r"),
    ),
    "waiting": typed("run flow.yaml --id r --no-wait", flow_yaml=GATE),
    "waiting, payload refused": typed(
        "run flow.py:asks --id r --no-wait", "signal r go x", "resume r --no-wait", flow_py=PYTHON
    ),
    "sleeping": typed("run flow.yaml --id r --no-wait", flow_yaml=NAP),
    "backoff": typed("run flow.yaml --id r --no-wait", flow_yaml=BACKOFF),
    "in line": typed("run flow.yaml --id first --no-wait", "run flow.yaml --id r --no-wait", flow_yaml=LINE),
    "failed, secret unset": with_secret(typed("run flow.yaml --id r", flow_yaml=SECRET)),
    "interrupted": then(written(flow_yaml=DIES), killed("run flow.yaml --id r")),
    "interrupted too often": then(
        written(flow_yaml=DIES),
        killed("run flow.yaml --id r"),
        killed("resume r"),
        killed("resume r"),
        typed("resume r --no-wait"),
    ),
}

MENDED = dict.fromkeys(("late text", "failed late", "failed late, file gone"), LATE.replace("env.LATE_TOKEN", "1 + 1"))
"""What a definition becomes that is edited, where that is not the one that works."""

LOOKS = (
    *("inspect r", "inspect r --step b", "explain r", "explain r -o json", "watch r --no-wait", "wait r --timeout 5s"),
    *("wait r --timeout 5s -o json", "logs r --step b", "diff r", "inspect r --definition", "doctor"),
)
"""Commands that change nothing, so that a line which several of them print is run once."""

ACTS = (
    *("resume r --no-wait -v", "retry r --no-wait", "fork r --id f --no-wait", "signal r go"),
    *("signal r og --strict", "pause r", "cancel r", "skip r a", "skip r b", "set r --result b=1"),
)

OF_A_FILE = ("run flow.yaml --id r --no-wait", "run --resume flow.yaml --no-wait -v")
"""Those for a run of a file that is there."""

PRINTED = re.compile(r"^(?:try: |.*fix: |.*: )(.*\bflujoctl .*)$|`(flujoctl [^`]+)`|\((flujoctl [^()]+)\)")


def printed(ended: Ended) -> list[str]:
    """The lines with commands that a person is told, and those in the JSON that a program is."""
    found: list[str] = []
    for told in (ended.err if as_json(ended.out) else ended.out + ended.err).splitlines():
        if told.startswith("{") and (read := as_json(told)):
            found += read.get("error", {}).get("hints", [])
        elif matched := PRINTED.match(told) or PRINTED.search(told):
            found += filter(None, matched.groups())
    for reason in as_json(ended.out).get("reasons", []):
        found += reason["commands"]
    return [line for line in dict.fromkeys(found) if re.match(r"(?:edit .*, then: )?flujoctl \w", line)]


def as_json(text: str) -> dict[str, Any]:
    """The object in a text; an empty one if it is none."""
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


PLACEHOLDERS = {"NEW-ID": "new", ":=JSON": ":=1", "=JSON": "=1", " JSON": " 1", "STEP": "b", "=TEXT": "=y"}
"""What a person types in place of the words in capitals."""


def filled(line: str) -> list[str]:
    """The words of a printed line: of the first way that it names, with something for each word in capitals."""
    line = re.sub(r"\bFILE\.py:NAME\b", "aside/again.py:again", line.partition("  #")[0].partition(", or ")[0])
    line = re.sub(r"\bFILE(\.yaml)?\b", "aside/other.yaml", line)
    for word, value in PLACEHOLDERS.items():
        line = line.replace(word, value)
    return shlex.split(line)


class Snapshot:
    """What is in a folder, to be put back there: stores hold absolute paths."""

    def __init__(self, folder: Path, aside: Path) -> None:
        self.folder, self.aside = folder, aside
        shutil.copytree(folder, aside)

    def restore(self) -> None:
        """Make the folder what it was."""
        for each in self.folder.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        shutil.copytree(self.aside, self.folder, dirs_exist_ok=True)


STAYING = ("resume", "retry", "fork", "run", "unpause", "watch")
"""Commands that stay while a run waits, unless they are told not to."""

MOVING = ("resume", "retry", "cancel", "skip", "set", "unpause")
"""Commands after which a run is not as it was."""

SHOWING = ("inspect", "logs", "explain", "events", "diff")


def problem_of(place: Place, line: str, before: Any, run_id: str = "r") -> str | None:
    """Type a printed line as somebody does who has done what it says besides; return what is wrong with it."""
    do_first(place, line)
    name, *words = filled(line.rpartition("then: ")[2])
    assert name == "flujoctl", line
    if words[0] == "serve":
        return None  # starts, and stays: the tests of the server have that
    words += ["--no-wait"] if words[0] in STAYING and "--no-wait" not in words else []
    ended = place.type(words)
    is_ours, after = words[1:2] == [run_id], place.state(run_id)
    if ended.code not in (0, 1, 7, 8) and not (ended.code == 4 and words[0] in ("diff", "watch")):
        return f"it ends with {ended.code}: {ended.err}"
    if is_ours and words[0] in MOVING and before == after:
        return f"nothing has changed: {ended}"
    if is_ours and words[0] == "resume" and after is not None and after[1] == "paused":
        return f"the run is paused again: {ended.err}"
    if words[0] in SHOWING and not (ended.out + ended.err * (words[0] == "diff")).strip():
        return f"it shows nothing: {ended.err}"
    return None


def do_first(place: Place, line: str) -> None:
    """Mend the file that is to be edited, or bring the folder that is to be there again."""
    if line.startswith("edit "):
        shutil.copy(place.folder / "aside" / "other.yaml", place.folder / "flow.yaml")
    if "is there again" in line:
        (place.folder / ".flujo" / "workspaces" / "r").mkdir()
        (place.folder / ".flujo" / "workspaces" / "r" / "page").write_text("x")


@pytest.mark.parametrize("state", STATES)
def test_every_printed_command_works_as_printed(
    state: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is no mistake, meets no refusal, and changes or shows what it is for."""
    place = Place(folder)
    STATES[state](place)
    at_first = place.state("r")
    assert at_first is not None
    (folder / "aside").mkdir()  # where no command looks for the file that was meant
    (folder / "aside" / "other.yaml").write_text(MENDED.get(state, GOOD))
    (folder / "aside" / "again.py").write_text(again(at_first[0]))
    first = Snapshot(folder, tmp_path_factory.mktemp("first") / "copy")
    wrong: list[str] = []
    lines = {line: command for command in LOOKS for line in printed(place.type(command))}
    assert place.state("r") == at_first
    for line, command in lines.items():
        first.restore()
        if problem := problem_of(place, line, at_first):
            wrong.append(f"{command} prints: {line}\n    {problem}")
    tried = {(line, str(at_first)) for line in lines}
    for command in (*ACTS, *(OF_A_FILE if (folder / "flow.yaml").exists() else ())):
        first.restore()
        ended = place.type(command)
        now = place.state("r")
        untried = [line for line in printed(ended) if (line, str(now)) not in tried]
        behind = Snapshot(folder, tmp_path_factory.mktemp("behind") / "copy") if untried else first
        for line in untried:
            tried.add((line, str(now)))
            behind.restore()
            if problem := problem_of(place, line, now):
                wrong.append(f"{command} prints: {line}\n    {problem}")

    assert wrong == [], "\n".join(wrong)


SERVED: dict[str, Sequence[str]] = {
    "completed": ["run good.yaml --id ID"],
    "failed": ["run flow.yaml --id ID"],
    "cancelled": ["run gate.yaml --id ID --no-wait", "cancel ID"],
    "paused": ["run gate.yaml --id ID --no-wait", "pause ID"],
    "waiting": ["run gate.yaml --id ID --no-wait"],
    "backoff": ["run backoff.yaml --id ID --no-wait"],
}
"""How runs come into their states on a server, which owns those that are not final."""

SERVED_LOOKS = ("inspect ID", "explain ID", "watch ID --no-wait", "wait ID --timeout 100ms", "resume ID --no-wait -v")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder with a server of its store."""
    folder = tmp_path_factory.mktemp("served")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "flujoctl", "serve", "--store", "sqlite:s.db", "--listen", "unix:s.sock", "-q"]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert "listening" in server.stdout.readline()
        place = Place(folder, ["--server", f"unix:{folder}/s.sock"])
        place.write(flow_yaml=FAILS, good_yaml=GOOD, gate_yaml=GATE, backoff_yaml=BACKOFF)
        yield place
        server.terminate()


@pytest.mark.parametrize("state", SERVED)
def test_every_command_printed_over_a_server_works_as_printed(
    state: str, served: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to that server, too: each is run as it is printed, on a run of its own in the same state."""
    monkeypatch.chdir(served.folder)
    as_printed = Place(served.folder)
    numbers = iter(range(100))

    def another() -> str:
        run_id = f"{state}-{next(numbers)}"
        for line in SERVED[state]:
            assert served.type(line.replace("ID", run_id)).code in (0, 1, 7), line
        return run_id

    wrong, tried = [], set()
    for look in SERVED_LOOKS:
        shown = another()
        for line in printed(served.type(look.replace("ID", shown))):
            if (known := line.replace(shown, "ID")) not in tried:
                tried.add(known)
                run_id = another()
                served.type(look.replace("ID", run_id))
                before = served.state(run_id)
                if problem := problem_of(as_printed, known.replace("ID", run_id), before, run_id):
                    wrong.append(f"{look} prints: {line}\n    {problem}")

    assert wrong == [], "\n".join(wrong)
