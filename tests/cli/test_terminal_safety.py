"""Nothing that a program, a parameter, a file or another person says reaches a terminal raw, in any command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.conftest import Copied, Flujoctl
from flujo.cli import command_index
from flujo.cli.session import harmless

EVIL = "\x1b[2Jx\x1b]0;title\x07\x9b31m\r\u202e\u2066\x7f"

PROGRAM = f"""\
from flujo.kernel import Context, workflow
from flujo.kernel.programs import current_attempt

EVIL = {EVIL!r}


@workflow(name="evil-program")
async def evil(ctx: Context, p: str = "x") -> str:
    async def says() -> str:
        current_attempt().progress(1, 2, EVIL)
        return EVIL

    async def fails() -> None:
        raise type("Bad" + EVIL, (ValueError,), {{}})(EVIL)

    ctx.progress(1, 2, EVIL)
    await ctx.set_variable("v", EVIL)
    await ctx.step(says, name="says")
    await ctx.step(fails, name="fails")
    return "done"
"""

DEFINITION = """\
name: evil
description: "d\\e[2J"
labels: {l: "x\\e[2J"}
params: {p: {default: "p\\e[2J"}}
steps:
  - {name: says, task: shell, inputs: {command: "printf '\\\\033[2Jx\\\\033]0;title\\\\007'; printf 'e\\\\033[2J' >&2"}}
  - {name: go, task: wait_signal}
  - {name: fails, task: shell, inputs: {command: "printf '\\\\033[2Jx\\\\007' >&2; printf 'o\\\\033[2J'; exit 1"}}
