"""Reading TOML that people write: strict, all mistakes at once, each with its line.

A ``Table`` hands out typed values. What it cannot accept becomes a line of its ``Problems`` and a
harmless default, so that one reading finds every mistake.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from manifests.documents import MAX_DOCUMENT_BYTES
from manifests.errors import InvalidInput
from manifests.toml_lines import KeyPath, line_of, scan_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    float: "a float",
    list: "a list",
    dict: "a table",
}


def load_toml(data: bytes, *, what: str) -> tuple[dict[str, Any], str]:
    """Parse TOML; return the top table and the text. *what* names the document in errors.

    Raises InvalidInput for anything that is not UTF-8 TOML of at most ``MAX_DOCUMENT_BYTES``.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidInput(
            f"{what}: {len(data)} bytes is more than a document may have ({MAX_DOCUMENT_BYTES})"
        )
    try:
        text = data.decode("utf-8")
        return tomllib.loads(text), text
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what}: not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise InvalidInput(f"{what}: not valid TOML: nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"{what}: not valid TOML: {error}") from None


class Problems:
    """The mistakes found so far in one document, *name*."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = scan_lines(text)
        self._found: dict[tuple[int, str], None] = {}

    def add(self, where: KeyPath, message: str) -> None:
        """Record *message* at the line of the key path *where*."""
        self._found.setdefault((line_of(self._lines, where), message))

    def raise_if_any(self) -> None:
        """Raise InvalidInput with one line per mistake, in the document's order."""
        if self._found:
            found = sorted(self._found, key=lambda item: item[0])
            raise InvalidInput("\n".join(f"{self._name}:{line}: {message}" for line, message in found))


class Table:
    """One table, which may hold *keys* and no others. *where* is its path of keys."""

    def __init__(
        self, value: dict[str, Any], where: KeyPath, keys: Iterable[str], problems: Problems
    ) -> None:
        self.where = where
        self._value = value
        self._problems = problems
        self._title = _title(where)
        known = tuple(keys)
        for key in value:
            if key not in known:
                problems.add((*where, key), f"unknown key {key!r} {self._title}; {_hint(key, known)}")

    def has(self, key: str) -> bool:
        """Say whether *key* is present."""
        return key in self._value

    def is_empty(self, key: str) -> bool:
        """Say whether *key* is a list or table with nothing in it."""
        return self._value.get(key) in ([], {})

    def problem(self, key: str, message: str, *index: int) -> None:
        """Record *message* about *key*, or about the list item that *index* leads to."""
        label = key + "".join(f"[{number}]" for number in index)
        self._problems.add((*self.where, key, *index), f"{label!r} {self._title}: {message}")

    def missing(self, key: str, example: str) -> None:
        """Record that *key* must be there; *example* shows how it is written."""
        self._problems.add(self.where, f"{key!r} is missing {self._title}; write for instance: {example}")

    def _typed(self, value: Any, kind: type[_T], key: str, *index: int) -> _T | None:
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        found = _KINDS.get(type(value), "a date or time")
        label = key + "".join(f"[{number}]" for number in index)
        self._problems.add(
            (*self.where, key, *index), f"{label!r} {self._title} must be {_KINDS[kind]}, not {found}"
        )
        return None

    def _parsed(self, text: str, parse: Callable[[str], _T], key: str, *index: int) -> _T | None:
        if not text.strip() or _CONTROL.search(text):
            self.problem(key, "must not be empty or hold line breaks or control characters", *index)
            return None
        try:
            return parse(text)
        except InvalidInput as error:
            self.problem(key, str(error), *index)
            return None

    def text(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        """Return what *parse* makes of the string *key*; None where absent or wrong."""
        if key not in self._value:
            return None
        text = self._typed(self._value[key], str, key)
        return None if text is None else self._parsed(text, parse, key)

    def texts(self, key: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Return what *parse* makes of each string of the list *key*; two equal ones are a mistake."""
        result: list[_T] = []
        for index, value in enumerate(self.items(key)):
            text = self._typed(value, str, key, index)
            item = None if text is None else self._parsed(text, parse, key, index)
            if item is None:
                continue
            if item in result:
                self.problem(key, f"{text!r} stands twice", index)
            else:
                result.append(item)
        return tuple(result)

    def vectors(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Return a list of non-empty lists of strings (argument vectors)."""
        result: list[tuple[str, ...]] = []
        for index, value in enumerate(self.items(key)):
            vector = self._typed(value, list, key, index)
            if vector is None:
                continue
            words = [self._typed(word, str, key, index) for word in vector]
            plain = [word for word in words if word is not None]
            if not plain or not plain[0] or any("\0" in word for word in plain):
                self.problem(key, "expected a command, such as ['nova-manage', '--version']", index)
            result.append(tuple(plain))
        return tuple(result)

    def items(self, key: str) -> list[Any]:
        """Return the list *key*; absent or wrong is empty."""
        found = self._typed(self._value.get(key, []), list, key)
        return [] if found is None else found

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return an integer from *low* to *high*, or *default* where absent or wrong."""
        value = self._typed(self._value.get(key, default), int, key)
        if value is None:
            return default
        if not low <= value <= high:
            self.problem(key, f"must be from {low} to {high}")
            return default
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a boolean, or *default* where absent or wrong."""
        value = self._typed(self._value.get(key, default), bool, key)
        return default if value is None else value

    def table(self, key: str, keys: Iterable[str]) -> Table:
        """Return a nested table with its known *keys*; absent or wrong is empty."""
        value = self._typed(self._value.get(key, {}), dict, key)
        return Table(value or {}, (*self.where, key), keys, self._problems)

    def entries(self, key: str, short: str, keys: Iterable[str]) -> list[tuple[int, Table]]:
        """Return the tables in the list *key* with their indexes; a string means ``{short = string}``."""
        result: list[tuple[int, Table]] = []
        for index, item in enumerate(self.items(key)):
            value = {short: item} if isinstance(item, str) else self._typed(item, dict, key, index)
            if value is not None:
                entry = Table(value, (*self.where, key, index), keys, self._problems)
                result.append((index, entry))
                if not entry.has(short):
                    entry.missing(short, f'{short} = "..."')
        return result

    def tables(self, key: str, keys: Iterable[str]) -> dict[str, Table]:
        """Return the tables of the table *key* by name, each with the known *keys*."""
        value = self._typed(self._value.get(key, {}), dict, key) or {}
        outer = Table(value, (*self.where, key), value, self._problems)
        return {name: outer.table(name, keys) for name in value}


def _hint(key: str, known: tuple[str, ...]) -> str:
    import difflib

    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"


def _title(where: KeyPath) -> str:
    if not where:
        return "at the top level"
    title = ""
    for part in where:
        if isinstance(part, int):
            title += f"[{part}]"
        else:
            title += ("." if title else "") + (part if _BARE.fullmatch(part) else repr(part))
    return f"in [{title}]"
