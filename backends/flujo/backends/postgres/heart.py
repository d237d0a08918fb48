"""What works beside the questions of a handle: its heartbeat, and its ears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b

import anyio

from . import leases, slots
from .connection import Again, Connection, Lost, Refusal
from .url import Address

PAUSE_SECONDS = 0.2
"""Between two tries to reach a server that does not answer."""

CHECK_SECONDS = 10.0
"""How often it is asked whether the connection that hears is still one."""

PROOF_SECONDS = 1.0
HEARING_SECONDS = 5.0
DEAF_SECONDS = 0.2
"""How long to wait before looking without having heard anything, with ears and without."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first one goes on while a laptop sleeps


def now() -> float:
    """Return seconds on a clock that nobody sets."""
    return time.clock_gettime(_CLOCK)


def channel_of(schema: str, owner: str | None) -> str:
    """Return the channel on which a kernel is told of requests, or all of them of work without an owner. The id of a
    kernel may be longer than the name of a channel."""
    text = f"{schema}/{owner or ''}"
    return f"flujo_{blake2b(text.encode(), digest_size=12).hexdigest()}"


class ServerClock:
    """Tells the time of the server, by a clock of this host that nobody sets.

    Each answer with an instant says between which two the server's clock then was: it was read after the question was
    sent, and before the answer came. What is believed moves no further than it takes to fit."""

    def __init__(self) -> None:
        self._ahead: float | None = None  # seconds since 1970 less `now()`

    def note(self, sent: float, instant: float, received: float) -> None:
        """The server has read `instant`, seconds since 1970, between two moments of `now()`."""
        least, most = instant - received, instant - sent
        self._ahead = (least + most) / 2 if self._ahead is None else min(max(self._ahead, least), most)

    def time_ns(self) -> int:
        """Return nanoseconds since 1970; by this host as long as the server was not asked."""
        return time.time_ns() if self._ahead is None else round((now() + self._ahead) * 1e9)


class Heart:
    """Beats for one kernel, and tells for how long it may count itself as alive."""

    def __init__(
        self,
        address: Address,
        owner: str,
        incarnation: int,
        lease: float,
        clock: ServerClock,
        limits_set: Callable[[int], None],
    ) -> None:
        """`limits_set` is told with each beat how often limits of all kernels were set or removed."""
        self._limits_set = limits_set
        self._address = address
        self._clock = clock
        self._owner = owner
        self._incarnation = incarnation
        self._lease = lease
        self.good_until = now() + 2 / 3 * lease
        self.is_dead = False
        self.is_draining = asyncio.Event()  # set once somebody has asked for that
        self._beaten = asyncio.Event()  # by the next beat, or by the answer that there is none any more

    async def serve(self) -> None:
        """Beat until cancelled, or until somebody has said that this kernel is dead."""
        connection: Connection | None = None
        try:
            while not self.is_dead:
                try:
                    if connection is None:
                        connection = await self._connect()
                    await self._beat(connection)
                except (Lost, Again, Refusal, TimeoutError):
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    await anyio.sleep(min(PAUSE_SECONDS, self._lease / 20))
                else:
                    await anyio.sleep(self._lease / 3)
        finally:
            if connection is not None:
                connection.terminate()

    async def _connect(self) -> Connection:
        with anyio.fail_after(self._lease / 3):
            return await Connection.connect(self._address)

    async def _beat(self, connection: Connection) -> None:
        sent = now()
        found = await connection.fetch(leases.BEAT, self._owner, self._incarnation, timeout=self._lease / 3)
        if found:
            drains, instant, limits_set = found[0]
            self._limits_set(limits_set)
            self._clock.note(sent, instant, now())
            self.good_until = sent + 2 / 3 * self._lease
            if drains:
                self.is_draining.set()
        else:
            self.is_dead = True
        beaten, self._beaten = self._beaten, asyncio.Event()
        beaten.set()

    async def doubt(self) -> None:
        """Return once this kernel cannot know any more that it counts as alive."""
        while not self.is_dead and (left := self.good_until - now()) > 0:
            await self._wait(left)

    async def certainty(self) -> bool:
        """Return True once this kernel is known to count as alive, False once it is dead."""
        while not self.is_dead and self.good_until <= now():
            await self._wait(CHECK_SECONDS)
        return not self.is_dead

    async def renewal(self) -> None:
        """Return once a beat has put off the doubt."""
        before = self.good_until
        while self.good_until <= before:
            await self._beaten.wait()

    async def _wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._beaten.wait()


class Ears:
    """Hears what others post for one kernel, and of work without an owner.

    A pooler may give LISTEN to one session and everything else to others, without an error. So it has to be proved: a
    notification is sent to oneself on another connection, and as long as it was not heard, there is polling."""

    def __init__(self, address: Address, owner: str, notify: Callable[[str], Awaitable[None]]) -> None:
        """`notify` sends a notification to a channel, on another connection than the one that hears."""
        self._address = address
        self._own, self._idle = channel_of(address.schema, owner), channel_of(address.schema, None)
        self._notify = notify
        self.hears = False
        self._proof = asyncio.Event()  # that something was heard since it was asked for
        self.posted = asyncio.Event()
        self.idle = asyncio.Event()
        self.slots = asyncio.Event()

    @property
    def patience(self) -> float:
        """Return for how many seconds to wait before looking without having heard anything."""
        return HEARING_SECONDS if self.hears else DEAF_SECONDS

    async def serve(self) -> None:
        """Listen until cancelled."""
        connection: Connection | None = None
        try:
            while True:
                try:
                    connection = await Connection.connect(self._address, dsn=self._address.listen_dsn)
                    await connection.listen([self._own, self._idle], self._heard)
                    await self._prove()
                    while True:
                        await anyio.sleep(CHECK_SECONDS)
                        await connection.fetch("SELECT 1", timeout=CHECK_SECONDS)
                        if not self.hears:
                            await self._prove()
                except (Lost, Again, Refusal):
                    self._lose()
                    if connection is not None:
                        connection.terminate()
                        connection = None
                    await anyio.sleep(PAUSE_SECONDS)
        finally:
            if connection is not None:
                connection.terminate()

    async def _prove(self) -> None:
        """Find out whether anything is heard; and look once, for what came while nobody listened."""
        self._proof = asyncio.Event()
        await self._notify(self._own)
        with anyio.move_on_after(PROOF_SECONDS):
            await self._proof.wait()
        self.hears = self._proof.is_set()
        self._wake()

    def _lose(self) -> None:
        self.hears = False
        self._wake()  # whoever waits with the patience of one that hears

    def _wake(self) -> None:
        for each in (self.posted, self.idle, self.slots):
            each.set()

    def _heard(self, channel: str, news: str) -> None:
        if news == slots.NEWS:
            self.slots.set()
        else:
            (self.posted if channel == self._own else self.idle).set()
        self._proof.set()


class Background:
    """Tasks that work from the opening of a handle to its end. They belong to the event loop: whoever opens a handle
    may be another task than whoever closes it."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run `work` in a task."""

        async def run() -> None:
            await work()

        self._tasks.append(asyncio.get_running_loop().create_task(run(), name=name))

    def cancel(self) -> None:
        """Have all of them end."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End all of them, and return when they have ended."""
        self.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        self._tasks.clear()
