"""The role repo_build on repo servers of this machine: real plays, real builds, real nginx."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.distributor.ansible.web import Nginx, balancer, free_port
from tests.service_site import ServiceSite, written
from tests.small_site import HOST, TARGET, purelib, venvoy
from tests.wheel_factory import make_wheel

COLLECTIONS = Path(__file__).parents[3] / "distributor/ansible"
VENVOY = Path(sys.executable).parent / "venvoy"
RELEASE = """
release = "{release}"
targets = ["{target}"]

[services.demo]
requirements = ["demo=={version}"]

[services.demo.checks]
commands = [["demo-manage"]]
"""
PLAY = """
- hosts: all
  gather_facts: false
  roles:
    - venvoy.venvoy.repo_build
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    name: str
    folder: Path
    port: int
    nginx: Nginx

    @property
    def store(self) -> Path:
        return self.folder / "www/venvoy"

    def variables(self) -> dict[str, Any]:
        return {
            "ansible_connection": "local",
            "ansible_host": "127.0.0.1",
            "ansible_python_interpreter": sys.executable,
            "repo_build_www": str(self.folder / "www"),
            "repo_build_work": str(self.folder / "work"),
            "repo_build_root": str(self.folder / "root.json"),
            "repo_build_state": str(self.folder / "state"),
            "repo_build_keys": str(self.folder / "keys"),
            "repo_build_nginx_config": str(self.nginx.folder / "conf.d/venvoy.conf"),
            "repo_build_nginx_listen": f"127.0.0.1:{self.port}",
            "repo_build_source_url": "http://127.0.0.1:{{ hostvars.repo1.nginx_port }}/venvoy-master",
            "repo_build_nginx_reload": [*self.nginx.command, "-s", "reload"],
            "nginx_port": self.port,
        }


