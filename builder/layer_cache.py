"""Layers by key on disk: ``layers/<key[:2]>/<key>.bin`` with its facts in ``<key>.json``.

Files appear by rename and are never changed, so any number of builders share one cache without a
lock. Nothing is synced: readers verify each layer's digest, and one that fails is built again.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from builder.elf import ElfFile
from builder.layer import LayerRecord
from manifests.artifact import EntryPoint
from manifests.documents import Sha256
from manifests.errors import StoreUnavailable


class LayerCache:
    """The writable cache of layers below *root*."""

    def __init__(self, root: Path) -> None:
        self._root = root / "layers"

    def get(self, key: Sha256) -> LayerRecord | None:
        """Return the facts of a cached layer, or None. An unreadable entry counts as absent."""
        try:
            record = _from_json((self._facts(key)).read_bytes())
            size = self.blob(key).stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if record.key == key and size == record.length else None

    def blob(self, key: Sha256) -> Path:
        """Return where the layer's bytes lie."""
        return self._root / key[:2] / f"{key}.bin"

    def drop(self, key: Sha256) -> None:
        """Forget a layer whose bytes turned out to be damaged."""
        self._facts(key).unlink(missing_ok=True)
        self.blob(key).unlink(missing_ok=True)

    def build(self, key: Sha256, write: Callable[[IO[bytes]], LayerRecord]) -> LayerRecord:
        """Let *write* make the layer, then add it. Raises StoreUnavailable where the disk fails."""
        blob = self.blob(key)
        suffix = f".{secrets.token_hex(8)}.tmp"
        temporary = [blob.with_name(f".{blob.name}{suffix}"), blob.with_name(f".{key}.json{suffix}")]
        try:
            blob.parent.mkdir(parents=True, exist_ok=True)
            with temporary[0].open("xb") as sink:
                record = write(sink)
            temporary[1].write_bytes(_to_json(record))
            temporary[0].replace(blob)
            temporary[1].replace(self._facts(key))
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write to the layer cache {self._root}: {error.strerror}"
            ) from error
        finally:
            for path in temporary:
                path.unlink(missing_ok=True)
        return record

    def _facts(self, key: Sha256) -> Path:
        return self._root / key[:2] / f"{key}.json"


def _to_json(record: LayerRecord) -> bytes:
    value = {name: getattr(record, name) for name in record.__dataclass_fields__}
    value["entry_points"] = [[item.name, item.module, item.attribute] for item in record.entry_points]
    value["elf"] = [item.to_value() for item in record.elf]
    return json.dumps(value, separators=(",", ":")).encode("utf-8")


def _from_json(data: bytes) -> LayerRecord:
    value: dict[str, Any] = json.loads(data)
    points = tuple(
        EntryPoint(name=name, module=module, attribute=attr) for name, module, attr in value["entry_points"]
    )
    return LayerRecord(
        **{**value, "entry_points": points, "elf": tuple(ElfFile.from_value(item) for item in value["elf"])}
    )
