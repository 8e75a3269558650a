"""Deleting an item of a YAML document so that the comments around it stay with what they are about.

ruamel.yaml keeps a comment with the item *before* it: behind the last scalar of that item, however deep.
`del` would take along what is written above the next item, and leave what is written above the deleted one.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

Container: TypeAlias = CommentedMap | CommentedSeq


def delete_item(parent: Container, key: Any) -> None:
    """Delete item *key* of *parent*, and the comment lines directly above it; keep those below."""
    below = _comment_behind(parent, key).partition("\n")[2]
    keys = list(parent) if isinstance(parent, CommentedMap) else list(range(len(parent)))
    position = keys.index(key)
    if position:
        before = keys[position - 1]
        above = _without_last_block(_comment_behind(parent, before)) or "\n"
        _set_comment_behind(parent, before, above + below)
        del parent[key]
    else:
        del parent[key]
        if below.strip() and parent:
            parent.yaml_set_start_comment(
                below.replace("# ", "").replace("#", "").strip("\n"), parent.lc.col or 0
            )
    if isinstance(parent, CommentedSeq):
        _shift_lines(parent, key)


def _shift_lines(parent: CommentedSeq, index: int) -> None:
    """Let the places of the items behind *index* follow them; `del` on a sequence forgets to."""
    places = parent.lc.data or {}
    places.pop(index, None)
    for later in sorted(place for place in places if place > index):
        places[later - 1] = places.pop(later)


def _end_of(parent: Container, key: Any) -> tuple[Container, Any]:
    """Return the container and key of the last scalar within item *key*."""
    value = parent[key]
    while isinstance(value, CommentedMap | CommentedSeq) and value:
        parent = value
        key = list(parent)[-1] if isinstance(parent, CommentedMap) else len(parent) - 1
        value = parent[key]
    return parent, key


def _slot(parent: Container) -> int:
    return 2 if isinstance(parent, CommentedMap) else 0


def _comment_behind(parent: Container, key: Any) -> str:
    """Return what is written behind item *key*: the rest of its line, and the lines below it."""
    parent, key = _end_of(parent, key)
    block = getattr(parent[key], "comment", None)  # block scalars hold their comment themselves
    if isinstance(block, CommentToken):
        return "\n" + str(block.value)
    tokens = parent.ca.items.get(key)
    token = tokens[_slot(parent)] if tokens and len(tokens) > _slot(parent) else None
    return str(token.value) if isinstance(token, CommentToken) else ""


def _set_comment_behind(parent: Container, key: Any, text: str) -> None:
    parent, key = _end_of(parent, key)
    block = getattr(parent[key], "comment", None)
    if isinstance(block, CommentToken):
        block.value = text.partition("\n")[2]
        return
    slot = _slot(parent)
    tokens = parent.ca.items.setdefault(key, [None] * 4 if slot else [None, None])
    column = tokens[slot].start_mark.column if isinstance(tokens[slot], CommentToken) else 0
    tokens[slot] = (
        CommentToken(text, CommentMark(column), None) if text.strip("\n") or len(text) > 1 else None
    )


def _without_last_block(text: str) -> str:
    """Take the comment lines at the end of *text* away, up to an empty line or the item's own line."""
    own, newline, below = text.partition("\n")
    lines = below.splitlines(keepends=True)
    while lines and lines[-1].lstrip().startswith("#"):
        lines.pop()
    return own + newline + "".join(lines)
