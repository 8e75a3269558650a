"""A connection into a root of its own on this machine: tests have several hosts without any network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: overlay
short_description: Run in another root
description: Runs commands below another root by chroot.
author: The Venvoy authors
options:
  root:
    description: The root.
    required: true
    vars:
      - name: overlay_root
"""


class Connection(ConnectionBase):
    transport = "overlay"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            ["chroot", self.get_option("root"), "/bin/sh", "-c", cmd],
            input=in_data,
            stdin=None if in_data is not None else subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        shutil.copyfile(in_path, self._inside(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        shutil.copyfile(self._inside(in_path), out_path)

    def close(self) -> None:
        self._connected = False

    def _inside(self, path: Any) -> Path:
        return Path(self.get_option("root")) / str(path).lstrip("/")
