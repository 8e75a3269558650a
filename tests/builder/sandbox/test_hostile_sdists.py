"""What code of an sdist must not be able to do, tried by code of an sdist."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.sandbox.cage import OpenCage, choose_cage
from builder.sandbox.limits import BuildLimits
from builder.wheels.cache import WheelCache
from builder.wheels.sdist_build import BuildOptions, SdistBuilder
from builder.wheels.sources import DirectorySource
from manifests.errors import HostUnsuitable, Refused, VenvoyError, VerificationFailed
from manifests.interpreter import probe
from manifests.target import Target
from tests.sdist_factory import attacking_files, make_sdist

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("virtualenv") is None, reason="needs the extra 'build'"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap"),
    pytest.mark.skipif(isinstance(choose_cage("auto"), OpenCage), reason="bubblewrap does not work here"),
]

SECRET = "canary-4b1f0d"


class Attacker:
    """Builds an sdist whose backend runs an attack; *work* holds the caches of all attempts."""

    def __init__(self, work: Path, app_data: Path) -> None:
        self.work = work
        self.cache = WheelCache(work / "cache")
        self.cache.root.mkdir(parents=True)
        (self.cache.root / "virtualenv").symlink_to(app_data)
        self.python = probe(Path(sys.executable))
        found = self.python
        self.target = Target(found.python, found.abi_flags, found.machine, found.libc, found.libc_version)

    def build(self, attack: str, **options: Any) -> dict[str, str]:
        """Return what the wheel holds in the end; *attack* defines a function of that name."""
        sdists = self.work / "sdists"
        shutil.rmtree(sdists, ignore_errors=True)
        sdists.mkdir()
        package = make_sdist(sdists, attacking_files(attack))
        limits = options.pop("limits", BuildLimits(time=60))
        chosen = BuildOptions(offline=True, limits=limits, **options)
        builder = SdistBuilder(self.cache, self.target, self.python, chosen)
        try:
            wheel = builder.build(package, [DirectorySource(sdists)])
        finally:
            assert list(self.cache.root.glob("tmp/*")) == [], "litter"
        with zipfile.ZipFile(wheel.path) as archive:
            return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture(scope="module")
def app_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app-data")


@pytest.fixture
def attacker(tmp_path: Path, app_data: Path) -> Attacker:
    return Attacker(tmp_path / "builds", app_data)


def survivors(marker: str) -> list[str]:
    found = subprocess.run(["pgrep", "-f", marker], check=False, capture_output=True, text=True)
    return [line for line in found.stdout.split() if line != str(os.getpid())]


READER = """
def attack(name):
    loot = []
    for root, folders, names in os.walk("/"):
        seen = ("/usr", "/sys", "/lib", "/lib64", HOME)
        folders[:] = [f for f in folders if os.path.join(root, f) not in seen]
        for each in names:
            path = os.path.join(root, each)
            try:
                if os.path.isfile(path) and os.path.getsize(path) < 100000:
                    with open(path, "rb") as f:
                        data = f.read(100000)
                    if SECRET in data:
                        loot.append(path)
            except OSError:
                pass
    return {"loot.json": json.dumps(loot)}
