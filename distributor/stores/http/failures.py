"""What goes wrong on the wire: one kind of failure, how often to try again, and for how long.

``Failure`` is what the parts of the HTTP store raise to each other. It names neither store nor object;
HttpStore does that once, where it turns a failure into one of our errors.
"""

from __future__ import annotations

import contextlib
import email.utils
import secrets
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from manifests.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.http.options import HttpOptions
    from manifests.errors import VenvoyError

_RANDOM = secrets.SystemRandom()
# A connection that brought less than this is no reason to ask again without a pause.
_GOOD_PROGRESS = 16 * 1024


class Failure(Exception):
    """One attempt failed because of *reason*; *kind* is the error that it becomes.

    *again* says whether another attempt may do better, *wait* for how many seconds the server asked.
    """

    def __init__(
        self,
        reason: str,
        *,
        kind: type[VenvoyError] = StoreUnavailable,
        again: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.again = again
        self.wait = wait


class Budget:
    """The seconds that one call may spend in all: connecting, waiting and reading.

    What the consumer of a stream does in between costs nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent = 0.0
        self._since: float | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the clock run for the block."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - self._since
            self._since = None

    def left(self) -> float:
        """Return the seconds that are left. Raises Failure where there are none."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        left = self._seconds - self._spent - running
        if left <= 0:
            raise Failure(f"it took longer than {self._seconds:.0f} s in all")
        return left


class Attempts:
    """Counts the failures since something arrived, and waits before the next attempt."""

    def __init__(self, options: HttpOptions, budget: Budget) -> None:
        self._options = options
        self._budget = budget
        self._failed = 0

    def failed(self, failure: Failure, *, progress: int = 0) -> None:
        """Return after a pause when the call shall go on; else raise *failure*.

        *progress* is the number of bytes that the attempt brought before it failed.
        """
        if not failure.again:
            raise failure
        self._failed = 1 if progress else self._failed + 1
        if self._failed > self._options.retries:
            raise Failure(f"{failure} ({self._failed} attempts)", kind=failure.kind) from None
        if failure.wait is not None:
            pause = min(failure.wait, self._options.longest_wait_seconds)
        elif progress >= _GOOD_PROGRESS:
            pause = 0.0
        else:
            # Full jitter: a thousand hosts that were cut off together do not come back together.
            ceiling = self._options.backoff_seconds * 2 ** (self._failed - 1)
            pause = _RANDOM.uniform(0, min(ceiling, self._options.longest_wait_seconds))
        if pause >= self._budget.left():
            raise Failure(f"{failure}; waiting {pause:.0f} s more would exceed the time for this call")
        with self._budget.running():
            time.sleep(pause)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), or None.

    *value* is a number of seconds or an HTTP date, which is held against *now*.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:  # "-0000" and obsolete forms: HTTP dates are in UTC
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - now).total_seconds())
