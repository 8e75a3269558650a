"""Keys that are not in files: in tokens (PKCS #11) and key services, named by securesystemslib's URIs.

A ``*.signer.json`` holds the URI and the public half. Hosts need the package 'cryptography' to verify what
such keys sign, which are no ed25519 keys.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlparse

from securesystemslib.exceptions import Error, UnsupportedLibraryError

from distributor.trust.tuf_api import KEY_FOR_TYPE_AND_SCHEME, SIGNER_FOR_URI_SCHEME, Key
from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import HostUnsuitable, InvalidInput, StoreUnavailable
from manifests.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributor.trust.tuf_api import Signer

FORMAT_MAJOR = 1
FORMAT = "1.0"
PIN = "VENVOY_HSM_PIN"
_EXTRAS = {"hsm": "hsm", "awskms": "awskms", "azurekms": "azurekms", "gcpkms": "gcpkms", "hv": "vault"}


def import_key(uri: str) -> tuple[str, Key]:
    """Ask the token or service that *uri* names for its public key; return the URI to sign by, and the key.

    Raises InvalidInput for a URI of no known kind, HostUnsuitable where its library lacks,
    StoreUnavailable where it does not answer.
    """
    parsed = urlparse(uri)
    kind = _signer_class(uri)
    name = uri.partition(":")[2]
    with _answering(uri):
        if parsed.scheme == "hsm":
            label = dict(parse_qsl(parsed.query)).get("label")
            found: tuple[str, Key] = kind.import_(int(parsed.path) if parsed.path else None, label, _pin)
        elif parsed.scheme == "azurekms":
            vault, _, key = name.removeprefix("//").partition(".vault.azure.net/keys/")
            found = kind.import_(vault, key.partition("/")[0])
        else:
            found = kind.import_(name)
    return found


def remote_document(uri: str, key: Key) -> bytes:
    """Return the content of a ``*.signer.json``."""
    value = {"format": FORMAT, "uri": uri, "keyid": key.keyid, "key": key.to_dict()}
    return canonical_json(value)


def load_remote(path: Path) -> Signer:
    """Return the signer that the file *path* names. Raises as ``import_key`` does."""
    try:
        data = path.read_bytes()[: MAX_DOCUMENT_BYTES + 1]
    except OSError as error:
        raise StoreUnavailable(f"cannot read the key {path}: {error.strerror}") from error
    top = Fields(parse_json(data, what=str(path)), str(path))
    top.expect_format(FORMAT_MAJOR)
    uri = top.text("uri")
    key = read_key(top, str(path))
    with _answering(uri):
        signer: Signer = _signer_class(uri).from_priv_key_uri(uri, key, _pin)
        return signer


def read_key(top: Fields, what: str) -> Key:
    """Return the public key in *top*, whose ``keyid`` must be its own. Raises InvalidInput."""
    item = top.object("key")
    keytype, scheme = item.text("keytype"), item.text("scheme")
    keyval = {"public": str(item.object("keyval").raw_text("public"))}
    if (keytype, scheme) not in KEY_FOR_TYPE_AND_SCHEME:
        raise InvalidInput(f"{what}: keys of kind {keytype}, {scheme} are not known")
    return Key.from_dict(top.sha256("keyid"), {"keytype": keytype, "scheme": scheme, "keyval": keyval})


def _signer_class(uri: str) -> Any:
    """Return securesystemslib's class for *uri*, whose client our start-up had hidden (see ``tuf_api``)."""
    scheme = urlparse(uri).scheme
    if scheme not in _EXTRAS:
        raise InvalidInput(f"{uri}: no kind of signer is called {scheme!r}; there are {', '.join(_EXTRAS)}")
    kind = SIGNER_FOR_URI_SCHEME[scheme]
    if scheme in ("awskms", "azurekms", "gcpkms"):
        return getattr(importlib.reload(sys.modules[kind.__module__]), kind.__name__)
    return kind


def _pin(what: str) -> str:
    found = os.environ.get(PIN)
    if not found and sys.stdin is not None and sys.stdin.isatty():
        found = getpass.getpass(f"{what} of the token: ")
    if not found:
        raise ValueError(f"its {what} is asked for: set {PIN}, or run this at a terminal")
    return found


@contextlib.contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn what a client raises into our errors; each has exceptions of its own."""
    try:
        yield
    except UnsupportedLibraryError as error:
        extra = _EXTRAS[urlparse(uri).scheme]
        raise HostUnsuitable(f"{uri}: {error}: pip install 'securesystemslib[{extra}]'") from None
    except (ValueError, Error) as error:
        raise InvalidInput(f"{uri}: {error}") from None
    except Exception as error:  # noqa: BLE001 - boto3's, Azure's, Google's, PKCS #11's: no class in common
        raise StoreUnavailable(f"{uri}: {type(error).__name__}: {error}") from None
