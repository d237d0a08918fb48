"""Starts processes whose disk fails (injected.py), and gathers what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from faults.injected import HONEST, Trial


def run_trials(library: Path, folder: Path, scheme: str, faults: str, way: str = HONEST) -> list[Trial]:
    """What comes of each failing call. `library` is made of disk.c, `folder` is not there yet."""
    return _run("injected.py", library, [str(folder), scheme, way, faults])


def keep_in_trials(library: Path, folder: Path, scheme: str, verb: str, faults: str) -> list[Trial]:
    """The same while a store is migrated, backed up and so on; VERBS of keeping.py are what can be asked for."""
    return _run("keeping.py", library, [str(folder), scheme, verb, faults])


def _run(script: str, library: Path, arguments: Sequence[str]) -> list[Trial]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "LD_PRELOAD": str(library)}
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise AssertionError(f"the process that tried faults has ended with {done.returncode}:\n{done.stderr}")
    return [Trial(*json.loads(line)) for line in done.stdout.splitlines()]
