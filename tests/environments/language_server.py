"""Check the JSON Schema of YAML workflows with the language server that editors use, npm's `yaml-language-server`.

    make schema-check

It is installed from npm into build/, so this is no part of the tests, which use no network. What is asked is what a
person sees in an editor: which problems are marked in good and bad files, what is offered, and what a hover says.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "build" / "language-server" / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
SCHEMA = ROOT / "build" / "flujo.schema.json"

HEAD = "name: w\nsteps:\n"

BAD: Sequence[tuple[str, str, int]] = (
    ("a key that there is not", f"{HEAD}  - {{name: a, task: noop}}\nretrys: 3\n", 3),
    ("a key of a step", f"{HEAD}  - {{name: a, task: noop, dependson: [b]}}\n", 2),
    ("an input that there is not", f"{HEAD}  - name: a\n    task: shell\n    inputs: {{comand: ls}}\n", 4),
    ("an input of the wrong type", f"{HEAD}  - name: a\n    task: sleep\n    inputs: {{seconds: [1]}}\n", 4),
    ("an enum", f"{HEAD}  - {{name: a, task: notify, inputs: {{channel: pigeon}}}}\n", 2),
    ("no steps", "name: w\n", 0),
    ("a version that is a number", f"version: 1.0\n{HEAD}  - {{name: a, task: noop}}\n", 0),
    ("what a parameter is", f"params: {{p: {{type: text}}}}\n{HEAD}  - {{name: a, task: noop}}\n", 0),
    ("a setting", f"settings: {{on_overlap: wait}}\n{HEAD}  - {{name: a, task: noop}}\n", 0),
    ("an attempt too few", f"{HEAD}  - name: a\n    task: noop\n    retry: {{max_attempts: 0}}\n", 4),
)
"""Files with one mistake each, and the line it is in, from 0 on."""

COMPLETED: Sequence[tuple[str, str, tuple[int, int], Sequence[str]]] = (
    ("keys at the top", f"{HEAD}  - {{name: a, task: noop}}\n\n", (3, 0), ("params", "outputs", "flows", "settings")),
    ("keys of a step", f"{HEAD}  - name: a\n    task: noop\n    \n", (4, 4), ("retry", "condition", "on_error")),
    ("tasks", f"{HEAD}  - name: a\n    task: \n", (3, 10), ("shell", "python_code", "http.request", "batch")),
    ("inputs of a task", f"{HEAD}  - name: a\n    task: shell\n    inputs:\n      \n", (5, 6), ("command", "ok_codes")),
    ("settings", f"settings:\n  \n{HEAD}  - {{name: a, task: noop}}\n", (1, 2), ("max_workers", "on_overlap")),
    (
        "values of a setting",
        f"settings:\n  on_overlap: \n{HEAD}  - {{name: a, task: noop}}\n",
        (1, 14),
        ("skip", "queue"),
    ),
)
"""Where what is typed next, and what must be among what is offered."""

HOVERED: Sequence[tuple[str, str, tuple[int, int], str]] = (
    ("a key of a step", f"{HEAD}  - name: a\n    task: noop\n    retry: 3\n", (4, 6), "attempt"),
    ("the inputs of a task", f"{HEAD}  - name: a\n    task: shell\n    inputs: {{command: ls}}\n", (4, 6), "template"),
    ("a task's name", f"{HEAD}  - name: a\n    task: shell\n", (3, 5), "what the step does"),
    ("a condition", f"{HEAD}  - name: a\n    task: noop\n    condition: x\n", (4, 6), "skipped unless"),
    ("a key at the top", f"{HEAD}  - {{name: a, task: noop}}\nretention: {{last: 3}}\n", (3, 3), "kept"),
)
"""What a person points at, and a word that must be in what is shown."""


SETTINGS = {"yaml": {"validate": True, "hover": True, "completion": True, "schemaStore": {"enable": False}}}


class LanguageServer:
    """A server that talks over its standard input and output, one request at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self._last = 0
        self.diagnostics: dict[str, list[dict[str, Any]]] = {}
        self.ask(
            "initialize",
            {"processId": None, "rootUri": ROOT.as_uri(), "capabilities": {"workspace": {"configuration": True}}},
        )
        self.tell("initialized", {})

    def open(self, uri: str, text: str) -> None:
        """Show a file to the server, below the line that names the schema; return when it has looked at it."""
        text = f"# yaml-language-server: $schema={SCHEMA}\n{text}"
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        while uri not in self.diagnostics:
            self._take()

    def ask(self, method: str, parameters: Any) -> Any:
        """Return the answer to a request."""
        self._last += 1
        self._send({"id": self._last, "method": method, "params": parameters})
        while (message := self._take()).get("id") != self._last or "method" in message:
            pass
        return message.get("result")

    def tell(self, method: str, parameters: Any) -> None:
        """Send what needs no answer."""
        self._send({"method": method, "params": parameters})

    def close(self) -> None:
        """End the server."""
        self.ask("shutdown", None)
        self.tell("exit", None)
        self._process.wait(10)

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _take(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise EOFError("the language server has ended")
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            self.diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:  # it asks for settings, or registers something
            items = (message.get("params") or {}).get("items", [])
            self._send({"id": message["id"], "result": [SETTINGS.get(each["section"]) for each in items]})
        return message


def main() -> int:
    """Write what is not as it should be; returns 1 if anything is."""
    server = LanguageServer()
    wrong: list[str] = []
    good = [*sorted((ROOT / "examples").glob("*.yaml")), *sorted((ROOT / "cli/flujo/cli/starters").glob("*.yaml"))]
    for path in good:
        uri = f"file:///good/{path.name}"
        server.open(uri, path.read_text(encoding="utf-8"))
        wrong += [f"{path.name}: {_told(each)}" for each in server.diagnostics[uri]]
    for number, (what, text, line) in enumerate(BAD):
        uri = f"file:///bad/{number}.yaml"
        server.open(uri, text)
        lines = [each["range"]["start"]["line"] - 1 for each in server.diagnostics[uri]]
        if lines != [line]:
            wrong.append(f"{what}: marked in lines {lines}, not in {line}: {list(map(_told, server.diagnostics[uri]))}")
    for number, (what, text, place, expected) in enumerate(COMPLETED):
        found = _at(server, f"file:///completed/{number}.yaml", text, place, "completion")
        labels = {each["label"] for each in (found["items"] if isinstance(found, dict) else found or ())}
        if missing := set(expected) - labels:
            wrong.append(f"{what}: not offered: {sorted(missing)}; offered: {sorted(labels)}")
    for number, (what, text, place, word) in enumerate(HOVERED):
        found = _at(server, f"file:///hovered/{number}.yaml", text, place, "hover")
        told = json.dumps(found, ensure_ascii=False)
        if word not in told:
            wrong.append(f"{what}: a hover says {told}, without {word!r}")
    server.close()
    well = f"{len(good)} good files, {len(BAD)} bad ones, completion and hover: all well"
    sys.stdout.write(("\n".join(wrong) or well) + "\n")
    return 1 if wrong else 0


def _at(server: LanguageServer, uri: str, text: str, place: tuple[int, int], what: str) -> Any:
    server.open(uri, text)
    position = {"line": place[0] + 1, "character": place[1]}
    return server.ask(f"textDocument/{what}", {"textDocument": {"uri": uri}, "position": position})


def _told(diagnostic: dict[str, Any]) -> str:
    return f"line {diagnostic['range']['start']['line']}: {diagnostic['message']}"


if __name__ == "__main__":
    sys.exit(main())
