"""URLs of a store: its root, its objects, and the addresses that no redirect may lead to."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from distributor.stores.http.failures import Failure
from distributor.stores.interface import object_parts
from manifests.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORTS = {"http": 80, "https": 443}
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")
_FOLDER = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
# Where clouds tell a machine its secrets; and what else lies on the link, not on a network.
_METADATA_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
_FORBIDDEN = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",
            "fe80::/10",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port: what credentials are bound to (RFC 6454)."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True)
class StoreUrl:
    """A store's root: its *location* in normal form, without a final slash, and its *origin*."""

    location: str
    origin: Origin

    def of(self, path: str) -> str:
        """Return the URL of the object *path*, quoted. Raises InvalidInput where it can be no object's."""
        # "+" and "!" of versions (PEP 440) are quoted too: some servers take a plain "+" for a space.
        return f"{self.location}/" + "/".join(quote(part, safe="") for part in object_parts(path))


def store_url(location: str) -> StoreUrl:
    """Return the root that *location* names. Raises InvalidInput, repeating no secret of it."""
    if _UNSAFE.search(location):
        raise InvalidInput("the store's URL holds white space or control characters; write it as a URL")
    if "?" in location or "#" in location:
        # A query may be a signature or a token; and an object's path cannot be added behind one.
        raise InvalidInput("the store's URL has a query or fragment; name the folder that holds metadata/")
    try:
        parts = urlsplit(location)
        host, port, user = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError as error:
        raise InvalidInput(f"the store's URL is malformed: {error}") from None
    if user:
        raise InvalidInput("the store's URL holds a user name or password; keep credentials out of URLs")
    if not host or parts.scheme not in DEFAULT_PORTS:
        raise InvalidInput("the store's URL names no host, as in https://repo.example.org/venvoy")
    path = parts.path.rstrip("/")
    if not _FOLDER.fullmatch(path) or not {".", ".."}.isdisjoint(path.split("/")):
        raise InvalidInput("the path in the store's URL must be plain: percent-quoted, without '.' or '..'")
    default = DEFAULT_PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port in (None, default) else f"{shown}:{port}"
    return StoreUrl(
        location=f"{parts.scheme}://{netloc}{path}",
        origin=Origin(parts.scheme, host, default if port is None else port),
    )


def origin_of(url: str) -> Origin:
    """Return the origin of a *url* that ``store_url`` or ``redirected`` made or accepted."""
    parts = urlsplit(url)
    return Origin(parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme])


def redirected(url: str, target: str, named: str) -> str:
    """Return the URL that a redirect from *url* to *target* leads to; *named* is the store's own host.

    Raises Failure for what is not followed: other schemes, from https to http, with credentials in the
    URL, or to an address that only machines of the same link or cloud answer at.
    """
    refuse = "a redirect to something that is not followed:"
    try:
        # http.client reads header bytes as Latin-1; servers write UTF-8.
        joined = urljoin(url, target.encode("latin-1").decode("utf-8"))
        parts = urlsplit(joined)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Failure("a redirect to a malformed URL") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise Failure(f"{refuse} another scheme ({parts.scheme[:20]!r})", kind=Refused)
    if not target or not host or port == 0 or _UNSAFE.search(joined):
        raise Failure("a redirect to a malformed URL")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise Failure(f"{refuse} from https: to http:, which anybody could read and alter", kind=Refused)
    if "@" in parts.netloc:
        raise Failure(f"{refuse} a URL with credentials in it", kind=Refused)
    if host != named:
        check_host(host)
    return joined


def check_host(host: str) -> None:
    """Raise Failure if *host*, a name or an address, belongs to the link or to a cloud's metadata."""
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES or is_forbidden_address(name):
        raise Failure(
            f"a redirect to {name[:100]}, a link-local or metadata address, is not followed; "
            "a store may lie there only if its own URL says so",
            kind=Refused,
        )


def is_forbidden_address(text: str) -> bool:
    """Say whether *text* is an IP address of the link or of a cloud's metadata service, in any disguise."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(form in network for form in _forms(address) for network in _FORBIDDEN)


def _forms(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return *address*, and the IPv4 address that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is None and address in _NAT64:
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return (address,) if embedded is None else (address, embedded)
