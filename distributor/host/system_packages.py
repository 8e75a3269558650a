"""System packages in a venv: links to what dpkg or rpm put into the host's own Python folders.

Some modules cannot come as wheels, since they must be of the host's own libraries (libvirt, libguestfs).
A spec names their packages; the package manager says which files are theirs, and each module, package
and metadata folder among them becomes one link. ``.pth`` files run code in every interpreter that
starts, and are never linked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from manifests.errors import HostUnsuitable, Refused

if TYPE_CHECKING:
    from manifests.interpreter import Interpreter

_SECONDS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]*")
_TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDER = re.compile(r"/usr/lib(?:64)?/python(\d+)(?:\.(\d+))?/(?:dist|site)-packages/(.+)")
_EXTENSION = re.compile(r"([^/.]+)\.(?:(cpython-\d+[a-z]*)[^/]*\.)?(?:abi3\.)?so")
_METADATA = (".dist-info", ".egg-info")
_LEFT_OUT = (".pth", ".pyc", ".pyo")


@dataclass(frozen=True, kw_only=True)
class _Owned:
    """The files of one package that are below the host's Python folders, by path from such a folder."""

    package: str
    files: dict[str, str]

    def children(self) -> dict[str, set[str]]:
        """Return the names in each folder that holds files of the package; "" is the uppermost."""
        found: dict[str, set[str]] = {}
        for path in self.files:
            parts = path.split("/")
            for depth, name in enumerate(parts):
                found.setdefault("/".join(parts[:depth]), set()).add(name)
        return found


def find_links(
    names: Sequence[str], site_packages: PurePath, interpreter: Interpreter, *, root: Path = Path("/")
) -> dict[str, str]:
    """Return the links that bring the system packages *names* into a venv: path in it -> path on the host.

    *site_packages* is relative to the venv, *interpreter* the one that it is bound to, *root* where the
    host's files and package lists lie. A package's folder with an ``__init__`` is one link; a namespace
    shared by many packages is none, but what lies below it. Raises HostUnsuitable in one line: without
    dpkg and rpm, for a package that is not installed, has nothing for this Python, or of whose files
    one is gone.
    """
    if not names:
        return {}
    manager = _manager(root)
    links: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            raise HostUnsuitable(f"{name!r} cannot name a system package")
        owned = _owned(name, manager.files(name), interpreter, manager)
        for path in _to_link(owned, interpreter, root):
            target = _on_host(path, owned)
            if links.get(path, target) != target:
                raise HostUnsuitable(f"system packages {owners[path]} and {name} both bring {path}: name one")
            if not os.path.lexists(f"{root}{target}"):
                raise HostUnsuitable(
                    f"system package {name} is damaged: {target} is gone; '{manager.again} {name}'"
                )
            links[path], owners[path] = target, name
    prefix = "" if root == Path("/") else str(root)
    return {
        str(site_packages / path): f"{prefix}{target}"
        for path, target in sorted(links.items())
        if not _comes_with_another(path, target, links)
    }


def make_links(staged: Path, links: dict[str, str]) -> dict[str, str]:
    """Make *links* in the tree *staged* and return those made, which a receipt should record.

    Where the tree has a real folder of the name already, the links are made below it instead. Raises
    Refused naming both sides where a file is there already, OSError.
    """
    made: dict[str, str] = {}
    refused: list[str] = []
    pending = sorted(links.items(), reverse=True)
    while pending:
        path, target = pending.pop()
        place, source = staged / path, Path(target)
        if not os.path.lexists(place):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            place.symlink_to(target)
            made[path] = target
        elif place.is_dir() and not place.is_symlink() and source.is_dir():
            below = sorted(entry.name for entry in source.iterdir() if not _is_left_out(entry.name))
            pending += [(f"{path}/{name}", f"{target}/{name}") for name in reversed(below)]
        else:
            refused.append(f"{path} (the host's {target})")
    if refused:
        shown = ", ".join(refused[:3]) + (f" and {len(refused) - 3} more" if len(refused) > 3 else "")
        raise Refused(f"wheels and system packages both bring {shown}: the spec must leave one of them out")
    return made


def link_problems(venv: Path, links: dict[str, str]) -> list[str]:
    """Return what is not as recorded: links altered or missing, and hosts' files that are gone."""
    wrong = []
    for path, target in sorted(links.items()):
        try:
            found: str | None = str((venv / path).readlink())
        except OSError:
            found = None
        if found != target:
            wrong.append(path)
        elif not os.path.exists(target):  # noqa: PTH110 - links behind it are followed, errors mean gone
            wrong.append(f"{path} -> {target} (gone)")
    return wrong


def _comes_with_another(path: str, target: str, links: dict[str, str]) -> bool:
    """Whether a link to a folder above brings *path* too: packages may add to another one's folder."""
    return any(
        links.get(str(above)) == target.removesuffix(path) + str(above) for above in PurePath(path).parents
    )


class _Dpkg:
    """Asks dpkg below *root*."""

    install = "apt install"
    again = "apt install --reinstall"

    def __init__(self, tool: str, root: Path) -> None:
        self._query = [tool, f"--admindir={root / 'var/lib/dpkg'}"]

    def files(self, name: str) -> list[str]:
        form = "${binary:Package} ${db:Status-Status}\n"
        answer = _ask([*self._query, "--show", f"--showformat={form}", "--", name])
        installed = [line.split()[0] for line in answer.splitlines() if line.endswith(" installed")]
        if not installed:
            raise _not_installed(name, self.install)
        # Of a package that is there for several machines dpkg wants to know which one is meant.
        which = name if len(installed) == 1 else installed[0]
        return _ask([*self._query, "--listfiles", "--", which]).splitlines()