"""

BAD = """\
name: x
steps:
- {name: "a\\e[2Jb", task: "ech\\e[2J", "k\\e[2J": 1}
"z\\e[2J": 1
"""

OF_RUNS = [
    *(["inspect"], ["inspect", "--show-outputs"], ["inspect", "--step", "says"], ["inspect", "--step", "fails"]),
    *(["explain"], ["events"], ["watch", "--no-follow"], ["wait", "--timeout", "1s"], ["diff"], ["lens", "show"]),
    ["trace"],
    *(
        ["resume", "--no-wait", "-v"],
        ["retry", "--no-wait"],
        ["fork", "--no-wait"],
        ["skip", "--reason", EVIL, "fails"],
    ),
    *(["pause"], ["set", f"v={EVIL}"], ["cancel", "--reason", EVIL], ["explain"], ["inspect"], ["events"]),
    *(["signal", EVIL], ["signal", "go", EVIL], ["set", f"{EVIL}=1"], ["delete", "--force"]),
]

OTHERS = [
    ("config", "--store", f"sqlite:{EVIL}"),
    ("lsit", EVIL),
    ("list", "--statsu", EVIL),
    *(
        ["list"],
        ["list", "--label", f"k={EVIL}"],
        ["list", "--status", EVIL],
        ["stats"],
        ["top"],
        ["lens", "list"],
        ["prune"],
    ),
    *(["validate", "evil.yaml"], ["validate", "bad.yaml"], ["run", "bad.yaml"], ["run", f"{EVIL}.yaml"]),
    *(["run", "bad.py:x"], ["run", "evil.yaml", f"{EVIL}=1"], ["run", "evil.yaml", "--id", EVIL], [EVIL]),
    *(
        ["run", "--dry-run", "evil.yaml", f"p={EVIL}"],
        ["run", "evil.yaml", f"--{EVIL}"],
        ["db", "check"],
        ["db", "info"],
    ),
    *(["token", "create", EVIL, "--role", "viewer"], ["token", "revoke", EVIL], ["token", "list", "--tokens", EVIL]),
    *(["tasks"], ["tasks", EVIL], ["workflows"], ["workflows", EVIL], ["publish", EVIL], ["unpublish", EVIL]),
    *(["ping"], ["ping", "--server", EVIL], ["ping", "--server", "tcp://127.0.0.1:1", "--token-file", EVIL]),
    *(["inspect", EVIL], ["list", "--store", EVIL], ["db", "restore", EVIL], ["completion", EVIL], ["delete", EVIL]),
]


def raw(text: str) -> set[str]:
    """The characters of a text that are more than letters to a terminal."""
    return {each for each in text if not each.isprintable() and each not in "\n"}


def call(flujoctl: Flujoctl, *arguments: str) -> None:
    """Run a command, and look at what it prints."""
    ended = flujoctl(*arguments)
    assert raw(ended.out + ended.err) == set(), arguments


@pytest.fixture
def runs(copied: Copied, flujoctl: Flujoctl) -> Flujoctl:
    """A store with runs that say evil things, and files that do."""
    copied(fill)
    return flujoctl


def fill(flujoctl: Flujoctl) -> None:
    """Make those runs and files."""
    Path("evil.yaml").write_text(DEFINITION, encoding="utf-8")
    Path("evil.py").write_text(PROGRAM, encoding="utf-8")
    Path("bad.yaml").write_text(BAD, encoding="utf-8")
    Path("bad.py").write_text(f"raise ValueError({EVIL!r})\n", encoding="utf-8")
    call(flujoctl, "run", "evil.yaml", "--id", "waits", "--no-wait", "--label", f"k={EVIL}")
    call(flujoctl, "run", "evil.yaml", "--id", "failed", "--no-wait", f"p={EVIL}")
    call(flujoctl, "signal", "failed", "go", EVIL)
    call(flujoctl, "resume", "failed")
    call(flujoctl, "run", "evil.py:evil", "--id", "program", "-v", f"p={EVIL}")


@pytest.mark.parametrize("run_id", ["waits", "failed", "program"])
def test_no_command_about_a_run_prints_what_moves_the_cursor(runs: Flujoctl, run_id: str) -> None:
    """One after the other, on the same run."""
    for name, *options in OF_RUNS:
        words = [name, *options[:1], run_id] if name == "lens" else [name, run_id, *options]
        call(runs, *words)


@pytest.mark.parametrize("format", ["json", "jsonl", "yaml"])
def test_no_format_for_programs_does(runs: Flujoctl, format: str) -> None:
    """What a terminal would obey, turn around or hide is written as letters in quotes: a parser reads what it was."""
    read = yaml.safe_load if format == "yaml" else json.loads
    for words in (["events"], ["explain"], ["watch", "--no-follow"], ["inspect"]):
        ended = runs(words[0], "program", *words[1:], "-o", format)
        assert raw(ended.out + ended.err) == set(), words
    call(runs, "list", "-o", format)

    assert [step["output"] for step in read(ended.out)["steps"] if step["name"] == "says"] == [EVIL]


def test_no_other_command_does(runs: Flujoctl) -> None:
    """Also when it complains about what was typed."""
    for arguments in OTHERS:
        call(runs, *arguments)


def test_this_test_knows_every_command_that_shows_something() -> None:
    """A new command is added here, or to those that show nothing of others' making."""
    shown = {words[0] for words in (*OF_RUNS, *OTHERS)}
    silent = {
        "serve",
        "version",
        "init",
        "doctor",
        "export",
        "import",
        "unpause",
        "approve",
        "reject",
        "graph",
        "schema",
        "hosts",
        "drain",
        "limits",
    }
    on_a_terminal_only = {"logs"}

    assert set(command_index.COMMANDS) - shown - silent - on_a_terminal_only - {EVIL} == set()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31m\x1b[1mError: \x1b[0mno", "Error: no"),
        ("\x1b[38;2;1;2;3mred\x1b[m", "red"),
        ("\x1b[01;31m\x1b[Kfound\x1b[m\x1b[K", "found"),
        ("\x1b(Bplain\x1b[0m", "plain"),
        ("a\x1b[2Jb", "a\ufffd[2Jb"),
        ("\x1b\x1b[0m[2J", "\ufffd[2J"),
        ("\x1b", "\ufffd"),
        ("50\x1b[", "50\ufffd["),
    ],
)
def test_colours_are_left_out_as_a_whole(written: str, shown: str) -> None:
    """Their numbers alone would stand between the words; what does more than colour stays to be seen, disarmed."""
    assert harmless(written) == shown


def test_a_program_that_colours_its_errors_is_read_as_one_that_does_not(flujoctl: Flujoctl, folder: Path) -> None:
    """As terraform and cargo do, in a pipe as well: in the message, in the last lines, in `explain`."""
    command = "printf 'x\\n\\033[31mError: \\033[0mno configuration\\n' >&2; exit 1"
    (folder / "coloured.yaml").write_text(
        yaml.safe_dump({"name": "c", "steps": [{"name": "go", "task": "shell", "inputs": {"command": command}}]})
    )

    ended = flujoctl("run", "coloured.yaml", "--id", "r")

    for said in (ended.err, flujoctl("explain", "r").out):
        assert "Error: no configuration" in said
        assert "[31m" not in said
