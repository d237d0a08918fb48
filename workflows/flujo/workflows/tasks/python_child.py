"""Runs the code of one step, or a function it names. This text is the program of a child process, of the standard
library only.

Standard input brings {"code", "file", "names", "variable"} as JSON, or {"module", "function", "args", "kwargs",
"places"}. What the code prints goes to standard error; standard output is
kept for the answer, {"result"} or {"error": {types, message, line, members, cause}}, which no print can disturb.
"""

import asyncio
import importlib
import inspect
import json
import math
import os
import sys
import traceback
from typing import Any

MOST_ERRORS = 50
"""How many errors of a group, and causes of errors, the answer tells of."""


class Names(dict):  # type: ignore[type-arg]
    """A dictionary whose items are attributes as well: `args.day` and `args["day"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            known = ", ".join(self) or "nothing"
            raise AttributeError(f"there is no {name!r}; there is: {known}") from None


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    answer_to = os.dup(1)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - it lives as long as the process
    if "module" in request:
        answer = call(request["module"], request["function"], request["args"], request["kwargs"], request["places"])
    else:
        answer = run(request["code"], request["file"], request["names"], request["variable"])
    try:
        sys.stdout.flush()
    except OSError:
        pass
    with open(answer_to, "wb") as out:
        out.write(json.dumps(answer).encode())


def run(code: str, file: str, names: "dict[str, Any]", variable: "str | None" = None) -> "dict[str, Any]":
    """Run code that sees these names; answer with what it leaves in `variable`, which it need not set if none is
    named."""
    variables: dict[str, Any] = {"__name__": "__main__", "__file__": file}
    for name, value in names.items():
        variables[name] = Names(value) if isinstance(value, dict) else value
    if isinstance(steps := variables.get("steps"), dict):
        variables["steps"] = Names({name: Names(step) for name, step in steps.items()})
    try:
        exec(compile(code, file, "exec"), variables)
        if variable is not None and variable not in variables:
            raise NameError(f"the code has not set {variable!r}, which `result_variable` names")
        result = variables.get(variable or "result")
        check(result, variable or "result", 0)
    except BaseException as error:
        return {"error": describe(error, file)}
    return {"result": result}


def call(
    module: str, function: str, args: "list[Any]", kwargs: "dict[str, Any]", places: "list[str]"
) -> "dict[str, Any]":
    """Call a function, found in a module that may lie in these folders, and answer with what it returns."""
    sys.path[:1] = places
    file = ""
    try:
        found: Any = importlib.import_module(module)
        file = getattr(found, "__file__", None) or ""
        for name in function.split("."):
            found = getattr(found, name)
        result = found(*args, **kwargs)
        if inspect.isawaitable(result):
            result = asyncio.run(awaited(result))
        check(result, "the result", 0)
    except BaseException as error:
        return {"error": describe(error, file)}
    return {"result": result}


async def awaited(value: Any) -> Any:
    """Return what something awaitable gives."""
    return await value


def describe(error: BaseException, file: str, left: "list[int] | None" = None) -> "dict[str, Any]":
    """Return {types, message, line} of an error, the `members` of a group, and the `cause` it was raised from."""
    if left is None:
        left = [MOST_ERRORS]
        try:
            sys.stderr.write("".join(traceback.format_exception(error)))
        except Exception as second:  # an error whose text cannot be had, or one that is thousands deep
            sys.stderr.write(f"{type(error).__name__}, whose traceback cannot be shown: {type(second).__name__}\n")
    left[0] -= 1
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == file else None
    types = [(str(cls.__module__), cls.__qualname__) for cls in type(error).__mro__ if cls is not object]
    told: dict[str, Any] = {"types": types, "message": text_of(error), "line": frames[-1] if frames else line}
    if isinstance(error, BaseExceptionGroup) and left[0] > 0:
        told["members"] = [describe(each, file, left) for each in error.exceptions if left[0] > 0]
    if error.__cause__ is not None and left[0] > 0:
        told["cause"] = describe(error.__cause__, file, left)
    return told


def text_of(error: BaseException) -> str:
    """Return the text of an error with its notes, also where reading it raises."""
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception as second:
        text = f"({type(error).__name__}, whose text cannot be had: its __str__ raised {type(second).__name__})"
    if isinstance(error, BaseExceptionGroup):
        text = error.message
    notes = getattr(error, "__notes__", None)
    return "\n".join([text, *(note for note in (notes if isinstance(notes, list) else []) if isinstance(note, str))])


def check(value: Any, path: str, depth: int) -> None:
    """Refuse what JSON cannot hold, with the place where it is."""
    if depth > 100:
        raise ValueError(f"{path[:80]} nests too deeply, or contains itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path} has the key {key!r}, and keys must be text")
            check(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is {value}, which JSON cannot hold")
    elif not (value is None or isinstance(value, (str, int))):
        raise TypeError(f"{path} is of type {type(value).__name__}, which JSON cannot hold")


if __name__ == "__main__":
    main()
