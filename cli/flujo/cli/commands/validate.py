"""`flujoctl validate`: check workflow files without running anything."""

from __future__ import annotations

from collections.abc import Sequence

import click

from flujo.cli import sources
from flujo.cli.failures import USAGE, SourceError, SourceNotFoundError, exit_code
from flujo.cli.output import emit_all
from flujo.cli.session import GITHUB, Session, declare, harmless
from flujo.kernel.errors import DefinitionError, Problem


@declare("validate", formats=("table", "json", "jsonl", "yaml", GITHUB))
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def command(session: Session, files: Sequence[str]) -> int:
    """Check workflow files and show every problem as FILE:LINE:COLUMN: MESSAGE.

    Ends with 2 when there is one. What is allowed and may not be meant is told as a warning. With -o github, the
    runners of GitHub Actions show both beside the lines of the files.
    """
    found: list[Problem] = []
    warnings: list[Problem] = []
    code = 0
    for file in files:
        try:
            sources.load(file)
            warnings += sources.warnings_in(file)
        except DefinitionError as error:
            found += error.problems
            code = USAGE
        except (SourceError, SourceNotFoundError) as error:
            found.append(Problem(file, 0, 0, error.message))
            code = max(code, exit_code(error)) if code != USAGE else USAGE
    if session.output == GITHUB:
        for kind, problems in (("error", found), ("warning", warnings)):
            for problem in problems:
                print(_annotation(kind, problem))
        return code
    for warning in warnings:
        session.note(f"warning: {warning}")
    if session.output == "table":
        for problem in found:
            print(harmless(str(problem)))
        _conclude(session, len(found), len(files))
    else:
        emit_all([problem._asdict() for problem in found], session.output)
    return code


def _conclude(session: Session, problems: int, files: int) -> None:
    checked = "1 file" if files == 1 else f"{files} files"
    if problems:
        session.note(
            f"error[{DefinitionError.reason_code}]: {problems} problem{'s' if problems != 1 else ''} in {checked}"
        )
    else:
        session.note(f"{checked} valid")


def _annotation(kind: str, problem: Problem) -> str:
    """Return a problem as a command of the runners' workflow language, which has its own escapes."""
    place = {"file": problem.file, **({"line": problem.line, "col": problem.column} if problem.line else {})}
    properties = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in place.items())
    return harmless(f"::{kind} {properties}::{_escaped(problem.message)}")


def _escaped(text: str, others: str = "") -> str:
    return "".join(f"%{ord(each):02X}" if each in f"%\r\n{others}" else each for each in text)
