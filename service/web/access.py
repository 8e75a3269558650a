"""Who may do what: bearer tokens with scopes, and how often.

Programs send ``Authorization: Bearer TOKEN``. To look, a browser (or a host's netrc) may send it as the
password of HTTP Basic, with any user name; what changes something takes no Basic, which a browser would
send for other sites' forms too.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBasic, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from service.core import Service
from service.state.tokens import Scope
from service.web.problems import Forbidden, TooMany, Unauthorized

if TYPE_CHECKING:
    from limits import RateLimitItem

    from service.state.tokens import Token

PUBLIC = "anonymous"
_FAILURES_PER_MINUTE = 60
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="A token from 'venvoy token'.")
_BASIC = HTTPBasic(
    auto_error=False, scheme_name="password", description="Any user name, and the token as password; to read."
)


class Limiter:
    """Counts requests, *per_minute* for each name, in fixed windows."""

    def __init__(self, per_minute: int) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(per_minute)
        self._failures = RateLimitItemPerMinute(_FAILURES_PER_MINUTE)

    def request(self, who: str) -> None:
        """Count a request. Raises TooMany."""
        self._count(self._requests, "request", who)

    def failure(self, address: str) -> None:
        """Count a bad token from *address*. Raises TooMany."""
        self._count(self._failures, "failure", address)

    def _count(self, limit: RateLimitItem, *names: str) -> None:
        if not self._limiter.hit(limit, *names):
            reset = self._limiter.get_window_stats(limit, *names).reset_time
            wait = max(1, math.ceil(reset - time.time()))
            raise TooMany(f"too many requests; try again in {wait} s", wait=wait)


def service_of(request: Request) -> Service:
    """Return the service that answers *request*."""
    service: Service = request.app.state.service
    return service


def may_read(
    request: Request,
    _bearer: Annotated[object, Depends(_BEARER)],
    _basic: Annotated[object, Depends(_BASIC)],
) -> str:
    """Return who asks, if they may look."""
    return _identify(request, Scope.READ, basic=True)


def may_build(request: Request, _bearer: Annotated[object, Depends(_BEARER)]) -> str:
    """Return who asks, if they may build."""
    return _identify(request, Scope.BUILD, basic=False)


def may_publish(request: Request, _bearer: Annotated[object, Depends(_BEARER)]) -> str:
    """Return who asks, if they may publish."""
    return _identify(request, Scope.PUBLISH, basic=False)


def has_scope(request: Request, scope: Scope) -> bool:
    """Say whether the token of *request*, which is good, has another *scope* too."""
    token: Token | None = request.state.token
    return token is not None and scope in token.scopes


def _identify(request: Request, scope: Scope, *, basic: bool) -> str:
    """Return the name of who asks. Raises Unauthorized, Forbidden, TooMany."""
    limiter: Limiter = request.app.state.limiter
    address = request.client.host if request.client else "?"
    service = service_of(request)
    secret = _secret(request.headers.get("authorization", ""), basic=basic)
    token = service.tokens.find(secret) if secret else None
    request.state.token = token
    if token is None:
        if not secret and scope is Scope.READ and service.settings.public_read:
            limiter.request(address)
            return PUBLIC
        limiter.failure(address)
        why = "this token is not, or no longer, good" if secret else "a token is needed"
        raise Unauthorized(f"{why}; 'venvoy token' on the service's host makes one", basic=basic)
    limiter.request(f"token {token.name}")
    if scope not in token.scopes:
        raise Forbidden(f"token {token.name} has not the scope {scope.value}")
    return token.name


def _secret(header: str, *, basic: bool) -> str:
    """Return the token in an Authorization header, or an empty text."""
    kind, _, value = header.partition(" ")
    value = value.strip()
    if kind.lower() == "bearer":
        return value
    if kind.lower() == "basic" and basic:
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""
