"""One connection to a server, and the only place that knows the driver.

What the driver raises becomes one of four things: `Lost`, the connection or the server is gone and what was asked for
may have been done; `Again`, it was not done and may be asked for again; `NotDurable` and `Refusal`, which no repetition
mends. Nothing of a password is in any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from flujo.kernel.errors import ExtraMissingError

from . import libpq
from .url import Address

try:
    import asyncpg
except ModuleNotFoundError as error:
    if error.name != "asyncpg":
        raise
    raise ExtraMissingError("a store on PostgreSQL", "postgres") from error

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
ASK_SECONDS = 30.0
"""A server that has not answered a question of moments after so long is gone."""

SETTINGS = {
    "application_name": "flujo",
    "synchronous_commit": "on",
    "jit": "off",
    "client_connection_check_interval": "5000",
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_FOR_POOLERS = {"application_name": "flujo"}  # what a pooler lets pass at the beginning of a session

OLDEST_SERVER = 140_000
SYNCED = ("on", "local", "remote_write", "remote_apply")
"""The values of `synchronous_commit` under which what was acknowledged is on the disk of the server."""

_AGAIN = ("40001", "40P01", "55P03", "23503", "53100")  # 23503: a large payload that was removed meanwhile
_GONE = ("25006", "53300", "57P01", "57P02", "57P03", "57P04", "57P05")  # 25006: the server has become a replica

FULL = "53100"

_ERRORS = (
    OSError,
    ValueError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that broke in the midst of a question
)

Row = Sequence[Any]


class Lost(Exception):
    """The connection is gone, or the server is; what was asked for may have been done."""


class Again(Exception):
    """It was not done, and may be asked for again. `code` is PostgreSQL's."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Refusal(Exception):
    """The server refuses it, and would again. `code` is PostgreSQL's, empty for what the driver refuses."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Unconnectable(Refusal):
    """No connection can be made as the URL and the environment say."""


class Connection:
    """A connection that is open, for one task at a time."""

    def __init__(self, raw: Any, address: Address, is_pooled: bool) -> None:
        self._raw = raw
        self._address = address
        self.is_pooled = is_pooled
        self.trips = 0

    @classmethod
    async def connect(cls, address: Address, *, dsn: str | None = None) -> Connection:
        """Connect; raises Lost and Refusal."""
        target = address.dsn if dsn is None else dsn
        try:
            raw, is_pooled = await cls._connect(target, address), False
        except Refusal as refusal:
            if refusal.code != "08P01":  # a pooler that knows none of the settings
                raise
            raw, is_pooled = await cls._connect(target, address, _FOR_POOLERS), True
        return cls(raw, address, is_pooled)

    @staticmethod
    async def _connect(dsn: str, address: Address, settings: dict[str, str] = SETTINGS) -> Any:
        if (problem := libpq.unknown_service(address.said)) is not None:
            raise Unconnectable(problem)
        if address.application_name is not None:
            settings = {**settings, "application_name": address.application_name}
        timeout = address.connect_seconds or CONNECT_SECONDS
        try:
            return await asyncpg.connect(dsn, timeout=timeout, server_settings=settings, **address.options)
        except _ERRORS as error:
            if (problem := libpq.missing_file(address.said)) is not None:
                raise Unconnectable(problem) from None
            translated = _translated(error, address)
            if isinstance(translated, Refusal) and not translated.code:
                raise Unconnectable(str(translated)) from None
            raise translated from None

    async def fetch(self, sql: str, *values: Any, timeout: float | None = ASK_SECONDS) -> Sequence[Row]:
        """Return every row of a statement. `@.` in it stands for the schema of the store."""
        self.trips += 1
        try:
            rows = await self._raw.fetch(self.qualified(sql), *values, timeout=timeout)
        except _ERRORS as error:
            raise _translated(error, self._address) from None
        return cast("Sequence[Row]", rows)

    async def stream(self, sql: str, at_once: int) -> AsyncIterator[Row]:
        """Yield the rows of a question in a transaction, read in slices.

        By a cursor of SQL: that of asyncpg 0.32 has a statement with a name, also where there are to be none, and
        behind a pooler another client's may have the same (`make test-pooled`). It ends with the transaction."""
        cursor = f"flujo_{self.trips}"
        await self.script(f"DECLARE {cursor} NO SCROLL CURSOR FOR {sql}")
        while rows := await self.fetch(f"FETCH {at_once} FROM {cursor}", timeout=None):
            for row in rows:
                yield row

    async def script(self, sql: str) -> None:
        """Run several statements that give no rows."""
        try:
            await self._raw.execute(self.qualified(sql))
        except _ERRORS as error:
            raise _translated(error, self._address) from None

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[None]:
        """Do all inside or nothing; with `snapshot` all of it sees one moment, and only reads."""
        options = {"isolation": "repeatable_read", "readonly": True} if snapshot else {}
        transaction = self._raw.transaction(**options)
        self.trips += 2
        try:
            await transaction.start()
            try:
                yield
            except BaseException:
                if not self._raw.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()
        except _ERRORS as error:
            raise _translated(error, self._address) from None

    async def listen(self, channels: Sequence[str], heard: Callable[[str, str], None]) -> None:
        """Call `heard` with the channel and the text of every notification from now on."""
        try:
            for channel in channels:
                await self._raw.add_listener(channel, lambda _raw, _pid, channel, text: heard(channel, text))
        except _ERRORS as error:
            raise _translated(error, self._address) from None

    def qualified(self, sql: str) -> str:
        """Return SQL with the name of the schema."""
        return sql.replace("@.", f'"{self._address.schema}".')

    @property
    def is_closed(self) -> bool:
        """True once nothing can be asked any more."""
        return bool(self._raw.is_closed())

    @property
    def version(self) -> int:
        """Return the version of the server, as 180006 for 18.6."""
        found = self._raw.get_server_version()
        return int(found.major * 10_000 + found.minor)

    async def close(self) -> None:
        """Give the connection back, whatever the server says to that."""
        try:
            await self._raw.close(timeout=CLOSE_SECONDS)
        except (*_ERRORS, asyncio.CancelledError):
            self._raw.terminate()

    def terminate(self) -> None:
        """Drop the connection without a word."""
        self._raw.terminate()


def _translated(error: Exception, address: Address) -> Exception:
    code = str(getattr(error, "sqlstate", None) or "")
    message = address.censored(_in_one_line(error))
    if "statement pooling mode" in message:  # PgBouncer ends the connection with it, without a code
        return Unconnectable("the pooler gives each statement another session; its pool_mode has to be transaction")
    if code in _AGAIN:
        return Again(message, code)
    if code in _GONE or (code[:2] == "08" and code != "08P01"):
        return Lost(message)
    if code or isinstance(error, ValueError | asyncpg.ClientConfigurationError):
        return Refusal(message, code)
    return Lost(message)  # of the network, or of a connection that the driver calls closed


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, TimeoutError):
        return text or "the server does not answer"
    return text or type(error).__name__
