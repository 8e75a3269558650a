"""Builds of a service by name: the id, or the address that people and commands pass on."""

from __future__ import annotations

import re

from manifests.errors import InvalidInput
from manifests.urls import web_url

_ID = re.compile(r"[0-9a-f]{32}")
_TAIL = re.compile(r"(?P<url>.+)/builds/(?P<id>[0-9a-f]{32})/?")


def locate_build(build: str, remote: str | None) -> tuple[str, str]:
    """Return the service and the id of *build*, which is an id at *remote*, or an address ending in one.

    Raises InvalidInput for what is neither, for an id without a service, and for an address of another one.
    """
    if (match := _TAIL.fullmatch(build)) is not None:
        url = web_url(match["url"].removesuffix("/api/v1"))
        if remote and remote.rstrip("/") != url:  # the token is for that one, and not to be shown to others
            raise InvalidInput(f"{build} is not a build of {remote}; leave --remote and VENVOY_REMOTE out")
        return url, match["id"]
    if _ID.fullmatch(build) is None:
        raise InvalidInput(
            f"{build!r} is no build; one looks like {'0' * 32}, or https://builds.example/builds/..."
        )
    return named_service(remote), build


def named_service(remote: str | None) -> str:
    """Return *remote*. Raises InvalidInput where no service was named."""
    if not remote:
        raise InvalidInput("name the build service with --remote, or in VENVOY_REMOTE")
    return remote
