"""An option whose value is empty, as a variable of a shell that is not set leaves it, is refused: whoever meant some
runs does not act on all of them, or on those of another store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flujo.cli.program import program

from .conftest import Flujoctl

MAY_BE_EMPTY = {"--reason", "--comment"}


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that can be typed, and the groups."""
    yield " ".join(path), group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(program))


@pytest.mark.parametrize("typed", COMMANDS)
def test_no_command_takes_an_empty_value(typed: str, flujoctl: Flujoctl) -> None:
    """Whether it stands behind the option or behind an equals sign."""
    options = [each for each in COMMANDS[typed].params if isinstance(each, click.Option) and not each.is_flag]
    named = [name for each in options if not each.count for name in each.opts if name.startswith("--")]

    for name in {*named} - MAY_BE_EMPTY:
        for words in ((name, ""), (f"{name}=",)):
            refused = flujoctl(*typed.split(), *words)
            assert (refused.code, "error[bad-value]: Invalid value for" in refused.err) == (2, True), (words, refused)


def test_nothing_is_deleted_by_a_choice_that_is_empty(flujoctl: Flujoctl, folder: Path) -> None:
    """`prune --workflow "$NAME"` without a name took every run."""
    (folder / "w.yaml").write_text("name: w\nsteps: [{name: a, task: noop}]\n", encoding="utf-8")
    flujoctl("run", "w.yaml", "--id", "r")

    for choice in ("--workflow", "--id-prefix", "--label", "--status"):
        assert flujoctl("prune", choice, "", "--older-than", "0s", "--yes").code == 2
        assert flujoctl("delete", choice, "", "--status", "completed", "--yes").code == 2

    assert flujoctl("list", "-o", "name").out == "r\n"