"""


@pytest.mark.parametrize("sandbox", ["require", "off"])
def test_it_reads_no_key_of_ours(
    sandbox: str, attacker: Attacker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, mode in (("builder.key", 0o600), ("readable.key", 0o644)):
        (keys / name).write_text(SECRET)
        (keys / name).chmod(mode)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    # The walk starts where the test is, so that the control is quick; inside the sandbox it is not there.
    # The interpreter is readable by design; its thousands of files would only take time.
    secret = f'SECRET = "{SECRET[:6]}".encode() + b"{SECRET[6:]}"\nHOME = {sys.base_prefix!r}\n'
    reader = READER if sandbox == "require" else READER.replace('os.walk("/")', f"os.walk({str(keys)!r})")
    loot = attacker.build(secret + reader, sandbox=sandbox)["loot.json"]
    if sandbox == "off":  # the attack is real
        assert "builder.key" in loot
    else:
        assert loot == "[]"


def test_it_phones_home_only_where_the_spec_allows(attacker: Attacker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        attack = f"""
        import socket
        def attack(name):
            try:
                with socket.create_connection(("127.0.0.1", {port}), timeout=5) as s:
                    s.sendall(b"home")
                said = "through"
            except OSError as error:
                said = str(error)
            return {{"said.txt": said}}
        """
        assert attacker.build(attack)["said.txt"] != "through"
        with pytest.raises(TimeoutError):
            server.accept()
        assert attacker.build(attack, network=True)["said.txt"] == "through"  # the attack is real
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"home"


def test_it_changes_nothing_outside_its_folder(attacker: Attacker, tmp_path: Path) -> None:
    outside, cache = tmp_path / "outside", attacker.cache.root
    outside.mkdir()
    outside.chmod(0o777)
    attack = f"""
    def attack(name):
        done = []
        for place in ({str(outside)!r}, {str(cache)!r}, "/usr", "/etc", "/", "/dev"):
            try:
                with open(os.path.join(place, "planted"), "w") as f:
                    f.write("x")
                done.append(place)
            except OSError:
                pass
        return {{"done.json": json.dumps(done)}}
    """
    assert attacker.build(attack)["done.json"] == "[]"
    assert not list(tmp_path.rglob("planted"))


def test_a_fork_bomb_ends(attacker: Attacker) -> None:
    attack = """
    import time
    def attack(name):
        while True:
            try:
                if os.fork() == 0:
                    os.setsid()
            except OSError:
                time.sleep(0.01)
    """
    started = time.monotonic()
    with pytest.raises(HostUnsuitable, match=r"building demo 1\.0 from source (took|started)"):
        attacker.build(attack, limits=BuildLimits(time=3, processes=60))
    assert time.monotonic() - started < 60
    assert survivors("cage/env/bin/python") == []


@pytest.mark.slow
@pytest.mark.parametrize("many", [True, False], ids=["many files", "one file"])
def test_a_full_disk_is_not_ours(many: bool, attacker: Attacker) -> None:
    attack = f"""
    def attack(name):
        count = 0
        while True:
            count += {int(many)}
            try:
                with open("fill%d" % count, "ab") as f:
                    f.write(b"x" * 1000000)
            except OSError:
                os.remove("fill%d" % count)
    """
    before = shutil.disk_usage(attacker.work).free
    least = before

    def watch() -> None:
        nonlocal least
        while not done.is_set():
            least = min(least, shutil.disk_usage(attacker.work).free)
            time.sleep(0.02)

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(HostUnsuitable, match=r"took \d+.* of disk, more than 67\.1 MB|took more than"):
            attacker.build(attack, limits=BuildLimits(time=20, disk=64 * 1024**2))
    finally:
        done.set()
        watcher.join()
    assert before - least < 8e9  # neighbours write too: this only says that it did not run away


@pytest.mark.slow
def test_it_does_not_run_for_ever_nor_leave_anything_behind(attacker: Attacker) -> None:
    attack = """
    import subprocess, time
    def attack(name):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(987)"], start_new_session=True)
        time.sleep(987)
    """
    with pytest.raises(HostUnsuitable, match=r"building demo 1\.0 from source took more than 4 seconds"):
        attacker.build(attack, limits=BuildLimits(time=4))
    assert survivors("time.sleep.987") == []


@pytest.mark.slow
def test_what_it_leaves_running_ends_with_it(attacker: Attacker) -> None:
    attack = """
    import subprocess
    def attack(name):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(986)"], start_new_session=True)
        return {}
    """
    assert "demo.py" in attacker.build(attack)
    assert survivors("time.sleep.986") == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["one process", "many processes"])
def test_memory_is_bounded(how: str, attacker: Attacker) -> None:
    one = """
    def attack(name):
        hoard = []
        while True:
            hoard.append(bytearray(10_000_000))
    """
    many = """
    import time
    def attack(name):
        for _ in range(20):
            if os.fork() == 0:
                hoard = bytearray(b"x" * 60_000_000)
                time.sleep(60)
        time.sleep(60)
    """
    with pytest.raises(HostUnsuitable, match=r"MemoryError|of memory, more than 209\.7 MB"):
        attacker.build(one if how == "one process" else many, limits=BuildLimits(memory=200 * 1024**2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        (f"os.symlink({str(Path('/etc/passwd'))!r}, name)", "gave no regular file"),
        ("os.mkfifo(name)", "gave no regular file"),
        ("open(name, 'w').close(); open(name + '.2.whl', 'w').close()", "gave 2 wheels instead of one"),
        ("os.mkdir(name)", "gave no regular file"),
    ],
    ids=["link", "fifo", "two", "folder"],
)
def test_something_else_than_a_wheel_is_refused(what: str, said: str, attacker: Attacker) -> None:
    with pytest.raises(VerificationFailed, match=said):
        attacker.build(f"def attack(name):\n    {what}\n    return {{}}\n")


@pytest.mark.slow
def test_folders_deeper_than_a_path_are_removed_again(attacker: Attacker) -> None:
    attack = """
    import time
    def attack(name):
        for _ in range(3000):
            os.mkdir("d" * 20)
            os.chdir("d" * 20)
        time.sleep(30)
        return {}
    """
    with pytest.raises(HostUnsuitable, match="nested folders deeper than a path can be long"):
        attacker.build(attack)


def answers(value: str) -> str:
    return f"""
    def get_requires_for_build_wheel(config_settings=None):
        {value}
    def attack(name):
        return {{}}
    """


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('return ["--index-url=http://127.0.0.1:9/"]', "is no requirement to build it with"),
        ('return ["demo @ https://127.0.0.1:9/x.tar.gz"]', "from a URL"),
        ("return [1]", "lacks a list of strings"),
        ('os.mkfifo("../../requires.json"); os._exit(0)', "cannot be read"),
        ('os.symlink("/etc/passwd", "../../requires.json"); os._exit(0)', "cannot be read"),
        ("os._exit(0)", "cannot be read"),
    ],
)
def test_what_it_asks_for_is_held_against_the_rules(value: str, said: str, attacker: Attacker) -> None:
    with pytest.raises(VerificationFailed, match=said):
        attacker.build(answers(value))


def test_its_output_does_not_steer_the_terminal(attacker: Attacker) -> None:
    attack = """
    def attack(name):
        print("\\033]0;owned\\007\\033[2J\\rfine", flush=True)
        sys.exit("it broke")
    """
    with pytest.raises(HostUnsuitable, match="it broke") as caught:
        attacker.build(attack)
    assert "\033" not in str(caught.value)
    assert "\007" not in str(caught.value)
    assert "\r" not in str(caught.value)


@pytest.fixture
def no_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from builder.sandbox import cage

    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "prlimit", "setpriv", "sh"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    cage._lacking.cache_clear()
    yield
    cage._lacking.cache_clear()


@pytest.mark.usefixtures("no_bubblewrap")
def test_without_a_sandbox_it_is_said_or_refused(attacker: Attacker) -> None:
    with pytest.raises(Refused, match="would run without a sandbox: bwrap not found; install bubblewrap"):
        attacker.build("def attack(name):\n    return {}\n", sandbox="require")
    warning = choose_cage("auto").warning
    assert warning is not None
    assert "code of sdists runs as" in warning
    assert "demo.py" in attacker.build("def attack(name):\n    return {}\n")
    with pytest.raises(VenvoyError, match="took more than 2 seconds"):
        attacker.build(
            "import time\ndef attack(name):\n    time.sleep(60)\n    return {}\n", limits=BuildLimits(time=2)
        )
