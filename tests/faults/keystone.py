"""A signed store that holds keystone as OpenStack ships it: taken where one was named, built where not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.faults.preloaded import PROJECT

RELEASE = "2026.1.0"
_EXAMPLE = PROJECT / "examples/openstack-2026.1/release.toml"
_DEMO = PROJECT / "var/demo"
_NO_NETWORK = 7


class NoKeystone(Exception):
    """It can be neither found nor built here, and why."""


@dataclass(frozen=True, kw_only=True)
class KeystoneStore:
    """Where the store lies, and the root that it is trusted by."""

    store: Path
    root: Path

    def install(self, dest: Path, state: Path) -> list[str]:
        """Return the arguments that install keystone at *dest*."""
        return [
            *("install", "keystone", "--release", RELEASE, "--dest", str(dest), "--python", sys.executable),
            *("--store", str(self.store), "--root", str(self.root), "--state", str(state)),
        ]


def find_or_build(folder: Path) -> KeystoneStore:
    """Return the store that VENVOY_KEYSTONE_STORE names, that ``make demo`` left, or a new one in *folder*.

    Raises NoKeystone.
    """
    named = os.environ.get("VENVOY_KEYSTONE_STORE")
    for store in (Path(named) if named else None, _DEMO / "store"):
        if store is not None and (store / "metadata/timestamp.json").is_file():
            return KeystoneStore(store=store, root=store.parent / "keys/root.json")
    made = KeystoneStore(store=folder / "store", root=folder / "keys/root.json")
    build, keys = str(folder / "build"), ["--keys", str(folder / "keys")]
    signing = ["--store", str(made.store), *keys]
    for command in (
        ["build", str(_EXAMPLE), "-s", "keystone", "--output", build, "--cache", str(PROJECT / "var/cache")],
        ["init", str(made.store), *keys],
        ["publish", build, *signing],
        ["pin", RELEASE, build, *signing],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "venvoy", *command],
            capture_output=True,
            text=True,
            cwd=PROJECT,
            check=False,
        )
        if done.returncode == _NO_NETWORK:
            raise NoKeystone(f"keystone's wheels cannot be fetched: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
    return made
