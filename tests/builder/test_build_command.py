"""``venvoy build`` from the outside: what it makes, and how it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from manifests.artifact import Artifact
from tests.builder.interpreters import executable, target_of
from tests.wheel_factory import corrupt_member, make_wheel, sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
TARGET = str(target_of())
SPEC = f"""\
release = "2026.1.0"
targets = ["{TARGET}"]

[services.sample]
requirements = ["sample==1.0"]
mutable-paths = [{{ path = "etc" }}]
checks.imports = ["sample"]
"""


class Site:
    """A spec, its lock, and a folder of wheels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.sample = make_wheel(
            self.wheels,
            "sample",
            "1.0",
            {"sample.py": b"def main():\n    print('it runs')\n"},
            entry_points={"sample": "sample:main"},
            data={"data/etc/sample.conf": b"[DEFAULT]\n"},
        )
        self.helper = make_wheel(self.wheels, "helper", "2.0", {"helper/__init__.py": b"x = 1\n"})
        self.spec(SPEC)
        self.lock(self.sample, self.helper)

    def spec(self, text: str) -> None:
        (self.root / "release.toml").write_text(text)

    def lock(self, *wheels: Path, digests: dict[str, str] | None = None, more: str = "") -> None:
        text = 'lock-version = "1.0"\ncreated-by = "hand"\n'
        for wheel in wheels:
            name, version = wheel.name.split("-")[:2]
            digest = (digests or {}).get(name) or sha256(wheel)
            text += (
                f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\nwheels = [{{ '
                f'url = "https://files.example.org/{wheel.name}", size = {wheel.stat().st_size}, '
                f'hashes = {{ sha256 = "{digest}" }} }}]\n'
            )
        path = self.root / "locks" / f"pylock.sample-{TARGET.replace('.', '_')}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + more)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "venvoy",
            "build",
            "--offline",
            "--wheels",
            "wheels",
            "--cache",
            "cache",
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            **options.pop("environment", {}),
        }
        return subprocess.run(
            [*command, *arguments],
            cwd=self.root,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            **options,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a build that an interrupt ends, also where whoever runs tests has interrupts ignored."""
        heeding = "import signal, venvoy; signal.signal(2, signal.default_int_handler); venvoy.main()"
        return subprocess.Popen(
            [sys.executable, "-c", heeding, "build", "--offline", "--wheels", "wheels", *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fails(self, code: int, *said: str, arguments: Sequence[str] = ()) -> str:
        """Build; it must fail with *code* and one clear message, and leave no output."""
        done = self.run(*arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        for part in said:
            assert part in done.stderr
        assert done.stdout == ""
        assert done.stderr.count("venvoy: ") == 1
        assert self.files("build") == []
        assert not [path for path in self.files("cache") if "tmp" in path]
        return done.stderr

    def files(self, folder: str) -> list[str]:
        root = self.root / folder
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_build_from_the_command_line_runs_after_tar_alone(site: Site) -> None:
    done = site.run("--json", "--python", f"{TARGET}={executable()}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (value,) = json.loads(done.stdout)["artifacts"]
    assert (value["service"], value["version"], value["status"]) == ("sample", "1.0", "built")
    artifact = Artifact.from_json((site.root / value["manifest"]).read_bytes())
    assert artifact.identity == value["identity"]
    assert artifact.compiled_by is not None
    assert [layer.wheel for layer in artifact.layers] == ["", site.helper.name, site.sample.name, ""]
    assert artifact.mutable_paths[0].path == "etc"
    assert site.files("build") == [
        f"artifacts/sample/{artifact.stem}.json",
        f"artifacts/sample/{artifact.stem}.tar.zst",
        f"provenance/sample/{artifact.stem}.statement.json",
        f"sbom/sample/{artifact.stem}.cdx.json",
    ]
    venv = site.root / "a venv"
    venv.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", site.root / value["tarball"], "-C", venv], check=True)
    subprocess.run([venv / "bin/venvoy-bind", executable()], check=True, capture_output=True)
    assert (
        subprocess.run([venv / "bin/sample"], check=True, capture_output=True, cwd="/").stdout == b"it runs\n"
    )
    again = site.run("--json", "--python", f"{TARGET}={executable()}")
    assert json.loads(again.stdout)["artifacts"][0] == {**value, "status": "unchanged"}


def test_gzip_for_hosts_without_zstd(site: Site) -> None:
    done = site.run("--compression", "gzip", "--no-pyc")
    assert done.returncode == 0, done.stderr
    (tarball,) = (site.root / "build").rglob("*.tar.gz")
    listed = subprocess.run(["tar", "-tzf", tarball], check=True, capture_output=True, text=True).stdout
    assert "bin/sample\n" in listed
    assert ".pyc" not in listed
    assert done.stdout.startswith("built build/artifacts/sample/sample-1.0-")


def test_an_unknown_key_is_named_with_its_line(site: Site) -> None:
    site.spec(SPEC + 'requirement = ["x"]\n')
    message = site.fails(2, "release.toml:8: ", "'requirement'")
    assert message.count("\n") == 1


def test_a_missing_wheel(site: Site) -> None:
    site.helper.unlink()
    assert site.fails(5, f"{site.helper.name} cannot be had: offline; not in wheels").count("\n") == 1


def test_an_error_as_json(site: Site) -> None:
    site.helper.unlink()
    done = site.run("--json")
    assert done.returncode == 5
    value = json.loads(done.stdout)
    assert value.keys() == {"error", "exit_code"}
    assert value["exit_code"] == 5
    assert done.stderr == f"venvoy: {value['error']}\n"


def test_a_missing_lock(site: Site) -> None:
    shutil.rmtree(site.root / "locks")
    site.fails(5, "no such lock; make it with venvoy lock")


def test_a_wheel_that_is_not_the_locked_one(site: Site) -> None:
    site.lock(site.sample, site.helper, digests={"helper": "ab" * 32})
    site.fails(3, site.helper.name, "ab" * 32, sha256(site.helper))


def test_a_corrupt_wheel(site: Site) -> None:
    files = {"helper/__init__.py": b"the good bytes\n"}
    helper = make_wheel(site.wheels, "helper", "2.0", files, compression=0)
    corrupt_member(helper, b"the good bytes\n", b"the b@d bytes!\n")
    site.lock(site.sample, helper)
    site.fails(3, helper.name, "helper/__init__.py")


def test_conflicting_files(site: Site) -> None:
    other = make_wheel(site.wheels, "other", "3.0", {"sample.py": b"other bytes\n"})
    site.lock(site.sample, other)
    site.fails(9, "other 3.0 and sample 1.0 both own lib/python3.11/site-packages/sample.py")
    site.spec(SPEC + 'allow-overlap = ["lib/*/sample.py"]\n')
    assert site.run().returncode == 0


def test_a_wheel_that_would_replace_the_venvs_own(site: Site) -> None:
    for path in ("bin/python3", "bin/activate"):
        other = make_wheel(site.wheels, "other", "3.0", data={f"data/{path}": b"#!/bin/false\n"})
        site.lock(site.sample, other)
        site.fails(9, "other", path)


def test_a_service_that_is_not_there(site: Site) -> None:
    site.fails(5, "no service 'nova'; it has: sample", arguments=["-s", "nova"])


def test_a_spec_that_is_not_there(site: Site) -> None:
    site.fails(5, "other.toml: no such file", arguments=["other.toml"])


def test_an_interpreter_that_is_not_there(site: Site) -> None:
    site.fails(5, "there is no interpreter at /nowhere", arguments=["--python", f"{TARGET}=/nowhere"])


def test_an_interpreter_of_another_version(site: Site) -> None:
    other = executable("cp312")
    site.fails(4, "it needs python3.11", arguments=["--python", f"{TARGET}={other}"])


ABSENT = "cp399-linux_x86_64-glibc2.36"


def test_without_an_interpreter_it_builds_without_pyc_and_says_so(site: Site) -> None:
    lock = next((site.root / "locks").iterdir())
    lock.rename(lock.with_name(f"pylock.sample-{ABSENT.replace('.', '_')}.toml"))
    done = site.run("--target", ABSENT)
    assert done.returncode == 0, done.stderr
    assert f"no python3.99 here: artifacts for {ABSENT} are made of wheels alone, without .pyc" in done.stderr
    (manifest,) = (site.root / "build/artifacts").rglob("*.json")
    assert Artifact.from_json(manifest.read_bytes()).compiled_by is None


def test_without_an_interpreter_an_sdist_cannot_be_built(site: Site) -> None:
    sdist = site.wheels / "onlysource-1.0.tar.gz"
    subprocess.run(["tar", "-czf", sdist, "-C", site.root, "release.toml"], check=True)
    more = (
        '\n[[packages]]\nname = "onlysource"\nversion = "1.0"\n[packages.sdist]\n'
        f'url = "https://files.example.org/{sdist.name}"\nhashes = {{ sha256 = "{sha256(sdist)}" }}\n'
    )
    site.lock(site.sample, more=more)
    lock = next((site.root / "locks").iterdir())
    lock.rename(lock.with_name(f"pylock.sample-{ABSENT.replace('.', '_')}.toml"))
    site.fails(5, "onlysource", "python3.99", arguments=["--target", ABSENT])


def test_an_output_that_cannot_be_written(site: Site) -> None:
    (site.root / "taken").write_text("a file")
    done = site.run("-o", "taken/below")
    assert done.returncode == 7, done.stderr
    assert "venvoy: cannot write taken/below/artifacts/sample/sample-1.0-" in done.stderr
    assert done.stderr.count("\n") == 2  # and how long the layers took


def test_a_cache_that_cannot_be_written(site: Site) -> None:
    done = site.run("--cache", "/proc/nowhere")
    assert (done.returncode, done.stderr.count("\n")) in ((7, 1), (7, 3)), done.stderr
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--level", "77"], "zstd level 77: use 1 to 19"),
        (["--target", "debian12"], "'debian12' is not a target; one looks like"),
        (["--jobs", "0"], "--jobs"),
        (["--compression", "xz"], "--compression"),
    ],
)
def test_bad_options(arguments: list[str], said: str, site: Site) -> None:
    done = site.run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert site.files("build") == []


def test_terminal_output_has_no_progress_bars_in_a_pipe(site: Site) -> None:
    done = site.run()
    assert done.returncode == 0
    assert "\r" not in done.stderr
    assert done.stdout.count("\n") == 1
