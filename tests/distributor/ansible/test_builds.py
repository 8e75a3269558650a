"""Without a store of prebuilt venvs: built on the build host, once, and installed from there."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.interpreter import probe
from tests.distributor.ansible.conftest import serving
from tests.distributor.ansible.playground import VENVS, Playground
from tests.distributor.ansible.simple_index import own_wheel, simple_index
from tests.small_site import PROJECT

pytestmark = pytest.mark.slow
Bare = Callable[..., contextlib.AbstractContextManager[Playground]]
STORE = Path("/var/www/repo/venvoy")
WORK = Path("/var/lib/venvoy-build")


@contextlib.contextmanager
def built_site(ground: Playground, folder: Path, *, extra: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """Yield the variables of a site that has a build host, with an index and a web server for its store."""
    wheels = [
        *(own_wheel(folder / "wheels", "keystone", version) for version in ("1.0.0", "1.1.0")),
        own_wheel(folder / "wheels", "six", "1.17.0"),
        *(own_wheel(folder / "wheels", name, "1.0.0") for name in extra),
    ]
    store = ground.inside("repo1", STORE)
    store.mkdir(parents=True)
    with simple_index(folder / "index", wheels) as index, serving(store) as address:
        yield {
            "where": "all:!repo1",
            "venv_build_host": "repo1",
            "venv_build_store_path": str(STORE),
            "venv_build_store_url": address,
            "venv_build_work_path": str(WORK),
            "venv_build_host_venv_path": str(PROJECT / ".venv"),
            "venv_pip_build_args": f"--index-url {index}",
            "venv_pip_upgrade_noconf": True,
            "keystone_constraints": ["keystone==1.0.0", "# a comment"],
        }


def builds(ground: Playground) -> dict[str, int]:
    """Return how often each target was built."""
    records = [json.loads(path.read_text()) for path in ground.inside("repo1", WORK).glob("*/record.json")]
    found: dict[str, int] = {}
    for record in records:
        found[record["target"]] = found.get(record["target"], 0) + record["builds"]
    return found


def test_built_once_for_twenty_hosts_in_batches_and_two_plays(bare: Bare, tmp_path: Path) -> None:
    names = [f"web{number}" for number in range(1, 21)]
    with bare("repo1", *names) as ground, built_site(ground, tmp_path) as variables:
        options = ("--tags", "install", "--forks", "20")
        halves = [":".join(names[:10]), ":".join(names[10:])]
        plays = [
            ground.start("keystone.yml", *options, **{**variables, "where": where, "batches": ["1", "100%"]})
            for where in halves
        ]
        outputs = [play.communicate()[0] for play in plays]
        assert [play.returncode for play in plays] == [0, 0], "\n".join(outputs)
        assert list(builds(ground).values()) == [1]
        for name in names:
            assert ground.run(name, f"{VENVS}/keystone-1.0.0/bin/keystone-manage") == "keystone 1.0.0\n"
        assert ground.play("keystone.yml", *options, **variables).changed == 0
        assert list(builds(ground).values()) == [1]


def test_another_python_rebuilds_and_wheels_of_the_build_host(bare: Bare, tmp_path: Path) -> None:
    installed = Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12")
    other = next(iter(sorted(map(str, installed))), None) or shutil.which("python3.12")
    if other is None:
        pytest.skip("needs a Python 3.12 beside the one that runs the tests")
    with bare("repo1", "web1", "web2") as ground, built_site(ground, tmp_path) as variables:
        ground.play("keystone.yml", **{**variables, "where": "web1"})
        ground.play("keystone.yml", **{**variables, "where": "web2", "venv_python_executable": other})
        assert sorted(builds(ground).values()) == [1, 1]
        version = ground.run("web2", f"{VENVS}/keystone-1.0.0/bin/python", "-V")
        assert version == f"Python {probe(Path(other)).version}\n"
        assert "bin/pip" in ground.run("web2", "ls", "-d", f"{VENVS}/keystone-1.0.0/bin/pip")
        # Another constraint is another artifact; one that only the build host has is found there.
        wheels = tmp_path / "own"
        own_wheel(wheels, "keystone", "1.2.0")
        later = {**variables, "where": "web1", "keystone_constraints": ["keystone==1.2.0"]}
        ground.play("keystone.yml", **later, venv_build_host_wheel_path=str(wheels))
        assert ground.run("web1", f"{VENVS}/keystone-1.0.0/bin/keystone-manage") == "keystone 1.2.0\n"
        # Rebuilt on request, once for all hosts, and again in the next play that asks.
        before = sum(builds(ground).values())
        both = {**variables, "venv_wheels_rebuild": True}
        again = ground.play("keystone.yml", **both)
        assert sum(builds(ground).values()) == before + 1
        # The same bytes come out: nothing is unpacked, and nobody is told.
        assert "restart" not in again.output
        forced = ground.play("keystone.yml", **{**variables, "venv_rebuild": True}, results="forced")
        assert forced.hosts["web1"][2] == 0
        assert all(result["unpacked"] for result in ground.results("forced").values())


def test_a_venv_of_pip_is_adopted_and_pip_may_build_over_ours(bare: Bare, tmp_path: Path) -> None:
    with bare("repo1", "web1") as ground, built_site(ground, tmp_path) as variables:
        venv = VENVS / "keystone-1.0.0"
        pip = [f"{venv}/bin/pip", "install", "-q", "--isolated", "--index-url"]
        index = variables["venv_pip_build_args"].split()[1]

        def as_before(*packages: str) -> None:
            ground.run("web1", sys.executable, "-m", "venv", str(venv))
            ground.run("web1", *pip, index, *packages)
            place = ground.inside("web1", venv)
            (place / "requirements.txt").write_text(
                "# Managed with python_venv_build role\n" + "\n".join(packages) + "\n"
            )

        as_before("keystone==1.1.0")
        secret = ground.inside("web1", venv / "etc/keystone/fernet-keys/0")
        secret.parent.mkdir(parents=True)
        secret.write_text("key")
        ground.play("keystone.yml", results="adopted", **variables)
        result = ground.results("adopted")["web1"]
        assert result["packages"]["upgraded"]["keystone"] == ["1.1.0", "1.0.0"]
        assert secret.read_text() == "key"
        assert ground.run("web1", f"{venv}/bin/keystone-manage") == "keystone 1.0.0\n"
        # The old role, run over ours: its pip works there, and so does what it installs.
        as_before("keystone==1.1.0")
        assert ground.run("web1", f"{venv}/bin/keystone-manage") == "keystone 1.1.0\n"
        # And back again: its own mark tells that the tree is no longer what was installed.
        ground.play("keystone.yml", results="back", **variables)
        assert ground.results("back")["web1"]["unpacked"] is True
        assert ground.run("web1", f"{venv}/bin/keystone-manage") == "keystone 1.0.0\n"
        ground.run("web1", "/opt/venvoy/current/bin/venvoy", "verify", str(venv))
        assert secret.read_text() == "key"


def test_pip_makes_the_venv_only_when_asked(bare: Bare, tmp_path: Path, site: Any) -> None:
    with bare("repo1", "web1") as ground, built_site(ground, tmp_path) as variables:
        gone = {
            "where": "web1",
            "venv_artifact_store": "http://127.0.0.1:9/",
            "venv_artifact_root": str(site.root),
            "keystone_constraints": ["keystone==1.0.0"],
        }
        failed = ground.play("keystone.yml", **gone, fails=True)
        assert "venv_fallback_to_pip is not set" in failed.output
        assert not ground.inside("web1", VENVS / "keystone-1.0.0").exists()
        index = variables["venv_pip_build_args"].replace("--index-url", "--isolated --index-url")
        made = ground.play(
            "keystone.yml", **gone, venv_fallback_to_pip=True, venv_default_pip_install_args=index
        )
        assert "is made by pip, since no artifact could be had" in made.output
        assert ground.facts("web1")["keystone"]["venv_install_tool"] == "pip"
        assert ground.handled("web1") == ["stop keystone", "start keystone"]
        assert ground.run("web1", f"{VENVS}/keystone-1.0.0/bin/keystone-manage") == "keystone 1.0.0\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_branch_becomes_a_commit_until_it_is_rebuilt(bare: Bare, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "branchy"\nversion = "1.0"\n'
    )
    (source / "backend.py").write_text(BACKEND)
    (source / "branchy.py").write_text("COMMIT = 1\n")
    bare_repository = tmp_path / "index/branchy.git"

    def commit(text: str) -> None:
        (source / "branchy.py").write_text(text)
        for command in (
            ["init", "-q", "-b", "stable"],
            ["add", "-A"],
            ["-c", "user.name=t", "-c", "user.email=t@example", "commit", "-qm", text],
        ):
            subprocess.run(["git", *command], cwd=source, check=True)
        shutil.rmtree(bare_repository, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", "--bare", str(source), str(bare_repository)], check=True)
        subprocess.run(["git", "update-server-info"], cwd=bare_repository, check=True)

    with bare("repo1", "web1") as ground, built_site(ground, tmp_path) as variables:
        commit("COMMIT = 1\n")
        base = variables["venv_pip_build_args"].split()[1].removesuffix("simple/")
        packages = ["keystone", f"git+{base}branchy.git@stable#egg=branchy"]
        asked = {**variables, "keystone_packages": packages}
        ground.play("keystone.yml", **asked)
        probe_it = [f"{VENVS}/keystone-1.0.0/bin/python", "-c", "import branchy; print(branchy.COMMIT)"]
        assert ground.run("web1", *probe_it) == "1\n"
        commit("COMMIT = 2\n")
        assert ground.play("keystone.yml", **asked).changed == 0
        ground.play("keystone.yml", **asked, venv_wheels_rebuild=True)
        assert ground.run("web1", *probe_it) == "2\n"


BACKEND = """
import base64
import hashlib
import zipfile


def digest(text):
    found = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"sha256={found}"


def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "branchy-1.0-py3-none-any.whl"
    files = {
        "branchy.py": open("branchy.py").read(),
        "branchy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: branchy\\nVersion: 1.0\\n",
        "branchy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = "".join(f"{path},{digest(text)},{len(text)}\\n" for path, text in files.items())
    record += "branchy-1.0.dist-info/RECORD,,\\n"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for path, text in {**files, "branchy-1.0.dist-info/RECORD": record}.items():
            wheel.writestr(path, text)
    return name


def build_sdist(directory, config_settings=None):
    raise NotImplementedError
"""
