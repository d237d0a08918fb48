"""Say what decides which store or server commands use: options, variables, flujo.toml, and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flujo.backends.discovery import nearest_setting, settings_file
from flujo.kernel.errors import without_password

from .session import Session
from .target import ServerTarget

VARIABLES = (
    "FLUJO_SERVER",
    "FLUJO_STORE",
    "FLUJO_TOKEN",
    "FLUJO_TOKEN_FILE",
    "FLUJO_TLS_CA",
    "FLUJO_TLS_CLIENT_CERT",
    "FLUJO_TLS_CLIENT_KEY",
    "FLUJO_HTTP_HOSTS",
    "FLUJO_HTTP_PRIVATE",
)
"""The variables of the environment that flujo reads. Those it gives to commands of steps are none of them."""

_SECRET = ("FLUJO_TOKEN",)


class Setting(NamedTuple):
    """What is used, under a name, and what says so."""

    name: str
    value: str
    origin: str


def settings_here(session: Session) -> Sequence[Setting]:
    """Return what a command in this folder would use. Raises what finding it raises."""
    here = Path.cwd()
    target = session.target
    found = []
    if isinstance(target, ServerTarget):
        found.append(Setting("server", without_password(target.address), _origin(session, here, "server")))
    else:
        found += [
            Setting("store", target.shown, _origin(session, here, "store")),
            Setting("workspaces", str(target.workspaces), "beside the store"),
            Setting("socket of `serve`", target.listen, "beside the store"),
        ]
    return [*found, *_variables()]


def _origin(session: Session, here: Path, name: str) -> str:
    """Return what names the server or store: the first that does, in the order in which they are asked."""
    if getattr(session, name):
        return f"--{name}"
    if os.environ.get(f"FLUJO_{name.upper()}"):
        return f"the variable FLUJO_{name.upper()}"
    if nearest_setting(here, name) is not None:
        return str(settings_file(here))
    folder = next((each for each in (here, *here.parents) if os.path.isdir(each / ".flujo")), None)
    return "the default; it is made by the first run" if folder is None else f"the folder {folder / '.flujo'}"


def _variables() -> Iterator[Setting]:
    for name in VARIABLES:
        if value := os.environ.get(name):
            shown = "(not shown)" if name in _SECRET else without_password(value)
            yield Setting(name, shown, "environment")
