"""The keys of a definition, by place, and what to say of a key that does not belong where it stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from flujo.kernel.programs import KEYS as RETENTION_KEYS

from .documents import Node, Problems
from .other_systems import AT_THE_TOP, IN_A_STEP, OF_OTHER_SYSTEMS, WITHIN
from .registry import Task
from .wording import named, nearest

TOP_KEYS = (
    *("name", "description", "version", "params", "secrets", "steps", "outputs", "labels"),
    *("timeout", "max_parallel", "settings", "retention", "flows", "imports", "defaults", "env", "env_files"),
)
STEP_KEYS = (
    *("name", "task", "inputs", "params", "description", "depends_on", "condition"),
    *("retry", "timeout", "on_error", "always_run", "for_each", "progress_update", "progress_interval"),
    *("env", "repeat", "outputs"),
)
PROGRESS_KEYS = ("progress_update", "progress_interval")
LOOP_KEYS = ("items", "arg_name", "max_workers", "chunk_size")
LOOP_TASK_KEYS = ("task", "inputs", "params")
ON_ERROR_KEYS = ("action", "retry", "delay", "next", "then", "message")
RETRY_KEYS = (
    *("max_attempts", "delay", "backoff", "max_delay", "jitter", "on_error", "on_status", "exit_codes", "give_up_on"),
    *("on_text", "give_up_on_text", "max_elapsed"),
)
RULES = ("on_status", "exit_codes", "on_text", "give_up_on_text")
"""Keys of `retry` by which what a task has come to decides; of a run that a step starts only its error is known."""

DEFAULTS_KEYS = ("retry", "timeout", "on_error")
ERROR_HANDLING_KEYS = ("undefined_variables", "show_available")
REPEAT_KEYS = ("until", "interval", "max")
IMPORT_KEYS = ("path",)
FLOWS_KEYS = ("default", "definitions")

TOP_KEYS_TO_COME: tuple[str, ...] = ()
STEP_KEYS_TO_COME: tuple[str, ...] = ()

TOP = "the top level"

_PLACES = {
    TOP: (*TOP_KEYS, *TOP_KEYS_TO_COME),
    "a step": (*STEP_KEYS, *STEP_KEYS_TO_COME),
    "`retry`": RETRY_KEYS,
    "`on_error`": ON_ERROR_KEYS,
    "`for_each`, or to the inputs of task `batch`": LOOP_KEYS,
    "`retention`": RETENTION_KEYS,
    "`flows`": FLOWS_KEYS,
    "`repeat`": REPEAT_KEYS,
}


def check_keys(
    node: Node,
    problems: Problems,
    place: str,
    known: Iterable[str],
    to_come: Iterable[str] = (),
    task: Task | None = None,
) -> None:
    """Note each key of a mapping that is not among the `known` ones, with where it belongs or what was meant."""
    for key in node.value:
        if key in known:
            continue
        at = node.keys[key]
        in_a_step = " in a step" if place == TOP and key in IN_A_STEP else ""
        elsewhere = [where for where, keys in _PLACES.items() if key in keys]
        if key in to_come:
            problems.add(at, f"`{key}` is not supported by this release")
        elif task is not None and task.input(key) is not None:
            problems.add(at, f"`{key}` is an input of task `{task.name}`; put it under `inputs`")
        elif key in WITHIN.get(place, ()):
            problems.add(at, f"{place} has no key `{key}`; write {WITHIN[place][key]}")
        elif place == TOP and key in AT_THE_TOP:
            problems.add(at, f"{place} has no key `{key}`; write {AT_THE_TOP[key]}")
        elif elsewhere:
            problems.add(at, f"`{key}` belongs to {elsewhere[0]}, not to {place}")
        elif key in OF_OTHER_SYSTEMS:
            problems.add(at, f"{place} has no key `{key}`; write {OF_OTHER_SYSTEMS[key]}{in_a_step}")
        elif near := nearest(key, known):
            problems.add(at, f"{place} has no key {named(key)}; did you mean `{near}`?")
        else:
            problems.add(at, f"{place} has no key {named(key)}; it has: {', '.join(known)}")


NEEDED: dict[str, dict[str, tuple[type, ...]]] = {
    TOP: {"name": (str,), "steps": (list, dict), "params": (dict,)},
    "a step": {"name": (str,), "task": (str,), "inputs": (dict,), "depends_on": (list, str), "for_each": (list, str)},
    "`for_each`": {"items": (list, str), "arg_name": (str,)},
    "`repeat`": {"until": (str,)},
}
"""Keys without which more is wrong in their place than the one that is missing, and what their values can be."""

_FIRST_KEY = re.compile(r"`(\w+)(?:`|: [A-Z{\[])")  # and not `task: shell`, which says what its value is to be


def meant_by(key: str, place: str, known: Collection[str]) -> str | None:
    """Return the known key that one which does not belong in a place stands for there; None if that is not clear."""
    others = AT_THE_TOP | WITHIN.get(TOP, {}) if place == TOP else WITHIN.get(place, {})
    hint = others.get(key) or (OF_OTHER_SYSTEMS.get(key) if place in (TOP, "a step") else None)
    if hint is None:
        return nearest(key, known)
    first = _FIRST_KEY.match(hint)
    return first[1] if first is not None and first[1] in known else None


def as_meant(node: Node, place: str, known: Collection[str]) -> Node:
    """Return a mapping that has the keys it needs as well where others stand for them, which `check_keys` tells of:
    what would be missing without them is no mistake of its own."""
    added: dict[str, Node] = {}
    for key in [each for each in node.value if each not in known]:
        value, needed = node.value[key], NEEDED[place]
        for meant in (meant_by(key, place, known), nearest(key, known)):
            if meant is None or meant in node.value or meant in added:
                continue
            if isinstance(value.value, needed.get(meant, ())):
                added[meant] = value
                break
            if meant == "for_each":
                added[meant] = Node([], value.at)
                break
    if place == "a step" and "task" not in {*node.value, *added}:
        added |= _command_in(node)
    if not added:
        return node
    places = {key: value.at for key, value in added.items()}
    return node._replace(value={**node.value, **added}, keys={**node.keys, **places})


def _command_in(step: Node) -> dict[str, Node]:
    """Return the task and the inputs of a step that has its command under `run` or `script`."""
    for key, value in step.value.items():
        if OF_OTHER_SYSTEMS.get(key, "").startswith("`task: shell`") and isinstance(value.value, (str, list)):
            inputs = Node({"command": value}, value.at, keys={"command": value.at})
            return {"task": Node("shell", step.keys[key]), **({} if "inputs" in step.value else {"inputs": inputs})}
    return {}
