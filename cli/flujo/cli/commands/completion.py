"""`flujoctl completion`: print the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from flujo.cli.session import COMPLETE, Session, declare


@declare("completion", formats=("table",))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(session: Session, shell: str) -> int:
    """Print the completion script of SHELL. For bash: source <(flujoctl completion bash)"""
    from flujo.cli.program import program

    found = get_completion_class(shell)
    assert found is not None
    print(found(program, {}, "flujoctl", COMPLETE).source())
    return 0
