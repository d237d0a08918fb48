"""What is recorded of an error, and the names by which retry rules know it.

    describe        the recorded form: type, text, and the ends of the tracebacks, all of bounded length
    error_kinds     the names of every error that an error stands for, as retry rules match them
    recorded_names  the same for an error of which only the recorded type is known

An error may carry others: the members of a group, what it was raised from, what was handled when it was raised, notes.
Rules look into groups and at what an error was raised from, which may be a group as well; the record holds all of them,
as far as its length allows.

An error is foreign code: any of its attributes may raise, its text may be no text, and its causes or groups may be
thousands deep. Nothing here raises for any of that, and nothing here recurses: a run must not end its kernel by an
error of its own (tests/kernel/test_awkward_errors.py). So attributes are read through the base class, and
`issubclass(type(error), …)` stands where `isinstance` would ask the error itself.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Any

from flujo.kernel.errors import FlujoError

from .state import Failure

MAX_TYPE = 200
MAX_MESSAGE = 2_000
MAX_DETAILS = 4_000
MAX_MEMBERS = 20
"""How many errors of a group, and how many causes of one error, the record names."""

MAX_FRAMES = 6
"""How many frames of a traceback the record holds, the last ones: there it went wrong."""

_MOST_LOOKED_AT = 10_000
"""How many errors of a group or a chain are looked at, so that a huge one takes no time worth mentioning."""

MEANINGS: dict[str, str] = {
    "socket.gaierror": "ConnectionError",
    "socket.herror": "ConnectionError",
    "ssl.SSLError": "ConnectionError",
    "http.client.RemoteDisconnected": "ConnectionError",
    "http.client.IncompleteRead": "ConnectionError",
    "httpx.NetworkError": "ConnectionError",
    "httpx.RemoteProtocolError": "ConnectionError",
    "httpx.TimeoutException": "TimeoutError",
    "httpcore.NetworkError": "ConnectionError",
    "httpcore.RemoteProtocolError": "ConnectionError",
    "httpcore.TimeoutException": "TimeoutError",
    "requests.exceptions.ConnectionError": "ConnectionError",
    "requests.exceptions.Timeout": "TimeoutError",
    "subprocess.TimeoutExpired": "TimeoutError",
    "concurrent.futures._base.TimeoutError": "TimeoutError",
}
"""Library errors that mean a built-in one to the author of `on_error: [ConnectionError, TimeoutError]`."""


# The attributes of an error as the interpreter set them, whatever a class of the user's has put in front of them.
_cause_of: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__cause__"].__get__
_context_of: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__context__"].__get__
_hides_context: Callable[[BaseException], bool] = BaseException.__dict__["__suppress_context__"].__get__
_trace_of: Callable[[BaseException], TracebackType | None] = BaseException.__dict__["__traceback__"].__get__
_members_of: Callable[[BaseException], Sequence[BaseException]] = BaseExceptionGroup.__dict__["exceptions"].__get__


# -- what an error carries --------------------------------------------------------------------------------------------


def is_a(error: BaseException, *classes: type[BaseException]) -> bool:
    """True if the class of an error is one of these or derives from one."""
    return issubclass(type(error), classes)


def members(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that an error stands for: the leaves of a group, in its order, or the error itself."""
    left = [error]
    looked_at = 0
    while left and (looked_at := looked_at + 1) <= _MOST_LOOKED_AT:
        each = left.pop()
        if is_a(each, BaseExceptionGroup):
            left.extend(reversed(_members_of(each)))
        else:
            yield each


def cause_of(error: BaseException) -> BaseException | None:
    """Return what an error was raised from, by `raise … from …`."""
    return _cause_of(error)


def context_of(error: BaseException) -> BaseException | None:
    """Return what was handled when an error was raised, unless its author has hidden that."""
    return None if _hides_context(error) else _context_of(error)


