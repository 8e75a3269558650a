"""A build as its service tells of it: server-sent events, taken up again wherever they were cut."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from manifests.console import printable
from manifests.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.remote.connection import Connection
    from manifests.console import Console

FINISHED = ("published", "built", "failed", "cancelled")
_CUTS_WITHOUT_NEWS = 20
_PAUSE_SECONDS = 0.5


class Follower:
    """Shows the build *build_id* on *console* until it is finished."""

    def __init__(self, connection: Connection, build_id: str, console: Console) -> None:
        self._connection = connection
        self._path = f"/api/v1/builds/{build_id}"
        self._console = console
        self._position = "0"
        self._state = ""
        self._news = False

    def follow(self) -> dict[str, Any]:
        """Return the build once it is finished. Raises StoreUnavailable where the service stays away."""
        cuts = 0
        while True:
            self._news = False
            if self._read():
                return self._connection.json("GET", self._path)
            cuts = 0 if self._news else cuts + 1
            if cuts > _CUTS_WITHOUT_NEWS:
                raise StoreUnavailable(
                    f"{self._connection.url} breaks off whenever it is asked about the build"
                )
            time.sleep(_PAUSE_SECONDS)

    def _read(self) -> bool:
        """Show events until the stream ends or is cut; return whether the build is finished."""
        import requests

        headers = {"Accept": "text/event-stream", "Last-Event-ID": self._position}
        answer = self._connection.stream(f"{self._path}/events", headers)
        try:
            for kind, identity, data in events(answer.iter_lines(chunk_size=1, decode_unicode=False)):
                self._news = True
                if kind == "end":
                    return True
                self._show(kind, identity, data)
        except requests.exceptions.RequestException:
            return False  # cut: the service was restarted, a proxy was impatient
        finally:
            answer.close()
        return False

    def _show(self, kind: str, identity: str, data: str) -> None:
        try:
            value = json.loads(data)
        except ValueError:
            return
        if kind == "log":
            self._position = identity or self._position
            self._console.line(printable(str(value.get("text", ""))))
        elif kind == "build":
            if value.get("state") != self._state:
                self._state = str(value.get("state"))
                if self._state not in FINISHED:
                    self._console.line(printable(f"the service says: {self._state}"))
            match value.get("progress"):
                case {"stage": str(stage), "done": int(done), "total": int(total), "note": note}:
                    self._console.bar(
                        printable(stage), done, total, printable(f"{done}/{total} {note}".strip())
                    )


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Yield kind, id and data of each whole event in *lines* (WHATWG HTML, 9.2.6)."""
    fields: dict[str, str] = {}
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r")
        if not line:
            if fields.get("data"):
                yield fields.get("event", "message"), fields.get("id", ""), fields["data"]
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
