"""Channels: which release a name such as ``stable`` means, since when, by whom and why.

Each move of a channel is a document of its own, which names the one before it by digest. What is signed
is the newest; the rest follows from it, so that no move can be left out or altered afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import is_unprintable, release_name

FORMAT_MAJOR = 1
FORMAT = "1.0"
CHANNELS = "channels/"
"""Where channels lie in a store."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?")
_PATH = re.compile(rf"{CHANNELS}(?P<name>[a-z0-9_-]+)\.(?P<number>[1-9][0-9]{{0,8}})\.json")
_MOST_WORDS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """The move before, as bytes: length and sha256 of its document."""

    length: int
    sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move of *channel* to *release*, the *number*-th. *when* is UTC in ISO 8601.

    ``came_from`` is the release that it meant before. ``back`` says that it was a step back.
    """

    channel: str
    number: int
    release: str
    who: str
    when: str
    why: str
    came_from: str | None = None
    back: bool = False
    earlier: Earlier | None = None

    @property
    def path(self) -> str:
        """The document's path in a store."""
        return channel_path(self.channel, self.number)

    def to_json(self) -> bytes:
        """Return the canonical JSON of this move."""
        earlier = None
        if self.earlier is not None:
            earlier = {"length": self.earlier.length, "sha256": self.earlier.sha256}
        return canonical_json(
            {
                "format": FORMAT,
                "channel": self.channel,
                "number": self.number,
                "release": self.release,
                "who": self.who,
                "when": self.when,
                "why": self.why,
                "came_from": self.came_from,
                "back": self.back,
                "earlier": earlier,
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> Move:
        """Read a move. Raises InvalidInput naming the field."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        earlier = top.object("earlier") if top.has("earlier") else None
        came_from = top.optional_text("came_from")
        return cls(
            channel=channel_name(top.text("channel")),
            number=top.count("number"),
            release=release_name(top.text("release")),
            who=top.text("who"),
            when=top.text("when"),
            why=top.text("why"),
            came_from=release_name(came_from) if came_from is not None else None,
            back=top.flag("back", default=False),
            earlier=_earlier(earlier) if earlier is not None else None,
        )


def _earlier(item: Fields) -> Earlier:
    return Earlier(length=item.count("length"), sha256=item.sha256("sha256"))


def channel_name(text: str) -> str:
    """Return *text* if it can name a channel: lower-case letters, digits, ``-`` and ``_``."""
    if not _NAME.fullmatch(text):
        raise InvalidInput(f"{text!r} cannot name a channel: use lower-case letters, digits, '-' and '_'")
    return text


def channel_path(channel: str, number: int) -> str:
    """Return the store path of the *number*-th move of *channel*."""
    return f"{CHANNELS}{channel_name(channel)}.{number}.json"


def parse_channel_path(path: str) -> tuple[str, int] | None:
    """Return the channel and the number that *path* is of, or None."""
    match = _PATH.fullmatch(path)
    return (match["name"], int(match["number"])) if match else None


def one_line(text: str, *, what: str) -> str:
    """Return *text*, somebody's words, as one line. Raises InvalidInput for none, or too many."""
    line = " ".join(text.split())
    if not line or len(line) > _MOST_WORDS or is_unprintable(line):
        raise InvalidInput(f"{what}: say it in 1 to {_MOST_WORDS} printable characters")
    return line