def causes(error: BaseException, next_of: Callable[[BaseException], BaseException | None]) -> Iterator[BaseException]:
    """Yield the chain of errors behind an error, nearest first and each once; `next_of` takes one step along it."""
    seen = {id(error)}
    found = next_of(error)
    while found is not None and id(found) not in seen and len(seen) < _MOST_LOOKED_AT:
        seen.add(id(found))
        yield found
        found = next_of(found)


def carried(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it carries at any depth, each once: members of groups, then what each was raised
    from, then what was handled when it was raised."""
    left, seen = [error], set[int]()
    while left and len(seen) < _MOST_LOOKED_AT:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += [found for found in (context_of(each), cause_of(each)) if found is not None]
        if is_a(each, BaseExceptionGroup):
            left.extend(reversed(_members_of(each)))


def _behind(error: BaseException) -> BaseException | None:
    return cause_of(error) or context_of(error)


# -- names for rules --------------------------------------------------------------------------------------------------


def error_kinds(error: BaseException) -> tuple[tuple[str, ...], ...]:
    """Return, for each error that this one stands for, every name under which a retry rule may list it.

    Those are the names of its class and of all its bases, short and qualified, what it means (`MEANINGS`), the same of
    what it was raised from, and the names of the group it is in. One that was raised from a group stands for each of
    the group's errors. Those with the same names count once: rules ask for all of them, or for any
    (`RetryPolicy.retries`)."""
    found: dict[int, _Kinds] = {}
    begun = set[int]()
    left = [(error, False)]
    while left:
        each, has_parts = left.pop()
        if has_parts:
            found[id(each)] = _kinds_of(each, found)
        elif id(each) not in begun and len(begun) < _MOST_LOOKED_AT:
            begun.add(id(each))
            left.append((each, True))
            left += [(part, False) for part in (*_parts_of(each), *filter(None, (cause_of(each),)))]
    return tuple(found[id(error)])


_Kinds = Sequence[tuple[str, ...]]

_MOST_KINDS = 1_000
"""How many ways there may be to pair the errors of a group with those of another one it was raised from. Beyond that
any of the others' names counts for each."""


def _kinds_of(error: BaseException, found: Mapping[int, _Kinds]) -> _Kinds:
    """Return `error_kinds` of an error, made of those of its parts. What leads back to it adds nothing."""
    own = tuple(_own_names(error))
    within = dict.fromkeys(kind for each in _parts_of(error) for kind in found.get(id(each), ())) or [()]
    behind = found.get(id(cause_of(error)), ()) or [()]
    if len(within) * len(behind) > _MOST_KINDS:
        behind = [tuple(dict.fromkeys(name for names in behind for name in names))]
    return list(dict.fromkeys(tuple(dict.fromkeys((*one, *own, *other))) for one in within for other in behind))


def _parts_of(error: BaseException) -> Sequence[BaseException]:
    return _members_of(error) if is_a(error, BaseExceptionGroup) else ()


def recorded_names(error_type: str) -> tuple[str, ...]:
    """Return the names of an error of which only the recorded type is known."""
    known = getattr(builtins, error_type, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return tuple(_names_along(known))
    return tuple(filter(None, (error_type, error_type.rpartition(".")[2], MEANINGS.get(error_type))))


def error_type(error: BaseException) -> str:
    """Return the name an error is recorded under: bare for built-in classes, qualified for others.

    An error of flujo that stands for one of another place (`StepFailed`, a failed child process) carries the name it
    had there as `type`. An attribute of that name on any other error is that library's own affair."""
    if is_a(error, FlujoError) and isinstance(remote := _attribute(error, "type"), str):
        return remote
    module, name = _qualified(type(error))
    return name if module == "builtins" else f"{module}.{name}"


def _own_names(error: BaseException) -> Iterator[str]:
    yield from _names_along(type(error))
    if isinstance(remote := _attribute(error, "type"), str):  # a remote task's own name for its error
        yield from (remote, remote.rpartition(".")[2])


def _names_along(kind: type[BaseException]) -> Iterator[str]:
    for cls in type.__dict__["__mro__"].__get__(kind)[:-1]:
        module, name = _qualified(cls)
        yield from (name.rpartition(".")[2], f"{module}.{name}")
        if meaning := MEANINGS.get(f"{module}.{name}"):
            yield meaning


def _qualified(cls: type[Any]) -> tuple[str, str]:
    """Return the module and the qualified name of a class, whatever its author or its metaclass has made of them."""
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:
        module = None
    return (module if isinstance(module, str) else "?"), type.__dict__["__qualname__"].__get__(cls)


def _attribute(error: BaseException, name: str) -> Any:
    """Return an attribute of an error, or None where reading it raises."""
    try:
        return getattr(error, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


# -- the record -------------------------------------------------------------------------------------------------------


def describe(error: BaseException, step: str | None = None, attempt: int | None = None) -> Failure:
    """Return the recorded form of an error: bounded, with the ends of the tracebacks unless the error says it all.

    A group is recorded under the type of its first member, since that is what people look for, with the texts of the
    others behind it."""
    found = list(members(error)) or [error]
    message = text_of(found[0])
    if len(found) > 1:
        others = "; ".join(f"{error_type(each)}: {_first_line(each)}" for each in found[1:MAX_MEMBERS])
        message = f"{message} (and {len(found) - 1} more: {others})"
    details = None if _says_all(error) else bounded(_details(error, found), MAX_DETAILS, keep_end=True) or None
    return Failure(bounded(error_type(found[0]), MAX_TYPE), bounded(message, MAX_MESSAGE), step, attempt, details)


def _says_all(error: BaseException) -> bool:
    return is_a(error, FlujoError) and not (_attribute(error, "tells_causes") is True and cause_of(error) is not None)


def text_of(error: BaseException) -> str:
    """Return the text of an error, with its notes; the name of its class if it has none."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as second:
        text = f"({_qualified(type(error))[1]}, whose text cannot be had: its __str__ raised {error_type(second)})"
    notes = _attribute(error, "__notes__")
    said = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
    return "\n".join([str.__str__(text) or _qualified(type(error))[1], *said[:MAX_MEMBERS]])


def _first_line(error: BaseException) -> str:
    return text_of(error).partition("\n")[0]


def _details(error: BaseException, found: list[BaseException]) -> str:
    """Return the ends of the tracebacks: of what each member was caused by, of each member, and of the group at
    last."""
    parts: list[str] = []
    for each in found[:MAX_MEMBERS]:
        behind = list(islice(causes(each, _behind), MAX_MEMBERS))
        for cause in reversed(behind):
            leaves = islice(members(cause), MAX_MEMBERS) if is_a(cause, BaseExceptionGroup) else ()
            for told in (*leaves, cause):
                parts += [_frames(told), f"{error_type(told)}: {_first_line(told)}\n"]
            parts.append("that led to:\n")
        parts.append(_frames(each))
        if len(found) > 1 or behind:
            parts.append(f"{error_type(each)}: {_first_line(each)}\n")
    if found[0] is not error:
        parts += [_frames(error), f"{error_type(error)}: {_first_line(error)}\n"]
    return "".join(parts)


def _frames(error: BaseException) -> str:
    # The first frames are the kernel's own; the last ones are where it went wrong.
    frames = traceback.extract_tb(_trace_of(error), limit=-MAX_FRAMES)
    return "".join(traceback.format_list([frame for frame in frames if not _is_ours(frame.filename)]))


def _is_ours(filename: str) -> bool:
    return filename.endswith("flujo/kernel/execution/attempt_runner.py")


def bounded(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Return the text, cut to `limit` characters and a sign that it was."""
    # An error message may hold bytes that are no text; a journal holds UTF-8.
    clean = str.encode(text, "utf-8", "backslashreplace").decode()
    if len(clean) <= limit:
        return clean
    return "…" + clean[-limit:] if keep_end else clean[:limit] + "…"
