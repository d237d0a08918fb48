"""What is not known is answered with what was meant: commands and signals."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from flujo.cli import command_index
from flujo.cli.other_tools import COMMANDS, OPTIONS
from flujo.cli.program import program
from flujo.cli.session import Session

from .conftest import Flujoctl

GATE = """
name: gate
steps:
  - {name: approve, task: wait_signal}
"""


@pytest.mark.parametrize(
    ("arguments", "meant", "way_on"),
    [
        (("lsit",), "list", "list"),
        (("lsit", "--status", "failed"), "list", "list --status failed"),
        (("status", "r"), "inspect", "inspect r"),
        (("stop",), "cancel", "cancel --help"),
        (("stop", "r"), "cancel", "cancel r"),
        (("kill", "r"), "cancel", "cancel r"),
        (("rm", "r"), "delete", "delete r"),
        (("backup", "r.db"), "db backup", "db backup r.db"),
        (("examples",), "init --list", "init --list"),
        (("exec", "r", "ls"), "run", "run --help"),
        (("workflow", "list"), "list", "list"),
        (("job", "view", "r"), "inspect", "inspect r"),
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

    unknown = next(word for word in (arguments[1:] if arguments[0] in ("help", "db", "lens") else arguments))
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
    assert not COMMANDS.keys() & {*command_index.COMMANDS, *command_index.ALIASES, *command_index.HIDDEN}
    assert {words.split()[0] for words in COMMANDS.values()} <= command_index.COMMANDS.keys()


def test_the_options_of_other_tools_lead_to_options_and_commands_that_there_are() -> None:
    """And stand for none that the command has itself."""
    context = click.Context(program, obj=Session())
    for option, of_commands in OPTIONS.items():
        for name, instead in of_commands.items():
            commands = [program.get_command(context, each) for each in ([name] if name else command_index.COMMANDS)]
            known = [
                {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
                for command in commands
                if command
            ]
            assert known, (option, name)
            assert not name or option not in known[0], (option, name)
            first = instead.words.split()[:1]
            if first == ["flujoctl"]:
                assert program.get_command(context, instead.words.split()[1]) is not None
            elif first:
                assert any(first[0] in words for words in known), (option, name)


@pytest.mark.parametrize(
    ("typed", "told", "line"),
    [
        ("list -A", "did you mean --all?", "list --all"),
        ("list -w --status failed", "did you mean `flujoctl top`?", "top --status failed"),
        ("list --watch", "did you mean `flujoctl top`?", "top"),
        ("list -f status=failed", "did you mean --status?", "list --status failed"),
        ("list --filter label=team=a", "did you mean --status?", "list --label team=a"),
        ("list -L 3", "did you mean --limit?", "list --limit 3"),
        ("list --json id,status", "did you mean -o json?", "list -o json"),
        ("list --no-trunc", "did you mean -o wide?", "list -o wide"),
        ("list --context prod", "did you mean --server?", "list --server prod"),
        ("get r -w", "did you mean `flujoctl watch`?", "watch r"),
        ("describe r -f", "did you mean `flujoctl watch`?", "watch r"),
        ("logs -fc work r", "did you mean --step?", "logs -f --step work r"),
        ("wait r --for=condition=complete", "did you mean 'all'?", "wait r --for=all"),
        ("wait --for completed r", "did you mean 'all'?", "wait --for all r"),
        ("list --status failed,paused", "may be repeated", "list --status failed --status paused"),
        ("list --status=failed,paused", "may be repeated", "list --status failed --status paused"),
        ("list --status=failled", "did you mean 'failed'?", "list --status=failed"),
        ("watch --exit-status r", "leave it out:", "watch r"),
        ("delete -f r", "did you mean --force?", "delete --force r"),
        ("run --name r w.yaml", "did you mean --id?", "run --id r w.yaml"),
        ("run -f w.yaml", "leave it out:", "run w.yaml"),
        ("list --statsu failed", "did you mean --status?", "list --status failed"),
        ("list --status failled", "did you mean 'failed'?", "list --status failed"),
        ("describe run r", "takes ID; 'r' is too much", "describe r"),
        ("logs r a", "takes ID; 'a' is too much", "logs r --step a"),
        ("list failed", "takes no argument; 'failed' is too much", "list --status failed"),
        ("stats w", "takes no argument; 'w' is too much", "stats --workflow w"),
        ("config get store", "'get' and 'store' are too much", "config"),
        ("prune r", "takes no argument; 'r' is too much", None),
        ("prune 30d", "takes no argument; '30d' is too much", "prune --older-than 30d"),
        ("prune 30d 7d", "'30d' and '7d' are too much", None),
        ("clean 30d --yes", "takes no argument; '30d' is too much", "clean --yes --older-than 30d"),
        ("list 7d", "takes no argument; '7d' is too much", "list --since 7d"),
        ("clean r", "takes no argument; 'r' is too much", None),
        ("approve r a yes", "takes ID [SIGNAL]; 'yes' is too much", None),
        ("cleanup --all", "did you mean 'prune'?", "prune --older-than 0"),
        ("prune --all", "did you mean --older-than 0? (every run that has ended)", "prune --older-than 0"),
        ("ls -l", "did you mean -o wide?", "ls -o wide"),
        ("list -o", "it takes table, json, jsonl, yaml, name, wide", None),
        ("list -o=json", "did you mean 'json'?", "list -ojson"),
        ("list -s failed", "did you mean --status?", "list --status failed"),
        ("list status=failed", "'status=failed' is too much", "list --status failed"),
        ("list failed w", "'failed' and 'w' are too much", "list --status failed --workflow w"),
        ("list 5", "'5' is too much", "list --limit 5"),
        ("watch r r2", "'r2' is too much", "watch r"),
        ("rm -f r", "did you mean 'delete'?", "delete --force r"),
        ("rm --all", "did you mean 'delete'?", "delete --all"),
        ("kill -9 r", "did you mean 'cancel'?", "cancel r"),
        ("stop --all", "did you mean 'cancel'?", "cancel --all"),
        ("retry r --from a", "did you mean `flujoctl resume --from-step`?", "resume r --from-step a"),
        ("retry r --from-step a", "did you mean `flujoctl resume --from-step`?", "resume r --from-step a"),
        ("resume r --step a", "did you mean `flujoctl retry --step`?", "retry r --step a"),
        ("fork r --from a", "did you mean --from-step?", "fork r --from-step a"),
        ("skip r --step a", "leave it out: the step stands by itself", "skip r a"),
        ("set r --step a=1", "did you mean --result?", "set r --result a=1"),
        ("signal r go --payload 1", "leave it out: the payload stands by itself", "signal r go 1"),
        ("approve r --signal go", "leave it out: the signal stands by itself", "approve r go"),
        ("export r -f x.jsonl", "it prints; write `> FILE` behind it", "export r"),
        ("pause r --for 1h", "No such option '--for'", None),
        ("doctor --fix", "each finding comes with the command that mends it", "doctor"),
        ("-V", "did you mean `flujoctl version`?", "version"),
        ("server status", "did you mean 'ping'?", "ping"),
        ("server start", "did you mean 'serve'?", "serve"),
        ("w.yaml who=Ada", "`run` runs a file", "run w.yaml who=Ada"),
        ("./w.yaml", "`run` runs a file", "run ./w.yaml"),
        ("nope.yaml", "`run` runs a file", "run --help"),
        ("run w.yaml who Ada", "write NAME=TEXT or NAME:=JSON", "run w.yaml who=Ada"),
        ("run w.yaml --who=Ada", "inputs are written NAME=TEXT", "run w.yaml who=Ada"),
        ("run w.yaml --who Ada", "inputs are written NAME=TEXT", "run w.yaml who=Ada"),
        ("delete --workflow w", "add --yes, or look first with --dry-run", "delete --workflow w --dry-run"),
        ("get r -o jsonpath={.status}", "did you mean 'json'?", "get r -o json"),
    ],
)
def test_an_option_of_another_tool_is_answered_with_the_line_that_was_meant(
    typed: str, told: str, line: str | None, flujoctl: Flujoctl, folder: Path
) -> None:
    """It can be typed as printed."""
    (folder / "w.yaml").write_text("name: w\nsteps: [{name: a, task: noop}]\n")
    flujoctl("run", "w.yaml", "-q")
    ended = flujoctl(*typed.split())

    message, *hints = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert told in message
    assert hints[0] == f"try: flujoctl {line or typed.split()[0] + ' --help'}"
    assert len(hints) == 1 or hints[1:] == ["try: flujoctl delete --workflow w --yes"]


@pytest.mark.parametrize("typed", ["get run r", "describe run r", "explain workflow r", "logs run r"])
def test_a_noun_before_an_id_is_left_out_of_the_line_to_type(typed: str, flujoctl: Flujoctl) -> None:
    """As kubectl has it."""
    verb, _, run_id = typed.split()

    assert flujoctl(*typed.split()).err.splitlines()[1:] == [f"try: flujoctl {verb} {run_id}"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("run list", "list"),
        ("run list --status failed", None),
        ("run view r", "inspect r"),
        ("run watch r", "watch r"),
        ("run rerun r", "retry r"),
        ("run delete r", "delete r"),
    ],
)
def test_a_command_behind_run_is_told_to_stand_alone(typed: str, line: str | None, flujoctl: Flujoctl) -> None:
    """As gh has it; a file of that name would be run."""
    ended = flujoctl(*typed.split())

    assert ended.code == 2
    if line is not None:
        assert ended.err.splitlines() == [
            f"error[unknown-command]: there is no file {typed.split()[1]!r}, and `run` takes one; "
            f"did you mean `flujoctl {line}`?",
            f"try: flujoctl {line}",
        ]


@pytest.mark.parametrize("verb", ["inspect", "explain", "logs", "events", "wait"])
def test_who_names_no_run_is_told_of_the_newest(verb: str, flujoctl: Flujoctl, folder: Path) -> None:
    """The first line to type works."""
    (folder / "small.yaml").write_text("name: small\nsteps: [{name: a, task: noop}]\n")
    flujoctl("run", "small.yaml", "--id", "r")

    hints = flujoctl(verb).err.splitlines()[1:]

    assert hints[:2] == [f"try: flujoctl {verb} @last  # the newest run", "try: flujoctl list  # shows the ids"]
    assert flujoctl(verb, "@last").code == 0


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


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("cron", "cron or a timer of systemd types `flujoctl run`"),
        ("schedule w.yaml", "cron or a timer of systemd types `flujoctl run`"),
        ("ui", "`flujoctl top` shows all runs in the terminal"),
    ],
)
def test_what_is_not_here_is_told_with_what_does_it_instead(typed: str, told: str, flujoctl: Flujoctl) -> None:
    """No command of another meaning is named in its place, as `config` for `cron`."""
    ended = flujoctl(*typed.split())

    assert (ended.code, ended.err) == (
        2,
        f"error[unknown-command]: there is no command {typed.split()[0]!r}: {told}\ntry: flujoctl --help\n",
    )


def test_who_names_no_file_is_shown_those_that_there_are(flujoctl: Flujoctl, folder: Path) -> None:
    """Or how to get one."""
    without = flujoctl("run").err.splitlines()
    (folder / "w.yaml").write_text("name: w\nsteps: [{name: a, task: noop}]\n")
    with_one = flujoctl("run").err.splitlines()

    assert without[1].startswith("try: flujoctl init  # puts")
    assert with_one[1:] == ["try: flujoctl run w.yaml", "try: flujoctl run --help"]
    assert flujoctl("run", "w").err.splitlines()[1:] == ["try: flujoctl run w.yaml"]
