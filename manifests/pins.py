"""Pins: what each service of a release means on each target. Signed by release managers."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.documents import Sha256, canonical_json, parse_json
from manifests.errors import NotFound
from manifests.fields import Fields
from manifests.naming import release_name, safe_relative_path, service_name
from manifests.target import Target

FORMAT_MAJOR = 1
FORMAT = "1.0"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pinned artifact: where its manifest lies, and the stored (gzip) bytes' length and sha256."""

    service: str
    target: str
    version: str
    manifest: str
    length: int
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class ReleasePins:
    """All pins of one release. Immutable once signed.

    ``contents`` is the digest of the release's contents (``manifests.contents``), None where it was pinned
    without. ``barriers`` are what services say of going back behind this release, None where it was
    pinned before that was noted: then the manifests say it.
    """

    release: str
    pins: tuple[Pin, ...]
    contents: Sha256 | None = None
    barriers: dict[str, str] | None = None

    @property
    def path(self) -> str:
        """The store path (and TUF target path) of this document."""
        return pins_path(self.release)

    def find(self, service: str, target: str | None = None) -> list[Pin]:
        """Return the pins of *service*, of *target* only where given.

        Raises NotFound naming what the release does hold.
        """
        mine = [pin for pin in self.pins if pin.service == service]
        if not mine:
            names = ", ".join(sorted({pin.service for pin in self.pins})) or "nothing"
            raise NotFound(f"release {self.release} has no service {service!r}; it holds: {names}")
        chosen = [pin for pin in mine if target is None or pin.target == target]
        if not chosen:
            targets = ", ".join(sorted(pin.target for pin in mine))
            raise NotFound(f"release {self.release} has {service} for {targets}, not for {target}")
        return chosen

    def to_json(self) -> bytes:
        """Return the canonical JSON of this document."""
        services: dict[str, dict[str, object]] = {}
        for pin in self.pins:
            services.setdefault(pin.service, {})[pin.target] = {
                "version": pin.version,
                "manifest": pin.manifest,
                "length": pin.length,
                "sha256": pin.sha256,
            }
        value: dict[str, object] = {"format": FORMAT, "release": self.release, "services": services}
        if self.contents is not None:
            value["contents"] = self.contents
        if self.barriers is not None:
            value["barriers"] = self.barriers
        return canonical_json(value)

    @classmethod
    def from_json(cls, data: bytes, *, what: str = "pins") -> ReleasePins:
        """Read pins. Raises InvalidInput naming the field."""
        top = Fields(parse_json(data, what=what), what)
        top.expect_format(FORMAT_MAJOR)
        pins = [
            Pin(
                service=service_name(service),
                target=str(Target.parse(target)),
                version=item.text("version"),
                manifest=safe_relative_path(item.text("manifest"), what=f"{item.where}.manifest"),
                length=item.count("length"),
                sha256=item.sha256("sha256"),
            )
            for service, targets in top.object("services").items()
            for target, item in targets.items()
        ]
        return cls(
            release=release_name(top.text("release")),
            pins=tuple(pins),
            contents=top.sha256("contents") if top.has("contents") else None,
            barriers=top.object("barriers").texts_by_name() if top.has("barriers") else None,
        )


def pins_path(release: str) -> str:
    """Return the store path of *release*'s pins."""
    return f"pins/{release_name(release)}.json"
