"""Holding a tree: an operator's word, on this host, that ``gc`` must keep it.

The word lies in the tree itself, so that it goes where the tree goes: an active tree that is held stays
held when it is replaced.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from distributor.host.history import now, user
from manifests.atomic_file import sync_directory, write_atomically
from manifests.documents import canonical_json, parse_json
from manifests.errors import InvalidInput, NotFound
from manifests.fields import Fields
from manifests.layout import PRIVATE
from manifests.receipt import read_receipt

HELD = f"{PRIVATE}/held"
_FORMAT = "1.0"
_MAJOR = 1
_LIMIT = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Since when (UTC, ISO 8601) a tree is held, by whom, and why where somebody said so."""

    when: str
    who: str
    why: str | None = None

    def to_value(self) -> dict[str, str | None]:
        """Return plain JSON data."""
        return {"when": self.when, "who": self.who, "why": self.why}

    def __str__(self) -> str:
        return f"held by {self.who} since {self.when}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, kw_only=True)
class HoldResult:
    """What came of it: the tree and its release, the hold as it is now, and whether anything changed."""

    tree: Path
    release: str
    hold: Hold | None
    changed: bool


def read_hold(tree: Path) -> Hold | None:
    """Return the hold of *tree*, or None. One that cannot be read holds too, by nobody known."""
    path = tree / HELD
    try:
        with path.open("rb") as stream:
            fields = Fields(parse_json(stream.read(_LIMIT), what=str(path)), str(path))
        fields.expect_format(_MAJOR)
        return Hold(when=fields.text("when"), who=fields.text("who"), why=fields.optional_text("why"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, InvalidInput):
        return Hold(when="?", who="?", why=f"{path} cannot be read")


def hold(destination: Path, release: str | None = None, why: str | None = None) -> HoldResult:
    """Hold the tree of *release* (None: the active one) of the venv at *destination*.

    One that is held already keeps its first date, unless there is another *why*. Raises NotFound where
    there is no such tree, Locked, OSError.
    """
    from distributor.host.exclusive import exclusive

    with exclusive(destination):
        tree, found = _choose(destination, release)
        before = read_hold(tree)
        if before is not None and why in (None, before.why):
            return HoldResult(tree=tree, release=found, hold=before, changed=False)
        made = Hold(when=now(), who=user(), why=why)
        value = {"format": _FORMAT, "when": made.when, "who": made.who, "why": made.why}
        write_atomically(tree / HELD, canonical_json(value))
    return HoldResult(tree=tree, release=found, hold=made, changed=True)


def let_go(destination: Path, release: str | None = None) -> HoldResult:
    """Take the hold off the tree of *release* (None: the active one). Raises as ``hold`` does."""
    from distributor.host.exclusive import exclusive

    with exclusive(destination):
        tree, found = _choose(destination, release)
        path = tree / HELD
        changed = os.path.lexists(path)
        path.unlink(missing_ok=True)
        sync_directory(path.parent)  # a killed run may have removed it without getting here
    return HoldResult(tree=tree, release=found, hold=None, changed=changed)


def _choose(destination: Path, release: str | None) -> tuple[Path, str]:
    from distributor.host.activation import previous_trees

    active = read_receipt(destination)
    if active is None:
        raise NotFound(f"{destination} has no receipt of Venvoy: nothing is installed here")
    trees = [(destination, active), *previous_trees(destination)]
    for tree, receipt in trees:
        if release in (None, receipt.release):
            return tree, receipt.release
    have = ", ".join(receipt.release for _, receipt in trees)
    raise NotFound(f"release {release} is not at {destination}, nor kept beside it (there: {have})")
