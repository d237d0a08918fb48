"""Mistakes that people make, each with one clear line, its exit code, and the command or the words that help."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import Copied, Ended, Flujoctl

SMALL = "name: small\nparams: {n: {type: integer, default: 1}, who: {required: true}}\nsteps: [{name: a, task: noop}]\n"
GATE = "name: gate\nsteps: [{name: say, task: shell, inputs: {command: 'echo hi'}}, {name: go, task: wait_signal}]\n"
BROKEN = "name: broken\nsteps: [{name: say, task: noop}, {name: boom, task: fail}]\n"


class Mistake(NamedTuple):
    """What is typed, how it ends, and what the first line and a hint say."""

    typed: str
    code: int
    said: str
    helps: str


MISTAKES = [
    # files
    Mistake("run missing.yaml", 3, "there is no file 'missing.yaml'", "flujoctl run"),
    Mistake("run empty.yaml", 2, "1 problem in the definition", "flujoctl init"),
    Mistake("run folder", 3, "'folder' is a folder, not a file", "flujoctl run"),
    Mistake("run binary.yaml", 2, "1 problem in the definition", "flujoctl"),
    Mistake("run notes.txt", 2, "in the definition", "notes.txt"),
    Mistake("run small.yaml who=x --params-file folder", 3, "'folder' is a folder, not a file", "ls folder"),
    Mistake("run small.yaml who=x --params-file missing.json", 3, "missing.json", "missing.json"),
    Mistake("run small.yaml who=x --params-file broken.json", 2, "broken.json", "JSON"),
    Mistake("validate missing.yaml", 3, "1 problem in 1 file", "1 problem"),
    Mistake("run program.py:nobody", 2, "nobody", "main"),
    Mistake("import small.yaml", 2, "no export of a run", "flujoctl export"),
    Mistake("import folder", 3, "'folder' is a folder, not a file", "ls folder"),
    Mistake("run small.yaml who=x --params-file binary.yaml", 2, "is not text in UTF-8", "flujoctl run --help"),
    Mistake("run SMALL.YAML who=x", 3, "did you mean 'small.yaml'?", "flujoctl run small.yaml who=x"),
    Mistake("graph smal.yaml", 3, "did you mean 'small.yaml'?", "flujoctl graph small.yaml"),
    Mistake(
        "serve SMALL.YAML --max-steps 2", 3, "did you mean 'small.yaml'?", "flujoctl serve small.yaml --max-steps 2"
    ),
    Mistake("run https://example.org/w.yaml", 3, "is an address", "curl -fLo w.yaml https://example.org/w.yaml"),
    Mistake("run small.yaml who=x --skip-steps nil", 2, "there is no step `nil`", "flujoctl graph small.yaml"),
    Mistake("run small.yaml who=x --flow nil", 2, "there is no flow `nil`", "flujoctl graph small.yaml"),
    Mistake("--store list", 2, "'list' was taken for the value of --store", "flujoctl --help"),
    Mistake("list --limit", 2, "'--limit' needs a value", "flujoctl list --help"),
    Mistake("top --interval soon", 2, "'soon' is not a number", "flujoctl top --help"),
    Mistake("serve nowhere/at-all.yaml", 3, "there is no file", "flujoctl serve FILE"),
    Mistake("import missing.json", 3, "there is no file 'missing.json'", "ls ."),
    Mistake("diff broken missing.yaml", 3, "there is no file 'missing.yaml'", "flujoctl diff broken "),
    Mistake("run small.yaml who=x --workspace notes.txt", 2, "'notes.txt' cannot be a folder", "flujoctl run --help"),
    Mistake("run small.yaml who=x --workspace notes.txt/sub", 2, "notes.txt' is none", "flujoctl run --help"),
    # parameters
    Mistake("run small.yaml who:=Ada", 2, "is not JSON", "text is who=Ada"),
    Mistake("inspect broken --at 99", 2, "run 'broken' has the events 1 to ", "flujoctl events broken"),
    Mistake("completion", 2, "Choose from: bash, zsh, fish", "flujoctl completion --help"),
    Mistake("run small.yaml", 2, "who", "NAME=VALUE"),
    Mistake("run small.yaml who=x n=many", 2, "n", "NAME=VALUE"),
    Mistake("run small.yaml who:={", 2, "is not JSON", "who"),
    Mistake("run small.yaml who", 2, "who", "NAME=TEXT"),
    Mistake("run small.yaml who=x --id 'a b'", 2, "'a b' is not a valid run id", "a b"),
    Mistake("run small.yaml who=x --label a", 2, "a", "NAME=TEXT"),
    Mistake("run small.yaml who=x --id broken", 4, "run 'broken' exists already", "flujoctl inspect broken"),
    Mistake("run broken.yaml --from-step say", 2, "--from-step", "--resume"),
    # ids and steps
    Mistake("inspect nobody", 3, "no run 'nobody'", "flujoctl list"),
    Mistake("inspect twin", 4, "'twin' matches several runs", "twin-1"),
    Mistake("inspect broken --step nothing", 3, "has not begun a step 'nothing'", "flujoctl inspect broken"),
    Mistake("resume broken --from-step nothing", 3, "nothing", "flujoctl inspect broken"),
    Mistake("resume done", 4, "there is nothing to resume", "flujoctl resume done --from-step STEP"),
    Mistake("skip broken say", 4, "say", "flujoctl"),
    Mistake("signal done go", 4, "run 'done' is already completed", "flujoctl inspect done"),
    Mistake("signal waits og --strict", 4, "it waits for go", "flujoctl signal waits go"),
    Mistake("cancel done", 4, "run 'done' is already completed", "flujoctl inspect done"),
    Mistake("unpause done", 4, "done", "flujoctl"),
    Mistake("diff done missing.yaml", 3, "there is no file 'missing.yaml'", "flujoctl"),
    # options and commands
    Mistake("list --store sqlite:/", 5, "sqlite:/: this is not a flujo store (it is a directory)", "sqlite:OTHER-PATH"),
    Mistake("run small.yaml who=x --store sqlite:/", 5, "it is a directory", "sqlite:OTHER-PATH"),
    Mistake("doctor --store sqlite:/", 5, "", "it is a directory"),
    Mistake("db restore /", 5, "sqlite:/: this is not a flujo store (it is a directory)", "sqlite:OTHER-PATH"),
    Mistake("lsit", 2, "did you mean 'list'?", "flujoctl list"),
    Mistake("status done", 2, "did you mean 'inspect'?", "flujoctl inspect done"),
    Mistake("list --statsu failed", 2, "--status", "flujoctl list --status failed"),
    Mistake("list --status broken", 2, "failed", "flujoctl list --help"),
    Mistake("list --limit -1", 2, "-1 is not in the range", "flujoctl list --help"),
    Mistake("list --since yesterday", 2, "yesterday", "flujoctl list --help"),
    Mistake("prune --older-than soon --yes", 2, "'soon' is not a duration", "30d"),
    Mistake("prune --yes", 2, "no runs are selected", "--older-than"),
    Mistake("prune --older-than 0", 2, "add --yes", "--dry-run"),
    Mistake("wait waits --timeout later", 2, "'later' is not a duration", "30d"),
    Mistake("wait waits --timeout 0", 6, "has not ended within 0s", "flujoctl explain waits"),
    Mistake("logs done --tail x", 2, "'x' is not a whole number", "flujoctl logs --help"),
    Mistake("tasks shel", 2, "there is no task 'shel'", "flujoctl tasks shell"),
    Mistake("init --example frist", 3, "there is no example 'frist'", "flujoctl init --example first"),
    Mistake("init .", 4, "first.yaml is there already", "flujoctl init ANOTHER-DIR"),
    # stores and servers
    Mistake("list --store nowhere", 2, "nowhere", "SCHEME:PATH"),
    Mistake("list --store sqlite:why?.db", 2, "'.db' is none", "--store 'sqlite:why?.db?durability=full'"),
    Mistake(f"run small.yaml who=x --store sqlite:{'x' * 300}", 2, "has 300 bytes, and may have 240", "a shorter path"),
    Mistake("list --store sqlite:nowhere.db", 3, "there is no store here yet", "flujoctl run FILE"),
    Mistake("list --store sqlite:foreign.db", 5, "not a flujo store", "--store sqlite:OTHER-PATH"),
    Mistake("list --store sqlite:small.yaml", 5, "small.yaml", "--store sqlite:OTHER-PATH"),
    Mistake("list --store sqlite:folder", 5, "folder", "try:"),
    Mistake("list --store file:small.yaml", 5, "small.yaml", "try:"),
    Mistake("list --server unix:nobody.sock", 5, "cannot be reached", "flujoctl serve --listen unix:nobody.sock"),
    Mistake("list --server unix:small.yaml", 5, "cannot be reached", "flujoctl serve"),
    Mistake("list --server nowhere", 2, "is no address", "unix:PATH"),
    Mistake("list --server unix:s --store memory:", 2, "--server and --store", "leave one of them out"),
    Mistake("db check --server unix:nobody.sock --store memory:", 2, "--server", "--store"),
    Mistake("db restore missing.db --store sqlite:new.db", 3, "missing.db", "try:"),
    Mistake("serve --listen tcp://0.0.0.0:1", 2, "refusing to listen", "try:"),
    Mistake("token revoke nobody", 2, "tokens.json", "flujoctl token list"),
]


@pytest.fixture
def place(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """A folder with everything to go wrong with."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make all that can go wrong."""
    Path("folder").mkdir()
    for name, text in (("small", SMALL), ("gate", GATE), ("broken", BROKEN), ("empty", "")):
        Path(f"{name}.yaml").write_text(text)
    Path("binary.yaml").write_bytes(bytes(range(256)))
    Path("notes.txt").write_text("buy milk\n")
    Path("broken.json").write_text("{")
    Path("program.py").write_text("from flujo.kernel import workflow\n@workflow\nasync def main(ctx): ...\n")
    with sqlite3.connect("foreign.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    flujoctl("run", "broken.yaml", "--id", "broken")
    flujoctl("run", "small.yaml", "who=x", "--id", "done")
    flujoctl("run", "gate.yaml", "--id", "waits", "--no-wait")
    flujoctl("run", "small.yaml", "who=x", "--id", "twin-1")
    flujoctl("run", "small.yaml", "who=x", "--id", "twin-2")
    Path("first.yaml").write_text("mine\n")


def words(typed: str) -> list[str]:
    """The words of a command line."""
    import shlex

    return shlex.split(typed)


def judge(ended: Ended, mistake: Mistake) -> None:
    """One line names the code and what is wrong; below stands what helps; there is no traceback."""
    first = next((line for line in ended.err.splitlines() if line.startswith("error[")), ended.err)
    assert ended.code == mistake.code, ended.err
    assert mistake.said in first, ended.err
    assert mistake.helps in ended.err + ended.out
    assert "Traceback" not in ended.err
    assert "[internal]" not in ended.err


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.typed)
def test_a_mistake_is_one_clear_line_and_what_helps(mistake: Mistake, place: Flujoctl) -> None:
    """With the exit code of docs/cli.md."""
    judge(place(*words(mistake.typed)), mistake)


