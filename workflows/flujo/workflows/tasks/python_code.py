"""The task `python_code`: run Python in a child process, and return what it leaves in the variable `result`.

The code sees `args steps env workspace context`, in a loop also `item index batch`; of these only what it mentions is
sent. Further inputs are variables of the code, and `result_variable` names another one than `result`. The code can be
stopped at any time, as any child process, and never holds up the event loop. An exception fails the step under the name
of its class, so that `retry: {on_error: [ConnectionError]}` means what it says.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from keyword import iskeyword
from typing import Any, NamedTuple

from flujo.kernel.errors import FlujoError, OutputTooLargeError
from flujo.kernel.programs import Finished
from flujo.kernel.values import MAX_OUTPUT_BYTES
from flujo.workflows.missing_modules import NO_MODULE, PLACES, told_of_module
from flujo.workflows.registry import InText, LoopScope, Mention, TaskCall, task
from flujo.workflows.seen import why_not_whole

from .python_pool import ChildEnded, pool_of, program
from .shell import end_of, how_it_ended

MAX_PARSED = 16 * 1024
"""Characters of code that are parsed here, which takes about 2 ms for each KiB and cannot be interrupted."""

NAMES = ("args", "steps", "env", "workspace", "context")


class PythonCodeError(FlujoError):
    """The code raised. `type` is the name of its exception, qualified unless it is a built-in one."""

    reason = "STEP_FAILED"
    type = "PythonCodeError"
    tells_causes = True


class Mentions(NamedTuple):
    """What a piece of code uses. `steps` None: it uses `steps` as a whole; `args` likewise."""

    names: frozenset[str]
    steps: frozenset[str] | None
    env: frozenset[str]
    args: frozenset[str] | None = frozenset()


def _place_in(code: str, error: SyntaxError) -> int:
    """Return where in the code an error is: at a character, or else where its line begins."""
    lines = code.splitlines(keepends=True)
    number = min(error.lineno or 1, len(lines))
    line, before = lines[number - 1] if lines else "", sum(map(len, lines[: number - 1]))
    column = (error.offset or 1) - 1
    if not line[column : column + 1].strip():
        column = len(line) - len(line.lstrip())
    return before + column


def _check(inputs: Mapping[str, Any]) -> dict[str, str | InText]:
    """Tell of a syntax error in code that holds no templates, before anything runs."""
    code = inputs.get("code", "")
    try:
        if len(code) <= MAX_PARSED:
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = f"has a syntax error: {getattr(error, 'msg', error)}"
        return {"code": InText(told, _place_in(code, error)) if isinstance(error, SyntaxError) else told}
    return {
        name: "becomes a variable of the code, so it must be a Python name"
        for name in inputs
        if not name.isidentifier() or iskeyword(name)
    }


def _mentions(inputs: Mapping[str, Any]) -> Iterator[Mention]:
    """Yield what the code takes out of `env` and `args`; it may find all there is in `context`."""
    code = inputs.get("code")
    if not isinstance(code, str):
        return
    used = mentions(code)
    yield from (("env", name) for name in used.env)
    yield from (("args", name) for name in (used.args if used.args is not None else [None]))
    if "context" in used.names:
        yield from ((root, None) for root in ("args", "settings", "workflow"))


@task(
    "python_code",
    inputs={"code": {"type": "string", "required": True}, "result_variable": {"type": "string", "minLength": 1}},
    takes_any_input=True,
    check=_check,
    mentions=_mentions,
    shares_loop=True,
)
async def python_code(call: TaskCall) -> Any:
    """Run the code; return its `result`. Further inputs are variables that the code sees."""
    code = call.inputs["code"]
    further = {name: value for name, value in call.inputs.items() if name not in _OWN}
    request = {
        "code": code,
        "file": f"<{call.attempt.step}>",
        "names": {**(names := names_for(code, call.context)), **further},
        "not_whole": _not_whole(names),
        "variable": call.inputs.get("result_variable"),
    }
    return await run_python(call, request, "the code")


_OWN = ("code", "result_variable")


async def run_python(call: TaskCall, request: Mapping[str, Any], place: str) -> Any:
    """Let a child process work on a request (python_child.py) and return its result; raises what it tells of, with the
    line in `place`."""
    if call.loop is not None:
        return await _result(await _ask_warm_child(call, call.loop, request), call, place)
    finished = await call.attempt.children.run(
        [sys.executable, "-P", "-c", program()],
        cwd=call.workspace,
        env=call.environment(),
        input=json.dumps(request).encode(),
        output_limit=2 * MAX_OUTPUT_BYTES,
        on_output=lambda stream, chunk: call.log.receive(stream, chunk) if stream == "stderr" else None,
    )
    if finished.truncated:
        raise OutputTooLargeError(len(finished.stdout), MAX_OUTPUT_BYTES)
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        raise _ended(finished) from None
    return await _result(answer, call, place)


async def _ask_warm_child(call: TaskCall, loop: LoopScope, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return await pool_of(loop).ask(call, request)
    except ChildEnded as gone:
        if gone.finished is None:
            raise ChildProcessError("the Python process was ended with its loop") from None
        raise _ended(gone.finished) from None


def _ended(finished: Finished) -> ChildProcessError:
    """Return the error of a process that has given no answer: it was killed, or left by os._exit."""
    last = end_of(finished.stderr)
    said = ": " + "\n".join(last) if last else ""
    return ChildProcessError(f"the Python process {how_it_ended(finished.return_code)}{said}")


async def _result(answer: Mapping[str, Any], call: TaskCall, place: str) -> Any:
    if "error" in answer:
        message = answer["error"]["message"]
        if missing := NO_MODULE.fullmatch(message):
            where = PLACES if call.inputs.get("module") else ("workspace",)
            message = f"{message}; {await told_of_module(missing[1], call.context, where)}"
        told = {**answer["error"], "message": _with_way(message, call.context)}
        raise _as_error(told, place, f"; it ran in {call.workspace}")
    return answer["result"]


def _with_way(message: str, context: Mapping[str, Any]) -> str:
    """Return a message, and for a name that templates know and code does not how code comes to its value."""
    if (found := _UNDEFINED.fullmatch(message)) is None:
        return message
    name = found[1]
    if name in context["args"]:
        return f"{message}; code sees it as args[{name!r}]"
    if name in sys.stdlib_module_names:
        return f"{message}; write `import {name}` above it"
    return f"{message}; code sees it as context[{name!r}]" if name in context else message


_UNDEFINED = re.compile(r"name '(\w+)' is not defined")


def names_for(code: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the template names that a piece of code mentions."""
    used = mentions(code)
    sent: dict[str, Any] = {name: context[name] for name in _seen(context) if name in used.names and name in context}
    if "steps" in used.names:
        steps = _with_results(context["steps"])
        sent["steps"] = steps if used.steps is None else {name: steps[name] for name in used.steps if name in steps}
    if "context" in used.names:
        sent["context"] = {**context, "steps": _with_results(context["steps"])}
    return sent


