"""Bubblewrap's command line: an allow-list of what a build sees of this machine.

Nothing of the machine is there unless it is named here: the system's programs and libraries, the few
files of /etc that linkers, compilers and TLS need, and what the caller names. Home folders, keys, the
caches and other processes are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives",
    "crypto-policies",
    "debian_version",
    "group",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "redhat-release",
    "timezone",
)
_ETC_NETWORK = (
    "ca-certificates",
    "gai.conf",
    "host.conf",
    "hosts",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
_SCRATCH_BYTES = 64 * 1024 * 1024


def bubblewrap_command(
    command: Sequence[str],
    *,
    writable: Iterable[Path],
    readable: Iterable[Path],
    network: bool,
    as_root: bool,
) -> list[str]:
    """Return the command line that runs *command* inside, in its root folder.

    *writable* and *readable* appear under their own paths. Called *as_root*, the command begins as root
    with nothing but the right to become another user; otherwise in a user namespace.
    """
    words = ["bwrap", "--die-with-parent", "--new-session", "--hostname", "build"]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if as_root:
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user"]
    words += [] if network else ["--unshare-net"]
    words += _system(network=network)
    words += ["--proc", "/proc", "--dev", "/dev"]
    for place in ("/tmp", "/dev/shm"):  # noqa: S108 - inside; both small, since they are memory
        words += ["--perms", "1777", "--size", str(_SCRATCH_BYTES), "--tmpfs", place]
    seen, own = list(_outside_usr(readable)), list(writable)
    words += _folders(sorted({parent for path in (*seen, *own) for parent in list(path.parents)[:-1]}))
    for path in seen:
        words += ["--ro-bind", str(path), str(path)]
    for path in own:
        words += ["--bind", str(path), str(path)]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--"]
    return [*words, *command]


def _system(*, network: bool) -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    folders = [path for path in map(Path, ("/etc", "/etc/pki", "/etc/pki/tls", "/etc/ssl")) if path.is_dir()]
    words += _folders(folders)
    for name in (*_ETC, *(_ETC_NETWORK if network else ())):
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return words


def _folders(paths: Iterable[Path]) -> list[str]:
    """Make folders that all may enter; those that bubblewrap makes by itself are its own alone."""
    return [word for path in paths for word in ("--perms", "0755", "--dir", str(path))]


def _outside_usr(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out what is there anyway, and what would show the whole machine."""
    for path in dict.fromkeys(paths):
        if path.exists() and not path.is_relative_to("/usr") and path != Path("/"):
            yield path
