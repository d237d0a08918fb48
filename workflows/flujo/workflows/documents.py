"""A YAML text as a tree of nodes that know where they stand, read strictly.

The tree is built from the parser's events, so that a document is measured while it is read: depth, number of nodes
(an alias counts as much as what it repeats) and size have limits, and an alias can only repeat what is complete. Plain
scalars follow YAML 1.2: `no`, `on`, `1:30`, `0123` and dates are texts. Duplicate keys, keys that are not text, merge
keys, tags and numbers without a JSON form are refused. Everything that is wrong is collected in `Problems`; a text that
cannot be parsed at all is one problem.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import yaml

from flujo.kernel.errors import DefinitionError, Problem

from .wording import named

MAX_QUOTED = 100
"""Characters of a template that a message repeats."""

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Position(NamedTuple):
    """Counted from 1; `file` is empty in the file that the problems are about, and the name of an imported one."""

    line: int
    column: int
    file: str = ""

    @property
    def place(self) -> str:
        """Return where that is, for an error message that tells of another place."""
        return f"{self.file}:{self.line}" if self.file else f"line {self.line}"


WHOLE_FILE = Position(1, 1)


class Node(NamedTuple):
    """A scalar, a list of nodes, or a mapping of texts to nodes.

    `source` is a scalar as it was written, `keys` says where the keys of a mapping stand, `size` counts all nodes.
    """

    value: Any
    at: Position
    source: str = ""
    keys: Mapping[str, Position] = {}
    size: int = 1

    def plain(self) -> Any:
        """Return the value as plain JSON types."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def scalars(self) -> Iterator[Node]:
        """Yield each scalar at or below this node."""
        if isinstance(self.value, dict):
            for node in self.value.values():
                yield from node.scalars()
        elif isinstance(self.value, list):
            for node in self.value:
                yield from node.scalars()
        else:
            yield self


MAX_PROBLEMS = 200


class TooManyProblems(Exception):
    """Ends the reading of a definition that has more problems than anybody reads at once."""


