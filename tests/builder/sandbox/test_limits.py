from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.sandbox.bubblewrap import bubblewrap_command
from builder.sandbox.cage import stricter
from builder.sandbox.limits import BuildLimits, excess
from manifests.errors import InvalidInput


def test_limits_are_read() -> None:
    assert BuildLimits.parse("") == BuildLimits()
    read = BuildLimits.parse("time=900, memory=4G,disk=512M,processes=256")
    assert read == BuildLimits(time=900, memory=4 * 1024**3, disk=512 * 1024**2, processes=256)


@pytest.mark.parametrize(
    "text", ["tim=1", "time", "time=", "time=-1", "time=1,time=2", "memory=4P", "disk=0"]
)
def test_limits_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^limit "):
        BuildLimits.parse(text)


def test_what_exceeds_is_named(tmp_path: Path) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    folder.mkdir()
    log.touch()
    (folder / "file").write_bytes(b"x" * 2_000_000)
    (folder / "link").symlink_to("/usr")
    limits = BuildLimits()
    assert excess(limits, os.getpid(), folder, log) is None
    small = BuildLimits(disk=1024**2)
    assert "of disk, more than 1.0 MB" in str(excess(small, os.getpid(), folder, log))
    assert "of memory, more than" in str(excess(BuildLimits(memory=1024), os.getpid(), folder, log))
    sleeping = [subprocess.Popen(["sleep", "60"]) for _ in range(18)]
    try:
        assert "processes, more than 1" in str(excess(BuildLimits(processes=1), os.getpid(), folder, log))
    finally:
        for process in sleeping:
            process.kill()
            process.wait()


def test_the_stricter_word_counts() -> None:
    assert stricter("off", "auto") == "auto"
    assert stricter("require", "auto") == "require"
    assert stricter("off", "off") == "off"


def test_nothing_but_what_is_named_is_shown() -> None:
    python = Path(sys.base_prefix)
    words = bubblewrap_command(
        ["true"], writable=[Path("/srv/build")], readable=[Path("/"), python], network=False, as_root=False
    )
    binds = {words[i + 1] for i, word in enumerate(words) if word in ("--ro-bind", "--bind")}
    assert "/" not in binds
    assert not binds & {"/etc", "/home", "/root", "/var", "/srv", "/run"}
    assert "--unshare-net" in words
    assert not [word for word in words if word.startswith("/etc/") and "resolv" in word]
