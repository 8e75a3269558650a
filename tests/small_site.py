"""A whole site in one folder, with real wheels, real layers, a signed store and hosts to install on.

site = SmallSite(tmp_path)
site.release("1.0.0")
site.install("1.0.0", dest)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.describing.describer import Describer
from builder.describing.provenance import BuildRun
from builder.layers.compression import Compression
from builder.pipeline import ArtifactBuilder, BuiltArtifact, ServiceBuild
from builder.wheels.gathering import ResolvedWheel
from distributor.publishing.built_files import BuiltFiles
from distributor.publishing.initialisation import initialise
from distributor.publishing.repository import PIN_ROLES, PUBLISH_ROLES, open_repository
from distributor.stores.directory import DirectoryStore
from manifests.artifact import Checks, MutablePath
from manifests.documents import Sha256, sha256_file
from manifests.interpreter import probe
from manifests.release_spec import ServiceSpec
from manifests.target import Target
from tests.wheel_factory import make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROJECT = Path(__file__).resolve().parent.parent
HOST = probe(Path(sys.executable))
TARGET = Target(
    python=HOST.python,
    abi_flags=HOST.abi_flags,
    machine=HOST.machine,
    libc=HOST.libc,
    libc_version=HOST.libc_version,
)
NO_CHECKS = Checks()
MAIN = b"import sys\n\n\ndef main():\n    print('demo', VERSION, *sys.argv[1:])\n\n\nVERSION = %r\n"


class _Silent:
    def layers(self, done: int, total: int, name: str) -> None: ...

    def artifact(self, built: BuiltArtifact) -> None: ...


class SmallSite:
    """Store, keys and state below *directory*; every release is built, published and pinned for real.

    Where they are *described*, artifacts come with bills of materials and provenance.
    """

    def __init__(self, directory: Path, *, described: bool = False) -> None:
        self.described = described
        self.directory = directory
        self.keys = directory / "keys"
        self.store = directory / "store"
        self.state = directory / "state"
        self.root = self.keys / "root.json"
        initialise(DirectoryStore(self.store), self.keys, now=datetime.now(timezone.utc))

    def release(
        self,
        release: str,
        service: str = "demo",
        *,
        files: Mapping[str, bytes] | None = None,
        etc: Mapping[str, bytes] | None = None,
        mutable: Sequence[MutablePath] = (),
        checks: Checks = NO_CHECKS,
        more_wheels: Sequence[Path] = (),
        barrier: str | None = None,
        publish: bool = True,
    ) -> BuiltArtifact:
        """Build *service* with *files* in site-packages and *etc* below ``etc/<service>``, and pin it.

        Without *publish* it is only built.
        """
        module = service.replace("-", "_")
        wheel = make_wheel(
            self.directory / "wheels" / release,
            service,
            release,
            {
                f"{module}/__init__.py": b"",
                f"{module}/main.py": MAIN % release,
                f"{module}/data.txt": f"data of {release}\n".encode(),
                **(files or {}),
            },
            entry_points={f"{service}-manage": f"{module}.main:main"},
            data={f"data/etc/{service}/{name}": content for name, content in (etc or {}).items()},
        )
        built = self.build(
            release, service, [wheel, *more_wheels], mutable=mutable, checks=checks, barrier=barrier
        )
        if publish:
            self.publish(built)
            self.pin(release, built)
        return built

    def build(
        self,
        release: str,
        service: str,
        wheels: Sequence[Path],
        *,
        mutable: Sequence[MutablePath] = (),
        checks: Checks = NO_CHECKS,
        barrier: str | None = None,
    ) -> BuiltArtifact:
        builder = ArtifactBuilder(
            cache_root=self.directory / "cache",
            output=self.directory / "build" / release,
            compression=Compression(level=3),
            describer=self._describer(release, service) if self.described else None,
        )
        spec = ServiceSpec(
            name=service,
            requirements=(service,),
            targets=(TARGET,),
            mutable_paths=tuple(mutable),
            checks=checks,
            rollback_barrier=barrier,
        )
        build = ServiceBuild(
            service=spec,
            target=TARGET,
            version=release,
            wheels=tuple(_resolved(wheel) for wheel in wheels),
            interpreter=HOST,
        )
        return builder.build([build], _Silent())[0]

    def _describer(self, release: str, service: str) -> Describer:
        lock = self.directory / "locks" / release / f"pylock.{service}.toml"
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text('lock-version = "1.0"\n')
        run = BuildRun.now(release, "urn:venvoy:builder:tests")
        return Describer(run=run, locks={(service, str(TARGET)): lock})

    def publish(self, *built: BuiltArtifact) -> None:
        files = [BuiltFiles(artifact=b.artifact, tarball=b.tarball, manifest=b.manifest) for b in built]
        open_repository(DirectoryStore(self.store), self.keys, PUBLISH_ROLES).publish(files)

    def pin(self, release: str, *built: BuiltArtifact) -> None:
        repository = open_repository(DirectoryStore(self.store), self.keys, PIN_ROLES)
        repository.pin(release, repository.pins_for([item.artifact for item in built]))

    def command(self, release: str, dest: Path, *options: str, service: str = "demo") -> list[str]:
        """Return the command line that installs, as an operator would give it."""
        return [
            *(sys.executable, "-m", "venvoy", "install", service, "--release", release, "--dest", str(dest)),
            *("--store", str(self.store), "--root", str(self.root), "--state", str(self.state)),
            *("--python", str(HOST.executable), *options),
        ]

    def install(self, release: str, dest: Path, *options: str, service: str = "demo") -> dict[str, Any]:
        """Install by the command line and return its JSON document; fails the test if it fails."""
        done = run([*self.command(release, dest, *options, service=service), "--json"])
        assert done.returncode == 0, done.stderr + done.stdout
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command from the project's folder and return what it printed."""
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env=environment,
        check=False,
        timeout=120,
        **options,
    )


def venvoy(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return run([sys.executable, "-m", "venvoy", *map(str, arguments)], **options)


def snapshot(venv: Path, *, times: bool = False) -> dict[str, tuple[Any, ...]]:
    """Return every path below *venv* with kind, mode, owner and content; the receipt without its time."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(venv.rglob("*")):
        status = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
            if path.name == "receipt.json":
                content = {**json.loads(content), "installed_at": None}
        stamp = status.st_mtime_ns if times else None
        found[str(path.relative_to(venv))] = (status.st_mode, status.st_uid, status.st_gid, content, stamp)
    return found


def purelib(venv: Path) -> Path:
    """Return the venv's site-packages."""

    return venv / TARGET.site_packages


def litter(parent: Path) -> list[str]:
    """Return what an install may not leave beside a venv: every dot-name but locks and links' records."""
    return sorted(
        entry.name
        for entry in parent.iterdir()
        if entry.name.startswith(".") and not entry.name.endswith(("-lock", ".venvoy-link"))
    )


def _resolved(wheel: Path) -> ResolvedWheel:
    name, version = wheel.name.split("-")[:2]
    return ResolvedWheel(
        name=name.replace("_", "-"),
        version=version,
        path=wheel,
        sha256=Sha256(sha256_file(wheel)),
        filename=wheel.name,
        origin="test",
        pinned=True,
    )
