"""What holds for all steps of a definition: `settings`, `defaults`, `env` and `env_files`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flujo.kernel.programs import Overlap

from .definition_keys import DEFAULTS_KEYS, ERROR_HANDLING_KEYS, check_keys
from .documents import Node, Position, Problems
from .http_rules import rules_of
from .reading import NodeReader, has_value, kind_of
from .wording import shown

WITHOUT_TIMEOUT = ("wait_signal", "sleep", "workflow")
WITHOUT_RETRY = ("wait_signal", "sleep")
"""Tasks that wait for something else: how long an attempt of work may take says nothing about them."""
WITHOUT_RESULT = (*WITHOUT_TIMEOUT, "fail")
"""Tasks without a result of their own that `outputs` and `repeat` could look at."""

RETRIED_BY = {
    "exit_codes": ("shell", "python_script", "python_module"),
    "on_status": ("http.request", "notify"),
}
"""Keys of `retry` that say something of the failures of these tasks only, besides those of tasks that flujo does not
bring along, which may raise what they like."""

_ELSEWHERE = {
    "retention": "it at the top level, as `retention: {completed: 30d, last: 100}`",
    "max_parallel": "it at the top level, or `max_workers` here",
    "env_files": "it at the top level",
    "secrets": "it at the top level",
    **{key: f"`defaults: {{{key}: …}}` at the top level" for key in ("retry", "on_error")},
}
"""What people look for in the settings, which hold any values for templates, and what it is there."""

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


class SettingsReader(NodeReader):
    """Reads what holds for all steps."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(problems)
        self._problems = problems
        self.of_all: dict[str, Node] = {}  # what `defaults` says, by key

    def settings(self, node: Node | None, top: Node) -> dict[str, Any]:
        """Return the settings; what the top level has a key for may be said in one of the two places."""
        settings = self._mapping(node, "`settings`")
        for key in settings.keys() & _ELSEWHERE.keys():
            assert node is not None
            self._add(node.keys[key], f"`{key}` does nothing in `settings`; write {_ELSEWHERE[key]}")
        self._number(settings.get("max_jumps"), "max_jumps")
        self._duration(settings.get("clean_up_timeout"), "`clean_up_timeout`")
        if has_value(top, "timeout") and settings.get("timeout") is not None:
            self._add(settings["timeout"].at, "`timeout` is given at the top level too; leave one of them out")
        if (http := settings.get("http")) is not None:
            try:
                rules_of({"http": http.plain()}, {})
            except ValueError as error:
                self._add(http.at, str(error))
        self._check_overlap(settings.get("on_overlap"))
        if (shell := settings.get("shell")) is not None and not (isinstance(shell.value, str) and shell.value.strip()):
            self._add(shell.at, f"`shell` must be a program such as bash or /bin/zsh, not {kind_of(shell)}")
        self._check_error_handling(settings.get("error_handling"))
        return {key: value.plain() for key, value in settings.items()}

    def timeout(self, top: Node) -> float | None:
        """Return how long a run may take, which the top level or the settings say."""
        settings = top.value.get("settings")
        given = settings.value if settings is not None and isinstance(settings.value, dict) else {}
        at_the_top = self._duration(top.value.get("timeout"), "`timeout`")
        return at_the_top or self._duration(given.get("timeout"), "`timeout`")

    def max_parallel(self, top: Node) -> int | None:
        """Return how many steps of a graph are at work at once, which the top level or the settings say."""
        settings = top.value.get("settings")
        given = settings.value if settings is not None and isinstance(settings.value, dict) else {}
        at_the_top = self._number(top.value.get("max_parallel"), "max_parallel")
        return at_the_top or self._number(given.get("max_workers"), "max_workers")

    def idle(self, top: Node, is_graph: bool) -> Iterator[tuple[Position, str]]:
        """Yield what the top level says and nothing in the definition heeds, with its place."""
        told = "does nothing: the steps run one after the other; say what they wait for with `depends_on`"
        settings = top.value.get("settings")
        given = settings if settings is not None and isinstance(settings.value, dict) else None
        for node, key in ((top, "max_parallel"), (given, "max_workers")):
            if not is_graph and node is not None and has_value(node, key):
                yield node.keys[key], f"`{key}` {told}"

    def env(self, node: Node | None) -> dict[str, Any]:
        """Return the variables that the commands of all steps see, as they are written."""
        variables = self._mapping(node, "`env`")
        for name, value in variables.items():
            assert node is not None
            if not re.fullmatch(_VARIABLE, name):
                self._add(node.keys[name], f"{shown(name)} is not the name of a variable: letters, digits and _")
            if value.value is None or isinstance(value.value, (dict, list)):
                self._add(value.at, f"variable `{name}` must be text, not {kind_of(value)}")
        return {name: value.plain() for name, value in variables.items()}

    def env_files(self, node: Node | None) -> tuple[str, ...]:
        """Return the paths of files with variables."""
        if node is None or node.value is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        for item in items:
            if not isinstance(item.value, str) or not item.value.strip() or not item.value.isprintable():
                self._add(item.at, f"`env_files` must be a list of paths such as [.env], not {kind_of(item)}")
        return tuple(str(item.value) for item in items)

    def with_defaults(self, steps: Sequence[Node], node: Node | None) -> list[Node]:
        """Return the steps with what `defaults` says and they do not."""
        defaults = self._mapping(node, "`defaults`")
        if node is None or not defaults:
            return list(steps)
        check_keys(node, self._problems, "`defaults`", DEFAULTS_KEYS)
        on_error = defaults.get("on_error")
        if on_error is not None and isinstance(on_error.value, dict):
            for key in ("next", "retry", "delay"):
                if key in on_error.value:
                    way = "say it at the step" if key == "next" else "write `retry` beside it"
                    self._add(on_error.keys[key], f"`{key}` is not for all steps; {way}")
        self.of_all = {key: value for key, value in defaults.items() if key in DEFAULTS_KEYS}
        return [_with(step, self.of_all, node.keys) for step in steps]

    def _check_overlap(self, node: Node | None) -> None:
        if node is not None and node.value not in (*Overlap, None):
            choices = ", ".join(Overlap)
            self._add(node.at, f"`on_overlap` must be one of {choices}, not {shown(node.plain())}")

    def _check_error_handling(self, node: Node | None) -> None:
        """Take what is so here in any case, and refuse what is not."""
        given = self._mapping(node, "`error_handling`")
        if node is None or not given:
            return
        check_keys(node, self._problems, "`error_handling`", ERROR_HANDLING_KEYS)
        undefined, show = given.get("undefined_variables"), given.get("show_available")
        if undefined is not None and undefined.value not in ("strict", "error", "fail"):
            self._add(
                undefined.at,
                f"`undefined_variables` can be strict only, not {shown(undefined.plain())}: write "
                "`NAME | default('')` where a name may be missing",
            )
        if show is not None and show.value is not True:
            self._add(show.at, "`show_available` can be true only: the message for a missing name lists what there is")


def _with(step: Node, defaults: dict[str, Node], keys: Mapping[str, Position]) -> Node:
    own = step.value
    missing = {key: value for key, value in defaults.items() if key not in own}
    on_error = own.get("on_error")
    if on_error is not None and isinstance(on_error.value, dict) and "retry" in on_error.value:
        missing.pop("retry", None)
    if "task" in own and own["task"].value in WITHOUT_TIMEOUT:
        missing.pop("timeout", None)
    if "task" in own and own["task"].value in WITHOUT_RETRY:
        missing.pop("retry", None)
    return step._replace(value={**own, **missing}, keys={**step.keys, **{key: keys[key] for key in missing}})
