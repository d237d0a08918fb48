"""The task `shell`: run a command in the workspace.

A text goes to a shell; a list is a command and its arguments, passed on as they are. In a text, quote what templates
put in: `ls {{ args.folder | quote }}`. A text of several lines is a script: it ends with the first line that fails,
and a first line `#!…` names what runs it.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio

from flujo.kernel.durations import format_duration, parse_duration
from flujo.kernel.errors import FlujoError
from flujo.kernel.programs import Finished
from flujo.kernel.values import MAX_OUTPUT_BYTES
from flujo.workflows.failure_texts import MOST_SEARCHED
from flujo.workflows.redaction import CUT
from flujo.workflows.registry import Mention, TaskCall, task
from flujo.workflows.texts import as_argument, as_text
from flujo.workflows.wording import shortened, shown

from .files import confined
from .output_files import OutputFiles

LAST_LINES = 10
MOST_OF_A_LINE = 200
"""Characters of a line of a command that a failure shows."""
MOST_OF_AN_END = 300
"""Characters of each end of a long line of an output that a failure shows."""
MAX_OUTPUT = 1024 * 1024
"""Bytes kept of each output, unless a step asks for more or less."""

STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL")
STOP_GRACE = 2
"""Seconds between the signal that asks a command to stop and the one that ends it."""

_WITH_PIPEFAIL = ("bash", "ksh", "zsh")
_SHELLS = ("sh", "dash", "ash", "mksh", *_WITH_PIPEFAIL)
"""What takes `-e` to end with the first command that fails. Anything else that `shell` names (python3, node, fish) has
the text behind `-c` alone."""


class ShellError(FlujoError):
    """A command ended with a return code other than 0; `return_code` is -N after signal N. Retry rules know it as
    `ExitCode75` too (`exit_codes`).

    The first line of the message has the line of its output that tells the most, or the command if it has printed
    nothing; the others have the ends of both outputs, the folder it ran in, and where what it printed is kept. `said`
    has more of both outputs, for rules by texts (failure_texts.py).
    """

    reason = "STEP_FAILED"
    type = "ShellError"

    def __init__(self, finished: Finished, working_dir: Path, log: Path | None, command: str) -> None:
        ends = {"stderr": end_of(finished.stderr), "stdout": end_of(finished.stdout)}
        said = {name: lines for name, lines in ends.items() if lines}
        told = _telling(next(iter(said.values()))) if said else None
        more = "".join(f"\nthe end of its {name}: " + "\n".join(said[name]) for name in said if said[name] != [told])
        kept = "" if log is None else f"; what it printed: {log}"
        where = f"(it ran in {working_dir}{kept})"
        first = f": {told}" if told is not None else f", and printed nothing: {_as_evidence(command)}"
        super().__init__(f"the command {how_it_ended(finished.return_code)}{first}{more}\n{where}")
        self.return_code = finished.return_code
        self.working_dir = working_dir
        self.said = tuple(
            output[-MOST_SEARCHED:].decode(errors="replace") for output in (finished.stderr, finished.stdout)
        )


@lru_cache(maxsize=256)
def exit_error(return_code: int) -> type[ShellError]:
    """Return the class of the error for a return code, by which `exit_codes` knows it."""
    return type(f"ExitCode{return_code}", (ShellError,), {"__module__": __name__})


def end_of(output: bytes) -> list[str]:
    """Return the last lines of an output. Where it was cut, the lines at the cut say so themselves: shown without the
    other, the rest of a secret in one would not be known for what it is (redaction.py)."""
    marked = CUT.sub(r"…\g<0>…", output.decode(errors="replace"))
    return [_ends_of(line) for line in marked.rstrip().splitlines()[-LAST_LINES:]]


def _ends_of(line: str) -> str:
    """Return both ends of a line that is very long, as JSON and bars are: it would take the room of all the others."""
    if len(line) <= 2 * MOST_OF_AN_END:
        return line
    return f"{line[:MOST_OF_AN_END]}…{line[-MOST_OF_AN_END:]}"


_SUMMARY = re.compile(r"previous errors?\b|\b\d+ errors?\b|^\w*make(\[\d+\])?: \*\*\*", re.IGNORECASE)
"""What tar, compilers and make say at the end: that there were errors, but not which."""


def _telling(lines: Sequence[str]) -> str:
    """Return the line that says best what went wrong: the last that speaks of an error and is not indented, as the
    code in a traceback is, or else the last with a word in it; one that only sums up if there is no other."""
    worded = [line for line in lines if any(map(str.isalnum, line))] or lines
    worded = [line for line in worded if not _SUMMARY.search(line)] or worded
    errors = [line for line in worded if "error" in line.lower() and not line[0].isspace()]
    return (errors or worded)[-1].strip()


def _as_evidence(command: str) -> str:
    """Return a command for the failure that nothing else tells of; of a script only the beginning, and how its lines
    are seen."""
    lines = [shortened(line, MOST_OF_A_LINE) for line in command.strip().splitlines()]
    if len(lines) == 1:
        return lines[0]
    more = [f"({len(lines) - LAST_LINES} more lines)"] if len(lines) > LAST_LINES else []
    listed = "\n".join(["its lines:", *lines[:LAST_LINES], *more])
    return f"a script of {len(lines)} lines; with the line `set -x` above them the log shows each that runs\n{listed}"


def _mentions(inputs: Mapping[str, Any]) -> list[Mention]:
    """Return the setting that says which shell runs a text."""
    if isinstance(inputs.get("shell"), str) or isinstance(inputs.get("command"), list):
        return []
    return [("settings", "shell")]


PLATFORMS = {"linux": ("linux", "unix"), "darwin": ("macos", "darwin", "unix")}
"""The keys of a `command` that is given per platform, by what Python calls the platform; `default` is for any."""


def _check(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Tell of a command per platform that has none for this one, and of inputs that would do nothing."""
    command = inputs.get("command")
    if isinstance(command, dict):
        try:
            command = for_this_platform(command)
        except ValueError as error:
            return {"command": str(error)}
    found = _not_texts(command, inputs.get("env"))
    if isinstance(command, list):
        told = "is for a command that is a text, and this one is a list"
        found |= {name: told for name in ("shell", "strict") if inputs.get(name)}
    elif isinstance(command, str) and command.startswith("#!"):
        told = "does nothing: the first line of the command says what runs it"
        found |= {name: told for name in ("shell", "strict") if inputs.get(name)}
    elif inputs.get("strict") and isinstance(shell := inputs.get("shell"), str) and not _is_shell(shell):
        found |= {"strict": f"is for {', '.join(_SHELLS)}; {shown(shell)} runs the text as it is"}
    if inputs.get("check") is False and "ok_codes" in inputs:
        found["ok_codes"] = "does nothing beside `check: false`, with which no code is a failure"
    return found


