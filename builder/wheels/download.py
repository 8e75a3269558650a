"""HTTP for the build stage: timeouts, retries, size limits and error texts, in one place.

Credentials come from netrc (what ``requests`` does by itself) and never stand in a URL or message.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from manifests.errors import NotFound, StoreUnavailable, VerificationFailed
from manifests.urls import redacted, web_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import requests

_T = TypeVar("_T")
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_BACKOFF_SECONDS = 0.5
_MAX_WAIT_SECONDS = 20.0
_CHUNK = 256 * 1024
_MAX_PAGE_BYTES = 32 * 1024 * 1024
_CONNECTIONS = 8
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_DENIED = (401, 403, 407)


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page as it arrived: the URL after redirects, its media type, its bytes."""

    url: str
    media_type: str
    body: bytes


class _Transient(Exception):
    """Worth another try; *unreachable* where no HTTP answer came at all."""

    def __init__(self, reason: str, *, wait: float | None = None, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unreachable = unreachable


class Downloads:
    """One session for all sources of a build. Safe for threads; close it at the end."""

    def __init__(self, *, attempts: int = 3, backoff: float = _BACKOFF_SECONDS) -> None:
        self._attempts = attempts
        self._backoff = backoff
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._unreachable: dict[str, StoreUnavailable] = {}

    def __enter__(self) -> Downloads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def page(self, url: str, *, accept: str) -> Page | None:
        """Return the page at *url*, or None where there is none.

        Raises StoreUnavailable after the last attempt, and VerificationFailed above 32 MB.
        """

        def read(response: requests.Response) -> Page:
            body = b"".join(_body(response, _MAX_PAGE_BYTES, decode=True))
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Page(url=response.url, media_type=media_type, body=body)

        try:
            return self._get(url, {"Accept": accept}, read)
        except NotFound:
            return None

    def fetch(self, url: str, take: Callable[[Iterator[bytes]], _T], *, limit: int) -> _T:
        """Hand the bytes at *url* to *take*, from the start again where the connection breaks.

        Raises NotFound, StoreUnavailable after the last attempt, VerificationFailed beyond *limit*
        bytes, and whatever *take* raises.
        """
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        return self._get(url, headers, lambda response: take(_body(response, limit, decode=False)))

    def _get(self, url: str, headers: dict[str, str], use: Callable[[requests.Response], _T]) -> _T:
        host = urlsplit(web_url(url)).netloc
        if (known := self._unreachable.get(host)) is not None:
            raise StoreUnavailable(
                str(known)
            )  # else each of a hundred wheels would wait for the same dead host
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(url, headers, use)
            except _Transient as error:
                if attempt < self._attempts:
                    wait = self._backoff * 2 ** (attempt - 1) if error.wait is None else error.wait
                    time.sleep(min(wait, _MAX_WAIT_SECONDS))
                    continue
                failure = StoreUnavailable(f"{shown_url(url)}: {error} ({attempt} attempts)")
                if error.unreachable:
                    self._unreachable[host] = failure
                raise failure from None
        raise AssertionError("no attempt was allowed")

    def _once(self, url: str, headers: dict[str, str], use: Callable[[requests.Response], _T]) -> _T:
        import requests

        try:
            response = self._open().get(
                url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            )
        except requests.exceptions.SSLError as error:
            raise StoreUnavailable(f"{shown_url(url)}: TLS failed: {_reason(error)}") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Transient(_reason(error), unreachable=True) from None
        except (requests.RequestException, ValueError) as error:
            raise StoreUnavailable(f"{shown_url(url)}: {type(error).__name__}") from None
        with response:
            _check_status(response, url)
            return use(response)

    def _open(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                import requests
                from requests.adapters import HTTPAdapter

                self._session = requests.Session()
                self._session.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
                self._session.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
            return self._session


def shown_url(url: str) -> str:
    """Return *url* for messages: without credentials, query (it may hold a token) and fragment."""
    return redacted(url).partition("#")[0].partition("?")[0]


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status == 200:
        return
    if status in _TRY_AGAIN:
        after = response.headers.get("Retry-After", "")
        raise _Transient(f"HTTP status {status}", wait=float(after) if after.isdecimal() else None)
    if status in _GONE:
        raise NotFound(f"{shown_url(url)}: HTTP status {status}")
    hint = "; credentials belong into ~/.netrc" if status in _DENIED else ""
    raise StoreUnavailable(f"{shown_url(url)}: HTTP status {status}{hint}")


def _body(response: requests.Response, limit: int, *, decode: bool) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    received = 0
    try:
        # Not iter_content: it would unpack a .tar.gz that a server labels as "gzip" encoded.
        for chunk in response.raw.stream(_CHUNK, decode_content=decode):
            received += len(chunk)
            if received > limit:
                raise VerificationFailed(
                    f"{shown_url(response.url)}: more than {limit} bytes; nothing was used"
                )
            yield chunk
    except (HTTPError, OSError) as error:
        raise _Transient(f"the connection broke after {received} bytes ({type(error).__name__})") from None


def _reason(error: Exception) -> str:
    # The whole text may name proxies and queries; the innermost reason names host and cause.
    inner = getattr(error.args[0], "reason", None) if error.args else None
    return str(inner).rpartition(": ")[2] if inner is not None else type(error).__name__
