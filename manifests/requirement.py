"""What a service may require: named distributions, http(s) archives, and git repositories over http(s).

Editable installs and local paths are refused by name: a lock must mean the same on every machine.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urldefrag

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from manifests.errors import InvalidInput
from manifests.urls import redacted, web_url

_WAYS = "write 'name==version', 'name @ https://...' or 'name @ git+https://...@revision'"
_VCS = re.compile(r"(?P<system>git|hg|svn|bzr)\+")
_EGG = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?P<extras>\[[A-Za-z0-9._,-]*\])?")
_EDITABLE = re.compile(r"(-e|--editable)(?=[\s=]|$)")
_LOCAL = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
_NAMED_URL = re.compile(r"[A-Za-z0-9._-]+\s*(\[[^\]]*\])?\s*@\s*(?P<url>\S+)")
_FILE_ENDINGS = (".whl", ".tar.gz", ".zip", ".txt")


def parse_requirement(text: str) -> str:
    """Return *text* as a PEP 508 requirement; ``git+https://...#egg=name`` becomes ``name @ ...``.

    Raises InvalidInput saying what is wrong with it.
    """
    text = text.strip()
    shown = repr(redacted(text)[:200])
    if _EDITABLE.match(text):
        raise InvalidInput(f"{shown} is editable, and the lock must not depend on a checkout; {_WAYS}")
    if text.startswith("-"):
        raise InvalidInput(f"{shown} is an option, not a requirement")
    if _VCS.match(text):
        text = _named(text, shown)
    _refuse_local(text, shown)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = redacted(str(error)).partition("\n")[0]
        raise InvalidInput(f"{shown} is not a requirement: {reason}") from None
    except (ValueError, RecursionError):
        raise InvalidInput(f"{shown} is not a requirement") from None
    if requirement.url is not None:
        _check_url(requirement.url, shown)
    return str(requirement)


def requirement_name(text: str) -> str:
    """Return the normalized name of the distribution that the requirement *text* names."""
    return canonicalize_name(Requirement(text).name)


def _refuse_local(text: str, shown: str) -> None:
    named = _NAMED_URL.match(text)
    place = named["url"] if named else text
    plain = place.partition(";")[0].strip().lower()
    is_file = "://" not in plain and plain.endswith(_FILE_ENDINGS)
    if plain.startswith("file:") or _LOCAL.match(place) or is_file:
        raise InvalidInput(f"{shown} is a local path, and the lock must not depend on one; {_WAYS}")


def _named(text: str, shown: str) -> str:
    """Return the old spelling ``git+URL@revision#egg=name`` as ``name @ git+URL@revision``."""
    url, fragment = urldefrag(text)
    fields = dict(part.partition("=")[::2] for part in fragment.split("&"))
    egg = _EGG.fullmatch(unquote(fields.pop("egg", "")))
    if egg is None:
        raise InvalidInput(f"{shown} does not name a distribution; add #egg=name, or write 'name @ ...'")
    rest = "&".join(f"{key}={value}" for key, value in fields.items() if key)
    return f"{egg['name']}{egg['extras'] or ''} @ {url}{'#' if rest else ''}{rest}"


def _check_url(url: str, shown: str) -> None:
    vcs = _VCS.match(url)
    if vcs is not None and vcs["system"] != "git":
        raise InvalidInput(f"{shown} is kept in {vcs['system']}, of which no lock can be made; only git can")
    web_url(url[vcs.end() :] if vcs is not None else url)
    fragment = urldefrag(url).fragment
    if vcs is None and "subdirectory=" in fragment:
        raise InvalidInput(f"{shown}: a subdirectory of an archive is not supported; name the git repository")
