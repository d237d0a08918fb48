"""A typed client of a flujo server: `flujo.kernel.Runs` over gRPC.

    async with Client("unix:.flujo/server.sock") as client:
        handle = await client.start("report", {"day": "2026-11-22"}, run_id="report-2026-11-22")
        async for event in handle.watch(): ...
        print(await handle.result())

Needs the extra `grpc`, and asyncio. Importing this package costs nothing before `Client` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client as Client
    from .client import Credentials as Credentials
    from .client import ServerInfo as ServerInfo

__all__ = ["Client", "Credentials", "ServerInfo"]


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from . import client
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0].partition("_")[0] not in ("grpc", "google"):
                raise
            from flujo.kernel.errors import ExtraMissingError

            raise ExtraMissingError("flujo.client", "grpc") from error
        return getattr(client, name)
