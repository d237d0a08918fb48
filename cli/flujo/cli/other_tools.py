"""What people who know docker, kubectl, gh and other engines type, by what it is called here.

Nothing here is a name of ours: a word or an option that a command has is never looked up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

COMMANDS: Mapping[str, str] = {
    # look
    "status": "inspect",
    "info": "inspect",
    "view": "inspect",
    "display": "inspect",
    "result": "inspect",
    "results": "inspect",
    "query": "inspect",
    "log": "logs",
    "output": "logs",
    "history": "events",
    "journal": "events",
    "why": "explain",
    "debug": "explain",
    "tail": "watch",
    "attach": "watch",
    "jobs": "list",
    "runs": "list",
    "find": "list",
    "search": "list",
    "timeline": "trace",
    "spans": "trace",
    "dag": "graph",
    "draw": "graph",
    "tree": "graph",
    "visualize": "graph",
    "visualise": "graph",
    "plot": "graph",
    "monitor": "top",
    "dashboard": "top",
    "metrics": "stats",
    "count": "list --count",
    # act
    "stop": "cancel",
    "kill": "cancel",
    "abort": "cancel",
    "terminate": "cancel",
    "suspend": "pause",
    "rm": "delete",
    "rmi": "delete",
    "remove": "delete",
    "del": "delete",
    "cleanup": "prune",
    "purge": "prune",
    "gc": "prune",
    "start": "run",
    "exec": "run",
    "execute": "run",
    "submit": "run",
    "apply": "run",
    "create": "run",
    "trigger": "run",
    "launch": "run",
    "restart": "retry",
    "rerun": "retry",
    "resubmit": "retry",
    "continue": "resume",
    "recover": "resume",
    "replay": "resume",
    "clone": "fork",
    "copy": "fork",
    "reset": "fork",
    "send": "signal",
    "edit": "set",
    "patch": "set",
    "update": "set",
    # write
    "check": "validate",
    "lint": "validate",
    "test": "validate",
    "new": "init",
    "quickstart": "init",
    "example": "init --list",
    "examples": "init --list",
    # serve and maintain
    "server": "serve",
    "daemon": "serve",
    "agent": "serve",
    "up": "serve",
    "dev": "serve",
    "worker": "serve",
    "deploy": "publish",
    "push": "publish",
    "nodes": "hosts",
    "workers": "hosts",
    "cordon": "drain",
    "whoami": "ping",
    "cluster-info": "ping",
    "login": "token",
    "auth": "token",
    "context": "config",
    "env": "config",
    "settings": "config",
    "dump": "export",
    "save": "export",
    "load": "import",
    "backup": "db backup",
    "restore": "db restore",
    "migrate": "db migrate",
    "upgrade": "db migrate",
    "vacuum": "db",
    "autocomplete": "completion",
}
"""Words of other tools, by the command that does it here."""

NOUNS = frozenset(
    (
        *("run", "runs", "workflow", "workflows", "flow-run", "flow", "flows", "job", "jobs", "pipeline"),
        *("container", "execution", "executions", "system"),
    )
)
"""What other tools have beside a verb, as in `get runs` and `workflow list`. Commands here do without it."""


class Instead(NamedTuple):
    """What stands here for an option of other tools: other options, a command, or nothing because of something.

    `takes_value` if a word that follows belongs to the option and is left out with it."""

    words: str
    because: str = ""
    takes_value: bool = False


_FOLLOWS = Instead("", "it follows the run by itself")
_MENDS_NOTHING = Instead("", "each finding comes with the command that mends it")

OPTIONS: Mapping[str, Mapping[str, Instead]] = {
    "-A": {"list": Instead("--all")},
    "--all-namespaces": {"list": Instead("--all")},
    "--all": {name: Instead("--older-than 0", "every run that has ended") for name in ("prune", "clean")},
    "--everything": {"list": Instead("--all")},
    "-w": {
        "list": Instead("flujoctl top"),
        "inspect": Instead("flujoctl watch"),
        "explain": Instead("flujoctl watch"),
        "events": Instead("flujoctl watch"),
        "stats": Instead("flujoctl top"),
        "run": _FOLLOWS,
        "resume": _FOLLOWS,
        "logs": Instead("--follow"),
    },
    "-f": {
        "list": Instead("--status", "`list --help` has all filters"),
        "inspect": Instead("flujoctl watch"),
        "events": Instead("flujoctl watch"),
        "watch": _FOLLOWS,
        "run": Instead("", "the file stands by itself"),
        "validate": Instead("", "files stand by themselves"),
        "publish": Instead("", "the file stands by itself"),
        "serve": Instead("", "files stand by themselves"),
        "delete": Instead("--force"),
        "prune": Instead("--yes"),
        "cancel": Instead("--yes"),
        "export": Instead("", "it prints; write `> FILE` behind it", takes_value=True),
    },
    "-9": {"cancel": Instead("", "what does not end by itself is killed")},
    "-V": {"": Instead("flujoctl version")},
    "-s": {"": Instead("--status"), "logs": Instead("--step"), "retry": Instead("--step")},
    "--force": {"prune": Instead("--yes"), "cancel": Instead("--yes")},
    "--filter": {"": Instead("--status", "`list --help` has all filters")},
    "--field-selector": {"": Instead("--status")},
    "--state": {"": Instead("--status")},
    "--selector": {"": Instead("--label")},
    "--tag": {"": Instead("--label")},
    "--labels": {"": Instead("--label")},
    "--sort-by": {"list": Instead("--sort")},
    "--order": {"list": Instead("--sort")},
    "--last": {"list": Instead("--limit")},
    "-L": {"list": Instead("--limit")},
    "-n": {"list": Instead("--limit")},
    "--json": {"": Instead("-o json", takes_value=True)},
    "--yaml": {"": Instead("-o yaml")},
    "--format": {"": Instead("-o json", takes_value=True)},
    "--template": {"": Instead("-o json", takes_value=True)},
    "--jq": {"": Instead("-o json", "it can be piped into jq", takes_value=True)},
    "--no-trunc": {"": Instead("-o wide")},
    "--wide": {"": Instead("-o wide")},
    "--show-labels": {"": Instead("-o wide")},
    "--no-headers": {"": Instead("-o name")},
    "--namespace": {"": Instead("--store", "each has runs of its own")},
    "--context": {"": Instead("--server")},
    "--host": {"": Instead("--server")},
    "--address": {"": Instead("--server")},
    "-H": {"": Instead("--server")},
    "--db": {"": Instead("--store")},
    "--name": {"run": Instead("--id"), "fork": Instead("--id")},
    "--run-id": {"run": Instead("--id"), "fork": Instead("--id"), "": Instead("", "the id stands by itself")},
    "--workflow-id": {"run": Instead("--id"), "": Instead("", "the id stands by itself")},
    "--id": {"": Instead("", "the id stands by itself")},
    "-e": {"run": Instead("--param")},
    "--env": {"run": Instead("--param")},
    "--arg": {"run": Instead("--param")},
    "--set": {"run": Instead("--param")},
    "--input": {"run": Instead("--param"), "resume": Instead("--param")},
    "-i": {"run": Instead("--param")},
    "--values": {"run": Instead("--params-file")},
    "--input-file": {"run": Instead("--params-file")},
    "--background": {"run": Instead("--detach")},
    "--async": {"run": Instead("--detach")},
    "--nowait": {"": Instead("--no-wait")},
    "--watch": {
        "list": Instead("flujoctl top"),
        "inspect": Instead("flujoctl watch"),
        "explain": Instead("flujoctl watch"),
        "stats": Instead("flujoctl top"),
        "run": _FOLLOWS,
        "resume": _FOLLOWS,
        "logs": Instead("--follow"),
    },
    "--follow": {"events": Instead("flujoctl watch"), "run": _FOLLOWS, "watch": _FOLLOWS, "resume": _FOLLOWS},
    "--log": {"inspect": Instead("flujoctl logs")},
    "--log-failed": {"inspect": Instead("flujoctl logs")},
    "--since": {"events": Instead("--after")},
    "--from": {
        "retry": Instead("flujoctl resume --from-step"),
        "resume": Instead("--from-step"),
        "fork": Instead("--from-step"),
        "run": Instead("--start-from"),
    },
    "--from-step": {"retry": Instead("flujoctl resume --from-step")},
    "--step": {
        "skip": Instead("", "the step stands by itself, behind the ID"),
        "set": Instead("--result"),
        "resume": Instead("flujoctl retry --step"),
        "fork": Instead("--from-step"),
    },
    "--payload": {"signal": Instead("", "the payload stands by itself, behind the name")},
    "--data": {"signal": Instead("", "the payload stands by itself, behind the name")},
    "--signal": {"": Instead("", "the signal stands by itself, behind the ID")},
    "--fix": {"": _MENDS_NOTHING},
    "--repair": {"": _MENDS_NOTHING},
    "--time-out": {"": Instead("--timeout")},
    "--deadline": {"": Instead("--timeout")},
    "--run-timeout": {"run": Instead("--timeout")},
    "--execution-timeout": {"run": Instead("--timeout")},
    "--lines": {"logs": Instead("--tail")},
    "--container": {"logs": Instead("--step")},
    "-c": {"logs": Instead("--step")},
    "--job": {"logs": Instead("--step"), "retry": Instead("--step"), "inspect": Instead("--step")},
    "--exit-status": {"watch": Instead("", "it ends with the exit code of the run")},
    "--message": {"": Instead("--reason")},
    "-m": {"": Instead("--reason")},
    "--comment": {"": Instead("--reason")},
    "--assume-yes": {"": Instead("--yes")},
    "--no-input": {"": Instead("--yes")},
    "--older": {"": Instead("--older-than")},
    "--days-old": {"prune": Instead("--older-than", "as 30d", takes_value=True)},
    "--port": {"serve": Instead("--listen")},
    "--concurrency": {"serve": Instead("--max-steps")},
    "--workers": {"serve": Instead("--max-steps")},
    "--token": {"": Instead("--token-file")},
    "--dryrun": {"": Instead("--dry-run")},
    "--plan": {"run": Instead("--dry-run")},
    "--no-color": {"": Instead("--color never")},
    "--no-colour": {"": Instead("--color never")},
    "--colour": {"": Instead("--color")},
    "--plain": {"": Instead("--no-progress")},
    "--progress": {"": Instead("--no-progress", takes_value=True)},
}
"""Options of other tools, by the name of our command or "" for any other, and what stands for each there."""


WITHOUT_VALUE: Mapping[tuple[str, str], str] = {("list", "-l"): "-o wide"}
"""By command and option, what stands here for an option that takes a value here and none elsewhere, as in `ls -l`."""

NOT_HERE: Mapping[str, str] = {
    **dict.fromkeys(("schedule", "schedules", "cron", "timer"), "cron or a timer of systemd types `flujoctl run`"),
    **dict.fromkeys(("ui", "web", "open"), "`flujoctl top` shows all runs in the terminal"),
}
"""Words for what is not here, by what does it instead."""

VALUES: Mapping[str, str] = {"--for": "all"}
"""By option, what stands here for what other tools take there, as in `wait --for=condition=complete`."""

FILTERS: Mapping[str, str] = {
    "status": "--status",
    "state": "--status",
    "label": "--label",
    "workflow": "--workflow",
    "name": "--id-prefix",
    "id": "--id-prefix",
    "since": "--since",
    "until": "--until",
}
"""What a filter of docker, as in `--filter status=failed`, is called here."""
