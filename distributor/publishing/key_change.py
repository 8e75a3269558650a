"""A change of keys, in one file that travels between the keyholders: drafted, signed by each, applied.

It holds the present root with all before it and the present targets, so that who signs can verify on a
machine without a network what the change starts from, and the next root, the next targets, or both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.serialization import DeserializationError

from distributor.trust.roles import add_signatures
from distributor.trust.tuf_api import Metadata, Root, Targets
from manifests.documents import MAX_DOCUMENT_BYTES, canonical_json, parse_json
from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VerificationFailed
from manifests.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distributor.trust.tuf_api import Signer

FORMAT_MAJOR = 1
FORMAT = "1.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyChange:
    """The change. *roots* are all up to the present one; *root* and *targets* follow what is present."""

    roots: tuple[Metadata[Root], ...]
    base_targets: Metadata[Targets]
    root: Metadata[Root] | None
    targets: Metadata[Targets] | None

    @property
    def base_root(self) -> Root:
        """The root that the change starts from."""
        return self.roots[-1].signed

    @property
    def next_root(self) -> Root:
        """The root that will count."""
        return self.root.signed if self.root is not None else self.base_root

    @property
    def next_targets(self) -> Targets:
        """The targets that will count."""
        return self.targets.signed if self.targets is not None else self.base_targets.signed

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return canonical_json(
            {
                "format": FORMAT,
                "roots": [root.to_dict() for root in self.roots],
                "base_targets": self.base_targets.to_dict(),
                "root": self.root.to_dict() if self.root is not None else None,
                "targets": self.targets.to_dict() if self.targets is not None else None,
            }
        )

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> KeyChange:
        """Read the file. Raises InvalidInput; nothing of it is verified yet."""
        value = parse_json(data, what=what)
        Fields(value, what).expect_format(FORMAT_MAJOR)
        roots = value.get("roots")
        if not isinstance(roots, list) or not roots:
            raise InvalidInput(f"{what}.roots: expected a list of metadata")
        return cls(
            roots=tuple(_metadata(item, Root, f"{what}.roots[{index}]") for index, item in enumerate(roots)),
            base_targets=_metadata(value.get("base_targets"), Targets, f"{what}.base_targets"),
            root=_optional(value, "root", Root, what),
            targets=_optional(value, "targets", Targets, what),
        )

    def verify(self, trusted_root: bytes) -> None:
        """Check that the change starts from the *trusted_root* of this machine, or from one that follows it.

        Raises VerificationFailed; that the change is signed by enough is not asked here.
        """
        try:
            mine = Metadata[Root].from_bytes(trusted_root)
            known = [root for root in self.roots if root.signed.version == mine.signed.version]
            if not known or known[0].signed_bytes != mine.signed_bytes:
                raise VerificationFailed("the change is not of the site whose root.json lies beside the keys")
            for before, after in zip(self.roots, self.roots[1:]):  # noqa: B905 - pairs of neighbours
                _check(
                    after.signed.version == before.signed.version + 1, "its roots do not follow each other"
                )
                before.signed.verify_delegate("root", after.signed_bytes, after.signatures)
                after.signed.verify_delegate("root", after.signed_bytes, after.signatures)
            base = self.base_targets
            self.base_root.verify_delegate("targets", base.signed_bytes, base.signatures)
        except (RepositoryError, DeserializationError, ValueError) as error:
            raise VerificationFailed(f"what the change starts from does not verify: {error}") from None
        _check(self.root is not None or self.targets is not None, "it changes nothing")
        _check(self.next_root.version - self.base_root.version in (0, 1), "its root does not follow")
        if self.targets is not None:
            _check(self.targets.signed.version > base.signed.version, "its targets do not follow")
            _check(not self.targets.signed.targets, "its targets sign more than delegations")

    def signed_by(self, signers: Mapping[str, Sequence[Signer]]) -> tuple[KeyChange, list[str]]:
        """Return the change with the signatures of *signers* added, and which of them it took."""
        done = []
        change = replace(self, root=_copy(self.root), targets=_copy(self.targets))
        both = (change.base_root, change.next_root)
        if change.root is not None:
            payload = change.root.signed_bytes
            added = add_signatures(change.root, "root", signers.get("root", ()), *both, payload=payload)
            done += [f"root by {keyid}" for keyid in added]
        if change.targets is not None:
            payload = change.targets.signed_bytes
            mine = signers.get("targets", ())
            added = add_signatures(change.targets, "targets", mine, *both, payload=payload)
            done += [f"targets by {keyid}" for keyid in added]
        return change, done

    def lacking(self) -> list[str]:
        """Return which signatures the change still needs, in words."""
        wanted: list[tuple[str, str, Root, Metadata[Any] | None]] = [
            ("root", "of the keys that count now", self.base_root, self.root),
            ("root", "of the keys that will count", self.next_root, self.root),
            ("targets", "of the keys that will count", self.next_root, self.targets),
        ]
        lacks = []
        for role, whose, delegator, metadata in wanted:
            if metadata is None:
                continue
            found = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            if not found.verified:
                lacks.append(f"{role}: {len(found.signed)} of {found.threshold} signatures {whose}")
        return lacks


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise VerificationFailed(f"the change is not sound: {what}")


def _copy(metadata: Metadata[Any] | None) -> Metadata[Any] | None:
    return Metadata[Any].from_bytes(metadata.to_bytes()) if metadata is not None else None


def _optional(value: dict[str, Any], key: str, kind: type[Any], what: str) -> Metadata[Any] | None:
    return None if value.get(key) is None else _metadata(value[key], kind, f"{what}.{key}")


def _metadata(value: object, kind: type[Any], what: str) -> Metadata[Any]:
    try:
        metadata = Metadata[Any].from_bytes(json.dumps(value).encode())
    except DeserializationError as error:
        raise InvalidInput(f"{what}: it is not metadata: {error.__cause__ or error}") from None
    if not isinstance(metadata.signed, kind):
        raise InvalidInput(f"{what}: expected {kind.__name__}, found {metadata.signed.type}")
    return metadata


def read_change(path: Path) -> KeyChange:
    """Return the change in the file *path*. Raises NotFound, InvalidInput, StoreUnavailable."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist; 'venvoy keys draft' writes such files") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
    return KeyChange.from_json(data, what=str(path))
