"""`(X_venv_enabled | bool) | ternary(a, b)` is `a`."""

from __future__ import annotations

import re

from venvoy_lint.conditions import TOGGLE

_TOGGLED = rf"{TOGGLE.pattern}(?:\s*\|\s*bool)?"
_VALUE = r"""(?:[A-Za-z_][A-Za-z0-9_.]*|'[^'"{}]*'|"[^'"{}]*")"""
# Plain values only: anything else is for people.
_TERNARY = re.compile(
    rf"(?:\(\s*{_TOGGLED}\s*\)|{_TOGGLED})\s*\|\s*ternary\(\s*(?P<yes>{_VALUE})\s*,\s*{_VALUE}\s*\)"
)


def without_ternaries(text: str) -> str:
    """Return *text* with each plain ternary over a toggle replaced by its first value."""
    return _TERNARY.sub(lambda found: found["yes"], text)
