"""Large payloads: which ones lie beside their events, once each, and under which name."""

from __future__ import annotations

import hashlib

LARGEST_INLINE = 16_384
"""Characters a payload may have to lie in its event. A new text costs SQLite 1.6 to 1.8 times as much to write as a
blob, at any size: 30 µs more at this one, about what a step costs otherwise. Smaller ones are so many that it would be
felt, and take so little room that it would not pay."""


def digest_of(text: str) -> bytes:
    """Return the name of a text."""
    return hashlib.blake2b(text.encode(), digest_size=32).digest()
