"""OpenStack Swift with its s3api on loopback: a second server of S3, written by other people.

One proxy, account, container and object server each, one replica, all below one directory. Swift comes
from the package index into a virtual environment of its own, which stays in ``var/`` for the next run.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"}
_VENV = Path(__file__).parents[1] / "var" / "swift-venv"
_KINDS = ("account", "container", "object")

_COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {root}
devices = {root}/devices
mount_check = false
workers = 0
user = {user}
log_level = ERROR
"""
_BACKEND = """
[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:s3api]
use = egg:swift#s3api
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin

[filter:slo]
use = egg:swift#slo
"""
_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_suffix = for-tests

[storage-policy:0]
name = one
default = yes
"""


class SwiftUnavailable(Exception):
    """Swift cannot run here; the text says why."""


@contextlib.contextmanager
def swift_server(root: Path) -> Iterator[str]:
    """Run Swift with its data in *root* and give the URL of its s3api. Raises SwiftUnavailable."""
    _need_attributes(root)
    commands = _install()
    (root / "swift.conf").write_text(_SWIFT_CONF)
    (root / "devices" / "d1").mkdir(parents=True)
    ports = {kind: _free_port() for kind in ("proxy", *_KINDS)}
    for kind in _KINDS:
        _make_ring(commands, root, kind, ports[kind])
    with contextlib.ExitStack() as running:
        for kind, port in reversed(ports.items()):
            settings = root / f"{kind}-server.conf"
            text = _COMMON + (_PROXY if kind == "proxy" else _BACKEND)
            settings.write_text(text.format(kind=kind, port=port, root=root, user=getpass.getuser()))
            log = running.enter_context((root / f"{kind}.log").open("wb"))
            process = running.enter_context(
                subprocess.Popen([commands / f"swift-{kind}-server", settings], stdout=log, stderr=log)
            )
            running.callback(process.kill)
        url = f"http://127.0.0.1:{ports['proxy']}"
        _wait_for(url, root)
        yield url


def _need_attributes(root: Path) -> None:
    try:
        os.setxattr(root, "user.venvoy-test", b"1")
    except OSError as error:
        raise SwiftUnavailable(f"{root} has no extended attributes: {error.strerror}") from None


def _install() -> Path:
    commands = _VENV / "bin"
    if not (_VENV / "complete").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", _VENV], check=True, capture_output=True)
            subprocess.run(
                [commands / "python", "-m", "pip", "install", "-q", "swift"],
                check=True,
                capture_output=True,
                timeout=300,
            )
        except subprocess.SubprocessError as error:
            lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
            raise SwiftUnavailable(f"it cannot be installed: {lines[-1] if lines else error}") from None
        (_VENV / "complete").touch()
    return commands


def _make_ring(commands: Path, root: Path, kind: str, port: int) -> None:
    builder = [commands / "swift-ring-builder", root / f"{kind}.builder"]
    for step in (
        ("create", "4", "1", "0"),
        ("add", f"r1z1-127.0.0.1:{port}/d1", "1"),
        ("rebalance",),
    ):
        result = subprocess.run([*builder, *step], capture_output=True, text=True, check=False)
        # 1 is a warning: a ring of one device is never balanced.
        if result.returncode > 1:
            raise SwiftUnavailable(f"swift-ring-builder {step[0]}: {result.stdout}{result.stderr}")


def _wait_for(url: str, root: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        try:
            opener.open(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return  # it answers, if only that it wants a signature
        except OSError:
            if time.monotonic() > deadline:
                logs = b"".join(path.read_bytes()[-500:] for path in root.glob("*.log"))
                raise SwiftUnavailable(f"it does not start: {logs.decode(errors='replace')}") from None
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
