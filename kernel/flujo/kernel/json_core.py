"""The JSON and the patterns of pydantic_core, without what describes its schemas.

The package of that name imports some 1,500 annotations of schemas, which is a twentieth of what a command takes; its
extension needs none of them. Whoever imports pydantic_core or pydantic afterwards gets this same extension
(tests/kernel/test_json_core.py).
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = [
    "PydanticSerializationError",
    "SchemaError",
    "SchemaValidator",
    "ValidationError",
    "from_json",
    "to_json",
    "to_jsonable_python",
]

EXTENSION = "pydantic_core._pydantic_core"


def _extension() -> ModuleType:
    """Return the extension of pydantic_core, or the package where that is imported already, or is made otherwise."""
    package = None if EXTENSION in sys.modules else find_spec("pydantic_core")
    spec = None if package is None else PathFinder.find_spec(EXTENSION, package.submodule_search_locations)
    if spec is not None and spec.loader is not None:
        found = sys.modules[EXTENSION] = module_from_spec(spec)
        try:
            spec.loader.exec_module(found)
            return found
        except ImportError:  # a release whose extension needs its package
            del sys.modules[EXTENSION]
    import pydantic_core

    return pydantic_core


if TYPE_CHECKING:
    from pydantic_core import (
        PydanticSerializationError,
        SchemaError,
        SchemaValidator,
        ValidationError,
        from_json,
        to_json,
        to_jsonable_python,
    )
else:
    _found = _extension()
    globals().update((name, getattr(_found, name)) for name in __all__)
