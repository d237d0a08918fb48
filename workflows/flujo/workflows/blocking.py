"""Work that may block for ever, such as a read from a mount whose server is gone, where it can be given up.

    text = await may_block(read, path)

A thread cannot be ended, so the caller does not wait for it longer than a grace, and neither does the process: these
threads are daemonic. Work that changes something asks `GivenUp` right before it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio

GRACE_SECONDS = 2.0
"""How long a cancelled caller waits for its work to come to an end, so that usually none is left behind."""

Result = TypeVar("Result")


class GivenUp(threading.Event):
    """Set once the caller is cancelled; `check` ends the work then."""

    def check(self) -> None:
        """Raise InterruptedError once the caller has given the work up."""
        if self.is_set():
            raise InterruptedError("the step has ended while it was waiting for the disk")


async def may_block(function: Callable[[GivenUp], Result]) -> Result:
    """Return what `function` returns, called in a thread of its own; raises what it raises.

    A cancel is answered once the function has returned, or after a grace, whichever comes first.
    """
    given_up = GivenUp()
    outcome: Future[Result] = Future()
    ended, end = os.pipe()

    def work() -> None:
        try:
            outcome.set_result(function(given_up))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            os.close(end)

    threading.Thread(target=work, name="flujo-may-block", daemon=True).start()
    try:
        await anyio.wait_readable(ended)
    except BaseException:
        given_up.set()
        with anyio.move_on_after(GRACE_SECONDS, shield=True):
            await anyio.wait_readable(ended)
        raise
    finally:
        os.close(ended)
    return outcome.result()
