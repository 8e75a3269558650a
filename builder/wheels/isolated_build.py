"""Turns an unpacked project into a wheel, with foreign code in a cage and nowhere else.

Of the folder that a build is given, ``cage`` belongs to the foreign code, and the rest to us::

    tools/      a virtualenv with pip, for us; read-only inside
    requires/   the wheels that the project is built with; read-only inside
    ours/       HOME and TMPDIR of pip while it downloads
    cage/       env (the build's own virtualenv), src, metadata, wheels, home, tmp

What needs credentials and the network, downloading build requirements, runs no foreign code: wheels
alone are taken. What runs foreign code has neither, unless the spec allows it the network.
"""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from builder.sandbox.cage import Errand
from builder.sandbox.limits import excess
from builder.wheels.build_process import (
    ProcessRunner,
    Step,
    build_environment,
    download_environment,
    readable_places,
)
from builder.wheels.project import BuildSystem, read_answer, read_build_system
from manifests.errors import VerificationFailed

if TYPE_CHECKING:
    from builder.sandbox.cage import Cage
    from builder.wheels.sdist_build import BuildOptions
    from manifests.interpreter import Interpreter

_VENV_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class IsolatedBuild:
    """One build in *folder*. *label* names the package in errors; all output goes to *log*."""

    label: str
    folder: Path
    log: Path
    interpreter: Interpreter
    app_data: Path
    options: BuildOptions
    runner: ProcessRunner
    cage: Cage

    @staticmethod
    def prepare(folder: Path) -> Path:
        """Make the folders of a build below *folder*; return the one that sources are unpacked into."""
        folder.chmod(0o711)  # the build's user goes through it
        cage = folder / "cage"
        for name in (
            "requires",
            "ours/home",
            "ours/tmp",
            "cage/home",
            "cage/tmp",
            "cage/metadata",
            "cage/wheels",
        ):
            (folder / name).mkdir(parents=True)
        (folder / "requires").chmod(0o755)
        return cage

    def run(self, project: Path) -> Path:
        """Return the one wheel that *project* (in the cage's folder) gives.

        Raises HostUnsuitable where it does not build here, exceeds its limits, or its build requirements
        cannot be had as wheels, and VerificationFailed for a project that breaks the rules.
        """
        system = read_build_system(project, what=self.label)
        self._make_venv("tools", "--no-setuptools")
        self._make_venv("cage/env", "--no-pip", "--no-setuptools")
        hooks = self.folder / "hooks.py"
        hooks.write_text(resources.files("builder.wheels").joinpath("build_hooks.py").read_text("utf-8"))
        hooks.chmod(0o644)
        self.cage.enter(self._cage)
        self._install(system.requires)
        answer = self._cage / "requires.json"
        self._hook("requires", system, project, answer)
        self._install(read_answer(answer, what=self.label))
        metadata = self._cage / "metadata"
        self._hook("metadata", system, project, metadata)
        self._hook("wheel", system, project, self._cage / "wheels", metadata)
        return self._wheel()

    @property
    def _cage(self) -> Path:
        return self.folder / "cage"

    def _make_venv(self, name: str, *options: str) -> None:
        command = [sys.executable, "-m", "virtualenv", "--quiet", "--no-periodic-update", "--no-download"]
        command += [*options, "--app-data", str(self.app_data)]
        command += ["--python", str(self.interpreter.executable), str(self.folder / name)]
        step = Step(
            what=f"making a build environment for {self.label}",
            command=command,
            environment=download_environment(self.folder / "ours"),
            cwd=self.folder / "ours",
            log=self.log,
            timeout=_VENV_SECONDS,
        )
        self.runner.run(step)

    def _install(self, requirements: Sequence[str]) -> None:
        """Install *requirements* into the build's environment: downloaded by us, installed inside."""
        if not requirements:
            return
        self._download(requirements)
        command = [*self._pip(), "--python", str(self._cage / "env/bin/python"), "install", "--no-index"]
        command += ["--only-binary=:all:", "--find-links", str(self.folder / "requires")]
        self._caged("installing the build requirements of", [*command, "--", *requirements])

    def _download(self, requirements: Sequence[str]) -> None:
        command = [*self._pip(), "download", "--quiet", "--only-binary=:all:", *self._constraints()]
        command += ["--dest", str(self.folder / "requires")]
        command += ["--no-index"] if self.options.offline else []
        command += [word for place in self._places() for word in ("--find-links", place)]
        step = Step(
            what=f"fetching the build requirements of {self.label}",
            command=[*command, "--", *requirements],
            environment=download_environment(self.folder / "ours"),
            cwd=self.folder / "ours",
            log=self.log,
            timeout=float(self.options.limits.time),
            watch=lambda leader: excess(self.options.limits, leader, self.folder, self.log),
        )
        self.runner.run(step)

    def _pip(self) -> list[str]:
        pip = [str(self.folder / "tools/bin/python"), "-m", "pip", "--no-input", "--no-cache-dir"]
        return [*pip, "--disable-pip-version-check"]

    def _places(self) -> list[str]:
        """Return where wheels of build requirements are, folders as absolute paths."""
        places = [place.removeprefix("file://") for place in self.options.find_links]
        return [place if "://" in place else str(Path(place).absolute()) for place in places]

    def _constraints(self) -> list[str]:
        if not self.options.constraints:
            return []
        path = self.folder / "requires" / "build-constraints.txt"
        path.write_text(self.options.constraints, encoding="utf-8")
        return ["--constraint", str(path)]

    def _hook(self, hook: str, system: BuildSystem, project: Path, *output: Path) -> None:
        command = [str(self._cage / "env/bin/python"), str(self.folder / "hooks.py"), hook, system.backend]
        command += [json.dumps(system.backend_path), *map(str, output)]
        self._caged("building", command, cwd=project, network=self.options.network)

    def _caged(
        self, doing: str, command: Sequence[str], *, cwd: Path | None = None, network: bool = False
    ) -> None:
        environment = build_environment(self._cage, network=network)
        environment["PATH"] = f"{self._cage / 'env/bin'}:{environment['PATH']}"
        readable = [self.folder / name for name in ("tools", "requires", "hooks.py")]
        readable += [self.interpreter.base_prefix]
        limits = self.options.limits
        errand = Errand(
            command=command,
            folder=self._cage,
            cwd=cwd or self._cage,
            readable=[*readable, *readable_places(environment)],
            network=network,
            limits=limits,
        )
        step = Step(
            what=f"{doing} {self.label}{' from source' if doing == 'building' else ''}",
            command=self.cage.command(errand),
            environment=environment,
            cwd=Path("/"),
            log=self.log,
            timeout=float(limits.time),
            watch=lambda leader: excess(limits, leader, self._cage, self.log),
        )
        self.runner.run(step)

    def _wheel(self) -> Path:
        """Return the wheel, which foreign code may have made anything. Nothing of it runs any more."""
        wheels = [path for path in (self._cage / "wheels").iterdir() if path.name.endswith(".whl")]
        if len(wheels) != 1:
            raise VerificationFailed(
                f"building {self.label} gave {len(wheels)} wheels instead of one; see {self.log}"
            )
        if not stat.S_ISREG(wheels[0].lstat().st_mode):
            raise VerificationFailed(f"building {self.label} gave no regular file; see {self.log}")
        return wheels[0]