def _not_texts(command: Any, env: Any) -> dict[str, str]:
    """Tell of the first part of a command, and of the first variable, that can be no text."""
    found = {}
    try:
        for number, part in enumerate(command if isinstance(command, list) else (), 1):
            as_argument(part, f"part {number} of `command`")
    except TypeError as error:
        found["command"] = f"cannot be run: {error}"
    try:
        variables(env if isinstance(env, dict) else {})
    except TypeError as error:
        found["env"] = f"cannot be set: {error}"
    return found


def for_this_platform(command: Any) -> Any:
    """Return the command for the platform this is, if there is one for each; raises ValueError for none."""
    if not isinstance(command, dict):
        return command
    keys = (*PLATFORMS.get(sys.platform, (sys.platform,)), "default")
    chosen = next((command[key] for key in keys if key in command), None)
    if not chosen or not isinstance(chosen, (str, list)):
        raise ValueError(f"has no text or list for this platform; give it under one of: {', '.join(keys)}")
    return chosen


@task(
    "shell",
    inputs={
        "command": {"type": ["string", "array", "object"], "required": True, "minLength": 1, "minItems": 1},
        "working_dir": {"type": "string"},
        "env": {"type": "object"},
        "stdin": {"type": ["string", "number", "boolean", "array", "object"]},
        "stdout": {"type": "string", "minLength": 1},
        "stderr": {"type": "string", "minLength": 1},
        "check": {"type": "boolean", "default": True},
        "ok_codes": {
            "type": "array",
            "items": {"type": "integer", "minimum": -64, "maximum": 255},
            "minItems": 1,
            "default": [0],
        },
        "shell": {"type": ["string", "boolean"], "minLength": 1},
        "strict": {"type": "boolean"},
        "detach": {"type": "boolean", "default": False},
        "timeout": {"type": ["string", "number"], "format": "duration"},
        "stop_signal": {"type": "string", "enum": list(STOP_SIGNALS), "default": "SIGTERM"},
        "stop_grace": {"type": ["string", "number"], "format": "duration", "default": STOP_GRACE},
        "max_output": {"type": "integer", "minimum": 0, "maximum": MAX_OUTPUT_BYTES // 4, "default": MAX_OUTPUT},
    },
    spellings={"output_file": "stdout", "cwd": "working_dir", "input": "stdin"},
    check=_check,
    mentions=_mentions,
    result={
        "type": "object",
        "properties": {
            "return_code": {"type": "integer"},
            **{f"{name}{form}": {"type": "string"} for name in ("stdout", "stderr") for form in ("", "_cut", "_file")},
            "truncated": {"type": "boolean"},
        },
    },
)
async def shell(call: TaskCall) -> dict[str, Any]:
    """Run a command; return {return_code, stdout, stderr}.

    An output that was cut is called `stdout_cut` or `stderr_cut`, so that it is not used for the whole unnoticed. One
    that went to a file is not there; `stdout_file` or `stderr_file` is the path.
    """
    seconds = None if "timeout" not in call.inputs else parse_duration(call.inputs["timeout"])
    with anyio.move_on_after(seconds) as patience:
        return await _run(call)
    assert patience.cancelled_caught
    raise TimeoutError(f"it took longer than {format_duration(seconds or 0)}")


async def _run(call: TaskCall) -> dict[str, Any]:
    working_dir = call.workspace / call.inputs.get("working_dir", ".")
    places = _places(call)
    with _command(call) as argv, OutputFiles(places) as files:

        def receive(output: str, chunk: bytes) -> None:
            (files if files.takes(output) else call.log).receive(output, chunk)

        try:
            finished = await call.attempt.children.run(
                argv,
                cwd=working_dir,
                env={
                    **call.environment(),
                    **variables(call.inputs.get("env", {})),
                },
                input=as_text(call.inputs.get("stdin", "")).encode(),
                output_limit=call.inputs["max_output"],
                on_output=receive,
                detach=call.inputs["detach"],
                stop_signal=getattr(signal, call.inputs["stop_signal"]),
                grace_seconds=parse_duration(call.inputs["stop_grace"]),
            )
        except OSError as error:
            raise _explained(error) from error
        if finished.return_code not in call.inputs["ok_codes"] and call.inputs["check"]:
            raise exit_error(finished.return_code)(finished, working_dir, call.log.path, _as_typed(call, argv))
        await files.appear()
    return {"return_code": finished.return_code, **captured(finished, call.inputs["max_output"], places)}


def _places(call: TaskCall) -> dict[str, Path]:
    """Return where outputs go that are to be files; raises ValueError if both are to be the same one."""
    given = {name: call.inputs[name] for name in ("stdout", "stderr") if name in call.inputs}
    places = {name: confined(path, call.workspace, allow_outside=False) for name, path in given.items()}
    if len(set(places.values())) < len(places):
        raise ValueError("`stdout` and `stderr` cannot be the same file; write `2>&1` into the command for that")
    return places


def captured(finished: Finished, limit: int, places: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """Return both outputs by name, each as a text, or as the path of the file that it went to."""
    places = places or {}
    result: dict[str, Any] = {}
    truncated = False
    for name, output in (("stdout", finished.stdout), ("stderr", finished.stderr)):
        if name in places:
            result[f"{name}_file"] = str(places[name])
            continue
        # Cut output has its first and its last half, and a line between them: it is longer than the limit.
        was_cut = finished.truncated and len(output) > limit
        result[f"{name}_cut" if was_cut else name] = output.decode(errors="replace")
        truncated = truncated or was_cut
    return {**result, "truncated": True} if truncated else result


# -- the command ------------------------------------------------------------------------------------------------------


@contextmanager
def _command(call: TaskCall) -> Iterator[list[str]]:
    """Yield the command and its arguments. The file that a script with a `#!` line is put in is removed afterwards."""
    command = for_this_platform(call.inputs["command"])
    if not isinstance(command, str):
        yield [as_argument(part, f"part {number} of `command`") for number, part in enumerate(command, 1)]
    elif call.inputs.get("shell") is False:
        yield shlex.split(command)
    elif command.startswith("#!"):
        script = call.workspace / f".script-{os.urandom(8).hex()}"
        descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(command)
        try:
            yield [*shlex.split(command.partition("\n")[0][2:]), str(script)]
        finally:
            script.unlink(missing_ok=True)
    else:
        yield shell_command(command, call.inputs, call.context.get("settings", {}))


def _as_typed(call: TaskCall, argv: Sequence[str]) -> str:
    """Return the command as its step has it, with what templates have put in."""
    command = for_this_platform(call.inputs["command"])
    return command if isinstance(command, str) else shlex.join(argv)


def shell_command(command: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the shell that runs a text, with its arguments: strict for a script, which is of several lines."""
    given = inputs.get("shell")
    shell, *options = _words(given if isinstance(given, str) else settings.get("shell") or "/bin/sh")
    strict = inputs.get("strict", "\n" in command.strip())
    return [shell, *options, *_strictness(shell, strict), "-c", command]


def _words(shell: str) -> list[str]:
    """Return a program and its options, as in `bash -x`; a path that is there may have spaces."""
    return [shell] if os.path.exists(shell) or not shell.strip() else shlex.split(shell)


def _is_shell(shell: str) -> bool:
    return os.path.basename(next(iter(_words(shell)), "")) in _SHELLS


def _strictness(shell: str, strict: bool) -> Sequence[str]:
    if not strict or not _is_shell(shell):
        return ()
    return ("-e", "-o", "pipefail") if os.path.basename(shell) in _WITH_PIPEFAIL else ("-e",)


def _explained(error: OSError) -> OSError:
    """Return the error with what to do about a value that is too large for a command line."""
    if error.errno != errno.E2BIG:
        return error
    return OSError(error.errno, "the command and its variables are too long; put large values into `stdin` or a file")


def how_it_ended(return_code: int) -> str:
    """Return `ended with code 2`, or `was killed by SIGKILL`."""
    if return_code >= 0:
        return f"ended with code {return_code}"
    try:
        return f"was killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"was killed by signal {-return_code}"


def variables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of an `env` as texts."""
    return {name: as_argument(value, f"`{name}` in `env`") for name, value in given.items()}
