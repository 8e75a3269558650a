"""Which venvs a host has, read from their receipts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributor.activation import previous_trees
from distributor.processes import users_by_tree
from manifests.console import size
from manifests.errors import NotFound
from manifests.receipt import Receipt, read_receipt


@dataclass(frozen=True, kw_only=True)
class InstalledVenv:
    """A venv with its receipt and what the host knows of it.

    ``links`` lead to it, ``previous`` are the releases kept beside it for rollback (the last one
    first), ``pids`` the processes that run from it.
    """

    path: Path
    receipt: Receipt
    links: tuple[Path, ...]
    python_exists: bool
    previous: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()

    def to_value(self) -> dict[str, object]:
        """Return plain JSON data."""
        return {
            **json.loads(self.receipt.to_json()),
            "path": str(self.path),
            "links": [str(link) for link in self.links],
            "python_exists": self.python_exists,
            "previous": list(self.previous),
            "pids": list(self.pids),
        }


def find_venvs(places: Sequence[Path], *, with_users: bool = False) -> list[InstalledVenv]:
    """Return the venvs at *places* (venvs or folders of venvs), sorted by path.

    *with_users* looks for processes that run from them. Raises NotFound where a place does not exist.
    """
    found: dict[Path, Receipt] = {}
    links: dict[Path, list[Path]] = {}
    for path in _candidates(places):
        receipt = read_receipt(path)
        if receipt is None:
            continue
        if path.is_symlink():
            links.setdefault(path.resolve(), []).append(path)
            path = path.resolve()  # noqa: PLW2901 - a link stands for the venv behind it
        found[path] = receipt
    users = users_by_tree(list(found)) if with_users else {}
    return [
        InstalledVenv(
            path=path,
            receipt=receipt,
            links=tuple(sorted(links.get(path, []))),
            python_exists=Path(receipt.python).exists(),
            previous=tuple(old.release for _, old in previous_trees(path)),
            pids=users.get(path, ()),
        )
        for path, receipt in sorted(found.items())
    ]


def table(venvs: Sequence[InstalledVenv]) -> str:
    """Return *venvs* as a table for people."""
    if not venvs:
        return "no venvs of Venvoy here"
    rows = [("SERVICE", "VERSION", "RELEASE", "PREVIOUS", "SIZE", "USED BY", "PYTHON", "PATH")]
    for venv in venvs:
        receipt = venv.receipt
        arrows = "".join(f"  <- {link}" for link in venv.links)
        rows.append(
            (
                receipt.service,
                receipt.version,
                receipt.release,
                ", ".join(venv.previous) or "-",
                size(receipt.unpacked_size),
                f"{len(venv.pids)} processes" if venv.pids else "-",
                receipt.python_version if venv.python_exists else f"{receipt.python_version} (gone)",
                f"{venv.path}{arrows}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(7)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[7]])
        for row in rows
    )


def _candidates(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        path = place.absolute()
        if not path.is_dir():
            raise NotFound(f"{path} is not a directory")
        if read_receipt(path) is not None:
            yield path
        else:
            yield from (
                entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")
            )
