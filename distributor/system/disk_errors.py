"""What the host's disk refused, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from manifests.errors import HostUnsuitable, VenvoyError


@contextlib.contextmanager
def disk_errors(doing: str, kind: type[VenvoyError] = HostUnsuitable) -> Iterator[None]:
    """Turn an OSError into an error of *kind*: ``cannot <doing>: <what> (<file>)``."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise kind(f"cannot {doing}: {error.strerror or error}{where}") from error
