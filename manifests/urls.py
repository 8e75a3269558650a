"""URLs that people and locks name: http or https, a host, and never a user name or password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from manifests.errors import InvalidInput

_SCHEMES = ("http", "https")
# What a URL's text cannot hold: white space, control characters, and uv's ``${VARIABLE}``.
_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f]|\$\{")
# Most URLs of a lock are this plain, and a lock has hundreds: these need no parsing.
_PLAIN = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?/[A-Za-z0-9/._+%~-]*")
_USERINFO = re.compile(r"(?<=://)[^/?#\s@]*(?:@[^/?#\s@]*)*@")


def web_url(text: str) -> str:
    """Return *text* if it is an http(s) URL without credentials.

    Raises InvalidInput, never showing the credentials.
    """
    if _PLAIN.fullmatch(text):
        return text
    shown = repr(redacted(text)[:200])
    if _FORBIDDEN.search(text):
        raise InvalidInput(f"{shown} holds white space, control characters or a variable; write the URL out")
    try:
        parts = urlsplit(text)
        host, user = parts.hostname, "@" in parts.netloc
    except ValueError as error:
        raise InvalidInput(f"{shown} is not a URL: {error}") from None
    if parts.scheme not in _SCHEMES or not host:
        raise InvalidInput(f"{shown} is not an http or https URL")
    if user:
        raise InvalidInput(
            f"{shown} holds credentials; keep them out of files: use ~/.netrc, "
            "a keyring or the settings of git"
        )
    return text


def redacted(text: str) -> str:
    """Return *text* with the user names and passwords of all URLs in it replaced by ``***``."""
    return _USERINFO.sub("***@", text)


def is_loopback(host: str) -> bool:
    """Say whether *host*, a name or an address without brackets, is this machine alone."""
    import ipaddress  # few ask, and it costs time at every start

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
