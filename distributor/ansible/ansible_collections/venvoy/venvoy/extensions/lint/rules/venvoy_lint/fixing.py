"""Corrections that cannot change what a role does: toggles taken to be true, comments kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import ScalarString

from venvoy_lint.comments import delete_item
from venvoy_lint.conditions import TOGGLE, is_toggle, truth, without_toggles
from venvoy_lint.role_files import files_of, is_template
from venvoy_lint.template_fixing import fix_template
from venvoy_lint.ternary import without_ternaries
from venvoy_lint.toggles import toggle_lines

Container: TypeAlias = CommentedMap | CommentedSeq


def fix_yaml(data: Container, line: int) -> bool:
    """Correct in *data* what stands at *line* (from 1) of the file it was read from; say whether it is done.

    Items keep the line that they were read from, so that earlier corrections move nothing.
    """
    places = list(_containing(data, line))
    for parent, key in places:
        value = parent[key]
        if isinstance(parent, CommentedMap) and isinstance(key, str) and is_toggle(key):
            delete_item(parent, key)
            return True
        if isinstance(value, CommentedMap) and _never_runs(value):
            delete_item(parent, key)
            return True
        if key == "when" and isinstance(parent, CommentedMap):
            return _fix_condition(parent)
        if isinstance(value, str) and TOGGLE.search(value):
            return _fix_value(parent, key)
    # Nothing there: its task may be gone with an earlier correction.
    return not any(TOGGLE.search(str(parent[key])) for parent, key in places[-1:])


def is_used_beyond_fixing(role: Path, toggle: str) -> bool:
    """Say whether corrections leave a use of *toggle* in *role*: then its default must stay as well."""
    return any(
        _is_left(path, path.read_text(encoding="utf-8", errors="replace"), toggle) for path in files_of(role)
    )


def _is_left(path: Path, text: str, toggle: str) -> bool:
    if is_template(path):
        text = fix_template(text)
    lines = [number for number, line in toggle_lines(path, text) if toggle in line]
    if not lines or is_template(path):
        return bool(lines)
    try:
        data = YAML().load(text)
    except YAMLError:
        return True
    if not isinstance(data, CommentedMap | CommentedSeq):
        return True
    return any(not fix_yaml(data, line) for line in lines)


def _lines_of(parent: Container) -> list[tuple[int, Any]]:
    """Return line (from 1) and key of each item, in order."""
    keys = list(parent) if isinstance(parent, CommentedMap) else list(range(len(parent)))
    places = parent.lc.data or {}
    return sorted(((places[key][0] + 1, key) for key in keys if key in places), key=lambda place: place[0])


def _containing(parent: Container, line: int) -> Iterator[tuple[Container, Any]]:
    """Yield the items that hold *line*, from the outermost to the innermost."""
    places = [(first, key) for first, key in _lines_of(parent) if first <= line]
    if not places:
        return
    key = places[-1][1]
    value = parent[key]
    yield parent, key
    if isinstance(value, CommentedMap | CommentedSeq):
        yield from _containing(value, line)


def _conditions(task: CommentedMap) -> list[str]:
    when = task.get("when")
    return [str(part) for part in when] if isinstance(when, list) else [str(when)] if when is not None else []


def _never_runs(task: CommentedMap) -> bool:
    return any(TOGGLE.search(part) and truth(part) is False for part in _conditions(task))


def _fix_condition(task: CommentedMap) -> bool:
    """Take the toggles out of *task*'s `when`; say whether none is left."""
    when = task["when"]
    if not isinstance(when, CommentedSeq):
        kept = without_toggles(str(when)) if TOGGLE.search(str(when)) else str(when)
        if kept == "":
            delete_item(task, "when")
        elif kept is not None and kept != when:
            task["when"] = kept
        return kept is not None
    for index in reversed(range(len(when))):
        kept = without_toggles(str(when[index])) if TOGGLE.search(str(when[index])) else None
        if kept == "":
            delete_item(when, index)
        elif kept is not None:
            when[index] = kept
    if not when:
        delete_item(task, "when")
    return not any(TOGGLE.search(part) for part in _conditions(task))


def _fix_value(parent: Container, key: object) -> bool:
    value = parent[key]
    changed = without_ternaries(value)
    if changed != value:
        parent[key] = type(value)(changed) if isinstance(value, ScalarString) else changed
    return not TOGGLE.search(changed)
