"""What python-tuf and the operating system raise, in the words of our own errors: one table.

The table is ordered: the first row whose class fits decides. A test holds it complete.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from securesystemslib import exceptions as signing
from tuf.api import exceptions as tuf

from manifests.errors import (
    HostUnsuitable,
    MetadataExpired,
    NotFound,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ALTERED = "the store was altered, or its copy is mixed or incomplete; use another mirror and tell its owner"

TABLE: tuple[tuple[type[Exception], type[VenvoyError], str], ...] = (
    (
        tuf.ExpiredMetadataError,
        MetadataExpired,
        "check this host's clock; if it is right, the store is stale or frozen: "
        "use another mirror, have its metadata renewed, or accept it as it is with --allow-expired REASON",
    ),
    (
        tuf.UnsignedMetadataError,
        VerificationFailed,
        "too few valid signatures by the keys that the trusted root names; "
        "the store was altered, or root.json here is not this store's",
    ),
    (
        tuf.EqualVersionNumberError,
        VerificationFailed,
        "the store serves an older state than was seen before (rollback); use another mirror",
    ),
    (
        tuf.BadVersionNumberError,
        VerificationFailed,
        "the store serves an older state than was seen before (rollback), or a mix of states; "
        "use another mirror",
    ),
    (tuf.LengthOrHashMismatchError, VerificationFailed, _ALTERED),
    (tuf.RepositoryError, VerificationFailed, _ALTERED),
    (tuf.DownloadLengthMismatchError, VerificationFailed, "more data came than may; use another mirror"),
    (tuf.SlowRetrievalError, StoreUnavailable, "the store answers too slowly; try again or use a mirror"),
    (tuf.DownloadHTTPError, StoreUnavailable, "the store answered with an error; try again or use a mirror"),
    (tuf.DownloadError, StoreUnavailable, "the store cannot be read; try again or use a mirror"),
    (signing.StorageError, HostUnsuitable, "a local file cannot be used"),
    (signing.Error, VerificationFailed, _ALTERED),
    # Not StoreUnavailable: a store that is down can be done without, a disk that fails cannot.
    (OSError, HostUnsuitable, "a local file cannot be used"),
)
_MISSING = (403, 404)


@contextlib.contextmanager
def translated(location: str, detail: Callable[[Exception], str] = str) -> Iterator[None]:
    """Turn every foreign exception of the block into ours; *detail* words what happened.

    Our own errors pass. Anything that is in no row is a bug, and passes too.
    """
    try:
        yield
    except VenvoyError:
        raise
    except Exception as error:
        ours = translate(error, location, detail)
        if ours is None:
            raise
        raise ours from error


def translate(
    error: Exception, location: str, detail: Callable[[Exception], str] = str
) -> VenvoyError | None:
    """Return our error for *error*, or None where no row fits."""
    if isinstance(error, tuf.DownloadHTTPError) and error.status_code in _MISSING:
        return NotFound(f"{error}; the store is not initialised, or its copy is incomplete")
    for foreign, ours, advice in TABLE:
        if isinstance(error, foreign):
            return ours(f"store {location}: {detail(error) or type(error).__name__}; {advice}")
    return None
