"""What workers offer, as names of Dask resources: ``cp311-linux_x86_64-glibc2.36@3.11.2``.

The target says what a worker's interpreter is at home on, the version which one it is to the last
digit: compiled files depend on it, so that a build asks for one version on all workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import InvalidInput
from manifests.interpreter import Interpreter, find_interpreter, probe
from manifests.target import Target

_MINORS = range(8, 31)


@dataclass(frozen=True, kw_only=True)
class Offer:
    """An interpreter of a worker: the target that it is native to, and its full version."""

    target: Target
    version: str

    @classmethod
    def of(cls, interpreter: Interpreter) -> Offer:
        """Return what a worker with *interpreter* offers."""
        found = interpreter
        target = Target(found.python, found.abi_flags, found.machine, found.libc, found.libc_version)
        return cls(target=target, version=found.version)

    @classmethod
    def parse(cls, text: str) -> Offer | None:
        """Return the offer that a resource's name spells, or None for another resource."""
        name, separator, version = text.partition("@")
        if not separator or not version:
            return None
        try:
            return cls(target=Target.parse(name), version=version)
        except InvalidInput:
            return None

    def __str__(self) -> str:
        return f"{self.target}@{self.version}"

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter as far as it is known from afar; only the worker knows where it lies."""
        target = self.target
        return Interpreter(
            executable=Path(target.python_name),
            version=self.version,
            python=target.python,
            abi_flags=target.abi_flags,
            machine=target.machine,
            libc=target.libc,
            libc_version=target.libc_version,
            base_prefix=Path("/"),
            cache_tag=f"cpython-{target.python[0]}{target.python[1]}{target.abi_flags}",
        )


def choose_offer(offers: Iterable[Offer], target: Target, version: str | None = None) -> Offer | None:
    """Return the offer to build *target* with, of *version* if given; None where none fits.

    Best is a native one with the newest libc that is not newer than promised, then the oldest newer
    one (what it compiles is still held against the target), then one of another machine, which
    compiles but builds no wheels. Of equals the newest Python is taken, so that the choice does not
    depend on the order of workers.
    """
    fitting = [
        offer
        for offer in offers
        if (offer.target.python, offer.target.abi_flags) == (target.python, target.abi_flags)
        and version in (None, offer.version)
    ]

    def rank(offer: Offer) -> tuple[int, int, int, tuple[int, ...], str]:
        here = offer.target
        native = (here.machine, here.libc) == (target.machine, target.libc)
        fits = here.libc_version <= target.libc_version
        minor = here.libc_version[1]
        digits = tuple(int(part) for part in offer.version.split(".") if part.isdigit())
        return (native, fits, minor if fits else -minor, digits, str(offer))

    return max(fitting, key=rank, default=None)


def own_interpreters(pythons: Iterable[Path]) -> list[Interpreter]:
    """Return *pythons*, or without any all native interpreters of this machine, one for each target.

    Raises NotFound and HostUnsuitable for those of *pythons* that cannot be run.
    """
    given = [probe(path) for path in pythons]
    if given:
        return given
    import sys

    here = probe(Path(sys.executable))
    found = []
    for minor in _MINORS:
        for flags in ("", "t"):
            target = Target((3, minor), flags, here.machine, here.libc, here.libc_version)
            interpreter = find_interpreter(target)
            if interpreter is not None and interpreter.is_native(target):
                found.append(interpreter)
    return found
