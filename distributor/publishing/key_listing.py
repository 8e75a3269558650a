"""Keys without their private halves: which count for a role, and which have a file here."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributor.publishing.key_drafting import TOP
from distributor.trust.tuf_api import Root, Targets
from manifests.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from distributor.trust.trust import Trust


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleKeys:
    """The keys of a role, by keyid, and how many of them must sign."""

    keyids: tuple[str, ...]
    threshold: int


def role_keys(trust: Trust, role: str) -> RoleKeys:
    """Return whose signatures count for *role* in the refreshed *trust*. Raises NotFound."""
    delegator = trust.signed("root" if role in TOP else "targets")
    if not isinstance(delegator, (Root, Targets)):
        raise TypeError("only root and targets name keys")
    try:
        named = delegator.get_delegated_role(role)
    except ValueError:
        raise NotFound(f"there is no role {role} in this store; 'venvoy keys draft --add' makes it") from None
    return RoleKeys(keyids=tuple(named.keyids), threshold=named.threshold)


def keys_here(directory: Path) -> dict[str, str]:
    """Return the names of the files in *directory* that hold a key, as their public halves say, by keyid."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        listed = json.loads((directory / "keys.json").read_bytes())["keys"]
        found |= {item["keyid"]: f"{role}.pem" for role, item in listed.items()}
    with contextlib.suppress(OSError):
        for path in sorted([*directory.glob("*.pub.json"), *directory.glob("*.signer.json")]):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found[str(json.loads(path.read_bytes())["keyid"])] = path.name
    return found
