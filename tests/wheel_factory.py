"""Makes small wheels for tests, valid by default and broken on request.

    path = make_wheel(tmp_path, "demo", "1.0", {"demo/__init__.py": b""}, entry_points={"demo": "demo:main"})

The same arguments give the same bytes. Everything a hostile test needs is an option: raw members,
rows taken from or added to RECORD, metadata left out.
"""

from __future__ import annotations

import base64
import hashlib
import stat
import warnings
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

Row = tuple[str, str, str]
DATE = (1980, 1, 2, 0, 0, 0)


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes] | None = None,
    *,
    entry_points: Mapping[str, str] | str | None = None,
    gui_scripts: Mapping[str, str] | None = None,
    scripts: Mapping[str, bytes] | None = None,
    data: Mapping[str, bytes] | None = None,
    tag: str = "py3-none-any",
    build: str | None = None,
    requires: Iterable[str] = (),
    modes: Mapping[str, int] | None = None,
    metadata: bytes | None = None,
    wheel_metadata: bytes | None = None,
    dist_info: str | None = None,
    file_name: str | None = None,
    root_is_purelib: bool = True,
    omit: Iterable[str] = (),
    edit_record: Callable[[list[Row]], list[Row]] | None = None,
    raw_members: Iterable[tuple[str | zipfile.ZipInfo, bytes]] = (),
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write ``<name>-<version>[-<build>]-<tag>.whl`` into *directory* and return its path.

    - *files*: paths in the wheel's root (purelib or platlib) and their bytes; None stands for one
      module named as the distribution.
    - *entry_points*: console scripts ``{command: "module:attribute"}``, or the whole
      ``entry_points.txt`` as text; *gui_scripts* likewise.
    - *scripts*: ``.data/scripts/``, mode 0755; *data*: anything else below ``.data``, for example
      ``{"data/etc/demo.conf": b"", "headers/demo.h": b""}``.
    - *tag*: ``python-abi-platform``; dots make a compressed set. *build*: the build tag.
    - *modes*: permission bits of single members, by their path in the zip.
    - *metadata*, *wheel_metadata*: the bytes of METADATA and WHEEL instead of the made ones.
    - *dist_info*, *file_name*: other names than the matching ones.
    - *omit*: members left out of the zip; their RECORD rows stay.
    - *edit_record*: changes the rows of RECORD; *raw_members*: zip members that RECORD lacks.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = dist_info or f"{stem}.dist-info"
    data_root = f"{stem}.data"
    members = dict(files if files is not None else {f"{name.replace('-', '_')}.py": b"# empty\n"})
    members |= {f"{data_root}/scripts/{path}": content for path, content in (scripts or {}).items()}
    members |= {f"{data_root}/{path}": content for path, content in (data or {}).items()}
    members[f"{info}/METADATA"] = metadata if metadata is not None else _metadata(name, version, requires)
    members[f"{info}/WHEEL"] = (
        wheel_metadata if wheel_metadata is not None else _wheel(tag, build, purelib=root_is_purelib)
    )
    if text := _entry_points(entry_points, gui_scripts):
        members[f"{info}/entry_points.txt"] = text.encode()
    rows = [record_row(path, content) for path, content in members.items()]
    rows.append((f"{info}/RECORD", "", ""))
    if edit_record is not None:
        rows = edit_record(rows)
    record = "".join(",".join(_quoted(cell) for cell in row) + "\n" for row in rows)
    members[f"{info}/RECORD"] = record.encode()
    left_out = set(omit)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / (file_name or "-".join(filter(None, [stem, build, tag])) + ".whl")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")  # hostile tests want just that
        for member, content in members.items():
            if member not in left_out:
                mode = (modes or {}).get(member, 0o755 if f"{data_root}/scripts/" in member else 0o644)
                archive.writestr(zip_info(member, stat.S_IFREG | mode, compression), content)
        for raw, content in raw_members:
            archive.writestr(zip_info(raw, 0o100644, compression) if isinstance(raw, str) else raw, content)
    return path


def zip_info(name: str, mode: int, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Return a zip member's header with a fixed date; *mode* includes the file type."""
    info = zipfile.ZipInfo(name, DATE)
    info.create_system = 3
    info.external_attr = mode << 16
    info.compress_type = compression
    return info


def record_row(path: str, content: bytes) -> Row:
    """Return the RECORD row of a file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return path, f"sha256={digest}", str(len(content))


def sha256(path: Path) -> str:
    """Return the sha256 of the file at *path*, as locks spell it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def corrupt_member(path: Path, needle: bytes, replacement: bytes) -> None:
    """Change bytes inside a stored (uncompressed) wheel, as a bad disk would."""
    content = path.read_bytes()
    if len(needle) != len(replacement) or content.count(needle) != 1:
        raise ValueError("needle and replacement must be equally long, and needle stand once")
    path.write_bytes(content.replace(needle, replacement))


def _metadata(name: str, version: str, requires: Iterable[str]) -> bytes:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {item}" for item in requires]
    return ("\n".join(lines) + "\n").encode()


def _wheel(tag: str, build: str | None, *, purelib: bool) -> bytes:
    lines = ["Wheel-Version: 1.0", "Generator: wheel-factory", f"Root-Is-Purelib: {str(purelib).lower()}"]
    lines += [f"Build: {build}"] if build else []
    python, abi, platform = tag.split("-")
    for one in python.split("."):
        for two in abi.split("."):
            lines += [f"Tag: {one}-{two}-{three}" for three in platform.split(".")]
    return ("\n".join(lines) + "\n").encode()


def _entry_points(console: Mapping[str, str] | str | None, gui: Mapping[str, str] | None) -> str:
    if isinstance(console, str):
        return console
    text = ""
    for group, scripts in (("console_scripts", console), ("gui_scripts", gui)):
        if scripts:
            text += f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in scripts.items()) + "\n"
    return text


def _quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell
