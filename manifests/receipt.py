"""The receipt: what is installed in a venv, and to what it is bound. Written last; absent means redo."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.layout import RECEIPT
from manifests.naming import release_name, service_name
from manifests.pending import NOTHING, Pending

FORMAT_MAJOR = 1
FORMAT = "1.1"
_LIMIT = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One line of a destination's history: when which release became active, by whom, how, and why.

    ``before`` is the release that was active until then, if any was.
    """

    when: str
    who: str
    action: str
    release: str
    identity: str
    note: str | None = None
    before: str | None = None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One installed artifact.

    ``indexes`` is the digest of all layer indexes, which in turn bind every file. ``python`` is the
    host's interpreter, ``installed_at`` UTC in ISO 8601. ``install_id`` is unique to this tree, and
    ``replaced`` names the tree that it was exchanged for. ``unpacked_size`` is in bytes. ``history``
    is the destination's, oldest first, this switch included. ``system_links`` are the links to
    packages of the host's distribution, by path in the venv.

    Since format 1.1: ``pending`` is what the last switch owes to facts and handlers. ``preserve`` are
    mutable paths that this host adds to the artifact's, with their policies; ``files`` those that were
    written beside the artifact's, with their digests, and ``link_packages`` system packages that are
    linked beside those that the artifact names.
    """

    service: str
    release: str
    version: str
    target: str
    identity: Sha256
    manifest_sha256: Sha256
    indexes: Sha256
    python: str
    python_version: str
    destination: str
    installed_at: str
    tool: str
    install_id: str
    replaced: str | None = None
    unpacked_size: int = 0
    history: tuple[Switch, ...] = ()
    system_links: dict[str, str] = field(default_factory=dict)
    pending: Pending = NOTHING
    preserve: dict[str, str] = field(default_factory=dict)
    files: dict[str, Sha256] = field(default_factory=dict)
    link_packages: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the canonical JSON of this receipt."""
        value = {name: getattr(self, name) for name in self.__dataclass_fields__}
        value["history"] = [_plain(item) for item in self.history]
        value["pending"] = self.pending.to_value()
        return canonical_json({"format": FORMAT, **value})

    @classmethod
    def from_json(cls, data: bytes, *, what: str) -> Receipt:
        """Read a receipt. Raises InvalidInput naming the field."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        return cls(
            service=service_name(top.text("service")),
            release=release_name(top.text("release")),
            version=top.text("version"),
            target=top.text("target"),
            identity=top.sha256("identity"),
            manifest_sha256=top.sha256("manifest_sha256"),
            indexes=top.sha256("indexes"),
            python=top.text("python"),
            python_version=top.text("python_version"),
            destination=top.text("destination"),
            installed_at=top.text("installed_at"),
            tool=top.text("tool"),
            unpacked_size=top.count("unpacked_size", default=0),
            install_id=top.text("install_id"),
            replaced=top.optional_text("replaced"),
            history=tuple(_read_switch(item) for item in top.objects("history", required=False)),
            system_links=top.object("system_links", required=False).texts_by_name(),
            pending=Pending.read(top.object("pending", required=False)),
            preserve=top.object("preserve", required=False).texts_by_name(),
            files=top.object("files", required=False).digests_by_name(),
            link_packages=top.texts("link_packages"),
        )


def _plain(switch: Switch) -> dict[str, str]:
    return {
        name: value for name in switch.__dataclass_fields__ if (value := getattr(switch, name)) is not None
    }


def _read_switch(item: Fields) -> Switch:
    names = [name for name in Switch.__dataclass_fields__ if name not in ("note", "before")]
    return Switch(
        **{name: item.text(name) for name in names},
        note=item.optional_text("note"),
        before=item.optional_text("before"),
    )


def read_receipt(venv: Path) -> Receipt | None:
    """Return the receipt in *venv*, or None where there is none that can be read."""
    path = venv / RECEIPT
    try:
        with path.open("rb") as stream:
            data = stream.read(_LIMIT)
        return Receipt.from_json(data, what=str(path))
    except (OSError, InvalidInput):
        return None
