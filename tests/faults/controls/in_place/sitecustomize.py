"""A build that unpacks straight into the destination: what the fault tests must not let pass."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import distributor.host.activation
import distributor.host.staging


@contextlib.contextmanager
def _destination_itself(destination: Path) -> Iterator[Path]:
    destination.mkdir(mode=0o755, exist_ok=True)
    yield destination


def _already_there(*_: object, **__: object) -> None:
    """Nothing is left to rename."""


for _module, _name, _value in (
    (distributor.host.staging, "staging_directory", _destination_itself),
    (distributor.host.activation, "activate", _already_there),
):
    if not hasattr(_module, _name):
        os._exit(70)  # a control that no longer sabotages anything must not look like a good build
    setattr(_module, _name, _value)
