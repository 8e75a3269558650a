# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""A build on the build host that happens once for each set of inputs, however many hosts and plays ask.

What was built is known by the digest of all inputs, the target among them. A lock, which the kernel
drops when its owner dies, keeps all that ask at once apart; whoever comes second finds the record that is
written last. Interrupted, it is done again from what is cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.venvoy.venvoy.plugins.module_utils.index_settings import index_environment
from ansible_collections.venvoy.venvoy.plugins.module_utils.serving import served

_FORMAT = 1
_NAMES = 12
_REFUSED = 9
_TRIES = 100


class BuildError(Exception):
    """What went wrong, in the words of the command that failed; for whoever runs the play."""


@dataclass(frozen=True)
class Wanted:
    """What to build: one service for one target, from a plan's inputs. *run* names the play that asks."""

    service: str
    target: str
    python: str
    inputs: dict[str, Any]
    run: str = ""
    rebuild: bool = False
    upgrade: bool = False
    allow_overlap: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """The digest of all that decides what comes out."""
        value = [_FORMAT, self.service, self.target, self.inputs, self.allow_overlap]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()

    @property
    def name(self) -> str:
        """A name for folders and releases."""
        return f"{self.service}-{self.digest[:_NAMES]}"


@dataclass(frozen=True)
class Places:
    """Where things are on the build host: the store, its keys, work and caches, Venvoy's own venv, wheels."""

    store: str
    keys: str
    work: Path
    builder: Path
    builder_packages: list[str]
    wheels: list[str]
    read_pip_configuration: bool = True


