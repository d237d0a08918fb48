"""Making the tables of a store, and bringing those of an earlier release to this one.

Two kernels may come at once: whoever has the advisory lock of the schema makes it, in one transaction, so that a store
is there wholly or not at all. `migrations/N.sql` turns schema N-1 into N. A migration waits for nobody: it is refused
while another kernel is alive, as an earlier release does not know what this one writes."""

from __future__ import annotations

from importlib.resources import files as resources

from flujo.kernel.errors import ForeignStoreError, NewerStoreError, OlderStoreError, StoreError, StoreInUseError

from . import journal, leases
from .connection import OLDEST_SERVER, SYNCED, Connection, Refusal
from .url import DEFAULT_LEASE_SECONDS, Address

SCHEMA = 4
"""What this release reads and writes."""

_TABLES = ("store", "kernels", "runs", "labels", "blobs", "events", "inbox", "definitions")

# Never to_regclass: within a transaction it answers from what was there when it was first asked.
_FIND = "SELECT tablename FROM pg_tables WHERE schemaname = $1"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('flujo schema ' || $1, 0))"
_SCHEMA = "SELECT schema, extract(epoch FROM lease)::float8 FROM @.store"


def script(name: str) -> str:
    """Return an SQL text of this package."""
    return resources(__package__).joinpath(name).read_text(encoding="utf-8")


async def require_fit(address: Address, connection: Connection) -> None:
    """Raise StoreError for a server that cannot hold a store, or that acknowledges before it has synced."""
    if connection.version < OLDEST_SERVER:
        found = f"{connection.version // 10_000}.{connection.version % 10_000}"
        raise StoreError(address.shown, f"PostgreSQL 14 or newer is needed, this is {found}", ["upgrade the server"])
    (row,) = await connection.fetch(
        "SELECT current_setting('server_encoding'), current_setting('synchronous_commit'), pg_is_in_recovery()"
    )
    encoding, synced, is_replica = row
    if encoding != "UTF8":
        hint = "createdb --encoding=UTF8 --template=template0 NAME"
        raise StoreError(address.shown, f"the database has the encoding {encoding}, and not UTF8", [hint])
    if address.must_be_durable and synced not in SYNCED:
        problem = f"synchronous_commit is {synced} there, so what was acknowledged may be lost"
        raise StoreError(
            address.shown,
            problem,
            ["ALTER ROLE ... SET synchronous_commit = on", "or accept that: add durability=normal to the URL"],
        )
    if is_replica:
        raise StoreError(
            address.shown, "this server is a replica", ["name the primary, or add ?target_session_attrs=primary"]
        )


async def find(address: Address, connection: Connection) -> float | None:
    """Return the lease of a store of this release, in seconds; None if there is no store. Raises NewerStoreError,
    OlderStoreError, ForeignStoreError."""
    tables = {name for (name,) in await connection.fetch(_FIND, address.schema)}
    if not tables:
        return None
    if "store" not in tables or not tables.issuperset(_TABLES):
        raise ForeignStoreError(address.shown, f"its schema {address.schema!r} has other tables")
    try:
        ((schema, lease),) = await connection.fetch(_SCHEMA)
    except (Refusal, ValueError):
        raise ForeignStoreError(address.shown, f"its schema {address.schema!r} has another table `store`") from None
    if schema > SCHEMA:
        raise NewerStoreError(address.shown, schema, SCHEMA)
    if schema < SCHEMA:
        raise OlderStoreError(address.shown, schema, SCHEMA)
    return float(lease)


async def prepare(address: Address, connection: Connection) -> float:
    """Make the store if there is none, migrate it if it is of an earlier release; return its lease in seconds.

    Raises StoreError for a URL that asks for another lease, StoreInUseError if a migration has to wait for others."""
    async with connection.transaction():
        await connection.fetch(_LOCK, address.schema)
        try:
            lease = await find(address, connection)
        except OlderStoreError as older:
            await _migrate(address, older.found, connection)
            lease = await find(address, connection)
        if lease is None:
            lease = await _create(address, connection)
    await journal.rebase(connection)
    if address.lease_seconds is not None and address.lease_seconds != lease:
        problem = f"its kernels have leases of {lease:g} seconds, and not of {address.lease_seconds:g}"
        raise StoreError(address.shown, problem, ["leave lease out of the URL"])
    return lease


async def _create(address: Address, connection: Connection) -> float:
    lease = address.lease_seconds or DEFAULT_LEASE_SECONDS
    if not await connection.fetch("SELECT FROM pg_namespace WHERE nspname = $1", address.schema):
        await connection.script(f'CREATE SCHEMA "{address.schema}"')
    await connection.script(script("schema.sql"))
    await connection.fetch(
        "INSERT INTO @.store VALUES ($1, $2, clock_timestamp(), clock_timestamp(), $3)",
        SCHEMA,
        leases.as_interval(lease),
        -(await journal.transaction(connection) << journal.SHIFT),
    )
    return lease


async def _migrate(address: Address, found: int, connection: Connection) -> None:
    alive = await connection.fetch(f"SELECT kernel FROM @.kernels k WHERE {leases.LIVES} ORDER BY kernel")
    if alive:
        names = [name for (name,) in alive]
        raise StoreInUseError(address.shown, "migrating to this release", names, address.shown)
    for version in range(found + 1, SCHEMA + 1):
        await connection.script(script(f"migrations/{version}.sql"))
        await connection.fetch("UPDATE @.store SET schema = $1", version)
