"""Targets: the declared floor that a lock, an artifact and a worker are for.

``cp311-linux_x86_64-glibc2.36`` promises: CPython 3.11, Linux on x86_64, glibc 2.36 or newer. The
wheel tags that fit follow PEP 425, 600 (manylinux) and 656 (musllinux), computed by ``packaging``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from packaging.tags import Tag

_TARGET = re.compile(
    r"cp(?P<major>3)(?P<minor>\d{1,2})(?P<abi>t?)"
    r"-linux_(?P<machine>[a-z0-9_]+)"
    r"-(?P<libc>glibc|musl)(?P<libc_major>\d)\.(?P<libc_minor>\d{1,3})"
)
_LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_X86 = ("x86_64", "i686")


@dataclass(frozen=True)
class Target:
    """A parsed target. ``str(target)`` gives its one canonical spelling."""

    python: tuple[int, int]
    abi_flags: str
    machine: str
    libc: str
    libc_version: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that *text* spells. Raises InvalidInput with an example."""
        match = _TARGET.fullmatch(text)
        if match is None:
            raise InvalidInput(f"{text!r} is not a target; one looks like cp311-linux_x86_64-glibc2.36")
        target = cls(
            python=(int(match["major"]), int(match["minor"])),
            abi_flags=match["abi"],
            machine=match["machine"],
            libc=match["libc"],
            libc_version=(int(match["libc_major"]), int(match["libc_minor"])),
        )
        if str(target) != text:
            raise InvalidInput(f"{text!r} is not a target's canonical spelling; did you mean {target}?")
        return target

    def __str__(self) -> str:
        major, minor = self.libc_version
        return f"{self.interpreter}{self.abi_flags}-linux_{self.machine}-{self.libc}{major}.{minor}"

    @property
    def interpreter(self) -> str:
        """The PEP 425 interpreter tag, ``cp311``."""
        return f"cp{self.python[0]}{self.python[1]}"

    @property
    def python_name(self) -> str:
        """``python3.11`` or ``python3.13t``: command name and library folder name."""
        return f"python{self.python[0]}.{self.python[1]}{self.abi_flags}"

    @property
    def site_packages(self) -> str:
        """Where purelib and platlib stand in the venv, relative to its root."""
        return f"lib/{self.python_name}/site-packages"

    @property
    def platforms(self) -> list[str]:
        """Platform tags that this target can load, best first."""
        major, minor = self.libc_version
        if self.libc == "musl":
            tags = [f"musllinux_{major}_{n}_{self.machine}" for n in range(minor, -1, -1)]
        else:
            oldest = 5 if self.machine in _X86 else 17
            tags = []
            for n in range(minor, oldest - 1, -1):
                tags.append(f"manylinux_{major}_{n}_{self.machine}")
                if (legacy := _LEGACY_MANYLINUX.get((major, n))) is not None:
                    tags.append(f"{legacy}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    @cached_property
    def tags(self) -> tuple[Tag, ...]:
        """Every wheel tag that fits, best first."""
        from packaging.tags import compatible_tags, cpython_tags

        abis = [f"{self.interpreter}{self.abi_flags}"]
        return (
            *cpython_tags(self.python, abis, self.platforms),
            *compatible_tags(self.python, self.interpreter, self.platforms),
        )

    @property
    def marker_environment(self) -> dict[str, str]:
        """The PEP 508 marker environment of this target.

        The patch level and the kernel are not part of a target; they stand as ``.0`` and empty.
        """
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        }
