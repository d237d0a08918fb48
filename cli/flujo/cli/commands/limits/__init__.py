"""`flujoctl limits`: limits of all kernels that share a store. Each of its commands is a module of its name."""

from __future__ import annotations

from flujo.cli.groups import CommandGroup

COMMANDS = {
    "list": "list the limits, who has their slots and who waits for one",
    "set": "have so many steps at once count against a limit, in all kernels together",
    "unset": "remove a limit",
}

command = CommandGroup(
    "limits",
    COMMANDS,
    help="Bound how many steps that name a limit are at work at once, in all kernels that share a store on PostgreSQL. "
    "Without a command, list the limits.",
    short_help="bound the steps of all kernels that share a store",
    default="list",
)
