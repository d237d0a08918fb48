"""Step keys: how a name in a program becomes the one place in a run where its outcome is recorded.

    fetch              the first `fetch` of a branch
    fetch#2            the second one in the same branch
    resize[17]         item 17 of a map
    a/fetch            `fetch` inside the branch `a` of a gather
    gather[0]/fetch    the same in a gather without names

Every branch counts its own repeats and a branch belongs to one task, so no key depends on which of two concurrent
branches came first. A task the kernel did not start may only use explicit names, each once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .errors import InvalidNameError, UnsafeStepNameError

STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}")
WORKFLOW_NAME = re.compile(r"\S(.{0,198}\S)?")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ITEM_KEY = re.compile(r"[A-Za-z0-9_.:@-]{1,100}")

_FOREIGN: Final = -1  # stands in a branch's counters for a name taken by a task the kernel did not start


@lru_cache(maxsize=4096)  # asked for at every call of a step
def check_step_name(name: str) -> str:
    if not isinstance(name, str) or not STEP_NAME.fullmatch(name):
        raise InvalidNameError("step name", name, "a letter or _, then up to 99 letters, digits, _, . or -")
    return name


@lru_cache(maxsize=256)
def check_workflow_name(name: str) -> str:
    """Return the name of a workflow if it is one line of at most 200 characters; raises InvalidNameError."""
    if not isinstance(name, str) or not WORKFLOW_NAME.fullmatch(name) or not name.isprintable():
        rule = "one line of 1 to 200 printable characters, without spaces at its ends"
        raise InvalidNameError("workflow name", name, rule)
    return name


def check_run_id(run_id: str) -> str:
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise InvalidNameError("run id", run_id, "a letter or digit, then up to 99 letters, digits, ., _ or -")
    return run_id


class Branch:
    """One line of control in a program, that of the run `uid`: it numbers the repeats of names, for the one task it
    belongs to."""

    __slots__ = ("_counts", "prefix", "task", "uid")

    def __init__(self, prefix: str, task: int, uid: str = "") -> None:
        self.prefix = prefix
        self.task = task
        self.uid = uid
        self._counts: dict[str, int] = {}

    def next_key(self, name: str) -> str:
        """Return the key the next step called `name` will get in this branch; the name is not used up."""
        count = max(0, self._counts.get(name, 0))
        return self.prefix + (name if count == 0 else f"{name}#{count + 1}")

    def key(self, name: str, task: int, explicit: bool) -> str:
        """Return the key of the next step called `name`, asked for by `task`; raises UnsafeStepNameError.

        `explicit` tells whether the program gave the name itself, as in `ctx.step(fetch, url, name="front-page")`.
        """
        count = self._counts.get(name, 0)
        if task == self.task:
            if count == _FOREIGN:
                raise UnsafeStepNameError(name, "a concurrent task has used this name")
            self._counts[name] = count + 1
            return f"{self.prefix}{name}#{count + 1}" if count else self.prefix + name
        if not explicit:
            raise UnsafeStepNameError(
                name, "it was called from a task the kernel did not start, without a name of its own"
            )
        if count:
            raise UnsafeStepNameError(
                name, "it was called from a task the kernel did not start, with a name already used"
            )
        self._counts[name] = _FOREIGN
        return self.prefix + name


def item_key(base: str, item: int | str) -> str:
    """Return the key of one item of the map or gather whose own key is `base`."""
    is_valid = ITEM_KEY.fullmatch(item) if isinstance(item, str) else type(item) is int and abs(item) < 2**63
    if not is_valid:
        raise InvalidNameError("item key", item, "1 to 100 letters, digits, _, ., :, @ or -")
    return f"{base}[{item}]"


def check_variable_name(name: str) -> str:
    """Return the name itself; raises InvalidNameError unless it could be a step's, with 90 characters at most."""
    if not isinstance(name, str) or len(name) > 90 or not STEP_NAME.fullmatch(name):
        raise InvalidNameError("variable name", name, "a letter or _, then up to 89 letters, digits, _, . or -")
    return name
