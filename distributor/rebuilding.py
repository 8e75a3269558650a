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
from pathlib import Path

from manifests.artifact import Artifact, Layer
from manifests.layout import PRISTINE, index_path
from manifests.tar_format import END_OF_ARCHIVE, directory_header, file_header, link_header, padding


def rebuild_layer(tree: Path, artifact: Artifact, layer: Layer) -> bytes | None:
    """Return the tar bytes of *layer* as it was installed in *tree*, or None where they differ by now.

    They are held in memory: the caller has bounded ``layer.tar_length``.
    """
    try:
        data = _members(tree, artifact, layer) if layer.members else END_OF_ARCHIVE
    except (OSError, ValueError, KeyError, TypeError):
        return None  # files that are gone, or records that are damaged
    if len(data) != layer.tar_length or hashlib.sha256(data).hexdigest() != layer.tar_sha256:
        return None
    return data


def _members(tree: Path, artifact: Artifact, layer: Layer) -> bytes:
    own = index_path(layer.distribution)
    index = _read(tree / own, layer.tar_length)
    rows = {name: (kind, size, content) for name, kind, size, content in json.loads(index)["files"]}
    rows[own] = ("", len(index), "")
    mutable = tuple(f"{item.path}/" for item in artifact.mutable_paths)
    directories = _parents(rows)
    out = io.BytesIO()
    for path in sorted([*directories, *rows]):
        if path in directories:
            out.write(directory_header(path))
            continue
        kind, size, content = rows[path]
        if kind == "l":
            out.write(link_header(path, content))
            continue
        place = tree / PRISTINE / path if f"{path}/".startswith(mutable) else tree / path
        data = _read(place, size)
        out.write(file_header(path, len(data), executable=kind == "x"))
        out.write(data)
        out.write(padding(len(data)))
        if out.tell() > layer.tar_length:
            raise ValueError("more than the layer held")
    return out.getvalue()


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
