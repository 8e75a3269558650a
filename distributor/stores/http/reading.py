"""The bytes of one object, over as many requests as it takes.

A connection that breaks costs what was not read yet: the next request asks for the rest, on the
condition that the object is still the same (RFC 9110, 13.1.5 and 14).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributor.stores.http.failures import Attempts, Failure
from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.http.failures import Budget
    from distributor.stores.http.options import HttpOptions
    from distributor.stores.http.transport import Answer, Transport

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,19})", re.IGNORECASE)


class _Changed(Failure):
    """The object is no longer what the first answer began with."""

    def __init__(self) -> None:
        super().__init__("it was replaced while it was read", again=True)


@dataclass(frozen=True)
class _State:
    """Which state of an object an answer is of; None where the server does not say."""

    etag: str | None
    modified: str | None
    complete: int | None

    def differs(self, other: _State) -> bool:
        """Say whether the two cannot be the same state."""
        pairs = zip(
            (self.etag, self.modified, self.complete),
            (other.etag, other.modified, other.complete),
            strict=True,
        )
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    @property
    def strong(self) -> str | None:
        """The entity tag, if equal tags mean equal bytes."""
        return self.etag if self.etag is not None and self.etag.startswith('"') else None


@dataclass(frozen=True, kw_only=True)
class Span:
    """What of an object is wanted: from *start* to *end*, or where that is None to the object's own end.

    With an *end* the range must be there whole, and an object that changes meanwhile is an error.
    Without one the whole object is wanted: then reading begins again, and *limit* bounds its length.
    """

    start: int = 0
    end: int | None = None
    limit: int = 0


class Reading:
    """Reads the *span* of the object at *url*."""

    def __init__(
        self, transport: Transport, url: str, span: Span, options: HttpOptions, budget: Budget
    ) -> None:
        self._transport = transport
        self._url = url
        self._budget = budget
        self._attempts = Attempts(options, budget)
        self._whole = span.end is None
        self._limit = span.limit
        self._position = self._furthest = span.start
        self._end = span.end
        self._state: _State | None = None

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield each piece with its offset in the object; a whole object may begin again at 0.

        Raises Failure when there is nothing more to try.
        """
        while True:
            try:
                yield from self._answer()
            except Failure as failure:
                changed = isinstance(failure, _Changed)
                if changed and not self._whole:
                    failure.again = False
                # What comes a second time is no progress: it might begin again for ever.
                progress = max(0, self._position - self._furthest)
                self._furthest += progress
                self._attempts.failed(failure, progress=progress)
                if self._whole and (changed or self._state is None or self._state.strong is None):
                    # Nothing would say that the rest belongs to what came before.
                    self._position, self._end, self._state = 0, None, None
            if self._end is not None and self._position >= self._end:
                return

    def _answer(self) -> Iterator[tuple[int, bytes]]:
        with self._transport.open("GET", self._url, self._headers(), self._budget) as answer:
            start, stop = self._place(answer)
            for chunk in answer.chunks():
                end, data = start + len(chunk), chunk
                if stop is not None and end > stop:
                    raise Failure(f"the answer holds more than the {stop} bytes it announced")
                if start < self._position:  # what a server without ranges sends first
                    data = chunk[self._position - start :]
                if self._end is not None and end > self._end:
                    data = data[: max(0, self._end - self._position)]
                start = end
                if data:
                    at, self._position = self._position, self._position + len(data)
                    self._check_limit(self._position)
                    yield at, data
                if self._end is not None and self._position >= self._end:
                    return
            self._ended(answer, start, stop)

    def _headers(self) -> dict[str, str]:
        if self._whole and self._position == 0:
            return {}
        last = "" if self._end is None else self._end - 1
        headers = {"Range": f"bytes={self._position}-{last}"}
        if self._state is not None and self._state.strong is not None:
            headers["If-Range"] = self._state.strong
        return headers

    def _place(self, answer: Answer) -> tuple[int, int | None]:
        """Return where in the object the body of *answer* begins and ends (None: not announced)."""
        length = answer.length()
        if answer.status == 416:
            if self._whole:
                raise _Changed
            match = _UNSATISFIED.fullmatch((answer.header("Content-Range") or "").strip())
            raise Failure(_short(match[1], self._end) if match else "no such range (HTTP status 416)")
        if answer.status == 200:
            start, stop, complete = 0, length, length
        else:
            start, stop, complete = self._content_range(answer)
            if length is not None and length != stop - start:
                raise Failure(f"{length} bytes for a range of {stop - start}; the server's ranges are wrong")
        self._compare(_State(answer.header("ETag"), answer.header("Last-Modified"), complete))
        if complete is not None:
            self._check_limit(complete)
            if self._end is not None and complete < self._end:
                raise Failure(_short(complete, self._end))
            self._end = complete if self._whole else self._end
        return start, stop

    def _content_range(self, answer: Answer) -> tuple[int, int, int | None]:
        text = (answer.header("Content-Range") or "").strip()
        match = _CONTENT_RANGE.fullmatch(text)
        if match is None or "Range" not in self._headers():
            raise Failure("the server answers with a part that was not asked for (HTTP status 206)")
        first, last = int(match[1]), int(match[2])
        complete = None if match[3] == "*" else int(match[3])
        wanted = self._end if self._end is not None else complete
        if first != self._position or last < first or (wanted is not None and last >= wanted):
            raise Failure(f"the server answers with another range than {self._headers()['Range']}")
        if complete is not None and last >= complete:
            raise Failure("the server answers with a range beyond the object's end")
        return first, last + 1, complete

    def _compare(self, state: _State) -> None:
        if self._state is None:
            self._state = state
        elif self._state.differs(state):
            raise _Changed

    def _check_limit(self, length: int) -> None:
        if self._whole and length > self._limit:
            raise Failure(
                f"it is larger than the {self._limit} bytes it may have; nothing was used",
                kind=VerificationFailed,
            )

    def _ended(self, answer: Answer, position: int, stop: int | None) -> None:
        """Decide whether the body's end is the object's. Raises Failure where it is not."""
        if stop is not None and position < stop:
            raise Failure("the body was cut short", again=True)
        if stop is None and self._whole:
            # Where a length is announced nowhere, the connection's end is the only mark there is.
            self._end = self._position
        elif stop is None and position < (self._end or 0):
            raise Failure(_short(position, self._end), again=not answer.chunked)


def _short(complete: int | str, expected: int | None) -> str:
    return f"it ends at byte {complete}, expected {expected}; its copy is incomplete"
