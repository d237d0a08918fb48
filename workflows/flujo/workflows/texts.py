"""How a value becomes text, wherever one does: in templates, commands, environments, files and logs.

as_text(False)       false
as_text(["a b"])     ["a b"]
as_text("a b")       a b
"""

from __future__ import annotations

import json
from typing import Any


def as_text(value: Any) -> str:
    """Return text as it is, and anything else as JSON; raises ValueError or TypeError for what JSON cannot hold."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
