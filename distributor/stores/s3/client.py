"""Botocore clients, one for each process, and a bucket's prefix seen through them.

Retrying is botocore's alone: its standard mode, with the number of attempts set here.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore import UNSIGNED
from botocore.config import Config

from manifests import __version__

if TYPE_CHECKING:
    from distributor.stores.s3.options import S3Connection, S3Options

# What is the store's own lies below this name, which no object may have.
HIDDEN = ".venvoy/"

_PATIENT = {
    "connect_timeout": 10,
    "read_timeout": 60,
    "retries": {"mode": "standard", "total_max_attempts": 5},
}
# Under the lock of the fallback: a request must be over well before the lock's claim dies.
_HURRIED = {
    "connect_timeout": 5,
    "read_timeout": 15,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}

_clients: dict[tuple[int, S3Connection, bool], Any] = {}
_making = threading.Lock()


def _forget_lock() -> None:
    # A thread of the parent may have held it at the fork; nobody would ever release it here.
    global _making  # noqa: PLW0603 - the child's only way to a lock of its own
    _making = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


class Bucket:
    """The part of a bucket that is one store's. May be used by several threads, and after a fork."""

    def __init__(self, options: S3Options) -> None:
        self.options = options
        self.location = options.location
        self.prefix = options.prefix

    def call(self, operation: str, path: str, *, hurried: bool = False, **parameters: Any) -> dict[str, Any]:
        """Call *operation* of the client for the object *path*. Raises botocore's errors."""
        method = getattr(self.client(hurried=hurried), operation)
        response: dict[str, Any] = method(Bucket=self.options.bucket, Key=self.prefix + path, **parameters)
        return response

    def pages(self, operation: str, prefix: str) -> Any:
        """Return the pages of a listing below *prefix* of the store."""
        paginator = self.client().get_paginator(operation)
        return paginator.paginate(Bucket=self.options.bucket, Prefix=self.prefix + prefix)

    def client(self, *, hurried: bool = False) -> Any:
        """Return this process's client. Sockets of a parent are never used by its child."""
        key = (os.getpid(), self.options.connection, hurried)
        with _making:
            if key not in _clients:
                _clients[key] = _make_client(self.options.connection, _HURRIED if hurried else _PATIENT)
            return _clients[key]


def _make_client(connection: S3Connection, patience: dict[str, Any]) -> Any:
    session = boto3.session.Session(profile_name=connection.profile)
    return session.client(
        "s3",
        # Signatures need some region; servers that are not AWS's take any.
        region_name=connection.region or session.region_name or "us-east-1",
        endpoint_url=connection.endpoint,
        verify=connection.ca_bundle,
        config=Config(
            **patience,
            signature_version=UNSIGNED if connection.anonymous else None,
            user_agent_extra=f"venvoy/{__version__}",
            # The sha256 of every body is signed, and so checked by every kind of server. Checksums in
            # trailers are newer than many servers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": connection.addressing, "payload_signing_enabled": True},
        ),
    )
