"""`flujoctl init`: put a workflow to start from into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote

import click

from flujo.cli.failures import FileInTheWayError, NotWritableError, StarterNotFoundError
from flujo.cli.nearest import nearest
from flujo.cli.output import emit, emit_all
from flujo.cli.session import Session, declare

STARTERS = Path(__file__).parents[1] / "starters"
DEFAULT = "first"


@declare("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=Path())
@click.option("--example", metavar="NAME", default=DEFAULT, help=f"which workflow (default: {DEFAULT})")
@click.option("--list", "only_list", is_flag=True, help="show what there is to start from, write nothing")
def command(session: Session, folder: Path, example: str, only_list: bool) -> int:
    """Put a workflow to start from into DIR, or into this folder.

    The file says in its first lines what to type. Nothing that is there is overwritten.
    """
    starters = available()
    if only_list:
        _list(session, starters)
        return 0
    if example not in starters:
        raise StarterNotFoundError(example, tuple(starters), nearest(example, starters))
    source = starters[example]
    path = folder / source.name
    _write(path, source.read_bytes())
    if session.output == "table":
        session.note(f"wrote {path}")
        for line in commands_in(source):
            session.suggest(f"cd {quote(str(folder))} && {line}" if folder != Path() else line)
    elif session.output == "name":
        print(path)
    else:
        emit({"path": str(path), "commands": list(commands_in(source))}, session.output)
    return 0


def available() -> dict[str, Path]:
    """Return the files there are to start from, by their names."""
    files = (path for path in STARTERS.iterdir() if path.suffix in (".yaml", ".py"))
    return {path.stem: path for path in sorted(files, key=lambda path: (path.stem != DEFAULT, path.stem))}


def summary_of(source: Path) -> str:
    """Return the first sentence of a file, which says what it shows."""
    line = source.read_text(encoding="utf-8").splitlines()[0].strip('#" ')
    return line.partition(".")[0]


def commands_in(source: Path) -> Iterator[str]:
    """Yield the commands that a file names in its first lines, each with what is said of it."""
    for line in source.read_text(encoding="utf-8").splitlines():
        if (text := line.lstrip("# ")).startswith("flujoctl "):
            yield text


def _list(session: Session, starters: dict[str, Path]) -> None:
    if session.output == "name":
        print("\n".join(starters))
    elif session.output == "table":
        for name, source in starters.items():
            print(f"{name:<11}{source.name:<16}{summary_of(source)}")
    else:
        emit_all(
            [{"name": name, "file": path.name, "summary": summary_of(path)} for name, path in starters.items()],
            session.output,
        )


def _write(path: Path, content: bytes) -> None:
    """Write a new file, whole; raises FileInTheWayError where there is something, and NotWritableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise FileInTheWayError(str(error.filename)) from error
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # a disk that was full
        raise NotWritableError(str(path), error.strerror or str(error)) from error
