"""What an S3 store is opened with, read in one place: the location, and settings of the environment.

No credential is held here: botocore finds them by its own chain (environment, profile, instance).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from manifests.errors import InvalidInput
from manifests.naming import safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ADDRESSING = ("auto", "path", "virtual")
_SWITCH = {"": False, "0": False, "1": True}


@dataclass(frozen=True, kw_only=True)
class S3Connection:
    """How a server is reached. Stores with equal ones share a client."""

    endpoint: str | None = None  # None: AWS, or what the profile says
    region: str | None = None  # None: the profile's, or us-east-1
    profile: str | None = None  # None: AWS_PROFILE, or the default one
    anonymous: bool = False  # send no signature
    addressing: str = "auto"  # "path", "virtual", or botocore's choice
    ca_bundle: str | None = None  # None: certifi's


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """One store: a *prefix* ("" or "some/folder/") of a *bucket*."""

    bucket: str
    prefix: str = ""
    connection: S3Connection = S3Connection()
    require_conditional: bool = False  # refuse a server without conditional writes

    @property
    def location(self) -> str:
        """The store's name for people and caches: equal names at two endpoints are two stores."""
        name = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return f"{name} at {self.connection.endpoint}" if self.connection.endpoint else name


def read_options(location: str, environ: Mapping[str, str]) -> S3Options:
    """Return the options for ``s3://bucket/prefix`` with the settings in *environ*.

    Raises InvalidInput, without repeating what may hold a secret.
    """
    scheme, separator, rest = location.partition("://")
    if scheme.lower() != "s3" or not separator:
        raise InvalidInput("an S3 store is named s3://BUCKET or s3://BUCKET/PREFIX")
    if any(mark in rest for mark in "@?#"):
        raise InvalidInput(
            "the location of an S3 store is s3://BUCKET/PREFIX alone, without credentials or a query; "
            "settings come from VENVOY_S3_... variables and AWS profiles"
        )
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(f"{bucket!r} cannot name a bucket; a store is named s3://BUCKET/PREFIX")
    prefix = prefix.strip("/")
    if prefix:
        safe_relative_path(prefix, what="prefix of the S3 store")
        prefix += "/"
    return S3Options(
        bucket=bucket,
        prefix=prefix,
        connection=_connection(environ),
        require_conditional=_switch(environ, "VENVOY_S3_REQUIRE_CONDITIONAL"),
    )


def _connection(environ: Mapping[str, str]) -> S3Connection:
    endpoint = _first(environ, "VENVOY_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    default = "path" if endpoint else "auto"
    addressing = environ.get("VENVOY_S3_ADDRESSING") or default
    if addressing not in _ADDRESSING:
        raise InvalidInput(f"VENVOY_S3_ADDRESSING is {addressing!r}; use one of: {', '.join(_ADDRESSING)}")
    ca_bundle = _first(environ, "VENVOY_CA_BUNDLE", "AWS_CA_BUNDLE")
    if ca_bundle and not Path(ca_bundle).is_file():
        raise InvalidInput(f"{ca_bundle}: no such file; VENVOY_CA_BUNDLE or AWS_CA_BUNDLE names it")
    return S3Connection(
        endpoint=_endpoint(endpoint) if endpoint else None,
        region=_first(environ, "VENVOY_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        profile=_first(environ, "VENVOY_S3_PROFILE"),
        anonymous=_switch(environ, "VENVOY_S3_ANONYMOUS"),
        addressing=addressing,
        ca_bundle=ca_bundle,
    )


def _endpoint(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        valid = False
    if not valid or any(mark in url for mark in "@?#"):
        raise InvalidInput(
            "the S3 endpoint must be http://HOST:PORT or https://HOST:PORT, without credentials or a "
            "query; VENVOY_S3_ENDPOINT, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names it"
        )
    return url.rstrip("/")


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _switch(environ: Mapping[str, str], name: str) -> bool:
    try:
        return _SWITCH[environ.get(name, "")]
    except KeyError:
        raise InvalidInput(f"{name} is {environ[name]!r}; set it to 1 or 0") from None
