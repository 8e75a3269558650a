"""nginx as repo servers run it: a process with a folder of settings, and one that balances over several."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

_MAIN = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _user() -> str:
    """Let workers read the folders of tests, which are root's alone where root runs them."""
    return "user root;" if os.geteuid() == 0 else ""


class Nginx:
    """A running nginx with its settings in *folder*/conf.d."""

    def __init__(self, folder: Path) -> None:
        path = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if path is None:
            pytest.skip("nginx is not installed (apt install nginx-light)")
        self.folder = folder
        (folder / "conf.d").mkdir(parents=True)
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=_user()))
        self.command = [path, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not (self.folder / "nginx.pid").exists():
            assert time.monotonic() < deadline, (self.folder / "error.log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)

    def requests(self) -> list[str]:
        return (self.folder / "access.log").read_text().splitlines()


def balancer(folder: Path, port: int, backends: list[int]) -> Nginx:
    """Return an nginx at *port* that gives each request to the next of *backends*."""
    server = Nginx(folder)
    members = "".join(f"server 127.0.0.1:{backend};" for backend in backends)
    (folder / "conf.d/balancer.conf").write_text(
        f"upstream repo {{ {members} }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://repo; }} }}\n"
    )
    return server
