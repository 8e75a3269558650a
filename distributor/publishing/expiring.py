"""What of a store's metadata is in the last third of its life, and must be signed again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from distributor.publishing.metadata_writer import expect
from distributor.trust.roles import is_due
from distributor.trust.tuf_api import Targets

if TYPE_CHECKING:
    from distributor.trust.trust import Trust

_ADVICE = {
    "root": "'venvoy keys draft --renew root', signed by its keys",
    "targets": "'venvoy keys draft --renew targets', signed by its keys",
    "snapshot": "'venvoy renew'",
    "timestamp": "'venvoy renew'",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiry:
    """Until when metadata of *role* lasts, and whether less than a third of its life is left."""

    role: str
    expires: datetime
    due: bool

    @property
    def warning(self) -> str:
        """What to tell an operator."""
        advice = _ADVICE.get(self.role, f"'venvoy renew' where the key of {self.role} is")
        return f"{self.role} expires on {self.expires:%Y-%m-%d}: {advice}"


def expiries(trust: Trust, now: datetime) -> list[Expiry]:
    """Return until when the roles of the refreshed *trust* last; bins are not looked at."""
    targets = expect(trust.signed("targets"), Targets)
    delegated = list(targets.delegations.roles or ()) if targets.delegations is not None else []
    found = []
    for role in ("root", "targets", "snapshot", "timestamp", *delegated):
        expires = trust.loaded(role).expires
        found.append(Expiry(role=role, expires=expires, due=is_due(role, expires, now)))
    return found


def warnings(trust: Trust, now: datetime) -> list[str]:
    """Return a line for each role that must be signed again."""
    return [item.warning for item in expiries(trust, now) if item.due]
