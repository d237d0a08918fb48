"""Runs the code of one step, or a function it names. This text is the program of a child process, of the standard
library only.

Standard input brings {"code", "file", "names", "variable"} as JSON, or {"module", "function", "args", "kwargs",
"places"}. What the code prints goes to standard error; standard output is
kept for the answer, {"result"} or {"error": {types, message, line, members, cause}}, which no print can disturb.
"""

import _thread
import atexit
import importlib
import json
import math
import os
import resource
import signal
import sys
import threading

TYPE_CHECKING = False  # neither typing nor traceback is imported: every step would wait for them
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, BinaryIO

MOST_ERRORS = 50
"""How many errors of a group, and causes of errors, the answer tells of."""


class Names(dict):  # type: ignore[type-arg]
    """A dictionary whose items are attributes as well, at any depth: `args.day.month` and `args["day"]["month"]`.

    What is taken by its key is as it was: libraries that write data look at the types of dictionaries."""

    def __getattr__(self, name: str) -> "Any":
        try:
            value = self[name]
            return Names(value) if type(value) is dict else value
        except KeyError:
            known = ", ".join(self) or "nothing"
            raise AttributeError(f"there is no {name!r}; there is: {known}") from None


class NotWhole(Names):
    """The result of a command whose output was cut, or went to a file: asked for the whole of it, it says why that is
    not there, instead of standing for nothing."""

    def __init__(self, result: "dict[str, Any]", why: "dict[str, str]") -> None:
        super().__init__(result)
        self.__dict__["_why"] = why

    def __missing__(self, name: str) -> "Any":
        why = self.__dict__["_why"].get(name)
        raise KeyError(name) if why is None else ValueError(why)

    def get(self, name: str, default: "Any" = None) -> "Any":
        return self[name] if name in self or name in self.__dict__["_why"] else default


def main() -> None:
    requests, answer_to = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for each in (requests, answer_to):
        os.set_inheritable(each, False)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - it lives as long as the process
    with open(requests, "rb") as given, open(answer_to, "wb") as out:
        if sys.argv[1:] == ["warm"]:
            serve(given, out)
        else:
            out.write(json.dumps(answered(json.loads(given.read()))).encode())


def answered(request: "dict[str, Any]") -> "dict[str, Any]":
    """Do what is asked for. Its process was started by `python -P`, so what is imported above is Python's own, whatever
    the working directory holds; only the code looks there first, as code does."""
    if "module" in request:
        sys.path[:0] = request["places"]
        answer = call(request["module"], request["function"], request["args"], request["kwargs"])
    else:
        for step, why in request["not_whole"].items():
            tell(request["names"], step, why)
        sys.path.insert(0, "")
        answer = run(request["code"], request["file"], request["names"], request["variable"])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    return answer


def serve(requests: "BinaryIO", out: "BinaryIO") -> None:
    """Answer requests, one a line, until there are no more or one has left something behind. A mark follows on what
    each has printed."""
    began: list[str] = []
    sys.addaudithook(lambda event, _: began.append(event) if event in STARTS_PROCESSES else None)
    traces: Traces | None = None
    for line in requests:
        request = json.loads(line)
        os.environ.update(request["environment"])
        if traces is None:
            traces = Traces()
        answer = answered(request)
        stays = not began and traces.are_removed()
        out.write(json.dumps({**answer, "stays": stays}).encode() + b"\n")
        out.flush()
        os.write(2, f"\0{request['mark']}\n".encode())
        if not stays:
            return


