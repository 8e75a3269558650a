# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of wheels, served to a build on this very machine: locks name addresses and never local paths."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base's
        """Say nothing: a module's output is its result."""


@contextlib.contextmanager
def served(places: list[str]) -> Iterator[list[str]]:
    """Yield an address for each of *places*: folders are served on the loopback until the end."""
    with contextlib.ExitStack() as stack:
        yield [place if "://" in place else stack.enter_context(_serve(place)) for place in places]


@contextlib.contextmanager
def _serve(folder: str) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
