"""Requests for one store: sessions, credentials, redirects and statuses.

Redirects are followed by hand, since what is sent depends on where it goes: credentials and the client
certificate are for the store's own origin alone.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import os
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import requests
from requests.utils import get_environ_proxies, get_netrc_auth

from distributor.stores.http.connection import Watch, WatchedAdapter, pipe_errors, watched
from distributor.stores.http.errors import translated
from distributor.stores.http.failures import Failure, retry_after
from distributor.stores.http.options import basic
from distributor.stores.http.urls import origin_of, redirected
from manifests import __version__
from manifests.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.http.failures import Budget
    from distributor.stores.http.options import HttpOptions
    from distributor.stores.http.urls import Origin, StoreUrl

_READ_BYTES = 256 * 1024
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_ANSWERS = (200, 206, 416)
# The rest of an answer that is not wanted is read, up to this, to keep its connection.
_SMALL_REST = 16 * 1024
_HEADERS = {"User-Agent": f"venvoy/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_ADVICE = {
    401: "the server wants credentials: VENVOY_HTTP_AUTH_FILE names a file of them, or ~/.netrc holds them",
    403: "the server denies it to these credentials, or to none: see VENVOY_HTTP_AUTH_FILE, ~/.netrc "
    "and VENVOY_CLIENT_CERT",
    407: "the proxy wants credentials: HTTPS_PROXY and HTTP_PROXY may hold them",
}


class Answer:
    """A status, headers, and a body that is read as it comes."""

    def __init__(self, response: requests.Response, budget: Budget) -> None:
        self._response = response
        self._budget = budget
        self.status = response.status_code

    def header(self, name: str) -> str | None:
        """Return the header *name*, or None."""
        return self._response.headers.get(name)

    def length(self) -> int | None:
        """Return the body's Content-Length, or None where it has none that counts (RFC 9112, 6.3)."""
        text = self.header("Content-Length") or ""
        if self.chunked or not (text.isascii() and text.isdecimal()):
            return None
        return int(text[:19])

    @property
    def chunked(self) -> bool:
        """Whether the body marks its own end."""
        return "chunked" in (self.header("Transfer-Encoding") or "").lower()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body's bytes as they come. Raises Failure where they break off."""
        while chunk := self._read():
            yield chunk

    def _read(self) -> bytes:
        with self._budget.running(), pipe_errors(), translated():
            # Not read(): it would wait for all of it, and lose what came before a cut.
            data: bytes | None = self._response.raw.read1(_READ_BYTES, decode_content=False)
            return data or b""

    def close(self) -> None:
        """Be done with it; the connection is kept where little is left to read."""
        length = self.length()
        with contextlib.suppress(Failure):
            if self.status not in (200, 206) and length is not None and length <= _SMALL_REST:
                while self._read():
                    pass
        self._response.close()


class _Session(requests.Session):
    """A session that looks at no redirect: requests would read its body whole, of any length."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class Transport:
    """Sends the requests for the store at *url*, from any thread and from forked processes."""

    def __init__(self, url: StoreUrl, options: HttpOptions) -> None:
        self._url = url
        self._options = options
        self._local = threading.local()
        self._proxies: dict[Origin, dict[str, str]] = {}
        self._authorization = options.authorization or _from_netrc(url.location)

    @contextlib.contextmanager
    def open(self, method: str, url: str, headers: dict[str, str], budget: Budget) -> Iterator[Answer]:
        """Give the answer to a request, one of 200, 206 and 416. Raises Failure for any other."""
        answer = self._follow(method, url, headers, budget)
        try:
            _check(answer)
            yield answer
        finally:
            answer.close()

    def _follow(self, method: str, url: str, headers: dict[str, str], budget: Budget) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._send(method, url, headers, budget)
            if answer.status not in _REDIRECTS:
                return answer
            try:
                url = redirected(url, answer.header("Location") or "", self._url.origin.host)
            finally:
                answer.close()
        raise Failure(f"more than {_MAX_REDIRECTS} redirects")

    def _send(self, method: str, url: str, headers: dict[str, str], budget: Budget) -> Answer:
        origin = origin_of(url)
        own = origin == self._url.origin
        if origin not in self._proxies:  # looking through the environment takes longer than a small request
            self._proxies[origin] = get_environ_proxies(url)
        if own and self._authorization is not None:
            headers = {**headers, "Authorization": self._authorization}
        options = self._options
        cert, key = options.client_cert, options.client_key
        watch = Watch(budget, options, self._url.origin.host)
        with budget.running(), watched(watch), pipe_errors(), translated():
            response = self._session().request(
                method,
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(min(options.connect_seconds, budget.left()), watch.patience()),
                proxies=self._proxies[origin],
                verify=True if options.ca_bundle is None else str(options.ca_bundle),
                cert=None if cert is None or not own else str(cert) if key is None else (str(cert), str(key)),
            )
        return Answer(response, budget)

    def _session(self) -> requests.Session:
        """Return this thread's session in this process: a connection must not be shared over a fork."""
        if getattr(self._local, "process", None) != os.getpid():
            session = _Session()
            # The environment is read here, where it is known which host a request goes to.
            session.trust_env = False
            session.headers.clear()
            session.headers.update(_HEADERS)
            session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            for scheme in ("http://", "https://"):
                session.mount(scheme, WatchedAdapter(pool_connections=4, pool_maxsize=2))
            self._local.session, self._local.process = session, os.getpid()
        found: requests.Session = self._local.session
        return found


def _check(answer: Answer) -> None:
    """Raise Failure unless *answer* is one that can be read."""
    status = answer.status
    if status in _TRY_AGAIN:
        wait = retry_after(answer.header("Retry-After"), datetime.now(timezone.utc))
        raise Failure(f"HTTP status {status}", again=True, wait=wait)
    if status in _GONE:
        raise Failure(f"HTTP status {status}", kind=NotFound)
    if status not in _ANSWERS:
        advice = _ADVICE.get(status)
        raise Failure(f"HTTP status {status}" + (f"; {advice}" if advice else ""))
    encoding = (answer.header("Content-Encoding") or "identity").strip().lower()
    if encoding != "identity":
        raise Failure(
            f"the server sends it with Content-Encoding {encoding[:20]!r}, which was not asked for; "
            "let it serve the store's files as they are"
        )


def _from_netrc(url: str) -> str | None:
    """Return the header for what netrc says of the host in *url*, or None."""
    found = get_netrc_auth(url)
    return None if found is None else basic(*found)
