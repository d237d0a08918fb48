"""What suspended programs hold, and whether dropping them would execute or forget something of the user's.

A program that leaves memory is dropped with what only it holds. Python then closes its generators and finalizes its
objects, which executes the user's code or ends what the user has begun:

    has_finalizer     an object for which that is so by itself: it has a `__del__`, somebody waits for its end by
                      `weakref`, or code in C closes it, as a connection of sqlite3
    Holdings          which of several programs hold such an object, however many steps away: in a list, an attribute,
                      a closure

Python's own collector decides alike: it counts the references to each object that come from what would be dropped. An
object with more references than those is held by something else too, and stays with all that is behind it. The programs
of one look are counted together, since what two of them share would be dropped with the second.

What cannot be shown to be harmless counts as harmful: the program stays.
tests/kernel/execution/test_holdings.py shows each of these on real programs.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import io
import logging
import sys
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from contextvars import Context, ContextVar
from decimal import Decimal
from functools import lru_cache
from inspect import CORO_CREATED, getcoroutinestate
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    ModuleType,
)
from typing import Any, NamedTuple
from uuid import UUID
from weakref import getweakrefs

from . import leaving

MOST_OBJECTS = 10_000
"""So many objects are looked at in one turn of the event loop, which takes some milliseconds; a program that holds more
stays. Lists, dicts, tuples and sets with nothing but plain values in them do not count for that."""

_MOST_PARTS = 2_000
"""A program with more coroutines and generators stays."""

_LOCK_DEPTH = 1
"""How far from a variable a lock that is taken is looked for: it may be an attribute, or in a dict."""

# -- kinds of objects -------------------------------------------------------------------------------------------------


class _Kind:
    """What is known of all objects of one type."""

    __slots__ = (
        *("finalizes", "is_class", "is_data", "is_lock", "is_machinery", "is_opened", "is_plain", "is_quiet"),
        "is_watchable",
    )

    def __init__(
        self,
        *,
        is_plain: bool = False,  # there is nothing behind it, or it lives elsewhere too
        is_data: bool = False,  # a list or the like
        is_class: bool = False,
        is_opened: bool = True,  # what is behind it is looked at
        finalizes: bool = False,
        is_watchable: bool = False,  # by weak references
        is_suspendable: bool = False,
        is_lock: bool = False,
        is_machinery: bool = False,  # of the libraries that calls of `ctx` stand on
    ) -> None:
        self.is_plain, self.is_data, self.is_class, self.is_opened = is_plain, is_data, is_class, is_opened
        self.finalizes, self.is_watchable = finalizes, is_watchable
        self.is_lock, self.is_machinery = is_lock, is_machinery
        self.is_quiet = not (finalizes or is_watchable or is_suspendable)  # dropping it does nothing by itself


_PLAIN = frozenset(
    (
        *(str, bytes, bytearray, int, float, complex, bool, type(None), type(...), type(NotImplemented), range, slice),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, Decimal, UUID),
        *(ModuleType, CodeType, Context, ContextVar, logging.Logger),
    )
)
_CONTAINERS = frozenset((dict, list, tuple, set, frozenset))
_DATA = _PLAIN | _CONTAINERS
_ELSEWHERE = (ModuleType, logging.Logger, asyncio.AbstractEventLoop)
_IN_MEMORY = (io.BytesIO, io.StringIO)
_MACHINERY = frozenset({"flujo", "anyio", "asyncio", "trio", "sniffio"})
_LOCKS = frozenset({"_thread", "threading", "asyncio", "anyio", "trio"})
_IN_PYTHON = (FunctionType, staticmethod, classmethod, property)
_FRAMES = frozenset((CoroutineType, GeneratorType, AsyncGeneratorType))
_CARRIERS = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "coroutine"})
"""Types without a name of their own that stand between a coroutine and what it awaits."""


@lru_cache(maxsize=4096)
def _kind(of: type) -> _Kind:
    """Return what is known of a type."""
    if of in _PLAIN or issubclass(of, _ELSEWHERE):
        return _Kind(is_plain=True)
    if of in _CONTAINERS:
        return _Kind(is_data=True)
    if issubclass(of, type):
        return _Kind(is_class=True)
    if of in _FRAMES:
        return _Kind(is_suspendable=True)
    package = str(of.__module__).partition(".")[0]
    if package in ("flujo", "_asyncio") or issubclass(of, asyncio.Future):
        return _Kind(is_opened=issubclass(of, tuple), is_machinery=True)
    is_lock = package in _LOCKS and of.__name__ in ("lock", "Lock", "RLock")
    return _Kind(
        is_opened=not is_lock and (package not in ("anyio", "trio") or issubclass(of, tuple)),
        finalizes=of not in _IN_MEMORY and (_defines(of, "__del__") or _is_closed_in_c(of)),
        is_watchable=bool(of.__weakrefoffset__) and of is not FunctionType,
        is_lock=is_lock,
        is_machinery=package in _MACHINERY,
    )


def _defines(of: type, name: str) -> bool:
    return any(name in base.__dict__ for base in of.__mro__)


def _is_closed_in_c(of: type) -> bool:
    """True if code in C knows how to close an object: it does so when the object is dropped, and no `__del__` tells."""
    closing = (base.__dict__["close"] for base in of.__mro__ if "close" in base.__dict__)
    return any(not isinstance(each, _IN_PYTHON) for each in closing)


def has_finalizer(held: object) -> bool:
    """True if something would be executed or ended once nothing names an object any more. What is behind it is not
    looked at."""
    kind = _kind(type(held))  # type: ignore[arg-type]  # mypy takes no class for hashable
    if kind.finalizes:
        return not _is_over(held)
    return kind.is_watchable and any(each.__callback__ is not None for each in getweakrefs(held))


def _is_over(held: object) -> bool:
    """True for a file or socket that was closed: its variable outlives a `with`. A file that was detached raises."""
    if type(held).__module__ == "_io":
        return isinstance(held, io.IOBase) and held.closed
    return type(held).__module__ in ("socket", "ssl") and bool(getattr(held, "_closed", False))


def _is_lock(held: object) -> bool:
    return _kind(type(held)).is_lock  # type: ignore[arg-type]


def _is_taken(lock: Any) -> bool:
    """True for a lock that somebody has: a program that is entered again would wait for itself."""
    return bool(lock._is_owned() if hasattr(lock, "_is_owned") else lock.locked())


def _data_in(container: object) -> tuple[bool, int]:
    """Tell whether a list, dict, tuple or set holds nothing but the like and plain values, however deep, and how many
    were looked at for that. Most of what a program holds is so, and is told in a tenth of the time."""
    todo, seen = [container], {id(container)}
    while todo:
        held = gc.get_referents(todo.pop())
        types = set(map(type, held))
        if types <= _PLAIN:
            continue
        if not types <= _DATA:
            return False, len(seen)
        for each in held:
            if type(each) not in _PLAIN and id(each) not in seen:
                seen.add(id(each))
                todo.append(each)
    return True, len(seen)


def _frame_of(suspended: Any) -> FrameType | None:
    if isinstance(suspended, CoroutineType):
        return suspended.cr_frame
    if isinstance(suspended, GeneratorType):
        return suspended.gi_frame
    return suspended.ag_frame if isinstance(suspended, AsyncGeneratorType) else None


def _would_run(suspended: object) -> bool:
    """True for a coroutine or generator of the user's in which closing it would execute a handler, and for a coroutine
    that has not begun: Python complains of one that is dropped."""
    if (frame := _frame_of(suspended)) is None or not leaving.is_foreign(frame):
        return False
    if isinstance(suspended, CoroutineType) and getcoroutinestate(suspended) == CORO_CREATED:
        return True
    return leaving.is_guarded(frame.f_code, frame.f_lasti)


# -- what programs hold -----------------------------------------------------------------------------------------------


class Suspended(NamedTuple):
    """What a suspended program is seen to hold: whether it has to stay for that, and the futures it may wait for."""

    stays: bool
    futures: frozenset[int] = frozenset()  # their ids


class _HasToStay(Exception):
    """Ends the look at one program."""


class _TooMuch(_HasToStay):
    """Ends the look at a program that holds more than can be looked at."""


class _Part(NamedTuple):
    """A coroutine or generator of a program, or what stands between two of them, with what it refers to."""

    frame: FrameType | None
    held: Sequence[object]
    is_the_programs: bool  # not a call of `ctx`, nor below one
    is_users: bool  # it is the code of the user's


_Todo = deque[tuple[object, int, bool]]
"""Objects to look behind, how many steps from a variable each is, and whether the program is on the way to it."""


class Holdings:
    """What several suspended programs hold, seen in one instant."""

    def __init__(self, most: int = MOST_OBJECTS) -> None:
        self._most = most
        self._objects: dict[int, object] = {}
        self._data = self._in_vain = 0  # lists and the like besides, and those of them that hold something else
        self._beforehand = 0
        self._counted: dict[int, int] = {}  # references that come from what was looked at
        self._behind: dict[int, list[int]] = {}
        self._harmful: set[int] = set()
        self._known: set[int] = set()  # live as long as a module, or as the function of a workflow
        self._roots: dict[str, list[int]] = {}  # by uid, what its frames refer to
        self._given: set[int] = set()  # values of context variables of a program
        self._staying: set[str] = set()
        self.large: dict[str, frozenset[int]] = {}  # what programs hold by which too much is reached

    @property
    def is_full(self) -> bool:
        """True if so much was looked at that other programs have to wait for another turn."""
        return len(self._objects) + self._data - self._beforehand >= self._most

    def make_room(self) -> None:
        """Have what was looked at until now not count for `is_full`."""
        self._beforehand = len(self._objects) + self._data

    def add(self, uid: str, program: object, variables: Sequence[object] = ()) -> Suspended:
        """Look at the suspended coroutine of Context.run_program, at what it awaits, and at all that these hold, with
        the values of the context variables that the program has set."""
        self._roots[uid] = []
        try:
            return Suspended(False, self._look(uid, program, variables))
        except _TooMuch:
            self.large[uid] = frozenset(self._roots[uid])
        except Exception:  # mostly _HasToStay; or a property of the user's has raised
            pass
        self._staying.add(uid)
        return Suspended(True)

    def know(self, lasting: Iterable[int]) -> None:
        """Take note of objects, by their ids, that a program holds which is not of this look and stays."""
        self._known.update(lasting)

    def keep(self, uid: str) -> None:
        """Note that a program stays for another reason: what it holds is held."""
        self._staying.add(uid)

    def keepers(self) -> set[str]:
        """Return the uids of the programs that have to stay, because of what would be dropped with them."""
        live = self._live()
        return self._staying | {
            uid
            for uid, roots in self._roots.items()
            if uid not in self._staying and not self._harmful.isdisjoint(self._reached(roots, live))
        }

    # -- looking ------------------------------------------------------------------------------------------------

    def _look(self, uid: str, program: object, variables: Sequence[object]) -> frozenset[int]:
        most = len(self._objects) + self._most
        parts, futures = _parts_of(program, self._known)
        self._learn(parts)
        self._given.update(map(id, variables))
        _require_harmless(variables, self._known)
        todo, roots = _Todo(), self._roots[uid]
        self._refer(roots, variables, todo, 0, True)
        for part in parts:
            if part.is_the_programs:
                if part.is_users:
                    _require_harmless(part.held, self._known)
                self._refer(roots, part.held, todo, 0, part.is_users)
        self._look_behind(todo, most)  # what is reached from below a call of `ctx` as well counts as the program's
        for part in parts:
            if not part.is_the_programs:
                self._refer(roots, part.held, todo, 0, False)
        self._look_behind(todo, most)
        return futures

    def _look_behind(self, todo: _Todo, most: int) -> None:
        while todo:
            each, depth, is_users = todo.popleft()
            self._refer(self._behind[id(each)], gc.get_referents(each), todo, depth + 1, is_users)
            if len(self._objects) > most:
                raise _TooMuch

    def _refer(self, source: list[int], referents: Iterable[object], todo: _Todo, depth: int, is_users: bool) -> None:
        """Count references, and line up what is seen for the first time."""
        known, counted = self._known, self._counted
        for held in referents:
            of = type(held)
            if of in _PLAIN or (key := id(held)) in known:
                continue
            if key in counted:
                counted[key] += 1
                source.append(key)
                continue
            kind = _kind(of)  # type: ignore[arg-type]
            if kind.is_plain or (kind.is_class and "<locals>" not in held.__qualname__):  # type: ignore[attr-defined]
                continue
            if kind.is_data and self._in_vain < self._most:
                is_data, number = _data_in(held)
                self._data += number
                if is_data:
                    continue
                self._in_vain += number  # what is deep is not looked through again on every level
            if of is FunctionType:
                known.add(id(held.__globals__))  # type: ignore[attr-defined]
                known.add(id(held.__builtins__))  # type: ignore[attr-defined]
            elif kind.is_lock and is_users and depth <= _LOCK_DEPTH and _is_taken(held):
                raise _HasToStay
            source.append(key)
            self._objects[key], counted[key], self._behind[key] = held, 1, []
            if not kind.is_quiet and (is_users or not kind.is_machinery) and (has_finalizer(held) or _would_run(held)):
                self._harmful.add(key)
            if kind.is_opened or (is_users and isinstance(held, asyncio.Future) and held.done()):
                todo.append((held, depth, is_users))

    def _learn(self, parts: Sequence[_Part]) -> None:
        """Take note of what does not end with a program: what its code names of its module, and the function of the
        workflow with what that closes over. Raises _HasToStay for a lock among them that is taken."""
        is_outermost = True
        for part in parts:
            function = _function_of(part)
            if not part.is_users:
                if function is not None and function.__closure__ is None:
                    self._known.add(id(function))
                continue
            assert part.frame is not None
            lasting = list(_named(part.frame))
            if function is not None and (is_outermost or id(function) in self._known):
                cells = function.__closure__ or ()
                lasting += [function, *cells, *gc.get_referents(*cells)]
            is_outermost = False
            if any(_is_lock(each) and _is_taken(each) for each in lasting):
                raise _HasToStay
            self._known.update(map(id, lasting))

    # -- judging ------------------------------------------------------------------------------------------------

    def _live(self) -> set[int]:
        """Return what would not be dropped: what has a reference that was not counted, and all behind it."""
        self._objects[0] = object()  # has the references of this function alone
        numbers = {key: sys.getrefcount(held) for key, held in self._objects.items()}
        del self._objects[0]
        own = numbers.pop(0)
        held = [key for key, number in numbers.items() if number - own > self._counted[key] and key not in self._given]
        for uid in self._staying:
            held += self._roots.get(uid, ())
        return self._reached(held, set())

    def _reached(self, todo: Iterable[int], but: set[int]) -> set[int]:
        """Return these objects and all that is behind them, except for some and what only those lead to."""
        reached, left = set[int](), [key for key in todo if key not in but]
        while left:
            if (key := left.pop()) not in reached:
                reached.add(key)
                left += [each for each in self._behind[key] if each not in but and each not in reached]
        return reached


def _require_harmless(held: Iterable[object], known: Container[int]) -> None:
    for each in held:
        if type(each) not in _DATA and id(each) not in known and has_finalizer(each):
            raise _HasToStay


def _named(frame: FrameType) -> Iterator[object]:
    """Yield what code names of its module."""
    variables = frame.f_globals
    return (variables[name] for name in frame.f_code.co_names if name in variables)


def _function_of(part: _Part) -> FunctionType | None:
    if part.frame is not None:
        for each in part.held:
            if type(each) is FunctionType and each.__code__ is part.frame.f_code:
                return each
    return None


def _parts_of(program: object, known: set[int]) -> tuple[Sequence[_Part], frozenset[int]]:
    """Return the program's coroutine, what it awaits, and the coroutines and generators that these hold, with the ids
    of the futures that these wait for. Raises _HasToStay if to close one of them would execute code of the user's."""
    todo, parts, seen, futures = [(program, True)], list[_Part](), {id(program)}, set[int]()
    while todo:
        each, is_the_programs = todo.pop()
        frame = _frame_of(each)
        if frame is not None and is_the_programs and each is not program:
            if _would_run(each):
                raise _HasToStay
            is_the_programs = not leaving.is_ours(frame)
        held = gc.get_referents(each)
        is_users = is_the_programs and frame is not None and leaving.is_foreign(frame)
        parts.append(_Part(frame, held, is_the_programs, is_users))
        for part in held:
            of = type(part)
            if of in _FRAMES or (of not in _DATA and of.__name__ in _CARRIERS):
                if id(part) not in seen:
                    seen.add(id(part))
                    todo.append((part, is_the_programs))
            elif of not in _DATA and issubclass(of, asyncio.Future):
                futures.add(id(part))
        if len(seen) > _MOST_PARTS:
            raise _HasToStay
    known.update(seen)  # each is looked at by itself
    return parts, frozenset(futures)
