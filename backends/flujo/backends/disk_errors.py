"""What the operating system says of the disk under a store, as an error of the store."""

from __future__ import annotations

import errno

from flujo.kernel.errors import StoreError, StoreFullError

FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_error(store: str, error: OSError) -> StoreError:
    """Return the error that says what happened, to which file."""
    if error.errno in FULL:
        return StoreFullError(store)
    what = error.strerror or str(error)
    return StoreError(store, f"{error.filename}: {what}" if error.filename else what)
