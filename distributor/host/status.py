"""Which venvs a host has, read from their receipts; what lies beside them, and who uses them."""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from distributor.host.history import became_active
from distributor.host.hold import Hold, read_hold
from distributor.host.link import read_flips
from distributor.system.processes import Question, look
from manifests.console import size
from manifests.errors import NotFound
from manifests.receipt import Receipt, read_receipt

_SIBLING = re.compile(r"\.(.+)\.venvoy-(old-)?[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class PreviousTree:
    """A tree that was replaced. ``receipt`` is None where it has none, and nothing goes back to it."""

    path: Path
    receipt: Receipt | None
    hold: Hold | None = None
    pids: tuple[int, ...] = ()

    def to_value(self) -> dict[str, object]:
        """Return plain JSON data; the size is that of the artifact, in bytes."""
        return {
            "release": self.receipt.release if self.receipt else None,
            "path": str(self.path),
            "size": self.receipt.unpacked_size if self.receipt else 0,
            "pinned": self.hold is not None,
            "held": self.hold.to_value() if self.hold else None,
            "pids": list(self.pids),
        }


@dataclass(frozen=True, kw_only=True)
class InstalledVenv:
    """A venv (its real path) with its receipt and what the host knows of it.

    ``links`` lead to it, ``previous`` are the trees that it replaced (the last one first, those without
    a receipt at the end), ``litter`` what killed or living runs have beside it, ``pids`` the processes
    that use it.
    """

    path: Path
    receipt: Receipt
    links: tuple[Path, ...]
    python_exists: bool
    hold: Hold | None = None
    previous: tuple[PreviousTree, ...] = ()
    litter: tuple[Path, ...] = ()
    pids: tuple[int, ...] = ()

    def to_value(self) -> dict[str, object]:
        """Return plain JSON data; sizes are those of the artifacts, in bytes."""
        return {
            **json.loads(self.receipt.to_json()),
            "active": self.receipt.release,
            "path": str(self.path),
            "links": [str(link) for link in self.links],
            "flips": {str(link): [asdict(flip) for flip in read_flips(link)] for link in self.links},
            "python_exists": self.python_exists,
            "pinned": self.hold is not None,
            "held": self.hold.to_value() if self.hold else None,
            "previous": [tree.to_value() for tree in self.previous],
            "size": self.receipt.unpacked_size,
            "pids": list(self.pids),
        }

    def question(self, tree: PreviousTree | None = None) -> Question:
        """Return how to ask who uses the venv, or a *tree* that it replaced."""
        names = tuple(dict.fromkeys((Path(self.receipt.destination), self.path, *self.links)))
        if tree is None:
            return Question(tree=self.path, names=names)
        return Question(tree=tree.path, names=names, switched_at=_last_switch(self.receipt))


def find_venvs(places: Sequence[Path], *, with_users: bool = False) -> list[InstalledVenv]:
    """Return the venvs at *places* (venvs, links to some, or folders of both), sorted by path.

    *with_users* looks for the processes that use them. Raises NotFound where a place does not exist,
    OSError.
    """
    found: dict[Path, Receipt] = {}
    links: dict[Path, set[Path]] = {}
    for path, real in _candidates(places):
        receipt = found.get(real) or read_receipt(real)
        if receipt is not None:
            found[real] = receipt
            if path != real:
                links.setdefault(real, set()).add(path)
    beside = _Beside()
    venvs = [
        InstalledVenv(
            path=path,
            receipt=receipt,
            links=tuple(sorted(links.get(path, ()))),
            python_exists=os.path.exists(receipt.python),  # noqa: PTH110 - a thousand of these
            hold=read_hold(path),
            previous=tuple(_previous(receipt, beside.replaced(path))),
            litter=tuple(beside.litter(path)),
        )
        for path, receipt in sorted(found.items())
    ]
    return _with_users(venvs) if with_users else venvs


def table(venvs: Sequence[InstalledVenv]) -> str:
    """Return *venvs* as a table for people."""
    if not venvs:
        return "no venvs of Venvoy here"
    rows = [("SERVICE", "VERSION", "RELEASE", "PREVIOUS", "PINNED", "SIZE", "USED BY", "PYTHON", "PATH")]
    for venv in venvs:
        receipt = venv.receipt
        whole = [(tree.receipt.release, tree.hold) for tree in venv.previous if tree.receipt]
        held = [release for release, hold in ((receipt.release, venv.hold), *whole) if hold]
        count = len(venv.pids)
        rows.append(
            (
                receipt.service,
                receipt.version,
                receipt.release,
                ", ".join(release for release, _ in whole) or "-",
                ", ".join(held) or "-",
                size(receipt.unpacked_size),
                f"{count} process{'es' * (count > 1)}" if count else "-",
                receipt.python_version if venv.python_exists else f"{receipt.python_version} (gone)",
                f"{venv.path}{''.join(f'  <- {link}' for link in venv.links)}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(8)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[8]])
        for row in rows
    )


def history(venvs: Sequence[InstalledVenv]) -> str:
    """Return when what became active at *venvs* and their links, by whom, oldest first, for people."""
    lines = []
    for venv in venvs:
        for switch in venv.receipt.history:
            said = f": {switch.note}" if switch.note else ""
            lines.append(
                f"{switch.when}  {switch.who}  {switch.action}  {switch.before or '-'} -> {switch.release}  "
                f"{venv.path}{said}"
            )
        for link in venv.links:
            lines += [
                f"{flip.when}  {flip.who}  {flip.action}  {flip.before or '-'} -> {flip.after}  {link}"
                for flip in read_flips(link)
            ]
    return "\n".join(sorted(lines))


def _with_users(venvs: list[InstalledVenv]) -> list[InstalledVenv]:
    questions = [venv.question(tree) for venv in venvs for tree in (None, *venv.previous)]
    uses = iter(look(questions))
    return [
        replace(
            venv,
            pids=next(uses).pids,
            previous=tuple(replace(tree, pids=next(uses).pids) for tree in venv.previous),
        )
        for venv in venvs
    ]


def _candidates(places: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each path that may be a venv or lead to one, and where it lies really."""
    for place in places:
        if not place.is_dir():
            raise NotFound(f"{place.absolute()} is not a directory")
        path, real = place.absolute(), place.resolve()
        if read_receipt(real) is None:
            yield from _entries(real)
            continue
        yield real, real
        if path.is_symlink():
            yield path, real
        for folder in {path.parent, real.parent}:
            yield from (entry for entry in _entries(folder, links_only=True) if entry[1] == real)


def _entries(folder: Path, *, links_only: bool = False) -> Iterator[tuple[Path, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if entry.is_symlink():
                yield path, Path(os.path.realpath(path))
            elif not links_only and entry.is_dir(follow_symlinks=False):
                yield path, path


class _Beside:
    """What lies beside venvs; each folder is listed once, however many venvs it holds."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[tuple[str, bool], list[Path]]] = {}

    def replaced(self, venv: Path) -> list[Path]:
        """Return the paths of trees that *venv* replaced; links and files of such names are not ours."""
        return [path for path in self._named(venv, old=True) if path.is_dir() and not path.is_symlink()]

    def litter(self, venv: Path) -> list[Path]:
        """Return the paths of what installs of *venv* left, or are at work on."""
        return self._named(venv, old=False)

    def _named(self, venv: Path, *, old: bool) -> list[Path]:
        if venv.parent not in self._folders:
            found: dict[tuple[str, bool], list[Path]] = {}
            for name in sorted(os.listdir(venv.parent)):  # noqa: PTH208 - names are all that is wanted
                match = _SIBLING.fullmatch(name)
                if match is not None:
                    found.setdefault((match[1], bool(match[2])), []).append(venv.parent / name)
            self._folders[venv.parent] = found
        return self._folders[venv.parent].get((venv.name, old), [])


def _previous(active: Receipt, paths: Sequence[Path]) -> list[PreviousTree]:
    trees = []
    for path in paths:
        receipt = read_receipt(path)
        if receipt is not None and receipt.destination != active.destination:
            receipt = None  # of another venv, which had this name before
        trees.append(PreviousTree(path=path, receipt=receipt, hold=read_hold(path)))
    return sorted(
        trees,
        key=lambda tree: became_active(tree.receipt, active) if tree.receipt else ("", 0),
        reverse=True,
    )


def _last_switch(receipt: Receipt) -> float | None:
    if not receipt.history:
        return None
    try:
        return datetime.datetime.fromisoformat(receipt.history[-1].when).timestamp()
    except ValueError:
        return None  # then every process counts
