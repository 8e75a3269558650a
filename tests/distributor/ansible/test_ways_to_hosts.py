"""How plays reach hosts, and what they are given: ssh, addresses, channels, system packages, archives."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifests.documents import sha256_file
from tests.distributor.ansible.playground import VENVS, Playground
from tests.distributor.ansible.ssh import ssh_host
from tests.distributor.ansible.test_collection_build import copy_of_collection
from tests.http_server import Reply, WebServer
from tests.small_site import TARGET, SmallSite, venvoy

pytestmark = pytest.mark.slow
Bare = Callable[..., contextlib.AbstractContextManager[Playground]]
VENV = VENVS / "keystone-1.0.0"


@pytest.fixture
def ground(bare: Bare) -> Iterator[Playground]:
    with bare("web1") as made:
        yield made


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelining", "without pipelining"])
def test_over_ssh(ground: Playground, prebuilt: dict[str, str], *, pipelining: bool) -> None:
    with ssh_host(ground.hosts["web1"], ground.folder / "ssh", pipelining=pipelining) as reached:
        ground.connections["web1"] = reached
        first = ground.play("keystone.yml", "-vvvv", results="first", **prebuilt)
        assert "ESTABLISH SSH CONNECTION" in first.output
        assert ground.results("first")["web1"]["tool_installed"]
        assert ground.run("web1", f"{VENV}/bin/keystone-manage") == "demo 1.0.0\n"
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        again = ground.play("keystone.yml", "--tags", "install", **prebuilt)
        assert again.changed == 0
        left = ground.inside("web1", Path("/root/.ansible/tmp"))
        assert not left.exists() or not list(left.iterdir())


def test_the_host_part_by_an_address(ground: Playground, prebuilt: dict[str, str], tool: Path) -> None:
    with WebServer() as server:
        server.replies["/venvoy.tar.gz"] = Reply(body=tool.read_bytes())
        archive = {
            "target": str(TARGET),
            "sha256": sha256_file(tool),
            "url": f"{server.url}/venvoy.tar.gz",
        }
        wrong = {**archive, "sha256": "0" * 64}
        refused = ground.play("keystone.yml", fails=True, **prebuilt, venv_tool=[wrong])
        assert "not the pinned" in refused.output
        assert not ground.inside("web1", VENV).exists()
        ground.play(
            "keystone.yml", "--check", "--tags", "install", results="told", **prebuilt, venv_tool=[archive]
        )
        assert not ground.inside("web1", Path("/opt/venvoy/current")).exists()
        ground.play("keystone.yml", results="done", **prebuilt, venv_tool=[archive])
        for name in ("told", "done"):
            assert ground.results(name)["web1"]["tool_installed"]
        asked = len(server.requests)
        assert ground.play("keystone.yml", "--tags", "install", **prebuilt, venv_tool=[archive]).changed == 0
        assert len(server.requests) == asked


CHANNEL = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Install what the channel means
      venvoy.venvoy.venv_artifact:
        service: keystone
        channel: stable
        dest: /openstack/venvs/keystone
        store: "{{ venv_artifact_store }}"
        root_content: "{{ lookup('ansible.builtin.file', venv_artifact_root, rstrip=false) }}"
        tool: "{{ venv_tool }}"
"""


def test_a_channel_by_the_module(ground: Playground, prebuilt: dict[str, str], site: SmallSite) -> None:
    for release in ("1.0.0", "1.0.1"):
        promoted = venvoy(
            *("promote", release, "stable", "--why", "tested", "--store", site.store, "--keys", site.keys)
        )
        assert promoted.returncode == 0, promoted.stderr
        foretold = ground.play(CHANNEL, "--check", "--diff", **prebuilt)
        done = ground.play(CHANNEL, "--diff", **prebuilt)
        assert foretold.changed == done.changed == 1
        for played in (foretold, done):
            assert f"+keystone=={release}" in played.output
        assert ground.play(CHANNEL, **prebuilt).changed == 0
        assert ground.run("web1", f"{VENVS}/keystone/bin/keystone-manage") == f"demo {release}\n"


def test_packages_of_the_distribution_are_linked(ground: Playground, prebuilt: dict[str, str]) -> None:
    install_debian_package(ground, "python3-venvoy-demo", "venvoy_demo")
    packages = ["python3-venvoy-demo"]
    ground.play("nova.yml", **prebuilt, nova_symlinks=packages)
    python = f"{VENVS}/nova-1.0.0/bin/python"
    said = ground.run("web1", python, "-c", "import venvoy_demo; print(venvoy_demo.WHERE)")
    assert said == "the distribution\n"
    assert ground.play("nova.yml", **prebuilt, nova_symlinks=packages).changed == 0
    missing = ground.play("nova.yml", fails=True, **prebuilt, nova_symlinks=["python3-no-such"])
    assert "python3-no-such" in missing.output
    ground.play("nova.yml", **prebuilt)
    link = (
        next(ground.inside("web1", VENVS / "nova-1.0.0").glob("lib/python3*/site-packages"))
        / "venvoy_demo.py"
    )
    assert not link.is_symlink()


def install_debian_package(ground: Playground, name: str, module: str) -> None:
    """Build a package with one module, and install it on the host as the distribution would."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg")
    tree = ground.folder / name
    place = tree / "usr/lib/python3/dist-packages"
    place.mkdir(parents=True)
    (place / f"{module}.py").write_text("WHERE = 'the distribution'\n")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        "Description: a module\n"
    )
    archive = ground.inside("web1", Path("/root/package.deb"))
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", str(tree), str(archive)], check=True, capture_output=True
    )
    ground.run("web1", "dpkg", "--install", "/root/package.deb")


BY_FULL_NAME = """
- hosts: all
  gather_facts: false
  roles:
    - role: venvoy.venvoy.python_venv_build
      vars:
        venv_install_destination_path: /openstack/venvs/keystone-1.0.0
        venv_artifact_release: 1.0.0
"""
REQUIREMENTS = """
collections:
  - name: {archive}
    type: file
"""


def test_installed_by_a_requirements_file(
    ground: Playground, prebuilt: dict[str, str], tmp_path: Path
) -> None:
    galaxy = [sys.executable, "-m", "ansible", "galaxy", "collection"]
    source = copy_of_collection(tmp_path / "source")
    subprocess.run(
        [*galaxy, "build", "--output-path", str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    (archive,) = tmp_path.glob("venvoy-venvoy-*.tar.gz")
    requirements = tmp_path / "user-collection-requirements.yml"
    requirements.write_text(REQUIREMENTS.format(archive=archive))
    ground.collections = tmp_path / "installed"
    subprocess.run(
        [*galaxy, "install", "--offline", "-r", str(requirements), "-p", str(ground.collections)],
        check=True,
        capture_output=True,
    )
    ground.play(BY_FULL_NAME, **prebuilt)
    assert ground.run("web1", f"{VENV}/bin/keystone-manage") == "demo 1.0.0\n"
    assert ground.play(BY_FULL_NAME, **prebuilt).changed == 0
