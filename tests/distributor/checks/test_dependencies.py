"""What distributions of a venv require of each other, by the headers of their metadata."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distributor.checks.dependencies import check_dependencies, marker_environment
from manifests.artifact import Checks
from manifests.errors import HealthCheckFailed
from manifests.interpreter import probe
from tests.small_site import SmallSite, run
from tests.wheel_factory import make_wheel

HOST = dataclasses.replace(probe(Path(sys.executable)), python=(3, 11), version="3.11.2", machine="x86_64")
ARTIFACT: Any = SimpleNamespace(
    stem="demo-1.0", target=SimpleNamespace(site_packages="site"), checks=Checks()
)


def add(
    venv: Path, name: str, version: str, requires: Sequence[str] = (), *, text: str | None = None
) -> None:
    folder = venv / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires]
    (folder / "METADATA").write_text(text or "\n".join([*lines, "", "Requires-Dist: body>=9", ""]))


def problems(venv: Path, **changes: Any) -> str:
    """Return what the check says, without the artifact's label; "" where all is well."""
    try:
        check_dependencies(venv, ARTIFACT, dataclasses.replace(HOST, **changes))
    except HealthCheckFailed as error:
        return str(error).removeprefix("demo-1.0: ")
    return ""


def test_what_lacks_and_what_does_not_fit_is_named(tmp_path: Path) -> None:
    add(tmp_path, "X", "1.2", ["Y>=3", "missing~=1.0 ; python_version > '3'", "Z_z.z (>=1.0)"])
    add(tmp_path, "Y", "2.1")
    add(tmp_path, "z-Z-z", "1.0.post1")
    assert problems(tmp_path) == (
        "X 1.2 requires Y>=3, which is Y 2.1; X 1.2 requires missing~=1.0, which is not there"
    )


def test_a_consistent_tree_passes(tmp_path: Path) -> None:
    add(tmp_path, "a", "1.0", ["b", "b>=1", "b!=1.5", "b @ https://example.org/b.zip"])
    add(tmp_path, "b", "2.0rc1")  # a lock may choose a pre-release
    assert problems(tmp_path) == ""


def test_markers_are_of_the_venvs_interpreter(tmp_path: Path) -> None:
    add(tmp_path, "a", "1", ["old; python_version < '3.10'", "arm; platform_machine == 'aarch64'"])
    assert problems(tmp_path) == ""
    assert problems(tmp_path, python=(3, 9)) == "a 1 requires old, which is not there"
    assert problems(tmp_path, machine="aarch64") == "a 1 requires arm, which is not there"


def test_the_environment_is_what_packaging_finds_for_itself() -> None:
    code = "import json; from packaging.markers import default_environment as e; print(json.dumps(e()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert {**json.loads(done.stdout), "extra": ""} == marker_environment(probe(Path(sys.executable)))


def test_extras_count_where_they_are_asked_for(tmp_path: Path) -> None:
    lines = ["c; extra == 'fast'", 'd; extra == "slow"', "e; python_version < '3' or extra == 'odd'"]
    add(tmp_path, "b", "1", lines)
    assert problems(tmp_path) == ""
    add(tmp_path, "a", "1", ["b[fast]>=1"])
    assert problems(tmp_path) == "b 1 requires c, which is not there"
    add(tmp_path, "c", "1", ["b[odd]"])
    assert problems(tmp_path) == "b 1 requires e, which is not there"


def test_lines_that_nobody_can_parse_are_skipped(tmp_path: Path) -> None:
    add(tmp_path, "a", "1", ["b (>=1.*)", ">=3", "c; sys.platform == 'x'", "d; nonsense == '1'", "e==1..2"])
    add(tmp_path, "f", "1", ["g>=1"])
    add(tmp_path, "g", "not-a-version")
    assert problems(tmp_path) == ""


def test_folded_lines_and_other_line_ends_are_read(tmp_path: Path) -> None:
    text = "Metadata-Version: 2.1\r\nname: a\r\nVersion: 1\r\nRequires-Dist: b\r\n        >=2\r\n\r\nbody\r\n"
    add(tmp_path, "a", "1", text=text)
    add(tmp_path, "b", "1")
    (tmp_path / "site/a-1.dist-info/METADATA").write_bytes(text.encode())
    assert problems(tmp_path) == "a 1 requires b>=2, which is b 1"


def test_at_most_ten_are_shown(tmp_path: Path) -> None:
    add(tmp_path, "a", "1", [f"b{number}" for number in range(13)])
    said = problems(tmp_path)
    assert said.count("which is not there") == 10
    assert said.endswith("; and 3 more")


def test_linked_system_packages_are_seen(tmp_path: Path) -> None:
    add(tmp_path, "a", "1", ["libvirt-python>=9", "six>=1.10"])
    host = tmp_path / "host"
    add(host, "libvirt_python", "9.0")
    (host / "six-1.16.egg-info").write_text("Metadata-Version: 1.2\nName: six\nVersion: 1.16\n")
    (tmp_path / "site/libvirt_python-9.0.egg-info").symlink_to(host / "eggs")
    (host / "eggs").mkdir()
    (host / "eggs/PKG-INFO").write_text("Name: libvirt-python\nVersion: 9.0\n")
    (tmp_path / "site/six-1.16.egg-info").symlink_to(host / "six-1.16.egg-info")
    assert problems(tmp_path) == ""


def test_packaging_is_loaded_by_the_check_alone() -> None:
    code = "import sys, distributor.checks.dependencies; print('packaging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def test_an_inconsistent_release_is_not_installed_unless_its_spec_says_so(tmp_path: Path) -> None:
    site = SmallSite(tmp_path / "site")
    wheel = make_wheel(tmp_path, "careless", "1.0", requires=["demo>=9", "lost"])
    site.release("1.0.0", more_wheels=[wheel])
    dest = tmp_path / "demo"
    done = run(site.command("1.0.0", dest))
    assert done.returncode == 8
    assert "careless 1.0 requires demo>=9, which is demo 1.0.0; careless 1.0 requires lost" in done.stderr
    assert not dest.exists()
    site.release("1.0.1", more_wheels=[wheel], checks=Checks(dependencies=False))
    assert site.install("1.0.1", dest)["changed"] is True
