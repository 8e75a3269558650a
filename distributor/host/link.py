"""A link that leads to the active venv, and the record of where it led before.

The record lies beside the link. It is written before the link is flipped: a last line that the link does
not bear out is of a run that was killed between the two, and does not count. Until whoever asked for a
way back was told of it, the record has another name: the same command run again must not go back twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributor.host.exclusive import LOCK_SECONDS, refuse_planted
from distributor.host.history import now, user
from distributor.host.staging import safe_parent
from distributor.siblings import (
    leads_to,
    link_record,
    link_target,
    litter,
    lock_path,
    staging_path,
    untold_record,
)
from distributor.system.file_lock import hold_lock
from distributor.system.journal import note_switch
from manifests.atomic_file import sync_directory, write_atomically
from manifests.documents import canonical_json, parse_json
from manifests.errors import InvalidInput, Refused
from manifests.fields import Fields

_FORMAT = "1.0"
_MAJOR = 1
_LIMIT = 256 * 1024
_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One line of a link's record: when, by whom and how it was flipped, and between which venvs.

    ``before`` is where it led until then (None: it was new), ``after`` where it has led since; both are
    absolute.
    """

    when: str
    who: str
    action: str
    release: str
    before: str | None
    after: str


def read_flips(link: Path) -> tuple[Flip, ...]:
    """Return what is recorded of *link*, oldest first; nothing where no record can be read."""
    path = untold_record(link) if is_untold(link) else link_record(link)
    try:
        with path.open("rb") as stream:
            fields = Fields(parse_json(stream.read(_LIMIT), what=str(path)), str(path))
        fields.expect_format(_MAJOR)
        flips = tuple(_flip(item) for item in fields.objects("flips"))
    except (OSError, InvalidInput):
        return ()
    if flips and flips[-1].before == where(link):
        return flips[:-1]  # it was to be, and did not happen
    return flips


def is_untold(link: Path) -> bool:
    """Say whether nobody was told of the last flip of *link* yet."""
    return untold_record(link).exists()


def where(link: Path) -> str | None:
    """Return the absolute path to which *link* points itself; None where there is no link."""
    try:
        return os.path.normpath(link.parent / link.readlink())
    except OSError:
        return None


def check_link(link: Path) -> None:
    """Refuse a *link* that others could plant or swap, or that is none. Raises Refused, OSError."""
    if link.parent.is_dir():
        safe_parent(link)
        refuse_planted(link)
    if os.path.lexists(link) and not link.is_symlink():
        raise Refused(f"{link} is no symbolic link; move it away, or choose another --link")


@contextlib.contextmanager
def link_lock(link: Path) -> Iterator[None]:
    """Hold the lock of *link*, with what killed runs left of it swept. Raises Locked, Refused, OSError."""
    safe_parent(link)
    check_link(link)
    with hold_lock(lock_path(link), what=str(link), timeout=LOCK_SECONDS):
        for path in litter(link):
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
        yield


def flip_link(link: Path, target: Path, release: str) -> bool:
    """Make *link* point to *target*, a venv of *release*; on disk on return. Returns False if it did already.

    Raises Refused where something that is no link stands there, Locked, OSError where the disk fails.
    """
    if leads_to(link, target) and not litter(link):
        sync_directory(link.parent)  # a killed run may have flipped it without getting here
        return False
    with link_lock(link):
        if leads_to(link, target):
            sync_directory(link.parent)
            return False
        flip(link, target, action="install", release=release)
    return True


def flip(link: Path, target: Path, *, action: str, release: str, told: bool = True) -> None:
    """Record that *link* leads to *target*, and make it so by one rename. The caller holds its lock.

    What nobody is *told* of yet stays so until ``set_told``.
    """
    made = Flip(
        when=now(),
        who=user(),
        action=action,
        release=release,
        before=where(link),
        after=str(target),
    )
    flips = (*read_flips(link), made)[-_KEPT:]
    value = {"format": _FORMAT, "flips": [_plain(flip) for flip in flips]}
    record = link_record(link) if told else untold_record(link)
    write_atomically(record, canonical_json(value), temporary=staging_path(link))
    if told:
        untold_record(link).unlink(missing_ok=True)
    temporary = staging_path(link)
    try:
        temporary.symlink_to(link_target(link, target))
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(link.parent)
    note_switch(link, action, release, made.before, made.who)


def set_told(link: Path) -> None:
    """Record that who asked for the last flip was told. The caller holds the lock."""
    if is_untold(link):
        untold_record(link).replace(link_record(link))
    sync_directory(link.parent)


def _plain(flip: Flip) -> dict[str, Any]:
    value = {name: getattr(flip, name) for name in flip.__dataclass_fields__}
    return {name: item for name, item in value.items() if item is not None}


def _flip(item: Fields) -> Flip:
    return Flip(
        when=item.text("when"),
        who=item.text("who"),
        action=item.text("action"),
        release=item.text("release"),
        before=item.optional_text("before"),
        after=item.text("after"),
    )
