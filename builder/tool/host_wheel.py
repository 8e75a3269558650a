"""Venvoy's host part as a wheel, from the files of the Venvoy that runs: no index, no build backend.

It holds ``distributor``, ``manifests`` and the front door. The same version gives the same bytes,
wherever and however Venvoy is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from builder.wheels.normalise import Member, write_wheel
from manifests import __version__
from manifests.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from manifests.target import Target

DISTRIBUTION = "venvoy"
_PACKAGES = ("distributor", "manifests")
_MODULES = ("venvoy",)
_COLLECTION = "ansible"  # for controllers, not for hosts
_WHEEL = "Wheel-Version: 1.0\nGenerator: venvoy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_ENTRY_POINTS = "[console_scripts]\nvenvoy = venvoy:main\n"


def make_host_wheel(folder: Path) -> Path:
    """Write the wheel of this very Venvoy's host part into *folder* and return its path.

    Raises NotFound where Venvoy is not installed, or another version of it is.
    """
    info = f"{DISTRIBUTION}-{__version__}.dist-info"
    members = sorted(_code())
    metadata = {"METADATA": _metadata(), "WHEEL": _WHEEL, "entry_points.txt": _ENTRY_POINTS}
    members += [Member(f"{info}/{name}", text.encode()) for name, text in metadata.items()]
    path = folder / f"{DISTRIBUTION}-{__version__}-py3-none-any.whl"
    path.unlink(missing_ok=True)
    write_wheel(path, members, f"{info}/RECORD")
    return path


def host_requirements(target: Target, extras: Sequence[str]) -> tuple[str, ...]:
    """Return what the host part needs on *target*, with *extras*, as requirements without markers.

    Raises NotFound as ``make_host_wheel`` does, and for an extra that there is not.
    """
    distribution = _distribution()
    known = distribution.metadata.get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in known:
            raise NotFound(f"Venvoy has no extra {extra!r}; it has: {', '.join(sorted(known))}")
    found: dict[str, None] = {}
    environments = [{**target.marker_environment, "extra": extra} for extra in ("", *extras)]
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate(dict(each)) for each in environments):
            requirement.marker = None
            found[str(requirement)] = None
    return tuple(found)


def _distribution() -> importlib.metadata.Distribution:
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise NotFound("Venvoy is not installed, so what it requires is not known; pip install it") from None
    if distribution.version != __version__:
        raise NotFound(
            f"this is Venvoy {__version__}, but {distribution.version} is what is installed; install it anew"
        )
    return distribution


def _metadata() -> str:
    """Return METADATA of what an installer left, be it a wheel's or an editable install's."""
    distribution = _distribution()
    known = distribution.metadata
    requires = sorted(str(Requirement(text)) for text in distribution.requires or ())
    rows = [
        ("Metadata-Version", "2.1"),
        ("Name", DISTRIBUTION),
        ("Version", __version__),
        *((name, known[name]) for name in ("Summary", "Requires-Python") if known[name]),
        *(("Requires-Dist", text) for text in requires),
        *(("Provides-Extra", extra) for extra in sorted(known.get_all("Provides-Extra") or [])),
    ]
    return "".join(f"{name}: {value}\n" for name, value in rows)


def _code() -> Iterator[Member]:
    for name in _PACKAGES:
        folder = _place(name).parent
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix != ".pyc" and folder / _COLLECTION not in path.parents:
                yield Member(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    for name in _MODULES:
        yield Member(f"{name}.py", _place(name).read_bytes())


def _place(name: str) -> Path:
    # By name, not by import: the builder imports nothing of the distributor.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise NotFound(f"this Venvoy has no {name}; install it whole: pip install 'venvoy[build]'")
    return Path(spec.origin)
