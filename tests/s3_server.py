"""A server of S3 for tests: moto's, in a process of its own, spoken to over real HTTP.

Run as a program it serves until its standard input ends, and says its port in its first line::

    python -m tests.s3_server [--ignore-conditions | --refuse-conditions]
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from distributor.stores.s3.client import Bucket
from distributor.stores.s3.options import S3Connection, S3Options
from distributor.stores.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ACCESS_KEY = "AKIACANARYACCESSKEY1"
SECRET_KEY = "canary-secret-0123456789"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def set_credentials(monkeypatch: pytest.MonkeyPatch, credentials: Mapping[str, str] = CREDENTIALS) -> None:
    """Give botocore these credentials, and nothing that this machine may be set up with."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "VENVOY_S3_"))]:
        monkeypatch.delenv(name)
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    for name, value in {**nothing, "NO_PROXY": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)


@contextlib.contextmanager
def fixed_credentials(credentials: Mapping[str, str] = CREDENTIALS) -> Iterator[None]:
    """Have these credentials while the client for a server is made, which keeps them."""
    with pytest.MonkeyPatch.context() as patched:
        set_credentials(patched, credentials)
        yield


@contextlib.contextmanager
def s3_server(*arguments: str) -> Iterator[str]:
    """Run the server and give its URL."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.s3_server", *arguments],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def options_at(url: str, bucket: str, *, prefix: str = "", **settings: Any) -> S3Options:
    """Return options for the server at *url*."""
    connection = S3Connection(endpoint=url, addressing="path", region="us-east-1")
    return S3Options(bucket=bucket, prefix=prefix, connection=connection, **settings)


def new_bucket(url: str, *, prefix: str = "", **settings: Any) -> S3Options:
    """Make a bucket with a name of its own; return options for a store in it."""
    options = options_at(url, f"test-{secrets.token_hex(8)}", prefix=prefix, **settings)
    client_of(options).create_bucket(Bucket=options.bucket)
    return options


def client_of(options: S3Options) -> Any:
    """Return a plain client, for what a store does not do."""
    return Bucket(options).client()


def store_at(options: S3Options) -> S3Store:
    """Return the store; called in another process too, it opens the same."""
    return S3Store(options)


def _one_at_a_time(application: Callable[..., Any]) -> Callable[..., Any]:
    """Serve one request after the other: moto looks and then writes, real servers do both in one."""
    lock = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        # The body comes in before the lock is taken: a client that stalls must not stop the others.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            raise ConnectionError("the client went away")
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            return [b"".join(application(environ, start_response))]

    return serve


def _without_conditions(application: Callable[..., Any]) -> Callable[..., Any]:
    """Take no notice of conditions on writes, as servers do that do not know them."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("PUT", "POST"):
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        return application(environ, start_response)

    return serve


def _refusing_conditions(application: Callable[..., Any]) -> Callable[..., Any]:
    """Answer 501 to conditions on writes, as older servers do."""

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("PUT", "POST") and (
            "HTTP_IF_NONE_MATCH" in environ or "HTTP_IF_MATCH" in environ
        ):
            start_response("501 Not Implemented", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NotImplemented</Code><Message>no</Message></Error>"]
        return application(environ, start_response)

    return serve


_VARIANTS = {"--ignore-conditions": _without_conditions, "--refuse-conditions": _refusing_conditions}


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    # A reply in two pieces would wait for the client's delayed acknowledgement.
    WSGIRequestHandler.disable_nagle_algorithm = True
    application = DomainDispatcherApplication(create_backend_app)
    for argument in arguments:
        application = _VARIANTS[argument](application)
    server = make_server("127.0.0.1", 0, _one_at_a_time(application), threaded=True)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(sys.argv[1:])
