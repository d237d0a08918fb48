"""The files that a definition imports, whose steps come before its own, and the one text that holds all of them.

    imports: [common.yaml, {path: "lib/all the rest.yaml"}]

A path counts from the file that names it; each file is read once, where it is first named. Of an imported file its
imports, `params` and `steps` count: what it says besides is for runs of its own. A run keeps all files in one text,

    #!flujo/imports 1
    #!file 60 "main.yaml"
    (the 60 characters of the file that was run)
    #!file 93 "common.yaml"
    (those of an imported one, under its path as it counts from the first)
    #!same "lib/../common.yaml" "common.yaml"

so that it goes on with what it was started with, on another machine too, and the digest of the text covers all of them.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from .definition_keys import IMPORT_KEYS, TOP, TOP_KEYS, TOP_KEYS_TO_COME, check_keys
from .documents import MAX_BYTES, MAX_NODES, WHOLE_FILE, Node, Position, Problems, read_document
from .reading import NodeReader, kind_of

MARK = "#!flujo/imports 1\n"
"""How a text with several files begins."""

MAX_FILES = 50
"""Files of one definition: links to folders can give a file any number of names."""

_PATH = r'("(?:[^"\\\n]|\\.)*")'
_HEAD = re.compile(rf"#!file ([0-9]{{1,7}}) {_PATH}\n")
_SAME = re.compile(rf"#!same {_PATH} {_PATH}\n")


class UnreadableError(ValueError):
    """An imported file cannot be read; the message is the end of a sentence about it."""


class Files(Protocol):
    """Where imported files are; each is named by its path as it counts from the folder of the first file, `main`."""

    def identity(self, path: str, main: str) -> str:
        """Return the same for all paths of one file; for the first file that of `main`."""
        ...

    def read(self, path: str) -> str:
        """Return the text of a file; raises UnreadableError."""
        ...


class Whole(NamedTuple):
    """A definition with all it imports: one tree, and one text."""

    root: Node | None
    text: str


def read_whole(text: str, problems: Problems, files: Files) -> Whole:
    """Return the definition in a text, or in several files that one text holds, with what it imports in it."""
    main, first = os.path.basename(problems.file), text
    if text.startswith(MARK):
        packed = _unpacked(text)
        if packed is None or not packed.texts:
            problems.add(WHOLE_FILE, "this text of several files is damaged; run the first file of them instead")
            return Whole(None, text)
        main, first = next(iter(packed.texts.items()))
        files = packed
    root = read_document(first, problems)
    if root is None or not isinstance(root.value, dict) or "imports" not in root.value:
        return Whole(root, text)
    found = len(problems.found)
    importer = _Importer(problems, files, main, first)
    root = importer.merged(root)
    if len(problems.found) > found:  # steps are missing: what names them would be told as wrong too
        return Whole(None, text)
    return Whole(root, importer.packed.text if text is first and len(importer.packed.texts) > 1 else text)


def files_in(text: str, main: str) -> dict[str, str]:
    """Return the files that the text of a definition holds, by name; a text that is one file is called `main`."""
    packed = _unpacked(text) if text.startswith(MARK) else None
    return {main: text} if packed is None else packed.texts


class FilesOnDisk:
    """The files that a file imports, by what they are and not by their names: a link leads to what it links to."""

    def __init__(self, file: Path) -> None:
        self._file = file.absolute()

    def identity(self, path: str, main: str) -> str:
        return os.path.realpath(self._file if path == main else self._place(path))

    def read(self, path: str) -> str:
        place = self._place(path)
        try:
            if not stat.S_ISREG(os.stat(place).st_mode):
                raise UnreadableError("is not a file")
            with open(place, "rb") as file:
                return file.read(MAX_BYTES + 1).decode("utf-8-sig")
        except FileNotFoundError:
            if "://" in path or ":/" in path:
                raise UnreadableError("is no file: imports are files, so fetch it before, or in a step") from None
            if path.split("/")[0].startswith("~"):
                raise UnreadableError("does not exist: `~` stands for no folder here; write the path out") from None
            raise UnreadableError(f"does not exist; it was looked for as {place}") from None
        except OSError as error:
            raise UnreadableError(f"cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UnreadableError("is not UTF-8 text") from error

    def _place(self, path: str) -> str:
        return os.path.join(self._file.parent, path)


class NoFiles:
    """What a text can import that was not in a file: nothing."""

    def identity(self, path: str, main: str) -> str:
        return path

    def read(self, path: str) -> str:
        raise UnreadableError(
            "cannot be found: this text came without the files it imports; run it from its file, which takes them along"
        )


NO_FILES = NoFiles()


class _Packed(NamedTuple):
    """Several files as one text holds them: each under the path by which it was first named, and its other paths."""

    texts: dict[str, str]
    others: dict[str, str]

    def identity(self, path: str, main: str) -> str:
        return self.others.get(path, path)

    def read(self, path: str) -> str:
        if path not in self.texts:
            raise UnreadableError("is not among the files of this text")
        return self.texts[path]

    @property
    def text(self) -> str:
        """Return the text that holds all of them, the first one first."""
        files = [f"#!file {len(text)} {json.dumps(path)}\n{text}\n" for path, text in self.texts.items()]
        same = [f"#!same {json.dumps(path)} {json.dumps(other)}\n" for path, other in self.others.items()]
        return MARK + "".join([*files, *same])


class _Importer(NodeReader):
    """Reads the files that one definition imports; `packed` are those that have been read."""

    def __init__(self, problems: Problems, files: Files, main: str, text: str) -> None:
        super().__init__(problems)
        self.packed = _Packed({main: text}, {})
        self._problems = problems
        self._files = files
        self._main = main
        self._paths_by_identity = {files.identity(main, main): main}
        self._nodes = 0

    def merged(self, root: Node) -> Node:
        """Return the definition with the steps and parameters of what it imports before its own."""
        self._nodes = root.size
        parts = [*self._imported(root, [self._main]), root]
        top = {key: node for key, node in root.value.items() if key != "imports"}
        keys = {key: at for key, at in root.keys.items() if key != "imports"}
        for key, merge in (("params", _all_entries), ("steps", _all_items)):
            given = [part.value[key] for part in parts if key in part.value]
            if key == "steps":
                given = [self._listed_steps(node) for node in given]
            if self._are_like(key, given) and any(part is not root and key in part.value for part in parts):
                top[key] = merge(given)
                keys.setdefault(key, root.at)
        return root._replace(value=top, keys=keys)

    def _are_like(self, key: str, nodes: list[Node]) -> bool:
        """True if all that is merged is of the kind it has to be; what is not is noted."""
        kind, called = (dict, "mapping") if key == "params" else (list, "list of steps, or a mapping of their names")
        wrong = [node for node in nodes if node.value is not None and not isinstance(node.value, kind)]
        for node in wrong:
            self._add(node.at, f"`{key}` must be a {called}, not {kind_of(node)}")
        return not wrong

    def _imported(self, root: Node, way: list[str]) -> Iterator[Node]:
        """Yield the files that a file imports, each after those that it imports itself."""
        for path, at in self._paths(root.value.get("imports")):
            written = os.path.normpath(os.path.join(os.path.dirname(way[-1]), path))
            name = self._paths_by_identity.setdefault(self._files.identity(written, self._main), written)
            if name != written:
                self.packed.others[written] = name
            if name in way:
                ring = " → ".join([*way[way.index(name) :], name])
                self._add(at, f"these files import each other: {ring}")
            elif name not in self.packed.texts and (node := self._read(path, name, at)) is not None:
                yield from self._imported(node, [*way, name])
                yield node

    def _paths(self, node: Node | None) -> Iterator[tuple[str, Position]]:
        if node is None or node.value is None:
            return
        for each in node.value if isinstance(node.value, list) else [node]:
            item = each
            if isinstance(each.value, dict):
                check_keys(each, self._problems, "an import", IMPORT_KEYS)
                if "path" not in each.value:
                    self._add(each.at, "an import needs `path`")
                    continue
                item = each.value["path"]
            if not isinstance(item.value, str) or not item.value.strip() or not item.value.isprintable():
                self._add(item.at, f"an import is the path of a file, as in [common.yaml], not {kind_of(item)}")
            else:
                yield item.value, item.at

    def _read(self, path: str, name: str, at: Position) -> Node | None:
        if len(self.packed.texts) >= MAX_FILES:
            self._add(at, f"a definition has at most {MAX_FILES} files, with all it imports")
            return None
        try:
            self.packed.texts[name] = text = self._files.read(name)
        except UnreadableError as error:
            self._add(at, f"the imported file `{path}` {error}")
            return None
        if len(self.packed.text.encode(errors="replace")) > MAX_BYTES:
            del self.packed.texts[name]
            self._add(at, f"the file and what it imports are larger than {MAX_BYTES // 1024} KiB")
            return None
        shown = os.path.join(os.path.dirname(self._problems.file), name)
        node = read_document(text, self._problems, shown)
        if node is None:
            return None
        self._nodes += node.size
        if self._nodes > MAX_NODES:
            self._add(at, f"the file and what it imports have more than {MAX_NODES} nodes")
        elif not isinstance(node.value, dict):
            self._add(node.at, f"an imported file is a mapping with `steps`, not {kind_of(node)}")
        else:
            check_keys(node, self._problems, TOP, TOP_KEYS, TOP_KEYS_TO_COME)
            return node
        return None


def _all_entries(mappings: list[Node]) -> Node:
    """Return one mapping of the entries of all, each of the last one that has it."""
    value: dict[str, Node] = {}
    keys: dict[str, Position] = {}
    for each in mappings:
        value |= each.value or {}
        keys |= each.keys
    return Node(value, mappings[-1].at, keys=keys)


def _all_items(lists: list[Node]) -> Node:
    return Node([item for each in lists for item in each.value or ()], lists[-1].at)


def _unpacked(text: str) -> _Packed | None:
    """Return the files that a text holds; None if it is damaged."""
    packed = _Packed({}, {})
    place = len(MARK)
    try:
        while place < len(text):
            if (same := _SAME.match(text, place)) is not None:
                packed.others[json.loads(same[1])] = json.loads(same[2])
                place = same.end()
                continue
            head = _HEAD.match(text, place)
            if head is None:
                return None
            end = head.end() + int(head[1])
            if text[end : end + 1] != "\n":
                return None
            packed.texts[json.loads(head[2])] = text[head.end() : end]
            place = end + 1
    except ValueError:  # of a path that is not JSON
        return None
    return packed