STARTS_PROCESSES = ("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec")
SIGNALS = (signal.SIGALRM, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
MOST_MORE_MEMORY = 256 * 1024 * 1024


class Traces:
    """What code may leave behind in its process, as it was before."""

    def __init__(self) -> None:
        self.folder, self.mask = os.getcwd(), umask()
        self.environment = dict(os.environ)
        self.path, self.streams = list(sys.path), (sys.stdin, sys.stdout, sys.stderr)
        self.modules = set(sys.modules)
        self.fixed = self.seen()
        self.memory = memory()

    def seen(self) -> "tuple[Any, ...]":
        """What is not put back: timers, handlers of signals, what is to be done at the end, open files."""
        handlers = [signal.getsignal(each) for each in SIGNALS]
        return handlers, signal.getitimer(signal.ITIMER_REAL)[0] > 0, atexit._ncallbacks(), open_files()

    def are_removed(self) -> bool:
        """Put back what can be put back; True if nothing else is left."""
        try:
            os.chdir(self.folder)
        except OSError:
            return False
        if os.environ != self.environment:
            for name in os.environ.keys() - self.environment.keys():
                del os.environ[name]
            os.environ.update(self.environment)
        sys.path[:] = self.path
        sys.stdin, sys.stdout, sys.stderr = self.streams
        os.umask(self.mask)
        if any(stream.closed for stream in self.streams):
            return False
        new = [sys.modules[name] for name in sys.modules.keys() - self.modules]
        self.modules.update(sys.modules)
        is_own = any(str(getattr(module, "__file__", None) or "").startswith(self.folder) for module in new)
        is_alone = threading.active_count() == 1 and _thread._count() == 0
        return is_alone and not is_own and self.seen() == self.fixed and memory() < self.memory + MOST_MORE_MEMORY


def umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def memory() -> int:
    """Bytes that the process has needed at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def tell(names: "dict[str, Any]", step: str, why: "dict[str, str]") -> None:
    """Let the result of a step say what is not whole of it."""
    for steps in (names.get("steps"), (names.get("context") or {}).get("steps")):
        if isinstance(steps, dict) and step in steps:
            steps[step]["result"] = NotWhole(steps[step]["result"], why)


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


def call(module: str, function: str, args: "list[Any]", kwargs: "dict[str, Any]") -> "dict[str, Any]":
    """Call a function of a module, and answer with what it returns."""
    file = ""
    try:
        found: Any = importlib.import_module(module)
        file = getattr(found, "__file__", None) or ""
        for name in function.split("."):
            found = member(found, name)
        result = found(*args, **kwargs)
        if hasattr(type(result), "__await__"):
            import asyncio  # which takes long, and is among what an async function has imported anyway

            result = asyncio.run(awaited(result))
        check(result, "the result", 0)
    except BaseException as error:
        return {"error": describe(error, file)}
    return {"result": result}


def member(owner: "Any", name: str) -> "Any":
    """Return the part of a module or a class; one that is not there is told with the nearest, or with what is there."""
    try:
        return getattr(owner, name)
    except AttributeError as error:
        if getattr(error, "name", None) != name:  # raised by what was asked for it
            raise
        import difflib

        known = [each for each in dir(owner) if not each.startswith("_") and callable(getattr(owner, each, None))]
        near = difflib.get_close_matches(name, known[:200], 1)
        more = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known[:20]) or 'no function'}"
        raise AttributeError(f"{error}; {more}") from None


async def awaited(value: "Any") -> "Any":
    """Return what something awaitable gives."""
    return await value


def describe(error: BaseException, file: str, left: "list[int] | None" = None) -> "dict[str, Any]":
    """Return {types, message, line} of an error, the `members` of a group, and the `cause` it was raised from."""
    if left is None:
        left = [MOST_ERRORS]
        whole, error.__traceback__ = error.__traceback__, from_code(error, file)
        sys.__excepthook__(
            type(error), error, None
        )  # which shows the traceback that an error has, whatever it is given
        error.__traceback__ = whole
    left[0] -= 1
    lines = [error.lineno] if isinstance(error, SyntaxError) and error.filename == file else []
    lines += [part.tb_lineno for part in parts(error) if part.tb_frame.f_code.co_filename == file]
    types = [(str(cls.__module__), cls.__qualname__) for cls in type(error).__mro__ if cls is not object]
    told: dict[str, Any] = {"types": types, "message": text_of(error), "line": lines[-1] if lines else None}
    if isinstance(error, BaseExceptionGroup) and left[0] > 0:
        told["members"] = [describe(each, file, left) for each in error.exceptions if left[0] > 0]
    if error.__cause__ is not None and left[0] > 0:
        told["cause"] = describe(error.__cause__, file, left)
    return told


def from_code(error: BaseException, file: str) -> "TracebackType | None":
    """Return the traceback of an error from the user's code on, without what has called it."""
    own = (part for part in parts(error) if part.tb_frame.f_code.co_filename == file)
    return next(own, error.__traceback__)


def parts(error: BaseException) -> "Iterator[TracebackType]":
    """Yield the traceback of an error frame by frame, the innermost last."""
    part = error.__traceback__
    while part is not None:
        yield part
        part = part.tb_next


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


MOST_BITS = 14_284
"""Bits of a whole number that Python writes as text: at most 4,300 digits."""


def check(value: "Any", path: str, depth: int) -> None:
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
    elif isinstance(value, int):
        if value.bit_length() > MOST_BITS:
            raise ValueError(f"{path} is a number of more than 4300 digits, which JSON cannot hold")
    elif not (value is None or isinstance(value, str)):
        raise TypeError(f"{path} is of type {type(value).__name__}, which JSON cannot hold")


if __name__ == "__main__":
    main()
