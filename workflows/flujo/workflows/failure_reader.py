"""What follows a failure of a step: `retry`, and `on_error` in all its forms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from flujo.kernel.programs import NO_RETRY, RetryPolicy

from .definition_keys import ON_ERROR_KEYS, RETRY_KEYS, check_keys
from .definitions import OnError
from .documents import Node, Problems
from .failure_texts import name_of, problem_with_rules
from .reading import NUMBERS, NodeReader, has_value, is_true, kind_of
from .statuses import status_patterns
from .step_order import StepOrder, next_of
from .template_checks import TemplateChecks
from .wording import shown, unknown


class FailureReader(NodeReader):
    """Reads what a step says of its failures."""

    def __init__(self, problems: Problems, order: StepOrder, templates: TemplateChecks) -> None:
        super().__init__(problems)
        self._problems = problems
        self._order = order
        self._templates = templates

    def retry(self, node: Node | None) -> RetryPolicy:
        """Return the policy that `retry` stands for."""
        if node is None or node.value is None:
            return NO_RETRY
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            if node.value < 0:
                self._add(node.at, "`retry` must not be negative")
            return RetryPolicy(max_attempts=max(node.value, 0) + 1)
        if not isinstance(node.value, dict):
            self._add(node.at, f"`retry` must be a number of further attempts or a mapping, not {kind_of(node)}")
            return NO_RETRY
        check_keys(node, self._problems, "`retry`", RETRY_KEYS)
        chosen: dict[str, Any] = {}
        for key, value in node.value.items():
            if key in RETRY_KEYS and (read := self._read_retry_key(key, value)) is not None:
                chosen[key] = read
        if "delay" in chosen and "max_delay" in chosen and chosen["max_delay"] < chosen["delay"]:
            self._add(node.value["max_delay"].at, "`max_delay` is below `delay`; leave it out, or make it longer")
            del chosen["max_delay"]
        if "delay" in chosen and "max_elapsed" in chosen and chosen["max_elapsed"] < chosen["delay"]:
            told = "`max_elapsed` is below `delay`, so nothing would be tried again; make it longer"
            self._add(node.value["max_elapsed"].at, told)
        return RetryPolicy(**_by_names(chosen))

    def on_error(self, step: Node, before: Collection[str], name: str) -> tuple[OnError, RetryPolicy | None]:
        """Return what `on_error` of a step says, and the policy of `action: retry` if it is one."""
        node = step.value.get("on_error")
        if node is None or node.value is None or node.value == "fail":
            return OnError(), None
        if node.value == "continue":
            return OnError(goes_on=True), None
        if not isinstance(node.value, dict):
            self._add(
                node.at,
                "`on_error` must be fail, continue or a mapping such as {action: retry, retry: 3}, "
                f"not {shown(node.plain())}",
            )
            return OnError(), None
        check_keys(node, self._problems, "`on_error`", ON_ERROR_KEYS)
        action = node.value.get("action")
        if action is not None and action.value not in ("fail", "continue", "retry"):
            self._add(action.at, f"`action` must be fail, continue or retry, not {shown(action.plain())}")
        word = None if action is None else action.value
        following = self._read_next(step, name, word)
        message = self._text(node.value.get("message"), "`message`")
        if message is not None:
            self._templates.check(node.value["message"], before, name, binds=False)
        goes_on = word == "continue" or following is not None
        fails = self._read_then(node.value.get("then"), goes_on=goes_on)
        on_error = OnError(goes_on=goes_on, next=following, message=message, fails_at_the_end=fails)
        return on_error, self._read_further_attempts(step, word)

    def _read_retry_key(self, key: str, node: Node) -> Any:
        if key in ("delay", "max_delay", "max_elapsed"):
            return self._duration(node, f"`{key}`", zero=True)
        if key in ("on_error", "give_up_on"):
            names = [node] if isinstance(node.value, str) else node.value
            if isinstance(names, list) and all(isinstance(each.value, str) for each in names):
                return tuple(each.value for each in names)
            self._add(node.at, f"`{key}` must be a list of error names such as [ConnectionError]")
            return None
        if key == "on_status":
            try:
                return status_patterns(node.plain())
            except ValueError as error:
                self._add(node.at, f"`on_status` {error}")
                return None
        if key == "exit_codes":
            return self._read_exit_codes(node)
        if key in ("on_text", "give_up_on_text"):
            return self._read_texts(key, node)
        for problem in NUMBERS[key].problems(node.plain()):
            self._add(node.at, f"`{key}` {problem}")
            return None
        return node.value

    def _read_exit_codes(self, node: Node) -> tuple[int, ...] | None:
        given = node.plain()
        codes = given if isinstance(given, list) else [given]
        if all(isinstance(code, int) and not isinstance(code, bool) and -64 <= code <= 255 and code for code in codes):
            return tuple(codes)
        self._add(
            node.at,
            "`exit_codes` must be a list of codes other than 0 with which a command ends, such as [75, 111]; "
            f"-9 is the end by signal 9; not {shown(given)}",
        )
        return None

    def _read_texts(self, key: str, node: Node) -> tuple[str, ...] | None:
        rules = node.value if isinstance(node.value, list) and node.value else [node]
        for each in rules:
            if not isinstance(each.value, str) or not each.value:
                told = "must be what the failure says, a regular expression such as 'connection (reset|refused)'"
                self._add(each.at, f"`{key}` {told}, or a list of them; not {shown(each.plain())}")
                return None
        texts = tuple(each.value for each in rules)
        if problem := problem_with_rules(texts):
            self._add(node.at, f"`{key}` {problem}")
            return None
        return texts

    def _read_then(self, node: Node | None, *, goes_on: bool) -> bool:
        """Return whether the run fails in the end although it goes on after the failure."""
        if node is None or node.value is None:
            return False
        if node.value != "fail":
            self._add(node.at, f"`then` says what follows in the end, and can be fail only, not {shown(node.plain())}")
        elif not goes_on:
            self._add(
                node.at, "`then: fail` goes with `action: continue` or `next`; without them the run fails at once"
            )
        return True

    def _read_next(self, step: Node, name: str, action: Any) -> str | None:
        node = next_of(step)
        if node is None:
            return None
        at = step.value["on_error"].keys["next"]
        following = self._text(node, "`next`")
        if following is None:
            return None
        if following not in self._order.steps:
            self._add(node.at, unknown("step", following, self._order.steps))
        elif self._order.graph is not None and following == name:
            self._add(node.at, f"step `{name}` cannot handle its own failure")
        elif self._order.graph is not None and following in self._order.clean_ups:
            self._add(node.at, f"step `{following}` always runs, so it cannot be for this failure only")
        if action == "fail":
            self._add(at, "`next` goes on after the failure and `action: fail` does not; leave one of them out")
        if is_true(step.value.get("always_run")):
            self._add(at, "`next` does not go with `always_run`: when a clean-up fails, the run may be over")
        return following

    def _read_further_attempts(self, step: Node, action: Any) -> RetryPolicy | None:
        """Return the policy that `action: retry` stands for."""
        node = step.value["on_error"]
        if action != "retry":
            for key in ("retry", "delay"):
                if key in node.value:
                    self._add(node.keys[key], f"`{key}` in `on_error` goes with `action: retry` only")
            return None
        if has_value(step, "retry"):
            self._add(step.keys["retry"], "`retry` does not go with `on_error: {action: retry}`; leave one of them out")
        if not has_value(node, "retry"):
            self._add(node.value["action"].at, "`action: retry` needs `retry`, the number of further attempts")
        further = self._number(node.value.get("retry"), "retry") or 1
        delay = self._duration(node.value.get("delay"), "`delay`", zero=True)
        return RetryPolicy(max_attempts=further + 1, delay=NO_RETRY.delay if delay is None else delay)


def _by_names(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a policy, in which statuses, codes and texts are names of errors."""
    policy = {key: value for key, value in chosen.items() if key not in _RULES}
    for key, named in (("on_error", ("on_status", "exit_codes", "on_text")), ("give_up_on", ("give_up_on_text",))):
        if names := [_RULES[rule](value) for rule in named for value in chosen.get(rule, ())]:
            policy[key] = (*policy.get(key, ()), *names)
    return policy


_RULES: Mapping[str, Callable[[Any], str]] = {
    "on_status": "HTTPStatus{}".format,
    "exit_codes": "ExitCode{}".format,
    "on_text": name_of,
    "give_up_on_text": name_of,
}
