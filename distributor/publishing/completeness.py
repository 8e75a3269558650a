"""Is a release whole? Every service on every target that it shall have, or which ones lack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import Refused
from manifests.naming import HOST_PART

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from manifests.pins import Pin
    from manifests.release_spec import ReleaseSpec

Place = tuple[str, str]
"""A service and a target."""


def places_of(spec: ReleaseSpec) -> set[Place]:
    """Return where *spec* wants an artifact."""
    return {(service.name, str(target)) for service in spec.services for target in service.targets}


def all_places(pins: Iterable[Pin]) -> set[Place]:
    """Return every service of *pins* on every target of them: what is wanted where no spec says more."""
    services = [pin for pin in pins if pin.service != HOST_PART]
    targets = {pin.target for pin in services}
    return {(pin.service, target) for pin in services for target in targets}


def combined(base: Iterable[Pin], pins: Sequence[Pin]) -> list[Pin]:
    """Return *pins*, and those of *base* for services and targets that *pins* leave out."""
    ours = {(pin.service, pin.target) for pin in pins}
    return sorted(
        [*pins, *(pin for pin in base if (pin.service, pin.target) not in ours)],
        key=lambda pin: (pin.service, pin.target),
    )


def check_complete(release: str, pins: Iterable[Pin], wanted: set[Place], *, source: str) -> None:
    """Raise Refused, naming what *pins* lack of *wanted*, and hold beyond it. *source* is who wants it.

    Venvoy's own host part may come along.
    """
    there = {(pin.service, pin.target) for pin in pins if pin.service != HOST_PART}
    problems = [f"{service} for {target} is missing" for service, target in sorted(wanted - there)]
    problems += [f"{service} for {target} is not wanted" for service, target in sorted(there - wanted)]
    if problems:
        raise Refused(
            f"release {release} is not what {source} wants:\n  "
            + "\n  ".join(problems)
            + "\nbuild and publish it, name what is published already, take it over with --from RELEASE, "
            "or pin it as it is with --partial"
        )
