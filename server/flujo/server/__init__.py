"""The gRPC server of a kernel.

    async with Kernel(open_backend("sqlite:.flujo/state.db"), workflows=[report]) as kernel:
        await serve(kernel, "unix:.flujo/server.sock")

Needs the extra `grpc`, and asyncio. Importing this package costs nothing before `serve` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .listening import Security as Security
    from .listening import serve as serve

__all__ = ["Security", "serve"]


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from . import listening
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in (
                "grpc",
                "grpc_health",
                "grpc_reflection",
                "grpc_status",
                "google",
            ):
                raise
            from flujo.kernel.errors import ExtraMissingError

            raise ExtraMissingError("flujo.server", "grpc") from error
        return getattr(listening, name)
