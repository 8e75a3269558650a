"""What release managers signed away from the store, on its way to a service that forwards it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from manifests.errors import InvalidInput, NotFound
from manifests.proposal import Proposal

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 32 * 1024 * 1024


def read_proposal(file: Path) -> dict[str, Any]:
    """Return the body of a request to forward *file*.

    Raises NotFound, and InvalidInput for what 'venvoy pin --propose' did not write.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{file} is larger than any service takes")
    body: dict[str, Any] = json.loads(Proposal.from_json(data, what=str(file)).to_json())
    return body
