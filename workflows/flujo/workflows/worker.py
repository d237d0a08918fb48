"""The program of a worker process: it evaluates templates for another process, within limits.

    python -c "…; main()"        requests on standard input, answers on standard output

A request is a length and marshal's bytes of (value, names): every text in the value is rendered with the names. The
answer is (True, value) or (False, (message, template, place)). The limits are of the process, so they hold whatever a
template does: processor time by a timer whose signal ends it, memory by the size of its address space where the system
limits that.
The worker ends with its standard input, which ends with the process that started it.
"""

from __future__ import annotations

import marshal
import os
import resource
import signal
import sys
from typing import Any, BinaryIO

from .bounds import MAX_VALUE, bounded_value
from .evaluation import evaluate
from .marks import EvaluationError, excerpt, map_texts
from .sandbox import NoResult
from .seen import Variables

CPU_SECONDS = 0.7
"""Processor time of one request: with the start of a worker and all that is around it, less than a second."""
MEMORY_MIB = 16
"""What one request may take besides `MEMORY_FACTOR` times what its values take."""
MEMORY_FACTOR = 4
READING_FACTOR = 16
"""How much more than its bytes the values of a request may take: small ones have few bytes."""

MIB = 1024 * 1024

ARENA = 2 * MIB
"""Python takes memory for small objects by one of these, with what is around it."""

LENGTH = 8
"""Bytes of the number that says how long a request or an answer is."""


def main() -> None:
    """Answer requests until there are no more."""
    start = _address_space()
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while (request := read_message(requests)) is not None:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            answer = marshal.dumps((True, answered(*_within_limits(start, request))))
            is_spent = False
        except EvaluationError as error:
            answer, is_spent = marshal.dumps((False, (error.message, error.source, error.place))), False
        except MemoryError:
            told = f"it needs more than {MEMORY_MIB} MiB of memory"
            answer, is_spent = marshal.dumps((False, (told, "", 0))), True
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(len(answer).to_bytes(LENGTH))
        answers.write(answer)
        answers.flush()
        if is_spent or _has_run_short() or _address_space() > start + MEMORY_MIB * MIB // 2:
            return  # what has been taken does not come back: the next request is another worker's


def _within_limits(start: int, request: bytes) -> tuple[Any, dict[str, Any]]:
    """Return what a request asks; the memory is limited from here on, by what its values take."""
    _limit_memory(start + MEMORY_MIB * MIB + READING_FACTOR * len(request))
    before = _address_space()
    value, names = marshal.loads(request)
    size = len(request) + _address_space() - before
    _limit_memory(start + MEMORY_MIB * MIB + MEMORY_FACTOR * size)
    return value, names


def answered(value: Any, names: dict[str, Any]) -> Any:
    """Return the value with every text in it rendered; raises EvaluationError."""
    if isinstance(steps := names.get("steps"), dict):
        names["steps"] = {name: NoResult(*step) if isinstance(step, tuple) else step for name, step in steps.items()}
    if isinstance(env := names.get("env"), dict):
        names["env"] = Variables(env)
    rendered = map_texts(value, lambda source: _evaluated(source, names))
    return bounded_value(rendered, MAX_VALUE, lambda: EvaluationError(TOO_LARGE))


TOO_LARGE = f"what the templates give is larger than {MAX_VALUE // 1024 // 1024} MiB"


def _evaluated(source: str, names: dict[str, Any]) -> Any:
    try:
        return evaluate(source, names)
    except EvaluationError as error:
        if error.__cause__ is None or not _has_run_short():
            raise
    except (MemoryError, SystemError):  # the latter from C that lost the former
        pass
    told = f"{excerpt(source)}: it needs more than {MEMORY_MIB} MiB of memory"
    raise EvaluationError(told, source) from None


def _has_run_short() -> bool:
    """True if this process has come as near to its limit as what Python takes at a time: code that meets an error
    there, and has no room to tell of it, raises whatever comes of that (tests/workflows/test_workers.py)."""
    try:
        with open("/proc/self/status") as file:
            peak = next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmPeak:")), 0)
    except OSError:
        return False
    return peak > resource.getrlimit(resource.RLIMIT_AS)[0] - ARENA > 0


def read_message(stream: BinaryIO) -> bytes | None:
    """Return the next message; None at the end."""
    length = stream.read(LENGTH)
    return stream.read(int.from_bytes(length)) if len(length) == LENGTH else None


def _limit_memory(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = size if hard == resource.RLIM_INFINITY else min(size, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    except (OSError, ValueError):  # a system that does not have this limit: the checks of the operators remain
        pass


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