def test_there_are_forty_at_least() -> None:
    """Each another one."""
    assert len({mistake.typed for mistake in MISTAKES}) == len(MISTAKES) >= 40


def test_a_store_in_a_folder_above_is_found(folder: Path, place: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder below, as git finds its own."""
    monkeypatch.chdir(folder / "folder")

    assert "done" in place("list", "-q").out.split()


@pytest.mark.parametrize("command", [["list"], ["run", "small.yaml", "who=x"], ["doctor"], ["tasks"]])
def test_a_folder_that_is_deleted_under_the_shell_is_named(
    command: list[str], tmp_path: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be looked for there, and nothing is wrong with flujo."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    ended = flujoctl(*command)

    assert ended.code == 5
    assert ended.err.splitlines() == [
        "error[no-folder]: the folder that this was typed in has been deleted",
        "try: cd ~  # or into any other folder",
    ]


def test_a_workspace_that_is_gone_and_a_workflow_that_was_edited(folder: Path, place: Flujoctl) -> None:
    """The run says what is missing or different, and how to go on."""
    (folder / "broken.yaml").write_text(BROKEN.replace("name: say", "name: tell"))

    judge(
        place("resume", "broken"),
        Mistake("", 4, "(StateIncompatibilityError)", "flujoctl resume broken --stored"),
    )


@pytest.mark.parametrize(
    ("redirected", "code"), [(">&-", 0), ("2>&-", 0), ("| head -1", 0), ("> /dev/full", 5), ("< /dev/null", 0)]
)
def test_streams_that_are_closed_or_full_end_no_command_badly(
    redirected: str, code: int, folder: Path, place: Flujoctl
) -> None:
    """A closed pipe is quiet; a full disk under stdout is told in a line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = f"{sys.executable} -m flujoctl list {redirected}"

    ended = subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)

    assert "Traceback" not in ended.stderr
    assert ended.returncode == code
    assert code == 0 or ended.stderr.startswith("error[output]: the output cannot be written: No space left on device")


