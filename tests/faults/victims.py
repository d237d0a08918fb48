"""Processes that are ended in the middle of writing, and a look at what they have left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import anyio

from faults.history import Moment, differences, following, moment, observe
from faults.writer import HONEST
from flujo.backends import open_backend
from flujo.kernel.backend import RunFilter, StateBackend
from flujo.kernel.errors import FlujoError

PATIENCE_SECONDS = 60.0
"""When a process counts as hanging."""


class Life(NamedTuple):
    """One life of a writer: where, as who, and with which history."""

    store: str
    name: str
    seed: int
    way: str = HONEST


class Victim:
    """A writer that is running, and what it has acknowledged."""

    def __init__(self, life: Life) -> None:
        script = Path(__file__).with_name("writer.py")
        command = [sys.executable, str(script), life.store, life.name, str(life.seed), life.way]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._life = life
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        self._said = b""

    @property
    def acknowledged(self) -> int:
        """How many operations it has said to be done."""
        return max(0, self._said.count(b"\n") - 1)

    def wait_for(self, acknowledged: int) -> None:
        """Return when so many operations are acknowledged."""
        while self._said.count(b"\n") < acknowledged + 1:
            if not self._hear(PATIENCE_SECONDS):
                raise AssertionError(f"{self._life} has ended, or hangs: {self._last_words()}")

    def freeze(self) -> None:
        """Stop it, and return when none of its threads is within a call of the system any more."""
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise AssertionError(f"{self._life} has ended: {status}")

    def kill(self) -> None:
        """End it as nothing else can, and hear what it has said by then."""
        self._process.kill()
        self._process.wait()
        while self._hear(0):
            pass

    def close(self) -> None:
        """Leave nothing of it."""
        self.kill()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _hear(self, seconds: float) -> bool:
        assert self._process.stdout is not None
        stream = self._process.stdout.fileno()
        ready, _, _ = select.select([stream], [], [], seconds)
        heard = os.read(stream, 1 << 16) if ready else b""
        self._said += heard
        return bool(heard)

    def _last_words(self) -> str:
        self._process.kill()
        assert self._process.stderr is not None
        return self._process.stderr.read().decode()


@contextmanager
def victim(life: Life) -> Iterator[Victim]:
    """A writer that has its store open; it does not outlive this."""
    found = Victim(life)
    try:
        found.wait_for(0)
        yield found
    finally:
        found.close()


class Finding(NamedTuple):
    """What one life has left."""

    acknowledged: int
    problems: Sequence[str]
    """What is not as it was promised; none of a store that keeps its promises."""


def kill_one(life: Life, random: Random) -> Finding:
    """Let a writer live, kill it at a random moment, and look at its store."""
    with victim(life) as writer:
        writer.wait_for(random.randrange(40))
        select.select([], [], [], random.random() / 500)  # the moment may be anywhere within an operation
        writer.kill()
        return Finding(writer.acknowledged, look(life, writer.acknowledged))


def look(life: Life, acknowledged: int) -> list[str]:
    """What is wrong with a store after such a life."""
    return anyio.run(problems, life.store, life.name, moment(life.name, life.seed, acknowledged))


async def problems(store: str, name: str, at: Moment) -> list[str]:
    """What is wrong with a store that a history was written to up to this moment, or a little further."""
    try:
        async with opened(store, None) as reader:
            found = differences(await observe(reader, name), at)
            found += [f"{problem.run_id}: {problem.text}" for problem in await reader.integrity()]
        await require_usable(store, name)
    except (FlujoError, AssertionError) as error:
        return [f"{type(error).__name__}: {error}"]
    return found


async def require_usable(store: str, name: str) -> None:
    """Require that another kernel takes over the runs that are left and goes on with them, at once."""
    async with opened(store, "heir") as heir:
        for summary in (await heir.list(RunFilter(id_prefix=f"{name}-"), limit=100)).runs:
            claimed = await heir.claim(summary.run_id)
            ended = following(claimed, owner=None, status="completed", finished_at=1)
            assert await heir.append([ended]) == {}, summary.run_id
            assert await heir.load(summary.run_id) == ended.summary


@asynccontextmanager
async def opened(store: str, owner: str | None) -> AsyncIterator[StateBackend]:
    """A handle that is open, and does not stay so."""
    handle = open_backend(store)
    await handle.open(owner)
    try:
        yield handle
    finally:
        await handle.close()
