"""Where a cluster's scheduler is, and who may talk to whom: TLS with certificates on both sides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, Refused
from manifests.urls import is_loopback, redacted

if TYPE_CHECKING:
    from distributed.security import Security

_ADDRESS = re.compile(r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_OTHERS = 0o077


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Files (PEM): the cluster's own certificate authority, and this end's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class Address:
    """A scheduler's address, and what proves both ends to each other.

    ``credentials`` is None for plain TCP, which is for the loopback interface alone: peers exchange
    pickles, so that whoever may connect may run code.
    """

    url: str
    host: str
    credentials: Credentials | None

    @property
    def scheme(self) -> str:
        """``tls`` or ``tcp``."""
        return "tcp" if self.credentials is None else "tls"

    def security(self) -> Security:
        """Return Dask's settings: every connection is encrypted, every peer shows a certificate."""
        from distributed.security import Security

        found = self.credentials
        if found is None:
            return Security(require_encryption=False)
        authority, certificate, key = str(found.authority), str(found.certificate), str(found.key)
        return Security(
            require_encryption=True,
            tls_ca_file=authority,
            tls_client_cert=certificate,
            tls_client_key=key,
            tls_worker_cert=certificate,
            tls_worker_key=key,
            tls_scheduler_cert=certificate,
            tls_scheduler_key=key,
        )


def cluster_address(
    text: str, *, authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> Address:
    """Return the address that *text* spells, ``tls://host:port``, with the files that go with it.

    Raises InvalidInput for what is no address or where files lack, NotFound where a file is missing,
    and Refused for plain tcp off the loopback interface and for a key that others can read.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or match["scheme"] not in ("tls", "tcp") or int(match["port"]) > 65535:
        raise InvalidInput(
            f"--cluster {redacted(text)!r} is not an address; one looks like tls://scheduler:8786"
        )
    host = match["host"].strip("[]")
    files = {"--cluster-ca": authority, "--cluster-cert": certificate, "--cluster-key": key}
    if match["scheme"] == "tcp":
        if not is_loopback(host):
            raise Refused(
                f"{text}: plain tcp is for this machine alone (127.0.0.1, ::1, localhost), since whoever "
                "connects may run code; use tls:// with --cluster-ca, --cluster-cert and --cluster-key"
            )
        return Address(url=text, host=host, credentials=None)
    if authority is None or certificate is None or key is None:
        lacking = ", ".join(option for option, path in files.items() if path is None)
        raise InvalidInput(f"{text}: TLS needs a certificate on both sides; name {lacking}")
    for option, path in files.items():
        if path is not None and not path.is_file():
            raise NotFound(f"{option} {path}: no such file")
    if key.stat().st_mode & _OTHERS:
        raise Refused(f"{key}: others can read this key; run chmod 600 on it, and make a new one if they did")
    credentials = Credentials(authority=authority, certificate=certificate, key=key)
    return Address(url=text, host=host, credentials=credentials)
