"""What the measurements need and is not timed: wheels, locks, caches, a signed store, the tools."""

from __future__ import annotations

import base64
import errno
import hashlib
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host import host_environment, host_part
from benchmarks.measure import BenchmarkError, Meter, Sample
from manifests.artifact import Artifact, Layer
from manifests.interpreter import find_interpreter
from manifests.lock import read_lock
from manifests.release_spec import read_release_spec
from manifests.target import Target

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "examples/bench/release.toml"
RELEASE = "bench"
_SMALL_WHEEL = 50_000


@dataclass(frozen=True, kw_only=True)
class Built:
    """An artifact in a build's output directory."""

    artifact: Artifact
    tarball: Path
    manifest: Path
    output: Path


class Lab:
    """The work directory, prepared. All that is costly stays there for the next run."""

    def __init__(self, work: Path, service: str, meter: Meter, note: Callable[[str], None]) -> None:
        self.work = work
        self.service = service
        self.meter = meter
        self._note = note
        self.cache = work / "cache"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("VENVOY_")
        }
        self.environment["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part
        )
        self.venvoy = _venvoy_command()
        self.tools = {name: _tool(name) for name in ("uv", "tar", "zstd", "sh")}
        self.target = read_release_spec(SPEC).targets[0]
        self.python = _interpreter(self.target)
        self.flat = work / "wheels" / service
        self.requirements = work / "wheels" / f"{service}.txt"
        self._cleared = False
        self._host: Path | None = None
        self._trash = work / "trash"
        self.empty_trash()
        self._trash.mkdir(parents=True)

    def aside(self, path: Path) -> None:
        """Take *path* out of the way, to be removed when all is measured.

        A disk's file system may slow down creating files for minutes after it deleted many (ext4
        without a journal looks at each freed inode), which would be charged to whoever comes next.
        """
        if path.exists() or path.is_symlink():
            try:
                path.rename(self._trash / secrets.token_hex(8))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                remove(path)

    def empty_trash(self) -> None:
        """Remove what was put aside."""
        remove(self._trash)

    # Ours.

    def build(
        self,
        *options: str | Path,
        services: Sequence[str],
        cache: Path,
        output: Path,
        watch: bool = False,
    ) -> Sample:
        """Run ``venvoy build``."""
        chosen = [part for name in services for part in ("-s", name)]
        places: list[str | Path] = [
            "--cache",
            cache,
            "-o",
            output,
            "--python",
            f"{self.target}={self.python}",
        ]
        command: list[str | Path] = [*self.venvoy, "build", SPEC, *chosen, *places, *options]
        return self.meter.run(command, self.environment, watch=watch)

    def venvoy_run(self, *arguments: str | Path, watch: bool = False) -> Sample:
        """Run another ``venvoy`` command."""
        return self.meter.run([*self.venvoy, *arguments], self.environment, watch=watch)

    @property
    def host_commands(self) -> Path:
        """The folder of ``venvoy`` and ``python`` as a host has them; the first look may make them."""
        if self._host is None:
            self._note("preparing an environment like a host's")
            self._host = host_part(self.work / "host", uv=self.tools["uv"], python=self.python)
        return self._host

    def host_run(self, name: str, *arguments: str | Path, watch: bool = False) -> Sample:
        """Run a command of a host's environment."""
        command = [self.host_commands / name, *arguments]
        return self.meter.run(command, host_environment(self.environment), watch=watch)

    def probe(self, *arguments: str | Path) -> Sample:
        """Run a part of Venvoy in a process of its own; see ``benchmarks.probes``."""
        return self.meter.run([sys.executable, "-m", "benchmarks.probes", *arguments], self.environment)

    def prepare_wheels(self, *, every_service: bool) -> None:
        """Have the wheels of the service, or of all, in our cache, by a build from the package index."""
        self._clear_if_code_changed()
        name = "all" if every_service else self.service
        self._note(f"preparing the wheels of {name} (downloads what the cache lacks)")
        services = () if every_service else (self.service,)
        self.build(services=services, cache=self.cache, output=self.work / "built" / name)

    def built(self) -> Built:
        """Return the artifact of the service, building it where the caches lack something."""
        self._clear_if_code_changed()
        output = self.work / "built" / self.service
        self.build(services=(self.service,), cache=self.cache, output=output)
        return read_built(output)

    def cold_cache(self) -> Path:
        """Return a second cache with the same wheels and no layers."""
        root = self.work / "cold"
        remove(root)
        shutil.copytree(self.cache / "wheels", root / "wheels", copy_function=os.link)
        if (self.cache / "built").is_dir():
            shutil.copytree(self.cache / "built", root / "built")
        return root

    def variant(self, built: Built) -> Variant:
        """Return a lock in which one small pure wheel has another digest, and that wheel."""
        old = min(
            (layer for layer in built.artifact.layers if layer.wheel.endswith("-none-any.whl")),
            key=lambda layer: abs(self._wheel(layer).stat().st_size - _SMALL_WHEEL),
        )
        folder = self.work / "variant"
        remove(folder)
        (folder / "locks").mkdir(parents=True)
        wheel = folder / old.wheel
        _changed_wheel(self._wheel(old), wheel)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        for lock in (SPEC.parent / "locks").glob(f"pylock.{self.service}-*.toml"):
            lines = [
                re.sub(
                    r"size = \d+",
                    f"size = {wheel.stat().st_size}",
                    line.replace(str(old.wheel_sha256), digest),
                )
                if str(old.wheel_sha256) in line
                else line
                for line in lock.read_text(encoding="utf-8").splitlines()
            ]
            copy = folder / "locks" / lock.name
            copy.write_text("\n".join(lines) + "\n", encoding="utf-8")
            read_lock(copy, self.target)
        variant = Variant(wheel=wheel, locks=folder / "locks", digest=digest, blob=folder, facts=folder)
        output = folder / "out"
        self.build(
            "--lock-dir", variant.locks, "--wheels", folder,
            services=(self.service,), cache=self.cache, output=output,
        )  # fmt: skip
        layer = next(layer for layer in read_built(output).artifact.layers if layer.wheel_sha256 == digest)
        for blob in (self.cache / "layers").glob("*/*.bin"):
            if blob.stat().st_size == layer.length and _sha256(blob) == layer.sha256:
                return Variant(
                    wheel=wheel,
                    locks=variant.locks,
                    digest=digest,
                    blob=blob,
                    facts=blob.with_suffix(".json"),
                )
        raise BenchmarkError("the changed wheel's layer is not in the layer cache")

    def store(self, built: Built) -> None:
        """Have a signed store in which the release pins the artifact."""
        store, keys = self.work / "store", self.work / "keys"
        if (store / built.artifact.tarball_path).is_file() and (keys / "root.json").is_file():
            return
        remove(store)
        remove(keys)
        self._note("preparing a signed store")
        self.venvoy_run("init", store, "--keys", keys)
        self.venvoy_run("publish", built.output, "--store", store, "--keys", keys)
        self.venvoy_run("pin", RELEASE, built.output, "--store", store, "--keys", keys)

    def install(self, destination: Path, state: Path, *, watch: bool = False) -> Sample:
        """Run ``venvoy install`` from the store."""
        return self.host_run(
            "venvoy", "install", self.service, "--release", RELEASE, "--dest", destination, "--state", state,
            "--store", self.work / "store", "--root", self.work / "keys/root.json", "--python", self.python,
            watch=watch,
        )  # fmt: skip

    # Peers.

    def peers_environment(self, uv_cache: Path) -> dict[str, str]:
        """Return an environment in which nobody's settings reach uv and pip."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "UV_", "VENVOY_", "PYTHON", "VIRTUAL_ENV", "SOURCE_DATE_EPOCH"))
        }
        return {
            **kept,
            "UV_CACHE_DIR": str(uv_cache),
            "UV_NO_CONFIG": "1",
            "UV_OFFLINE": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def prepare_peers(self, built: Built) -> None:
        """Lay the artifact's very wheels into a flat directory, and their names into a requirements file."""
        remove(self.flat)
        self.flat.mkdir(parents=True)
        lines = []
        for layer in built.artifact.layers:
            if layer.wheel:
                os.link(self._wheel(layer), self.flat / layer.wheel)
                lines.append(f"{layer.distribution}=={layer.version}\n")
        self.requirements.write_text("".join(lines), encoding="utf-8")

    def warm_uv(self, uv_cache: Path) -> None:
        """Let uv unpack all wheels into its cache."""
        self._note("warming uv's cache")
        tree = uv_cache.with_name(f"{uv_cache.name}-warm")
        self.shell(self.uv_install(tree, "--link-mode copy", compiled=False), uv_cache)
        self.aside(tree)

    def uv_install(self, tree: Path, options: str = "", *, compiled: bool = True) -> str:
        """Return shell commands that install all wheels into a fresh venv *tree* with uv."""
        compiling = "--compile-bytecode" if compiled else ""
        uv = quoted(self.tools["uv"])
        return (
            f"{uv} venv -q --relocatable --python {quoted(self.python)} {quoted(tree)}\n"
            f"{uv} pip install -q --python {quoted(tree / 'bin/python')} --no-deps --no-index"
            f" --find-links {quoted(self.flat)} {compiling} {options} -r {quoted(self.requirements)}\n"
        )

    def uv_pipeline(self, tree: Path, tarball: Path) -> str:
        """Return shell commands that make a tarball of a relocatable venv with uv, tar and zstd."""
        pack = f"{quoted(self.tools['tar'])} -C {quoted(tree)} -cf - ."
        return (
            f"{self.uv_install(tree)}{pack} | {quoted(self.tools['zstd'])} -3 -T0 -q -o {quoted(tarball)}\n"
        )

    def pip_pipeline(self, tree: Path, tarball: Path) -> str:
        """Return shell commands that make a tarball with pip and venv-pack."""
        pip = f"{quoted(Path(sys.executable))} -m pip"
        return (
            f"{quoted(self.python)} -m venv --without-pip {quoted(tree)}\n"
            f"{pip} -q --python {quoted(tree / 'bin/python')} install --no-deps --no-index"
            f" --find-links {quoted(self.flat)} -r {quoted(self.requirements)}\n"
            f"{quoted(Path(sys.executable))} -m venv_pack -q -p {quoted(tree)} -o {quoted(tarball)}\n"
        )

    def shell(self, script: str, uv_cache: Path) -> Sample:
        """Run a peer's commands."""
        return self.meter.run([self.tools["sh"], "-ec", script], self.peers_environment(uv_cache))

    def _wheel(self, layer: Layer) -> Path:
        digest = str(layer.wheel_sha256)
        return self.cache / "wheels" / digest[:2] / digest / layer.wheel

    def _clear_if_code_changed(self) -> None:
        """Forget layers and artifacts that another state of the code made."""
        if self._cleared:
            return
        self._cleared = True
        digest = hashlib.sha256()
        for folder in ("builder", "manifests", "examples/bench"):
            for path in sorted((ROOT / folder).rglob("*")):
                if path.suffix in (".py", ".toml", "") and path.is_file():
                    digest.update(path.read_bytes())
        stamp = self.work / "code.sha256"
        if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
            for name in ("cache/layers", "built", "store", "keys", "variant"):
                remove(self.work / name)
            stamp.write_text(digest.hexdigest())


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A lock with one changed wheel: that wheel, and where its layer lies in the cache."""

    wheel: Path
    locks: Path
    digest: str
    blob: Path
    facts: Path


def read_built(output: Path) -> Built:
    """Return the one artifact in *output*."""
    manifests = list(output.glob("artifacts/*/*.json"))
    if len(manifests) != 1:
        raise BenchmarkError(f"a build left {len(manifests)} artifacts instead of one")
    artifact = Artifact.from_json(manifests[0].read_bytes())
    tarball = output / artifact.tarball_path
    if tarball.stat().st_size != artifact.length or artifact.compiled_by is None:
        raise BenchmarkError("a build left an artifact that is not whole, or has no compiled files")
    return Built(artifact=artifact, tarball=tarball, manifest=manifests[0], output=output)


def remove(path: Path) -> None:
    """Remove a file or tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def quoted(path: Path) -> str:
    """Return *path* for a shell."""
    return shlex.quote(str(path))


