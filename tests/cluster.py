"""A Dask cluster for tests: real processes on the loopback interface, with or without TLS.

with Cluster(tmp_path, cache=cache) as cluster:
    subprocess.run([..., "build", *cluster.options])
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

ROOT = Path(__file__).parents[1]
START_SECONDS = 90


class Cluster:
    """A scheduler and *jobs* workers that use *cache*. What is killed can be started again."""

    def __init__(self, work: Path, *, cache: Path, jobs: int = 2, tls: bool = True) -> None:
        self.work = work
        self.cache = cache
        self.jobs = jobs
        self.port = free_port()
        self.certificates = make_certificates(work / "certificates") if tls else None
        self.url = f"{'tls' if tls else 'tcp'}://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: subprocess.Popen[bytes] | None = None
        self.log = work / "cluster.log"

    def __enter__(self) -> Cluster:
        try:
            self.start_scheduler()
            self.start_workers()
            self.wait()
        except BaseException:
            self.__exit__(None, None, None)  # nobody else ends what was started
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One after the other: workers that cannot say goodbye try for seconds.
        for process in (self.workers, self.scheduler):
            if process is not None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    @property
    def files(self) -> list[str]:
        """Options that name the certificates, as 'venvoy' spells them."""
        if self.certificates is None:
            return []
        folder = self.certificates
        return [
            f"--cluster-ca={folder}/ca.pem",
            f"--cluster-cert={folder}/node.pem",
            f"--cluster-key={folder}/node.key",
        ]

    @property
    def options(self) -> list[str]:
        """Options of 'venvoy build'."""
        return ["--cluster", self.url, *self.files]

    def start_scheduler(self) -> None:
        """Start the scheduler, again if need be, at the same address."""
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", self.url]
        command += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        if self.certificates is not None:
            folder = self.certificates
            command += ["--protocol", "tls", "--tls-ca-file", str(folder / "ca.pem")]
            command += ["--tls-cert", str(folder / "node.pem"), "--tls-key", str(folder / "node.key")]
        self.scheduler = self._start(command)

    def start_workers(self) -> None:
        """Start 'venvoy worker'."""
        command = [sys.executable, "-m", "venvoy", "worker", self.url, *self.files]
        command += ["--cache", str(self.cache), "--jobs", str(self.jobs), "--python", sys.executable]
        self.workers = self._start(command)

    def wait(self) -> None:
        """Wait until all workers have come."""
        deadline = time.monotonic() + START_SECONDS
        while self.log.read_bytes().count(b"Starting established connection to") < self.jobs:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster did not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def kill_scheduler(self) -> None:
        """Kill the scheduler as the kernel would."""
        if self.scheduler is None:
            raise AssertionError("there is none")
        self.scheduler.kill()
        if self.scheduler.wait() != -signal.SIGKILL:
            raise AssertionError("it was dead already")

    def worker_processes(self) -> list[int]:
        """Return the processes that run tasks: children of Dask's worker command, without its helpers."""
        if self.workers is None:
            return []
        found = []
        for dask in children(self.workers.pid):
            for child in children(dask):
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{child}/cmdline").read_bytes()
                    if b"spawn_main" in words:
                        found.append(child)
        return found

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.work
            )


def children(parent: int) -> Iterator[int]:
    """Yield the processes that *parent* started."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    yield int(entry.name)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificates(folder: Path) -> Path:
    """Make a certificate authority ('ca.pem') and a certificate of it ('node.pem', 'node.key')."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder.mkdir(parents=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "node")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in keys}
    for name, key in keys.items():
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "node":
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        certificate = builder.sign(keys["ca"], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(private)
    return folder
