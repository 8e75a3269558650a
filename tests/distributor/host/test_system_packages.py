"""System packages become links: asked of a real dpkg, with packages that are built and installed here."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath

import pytest

from distributor.host import system_packages
from distributor.host.installed_tree import compare
from distributor.host.staged_tree import binding_of
from distributor.host.system_packages import find_links, link_problems, make_links
from manifests.errors import HostUnsuitable, Refused
from manifests.interpreter import Interpreter, probe
from manifests.layout import RECEIPT
from manifests.receipt import read_receipt
from tests.small_site import SmallSite, purelib

HOST = dataclasses.replace(probe(Path(sys.executable)), python=(3, 11), abi_flags="")
SITE = PurePath("lib/python3.11/site-packages")
DIST = "usr/lib/python3/dist-packages"
TAG = "cpython-311-x86_64-linux-gnu"
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg is not installed")
needs_rpm = pytest.mark.skipif(shutil.which("rpmbuild") is None, reason="rpmbuild is not installed")


class DpkgHost:
    """A host below *root* whose dpkg database is its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._work = root.parent / "packages"
        for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()

    def install(self, name: str, files: Mapping[str, str]) -> None:
        tree = self._work / name
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
        (tree / "DEBIAN").mkdir(mode=0o755)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1.0\nArchitecture: all\n"
            "Maintainer: A <a@example.org>\nDescription: x\n"
        )
        package = self._work / f"{name}.deb"
        self._run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(package))
        self._dpkg("--install", str(package))

    def remove(self, name: str) -> None:
        self._dpkg("--remove", name)

    def links(self, *names: str, interpreter: Interpreter = HOST) -> dict[str, str]:
        """Return the links with the ends that all have in common left out."""
        found = find_links(names, SITE, interpreter, root=self.root)
        prefix = f"{self.root}/usr/lib/"
        assert all(path.startswith(f"{SITE}/") and to.startswith(prefix) for path, to in found.items())
        return {path.removeprefix(f"{SITE}/"): to.removeprefix(prefix) for path, to in found.items()}

    def _dpkg(self, *arguments: str) -> None:
        self._run(
            *("dpkg", f"--root={self.root}", "--log=/dev/null"),
            *("--force-not-root", "--force-script-chrootless", *arguments),
        )

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def host(tmp_path: Path) -> DpkgHost:
    return DpkgHost(tmp_path / "host")


@needs_dpkg
def test_modules_packages_and_metadata_become_one_link_each(host: DpkgHost) -> None:
    host.install(
        "python3-guestfs",
        {
            f"{DIST}/guestfs.py": "",
            f"{DIST}/libguestfsmod.{TAG}.so": "",
            f"{DIST}/stable.abi3.so": "",
            f"{DIST}/guest/__init__.py": "",
            f"{DIST}/guest/deep/data.txt": "",
            f"{DIST}/guestfs-1.0.egg-info/PKG-INFO": "",
            f"{DIST}/flat-1.0.egg-info": "",
            f"{DIST}/evil.pth": "import os",
            f"{DIST}/README.txt": "",
            f"{DIST}/__pycache__/guestfs.cpython-311.pyc": "",
            "usr/share/doc/python3-guestfs/README": "",
        },
    )
    names = [
        *("flat-1.0.egg-info", "guest", "guestfs-1.0.egg-info", "guestfs.py"),
        *(f"libguestfsmod.{TAG}.so", "stable.abi3.so"),
    ]
    assert host.links("python3-guestfs") == {name: f"python3/dist-packages/{name}" for name in names}


@needs_dpkg
def test_folders_of_one_python_version_serve_that_one_alone(host: DpkgHost) -> None:
    files = {"usr/lib64/python3.11/site-packages/a.py": "", "usr/lib/python3.11/dist-packages/b.py": ""}
    host.install("python3-a", files)
    assert find_links(["python3-a"], SITE, HOST, root=host.root) == {
        f"{SITE}/{Path(path).name}": str(host.root / path) for path in files
    }
    other = dataclasses.replace(HOST, python=(3, 12))
    with pytest.raises(HostUnsuitable) as caught:
        host.links("python3-a", interpreter=other)
    assert str(caught.value) == (
        "system package python3-a is for Python 3.11, the venv is for 3.12: "
        "'apt install' one for it, or bind the venv to another Python (--python)"
    )


