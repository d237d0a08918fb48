"""The examples in the help of each command. They are about one small world, which tests/cli/test_examples.py makes:

`report.yaml` is a workflow with the steps fetch and shrink; its run report-1 has completed, and report-2 has failed in
shrink. `approval.yaml` waits for the signal approve; its run approval-1 waits, and approval-2 is paused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "run": (
        "flujoctl run report.yaml day=2026-11-22 --label team=a",
        "flujoctl run report.yaml --id report-7 -o json  # the run as JSON; events go to stderr",
        "flujoctl run report.yaml --timeout 30m  # it fails when it takes longer; a resume has as much again",
        "flujoctl run report.yaml --dry-run  # shows what would run, and with which inputs",
        "flujoctl run --resume report.yaml  # goes on with its unfinished run",
    ),
    "resume": (
        "flujoctl resume report-2",
        "flujoctl resume report-2 --from-step fetch day=2026-11-23",
        "flujoctl resume --status failed --workflow report --dry-run  # without it: all of them at once",
    ),
    "retry": (
        "flujoctl retry report-2",
        "flujoctl retry --status failed --since 2h --yes",
    ),
    "fork": (
        "flujoctl fork report-2 --id report-2b",
        "flujoctl fork report-1 --from-step shrink",
    ),
    "validate": (
        "flujoctl validate report.yaml approval.yaml",
        "flujoctl validate report.yaml -o json",
        "flujoctl validate report.yaml -o github  # annotations, in a workflow of GitHub Actions",
    ),
    "tasks": (
        "flujoctl tasks",
        "flujoctl tasks http.request  # its inputs and its result",
    ),
    "schema": (
        "flujoctl schema > flujo.schema.json",
        "flujoctl schema --answers  # what commands print with -o json",
    ),
    "init": (
        "flujoctl init --list",
        "flujoctl init new-folder --example approval",
    ),
    "list": (
        "flujoctl list --status failed --since 2d",
        "flujoctl list --workflow report --label team=a -o wide",
        "flujoctl list -q --status waiting  # only ids, for scripts",
        "flujoctl list --status failed --count",
        "flujoctl list --color always | head -20  # less -R shows them too",
    ),
    "inspect": (
        "flujoctl inspect @last",
        "flujoctl inspect report-2 --step shrink  # its output and its error in full",
        "flujoctl inspect report-1 -o json",
        "flujoctl inspect report-2 --at 3  # as it stood after its third event",
        "flujoctl inspect report-1 --definition  # the text that it goes by",
    ),
    "watch": (
        "flujoctl watch report-1",
        "flujoctl watch approval-1 --no-wait -o jsonl",
    ),
    "explain": (
        "flujoctl explain report-2",
        "flujoctl explain approval-1 -o json",
    ),
    "logs": (
        "flujoctl logs report-1",
        "flujoctl logs report-2 --step shrink",
        "flujoctl logs report-1 -t --time iso  # with the instant of each line",
        "flujoctl logs report-1 --since 10m",
    ),
    "events": (
        "flujoctl events report-1 --time iso",
        "flujoctl events report-1 --after 3 -o jsonl",
    ),
    "wait": (
        "flujoctl wait report-1",
        "flujoctl wait report-1 --timeout 10m -q",
        "flujoctl wait report-1 report-2 --for any  # until the first of them has ended",
    ),
    "graph": (
        "flujoctl graph report.yaml",
        "flujoctl graph report-2 --format mermaid",
    ),
    "trace": (
        "flujoctl trace report-1",
        "flujoctl trace report-1 --format chrome > trace.json",
    ),
    "diff": (
        "flujoctl diff report-2",
        "flujoctl diff report-2 report.yaml -o json",
        "flujoctl diff report-1 report-2  # two runs: inputs, definitions, and what became of each step",
    ),
    "top": ("flujoctl top --workflow report | head -20",),
    "stats": (
        "flujoctl stats --window 7d",
        "flujoctl stats --workflow report -o json",
    ),
    "signal": (
        "flujoctl signal approval-1 approve",
        'flujoctl signal approval-1 approve \'{"by": "Ada"}\' --strict --resume',
        "flujoctl signal approve --workflow approval --dry-run  # without it: to all of them",
    ),
    "approve": (
        "flujoctl approve approval-1 --resume",
        "flujoctl approve approval-1 approve --by Ada --comment 'looks good'",
    ),
    "reject": ("flujoctl reject approval-1 --comment 'not on a Friday'",),
    "pause": (
        "flujoctl pause approval-1 --reason 'maintenance tonight'",
        "flujoctl pause --workflow approval --yes",
    ),
    "unpause": (
        "flujoctl unpause approval-2 --no-wait",
        "flujoctl unpause --status paused --dry-run",
    ),
    "cancel": (
        "flujoctl cancel approval-1 --reason 'not needed any more'",
        "flujoctl cancel --workflow approval --yes",
    ),
    "skip": (
        "flujoctl skip report-2 shrink --reason 'known to be broken' --resume",
        "flujoctl skip shrink --workflow report --status failed --yes",
    ),
    "set": (
        "flujoctl set approval-1 limit:=20 who=Ada",
        "flujoctl set report-2 --result 'shrink={\"rows\": 0}'",
    ),
    "delete": (
        "flujoctl delete report-1 report-2",
        "flujoctl delete --workflow report --status failed --yes",
    ),
    "prune": (
        "flujoctl prune --older-than 30d --dry-run",
        "flujoctl prune --older-than 90d --status completed --keep-last 10 --yes",
    ),
    "export": (
        "flujoctl export report-1 --to report-1.json",
        "flujoctl export report-1 | gzip > report-1.json.gz",
    ),
    "import": ("flujoctl import exported.json",),
    "doctor": (
        "flujoctl doctor",
        "flujoctl doctor -o json",
    ),
    "serve": (
        "flujoctl serve report.yaml --max-steps 8",
        "flujoctl serve --listen unix:runs.sock --retention completed=30d,failed=90d",
    ),
    "workflows": (
        "flujoctl workflows --server unix:.flujo/server.sock",
        "flujoctl workflows report  # its definition",
    ),
    "publish": ("flujoctl publish report.yaml --server unix:.flujo/server.sock",),
    "unpublish": ("flujoctl unpublish report --server unix:.flujo/server.sock",),
    "ping": ("flujoctl ping --server unix:.flujo/server.sock",),
    "hosts": ("flujoctl hosts --store postgresql://flujo@db.example.org/flujo",),
    "drain": ("flujoctl drain worker-1 --wait --store postgresql://flujo@db.example.org/flujo",),
    "limits list": ("flujoctl limits list -o json --store postgresql://flujo@db.example.org/flujo",),
    "limits set": (
        "flujoctl limits set db 3 --store postgresql://flujo@db.example.org/flujo",
        "flujoctl limits set task:shell 10 --store postgresql://flujo@db.example.org/flujo",
    ),
    "limits unset": ("flujoctl limits unset db --store postgresql://flujo@db.example.org/flujo",),
    "completion": (
        "flujoctl completion bash > ~/.local/share/bash-completion/completions/flujoctl",
        "flujoctl completion zsh > ~/.zfunc/_flujoctl",
        "flujoctl completion fish > ~/.config/fish/completions/flujoctl.fish",
    ),
    "config": ("flujoctl config", "flujoctl config -o json"),
    "version": ("flujoctl version -o json",),
    "db check": ("flujoctl db check", "flujoctl db check -o json"),
    "db info": ("flujoctl db info",),
    "db backup": ("flujoctl db backup monday.db",),
    "db restore": ("flujoctl db restore backup.db --store sqlite:new.db",),
    "db copy": ("flujoctl db copy sqlite:.flujo/state.db file:archive",),
    "db migrate": ("flujoctl db migrate",),
    "token create": ("flujoctl token create ada --role operator",),
    "token list": ("flujoctl token list",),
    "token revoke": ("flujoctl token revoke bob",),
    "clean": (
        "flujoctl clean --older-than 30d",
        "flujoctl clean --workflow-id report-1",
        "flujoctl clean --status completed",
    ),
    "lens prune": (
        "flujoctl lens prune --days-old 30",
        "flujoctl lens prune --days-old 90 --status completed --yes",
    ),
}


def examples_of(path: str) -> Sequence[str]:
    """Return the examples of a command, named as it is typed behind `flujoctl`."""
    return EXAMPLES.get(path, ())