class Problems:
    """What is wrong with one file, collected so that all of it can be told at once, up to MAX_PROBLEMS: each of them
    takes time to be told well. The next one raises TooManyProblems.

    `texts` are those that were read, by `Position.file`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.texts: dict[str, str] = {}
        self._found: list[Problem] = []

    def add(self, at: Position, message: str) -> None:
        if len(self._found) >= MAX_PROBLEMS:
            raise TooManyProblems
        self._found.append(self.at(at, message))

    def at(self, at: Position, message: str) -> Problem:
        """Return a problem at a place in the file, or in one that it imports."""
        return Problem(at.file or self.file, at.line, at.column, message)

    @property
    def found(self) -> list[Problem]:
        """Return the problems so far, in the order in which they were found."""
        return list(self._found)

    def raise_if_any(self) -> None:
        """Raise DefinitionError with every problem, in file order, those of imported files last."""
        if not self._found:
            return
        found = sorted(dict.fromkeys(self._found), key=self._order)
        if len(self._found) >= MAX_PROBLEMS:
            found.append(found[-1]._replace(message=f"there are more than {MAX_PROBLEMS} problems; mend these first"))
        raise DefinitionError(found)

    def _order(self, problem: Problem) -> tuple[bool, str, int, int]:
        return problem.file != self.file, problem.file, problem.line, problem.column


class _Stop(Exception):
    """Ends the reading of a text that cannot be read further; the problem is noted."""


def read_document(text: str, problems: Problems, file: str = "") -> Node | None:
    """Return the root of the one document in `text`; None if there is none that can be read. `file` is the name of an
    imported one."""
    whole = Position(1, 1, file)
    problems.texts[file] = text
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        problems.add(whole, "the text holds half a character (an unpaired surrogate)")
        return None
    if size > MAX_BYTES:
        problems.add(whole, f"the file is larger than {MAX_BYTES // 1024} KiB")
        return None
    try:
        return _Builder(yaml.parse(text, Loader=_Loader), problems, file).document()
    except (_Stop, TooManyProblems):
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Position(mark.line + 1, mark.column + 1, file) if mark else whole
        problems.add(at, f"this is not YAML: {error.problem or error.context}{_way_out(text, error)}")
        return None
    except yaml.YAMLError as error:  # a character YAML does not allow; the reader knows no line
        problems.add(_first_unprintable(text)._replace(file=file), f"this is not YAML: {str(error).splitlines()[0]}")
        return None


def _way_out(text: str, error: yaml.MarkedYAMLError) -> str:
    """Return what to do about a mistake that is often made in shell commands, and about tabs."""
    problem, mark, lines = str(error.problem), error.problem_mark, text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return "; indent with spaces, this line begins with a tab"
    if "mapping values are not allowed" in problem:
        return "; quote the text that holds `: `, or write it below a `|`"
    if "unknown escape" in problem:
        return "; in double quotes a backslash is written twice, and stands for itself in single quotes or below a `|`"
    if "alphabetic or numeric" in problem:
        return "; quote the text, since `*` and `&` at its beginning mean something else in YAML"
    if re.search(_SECOND_TEXT, line[:2000]):
        return "; a text in quotes ends with its second quote: write the inner one twice, as 'it''s', or use other ones"
    if "expected ',' or" in problem:
        return "; close each `{` and `[`, and quote a text inside of them that holds `,`, `: ` or quotes"
    if "could not find expected ':'" in problem and re.search(
        _BLOCK, "\n".join(lines[max(0, mark.line - 4) : mark.line] if mark else [])
    ):
        return "; the text below a `|` is indented more than its key"
    if problem.startswith("found character") or "found unexpected" in problem or "expected <block end>" in problem:
        return "; quote the text if it is one"
    return ""


_SECOND_TEXT = r":\s+('[^']*'|\"[^\"]*\")\s*[^\s#,}\]]"
"""A value in quotes, and something behind it."""

_BLOCK = r"[:-] *[|>][-+0-9]*\n *[^ \n][^\n]*\n*\Z"
"""A `|` at the end of a line, and one line below it."""


def _first_unprintable(text: str) -> Position:
    """Return where the first character stands that YAML does not allow."""
    found = _UNPRINTABLE.search(text)
    before = text[: found.start()] if found else ""
    return Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Builder:
    def __init__(self, events: Iterator[yaml.Event], problems: Problems, file: str) -> None:
        self._events = events
        self._file = file
        self._problems = problems
        self._anchored: dict[str, Node] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    self._stop(event, "a file holds one document, this is the second one")
                root = self._node(next(self._events), 0)
        if root is None:
            self._problems.add(Position(1, 1, self._file), "the file is empty")
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        at = self._position(event)
        if depth > MAX_DEPTH:
            self._stop(event, f"this nests deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event, at)
        self._count(event, 1)
        assert isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent))
        if event.tag not in (None, "!"):
            self._problems.add(at, f"the tag `{event.tag}` is not supported; leave it out")
        if isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(at, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(at, depth)
        else:
            node = self._scalar(event, at)
        if event.anchor is not None:
            self._anchored[event.anchor] = node
        return node

    def _repeated(self, alias: yaml.AliasEvent, at: Position) -> Node:
        node = self._anchored.get(str(alias.anchor))
        if node is None:
            spread = f"\"{{{{ ['…', *{alias.anchor}] }}}}\" puts the items of a list among others"
            self._stop(alias, f"there is no complete `&{alias.anchor}` before this alias; {spread}")
        self._count(alias, node.size)
        return node._replace(at=at)

    def _sequence(self, at: Position, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node(items, at, size=1 + sum(item.size for item in items))

    def _mapping(self, at: Position, depth: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            size += key.size + value.size
            if key.value == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                self._problems.add(key.at, "merge keys (`<<`) are not supported; write the keys out")
            elif not isinstance(key.value, str):
                self._problems.add(key.at, _told_of_key(key))
            elif key.value in entries:
                first = keys[key.value]
                self._problems.add(key.at, f"`{key.value}` is here twice, first in {first.place}")
            else:
                entries[key.value], keys[key.value] = value, key.at
        return Node(entries, at, keys=keys, size=size)

    def _scalar(self, event: yaml.ScalarEvent, at: Position) -> Node:
        text = event.value
        if not event.implicit[0] or event.tag == "!":  # quoted, a block, or said to be text
            return Node(text, at, text)
        try:
            return Node(_plain_scalar(text), at, text)
        except ValueError as error:
            self._problems.add(at, f"{named(text, '')} {error}; quote it if it is text")
            return Node(text, at, text)

    def _count(self, event: yaml.Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._stop(event, f"the document has more than {MAX_NODES} nodes, counting what aliases repeat")

    def _stop(self, event: yaml.Event, message: str) -> NoReturn:
        self._problems.add(self._position(event), message)
        raise _Stop

    def _position(self, event: yaml.Event) -> Position:
        assert event.start_mark is not None
        return Position(event.start_mark.line + 1, event.start_mark.column + 1, self._file)


def _plain_scalar(text: str) -> Any:
    """Return what an unquoted scalar means; raises ValueError for a number that JSON cannot hold."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
        if len(text) > 40 or abs(number := int(text, 0)) >= 2**63:
            raise ValueError("is a larger number than can be recorded")
        return number
    if _FLOAT.fullmatch(text):
        if not math.isfinite(float(text)):
            raise ValueError("is a larger number than can be recorded")
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("has no JSON form")
    return text


def _told_of_key(key: Node) -> str:
    """Return what is wrong about a key that is no text: most often it is the inner braces of a template."""
    if isinstance(key.value, dict) and len(key.value) == 1 and next(iter(key.value.values())).value is None:
        (inner,) = key.value
        written = inner if len(inner) <= MAX_QUOTED and inner.isprintable() else "…"
        return f'a template stands in quotes, or YAML takes its braces for mappings: "{{{{ {written} }}}}"'
    shown = f"{key.source or '~'}" if not isinstance(key.value, (dict, list)) else "a collection"
    return f"keys must be text, and {shown} is not; quote it"
