"""Install as an operator does: the command line, a real store, real artifacts, real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.small_site import HOST, SmallSite, litter, purelib, run, snapshot, venvoy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    made.release("1.0.0")
    made.release("2.0.0")
    return made


def test_install_gives_a_venv_that_runs(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "venvs" / "demo"
    result = site.install("1.0.0", dest)
    assert (result["changed"], result["service"], result["version"]) == (True, "demo", "1.0.0")
    done = run([str(dest / "bin/demo-manage"), "a b", ""])
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo 1.0.0 a b \n", "")
    assert (dest / "bin/python").resolve() == HOST.executable
    assert litter(dest.parent) == []


def test_second_install_is_unchanged_and_needs_no_store(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    before = snapshot(dest, times=True)
    command = [
        part if part != str(site.store) else str(tmp_path / "absent") for part in site.command("1.0.0", dest)
    ]
    again = run([*command, "--json"])
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["changed"] is False
    assert snapshot(dest, times=True) == before


def test_unchanged_run_opens_nothing_of_store_trust_or_artifact(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    trace = tmp_path / "trace"
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: .ci/install-system-packages brings it")
    done = run(["strace", "-f", "-e", "trace=openat,open", "-o", str(trace), *site.command("1.0.0", dest)])
    assert done.returncode == 0, done.stderr
    text = trace.read_text()
    assert str(dest / ".venvoy/receipt.json") in text  # the trace does see files
    for place in (site.store, site.state, site.keys):
        assert str(place) not in text


def test_moved_venv_still_runs(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    moved = tmp_path / "else where" / ("x" * 150) / "demo"
    moved.parent.mkdir(parents=True)
    dest.rename(moved)
    assert run([str(moved / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert run(
        [str(moved / "bin/python"), "-I", "-c", "import demo; print(demo.__file__)"]
    ).stdout.startswith(str(moved))


def test_hot_patched_source_takes_effect(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    source = purelib(dest) / "demo/main.py"
    status = source.stat()
    source.write_text(source.read_text().replace("'demo'", "'DEMO'"))
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))  # not even the time stamp tells
    assert run([str(dest / "bin/demo-manage")]).stdout == "DEMO 1.0.0\n"
    done = venvoy("verify", dest)
    assert done.returncode == 3
    assert "altered: " in done.stdout
    assert "demo/main.py" in done.stdout


def test_link_is_flipped_when_the_venv_is_complete(site: SmallSite, tmp_path: Path) -> None:
    link = tmp_path / "current"
    assert site.install("1.0.0", tmp_path / "demo-1.0.0", "--link", str(link))["link_flipped"] is True
    assert site.install("2.0.0", tmp_path / "demo-2.0.0", "--link", str(link))["link_flipped"] is True
    assert run([str(link / "bin/demo-manage")]).stdout == "demo 2.0.0\n"
    assert site.install("2.0.0", tmp_path / "demo-2.0.0", "--link", str(link))["changed"] is False
    assert litter(tmp_path) == []


def test_failed_install_leaves_the_link_alone(site: SmallSite, tmp_path: Path) -> None:
    link = tmp_path / "current"
    site.install("1.0.0", tmp_path / "demo-1.0.0", "--link", str(link))
    done = run([*site.command("3.0.0", tmp_path / "demo-3.0.0", "--link", str(link))])
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("venvoy: release 3.0.0 is not signed in ")
    assert run([str(link / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert not (tmp_path / "demo-3.0.0").exists()


def test_verify_tells_altered_added_missing_modes_and_binding(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    assert venvoy("verify", dest).returncode == 0
    package = purelib(dest) / "demo"
    (package / "data.txt").write_text("data of 9.9.9\n")
    (package / "new.py").write_text("")
    (package / "main.py").unlink()
    (dest / "bin/demo-manage").chmod(0o644)
    (dest / "bin/python3").unlink()
    done = venvoy("verify", dest, "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    site_packages = str(package.relative_to(dest))
    assert found["altered"] == [f"{site_packages}/data.txt"]
    assert found["added"] == [f"{site_packages}/new.py"]
    assert found["missing"] == [f"{site_packages}/main.py"]
    assert found["modes"] == ["bin/demo-manage"]
    assert found["binding"] == ["bin/python3"]


def test_verify_refuses_rewritten_indexes(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    index = dest / ".venvoy/layers/demo.json"
    index.write_text(index.read_text().replace('"x"', '""'))
    done = venvoy("verify", dest)
    assert done.returncode == 3
    assert "the indexes are not those of the install" in done.stderr


def test_bytecode_that_python_wrote_itself_is_no_change(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    site.install("1.0.0", dest)
    command = [str(dest / "bin/python"), "-I", "-O", "-c", "import demo.main"]
    assert run(command).returncode == 0
    assert list(purelib(dest).glob("demo/__pycache__/*.opt-1.pyc"))
    assert venvoy("verify", dest).returncode == 0


def test_status_shows_links_and_json(site: SmallSite, tmp_path: Path) -> None:
    site.install("1.0.0", tmp_path / "demo-1.0.0", "--link", str(tmp_path / "demo"))
    site.install("2.0.0", tmp_path / "demo-2.0.0")
    shown = venvoy("status", tmp_path).stdout
    assert f"{tmp_path / 'demo-1.0.0'}  <- {tmp_path / 'demo'}" in shown
    document = json.loads(venvoy("status", tmp_path, "--json").stdout)
    assert [venv["release"] for venv in document["venvs"]] == ["1.0.0", "2.0.0"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(site: SmallSite, tmp_path: Path, umask: int) -> None:
    reference, other = tmp_path / "a" / "demo", tmp_path / "b" / "demo"
    site.install("1.0.0", reference)
    done = run(site.command("1.0.0", other), umask=umask)
    assert done.returncode == 0, done.stderr
    assert {path: facts[0] for path, facts in snapshot(other).items()} == {
        path: facts[0] for path, facts in snapshot(reference).items()
    }
    assert other.stat().st_mode & 0o7777 == 0o755


def test_killed_install_leaves_nothing_and_the_rerun_converges(site: SmallSite, tmp_path: Path) -> None:
    reference, dest = tmp_path / "reference" / "demo", tmp_path / "killed" / "demo"
    site.install("1.0.0", reference)
    dest.parent.mkdir()
    process = subprocess.Popen(site.command("1.0.0", dest), cwd=Path.cwd(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("unpack"):
            break
    process.kill()
    assert process.wait() == -9
    process.stderr.close()
    assert not dest.exists()
    site.install("1.0.0", dest)
    here = {path: facts for path, facts in snapshot(dest).items() if "receipt" not in path}
    there = {path: facts for path, facts in snapshot(reference).items() if "receipt" not in path}
    bound = {"pyvenv.cfg", "bin/activate.csh", "bin/activate.nu", "bin/activate.xsh"}
    assert {p: f for p, f in here.items() if p not in bound} == {
        p: f for p, f in there.items() if p not in bound
    }
    assert litter(dest.parent) == []


def test_many_at_once_install_once(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    command = [*site.command("1.0.0", dest), "--json"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert sorted(answer["changed"] for answer in answers) == [False] * 5 + [True]
    assert litter(tmp_path) == []


def test_foreign_directory_is_refused(site: SmallSite, tmp_path: Path) -> None:
    dest = tmp_path / "demo"
    dest.mkdir()
    (dest / "precious").write_text("keys")
    done = run(site.command("1.0.0", dest))
    assert done.returncode == 9
    assert (dest / "precious").read_text() == "keys"


def test_destination_that_is_a_link_is_refused(site: SmallSite, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    dest = tmp_path / "demo"
    dest.symlink_to(tmp_path / "outside")
    done = run(site.command("1.0.0", dest))
    assert done.returncode == 9
    assert list((tmp_path / "outside").iterdir()) == []


def test_parent_that_others_may_write_is_refused(site: SmallSite, tmp_path: Path) -> None:
    parent = tmp_path / "open"
    parent.mkdir()
    parent.chmod(0o777)
    done = run(site.command("1.0.0", parent / "demo"))
    assert done.returncode == 9
    assert "can be written by others" in done.stderr
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"demo": "absent"}, 5, "release 1.0.0 has no service 'absent'; it holds: demo"),
        ({"demo": "De mo"}, 2, "'De mo' cannot name a service"),
        ({"1.0.0": "../1"}, 2, "'../1' cannot name a release"),
        (
            {str(HOST.executable): "/nonexistent/python3"},
            5,
            "there is no interpreter at /nonexistent/python3",
        ),
        ({str(HOST.executable): "/bin/true"}, 4, "/bin/true is not a usable Python"),
    ],
)
def test_bad_input_is_one_clear_error(
    site: SmallSite, tmp_path: Path, change: dict[str, str], code: int, message: str
) -> None:
    command = [change.get(part, part) for part in site.command("1.0.0", tmp_path / "demo")]
    done = run(command)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "demo").exists()
    assert litter(tmp_path) == []


def test_no_root_means_no_install(site: SmallSite, tmp_path: Path) -> None:
    command = [
        part if part != str(site.root) else str(tmp_path / "absent.json")
        for part in site.command("1.0.0", tmp_path / "d")
    ]
    done = run(command)
    assert done.returncode == 5
    assert "it is never taken from the store" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")
def test_full_disk_is_a_clear_error_and_leaves_nothing(site: SmallSite, tmp_path: Path) -> None:
    site_big = SmallSite(tmp_path / "site")
    site_big.release("1.0.0", files={"demo/noise.bin": os.urandom(6_000_000)})
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr}")
    try:
        (disk / "filler").write_bytes(bytes(20_000_000))
        done = run(site_big.command("1.0.0", disk / "demo"))
        assert done.returncode == 4
        assert "MB free" in done.stderr
        assert sorted(entry.name for entry in disk.iterdir() if not entry.name.endswith("-lock")) == [
            "filler"
        ]
    finally:
        run(["umount", str(disk)])