def require_packers() -> None:
    """Raise BenchmarkError where pip or venv-pack is not in this environment."""
    for module, package in (("pip", "pip"), ("venv_pack", "venv-pack")):
        if importlib.util.find_spec(module) is None:
            raise BenchmarkError(f"{package} is not installed beside Venvoy: install the group 'bench'")


def _venvoy_command() -> list[Path | str]:
    script = Path(sysconfig.get_path("scripts")) / "venvoy"
    return [script] if script.is_file() else [sys.executable, "-m", "venvoy"]


def _tool(name: str) -> Path:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise BenchmarkError(f"{name} is not on this machine")
    return Path(found)


def _interpreter(target: Target) -> Path:
    found = find_interpreter(target)
    if found is None or not found.is_native(target):
        raise BenchmarkError(f"there is no {target.python_name} for {target} on this machine")
    return found.executable


def _changed_wheel(source: Path, destination: Path) -> None:
    """Write the wheel again with a comment in one module and RECORD to match."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(destination, "w", zipfile.ZIP_DEFLATED) as new:
        names = [name for name in old.namelist() if not name.endswith("/")]
        changed = next(name for name in names if name.endswith(".py") and old.getinfo(name).file_size > 200)
        content = old.read(changed) + b"\n# changed\n"
        row = _record_row(changed, content)
        for name in names:
            data = content if name == changed else old.read(name)
            if name.endswith(".dist-info/RECORD"):
                rows = data.decode("utf-8").splitlines()
                data = (
                    "\n".join(row if line.startswith(f"{changed},") else line for line in rows).encode()
                    + b"\n"
                )
            new.writestr(old.getinfo(name), data, zipfile.ZIP_DEFLATED)


def _record_row(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
    return f"{name},sha256={digest},{len(content)}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
