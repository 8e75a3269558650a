"""An INI file of facts that several services and tools share: some options set, all else left as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from manifests.atomic_file import write_atomically
from manifests.errors import HostUnsuitable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from manifests.pending import Fact

_SECTION = re.compile(r"\s*\[(?P<name>[^\]]*)\]")
_OPTION = re.compile(r"\s*(?P<name>[^#;\s=:\[][^=:]*?)\s*[=:]")


def write_facts(path: Path, facts: Sequence[Fact]) -> bool:
    """Set *facts* in the file at *path*; return whether that changed it.

    It is replaced whole, by rename, with mode 0644: Ansible would run an executable one. Folders are
    made where they lack. The caller keeps writers of the same file apart. Raises HostUnsuitable.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            before = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            before = ""
        lines = before.splitlines()
        for fact in facts:
            _set(lines, fact)
        after = "\n".join(lines) + "\n"
        if after == before:
            return False
        write_atomically(path, after.encode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise HostUnsuitable(f"cannot write the facts in {path}: {error}") from error
    return True


def _set(lines: list[str], fact: Fact) -> None:
    """Set one fact in *lines*, where its option stands, else at the end of its section."""
    wanted = f"{fact.option} = {fact.value}"
    section, end = None, None
    for index, line in enumerate(lines):
        opening = _SECTION.match(line)
        if opening:
            section = opening["name"].strip()
        if section != fact.section:
            continue
        found = _OPTION.match(line)
        if found and found["name"].lower() == fact.option.lower():
            lines[index] = wanted
            return
        if line.strip():
            end = index + 1
    if end is None:
        lines += [*([""] if lines else []), f"[{fact.section}]", wanted]
    else:
        lines.insert(end, wanted)
