"""Where the templates of a definition stand, for a failure in the middle of a run.

    TemplatePlaces(text, file).told(error, step)      the error, with the line and the column of what it is about

Templates carry no places while a run goes on. They are looked for in the text of the definition, which a run keeps,
once one of them has failed.
"""

from __future__ import annotations

from collections.abc import Iterator

from flujo.kernel.programs import Agenda, Loop

from .documents import Node, Problems, read_document
from .importing import files_in
from .places import place_in
from .templates import TemplateError


class TemplatePlaces:
    """The places of the templates of one definition. `file` is the name of the file it is from, empty without one."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file

    def told(self, error: TemplateError, step: str | None = None) -> TemplateError:
        """Return an error of a template of a step, a repeat (`a#2`) or an item (`a[1]`) of one, or of none (outputs,
        variables), as one that says where it is."""
        step = None if step is None else step.partition("[")[0].partition("#")[0]
        at = self._place(step, error.source, error.place) if error.source else None
        return error if at is None else type(error)(f"{at}: {error.message}", error.source, error.place)

    def loop(self, step: str, loop: Loop) -> Loop:
        """Return a loop that says where its list stands, when that cannot be rendered."""

        async def read() -> Agenda:
            try:
                return await loop.read()
            except TemplateError as error:
                raise self.told(error, step) from error

        return loop._replace(read=read)

    def _place(self, step: str | None, template: str, place: int) -> str | None:
        for name, text in files_in(self._text, self._file).items():
            root = read_document(text, Problems(name))
            for part in _parts(root, step) if root is not None and isinstance(root.value, dict) else ():
                for node in part.scalars():
                    if node.value == template:
                        at = place_in(text, node.at, template, place)
                        return f"{name}:{at.line}:{at.column}" if name else f"line {at.line}, column {at.column}"
        return None


def _parts(root: Node, step: str | None) -> Iterator[Node]:
    """Yield the parts of a file in which the templates of a step may stand, its own first."""
    steps = root.value.get("steps")
    if steps is not None and isinstance(steps.value, dict):
        yield from (node for name, node in steps.value.items() if name == step)
    elif steps is not None and isinstance(steps.value, list):
        for node in steps.value:
            name = node.value.get("name") if isinstance(node.value, dict) else None
            if name is not None and name.value == step:
                yield node
    yield from (node for key, node in root.value.items() if key not in ("steps", "params"))