def test_a_folder_whose_name_is_no_text_is_told(folder: Path, place: Flujoctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run records where it was started: what cannot be recorded is named with what to do about it."""
    odd = folder / os.fsdecode(b"caf\xe9")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("the names of this file system are text")
    (odd / "small.yaml").write_text((folder / "small.yaml").read_text())
    monkeypatch.chdir(odd)

    refused = place("run", "small.yaml", "who=x")

    assert refused.code == 2
    assert "b'" in refused.err
    assert "caf\\xe9' is not text in UTF-8" in refused.err
    assert "try: give the file or folder a name in UTF-8" in refused.err


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_name_is_what_was_typed_in_any_locale(locale: str, folder: Path, place: Flujoctl) -> None:
    """Also where Python reads ASCII only; bytes that are no text are refused before anything is stored."""
    ascii_only = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **ascii_only, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable.encode(), b"-m", b"flujoctl", b"run", b"small.yaml", b"--id", b"accents"]

    def call(*arguments: bytes) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*run, *arguments], cwd=folder, env=environment, capture_output=True, text=True)

    refused = call(b"who=Zo\xeb")
    taken = call("who=Zoë".encode())

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error[usage]: b'who=Zo\\xeb' is not text in UTF-8")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(place("inspect", "accents", "-o", "json").out)["inputs"]["who"] == "Zoë"
