"""HTTP to a build service: one place for the token, timeouts, retries and error texts."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from manifests import errors
from manifests.console import printable
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable, VenvoyError
from manifests.urls import is_loopback, web_url

if TYPE_CHECKING:
    from pathlib import Path

    import requests

TOKEN = "VENVOY_TOKEN"  # noqa: S105 - the variable's name, not its value
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_ATTEMPTS = 6
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TRY_AGAIN = (429, 502, 503, 504)
_MAX_TOKEN_BYTES = 4096
_KINDS: dict[int, type[VenvoyError]] = {
    kind.exit_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, VenvoyError) and kind is not errors.MetadataExpired
}


def error_of(exit_code: int, text: str) -> VenvoyError:
    """Return the error that a command with *exit_code* would have ended with."""
    return _KINDS.get(exit_code, VenvoyError)(printable(text))


def read_token(file: Path | None) -> str:
    """Return the token in *file*, or in ``VENVOY_TOKEN``; empty where there is none.

    Raises NotFound or Refused for a *file* that is not there, or that others may read.
    """
    if file is None:
        return os.environ.get(TOKEN, "").strip()
    try:
        with file.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o007:
                raise Refused(f"everybody may read the token in {file}: 'chmod o= {file}', or replace it")
            return stream.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} holds no token") from None
    except OSError as error:
        raise NotFound(f"cannot read the token in {file}: {error.strerror}") from None


class Connection:
    """Requests to the service at *url*. Close it at the end.

    Raises InvalidInput for what is no http(s) URL, Refused where a token would travel in the clear.
    """

    def __init__(self, url: str, token: str) -> None:
        import requests

        self.url = web_url(url).rstrip("/")
        parts = urlsplit(self.url)
        if token and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise Refused(f"the token would travel in the clear to {self.url}: use https")
        self._session = requests.Session()
        # The token goes to this service alone: no netrc in its place, and nowhere else by a redirect.
        self._session.auth = _Bearer(token)
        self._session.max_redirects = 0
        self._session.headers["User-Agent"] = "venvoy"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Return what the service answers; tries again for a while where it is down or busy.

        Requests to the service are safe to repeat. Raises the error that the service names, NotFound where
        there is no such service, StoreUnavailable.
        """
        answer = self._send(method, path, json=body)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise NotFound(f"{self.url} answers, but is no build service: correct the URL")
        return value

    def stream(self, path: str, headers: dict[str, str]) -> requests.Response:
        """Return the answer to a GET, whose body is yet to come. Raises as ``json`` does."""
        return self._send("GET", path, stream=True, headers=headers)

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        import requests

        for attempt in range(_ATTEMPTS):
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
            try:
                answer = self._session.request(
                    method,
                    self.url + path,
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                    allow_redirects=False,
                    **options,
                )
            except requests.exceptions.RequestException as error:
                reason = _reason(error)
            else:
                if answer.status_code < 300:
                    return answer
                reason = self._refused(answer)
                pause = max(pause, min(_LONGEST_PAUSE, _seconds(answer.headers.get("Retry-After"))))
            if attempt + 1 < _ATTEMPTS:
                time.sleep(pause)
        raise StoreUnavailable(f"{self.url}: the build service cannot be reached: {reason}")

    def _refused(self, answer: requests.Response) -> str:
        """Return why to try again. Raises the error where that is of no use."""
        try:
            value = answer.json()
            text, code = str(value["error"]), int(value["exit_code"])
        except (ValueError, KeyError, TypeError):
            text, code = f"HTTP {answer.status_code}", errors.StoreUnavailable.exit_code
            if answer.status_code == 404:
                code = NotFound.exit_code
        answer.close()
        if answer.status_code in _TRY_AGAIN:
            return text
        raise error_of(code, f"{self.url}: {text}")


class _Bearer:
    """Puts the token into a request's head."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _reason(error: Exception) -> str:
    """Return the innermost reason, in one line; it holds no header."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return " ".join(str(inner).split()) or type(inner).__name__


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isascii() and text.isdigit() else 0.0
