"""What is not known is answered with what was meant: commands and signals."""

from __future__ import annotations

from pathlib import Path

import pytest

from flujo.cli import command_index
from flujo.cli.nearest import SYNONYMS

from .conftest import Flujoctl

GATE = """
name: gate
steps:
  - {name: approve, task: wait_signal}
"""


@pytest.mark.parametrize(
    ("arguments", "meant", "way_on"),
    [
        (("lsit",), "list", "list --help"),
        (("status", "r"), "inspect", "inspect --help"),
        (("stop", "r"), "cancel", "cancel --help"),
        (("rm", "r"), "delete", "delete --help"),
        (("help", "resum"), "resume", "resume --help"),
        (("db", "chek"), "check", "db check --help"),
        (("lens", "lst"), "list", "lens list --help"),
        (("failed",), "list --status failed", "list --status failed"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(
    arguments: tuple[str, ...], meant: str, way_on: str, flujoctl: Flujoctl
) -> None:
    """By its letters, or by what other tools call it; and with what to type."""
    ended = flujoctl(*arguments)

    unknown = next(word for word in reversed(arguments) if word != "r")
    assert (ended.code, ended.out) == (2, "")
    assert (
        ended.err.splitlines()[0] == f"error[unknown-command]: there is no command {unknown!r}; did you mean {meant!r}?"
    )
    assert ended.err.splitlines()[1:] == [f"try: flujoctl {way_on}"]


@pytest.mark.parametrize("options", [(), ("-q",), ("--store", "sqlite:x.db")])
@pytest.mark.parametrize("group", ["db", "token", "lens"])
def test_a_group_without_a_command_names_its_commands_in_one_line(
    group: str, options: tuple[str, ...], flujoctl: Flujoctl
) -> None:
    """And not its whole help, run together."""
    ended = flujoctl(group, *options)

    message, way_on = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert message.startswith(f"error[usage]: `flujoctl {group}` needs one of its commands: ")
    assert message.endswith({"db": "migrate", "token": "revoke", "lens": "stats"}[group])
    assert way_on == f"try: flujoctl {group} --help"


def test_a_word_like_no_command_names_none(flujoctl: Flujoctl) -> None:
    """Rather than any."""
    assert flujoctl("xyzzy").err.splitlines()[0] == "error[unknown-command]: there is no command 'xyzzy'"


def test_the_words_of_other_tools_are_no_commands_and_lead_to_one() -> None:
    """A synonym of a command that exists under this name would never be used."""
    assert not SYNONYMS.keys() & {*command_index.COMMANDS, *command_index.ALIASES, *command_index.HIDDEN}
    assert set(SYNONYMS.values()) <= command_index.COMMANDS.keys()


def test_help_with_a_command_is_its_help(flujoctl: Flujoctl) -> None:
    """Of a command of a group as well."""
    assert flujoctl("help", "run") == flujoctl("run", "--help")
    assert flujoctl("help", "db", "check") == flujoctl("db", "check", "--help")


@pytest.fixture
def gate(folder: Path, flujoctl: Flujoctl) -> None:
    """A run `g` that waits for the signal `approve`."""
    (folder / "gate.yaml").write_text(GATE, encoding="utf-8")
    assert flujoctl("run", "gate.yaml", "--id", "g", "--no-wait").code == 7


@pytest.mark.usefixtures("gate")
def test_a_slip_in_a_signal_is_named_with_what_the_run_waits_for(flujoctl: Flujoctl) -> None:
    """It is stored all the same: a program may wait for it later."""
    sent = flujoctl("signal", "g", "aprove")

    assert sent.code == 0
    assert "run g does not wait for the signal 'aprove' now, but for approve" in sent.err.splitlines()
    assert sent.err.splitlines()[-1] == "try: flujoctl signal g approve"


@pytest.mark.usefixtures("gate")
def test_a_strict_signal_is_refused_if_the_run_does_not_wait_for_it(flujoctl: Flujoctl) -> None:
    """Nothing is sent then; the command that is shown works."""
    refused = flujoctl("signal", "g", "aprove", "--strict")

    assert refused.code == 4
    assert refused.err.splitlines()[:2] == [
        "error[signal-unexpected]: run 'g' does not wait for the signal 'aprove' now: it waits for approve; "
        "nothing was sent",
        "try: flujoctl signal g approve",
    ]
    assert flujoctl("signal", "g", "approve", "--strict").code == 0
    assert flujoctl("resume", "g").code == 0


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["list", "--status", "failled"], "failed"),
        (["list", "-o", "jsno"], "json"),
        (["list", "--time", "ISO8601"], "iso"),
        (["list", "--time", "zzz"], None),
        (["list", "--sort", "update"], "updated"),
        (["list", "--failed"], "--status failed"),
        (["retry", "--paused"], "--status paused"),
        (["failed"], "list --status failed"),
        (["token", "create", "ada", "--role", "admim"], "admin"),
        (["graph", "x.yaml", "--format", "mermade"], "mermaid"),
        (["list", "--statsu", "failed"], "--status"),
        (["resume", "r", "--form-step", "a"], "--from-step"),
    ],
)
def test_an_unknown_value_or_option_names_the_nearest(
    arguments: list[str], meant: str | None, flujoctl: Flujoctl
) -> None:
    """Beside all the values that there are."""
    told = flujoctl(*arguments).err.splitlines()[0].lower()

    assert ("did you mean" in told) == (meant is not None)
    assert meant is None or meant in told.partition("did you mean")[2]


@pytest.mark.parametrize("command", ["get runs", "delete run r"])
def test_the_word_run_is_left_out(command: str, flujoctl: Flujoctl, folder: Path) -> None:
    """Who types it before an id, as for other tools, is told so."""
    (folder / "small.yaml").write_text("name: small\nsteps: [{name: a, task: noop}]\n")
    flujoctl("run", "small.yaml", "--id", "r")

    ended = flujoctl(*command.split())

    assert ended.code == 3
    assert "try: leave the word out: all commands are about runs" in ended.err
