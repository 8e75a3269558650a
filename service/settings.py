"""What an operator decides about a service."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import InvalidInput, Refused
from manifests.urls import is_loopback

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service runs.

    *state* holds database, logs and what is built; *build_options* go to each ``venvoy build``. *rate* is
    how many requests a minute a token, or an address without one, may make. Forwarded headers are believed
    from *proxies* alone. With *public_read* nobody needs a token to look. With *site* each
    publication brings the store's pages up to date. *grace* is how many seconds
    builds at work get when the service stops.
    """

    state: Path
    store: str | None
    keys: Path
    listen: tuple[str, int]
    cache: Path
    build_options: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    workers: int = 1
    attempts: int = 5
    build_seconds: float = 6 * 3600.0
    rate: int = 600
    max_request: int = 32 * MEBIBYTE
    proxies: tuple[str, ...] = ()
    certificate: Path | None = None
    certificate_key: Path | None = None
    public_read: bool = False
    site: bool = False
    log_days: float = 90.0
    result_days: float = 7.0
    grace: float = 30.0

    @property
    def database(self) -> Path:
        """Where the database lies."""
        return database_path(self.state)

    @property
    def logs(self) -> Path:
        """Where the logs lie."""
        return self.state / "logs"

    @property
    def workspaces(self) -> Path:
        """Where builds are done."""
        return self.state / "builds"

    def check(self) -> None:
        """Refuse what would let tokens travel in the clear. Raises Refused, InvalidInput."""
        if (self.certificate is None) != (self.certificate_key is None):
            raise InvalidInput("--tls-cert and --tls-key go together")
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise InvalidInput(f"--trusted-proxy: {proxy!r} is no address or network") from None
        if not (is_loopback(self.listen[0]) or self.proxies or self.certificate):
            raise Refused(
                f"tokens would travel in the clear to {self.listen[0] or 'all addresses'}: "
                "listen on 127.0.0.1, or name the proxy that does TLS (--trusted-proxy), or a certificate "
                "(--tls-cert, --tls-key)"
            )


def database_path(state: Path) -> Path:
    """Return where the database of the service in *state* lies."""
    return state / "service.sqlite"
