"""Errors of what a kernel lives in: its event loop, its threads, the owners of files, and what is installed."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from .base import FlujoError


class KernelClosedError(FlujoError, RuntimeError):
    """The kernel is not open: it was never entered, or it is closing.

    Use the kernel inside `async with Kernel(…) as kernel:`, or between `open()` and `close()`.
    """

    reason = "KERNEL_CLOSED"

    def __init__(self) -> None:
        super().__init__(
            "the kernel is not open",
            ["use it inside `async with Kernel(…) as kernel:`, or between `open()` and `close()`"],
        )


class UnsupportedEventLoopError(FlujoError, RuntimeError):
    """A part of flujo, `what`, was used on an event loop that it cannot run on.

    Start the program with `anyio.run(main, backend="asyncio")`.
    """

    reason = "EVENT_LOOP_UNSUPPORTED"

    def __init__(self, what: str, loop: str, supported: Sequence[str]) -> None:
        super().__init__(f"{what} does not run on {loop}", [f"anyio.run(main, backend={supported[0]!r})"])
        self.what, self.loop, self.supported = what, loop, tuple(supported)


class WrongEventLoopError(FlujoError, RuntimeError):
    """A kernel or client, `what`, was called from another event loop than the one it was opened in. A thread that calls
    `asyncio.run` makes such a loop, and the answer would never reach it.

    Await the call in the loop that opened it; threads, scripts and notebooks use `flujo.kernel.blocking`.
    """

    reason = "WRONG_EVENT_LOOP"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was opened in another event loop than the one it is called from",
            [
                "await it in the event loop that opened it",
                "in threads, scripts, notebooks and def endpoints use flujo.kernel.blocking or flujo.client.blocking",
                "from a thread: asyncio.run_coroutine_threadsafe(kernel.start(…), loop).result()",
            ],
        )
        self.what = what


class ForkedProcessError(FlujoError, RuntimeError):
    """A kernel, client or store, `what`, was used in a process that was forked from the one that had opened it.

    Open another one in each process, after the fork.
    """

    reason = "FORKED_PROCESS"

    def __init__(
        self, what: str, hints: Sequence[str] = ("make and open another one in each process, after the fork",)
    ) -> None:
        super().__init__(f"{what} was opened before this process was forked, and stays with its parent", hints)
        self.what = what


class BlockingCallError(FlujoError, RuntimeError):
    """A call that blocks its thread was made where an event loop runs, which would stand still meanwhile; or a run
    waits for its own end, which would never come.

    Await `anyio.to_thread.run_sync(call, …)`, or use the classes that do not block. Let a run be waited for by whoever
    has started it, or by another run.
    """

    reason = "BLOCKING_CALL"

    def __init__(
        self, call: str, problem: str = "blocks, and an event loop runs in this thread", hints: Sequence[str] = ()
    ) -> None:
        super().__init__(
            f"{call} {problem}",
            hints
            or [
                f"await anyio.to_thread.run_sync({call}, …)",
                "or use what does not block: flujo.kernel.Observer, flujo.kernel.Kernel",
            ],
        )
        self.call = call


class UntrustedOwnerError(FlujoError):
    """A file that flujo found by itself belongs to another user; `insist` is the command that names the file.

    If you trust that user, name the file yourself with --store, --server or by a variable.
    """

    reason = "OWNER_UNTRUSTED"

    def __init__(self, path: str, owner: str, insist: str) -> None:
        super().__init__(
            f"{path} belongs to {owner}, neither to you nor to root; flujo found it by itself and does not use it",
            [f"{insist}  # if you trust {owner}"],
        )
        self.path, self.owner, self.insist = path, owner, insist


class PlaceTakenError(FlujoError):
    """In the place `path`, where flujo makes a file or a folder, is something else: a link, a pipe, or what belongs to
    another user. It is not followed, written or removed.

    Look at it and move it away; or keep the store, the socket or the tokens in a folder of your own.
    """

    reason = "PLACE_TAKEN"

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f"{path} is {found}; flujo keeps something of its own there, and has not touched it",
            [
                f"ls -ld {quote(path)}  # look at it; then move it away: mv {quote(path)} OTHER-PLACE",
                "or use a folder that no other user may write to",
            ],
        )
        self.path, self.found = path, found


class ExtraMissingError(FlujoError, ImportError):
    """A caller asks for something that needs an optional part of flujo, which is not installed.

    Install it: `pip install 'flujoctl[EXTRA]'`.
    """

    reason = "EXTRA_MISSING"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}", [f"pip install 'flujoctl[{extra}]'"])
        self.what, self.extra = what, extra
