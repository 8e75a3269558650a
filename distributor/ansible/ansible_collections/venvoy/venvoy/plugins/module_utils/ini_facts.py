# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""Facts in an INI file that several tools share, for hosts on which Venvoy itself could not be used."""

from __future__ import annotations

import re


def with_facts(text: str, facts: list[dict[str, str]]) -> str:
    """Return *text* with *facts* ({section, option, value}) set, all else as it was."""
    lines = text.splitlines()
    for fact in facts:
        _set(lines, fact["section"], fact["option"], f"{fact['option']} = {fact['value']}")
    return "\n".join(lines) + "\n"


def _set(lines: list[str], section: str, option: str, wanted: str) -> None:
    current, end = None, None
    for index, line in enumerate(lines):
        opening = re.match(r"\s*\[([^\]]*)\]", line)
        current = opening[1].strip() if opening else current
        if current != section:
            continue
        if re.match(rf"\s*{re.escape(option)}\s*[=:]", line, re.IGNORECASE):
            lines[index] = wanted
            return
        if line.strip():
            end = index + 1
    if end is None:
        lines += [*([""] if lines else []), f"[{section}]", wanted]
    else:
        lines.insert(end, wanted)
