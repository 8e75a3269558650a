"""Layers by key on disk: ``layers/<key[:2]>/<key>.bin`` with its facts in ``<key>.json``.

Files appear by rename and are never changed, so any number of builders share one cache without a
lock. Nothing is synced: readers verify the digest of the layer and, in their first line, that of the
facts; what fails is built again. ``layers/tmp`` holds half-written ones; what a killed builder left
there is swept after a day.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from builder.caching.usage import use
from builder.layers.elf import ElfFile
from builder.layers.layer import LayerRecord
from manifests.artifact import EntryPoint
from manifests.documents import Sha256, sha256_bytes, sha256_file
from manifests.errors import StoreUnavailable, VerificationFailed

_STALE_SECONDS = 24 * 3600


class LayerCache:
    """The writable cache of layers below *root*."""

    def __init__(self, root: Path) -> None:
        self._root = root / "layers"

    def get(self, key: Sha256) -> LayerRecord | None:
        """Return the facts of a cached layer, or None. An unreadable entry counts as absent."""
        try:
            record = _from_json((self._facts(key)).read_bytes())
            size = self.blob(key).stat().st_size
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        whole = record.key == key and size == record.length
        return record if whole and use(self._root.parent, self._facts(key)) else None

    def blob(self, key: Sha256) -> Path:
        """Return where the layer's bytes lie."""
        return self._root / key[:2] / f"{key}.bin"

    def files(self, key: Sha256) -> tuple[Path, Path]:
        """Return where the layer's bytes and its facts lie."""
        return self.blob(key), self._facts(key)

    def drop(self, key: Sha256) -> None:
        """Forget a layer whose bytes turned out to be damaged."""
        self._facts(key).unlink(missing_ok=True)
        self.blob(key).unlink(missing_ok=True)

    def build(self, key: Sha256, write: Callable[[IO[bytes]], LayerRecord]) -> LayerRecord:
        """Let *write* make the layer, then add it. Raises StoreUnavailable where the disk fails."""
        with self._incoming(key) as (blob, facts):
            with blob.open("xb") as sink:
                record = write(sink)
            facts.write_bytes(_to_json(record))
        return record

    def adopt(self, key: Sha256, fetch: Callable[[Path, Path], bool]) -> bool:
        """Let *fetch* bring bytes and facts that another cache has, then add them if they are whole.

        Says whether *fetch* found them. Raises VerificationFailed, and StoreUnavailable.
        """
        with self._incoming(key) as (blob, facts):
            if not fetch(blob, facts):
                for path in (blob, facts):
                    path.unlink(missing_ok=True)
                return False
            try:
                record = _from_json(facts.read_bytes())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise VerificationFailed(f"the layer {key} came with damaged facts: {error}") from None
            if record.key != key or sha256_file(blob) != record.sha256:
                raise VerificationFailed(f"the layer {key} came with other bytes than its facts promise")
        return True

    @contextmanager
    def _incoming(self, key: Sha256) -> Iterator[tuple[Path, Path]]:
        """Give names for bytes and facts. What is under both at the end appears in the cache."""
        folder, token = self._root / "tmp", secrets.token_hex(8)
        temporary = folder / f"{token}.bin", folder / f"{token}.json"
        final = self.files(key)
        try:
            for place in (folder, final[0].parent):
                place.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            yield temporary
            if temporary[1].exists():
                for source, destination in zip(temporary, final, strict=True):
                    source.replace(destination)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write to the layer cache {self._root}: {error.strerror}"
            ) from error
        finally:
            for path in temporary:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _facts(self, key: Sha256) -> Path:
        return self._root / key[:2] / f"{key}.json"


def _sweep(folder: Path) -> None:
    oldest = time.time() - _STALE_SECONDS
    with os.scandir(folder) as entries, contextlib.suppress(FileNotFoundError):
        for entry in entries:
            if entry.stat(follow_symlinks=False).st_mtime < oldest:
                os.unlink(entry.path)  # noqa: PTH108 - a string already


def _to_json(record: LayerRecord) -> bytes:
    value = {name: getattr(record, name) for name in record.__dataclass_fields__}
    value["entry_points"] = [[item.name, item.module, item.attribute] for item in record.entry_points]
    value["elf"] = [item.to_value() for item in record.elf]
    facts = json.dumps(value, separators=(",", ":")).encode("utf-8")
    return sha256_bytes(facts).encode("ascii") + b"\n" + facts


def _from_json(data: bytes) -> LayerRecord:
    digest, _, facts = data.partition(b"\n")
    if digest != sha256_bytes(facts).encode("ascii"):
        raise ValueError("the facts are damaged")
    value: dict[str, Any] = json.loads(facts)
    points = tuple(
        EntryPoint(name=name, module=module, attribute=attr) for name, module, attr in value["entry_points"]
    )
    return LayerRecord(
        **{**value, "entry_points": points, "elf": tuple(ElfFile.from_value(item) for item in value["elf"])}
    )