class BuildOnce:
    """One build, or what is known of it."""

    def __init__(self, wanted: Wanted, places: Places) -> None:
        self._wanted = wanted
        self._places = places
        self._folder = places.work / wanted.name
        self._record = self._folder / "record.json"
        self._addresses: list[str] = []

    def known(self) -> dict[str, Any] | None:
        """Return the record of a build that need not be done again, or None."""
        try:
            record: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if record.get("digest") != self._wanted.digest:
            return None
        if self._wanted.rebuild and record.get("run") != self._wanted.run:
            return None
        return record

    def run(self) -> tuple[dict[str, Any], bool]:
        """Return the record, and whether it was this call that built. Raises BuildError, OSError."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(self._places.work / f".{self._wanted.name}.lock"):
            record = self.known()
            if record is not None:
                return record, False
            with served(self._wheel_places()) as addresses:
                self._addresses = addresses
                return self._build(), True

    def _build(self) -> dict[str, Any]:
        command = self._builder()
        spec = self._write_spec()
        self._seed_lock()
        target = ["-t", self._wanted.target]
        locks = ["--lock-dir", str(self._folder / "locks")]
        trust = ["--store", self._places.store, "--keys", self._places.keys]
        built = self._folder / "build"
        shutil.rmtree(built, ignore_errors=True)
        self._venvoy(command, "init", self._places.store, "--keys", self._places.keys)
        fresh = ["--upgrade"] if self._wanted.upgrade else []
        self._venvoy(command, "lock", str(spec), *target, *locks, *fresh)
        wheels = [word for place in self._addresses for word in ("--wheels", place)]
        result = self._venvoy(
            *(command, "build", str(spec), *target, *locks, "-o", str(built)),
            *("--cache", str(self._places.work / "cache"), *wheels),
            *("--python", f"{self._wanted.target}={self._wanted.python}"),
        )
        self._venvoy(command, "publish", str(built), *trust)
        release = self._pin(command, built, trust)
        return self._write_record(release, result)

    def _pin(self, command: str, built: Path, trust: list[str]) -> str:
        """Pin what was built under a name that is free; the same pins again are no error."""
        for number in range(_TRIES):
            release = f"{self._wanted.name}.{number}" if number else self._wanted.name
            arguments = [command, "pin", release, str(built), "--partial", *trust, "--json"]
            code, document = self._call(arguments)
            if code == 0:
                return release
            if code != _REFUSED:
                raise BuildError(f"venvoy pin: {document.get('error')}")
        raise BuildError(f"no name for a release is free after {release}")

    def _write_record(self, release: str, result: dict[str, Any]) -> dict[str, Any]:
        builds = 0
        with contextlib.suppress(OSError, ValueError):
            builds = json.loads(self._record.read_text(encoding="utf-8"))["builds"]
        record = {
            "digest": self._wanted.digest,
            "release": release,
            "service": self._wanted.service,
            "target": self._wanted.target,
            "artifact": result["artifacts"][0]["identity"],
            "version": result["artifacts"][0]["version"],
            "run": self._wanted.run,
            "builds": builds + 1,
        }
        temporary = self._record.with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.sync()
        temporary.replace(self._record)
        self._latest().write_text(self._wanted.name, encoding="utf-8")
        return record

    def _latest(self) -> Path:
        return self._places.work / f".{self._wanted.service}-{self._wanted.target}.latest"

    def _seed_lock(self) -> None:
        """Begin with the versions of the build before this, which stay where they still fit."""
        with contextlib.suppress(OSError):
            before = self._places.work / self._latest().read_text(encoding="utf-8") / "locks"
            if not (self._folder / "locks").exists():
                shutil.copytree(before, self._folder / "locks")

    def _write_spec(self) -> Path:
        inputs = self._wanted.inputs
        constraints = list(inputs["constraint_urls"])
        if inputs["constraints"]:
            (self._folder / "constraints.txt").write_text(_lines(inputs["constraints"]), encoding="utf-8")
            constraints.insert(0, "constraints.txt")
        build_constraints = [line for line in inputs["build_constraints"] if any(c in line for c in "=<>@")]
        if build_constraints:
            text = _lines(build_constraints)
            (self._folder / "build-constraints.txt").write_text(text, encoding="utf-8")
        spec = self._folder / "release.toml"
        rows = [
            f"release = {json.dumps(self._wanted.name)}",
            f"targets = {json.dumps([self._wanted.target])}",
            f"constraints = {json.dumps(constraints)}",
            *(['build-constraints = ["build-constraints.txt"]'] if build_constraints else []),
            f"[services.{self._wanted.service}]",
            f"requirements = {json.dumps(inputs['requirements'])}",
            f"allow-overlap = {json.dumps(self._wanted.allow_overlap)}",
        ]
        spec.write_text(_lines(rows), encoding="utf-8")
        return spec

    def _wheel_places(self) -> list[str]:
        places = [*self._places.wheels, *self._wanted.inputs["find_links"]]
        return [place for place in places if "://" in place or Path(place).is_dir()]

    def _builder(self) -> str:
        """Return Venvoy's command with all that building needs; its own venv is made where it lacks."""
        command = self._places.builder / "bin/venvoy"
        if os.access(command, os.X_OK):
            return str(command)
        if not self._places.builder_packages:
            raise BuildError(f"there is no {command}, and nothing was named to install into such a venv")
        self._places.builder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(self._places.work / ".builder.lock"):
            if not os.access(command, os.X_OK):
                _run([sys.executable, "-m", "venv", str(self._places.builder)])
                pip = [str(self._places.builder / "bin/python"), "-m", "pip", "install", "--quiet"]
                _run([*pip, *self._places.builder_packages])
        return str(command)

    def _venvoy(self, *arguments: str) -> dict[str, Any]:
        code, document = self._call([*arguments, "--json"])
        if code:
            raise BuildError(f"venvoy {arguments[1]}: {document.get('error')}")
        return document

    def _call(self, arguments: list[str]) -> tuple[int, dict[str, Any]]:
        environment = index_environment(
            os.environ, self._wanted.inputs, self._addresses, self._places.read_pip_configuration
        )
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {"error": done.stderr.strip() or f"ended with status {done.returncode}"}
        return done.returncode, document


def give_away(folder: str, user: str | None, group: str | None) -> None:
    """Let *folder* and all below it belong to who serves it."""
    if not user and not group:
        return
    owner = -1 if not user else pwd.getpwnam(user).pw_uid
    owning = -1 if not group else grp.getgrnam(group).gr_gid
    for place, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            os.chown(Path(place) / name, owner, owning, follow_symlinks=False)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command[:4])} ...: {done.stderr.strip()[-2000:]}")


def _lines(rows: list[str]) -> str:
    return "".join(f"{row}\n" for row in rows)
