"""Failures that are tried again, or never, by what they say: `on_text` and `give_up_on_text` of `retry`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Ended, Flujoctl

RESET = "echo x >> n; echo connection reset by peer >&2; seq 500; exit 1"


def run(folder: Path, flujoctl: Flujoctl, steps: str, *options: str, top: str = "") -> Ended:
    """Run a workflow of these steps."""
    (folder / "flow.yaml").write_text(f"name: flow\n{top}steps:\n{steps}")
    return flujoctl("run", "flow.yaml", "--id", "r", "--workspace", ".", *options)


def attempts(flujoctl: Flujoctl) -> dict[str, int]:
    """How often each step was tried."""
    steps = json.loads(flujoctl("inspect", "r", "-o", "json").out)["steps"]
    return {step["name"]: step["attempt"] for step in steps}


def shell(command: str, retry: str) -> str:
    """A step that runs a command, and is tried up to three times."""
    return (
        f"  - name: a\n    task: shell\n    inputs: {{command: {json.dumps(command)}}}\n"
        f"    retry: {{max_attempts: 3, delay: 1ms, {retry}}}\n"
    )


@pytest.mark.parametrize(
    ("command", "retry", "tried"),
    [
        (RESET, "on_text: 'connection (reset|refused)'", 3),
        (RESET, "on_text: [nothing, '^connection']", 3),
        (RESET, "on_text: 'Connection'", 1),
        (RESET, "on_text: '(?i)^CONNECTION'", 3),
        (RESET, "on_text: '^reset'", 1),
        (RESET, "give_up_on_text: 'reset'", 1),
        (RESET, "give_up_on_text: 'refused'", 3),
        (RESET, "on_text: connection, give_up_on_text: [refused, peer]", 1),
        (RESET, "exit_codes: [75], on_text: connection", 3),
        (RESET, "exit_codes: [75], on_text: refused", 1),
        (RESET, "exit_codes: [1], give_up_on_text: peer", 1),
        (RESET, "on_error: [OSError], on_text: connection", 3),
        (RESET, "on_text: connection, give_up_on: [ExitCode1]", 1),
        ("test -e boom", "on_text: boom", 1),
        ("echo boom; exit 1", "on_text: '^boom$'", 3),
    ],
)
def test_what_a_command_printed_decides(folder: Path, flujoctl: Flujoctl, command: str, retry: str, tried: int) -> None:
    """In either output, however much came after it; the command itself does not count."""
    ended = run(folder, flujoctl, shell(command, retry))

    assert ended.code == 1
    assert attempts(flujoctl)["a"] == tried


def test_the_message_of_any_other_error_decides(folder: Path, flujoctl: Flujoctl) -> None:
    """Of each item of a loop by itself, and of the steps of a graph."""
    steps = (
        "  - name: code\n    task: python_code\n    for_each: [1, 2]\n"
        "    inputs: {code: \"raise ValueError('deadlock ' + str(item))\"}\n    on_error: continue\n"
        "    retry: {max_attempts: 2, delay: 1ms, on_text: deadlock 2}\n"
        "  - {name: fails, task: fail, inputs: {message: later}, depends_on: [], on_error: continue,"
        " retry: {max_attempts: 2, delay: 1ms, on_text: later}}\n"
        "  - {name: stops, task: fail, inputs: {message: never}, depends_on: [fails],"
        " retry: {max_attempts: 2, delay: 1ms, on_text: later}}\n"
    )

    assert run(folder, flujoctl, steps).code == 1
    assert attempts(flujoctl) == {"code": 0, "code[0]": 1, "code[1]": 2, "fails": 2, "stops": 1}


def test_secrets_are_kept_out_and_decide_nothing_less(
    folder: Path, flujoctl: Flujoctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is searched before it is redacted, and told without them."""
    monkeypatch.setenv("TOKEN", "abcdefgh")

    ended = run(folder, flujoctl, shell("echo try abcdefgh; exit 1", "on_text: 'try a'"), top="secrets: [TOKEN]\n")

    assert attempts(flujoctl)["a"] == 3
    assert "abcdefgh" not in ended.err


