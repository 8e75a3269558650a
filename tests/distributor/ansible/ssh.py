"""sshd as hosts run it, in the root of a test's host: a port, a host key and one user's key of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributor.ansible.web import free_port

_PLACE = Path("/etc/ssh-of-tests")
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host_key
AuthorizedKeysFile {place}/authorized_keys
PidFile {place}/pid
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""


@contextlib.contextmanager
def ssh_host(root: Path, folder: Path, *, pipelining: bool) -> Iterator[dict[str, Any]]:
    """Run sshd in *root*; yield what an inventory says of the host. *folder* is the controller's."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if sshd is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd is not installed: .ci/install-system-packages brings it")
    place, port = root / _PLACE.relative_to("/"), free_port()
    for path in (place, root / "run/sshd", folder):
        path.mkdir(parents=True, exist_ok=True)
    for key in (place / "host_key", folder / "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (place / "authorized_keys").write_text((folder / "key.pub").read_text())
    (place / "config").write_text(_CONFIG.format(port=port, place=_PLACE))
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(place / 'host_key.pub').read_text()}")
    with subprocess.Popen(
        ["chroot", str(root), sshd, "-D", "-e", "-f", f"{_PLACE}/config"], stderr=subprocess.DEVNULL
    ) as server:
        try:
            deadline = time.monotonic() + 20
            while not (place / "pid").exists():
                assert server.poll() is None, "sshd does not start"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield {
                "ansible_connection": "ssh",
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(folder / "key"),
                "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={known} "
                "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
                "ansible_pipelining": pipelining,
                # No lasting connection: it would outlive the test.
                "ansible_ssh_args": "-o ControlMaster=no",
                "ansible_ssh_use_tty": False,
            }
        finally:
            server.terminate()
