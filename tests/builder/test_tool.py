"""Venvoy's host part as an artifact: what is in it, and that a bare host needs no more than tar and sh."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from builder.tool.host_wheel import host_requirements, make_host_wheel
from builder.wheels.check import check_wheel
from manifests import __version__
from manifests.errors import NotFound
from manifests.target import Target
from tests.builder.interpreters import executable, target_of
from tests.small_site import SmallSite, venvoy
from tests.wheel_factory import make_wheel, sha256

TARGET = str(target_of())
HOST = ("click", "packaging", "securesystemslib", "tuf", "zstandard")
WEB = ("requests", "urllib3", "certifi", "charset-normalizer", "idna")


def test_the_host_wheel_is_the_host_part_and_the_same_each_time(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (make_host_wheel(folder) for folder in folders)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "distributor",
        "manifests",
        "venvoy.py",
        f"venvoy-{__version__}.dist-info",
    }
    assert "distributor/bundles/bootstrap" in names
    assert not [name for name in names if name.endswith(".pyc")]
    check_wheel(first, origin="the test")


def test_requirements_are_those_of_the_target() -> None:
    plain = host_requirements(Target.parse("cp311-linux_x86_64-glibc2.36"), ())
    assert {text.partition(">")[0] for text in plain} == {
        "click",
        "packaging",
        "securesystemslib",
        "tuf",
        "zstandard",
    }
    more = host_requirements(Target.parse("cp311-linux_x86_64-glibc2.36"), ("http",))
    assert {text.partition(">")[0] for text in set(more) - set(plain)} == {"requests", "urllib3"}
    with pytest.raises(NotFound, match="no extra 'https'"):
        host_requirements(Target.parse("cp311-linux_x86_64-glibc2.36"), ("https",))


def installed_wheel(folder: Path, name: str) -> Path:
    """Pack a distribution of this environment into a wheel again."""
    distribution = metadata.distribution(name)
    files = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in distribution.files or ()
        if file.suffix != ".pyc" and ".dist-info" not in str(file) and ".." not in str(file)
    }
    compiled = any(path.endswith(".so") for path in files)
    tag = f"{target_of().interpreter}-{target_of().interpreter}-linux_{target_of().machine}"
    return make_wheel(
        folder,
        name.replace("-", "_"),
        distribution.version,
        files,
        tag=tag if compiled else "py3-none-any",
        root_is_purelib=not compiled,
    )


def lock(folder: Path, wheels: list[Path]) -> None:
    text = 'lock-version = "1.0"\ncreated-by = "hand"\n'
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        text += (
            f'\n[[packages]]\nname = "{name.replace("_", "-")}"\nversion = "{version}"\nwheels = [{{ '
            f'url = "https://files.example.org/{wheel.name}", size = {wheel.stat().st_size}, '
            f'hashes = {{ sha256 = "{sha256(wheel)}" }} }}]\n'
        )
    folder.mkdir()
    (folder / f"pylock.venvoy-host-{TARGET.replace('.', '_')}.toml").write_text(text)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the host part from what is installed here, without a network; return the output."""
    root = tmp_path_factory.mktemp("tool")
    lock(root / "locks", [installed_wheel(root / "wheels", name) for name in (*HOST, *WEB)])
    done = venvoy(
        *("tool", "-t", TARGET, "--python", f"{TARGET}={executable()}", "--offline"),
        *("-o", root / "build", "--lock-dir", root / "locks", "--wheels", root / "wheels"),
        *("--cache", root / "cache", "--json"),
    )
    assert done.returncode == 0, done.stderr
    (value,) = json.loads(done.stdout)["artifacts"]
    assert (value["service"], value["version"]) == ("venvoy-host", __version__)
    assert hashlib.sha256(Path(value["tarball"]).read_bytes()).hexdigest() == value["sha256"]
    return root / "build"


def bare(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this environment but the system's tools."""
    return subprocess.run(
        command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False, **options
    )


def test_a_bare_host_unpacks_and_binds_it(build: Path, tmp_path: Path) -> None:
    (tarball,) = build.glob("artifacts/venvoy-host/*.tar.gz")
    place = tmp_path / "a place"
    place.mkdir()
    assert bare("tar", "-xzf", tarball, "-C", place).returncode == 0
    assert bare(place / "bin/venvoy-bind", executable()).returncode == 0
    said = bare(place / "bin/venvoy", "--version", cwd="/")
    assert said.stdout == f"venvoy, version {__version__}\n", said.stderr
    said = bare(place / "bin/venvoy", "lock")
    assert said.returncode == 1
    assert "needs builder" in said.stderr


@pytest.fixture(scope="module")
def bundle(build: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallSite, Path]:
    """Return a site with the host part and a release, and a bundle of both."""
    root = tmp_path_factory.mktemp("site")
    site = SmallSite(root)
    site.release("1.0.0")
    export = (
        *("export", "1.0.0", "-o", root / "1.bundle", "--with-tool", "--store", site.store),
        *("--root", site.root, "--state", root / "state", "--json"),
    )
    lacking = venvoy(*export)
    assert (lacking.returncode, "venvoy tool" in lacking.stderr) == (5, True)
    published = venvoy("publish", build, "--store", site.store, "--keys", site.keys, "--json")
    assert published.returncode == 0, published.stderr
    done = venvoy(*export)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    path = Path(document["bundle"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == document["sha256"]
    return site, path


def bootstrap(bundle: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    assert bare("tar", "-xf", bundle, "tool", "artifacts/venvoy-host", cwd=folder).returncode == 0
    return bare("sh", "tool/bootstrap", *arguments, cwd=folder)


def test_a_bare_host_starts_from_a_bundle_and_installs(
    bundle: tuple[SmallSite, Path], tmp_path: Path
) -> None:
    site, path = bundle
    tool = tmp_path / "opt/venvoy"
    done = bootstrap(path, tmp_path / "unpacked", tool, executable())
    assert done.returncode == 0, done.stderr
    assert sorted(entry.name for entry in tool.parent.iterdir()) == ["venvoy"]
    dest = tmp_path / "demo"
    installed = bare(
        *(tool / "bin/venvoy", "install", "demo", "--release", "1.0.0", "--dest", dest, "--bundle", path),
        *("--root", site.root, "--state", tmp_path / "state"),
    )
    assert installed.returncode == 0, installed.stderr
    assert bare(dest / "bin/demo-manage").stdout == "demo 1.0.0\n"
    again = bare("sh", "tool/bootstrap", tool, executable(), cwd=tmp_path / "unpacked")
    assert (again.returncode, "is there already" in again.stderr) == (9, True)


def test_a_damaged_host_part_is_not_unpacked(bundle: tuple[SmallSite, Path], tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    assert bootstrap(bundle[1], folder).returncode == 2
    (tarball,) = folder.glob("artifacts/venvoy-host/*.tar.gz")
    data = bytearray(tarball.read_bytes())
    data[len(data) // 2] ^= 1
    tarball.write_bytes(data)
    done = bare("sh", "tool/bootstrap", tmp_path / "opt/venvoy", executable(), cwd=folder)
    assert done.returncode == 3
    assert "is damaged" in done.stderr
    assert not list((tmp_path / "opt").glob("*"))


def test_another_store_gets_the_host_part_too(bundle: tuple[SmallSite, Path], tmp_path: Path) -> None:
    site, path = bundle
    done = venvoy(
        *("import", path, "--store", tmp_path / "store", "--root", site.root, "--state", tmp_path / "state"),
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "store/artifacts/venvoy-host").glob("*.tar.gz"))
    assert not (tmp_path / "store/tool").exists()