class Site:
    """Repo servers, of which the first one builds; hosts fetch from one address."""

    def __init__(self, folder: Path, servers: int) -> None:
        self.folder = folder
        self.output = ""
        self.servers = []
        for number in range(1, servers + 1):
            name = f"repo{number}"
            server = Server(
                name=name, folder=folder / name, port=free_port(), nginx=Nginx(folder / name / "nginx")
            )
            server.nginx.start()
            self.servers.append(server)
        self.port = free_port()
        self.balancer = balancer(folder / "balancer", self.port, [server.port for server in self.servers])
        self.balancer.start()
        self.builder = self.servers[0]
        (folder / "play.yml").write_text(PLAY)

    def close(self) -> None:
        for server in (self.balancer, *(server.nginx for server in self.servers)):
            server.stop()

    def spec(self, release: str, version: str) -> None:
        wheels = self.builder.folder / f"www/os-releases/31.0.0/debian-12-{HOST.machine}/wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        main = f"def main():\n    print('demo', {version!r})\n".encode()
        make_wheel(
            wheels,
            "demo",
            version,
            {"demo/__init__.py": b"", "demo/main.py": main},
            entry_points={"demo-manage": "demo.main:main"},
        )
        folder = self.folder / "spec"
        folder.mkdir(exist_ok=True)
        (folder / "release.toml").write_text(RELEASE.format(release=release, version=version, target=TARGET))

    def play(self, *options: str, **variables: Any) -> dict[str, dict[str, int]]:
        """Run the role on all servers; return the figures of the recap, by server."""
        inventory = {"all": {"hosts": {server.name: server.variables() for server in self.servers}}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        given = {
            "repo_build_spec": str(self.folder / "spec/release.toml"),
            "repo_build_os_release": "31.0.0",
            "repo_build_command": [str(VENVOY)],
            "repo_build_lock": True,
            "repo_build_offline": True,
            "repo_build_init": True,
            "repo_build_pin": True,
            "repo_build_environment": {"UV_DEFAULT_INDEX": f"http://127.0.0.1:{self.builder.port}/no-index"},
            "repo_build_arguments": [f"--python={TARGET}={HOST.executable}"],
            **variables,
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ansible", "playbook", str(self.folder / "play.yml")),
                *("-i", str(self.folder / "inventory.json"), "-e", json.dumps(given), *options),
            ],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "UV_CACHE_DIR": str(self.folder / "uv"),
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.output = done.stdout + done.stderr
        assert done.returncode == 0, self.output
        return recap(done.stdout)

    def install(self, release: str, dest: Path) -> dict[str, Any]:
        done = venvoy(
            *("install", "demo", "--release", release, "--dest", dest, "--python", HOST.executable),
            *("--store", f"http://127.0.0.1:{self.port}/venvoy", "--json"),
            *("--root", self.builder.folder / "keys/root.json", "--state", self.folder / "host-state"),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def recap(output: str) -> dict[str, dict[str, int]]:
    lines = output.partition("PLAY RECAP")[2].splitlines()[1:]
    found = {}
    for line in filter(str.strip, lines):
        name, _, figures = line.partition(":")
        found[name.strip()] = {
            key: int(value) for key, value in (pair.split("=") for pair in figures.split())
        }
    return found


@pytest.fixture(params=[1, 2], ids=["one server", "two servers"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")
    made = Site(tmp_path, request.param)
    yield made
    made.close()


def files(store: Path) -> set[str]:
    return {
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_one_play_builds_publishes_and_serves(tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")
    site = Site(tmp_path, 1)
    try:
        site.spec("1.0.0", "1.0.0")
        assert site.play()["repo1"]["changed"] > 0
        assert site.install("1.0.0", tmp_path / "venv")["changed"]
    finally:
        site.close()


@pytest.mark.slow
def test_built_published_pruned_and_served(site: Site, tmp_path: Path) -> None:
    site.spec("1.0.0", "1.0.0")
    first = site.play()
    assert first["repo1"]["changed"] > 0
    document = site.install("1.0.0", tmp_path / "venv")
    assert document["changed"]
    assert (purelib(tmp_path / "venv") / "demo/main.py").is_file()
    headers = urlopen(f"http://127.0.0.1:{site.port}/venvoy/metadata/timestamp.json").headers
    assert headers["Cache-Control"] == "no-cache"
    tarball = next(iter(site.builder.store.glob("artifacts/demo/*.tar.zst"))).name
    tags = set()
    for server in site.servers:  # all have it, with one entity tag: a transfer may go on elsewhere
        headers = urlopen(f"http://127.0.0.1:{server.port}/venvoy/artifacts/demo/{tarball}").headers
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        tags.add(headers["ETag"])
        assert server.nginx.requests()
    assert len(tags) == 1

    again = site.play()
    assert {name: figures["changed"] for name, figures in again.items()} == {
        server.name: 0 for server in site.servers
    }

    # A release that nobody pins is published, and pruned at once; the one after it is pinned.
    site.spec("1.1.0", "1.1.0")
    site.play(repo_build_pin=False, repo_build_prune=False)
    assert len(list(site.builder.store.glob("artifacts/demo/*.tar.zst"))) == 2
    shutil.rmtree(site.builder.folder / "work/build")
    site.spec("1.2.0", "1.2.0")
    site.play(repo_build_prune_grace_days=0, repo_build_channel="stable")
    for server in site.servers:
        kept = {path.name.split("-")[1] for path in server.store.glob("artifacts/demo/*.tar.zst")}
        assert kept == {"1.0.0", "1.2.0"}
    assert site.install("1.2.0", tmp_path / "venv")["changed"]
    assert {name: figures["changed"] for name, figures in site.play(repo_build_channel="stable").items()} == {
        server.name: 0 for server in site.servers
    }


@pytest.mark.slow
def test_a_build_service_builds_and_the_repo_server_publishes(tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")
    service = ServiceSite(tmp_path / "service")
    site = Site(tmp_path, 1)
    try:
        with service.running():
            (tmp_path / "spec").mkdir()
            written(tmp_path / "spec", service.request("1.0.0"))
            token = service.token("read", "build")
            (tmp_path / "token").write_text(token)
            remote: dict[str, Any] = {
                "repo_build_lock": False,
                "repo_build_offline": False,
                "repo_build_arguments": [],
                "repo_build_remote": service.url,
                "repo_build_remote_token": f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/token') }}}}",
            }
            site.play("-vvv", **remote)
            kept = site.builder.folder / "work/token"
            assert (kept.read_text(), kept.stat().st_mode & 0o777) == (token, 0o600)
            assert token not in site.output
            assert "/api/v1/builds" in service.log.read_text()
            assert not (site.builder.folder / "work/cache").exists()
            assert site.install("1.0.0", tmp_path / "venv")["changed"]
            assert site.play(**remote)["repo1"]["changed"] == 0
            with pytest.raises(AssertionError, match="token"):
                site.play(**{**remote, "repo_build_remote_token": "of nobody"})
    finally:
        site.close()


@pytest.mark.slow
def test_two_servers_with_one_file_system(tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")
    site = Site(tmp_path, 2)
    try:
        shared = tmp_path / "shared"
        shared.mkdir()
        for server in site.servers:
            (server.folder / "www").symlink_to(shared)
        site.spec("1.0.0", "1.0.0")
        site.play(repo_build_shared=True)
        assert site.install("1.0.0", tmp_path / "venv")["changed"]
        assert not (site.builder.folder / "work/store/metadata").exists()
        assert all(server.nginx.requests() for server in site.servers)
    finally:
        site.close()


@pytest.mark.slow
def test_batches_are_refused_where_servers_have_file_systems_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("ansible", reason="ansible-core needs Python 3.11")
    site = Site(tmp_path, 2)
    try:
        site.spec("1.0.0", "1.0.0")
        (tmp_path / "play.yml").write_text(PLAY.replace("  gather_facts", "  serial: 1\n  gather_facts"))
        with pytest.raises(AssertionError, match="must not run in batches"):
            site.play()
    finally:
        site.close()
