"""An installed layer's tar bytes again, byte for byte, from its files: what patches are applied to.

The layer's index names its files; tar members are deterministic. Whatever was changed on the host
gives another digest, and then there is nothing to patch. Files of mutable paths come from the
pristine copies.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from manifests.artifact import Artifact, Layer
from manifests.layout import PRISTINE, index_path
from manifests.tar_format import END_OF_ARCHIVE, directory_header, file_header, link_header, padding


def rebuild_layer(tree: Path, artifact: Artifact, layer: Layer) -> bytes | None:
    """Return the tar bytes of *layer* as it was installed in *tree*, or None where they differ by now.

    They are held in memory: the caller has bounded ``layer.tar_length``.
    """
    out = io.BytesIO()
    return out.getvalue() if rebuild_into(out, tree, artifact, layer) else None


def rebuild_into(out: IO[bytes], tree: Path, artifact: Artifact, layer: Layer) -> bool:
    """Write the tar bytes of *layer* as it was installed in *tree* to the empty *out*.

    Returns whether they are the layer's; if not, what *out* holds is worth nothing.
    """
    digest = hashlib.sha256()
    length = 0
    try:
        for part in _parts(tree, artifact, layer) if layer.members else (END_OF_ARCHIVE,):
            length += len(part)
            if length > layer.tar_length:
                return False
            digest.update(part)
            out.write(part)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # files that are gone, or records that are damaged
    out.seek(0)
    return length == layer.tar_length and digest.hexdigest() == layer.tar_sha256


def _parts(tree: Path, artifact: Artifact, layer: Layer) -> Iterator[bytes]:
    """Yield headers and contents in the order of the layer's members."""
    own = index_path(layer.distribution)
    index = _read(tree / own, layer.tar_length)
    rows = {name: (kind, size, content) for name, kind, size, content in json.loads(index)["files"]}
    rows[own] = ("", len(index), "")
    mutable = tuple(f"{item.path}/" for item in artifact.mutable_paths)
    directories = _parents(rows)
    for path in sorted([*directories, *rows]):
        if path in directories:
            yield directory_header(path)
            continue
        kind, size, content = rows[path]
        if kind == "l":
            yield link_header(path, content)
            continue
        place = tree / PRISTINE / path if f"{path}/".startswith(mutable) else tree / path
        data = _read(place, min(size, layer.tar_length))
        yield file_header(path, len(data), executable=kind == "x")
        yield data
        yield padding(len(data))


def _read(path: Path, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(limit + 1)


def _parents(paths: dict[str, tuple[str, int, str]]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found
