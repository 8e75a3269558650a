"""What requests, urllib3, http.client and ssl raise, as failures of ours: one table, held complete by a test.

No text of theirs is repeated: it may hold a proxy's password or a signed URL. What is said beside the
table's own words comes from the operating system or from OpenSSL.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from typing import TYPE_CHECKING

import requests.exceptions as outer
import urllib3.exceptions as inner

from distributor.stores.http.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

_BROKE = "the connection broke"
_LATE = "no answer in time"
_SETTINGS = "the URL, or a setting for it, cannot be used"
_PROTOCOL = "what came is not valid HTTP"
_TLS = "TLS failed"

# The first row whose class fits decides; True where another attempt may do better.
TABLE: tuple[tuple[type[BaseException], bool, str], ...] = (
    (ssl.SSLCertVerificationError, False, "the server's certificate is not trusted"),
    (ssl.SSLEOFError, True, _BROKE),
    (ssl.SSLZeroReturnError, True, _BROKE),
    (ssl.SSLSyscallError, True, _BROKE),
    (ssl.SSLError, False, _TLS),
    (outer.ConnectTimeout, True, "no connection in time"),
    (outer.Timeout, True, _LATE),
    (outer.SSLError, False, _TLS),
    (outer.ProxyError, True, "the proxy of the environment cannot be used"),
    (outer.ConnectionError, True, "no connection, or it broke"),
    (outer.ChunkedEncodingError, True, _BROKE),
    (outer.ContentDecodingError, False, _PROTOCOL),
    (outer.InvalidJSONError, False, _PROTOCOL),
    (outer.TooManyRedirects, False, "too many redirects"),
    (outer.InvalidProxyURL, False, "a proxy's URL in the environment is malformed"),
    (outer.RequestException, False, _SETTINGS),
    (inner.NameResolutionError, True, "the host's name cannot be resolved"),
    (inner.ConnectTimeoutError, True, "no connection in time"),
    (inner.TimeoutStateError, False, _SETTINGS),
    (inner.TimeoutError, True, _LATE),
    (inner.SSLError, False, _TLS),
    (inner.ProxySchemeUnknown, False, "a proxy's URL in the environment is malformed"),
    (inner.ProxySchemeUnsupported, False, "a proxy's URL in the environment is malformed"),
    (inner.ProxyError, True, "the proxy of the environment cannot be used"),
    (inner.DecodeError, False, _PROTOCOL),
    (inner.ResponseNotChunked, False, _PROTOCOL),
    (inner.IncompleteRead, True, "the body was cut short"),
    (inner.InvalidChunkLength, True, _BROKE),
    (inner.ProtocolError, True, _BROKE),
    (inner.MaxRetryError, True, "no connection, or it broke"),
    (inner.LocationValueError, False, _SETTINGS),
    (inner.HeaderParsingError, False, _PROTOCOL),
    (inner.PoolError, True, _BROKE),
    (inner.HTTPError, False, _PROTOCOL),
    (http.client.IncompleteRead, True, "the body was cut short"),
    (http.client.RemoteDisconnected, True, _BROKE),
    (http.client.HTTPException, False, _PROTOCOL),
    (TimeoutError, True, _LATE),
    (OSError, True, _BROKE),
    (UnicodeError, False, _SETTINGS),
)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn every foreign exception of the block into a Failure. What is in no row is a bug, and passes."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        failure = translate(error)
        if failure is None:
            raise
        raise failure from None  # the chain's texts are not for logs


def translate(error: BaseException) -> Failure | None:
    """Return the failure that *error* is, or None where no row fits."""
    causes = list(_chain(error))
    # What OpenSSL says decides more finely than the classes that are wrapped round it.
    deciding = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), error)
    for foreign, again, words in TABLE:
        if isinstance(deciding, foreign):
            detail = next(filter(None, map(_detail, reversed(causes))), "")
            advice = _advice(deciding)
            return Failure(words + (f" ({detail})" if detail else "") + advice, again=again)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all that it wraps, the innermost last."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        item = pending.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        pending += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]


def _detail(error: BaseException) -> str:
    """Return the operating system's or OpenSSL's word for *error*; "" where it has none."""
    # Errors that Python itself makes, and not OpenSSL, lack these fields.
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "verify_message", ""))
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", "") or "").replace("_", " ").lower()
    # Classes of requests are OSErrors too, but carry texts of their own.
    if isinstance(error, OSError) and not isinstance(error, outer.RequestException):
        return error.strerror or ""
    return ""


def _advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "; name the CA's file in VENVOY_CA_BUNDLE"
    if isinstance(error, ssl.SSLError) and "CERTIFICATE" in (getattr(error, "reason", "") or ""):
        return "; the server wants a client certificate that it knows: VENVOY_CLIENT_CERT, VENVOY_CLIENT_KEY"
    return ""
