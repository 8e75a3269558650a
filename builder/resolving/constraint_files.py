"""Constraints of a release as local files: those at URLs are fetched once for all its locks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES = 16 * 1024 * 1024
_TIMEOUT = (10, 60)
_CHUNK = 64 * 1024


def gather_constraints(
    sources: Iterable[Path | str], directory: Path, *, offline: bool = False
) -> dict[Path | str, Path]:
    """Return the absolute local file of each of *sources*; URLs (str) are fetched into *directory*.

    Raises NotFound for a file that is not there, InvalidInput for a document that is too long or
    no text, and StoreUnavailable where a URL cannot be fetched, as always with *offline*.
    """
    files: dict[Path | str, Path] = {}
    for source in dict.fromkeys(sources):
        if isinstance(source, Path):
            if not source.is_file():
                raise NotFound(f"{source}: no such constraints file; paths are relative to the release spec")
            files[source] = source.absolute()
        elif offline:
            raise StoreUnavailable(
                f"{source}: constraints at a URL cannot be fetched offline; keep a copy beside the spec"
            )
        else:
            files[source] = directory / f"constraints-{len(files)}.txt"
            files[source].write_bytes(_fetch(source))
    return files


def _fetch(url: str) -> bytes:
    import requests

    content = bytearray()
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code in (404, 410):
                raise NotFound(
                    f"{url}: no such constraints (HTTP {response.status_code}); correct the release spec"
                )
            if response.status_code != 200:
                raise StoreUnavailable(
                    f"{url}: cannot fetch constraints: HTTP {response.status_code}; try again later"
                )
            for chunk in response.iter_content(_CHUNK):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise InvalidInput(
                        f"{url}: constraints of more than {MAX_BYTES} bytes; is this the right URL?"
                    )
    except requests.RequestException as error:
        raise StoreUnavailable(
            f"{url}: cannot fetch constraints: {_reason(error)}; try again later"
        ) from None
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{url}: constraints are not UTF-8 text; is this the right URL?") from None
    return bytes(content)


def _reason(error: Exception) -> str:
    """Return the innermost cause that says something: requests wraps several layers."""
    inner: BaseException = error
    while (next_one := inner.__cause__ or inner.__context__) is not None:
        inner = next_one
    return str(inner) or type(inner).__name__
