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
            ("resume", "continue a run where it stopped"),
            ("retry", "run failed steps again"),
            ("fork", "start a new run with the history of another one"),
            ("validate", "check YAML files and show everything that is wrong"),
            ("tasks", "list what the steps of a YAML workflow can call"),
            ("schema", "print the JSON Schema of YAML workflows, for editors"),
            ("init", "put a workflow to start from into a folder"),
        ),
    ),
    (
        "Look at runs",
        (
            ("list", "list runs, newest first"),
            ("inspect", "show one run and its steps"),
            ("watch", "follow the events of a run"),
            ("explain", "say what a run does or waits for, and what to type"),
            ("logs", "show what the steps of a run have printed"),
            ("events", "show what is recorded of a run, event by event"),
            ("wait", "wait until runs have ended"),
            ("graph", "draw the steps of a workflow or a run, and what waits for what"),
            ("trace", "show when each step of a run worked and waited"),
            ("diff", "compare a definition with what a run has completed"),
            ("top", "show what goes on now, again and again"),
            ("stats", "show counts, failures and durations by workflow"),
        ),
    ),
    (
        "Act on runs",
        (
            ("signal", "send a run the signal it waits for"),
            ("approve", "say yes to a run that waits for a person"),
            ("reject", "say no to a run that waits for a person"),
            ("pause", "stop runs before their next step"),
            ("unpause", "continue a paused run"),
            ("cancel", "stop runs"),
            ("skip", "mark a step as skipped"),
            ("set", "set variables of a run, or results of its steps"),
            ("delete", "delete runs by their ids"),
            ("prune", "delete old finished runs"),
        ),
    ),
    (
        "Maintain stores",
        (
            ("export", "write a run to a JSON document"),
            ("import", "import a run from such a document"),
            ("db", "check a store, back it up, restore it, copy its runs"),
            ("doctor", "look for what is wrong here, and say what to do about it"),
        ),
    ),
    (
        "Serve",
        (
            ("serve", "serve a store to clients in any language, over gRPC"),
            ("workflows", "list the workflows of a server, or show one"),
            ("publish", "have a server start a YAML file by its name from now on"),
            ("unpublish", "have a server forget a workflow that was published"),
            ("ping", "look whether a server answers, and who you are for it"),
            ("hosts", "list the kernels that share a store, and what they do"),
            ("drain", "have a host take no more runs, and hand over those that wait"),
            ("limits", "bound the steps of all kernels that share a store"),
            ("token", "make, list and revoke tokens for a server on TCP"),
        ),
    ),
    (
        "Other",
        (
            ("config", "show which store or server is used, and which setting says so"),
            ("completion", "print the completion script of a shell"),
            ("version", "show the versions in use"),
        ),
    ),
)

COMMANDS = {name: summary for _, commands in SECTIONS for name, summary in commands}

HIDDEN = {
    "clean": "delete runs by age, id or status",
    "lens": "list, show, delete, prune and count runs",
}
"""Commands under names that users of other tools know; they work and are not listed."""

MODULES = {"import": "import_"}
"""Commands whose name cannot be that of a module."""

ALIASES = {
    "health": "ping",
    "get": "inspect",
    "show": "inspect",
    "describe": "inspect",
    "ls": "list",
    "ps": "list",
    "follow": "watch",
}

EXIT_CODES = (
    (0, "success"),
    (1, "the run failed"),
    (2, "the command, the definition or the inputs are not valid"),
    (3, "not found: the run, the step, the file or the store"),
    (4, "a conflict: the definition does not fit, the run is active, finished or there already"),
    (5, "the store cannot be used, or the server cannot be reached"),
    (6, "the wait timed out"),
    (7, "the run is paused or waiting"),
    (8, "the run was cancelled"),
    (70, "an error inside flujoctl"),
    (130, "interrupted by Ctrl-C, SIGTERM or SIGHUP; the run is checkpointed"),
    (141, "the reader of the output has closed it"),
)

SHARED_OPTIONS = (
    ("--server ADDRESS", "the server to use, as unix:PATH or tcp://HOST:PORT (default: FLUJO_SERVER)"),
    ("--token-file FILE", "the token for a server on TCP (default: FLUJO_TOKEN, FLUJO_TOKEN_FILE)"),
    ("--tls-ca FILE", "the authority of the server, which turns TLS on (default: FLUJO_TLS_CA)"),
    ("--tls-client-cert FILE", "a certificate for a server that asks for one (default: FLUJO_TLS_CLIENT_CERT)"),
    ("--tls-client-key FILE", "the key of that certificate (default: FLUJO_TLS_CLIENT_KEY)"),
    ("--store URL", "the store to use, as sqlite:PATH or file:DIR (default: FLUJO_STORE, flujo.toml, .flujo/)"),
    ("-o, --output FORMAT", "table, wide, json, jsonl, yaml or name"),
    ("--time STYLE", "how tables show instants: relative, iso or epoch"),
    (
        "--color WHEN",
        "auto, always or never (default: as NO_COLOR, FORCE_COLOR, CLICOLOR say, or the terminal)",
    ),
    ("--no-progress", "draw nothing in place: plain lines on a terminal, as in a pipe"),
    ("--no-pager", "print at once what is longer than the screen (default: in PAGER, else in less)"),
    ("-q, --quiet", "show no progress and no notes; list prints ids only"),
    ("-v, --verbose", "show the log; -vv also shows tracebacks"),
    ("-h, --help", "show help and exit"),
)
"""Every command takes these, before or after its name."""


def overview() -> str:
    """Return what `flujoctl --help` prints."""
    lines = ["Usage: flujoctl [OPTIONS] COMMAND [ARGUMENTS]", "", "Workflows whose steps survive crashes.", ""]
    for title, commands in SECTIONS:
        lines += [f"{title}:", *(f"  {name:<12}{summary}" for name, summary in commands), ""]
    lines += ["Options, before or after the command:"]
    options = [*SHARED_OPTIONS, ("--version", "show the version and exit")]
    width = max(len(option) for option, _ in options) + 2
    lines += [*(f"  {option:<{width}}{meaning}" for option, meaning in options), ""]
    lines += ["More about a command: flujoctl help COMMAND", ""]
    return "\n".join(lines)
