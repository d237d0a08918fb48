"""What the inputs of a run are called where they are recorded."""

from __future__ import annotations

from typing import Any

Inputs = dict[str, Any]

DEFAULTED = "defaulted_inputs"
"""Where the environment of a run lists the inputs that its caller has left to their defaults. They are recorded like
the others, so that they stay what they were, and bind nobody once the workflow takes them no longer."""
