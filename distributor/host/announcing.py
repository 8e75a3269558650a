"""What a switch shall cause outside of its tree: facts for the next play, topics for handlers.

Neither lies on the same directory as the venv, so that no rename covers them. They are owed in the receipt,
which appears with the tree. Facts are delivered at once and then no longer owed. Topics are owed
until the handlers of the play that was told acknowledge them: a play that died is told again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from distributor.host.facts import write_facts
from distributor.system.file_lock import hold_lock
from manifests.atomic_file import write_atomically
from manifests.documents import sha256_bytes
from manifests.errors import InvalidInput, Refused
from manifests.layout import RECEIPT
from manifests.pending import Fact, Pending
from manifests.receipt import Receipt, read_receipt

_LOCK = "facts.lock"


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What to tell, and to whom. *state* is where venvs with pending topics are listed.

    Each of *identity_facts*, (section, option), becomes a fact whose value is the artifact's identity.
    *run* names the play whose handlers are told. The handlers of *handled*, other plays, are known to
    have run though the host was not told so.
    """

    state: Path
    facts: tuple[Fact, ...] = ()
    facts_file: Path | None = None
    identity_facts: tuple[tuple[str, str], ...] = ()
    notify: tuple[str, ...] = ()
    run: str = ""
    handled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for fact in self.facts:
            text = f"{fact.section}{fact.option}{fact.value}"
            if any(ord(character) < 0x20 for character in text) or "]" in fact.section:
                raise InvalidInput(f"the fact {fact.section}.{fact.option} does not fit on one line")
        if self.run in self.handled:
            raise InvalidInput("a play that runs cannot be among those that died")
        if (self.facts or self.identity_facts) and self.facts_file is None:
            raise InvalidInput("facts need the file that they go to")

    def owed(self, identity: str, before: Pending, *, restart: bool = True) -> Pending:
        """Return what is owed once the artifact *identity* is in place; *before* was owed already.

        Without *restart* no byte of the tree changed: facts are owed, handlers are not.
        """
        facts = tuple(
            Fact(section=section, option=option, value=identity) for section, option in self.identity_facts
        )
        later = Pending(
            facts=(*self.facts, *facts),
            facts_file=str(self.facts_file) if self.facts_file else None,
            notify=self.notify if restart else (),
            run=self.run,
        )
        return self.still_owed(before).and_then(later)

    def still_owed(self, pending: Pending) -> Pending:
        """Return *pending* without the topics that handlers have acted on before their play died."""
        return replace(pending, notify=(), run="") if pending.run in self.handled else pending

    def list_destination(self, destination: Path) -> None:
        """Note that *destination* may have pending topics, before it does. Raises OSError."""
        if self.notify:
            entry = _entry(self.state, destination)
            if not entry.exists():
                entry.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                write_atomically(entry, f"{destination}\n".encode())


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told: the facts that were written now, and the topics that handlers have yet to act on."""

    receipt: Receipt
    facts: tuple[Fact, ...] = ()
    notify: tuple[str, ...] = ()


def tell(destination: Path, receipt: Receipt, announcement: Announcement) -> Told:
    """Deliver what *receipt* of the venv at *destination* owes. The caller holds its lock.

    Raises HostUnsuitable where the facts cannot be written: they stay owed. Raises OSError.
    """
    if not receipt.pending:
        return Told(receipt=receipt)
    pending = announcement.still_owed(receipt.pending)
    if pending.facts and pending.facts_file:
        with _facts_lock(announcement.state):
            write_facts(Path(pending.facts_file), pending.facts)
    left = Pending(notify=pending.notify, run=announcement.run if pending.notify else "")
    if left != receipt.pending:
        if left.notify:
            announcement.list_destination(destination)
        receipt = replace(receipt, pending=left)
        write_atomically(destination / RECEIPT, receipt.to_json())
    return Told(receipt=receipt, facts=pending.facts, notify=left.notify)


def acknowledge(state: Path, run: str, *, dry_run: bool = False) -> list[tuple[Path, tuple[str, ...]]]:
    """Take the topics out of every receipt that told the play *run*; return which, by destination.

    All venvs that *state* lists are looked at: handlers run once for all calls of a role. Raises
    Locked, OSError.
    """
    from distributor.host.exclusive import exclusive

    done = []
    for entry in sorted((state / "pending").glob("*")):
        destination = Path(entry.read_text(encoding="utf-8").rstrip("\n"))
        receipt = read_receipt(destination)
        if receipt is not None and receipt.pending.notify and receipt.pending.run != run:
            continue
        if receipt is not None and receipt.pending.notify:
            done.append((destination, receipt.pending.notify))
        if dry_run:
            continue
        if receipt is None:
            entry.unlink(missing_ok=True)  # the venv was removed by hand
            continue
        with exclusive(destination):
            _take_out(destination, run, entry)
    return done


def _take_out(destination: Path, run: str, entry: Path) -> None:
    receipt = read_receipt(destination)
    if receipt is None:
        return
    if receipt.pending.notify and receipt.pending.run != run:
        return  # another play was told meanwhile
    if receipt.pending.notify:
        left = replace(receipt.pending, notify=(), run="")
        write_atomically(destination / RECEIPT, replace(receipt, pending=left).to_json())
    entry.unlink(missing_ok=True)


def _entry(state: Path, destination: Path) -> Path:
    return state / "pending" / sha256_bytes(str(destination).encode())[:32]


@contextlib.contextmanager
def _facts_lock(state: Path) -> Iterator[None]:
    try:
        state.mkdir(mode=0o755, parents=True, exist_ok=True)
        with hold_lock(state / _LOCK, what="the facts of this host"):
            yield
    except PermissionError as error:
        raise Refused(f"cannot lock the facts below {state}: {error.strerror}") from error