def test_a_default_may_have_rules_of_its_own(folder: Path, flujoctl: Flujoctl) -> None:
    """A step that starts another workflow leaves them out: the steps of that one have theirs."""
    (folder / "child.yaml").write_text("name: child\nsteps: [{name: b, task: fail, inputs: {message: later}}]\n")
    steps = (
        "  - {name: a, task: fail, inputs: {message: later}, on_error: continue}\n"
        "  - {name: c, task: workflow, inputs: {file: child.yaml}}\n"
    )

    run(folder, flujoctl, steps, top="defaults: {retry: {max_attempts: 2, delay: 1ms, on_text: later}}\n")

    assert attempts(flujoctl) == {"a": 2, "c": 1}


def test_explain_tells_that_no_rule_was_for_the_failure(folder: Path, flujoctl: Flujoctl) -> None:
    """It could have been tried more often, and was not."""
    run(folder, flujoctl, shell(RESET, "on_text: refused"))

    told = flujoctl("explain", "r")

    assert (
        "step 'a' has failed 1 of 3 times, and its `retry` allows no other attempt: it is not for this failure"
        in told.out
    )
    assert "try: flujoctl inspect r --step a" in told.err.splitlines()


def test_explain_tells_of_a_backoff_also_where_nobody_runs_the_run(folder: Path, flujoctl: Flujoctl) -> None:
    """Whoever looks at it need not resume it first."""
    run(folder, flujoctl, shell(RESET, "on_text: peer").replace("1ms", "10m"), "--no-wait")

    assert "step 'a' has failed 1 of 3 times (ShellError: " in flujoctl("explain", "r").out


@pytest.mark.parametrize(
    ("retry", "told"),
    [
        ("on_text: '(a'", "flow.yaml:6:51: `on_text` '(a' is not a regular expression: unclosed group"),
        ("on_text: []", "`on_text` must be what the failure says, a regular expression such as"),
        ("on_text: [a, 75]", "or a list of them; not 75"),
        ("on_text: ''", 'or a list of them; not ""'),
        ("on_text: {a: b}", "`on_text` must be what the failure says"),
        ("give_up_on_text: '(?=a)'", "look-around, including look-ahead and look-behind, is not supported"),
        ("on_output: reset", "`retry` has no key `on_output`; write `on_text: REGEX` for what it says"),
        ("when: reset", "`retry` has no key `when`; write `on_text: REGEX`"),
        ("unless: reset", "`retry` has no key `unless`; write `give_up_on_text: REGEX`, or `give_up_on: [ExitCode2]`"),
        ("on_texts: reset", "`retry` has no key `on_texts`; did you mean `on_text`?"),
    ],
)
def test_a_rule_that_is_none_is_refused_where_it_stands(
    folder: Path, flujoctl: Flujoctl, retry: str, told: str
) -> None:
    """Before anything runs, with what to write instead."""
    ended = run(folder, flujoctl, shell(RESET, retry))

    assert (ended.code, told in ended.err) == (2, True), ended.err
    assert "flow.yaml:6:" in ended.err


@pytest.mark.parametrize("key", ["on_text: a", "give_up_on_text: a", "exit_codes: 75", "on_status: 503"])
@pytest.mark.parametrize("loop", ["", "for_each: [1], "])
def test_a_run_that_a_step_starts_has_rules_of_its_own(folder: Path, flujoctl: Flujoctl, key: str, loop: str) -> None:
    """They were taken for a step with `task: workflow`, and never matched."""
    (folder / "child.yaml").write_text("name: child\nsteps: [{name: b, task: fail}]\n")

    ended = run(
        folder,
        flujoctl,
        f"  - {{name: a, task: workflow, {loop}inputs: {{file: child.yaml}}, retry: {{max_attempts: 2, {key}}}}}\n",
    )

    assert ended.code == 2
    assert f"`{key.partition(':')[0]}` is for the steps of the workflow that is started; write it there" in ended.err
