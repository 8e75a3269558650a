"""What commands of release managers share: signing into the store, or into a file that others forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from distributor.publishing.repository import Repository
    from distributor.stores.interface import Store

propose_option = click.option(
    "--propose",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what is signed into FILE, for 'venvoy countersign' and 'forward', not into the store.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Managed:
    """A store that a release manager signs for; *finish* after what was signed."""

    store: Store
    repository: Repository
    finish: Callable[[], None]

    @property
    def location(self) -> str:
        """The store's name for people."""
        return self.store.location


def open_managed(
    store: str, keys: Path, *, propose: Path | None, dry_run: bool, site: bool = False
) -> Managed:
    """Open *store* with the keys that signing needs; with *propose*, to read, with that of releases alone.

    Raises what opening stores and keys does, InvalidInput for options that do not go together.
    """
    from distributor.publishing.forwarding import proposed_metadata, signatures_of
    from distributor.publishing.proposing import open_proposing
    from distributor.publishing.repository import PIN_ROLES, open_repository
    from distributor.stores.location import open_store, open_writable_store

    if propose is None:
        opened = open_writable_store(store)
        repository = open_repository(opened, keys, () if dry_run else PIN_ROLES)
        return Managed(store=opened, repository=repository, finish=lambda: None)
    if dry_run or site:
        other = "--dry-run" if dry_run else "--site"
        raise InvalidInput(f"--propose and {other} do not go together: the store is not changed from here")
    read = open_store(store)
    repository, proposal = open_proposing(read, keys)

    def finish() -> None:
        signed = proposal()
        if signed is not None:
            _write(propose, signed.to_json())
            found = signatures_of(repository.trust, proposed_metadata(signed))
            if not found.verified:
                click.echo(
                    f"{len(found.signed)} of {found.threshold} signatures: further managers run "
                    f"'venvoy countersign {propose}'",
                    err=True,
                )

    return Managed(store=repository.store, repository=repository, finish=finish)


def _write(path: Path, data: bytes) -> None:
    from distributor.system.disk_errors import disk_errors
    from manifests.atomic_file import write_atomically
    from manifests.errors import StoreUnavailable

    with disk_errors(f"write {path}", StoreUnavailable):
        write_atomically(path.absolute(), data)