@needs_dpkg
def test_a_namespace_is_entered_and_shared(host: DpkgHost, tmp_path: Path) -> None:
    host.install("python3-ns-a", {f"{DIST}/ns/a/__init__.py": "", f"{DIST}/ns/flat.py": ""})
    host.install("python3-ns-b", {f"{DIST}/ns/b/__init__.py": ""})
    both = host.links("python3-ns-a", "python3-ns-b")
    assert sorted(both) == ["ns/a", "ns/b", "ns/flat.py"]
    assert sorted(host.links("python3-ns-b")) == ["ns/b"]
    staged = tmp_path / "staged"
    (staged / SITE / "ns/own").mkdir(parents=True)
    links = find_links(["python3-ns-a", "python3-ns-b"], SITE, HOST, root=host.root)
    assert make_links(staged, links) == links
    assert sorted(entry.name for entry in (staged / SITE / "ns").iterdir()) == ["a", "b", "flat.py", "own"]
    assert (staged / SITE / "ns/a/__init__.py").is_file()


@needs_dpkg
def test_a_package_that_adds_to_another_ones_folder_comes_with_it(host: DpkgHost) -> None:
    host.install("python3-base", {f"{DIST}/base/__init__.py": ""})
    host.install("python3-base-more", {f"{DIST}/base/more/x.py": ""})
    whole = {"base": "python3/dist-packages/base"}
    assert host.links("python3-base", "python3-base-more") == whole
    assert host.links("python3-base-more") == whole


@needs_dpkg
def test_what_is_not_installed_says_how_to_install_it(host: DpkgHost) -> None:
    host.install("python3-gone", {f"{DIST}/gone.py": ""})
    host.remove("python3-gone")
    for name in ("python3-never-was", "python3-gone"):
        with pytest.raises(HostUnsuitable) as caught:
            host.links(name)
        assert str(caught.value) == f"system package {name} is not installed: 'apt install {name}'"


@needs_dpkg
def test_an_extension_for_another_python_is_refused(host: DpkgHost) -> None:
    host.install("python3-old", {f"{DIST}/old/__init__.py": "", f"{DIST}/old/_c.cpython-310-x86_64.so": ""})
    with pytest.raises(HostUnsuitable) as caught:
        host.links("python3-old")
    assert str(caught.value) == (
        "system package python3-old is for cpython-310, the venv for cpython-311 (old/_c): "
        "'apt install' one for Python 3.11, or bind the venv to another (--python)"
    )
    with pytest.raises(HostUnsuitable, match="the venv for cpython-310d"):
        host.links("python3-old", interpreter=dataclasses.replace(HOST, python=(3, 10), abi_flags="d"))


@needs_dpkg
def test_of_an_extension_in_several_forms_the_fitting_one_is_linked(host: DpkgHost) -> None:
    host.install("python3-two", {f"{DIST}/m.cpython-310-x86_64.so": "", f"{DIST}/m.{TAG}.so": ""})
    assert list(host.links("python3-two")) == [f"m.{TAG}.so"]


@needs_dpkg
def test_a_package_without_modules_or_with_lost_ones_is_refused(host: DpkgHost) -> None:
    host.install("plain", {"usr/share/x": ""})
    with pytest.raises(HostUnsuitable, match=r"plain has no Python module, the venv is for 3\.11"):
        host.links("plain")
    host.install("python3-lost", {f"{DIST}/lost.py": ""})
    (host.root / DIST / "lost.py").unlink()
    with pytest.raises(HostUnsuitable, match=r"damaged: /usr/lib/.*lost\.py is gone; 'apt install --reinst"):
        host.links("python3-lost")


