"""The commands of flujoctl: their names, one line each, and the text of `flujoctl --help`.

This module imports nothing, so that the overview is there at once. A command's own options and texts are in
`flujo.cli.commands.NAME`, which is imported when the command is used.
"""

from __future__ import annotations

VERSION = "0.1.0"

SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Run workflows",
        (
            ("run", "run a workflow: a YAML file, or FILE.py:NAME, or MODULE:NAME"),
            ("resume", "take up a run where it stopped"),
            ("retry", "run failed steps again"),
            ("fork", "start a new run with the history of another one"),
            ("validate", "check YAML files and show everything that is wrong"),
        ),
    ),
    (
        "Look at runs",
        (
            ("list", "list runs, newest first"),
            ("inspect", "show one run and its steps"),
            ("watch", "follow a run as it goes"),
            ("explain", "say why a run does not go on, and what to type"),
            ("events", "show what is recorded of a run, event by event"),
            ("wait", "wait until runs have ended"),
            ("diff", "compare a definition with what a run has completed"),
            ("stats", "add up runs by workflow: counts, failures, durations"),
        ),
    ),
    (
        "Act on runs",
        (
            ("signal", "send a run the signal it waits for"),
            ("pause", "let runs stop at the next step"),
            ("unpause", "let a paused run go on"),
            ("cancel", "stop runs"),
            ("skip", "go on without a step"),
            ("set", "set variables of a run, or results of its steps"),
            ("delete", "forget runs"),
            ("prune", "forget old finished runs"),
        ),
    ),
    (
        "Look after stores",
        (
            ("export", "write a run down as a JSON document"),
            ("import", "bring a run in from such a document"),
            ("db", "check a store, back it up, restore it, copy its runs"),
        ),
    ),
    (
        "Serve others",
        (("serve", "serve a store to clients in any language, over gRPC"),),
    ),
    (
        "The rest",
        (
            ("completion", "print the completion script of a shell"),
            ("version", "show the versions in use"),
        ),
    ),
)

COMMANDS = {name: summary for _, commands in SECTIONS for name, summary in commands}

HIDDEN = {
    "clean": "forget runs by age, id or status",
    "lens": "list, show, delete, prune and add up runs",
}
"""Commands under names that users of other tools know; they work and are not listed."""

MODULES = {"import": "import_"}
"""Commands whose name cannot be that of a module."""

ALIASES = {"get": "inspect", "show": "inspect", "describe": "inspect", "ls": "list", "ps": "list", "follow": "watch"}

EXIT_CODES = (
    (0, "all went well"),
    (1, "the run failed"),
    (2, "the command, the definition or the inputs are not valid"),
    (3, "not found: the run, the step, the file or the store"),
    (4, "a conflict: the definition does not fit, the run is active, finished or there already"),
    (5, "the store cannot be used, or the server not be reached"),
    (6, "the wait timed out"),
    (7, "the run is paused, or only waits"),
    (8, "the run was cancelled"),
    (70, "an error inside flujoctl"),
    (130, "interrupted by Ctrl-C, SIGTERM or SIGHUP; the run is checkpointed"),
    (141, "whoever read the output has gone"),
)

SHARED_OPTIONS = (
    ("--server ADDRESS", "the server whose runs are meant, as unix:PATH (else FLUJO_SERVER)"),
    ("--store URL", "the store, as sqlite:PATH or file:DIR (else FLUJO_STORE, flujo.toml, .flujo/)"),
    ("-o, --output FORMAT", "table, json, jsonl, yaml or name"),
    ("-q, --quiet", "no progress and no notes; list prints ids only"),
    ("-v, --verbose", "more about what happens; -vv also shows tracebacks"),
    ("-h, --help", "show help and exit"),
)
"""Every command takes these, before or after its name."""


def overview() -> str:
    """What `flujoctl --help` prints."""
    lines = ["Usage: flujoctl [OPTIONS] COMMAND [ARGUMENTS]", "", "Workflows whose steps survive crashes.", ""]
    for title, commands in SECTIONS:
        lines += [f"{title}:", *(f"  {name:<12}{summary}" for name, summary in commands), ""]
    lines += ["Options, before or after the command:"]
    lines += [f"  {option:<22}{meaning}" for option, meaning in SHARED_OPTIONS]
    lines += ["  --version             show the version and exit", ""]
    lines += ["More about a command: flujoctl COMMAND --help", ""]
    return "\n".join(lines)
