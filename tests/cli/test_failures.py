"""Every error has an exit code and hints that can be typed as they are printed."""

from __future__ import annotations

import inspect
import re
import shlex

import click
import pytest

from flujo.cli import command_index
from flujo.cli.failures import EXIT_CODES, exit_code, report
from flujo.cli.program import program
from flujo.cli.session import Session
from flujo.kernel import errors
from flujo.kernel.errors import Difference, FlujoError

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, FlujoError)]

SAMPLES: list[FlujoError] = [
    errors.RunNotFoundError("r", "sqlite:x"),
    errors.RunReplacedError("r"),
    errors.RunDeletedError("r"),
    errors.CursorError("r", 9, 3),
    errors.ForeignCursorError("another.17"),
    errors.RunExistsError("r", "other inputs"),
    errors.RunActiveError("r", "host-1"),
    errors.RunFinishedError("r", "completed"),
    errors.RunNotResumableError("r", "completed"),
    errors.StepNotFoundError("r", "s", ["a"]),
    errors.WorkflowNotFoundError("w", []),
    errors.StateIncompatibilityError("r", [Difference("a", "changed", "it has changed")], "w.yaml"),
    errors.RunFailed("r", "ValueError", "no", "s"),
    errors.RunCancelled("r", None),
    errors.RunPaused("r", "StepInterrupted"),
    errors.RunInterrupted("r"),
    errors.StoreNotFoundError("sqlite:x"),
    errors.StoreFullError("sqlite:x"),
]

HINTS = sorted({hint for error in SAMPLES for hint in error.hints if "flujoctl " in hint})


@pytest.mark.parametrize("error", CLASSES, ids=lambda each: each.__name__)
def test_every_class_has_a_documented_code(error: type[FlujoError]) -> None:
    """Only the root itself, and what is a mistake of ours, is an internal error."""
    code = next(EXIT_CODES[base] for base in error.__mro__ if base in EXIT_CODES)
    internal = (FlujoError, errors.ServerFailedError, errors.UnsupportedEventLoopError)

    assert code in dict(command_index.EXIT_CODES)
    assert (code == 70) == (error in internal)


def test_an_unknown_error_is_internal() -> None:
    """Whatever it is."""
    assert exit_code(RuntimeError()) == 70


@pytest.mark.parametrize("hint", HINTS)
def test_the_commands_in_hints_exist(hint: str) -> None:
    """With their options: click reads each of them without a complaint."""
    command = re.sub(r"^.*?flujoctl ", "", hint)
    arguments = shlex.split(command, comments=True)

    with program.make_context("flujoctl", arguments, obj=Session()) as context:
        name, found, rest = program.resolve_command(context, arguments)
        assert found is not None
        found.make_context(name, rest, parent=context)


def test_hints_name_the_store_that_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the command and before the comment, comments in one column."""
    error = errors.StateIncompatibilityError("r", [Difference("a", "changed", "it has changed")])

    assert report(error, Session(store="sqlite:my runs.db", verbosity=1)) == 4

    _, _, *tries = capsys.readouterr().err.splitlines()
    assert tries[0].startswith("try: flujoctl resume r --stored --store 'sqlite:my runs.db'")
    assert tries[-1] == "try: remove the store, only as a last resort"
    assert len({line.index("  # ") for line in tries if "  # " in line}) == 1


def test_nothing_of_an_error_reaches_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    """A program, a file or another user may have written its text: no escape moves the cursor or sets the title."""
    error = errors.RunFailed("r", "StepFailed", "l1\x1b[2Jx\x1b]0;title\x07\rl2\n  l3", "s")

    assert report(error, Session()) == 1

    shown = capsys.readouterr().err
    assert "l1�[2Jx�]0;title� l2\n  l3" in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_a_definition_error_lists_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """Each on a line of its own, in the form editors understand."""
    problems = [errors.Problem("w.yaml", 2, 1, "no"), errors.Problem("w.yaml", 0, 0, "nothing")]

    assert report(errors.DefinitionError(problems), Session()) == 2

    assert capsys.readouterr().err.splitlines() == [
        "error[invalid-definition]: 2 problems in the definition",
        "w.yaml:2:1: no",
        "w.yaml: nothing",
    ]


def test_click_knows_every_command_of_the_index() -> None:
    """And every one has a line in the overview."""
    context = click.Context(program)

    for name in (*command_index.COMMANDS, *command_index.HIDDEN, *command_index.ALIASES):
        assert program.get_command(context, name) is not None, name
    for name in command_index.COMMANDS:
        assert f"\n  {name:<12}" in command_index.overview()
