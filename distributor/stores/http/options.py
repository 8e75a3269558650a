"""Settings of the HTTP store, read from the environment in one place, and credentials from files."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.byte_size import parse_size
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable
from manifests.naming import is_unprintable

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_AUTH_BYTES = 64 * 1024
_BEARER = "bearer "
_CONNECT_SECONDS = 10.0
# The usual variables, in the order in which requests and OpenSSL's users know them.
_BUNDLES = ("VENVOY_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpOptions:
    """How to speak to web servers. Times are in seconds, rates in bytes per second.

    ``timeout_seconds`` bounds each silence, and is the window in which at least ``minimum_rate`` must
    come; ``total_seconds`` bounds a whole call, for a stream beyond what its length needs at the
    minimum rate. ``authorization`` is the header for the store's own origin; it is in no ``repr``.
    """

    ca_bundle: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    authorization: str | None = field(default=None, repr=False)
    connect_seconds: float = _CONNECT_SECONDS
    timeout_seconds: float = 30.0
    total_seconds: float = 600.0
    minimum_rate: int = 1024
    retries: int = 4
    backoff_seconds: float = 0.5
    longest_wait_seconds: float = 60.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> HttpOptions:
        """Return the settings that *environment* names.

        Raises InvalidInput for a value that cannot be, NotFound for a file that is missing, Refused for
        a file of credentials that others may read.
        """
        bundle = next((name for name in _BUNDLES if environment.get(name)), None)
        cert = _file(environment, "VENVOY_CLIENT_CERT")
        key = _file(environment, "VENVOY_CLIENT_KEY")
        if key is not None and cert is None:
            raise InvalidInput(
                "VENVOY_CLIENT_KEY is set without VENVOY_CLIENT_CERT: name the certificate too"
            )
        auth = environment.get("VENVOY_HTTP_AUTH_FILE")
        timeout = _seconds(environment, "VENVOY_HTTP_TIMEOUT", cls().timeout_seconds)
        return cls(
            ca_bundle=None if bundle is None else _file(environment, bundle, folder=True),
            client_cert=cert,
            client_key=key,
            authorization=read_auth_file(Path(auth)) if auth else None,
            connect_seconds=min(_CONNECT_SECONDS, timeout),
            timeout_seconds=timeout,
            minimum_rate=_rate(environment, "VENVOY_HTTP_MIN_RATE", cls().minimum_rate),
        )


def read_auth_file(path: Path) -> str:
    """Return the Authorization header that *path* holds: ``user:password`` or ``Bearer token``.

    Raises NotFound, StoreUnavailable where it cannot be read, Refused where others may read it,
    InvalidInput for other content; none of them repeats any of it.
    """
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(f"VENVOY_HTTP_AUTH_FILE: {path} is not a plain file")
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise Refused(f"VENVOY_HTTP_AUTH_FILE: {path} is open to other users; run: chmod 600 {path}")
            raw = stream.read(_MAX_AUTH_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"VENVOY_HTTP_AUTH_FILE: {path} does not exist") from None
    except OSError as error:
        raise StoreUnavailable(f"VENVOY_HTTP_AUTH_FILE: cannot read {path}: {error.strerror}") from error
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""  # what it holds is named by no error
    if len(raw) > _MAX_AUTH_BYTES or not text or is_unprintable(text):
        raise _wrong_form(path)
    if text.lower().startswith(_BEARER):
        token = text[len(_BEARER) :].strip()
        if not token.isascii() or not token or " " in token:
            raise _wrong_form(path)
        return f"Bearer {token}"
    user, colon, password = text.partition(":")
    if not colon:
        raise _wrong_form(path)
    return basic(user, password)


def basic(user: str, password: str) -> str:
    """Return the Authorization header of the Basic scheme (RFC 7617), in UTF-8."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _wrong_form(path: Path) -> InvalidInput:
    return InvalidInput(
        f"VENVOY_HTTP_AUTH_FILE: {path} must hold one line, 'user:password' or 'Bearer token'"
    )


def _file(environment: Mapping[str, str], name: str, *, folder: bool = False) -> Path | None:
    value = environment.get(name)
    if not value:
        return None
    path = Path(value)
    if not (path.is_file() or (folder and path.is_dir())):
        raise NotFound(f"{name}: {path} does not exist")
    return path


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(name)
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise InvalidInput(f"{name}: {value!r} is not a number of seconds above 0 and up to 86400")
    return seconds


def _rate(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name)
    if not value:
        return default
    return 0 if value == "0" else parse_size(value, what=name, least=1)
