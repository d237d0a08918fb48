"""`flujoctl db`: maintain a store. Each of its commands is a module of its name."""

from __future__ import annotations

from flujo.cli.groups import CommandGroup

COMMANDS = {
    "check": "check a store for damage",
    "info": "show the size, settings and users of a store",
    "backup": "copy a store while it is in use",
    "restore": "replace a store with a backup",
    "copy": "copy runs from one store to another",
    "migrate": "update a store of an older release",
}


command = CommandGroup(
    "db",
    COMMANDS,
    help="Maintain a store: check it, back it up, restore it, copy its runs.",
    short_help="maintain a store: check, backup, restore, copy",
)
