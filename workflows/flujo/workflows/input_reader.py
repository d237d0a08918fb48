"""The inputs that a task is given, checked as they are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from .definition_keys import STEP_KEYS
from .documents import Node, Position, Problems
from .other_systems import INPUTS_OF_OTHER_SYSTEMS, OF_OTHER_SYSTEMS
from .registry import InText, Task
from .template_checks import TemplateChecks, has_template
from .wording import nearest, unknown

Given = Mapping[str, tuple[Position, Node]]
"""Inputs by name: where the name stands, and the value."""


class Scope(NamedTuple):
    """Whose templates they are: those of step `name`, which the steps `before` come before, in a loop with the names
    that it gives its items."""

    before: Collection[str]
    name: str
    of_loop: frozenset[str] = frozenset()

    @property
    def mentions(self) -> str:
        """Return the name under which what they mention is noted."""
        return f"{self.name}[]" if self.of_loop else self.name


class InputReader:
    """Reads the inputs of the tasks of one definition."""

    def __init__(self, problems: Problems, templates: TemplateChecks) -> None:
        self._add = problems.add
        self._templates = templates

    def read(self, task: Task | None, at: Position, given: Given, scope: Scope) -> dict[str, Any]:
        """Return inputs of a task, which is named at `at`, as plain values; None for one that there is not."""
        for _, value in given.values():
            self._templates.check(value, scope.before, scope.name, scope.of_loop)
        plain = {each: value.plain() for each, (_, value) in given.items()}
        if task is not None:
            self._check(task, at, given)
            if task.mentions is not None:
                self._templates.mention(scope.mentions, task.mentions(plain))
        return plain

    def _check(self, task: Task, at: Position, given: Given) -> None:
        written = {each: value.plain() for each, (_, value) in given.items() if not has_template(value)}
        wrong: set[str] = set()
        meant: set[str] = set()  # what is written under another word is not missing besides
        for each, (position, value) in given.items():
            parameter = task.input(each)
            words = INPUTS_OF_OTHER_SYSTEMS.get(task.name, {})
            if parameter is None and not task.takes_any_input and each in STEP_KEYS and each not in words:
                self._add(
                    position, f"`{each}` belongs to the step, beside `inputs`, and not among the inputs of a task"
                )
            elif parameter is None and not task.takes_any_input:
                self._add(position, _unknown_input(task, each))
                meant.add(_meant_input(task, each) or each)
            elif parameter is not None and each in written:
                for problem in parameter.problems(written[each]):
                    wrong.add(each)
                    self._add(value.at, f"`{each}` {problem}")
        for problem in task.missing([*given, *(meant - given.keys())]):
            self._add(at, f"task `{task.name}` {problem}")
        if task.check is not None:
            known = (key for key in written if task.takes_any_input or task.input(key) is not None)
            taken = (key for key in known if key not in wrong)
            spelled = {task.spellings.get(key, key): key for key in taken}
            for each, found in task.check({meant: written[key] for meant, key in spelled.items()}).items():
                if each not in spelled:  # it is missing, unless a template gives it
                    if each not in {task.spellings.get(key, key) for key in given}:
                        self._add(at, f"task `{task.name}`: `{each}` {found}")
                    continue
                node = given[spelled[each]][1]
                told = found if isinstance(found, InText) else InText(found, 0)
                self._add(self._templates.place(node, told.place), f"`{spelled[each]}` {told.problem}")


def _hint(task: Task, name: str) -> str | None:
    """Return what to write for an input of a task that it is called otherwise in other systems."""
    if (hint := INPUTS_OF_OTHER_SYSTEMS.get(task.name, {}).get(name)) is not None:
        return hint
    hint = OF_OTHER_SYSTEMS.get(name, "")
    key = _KEY.match(hint)
    return f"{hint} beside `task`" if key is not None and key[1] in STEP_KEYS and key[1] not in _ITSELF else None


def _unknown_input(task: Task, name: str) -> str:
    if (hint := _hint(task, name)) is not None:
        return f"task `{task.name}` has no input `{name}`; write {hint}"
    return unknown(f"input of task `{task.name}`", name, [known.name for known in task.inputs])


def _meant_input(task: Task, name: str) -> str | None:
    """Return the input that another word stands for; None if that is not clear."""
    known = [each.name for each in task.inputs]
    if (hint := _hint(task, name)) is None:
        return nearest(name, known)
    key = _KEY.match(hint)
    return key[1] if key is not None and key[1] in known else None


_KEY = re.compile(r"`(\w+)[`:]")
_ITSELF = ("name", "task", "inputs", "env", "outputs")
"""Keys of a step that an input is no other word for."""
