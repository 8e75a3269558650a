"""The order on disk, held against one log of system calls.

Kills lose nothing that is in the page cache, so they cannot show a sync that lacks. This model can:
it knows what each file and folder would be after a power cut, and complains where a rename or link
shows something that changed since its last sync, or where an exit 0 leaves something unsynced.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manifests.atomic_file import TEMPORARY_PREFIX
from tests.faults.tracing import (
    ATTRIBUTES,
    FOLDERS,
    LINKS,
    OPENS,
    REMOVALS,
    RENAMES,
    SYMLINKS,
    SYNCS,
    WRITES,
    Call,
)

_PRIVATE = re.compile(r"\.venvoy-(old-)?[0-9a-f]{16}(/|$)")
"""Trees in the making and replaced ones: nothing is shown by a name inside of them, nor by theirs."""


@dataclass
class _Node:
    """A file, folder or link. ``dirty``: its content or mode changed. ``names``: its unsynced entries."""

    dirty: bool = False
    names: set[str] = field(default_factory=set)
    target: str | None = None


class Disk:
    """What is on disk and what is not, while calls go by. All paths are on one file system."""

    def __init__(self, existing: Iterable[Path]) -> None:
        self._nodes = {str(path): _Node() for path in existing}
        self.violations: list[str] = []

    def play(self, calls: Sequence[Call], below: Path) -> None:
        """Apply the calls that touch anything below a folder."""
        inside = f"{below}/"
        for call in calls:
            if call.changes and not call.failed and any(f"{p}/".startswith(inside) for p in call.paths):
                self._apply(call)

    def at_exit(self, durable: Sequence[Path]) -> None:
        """Note what of *durable*, trees and links, a power cut would lose now."""
        for path in map(str, durable):
            self._must_be_on_disk(path, f"at exit 0, {path}")

    def _apply(self, call: Call) -> None:
        name, paths = call.name, call.paths
        if name in OPENS:
            self._open(call, paths[0])
        elif name in WRITES | ATTRIBUTES:
            if not paths[0].endswith("(deleted)"):
                self._node(paths[0]).dirty = True
        elif name in FOLDERS:
            self._create(paths[0], _Node())
        elif name in SYMLINKS:
            self._create(paths[0], _Node(target=_target(call, paths[0])))
        elif name in REMOVALS:
            self._take(paths[0])
        elif name in LINKS:
            if not _is_cached(paths[1]):
                self._published(call, paths[0])
            self._create(paths[1], self._node(paths[0]))
        elif name in RENAMES:
            self._rename(call, *paths)
        elif name in SYNCS:
            self._sync(call, paths[0])

    def _open(self, call: Call, path: str) -> None:
        flags = " ".join(call.arguments)
        if "O_TMPFILE" in flags:
            return
        if "O_CREAT" in flags and path not in self._nodes:
            self._create(path, _Node())
        if "O_TRUNC" in flags:
            self._node(path).dirty = True

    def _rename(self, call: Call, source: str, destination: str) -> None:
        if not _PRIVATE.search(destination):
            self._published(call, source)
        exchanged = any("RENAME_EXCHANGE" in argument for argument in call.arguments)
        back = self._take(destination)
        self._put(destination, self._take(source))
        if exchanged:
            self._put(source, back)

    def _sync(self, call: Call, path: str) -> None:
        if call.name in ("syncfs", "sync"):
            synced: Iterable[_Node] = self._nodes.values()
        else:
            synced = [self._node(path)]
        for node in synced:
            node.dirty = False
            node.names.clear()

    def _published(self, call: Call, path: str) -> None:
        """Note what of the tree at *path*, which is about to be seen, is not on disk yet."""
        node = self._node(path)
        what = call.signature
        if node.target is not None:
            # A link shows what it leads to.
            self._must_be_on_disk(node.target, f"{what} shows {node.target}", seen_from=call.paths[-1])
            return
        for found, below in self._tree(path):
            if not _is_leftover(found) or found == path:
                self._note_unsynced(found, below, what)

    def _must_be_on_disk(self, path: str, what: str, *, seen_from: str = "/") -> None:
        for found, node in list(self._tree(path)):
            if not _is_leftover(found):
                self._note_unsynced(found, node, what)
        # Where the folder that holds both is lost, so is the link: nothing is seen then.
        both = posixpath.commonpath([path, seen_from])
        while path != both:
            folder, name = posixpath.split(path)
            if folder in self._nodes and name in self._nodes[folder].names:
                self.violations.append(f"{what}: the name {path} is not on disk")
            path = folder

    def _note_unsynced(self, path: str, node: _Node, what: str) -> None:
        if _is_cached(path):
            return
        if node.dirty and not _is_lock(path):
            self.violations.append(f"{what}: {path} changed after its last sync")
        for name in sorted(node.names):
            if not _is_lock(name) and not _is_leftover(name) and not _is_cached(f"{path}/{name}"):
                self.violations.append(f"{what}: the name {path}/{name} is not on disk")

    def _node(self, path: str) -> _Node:
        return self._nodes.setdefault(path, _Node())

    def _tree(self, path: str) -> Iterator[tuple[str, _Node]]:
        for found, node in self._nodes.items():
            if found == path or found.startswith(f"{path}/"):
                yield found, node

    def _create(self, path: str, node: _Node) -> None:
        self._put(path, {"": node})

    def _take(self, path: str) -> dict[str, _Node]:
        """Remove a tree, and return it by paths from its root. Its name counts no more."""
        found = {name[len(path) :]: node for name, node in self._tree(path)}
        for name in found:
            del self._nodes[path + name]
        folder, name = posixpath.split(path)
        self._node(folder).names.discard(name)
        return found

    def _put(self, path: str, tree: dict[str, _Node]) -> None:
        for name, node in tree.items():
            self._nodes[path + name] = node
        folder, name = posixpath.split(path)
        self._node(folder).names.add(name)


def _is_leftover(path: str) -> bool:
    return posixpath.basename(path).startswith(TEMPORARY_PREFIX)  # of a killed writer: nobody reads it


def _is_cached(path: str) -> bool:
    return "/state/cache" in path  # verified whenever it is used, so that it need not be whole


def _is_lock(name: str) -> bool:
    return name.endswith("lock")  # holds nothing, and is made again


def _target(call: Call, path: str) -> str:
    text = call.arguments[0]
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), text[1 : text.rindex('"')]))
