"""One new key in a directory of keys, and its public half in a file that may be given away."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distributor.publishing.key_files import generate_key, load_key
from distributor.publishing.keys import ROLES, exclusive_keys, key_path
from distributor.publishing.signer_uris import import_key, read_key, remote_document
from manifests.atomic_file import write_atomically
from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import InvalidInput, NotFound, Refused, StoreUnavailable
from manifests.fields import Fields
from manifests.naming import service_name

if TYPE_CHECKING:
    from distributor.trust.tuf_api import Key

FORMAT_MAJOR = 1
FORMAT = "1.0"
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeKey:
    """A key: its id, the file that signs, and the file with the public half."""

    keyid: str
    private: Path
    public: Path


def make_key(directory: Path, role: str, *, label: str | None = None, uri: str | None = None) -> MadeKey:
    """Make a key for *role* in *directory*, or take the one that *uri* names.

    Raises InvalidInput for a role or label that cannot be, Refused where that key is there already, and
    what keys raise.
    """
    check_role(role)
    if label is not None and not _LABEL.fullmatch(label):
        raise InvalidInput(f"{label!r} cannot label a key: use lower-case letters, digits, '-' and '_'")
    with exclusive_keys(directory):
        path = key_path(directory, role, label)
        remote = path.with_name(f"{path.stem}.signer.json")
        for there in (path, remote):
            if there.exists():
                raise Refused(f"{there} is there already; name another one with --label")
        if uri is not None:
            uri, key = import_key(uri)
            path = remote
            write_atomically(path, remote_document(uri, key), mode=0o600)
        else:
            write_atomically(path, generate_key(), mode=0o600)
            key = load_key(path).public_key
        public = directory / f"{role}{f'@{label}' if label else ''}.pub.json"
        write_atomically(public, public_document(role, key))
    return MadeKey(keyid=key.keyid, private=path, public=public)


def check_role(role: str) -> str:
    """Return *role* if there can be one of that name. Raises InvalidInput."""
    family, dot, service = role.partition(".")
    if dot and family == "artifacts":
        service_name(service)
    elif role not in ROLES:
        raise InvalidInput(f"there is no role {role}: {', '.join(ROLES)}, or artifacts.SERVICE")
    return role


def public_document(role: str, key: Key) -> bytes:
    """Return the public half of *key* as a file's content."""
    return canonical_json({"format": FORMAT, "role": role, "keyid": key.keyid, "key": key.to_dict()})


def read_public(path: Path) -> Key:
    """Return the public half in the file *path*. Raises NotFound, InvalidInput, StoreUnavailable."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist; 'venvoy keys new' writes such files") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
    top = Fields(parse_json(data, what=str(path)), str(path))
    top.expect_format(FORMAT_MAJOR)
    return read_key(top, str(path))
