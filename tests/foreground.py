"""Processes that listen to signals, wherever the tests themselves were started from.

A shell starts its background jobs with SIGINT ignored, nohup ignores SIGHUP, and children inherit that. What a test
means to interrupt must not.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def listening() -> Iterator[None]:
    """Inside, this process does with a Ctrl-C what one started from a terminal does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def listen() -> None:
    """For `preexec_fn`: what a process started from a terminal does on these signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
