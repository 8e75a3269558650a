"""Reading untrusted JSON objects field by field, with the field's path in every error.

Wire documents carry ``format`` as ``major.minor``. Readers take any minor of a major that they
know and ignore keys that they do not; they refuse another major.
"""

from __future__ import annotations

import re
from typing import Any

from manifests.documents import Sha256
from manifests.errors import InvalidInput
from manifests.naming import is_unprintable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})")


class Fields:
    """One JSON object, read by typed accessors. *where* is its path for errors."""

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise InvalidInput(f"{where}: expected an object, found {type(value).__name__}")
        self._value: dict[str, Any] = value

    def _get(self, key: str, kind: type, default: Any = None, *, required: bool = True) -> Any:
        if key not in self._value:
            if required:
                raise InvalidInput(f"{self.where}: {key!r} is missing")
            return default
        value = self._value[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidInput(f"{self.where}.{key}: expected {kind.__name__}, found {type(value).__name__}")
        return value

    def text(self, key: str) -> str:
        """Return a string without control characters."""
        value: str = self._get(key, str)
        _check_text(value, f"{self.where}.{key}")
        return value

    def raw_text(self, key: str) -> str:
        """Return a string that may have several lines."""
        value: str = self._get(key, str)
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string, or None where the key is absent or null."""
        return None if self._value.get(key) is None else self.text(key)

    def count(self, key: str, default: int | None = None) -> int:
        """Return an integer >= 0 below 2**53; *default*, where given, if the key is absent."""
        value: int = self._get(key, int, default, required=default is None)
        if not 0 <= value < 2**53:
            raise InvalidInput(f"{self.where}.{key}: {value} is out of range")
        return value

    def sha256(self, key: str) -> Sha256:
        """Return a sha256 in lower-case hex."""
        value: str = self._get(key, str)
        if not _SHA256.fullmatch(value):
            raise InvalidInput(f"{self.where}.{key}: {value[:80]!r} is not a sha256")
        return Sha256(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a boolean, or *default* where the key is absent."""
        return bool(self._get(key, bool, default, required=False))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings without control characters; absent means empty."""
        values: list[Any] = self._get(key, list, [], required=False)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise InvalidInput(f"{self.where}.{key}[{index}]: expected str, found {type(value).__name__}")
            _check_text(value, f"{self.where}.{key}[{index}]")
        return tuple(values)

    def has(self, key: str) -> bool:
        """Say whether *key* is present and not null."""
        return self._value.get(key) is not None

    def counts(self, key: str) -> tuple[int, ...]:
        """Return a list of integers >= 0."""
        values: list[Any] = self._get(key, list)
        if not all(type(value) is int and 0 <= value < 2**53 for value in values):
            raise InvalidInput(f"{self.where}.{key}: expected a list of counts")
        return tuple(values)

    def text_matrix(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Return a list of non-empty lists of strings (argument vectors); absent means empty."""
        values: list[Any] = self._get(key, list, [], required=False)
        for index, value in enumerate(values):
            if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
                raise InvalidInput(f"{self.where}.{key}[{index}]: expected a non-empty list of strings")
        return tuple(tuple(value) for value in values)

    def object(self, key: str, *, required: bool = True) -> Fields:
        """Return a nested object."""
        return Fields(self._get(key, dict, {}, required=required), f"{self.where}.{key}")

    def objects(self, key: str, *, required: bool = True) -> list[Fields]:
        """Return a list of nested objects."""
        values: list[Any] = self._get(key, list, [], required=required)
        return [Fields(value, f"{self.where}.{key}[{index}]") for index, value in enumerate(values)]

    def items(self) -> list[tuple[str, Fields]]:
        """Return all members as nested objects, sorted by key."""
        return [(key, Fields(value, f"{self.where}.{key}")) for key, value in sorted(self._value.items())]

    def text_lists(self) -> dict[str, tuple[str, ...]]:
        """Return this object as a mapping of names to lists of strings."""
        for key in self._value:
            _check_text(key, f"{self.where}.{key!r}")
        return {key: self.texts(key) for key in sorted(self._value)}

    def texts_by_name(self) -> dict[str, str]:
        """Return this object as a mapping of names to strings."""
        for key in self._value:
            _check_text(key, f"{self.where}.{key!r}")
        return {key: self.text(key) for key in sorted(self._value)}

    def digests_by_name(self) -> dict[str, Sha256]:
        """Return this object as a mapping of names to digests."""
        for key in self._value:
            _check_text(key, f"{self.where}.{key!r}")
        return {key: self.sha256(key) for key in sorted(self._value)}

    def expect_format(self, major: int) -> None:
        """Refuse a document of another format major than *major*."""
        text = self.text("format")
        match = _FORMAT.fullmatch(text)
        if match is None:
            raise InvalidInput(f"{self.where}.format: {text!r} is not major.minor")
        if int(match[1]) != major:
            raise InvalidInput(
                f"{self.where}: format {text} needs Venvoy >= {match[1]}.0 (this one reads format {major}.x)"
            )


def _check_text(value: str, where: str) -> None:
    if is_unprintable(value):
        raise InvalidInput(f"{where}: control characters are not allowed")
