"""Names that become file names and store paths: checked once, here, before they are used."""

from __future__ import annotations

import re

from manifests.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_RELEASE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9])?")
_MAX = 100

HOST_PART = "venvoy-host"
"""The service that is Venvoy's own host part; see ``venvoy tool``."""

# Control characters, and halves of surrogate pairs: no UTF-8 name holds those.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NO_PARTS = {"", ".", ".."}


def service_name(text: str) -> str:
    """Return *text* if it can name a service: lower-case letters, digits, ``-`` and ``_``."""
    if len(text) > _MAX or not _NAME.fullmatch(text):
        raise InvalidInput(f"{text!r} cannot name a service: use lower-case letters, digits, '-' and '_'")
    return text


def release_name(text: str) -> str:
    """Return *text* if it can name a release: letters, digits, ``.``, ``_``, ``+`` and ``-``."""
    if len(text) > _MAX or not _RELEASE.fullmatch(text) or ".." in text:
        raise InvalidInput(f"{text!r} cannot name a release: use letters, digits, '.', '_', '+' and '-'")
    return text


def safe_relative_path(text: str, *, what: str) -> str:
    """Return *text* if it is a plain relative POSIX path that stays below its root.

    Refused: empty, absolute, empty or ``.`` or ``..`` parts, control characters. *what* names the
    field in the error.
    """
    if not _NO_PARTS.isdisjoint(text.split("/")) or is_unprintable(text):
        raise InvalidInput(f"{what}: {text!r} is not a plain relative path")
    return text


def is_unprintable(text: str) -> bool:
    """Say whether *text* holds control characters or what cannot be written as UTF-8."""
    return _UNPRINTABLE.search(text) is not None


def lock_file_name(service: str, target: str) -> str:
    """Return the PEP 751 lock's file name; dots become ``_`` since the format allows none."""
    return f"pylock.{f'{service}-{target}'.replace('.', '_')}.toml"


def artifact_stem(service: str, version: str, target: str, identity: str) -> str:
    """Return ``<service>-<version>-<target>-<id12>``, the label of an artifact."""
    return f"{service}-{version}-{target}-{identity[:12]}"


def artifact_directory(service: str) -> str:
    """Return the store path of the folder that holds all artifacts of *service*."""
    return f"artifacts/{service}"