class _Rpm:
    """Asks rpm below *root*."""

    install = "dnf install"
    again = "dnf reinstall"

    def __init__(self, tool: str, root: Path) -> None:
        self._query = [tool, "--root", str(root)] if root != Path("/") else [tool]

    def files(self, name: str) -> list[str]:
        answer = _ask([*self._query, "-q", "-l", "--", name])
        if not answer:
            raise _not_installed(name, self.install)
        return answer.splitlines()


def _manager(root: Path) -> _Dpkg | _Rpm:
    dpkg, rpm = shutil.which("dpkg-query", path=_TOOLS), shutil.which("rpm", path=_TOOLS)
    if dpkg and (not rpm or (root / "var/lib/dpkg/status").is_file()):
        return _Dpkg(dpkg, root)
    if rpm:
        return _Rpm(rpm, root)
    raise HostUnsuitable("system packages can be linked on hosts with dpkg or rpm; this one has neither")


def _not_installed(name: str, install: str) -> HostUnsuitable:
    return HostUnsuitable(f"system package {name} is not installed: '{install} {name}'")


def _ask(command: list[str]) -> str:
    """Return what *command* printed; "" where it failed, as it does for unknown packages."""
    environment = {"PATH": _TOOLS, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostUnsuitable(f"{command[0]} did not answer within {_SECONDS} seconds") from None
    except OSError as error:
        raise HostUnsuitable(f"{command[0]} cannot be run: {error.strerror}") from error
    return os.fsdecode(done.stdout) if done.returncode == 0 else ""


def _owned(name: str, listed: list[str], interpreter: Interpreter, manager: _Dpkg | _Rpm) -> _Owned:
    """Return the files of *listed* that are for *interpreter*. Raises HostUnsuitable where none is."""
    major, minor = interpreter.python
    files: dict[str, str] = {}
    others: set[str] = set()
    for line in listed:
        match = _FOLDER.fullmatch(line)
        if match is None:
            continue
        if match[1] != str(major) or match[2] not in (None, str(minor)):
            others.add(f"{match[1]}.{match[2]}" if match[2] else match[1])
        elif line not in files.values():
            files[match[3]] = line
    folders = {path.rpartition("/")[0] for path in files}
    files = {path: line for path, line in files.items() if path not in folders}
    files = {path: line for path, line in files.items() if not _is_left_out(path)}
    misfits = _misfits(files, interpreter)
    if misfits:
        raise HostUnsuitable(
            f"system package {name} is for {misfits[1]}, the venv for {_tag(interpreter)} ({misfits[0]}): "
            f"'{manager.install}' one for Python {major}.{minor}, or bind the venv to another (--python)"
        )
    if not files:
        what = f"is for Python {', '.join(sorted(others))}" if others else "has no Python module"
        raise HostUnsuitable(
            f"system package {name} {what}, the venv is for {major}.{minor}: "
            f"'{manager.install}' one for it, or bind the venv to another Python (--python)"
        )
    return _Owned(package=name, files=files)


def _misfits(files: dict[str, str], interpreter: Interpreter) -> tuple[str, str] | None:
    """Return an extension module that *interpreter* cannot load in any of its forms, and its tag."""
    forms: dict[str, list[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        match = _EXTENSION.fullmatch(name)
        if match is not None:
            forms.setdefault(f"{folder}/{match[1]}", []).append(match[2] or "")
    for stem, tags in sorted(forms.items()):
        if not {"", _tag(interpreter)} & set(tags):
            return stem.strip("/"), min(tags)
    return None


def _tag(interpreter: Interpreter) -> str:
    major, minor = interpreter.python
    return f"cpython-{major}{minor}{interpreter.abi_flags}"


def _to_link(owned: _Owned, interpreter: Interpreter, root: Path) -> list[str]:
    """Return the paths to link: modules, packages and metadata, as high up as they are one package's."""
    children = owned.children()
    found: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        for name in children[folder]:
            path = f"{folder}/{name}" if folder else name
            if path not in children:
                if folder or name.endswith((".py", *_METADATA)) or _loads(name, interpreter):
                    found.append(path)
            elif (
                name.endswith(_METADATA)
                or any(item.startswith("__init__.") for item in children[path])
                or (root / f"{_on_host(path, owned)}/__init__.py".lstrip("/")).exists()  # another package's
            ):
                found.append(path)
            else:
                pending.append(path)
    return sorted(found)


def _loads(name: str, interpreter: Interpreter) -> bool:
    match = _EXTENSION.fullmatch(name)
    return match is not None and match[2] in (None, _tag(interpreter))


def _on_host(path: str, owned: _Owned) -> str:
    """Return where *path*, a file of the package or a folder that holds some, lies on the host."""
    if path in owned.files:
        return owned.files[path]
    inside = min(item for item in owned.files if item.startswith(f"{path}/"))
    return owned.files[inside].removesuffix(inside.removeprefix(path))


def _is_left_out(path: str) -> bool:
    return path.endswith(_LEFT_OUT) or "__pycache__" in path.split("/")
