"""What a task does to a virtual environment: fetch it, unpack it, repair it, mark it, install into it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from venvoy_lint.tasks import Task

# `venv` or `virtualenv` as a word or a part of a name, but not at the end of another word.
VENV = re.compile(r"(?<![a-z])v(?:irtual)?envs?(?![a-z])", re.IGNORECASE)
_TAR = re.compile(
    r"(?:^|[\s;&|/])(?:bsd)?tar\s+(?:[a-zA-Z]*x[a-zA-Z]*\s|[^;&|\n]*?(?<!-)-[a-zA-Z]*x|[^;&|\n]*--extract\b)"
)
_FETCH = re.compile(r"(?:^|[\s;&|/])(?:curl|wget|aria2c|rsync)\s")
_SED_SHEBANG = re.compile(r"\b(?:sed|perl)\b.*#\\?!", re.DOTALL)
_TOOLS = re.compile(r"\bvirtualenv-tools\b|\bvirtualenv\b[^\n;&|]*--relocatable\b")
_REIMPLANT = re.compile(
    r"(?:^|[\s;&|/])virtualenv\b[^\n;&|]*--always-copy\b|-m\s+venv\b[^\n;&|]*--(?:copies|upgrade)\b"
)
_TEMPLATED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """Tasks that together bring a prebuilt venv to a host."""

    download: Task
    unpack: Task
    steps: tuple[tuple[str, int], ...]  # what each step does, and its line


def is_unpack(task: Task) -> bool:
    """Say whether *task* unpacks an archive."""
    return task.module == "unarchive" or (
        task.module in ("command", "shell", "raw") and bool(_TAR.search(task.command))
    )


def archive_of(task: Task) -> str:
    """Return what an unpacking task unpacks, and for commands the whole command."""
    return task.args.get("src", "") if task.module == "unarchive" else task.command


def unpacks_venv(task: Task) -> bool:
    """Say whether *task* unpacks a virtual environment; a theme unpacked *into* one is none."""
    return is_unpack(task) and bool(VENV.search(archive_of(task)) or VENV.search(task.name))


def is_download(task: Task) -> bool:
    """Say whether *task* fetches a file by URL."""
    return task.module == "get_url" or (
        task.module in ("command", "shell", "raw") and bool(_FETCH.search(task.command))
    )


def is_repair(task: Task) -> bool:
    """Say whether *task* lets a tool rewrite the paths in a venv."""
    return task.module in ("command", "shell", "raw") and bool(_TOOLS.search(task.command))


def rewrites_shebangs(task: Task) -> bool:
    """Say whether *task* edits the first lines of a venv's scripts."""
    if task.module in ("command", "shell", "raw"):
        return bool(_SED_SHEBANG.search(task.command) and re.search(r"bin\b", task.command))
    if task.module in ("replace", "lineinfile"):
        where = task.args.get("path", "") or task.args.get("dest", "")
        what = task.args.get("regexp", "")
        return what.lstrip("^(").replace("\\", "").startswith("#!") and bool(
            re.search(r"_bin\b", where) or (VENV.search(where) and "bin" in where) or VENV.search(task.loop)
        )
    return False


def reimplants_python(task: Task) -> bool:
    """Say whether *task* makes a venv in such a way that it may overwrite one that is there."""
    return task.module in ("command", "shell", "raw") and bool(_REIMPLANT.search(task.command))


def chains_in(tasks: list[Task]) -> list[Chain]:
    """Return the chains of one file: a download, and an unpacking of what it fetched, of a venv."""
    found, used = [], set()
    for unpack in filter(is_unpack, tasks):
        for download in filter(is_download, tasks):
            if download.first in used or not _same_archive(download, unpack):
                continue
            about = (
                download.args.get("url", ""),
                download.command,
                archive_of(unpack),
                download.name,
                unpack.name,
            )
            if any(VENV.search(text) for text in about) or _is_repaired(unpack, tasks):
                used.add(download.first)
                found.append(Chain(download=download, unpack=unpack, steps=_steps(download, unpack, tasks)))
                break
    return found


def _same_archive(download: Task, unpack: Task) -> bool:
    """Say whether *unpack* unpacks what *download* fetched: its path, or one made of the same variables."""
    archive = archive_of(unpack)
    target = download.args.get("dest", "") or download.command
    if target.strip() and target.strip() in archive:
        return True
    variables = _variables(download.args.get("url", "") + target)
    return bool(variables) and bool(variables & _variables(archive))


def _variables(text: str) -> set[str]:
    """Return the names of variables in templates whose name says that they locate an archive or a venv."""
    inside = " ".join(re.findall(r"\{\{(.*?)\}\}", text, re.DOTALL))
    return {name for name in _TEMPLATED.findall(inside) if re.search(r"url|archive|tarball|tgz", name)}


def _is_repaired(unpack: Task, tasks: list[Task]) -> bool:
    """Say whether what was unpacked is repaired as a venv in the same place."""
    place = unpack.args.get("dest", "").strip()
    return bool(place) and any(is_repair(task) and place in task.command for task in tasks)


def _steps(download: Task, unpack: Task, tasks: list[Task]) -> tuple[tuple[str, int], ...]:
    steps = [("download", download.first), ("unpack", unpack.first)]
    for task in tasks:
        if (
            task.module == "file"
            and task.args.get("state") == "absent"
            and VENV.search(task.name + task.args.get("path", ""))
        ):
            steps.append(("removal", task.first))
        elif is_repair(task) or rewrites_shebangs(task) or reimplants_python(task):
            steps.append(("repair", task.first))
    return tuple(sorted(steps, key=lambda step: step[1]))