@needs_dpkg
@pytest.mark.parametrize("name", ["--root=/x", "a*", "", "a b", "-L"])
def test_hostile_names_reach_no_tool(host: DpkgHost, name: str) -> None:
    with pytest.raises(HostUnsuitable, match="cannot name a system package"):
        host.links(name)


def test_no_names_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_packages, "_TOOLS", "/nonexistent")
    assert find_links([], SITE, HOST) == {}
    with pytest.raises(HostUnsuitable, match="with dpkg or rpm; this one has neither"):
        find_links(["python3-x"], SITE, HOST)


def test_a_tool_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "dpkg-query"
    tool.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    tool.chmod(0o755)
    monkeypatch.setattr(system_packages, "_TOOLS", str(tmp_path))
    monkeypatch.setattr(system_packages, "_SECONDS", 0.2)
    with pytest.raises(HostUnsuitable, match=r"dpkg-query did not answer within 0\.2 seconds"):
        find_links(["python3-x"], SITE, HOST)


@needs_rpm
def test_a_real_rpm_is_asked_where_dpkg_has_nothing(tmp_path: Path) -> None:
    root, module = tmp_path / "host", "/usr/lib64/python3.11/site-packages/libvirt.py"
    root.mkdir()
    spec = tmp_path / "x.spec"
    spec.write_text(
        "Name: python3-libvirt\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n"
        f"%description\nx\n%install\nmkdir -p %{{buildroot}}{Path(module).parent}\n"
        f"echo > %{{buildroot}}{module}\n%files\n{module}\n"
    )
    build = [
        "rpmbuild",
        "-bb",
        "--define",
        f"_topdir {tmp_path}/top",
        "--define",
        "__brp_python_bytecompile %nil",
    ]
    subprocess.run([*build, str(spec)], check=True, capture_output=True)
    package = next((tmp_path / "top").rglob("*.rpm"))
    install = ["rpm", "--root", str(root), "--install", "--nodeps", "--ignoreos", str(package)]
    subprocess.run(install, check=True, capture_output=True)
    links = find_links(["python3-libvirt"], SITE, HOST, root=root)
    assert links == {f"{SITE}/libvirt.py": f"{root}{module}"}
    with pytest.raises(HostUnsuitable, match="python3-no is not installed: 'dnf install python3-no'"):
        find_links(["python3-no"], SITE, HOST, root=root)


