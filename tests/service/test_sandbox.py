"""Foreign code in what is submitted: it finds no token, key or network, and the service goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from builder.sandbox.cage import OpenCage, choose_cage
from tests.sdist_factory import attacking_files, locked_sdist, make_sdist
from tests.service_site import ServiceSite, lock_name
from tests.small_site import TARGET

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("virtualenv") is None, reason="needs the extra 'build'"
)
needs_sandbox = pytest.mark.skipif(
    isinstance(choose_cage("auto"), OpenCage), reason="bubblewrap does not work here"
)

THIEF = """
import socket
def attack(name):
    loot = []
    for folder in FOLDERS:
        for root, folders, names in os.walk(folder):
            folders[:] = [each for each in folders if each not in ("cache", "builds")]
            loot += [os.path.join(root, each) for each in names if readable(os.path.join(root, each))]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for file in ("cmdline", "environ"):
            try:
                with open("/proc/%s/%s" % (pid, file), "rb") as f:
                    words = f.read().split(b"\\0")
                if b"serve" in words or any(word.startswith(b"CANARY=") for word in words):
                    loot.append("another process")
            except OSError:
                pass
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as s:
            loot.append("the network")
    except OSError:
        pass
    # Hidden, since wheels that hold the path of their build are refused.
    return {"loot.hex": json.dumps(sorted(set(loot))).encode().hex()}

def readable(path):
    try:
        with open(path, "rb") as f:
            return bool(f.read(1))
    except OSError:
        return False
"""


def request(site: ServiceSite, attack: str) -> dict[str, Any]:
    """Return the body that asks for a release whose only package is an sdist that runs *attack*."""
    package = make_sdist(site.wheels, attacking_files(attack))
    return {
        "spec": f'release = "1.0.0"\ntargets = ["{TARGET}"]\n[services.demo]\nrequirements = ["demo==1.0"]\n',
        "locks": {
            lock_name("demo"): f'lock-version = "1.0"\ncreated-by = "hand"\n{locked_sdist(package)}',
        },
    }


def steal(tmp_path: Path, sandbox: str) -> tuple[ServiceSite, list[str]]:
    """Have a service build what steals; return what it found. The service must be unimpressed."""
    site = ServiceSite(tmp_path, build_options=("--sandbox", sandbox, "--build-limits", "time=120"))
    with site.running():
        site.token("read", "build", "publish")
        folders = [str(folder) for folder in (site.keys, site.state, site.site.keys, site.site.store)]
        attack = f"FOLDERS = {folders!r}\nPORT = {site.port}\n{THIEF}"
        build = site.wait(site.submit(request(site, attack), publish=True)["id"], 120)
        assert (build["state"], build["error"]) == ("published", None)
        assert site.wait(site.submit(site.request("2.0.0"))["id"])["state"] == "built"
    (wheel,) = (site.state / "cache/wheels").rglob("demo-1.0-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return site, json.loads(bytes.fromhex(archive.read("loot.hex").decode()))


@needs_sandbox
@pytest.mark.parametrize("sandbox", ["require", pytest.param("off", marks=pytest.mark.slow)])
def test_code_that_is_submitted_steals_nothing(
    sandbox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "of the service")
    site, loot = steal(tmp_path, sandbox)
    if sandbox == "require":
        assert loot == []
    else:  # the attack is real
        assert {str(site.keys / "snapshot.pem"), str(site.state / "service.sqlite")} <= set(loot)
        assert {"another process", "the network"} <= set(loot)


@pytest.mark.slow
def test_without_a_sandbox_the_build_is_refused_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing but what a service needs: no bwrap.
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "sh", "prlimit", "setpriv"):
        if (found := shutil.which(name)) is not None:
            (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", os.fspath(folder))
    ran = tmp_path / "it-ran"
    site = ServiceSite(tmp_path, options=("--attempts", "2"), build_options=("--sandbox", "require"))
    with site.running():
        attack = f"open({str(ran)!r}, 'w').close()\ndef attack(name):\n    return {{}}\n"
        build = site.wait(site.submit(request(site, attack))["id"])
        assert (build["state"], build["exit_code"]) == ("failed", 9)
        assert "would run without a sandbox: bwrap not found" in build["error"]
        assert site.wait(site.submit(site.request("2.0.0"))["id"])["state"] == "built"
    assert not ran.exists()
