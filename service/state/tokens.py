"""Tokens: who may use the service for what. Only their digests are kept."""

from __future__ import annotations

import enum
import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from service.state.database import Database

PREFIX = "venvoy_"
"""How tokens begin, so that scanners for leaked secrets know them."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_MAX_LENGTH = 200
_DAY = 86400.0


class Scope(str, enum.Enum):
    """What a token is good for."""

    READ = "read"
    """See builds, logs and the store."""
    BUILD = "build"
    """Submit, cancel and retry builds."""
    PUBLISH = "publish"
    """Have builds published, and forward pins that release managers signed."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token without its secret. Times are seconds since 1970."""

    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None


class Tokens:
    """All tokens in *database*."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def add(self, name: str, scopes: Iterable[Scope], *, days: float | None = None) -> str:
        """Make a token and return its secret, which is kept nowhere.

        Raises InvalidInput for a bad name or no scope, Refused for a name that is taken.
        """
        chosen = frozenset(scopes)
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot name a token: use letters, digits, '.', '_', '@' and '-'")
        if not chosen:
            raise InvalidInput(f"token {name}: name one scope or more")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        with self._database.changing() as connection:
            if connection.execute("SELECT 1 FROM tokens WHERE name = ?", (name,)).fetchone():
                raise Refused(f"there is a token {name!r} already: revoke it first, or choose another name")
            connection.execute(
                "INSERT INTO tokens (name, sha256, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
                (
                    name,
                    _digest(secret),
                    " ".join(sorted(scope.value for scope in chosen)),
                    now,
                    None if days is None else now + days * _DAY,
                ),
            )
        return secret

    def revoke(self, name: str) -> None:
        """Make the token worthless, at once. Raises NotFound."""
        with self._database.changing() as connection:
            if not connection.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount:
                raise NotFound(f"there is no token {name!r}")

    def list(self) -> list[Token]:
        """Return all tokens, by name."""
        with self._database.reading() as connection:
            return [_token(row) for row in connection.execute("SELECT * FROM tokens ORDER BY name")]

    def find(self, secret: str) -> Token | None:
        """Return the token with that *secret* if it is still good.

        The digest of 32 random bytes is looked up: how long that takes tells nothing of the secret.
        """
        if not 0 < len(secret) <= _MAX_LENGTH:
            return None
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM tokens WHERE sha256 = ?", (_digest(secret),)).fetchone()
        if row is None or (row["expires_at"] is not None and row["expires_at"] <= self._clock()):
            return None
        return _token(row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _token(row: sqlite3.Row) -> Token:
    return Token(
        name=row["name"],
        scopes=frozenset(Scope(scope) for scope in row["scopes"].split()),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