def _not_whole(names: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return, by step, the outputs of commands that were cut or went to files, with what code is told that asks for
    the whole."""
    steps = names.get("steps") or names.get("context", {}).get("steps") or {}
    results = {name: step.get("result") for name, step in steps.items()}
    told = {
        name: {each: why for each in ("stdout", "stderr") if (why := why_not_whole(result, each)) is not None}
        for name, result in results.items()
        if isinstance(result, dict)
    }
    return {name: whys for name, whys in told.items() if whys}


def _seen(context: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that code may see; in a loop those of the item as well."""
    yield from NAMES
    batch = context.get("batch")
    if isinstance(batch, dict) and "arg_name" in batch:  # and not a parameter of this name
        yield from ("item", "index", "batch", batch["arg_name"])


def _with_results(steps: Mapping[str, Any]) -> dict[str, Any]:
    """Return the steps as code sees them: one without a result has its status, and nothing else."""
    return {name: step if isinstance(step, dict) else {"status": step.status} for name, step in steps.items()}


@lru_cache(maxsize=256)
def mentions(code: str) -> Mentions:
    """Return what `code` uses: if it is very long, or is no Python before it is rendered, every name in it."""
    try:
        tree = ast.parse(code) if len(code) <= MAX_PARSED else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    if tree is None:
        words = frozenset(re.findall(r"[A-Za-z_]\w*", code))
        found = frozenset(re.findall(r"\benv\W+(?:get\W+)?([A-Za-z_]\w*)", code))
        return Mentions(words, None, found, None if "args" in words else frozenset())
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    steps = list(_members(tree, "steps"))
    env = {name for name in (*_members(tree, "env"), *_got(tree, "env")) if name is not None}
    args = [*_members(tree, "args"), *_got(tree, "args")]
    return Mentions(names, _all_of(steps, tree, "steps") or None, frozenset(env), _all_of(args, tree, "args"))


def _all_of(members: Sequence[str | None], tree: ast.AST, owner: str) -> frozenset[str] | None:
    """Return the members that code takes out of `owner`; None if it uses that otherwise as well."""
    uses = sum(isinstance(node, ast.Name) and node.id == owner for node in ast.walk(tree))
    known = frozenset(name for name in members if name is not None)
    return known if len(members) == uses else None


def _members(tree: ast.AST, owner: str) -> Iterator[str | None]:
    """Yield the b of each `owner.b` and `owner["b"]`; None for one that is computed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == owner:
            key = node.slice
            yield key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else None
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == owner:
            yield node.attr


def _got(tree: ast.AST, owner: str) -> Iterator[str]:
    """Yield the b of each `owner.get("b")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[ast.Constant(value=key), *_]):
                if name == owner and isinstance(key, str):
                    yield key


def _as_error(told: Mapping[str, Any], place: str, where: str = "") -> Exception:
    """Return the error that the child has told of, with the members and the cause it has. `place` is what its line
    counts in; `where` is said of one that may be about a file."""
    if members := told.get("members"):
        error: Exception = ExceptionGroup(
            told["message"] or "several errors", [_as_error(each, place) for each in members]
        )
    else:
        error = _as_one_error(told["types"], told["message"], told["line"], place, where)
    if cause := told.get("cause"):
        error.__cause__ = _as_error(cause, place)
    return error


_ABOUT_A_FILE = tuple(
    ("builtins", name) for name in ("FileNotFoundError", "NotADirectoryError", "IsADirectoryError", "PermissionError")
)


def _as_one_error(types: Sequence[Sequence[str]], message: str, line: int | None, place: str, folder: str) -> Exception:
    """Return an exception of classes named like those of the original, so that retry policies see what it was."""
    cls: type[Exception] = PythonCodeError
    for module, name in reversed(types):
        if (module, name) not in (("builtins", "BaseException"), ("builtins", "Exception")):
            cls = type(name, (cls,), {"__module__": module})
    module, name = types[0]
    folder = folder if any(tuple(each) in _ABOUT_A_FILE for each in types) else ""
    where = f" (line {line} of {place}{folder})" if line else folder
    error = cls((message or name) + where)
    error.type = name if module in ("builtins", "__main__") else f"{module}.{name}"  # type: ignore[attr-defined]
    return error
