"""Processes that listen to signals, wherever the tests themselves were started from.

A shell starts its background jobs with SIGINT ignored, nohup ignores SIGHUP, and children inherit that. What a test
means to interrupt must not.
"""

from __future__ import annotations

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """For `preexec_fn`: what a process started from a terminal does on these signals."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
