"""Where the keys of a TOML document stand: tomllib says what a document holds, not on which line.

The scanner relies on the text being valid TOML, which tomllib has found out before. Keys of inline
tables are not followed: their line is that of the key or list item around them.
"""

from __future__ import annotations

import json
import re

KeyPath = tuple[str | int, ...]
"""Keys, and indexes of list items, that lead to a value."""

_TOKEN = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | (?P<text>
          \"{3}(?:\\.|[^\\])*?\"{3}\"{0,2}   # a text of several lines may end in quotes of its own
        | '{3}.*?'{3}'{0,2}
        | \"(?:\\.|[^\"\\\n])*\"
        | '[^'\n]*'
      )
    | (?P<newline>\n)
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<comma>,)
    | (?P<equals>=)
    | (?P<space>[ \t\r]+)
    | (?P<dot>\.)
    | (?P<word>[^\s\#\"'\[\]{},=.]+)
    | (?P<other>.)
    """,
    re.DOTALL | re.VERBOSE,
)
_BLANK = ("comment", "newline", "space")


def line_of(lines: dict[KeyPath, int], where: KeyPath) -> int:
    """Return the line of *where*, or of the nearest key around it; 1 where nothing is known."""
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def scan_lines(text: str) -> dict[KeyPath, int]:
    """Return the line of each table, each key and each item of a list in the TOML *text*."""
    scanner = _Scanner()
    for match in _TOKEN.finditer(text + "\n"):  # a header may be the last thing
        scanner.feed(match.lastgroup or "other", match.group())
    return scanner.lines


class _Scanner:
    """Follows the document piece by piece; ``feed`` is told each kind and text."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._line = 1
        self._table: KeyPath = ()
        self._keys: list[str] = []
        self._path: KeyPath = ()
        self._depth = 0
        self._item = 0
        self._item_begins = False
        self._step = self._in_key

    def feed(self, kind: str, piece: str) -> None:
        self._step(kind, piece)
        self._line += piece.count("\n")

    def _note(self, path: KeyPath) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line)

    def _in_key(self, kind: str, piece: str) -> None:
        if kind == "open":
            self._step = self._in_header
        elif kind in ("word", "text"):
            self._keys.append(_key(piece))
        elif kind == "equals":
            self._path = (*self._table, *self._keys)
            self._keys = []
            self._note(self._path)
            self._depth, self._item, self._item_begins = 0, 0, False
            self._step = self._in_value

    def _in_header(self, kind: str, piece: str) -> None:
        if kind in ("word", "text"):
            self._keys.append(_key(piece))
        elif kind == "newline":
            self._table = tuple(self._keys)
            self._keys = []
            self._note(self._table)
            self._step = self._in_key

    def _in_value(self, kind: str, piece: str) -> None:
        if kind == "newline" and self._depth == 0:
            self._step = self._in_key
            return
        if self._item_begins and kind not in (*_BLANK, "close"):
            self.lines.setdefault((*self._path, self._item), self._line)
            self._item_begins = False
        if kind == "open":
            self._item_begins = self._depth == 0 and piece == "["
            self._depth += 1
        elif kind == "close":
            self._depth -= 1
        elif kind == "comma" and self._depth == 1:
            self._item += 1
            self._item_begins = True


def _key(piece: str) -> str:
    if piece.startswith("'"):
        return piece[1:-1]
    if piece.startswith('"'):
        try:
            return str(json.loads(piece))
        except ValueError:  # an escape of TOML that JSON lacks: the line is then that of the table
            return piece
    return piece
