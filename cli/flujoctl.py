"""The entry point of the command `flujoctl`, and of `python -m flujoctl`.

It stays small because it runs before anything else: it makes sure that `flujo` is our namespace, answers `--help` and
`--version` without importing anything, and leaves the rest to `flujo.cli`.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib.machinery import PathFinder

YOUNG = 100_000
"""New objects after which Python looks for garbage among them. A start makes many objects and no garbage."""

INTERNAL_ERROR = 70
BROKEN_PIPE = 141


def main() -> None:
    """Run the command line in `sys.argv` and exit with its code."""
    gc.set_threshold(YOUNG)
    _open_closed_streams()
    code = _run(sys.argv[1:])
    gc.freeze()  # what is left goes with the process; to look through it for garbage would take a fifth of a command
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if (stranger := _package_in_the_way()) is not None:
        print(
            f"error[name-clash]: {stranger} is another package called flujo and hides the one flujoctl needs; "
            "remove it with `pip uninstall flujo`, or install flujoctl into an environment of its own",
            file=sys.stderr,
        )
        return INTERNAL_ERROR
    from flujo.cli import command_index

    if "_FLUJOCTL_COMPLETE" in os.environ:  # a shell asks for completions, always without arguments
        from flujo.cli.program import complete

        return complete()
    # Answered here because these have to be instant, and importing click alone takes several times as long as Python.
    if arguments in ([], ["--help"], ["-h"], ["help"]):
        return _print(command_index.overview())
    if arguments == ["--version"]:
        return _print(f"flujoctl {command_index.VERSION}\n")
    from flujo.cli.program import run

    return run(arguments)


def _open_closed_streams() -> None:
    """Give each standard stream that is closed, as by `2>&-`, the null device: a store would get its number otherwise,
    and be written over by the next message."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)
    os.close(free)
    # Python has None for a stream that was closed when it started, and prints to the other one instead.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115  # for the life of the process
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _package_in_the_way() -> str | None:
    """Return the file of a regular package `flujo`, if there is one: it would hide our namespace package."""
    found = PathFinder.find_spec("flujo")
    return None if found is None else found.origin


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python still wants to flush at exit goes nowhere
        return BROKEN_PIPE
    return 0


if __name__ == "__main__":
    main()
