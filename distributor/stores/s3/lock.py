"""A lock made of plain objects, for servers that have no conditional writes.

Who wants it puts a claim, a new object of its own below ``.venvoy/lock/``, and lists them afterwards. It
holds the lock if its claim is the only one. A holder's claim stays until it is done, so whoever claims
later sees it; of two that claim at once each sees the other, unless the second listing is older than
the first claim. So this needs listings that show what was put before, and no clocks to choose a winner.
Where several meet, the lowest name stays and the others withdraw, so that one of them gets on.

A claim whose process died is ignored once it is LIFETIME old by the server's clock, which the answers
carry. A holder that was slower than that must not go on: it asks ``check`` before and after it writes.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from distributor.stores.s3.client import HIDDEN
from manifests.errors import Locked, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.s3.client import Bucket

CLAIMS = f"{HIDDEN}lock/"
LIFETIME = 120.0  # seconds
_LONGEST_PAUSE = 0.5  # seconds
_PATIENCE = 240.0  # seconds: long enough for a dead process's claim to lapse


class Claim:
    """One process's wish for the lock, put when it is made."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.path = f"{CLAIMS}{secrets.token_hex(16)}"
        # Taken before the request: the server cannot date the claim earlier than that.
        self._since = time.monotonic()
        self._left = False
        bucket.call("put_object", self.path, hurried=True, Body=b"")

    def wins(self) -> bool:
        """Wait until it is the only claim, as long as it is the lowest. Return whether it got there."""
        attempt = 0
        while True:
            claims = live_claims(self._bucket)
            if claims == [self.path]:
                return True
            if claims[:1] != [self.path] or self._age() > LIFETIME / 8:
                return False
            attempt += 1
            _pause(attempt)

    def check(self, *, share: float = 0.5) -> None:
        """Raise StoreUnavailable if more than that *share* of its life is over."""
        if self._age() > LIFETIME * share:
            raise StoreUnavailable(
                f"{self._bucket.location} was too slow for the lock of its publishers; nothing is mixed, "
                "but the last write may be there or not: try again"
            )

    def leave(self) -> None:
        """Let it lapse by itself: a write under it may still arrive."""
        self._left = True

    def withdraw(self) -> None:
        """Remove it, unless it was left. Where that fails it lapses by itself."""
        if self._left:
            return
        with contextlib.suppress(ClientError, BotoCoreError, OSError):
            self._bucket.call("delete_object", self.path, hurried=True)

    def _age(self) -> float:
        return time.monotonic() - self._since


@contextlib.contextmanager
def hold_store(bucket: Bucket) -> Iterator[Claim]:
    """Hold the store's lock. Raises Locked where others hold it for minutes; botocore's errors."""
    deadline = time.monotonic() + _PATIENCE
    for attempt in itertools.count(1):
        # Looking first keeps those who wait from disturbing those who claim.
        if not live_claims(bucket):
            claim = Claim(bucket)
            try:
                if claim.wins():
                    yield claim
                    return
            finally:
                claim.withdraw()
        if time.monotonic() > deadline:
            raise Locked(f"other publishers hold the lock of {bucket.location}; try again")
        _pause(attempt)


def live_claims(bucket: Bucket) -> list[str]:
    """Return the paths of claims that count, sorted; remove the dead ones."""
    live = []
    for page in bucket.pages("list_objects_v2", CLAIMS):
        now = server_time(page)
        for entry in page.get("Contents", ()):
            path = entry["Key"][len(bucket.prefix) :]
            if (now - entry["LastModified"]).total_seconds() <= LIFETIME:
                live.append(path)
            else:
                bucket.call("delete_object", path, hurried=True)
    return sorted(live)


def server_time(response: dict[str, Any]) -> datetime:
    """Return the server's time as its answer says, or this machine's where it does not."""
    try:
        return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(timezone.utc)


def _pause(attempt: int) -> None:
    """Wait for longer and longer, so that many who wait do not slow the one who works."""
    longest = min(_LONGEST_PAUSE, 0.02 * 1.5**attempt)
    time.sleep(random.uniform(0.2, 1) * longest)  # noqa: S311 - only spreads those who wait
