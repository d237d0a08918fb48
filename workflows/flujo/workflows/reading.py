"""Nodes as the values they stand for: what is wrong is noted, and a harmless value stands in for it."""

from __future__ import annotations

from flujo.kernel.durations import parse_duration
from flujo.kernel.errors import InvalidDurationError, InvalidNameError
from flujo.kernel.keys import check_workflow_name

from .documents import Node, Position, Problems
from .parameters import Parameter
from .wording import as_mapping, shown

NUMBERS = {
    **{
        name: Parameter(name=name, types=("integer",), minimum=1)
        for name in ("max_attempts", "max_parallel", "retry", "last", "max_workers", "chunk_size", "max")
    },
    "max_jumps": Parameter(name="max_jumps", types=("integer",), minimum=0),
    "backoff": Parameter(name="backoff", types=("number",), minimum=1),
    "jitter": Parameter(name="jitter", types=("number",), minimum=0, maximum=1),
}
"""What the numbers of a definition may be, by the key they stand under."""


class NodeReader:
    """Reads single values; None and nodes without a value are what was not given."""

    def __init__(self, problems: Problems) -> None:
        self._add = problems.add

    def _mapping(self, node: Node | None, what: str) -> dict[str, Node]:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            self._add(node.at, f"{what} must be a mapping, not {kind_of(node)}{as_mapping(node.plain())}")
            return {}
        return node.value

    def _text(self, node: Node | None, what: str) -> str | None:
        if node is None:
            return None
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, (dict, list)) or node.value is None:
            self._add(node.at, f"{what} must be text, not {kind_of(node)}")
        else:
            self._add(node.at, f'{what} must be text, not {kind_of(node)}; quote it: "{node.source}"')
        return None

    def _boolean(self, node: Node | None, what: str) -> bool:
        if node is None or node.value is None:
            return False
        if not isinstance(node.value, bool):
            self._add(node.at, f"{what} must be true or false, not {kind_of(node)}")
        return node.value is True

    def _number(self, node: Node | None, key: str) -> int | None:
        if node is None or node.value is None:
            return None
        for problem in NUMBERS[key].problems(node.plain()):
            self._add(node.at, f"`{key}` {problem}")
            return None
        return int(node.value)

    def _title(self, node: Node | None) -> str:
        """Read the name of a workflow, which may be any text of one line."""
        text = self._text(node, "`name`")
        if node is None or text is None:
            return "unnamed"
        try:
            return check_workflow_name(text)
        except InvalidNameError as error:
            self._add(node.at, f"{shown(text)} is not a valid workflow name: {error.rule}")
            return text

    def _listed_steps(self, node: Node) -> Node:
        """Return steps that are a mapping of their names as the list they stand for."""
        if not isinstance(node.value, dict):
            return node
        return Node([self._named(name, node.keys[name], step) for name, step in node.value.items()], node.at)

    def _named(self, name: str, at: Position, step: Node) -> Node:
        if step.value is not None and not isinstance(step.value, dict):
            return step
        entries = step.value or {}
        own = entries.get("name")
        if own is not None and own.value != name:
            self._add(own.at, f"this step is `{name}` already; leave `name` out")
        return Node({**entries, "name": Node(name, at, name)}, at, keys={**step.keys, "name": at})

    def _duration(self, node: Node | None, what: str, *, zero: bool = False) -> float | None:
        if node is None or node.value is None:
            return None
        try:
            seconds = parse_duration(node.value)
        except InvalidDurationError as error:
            self._add(node.at, f"{what}: {shown(node.plain())} is not a duration; {error.hints[0]}")
            return None
        if seconds == 0 and not zero:
            self._add(node.at, f"{what} must be longer than nothing")
            return None
        return seconds


def has_value(node: Node, key: str) -> bool:
    """True if a mapping has a value for this key."""
    return key in node.value and node.value[key].value is not None


def is_text(node: Node | None) -> bool:
    """True if a text is given."""
    return node is not None and isinstance(node.value, str)


def is_true(node: Node | None) -> bool:
    """True if the node says `true`."""
    return node is not None and node.value is True


def kind_of(node: Node) -> str:
    """Return what a node is, for an error message."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"the value {node.source}"
    if isinstance(node.value, str):
        return f"the text {shown(node.value)}"
    return f"the number {node.source}"
