"""A build service with all that it needs: wheels, a store with keys, tokens, a server of its own process.

site = ServiceSite(tmp_path)
with site.running():
    build = site.submit(site.request("1.0.0"), publish=True)
    site.wait(build["id"])
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from manifests.naming import lock_file_name
from service.settings import database_path
from service.state.database import Database
from service.state.tokens import Scope, Tokens
from tests.small_site import HOST, PROJECT, TARGET, SmallSite
from tests.wheel_factory import make_wheel, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROLES = ("artifacts", "snapshot", "timestamp")
FINISHED = ("published", "built", "failed", "cancelled")
_SECONDS = 60.0


def lock_name(service: str) -> str:
    return lock_file_name(service, str(TARGET))


class ServiceSite:
    """Everything below *directory*. The service holds the keys of builders alone."""

    def __init__(
        self, directory: Path, *, options: Sequence[str] = (), build_options: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.site = SmallSite(directory / "site")
        self.wheels = directory / "wheels"
        self.wheels.mkdir()
        self.state = directory / "state"
        self.keys = directory / "service-keys"
        self.keys.mkdir(mode=0o700)
        for name in (*(f"{role}.pem" for role in ROLES), "root.json"):
            shutil.copy2(self.site.keys / name, self.keys / name)
        self.options = options
        self.build_options = build_options
        self.tokens: dict[str, str] = {}
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.log = directory / "service.log"
        self.port = 0

    def token(self, *scopes: str) -> str:
        """Return a token with *scopes*."""
        name = "-".join(scopes)
        if name not in self.tokens:
            with contextlib.closing(Database(database_path(self.state))) as database:
                self.tokens[name] = Tokens(database).add(name, [Scope(scope) for scope in scopes])
        return self.tokens[name]

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "venvoy", "serve", "--json", "--listen", f"127.0.0.1:{self.port}"),
            *("--state", str(self.state), "--store", str(self.site.store), "--keys", str(self.keys)),
            *self.options,
            *("--", "--offline", "--wheels", str(self.wheels), "--python", f"{TARGET}={HOST.executable}"),
            *self.build_options,
        ]

    def start(self) -> None:
        """Start the service and wait until it is ready; it keeps its port when it is started again."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=PROJECT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.url = json.loads(line)["url"].rstrip("/")
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """Kill the service, and nothing but it, by signal 9."""
        assert self.process is not None
        self.process.kill()
        assert self.process.wait(10) == -signal.SIGKILL
        self._close()

    def stop(self) -> int:
        """Ask the service to stop, and return its exit status."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        self._close()
        return code

    def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None

    @contextlib.contextmanager
    def running(self) -> Iterator[ServiceSite]:
        self.start()
        try:
            yield self
        finally:
            if self.process is not None:
                self.stop()

    def request(
        self,
        release: str,
        services: Sequence[str] = ("demo",),
        *,
        files: Mapping[str, bytes] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Return the body that asks for *release* of *services*, a small wheel each, made with *options*."""
        spec = [f'release = "{release}"', f'targets = ["{TARGET}"]']
        locks = {}
        for service in services:
            wheel = make_wheel(
                self.wheels,
                service,
                release,
                {f"{service}/__init__.py": b"x = 1\n", **(files or {})},
                entry_points={f"{service}-run": f"{service}:x"},
                **options,
            )
            spec += [f"[services.{service}]", f'requirements = ["{service}=={release}"]']
            locks[lock_name(service)] = self.lock(service, release, wheel)
        return {"spec": "\n".join(spec) + "\n", "locks": locks}

    def lock(self, name: str, version: str, wheel: Path) -> str:
        return (
            'lock-version = "1.0"\ncreated-by = "hand"\n'
            f'[[packages]]\nname = "{name}"\nversion = "{version}"\n'
            f'wheels = [{{ url = "https://files.example.org/{wheel.name}", size = {wheel.stat().st_size}, '
            f'hashes = {{ sha256 = "{sha256(wheel)}" }} }}]\n'
        )

    def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> requests.Response:
        """Send a request, with a token for everything unless another one is given ("" for none)."""
        secret = self.token("read", "build", "publish") if token is None else token
        headers = {**options.pop("headers", {}), **({"Authorization": f"Bearer {secret}"} if secret else {})}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **options)

    def submit(self, body: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        answer = self.call("POST", "/api/v1/builds", json={**body, **more})
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def build(self, build_id: str) -> dict[str, Any]:
        return self.call("GET", f"/api/v1/builds/{build_id}").json()

    def wait(self, build_id: str, seconds: float = _SECONDS) -> dict[str, Any]:
        """Wait until a build is finished, and return it."""
        deadline = time.monotonic() + seconds
        while (build := self.build(build_id))["state"] not in FINISHED:
            assert time.monotonic() < deadline, (build, self.texts(build_id))
            time.sleep(0.05)
        return build

    def texts(self, build_id: str) -> list[str]:
        """Return the lines of a build's log."""
        lines = self.call("GET", f"/api/v1/builds/{build_id}/log").json()["lines"]
        return [line["text"] for line in lines]

    def workers(self) -> list[int]:
        """Return the commands that work for the service; one that is only about to begin is none yet."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = []
        for pid in map(int, tasks.read_text().split()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[1:2] and words[1].endswith(b"venvoy.py"):
                    found.append(pid)
        return found

    def frozen_worker(self) -> int:
        """Wait until something is built, stop that worker where it is, and return it."""
        deadline = time.monotonic() + 30
        while not (workers := self.workers()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(workers[0], signal.SIGSTOP)
        return workers[0]


def alive(pid: int) -> bool:
    """Say whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def written(folder: Path, body: dict[str, Any]) -> Path:
    """Write a release as people keep it; return its spec."""
    for name, text in body["locks"].items():
        path = folder / "locks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    spec = folder / "release.toml"
    spec.write_text(body["spec"])
    return spec