def test_what_rpm_prints_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool is played by a script here; the test above asks a real one where there is one."""
    module = "/usr/lib64/python3.11/site-packages/libvirt.py"
    (tmp_path / "root" / module.lstrip("/")).parent.mkdir(parents=True)
    (tmp_path / "root" / module.lstrip("/")).touch()
    tool = tmp_path / "rpm"
    tool.write_text(
        '#!/bin/sh\n[ "$1 $2 $3 $4 $5" = "--root $ROOT -q -l --" ] || exit 9\n'.replace(
            "$ROOT", str(tmp_path / "root")
        )
        + f'[ "$6" = python3-libvirt ] && [ "$LC_ALL" = C ] && echo {module} && exit\n'
        + 'echo "package $6 is not installed"; exit 1\n'
    )
    tool.chmod(0o755)
    monkeypatch.setattr(system_packages, "_TOOLS", str(tmp_path))
    links = find_links(["python3-libvirt"], SITE, HOST, root=tmp_path / "root")
    assert links == {f"{SITE}/libvirt.py": f"{tmp_path}/root{module}"}
    with pytest.raises(HostUnsuitable, match="python3-no is not installed: 'dnf install python3-no'"):
        find_links(["python3-no"], SITE, HOST, root=tmp_path / "root")


def test_a_path_that_the_venv_owns_is_refused_by_name(tmp_path: Path) -> None:
    host, staged = tmp_path / "host", tmp_path / "staged"
    (host / "yaml").mkdir(parents=True)
    (host / "yaml/__init__.py").touch()
    (host / "six.py").touch()
    (staged / "yaml").mkdir(parents=True)
    (staged / "yaml/__init__.py").write_text("own\n")
    (staged / "six.py").write_text("own\n")
    with pytest.raises(Refused) as caught:
        make_links(staged, {"yaml": f"{host}/yaml", "six.py": f"{host}/six.py"})
    assert str(caught.value) == (
        f"wheels and system packages both bring six.py (the host's {host}/six.py), yaml/__init__.py "
        f"(the host's {host}/yaml/__init__.py): the spec must leave one of them out"
    )
    assert (staged / "six.py").read_text() == "own\n"


def test_a_folder_that_both_have_is_merged_below(tmp_path: Path) -> None:
    host, staged = tmp_path / "host", tmp_path / "staged"
    for name in ("theirs.py", "both/deep.py", "x.pth", "__pycache__/theirs.pyc"):
        (host / "ns" / name).parent.mkdir(parents=True, exist_ok=True)
        (host / "ns" / name).touch()
    (staged / "ns/both").mkdir(parents=True)
    made = make_links(staged, {"ns": f"{host}/ns"})
    assert made == {"ns/both/deep.py": f"{host}/ns/both/deep.py", "ns/theirs.py": f"{host}/ns/theirs.py"}
    assert not (staged / "ns").is_symlink()


def test_a_link_planted_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "host/pkg").mkdir(parents=True)
    (tmp_path / "host/pkg/a.py").touch()
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged/pkg").symlink_to(tmp_path / "outside")
    with pytest.raises(Refused):
        make_links(tmp_path / "staged", {"pkg": str(tmp_path / "host/pkg")})
    assert list((tmp_path / "outside").iterdir()) == []


def test_altered_missing_and_dangling_links_are_told(tmp_path: Path) -> None:
    venv, host = tmp_path / "venv", tmp_path / "host"
    venv.mkdir()
    host.mkdir()
    names = ("fine", "altered", "missing", "gone", "file")
    links = {name: str(host / name) for name in names}
    for name in names:
        (host / name).touch()
    make_links(venv, links)
    assert link_problems(venv, links) == []
    (venv / "altered").unlink()
    (venv / "altered").symlink_to("/etc")
    (venv / "missing").unlink()
    (venv / "file").unlink()
    (venv / "file").touch()
    (host / "gone").unlink()
    assert link_problems(venv, links) == ["altered", "file", f"gone -> {host}/gone (gone)", "missing"]


def test_verify_holds_links_against_the_receipt(tmp_path: Path) -> None:
    site = SmallSite(tmp_path / "site")
    site.release("1.0.0")
    venv, host = tmp_path / "demo", tmp_path / "host"
    site.install("1.0.0", venv)
    (host / "guest").mkdir(parents=True)
    (host / "guest/__init__.py").touch()
    (host / "guestfs.py").write_text("NAME = 'guestfs'\n")
    packages = str(purelib(venv).relative_to(venv))
    links = {f"{packages}/{name}": str(host / name) for name in ("guest", "guestfs.py")}
    assert make_links(venv, links) == links
    receipt = read_receipt(venv)
    assert receipt is not None
    receipt = dataclasses.replace(receipt, system_links=links)
    (venv / RECEIPT).write_bytes(receipt.to_json())
    assert read_receipt(venv) == receipt
    done = subprocess.run(
        [venv / "bin/python", "-c", "import guest, guestfs; print(guestfs.NAME)"],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "guestfs\n"
    assert (purelib(venv) / "__pycache__").is_dir()  # python's own, for the linked module
    assert compare(venv, receipt, binding_of(receipt)).clean
    (purelib(venv) / "guest").unlink()
    (host / "guestfs.py").unlink()
    found = compare(venv, receipt, binding_of(receipt))
    assert found.binding == (f"{packages}/guest", f"{packages}/guestfs.py -> {host}/guestfs.py (gone)")
    assert (found.added, found.missing, found.altered) == ((), (), ())
