"""Rule `mark-before-payload`: what says "done" is written last, and together with what was done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from venvoy_lint.base import Finding, MigrationRule
from venvoy_lint.tasks import Task
from venvoy_lint.venv_steps import VENV, chains_in, is_download, unpacks_venv

_CHECKSUM = re.compile(r"checksum|sha(?:1|256|512)(?:sum)?\b|md5(?:sum)?\b", re.IGNORECASE)
_MARKER = re.compile(
    r"(?:installed|complete[d]?|deployed|done|stamp|version|tag)(?:['\"\s}.]|$)", re.IGNORECASE
)

_TAG = (
    "The venv's tag is recorded by a task of its own, which an interrupted play never reaches or has already "
    "passed: put it into venv_facts_when_changed (role) or facts (module)"
)
_FETCHED = (
    "The checksum comes by a task of its own, so that it may belong to another archive than the one fetched: "
    "venv_artifact checks signed digests by itself; delete the task"
)
_EARLY = (
    "This mark is written before what it marks is there: delete it; the venv's receipt says what is there"
)


class MarkBeforePayloadRule(MigrationRule):
    """The mark that a venv is complete is written before the venv, or by a task of its own."""

    id = "mark-before-payload"
    description = (
        "A mark (a fact with the venv's tag, a stamp file, a checksum that is fetched apart from its file) "
        "that is not written together with what it marks survives an interruption and lies. The receipt that "
        "venv_artifact writes is in the tree and comes last; facts belong into venv_facts_when_changed."
    )
    tags = ["idempotency", "idiom"]  # noqa: RUF012

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find marks in files that also bring a venv: elsewhere nothing says what they would mark."""
        payloads = [task for task in tasks if unpacks_venv(task) or _installs_into_venv(task)]
        payloads += [chain.unpack for chain in chains_in(tasks)]
        if not payloads:
            return
        last = max(task.first for task in payloads)
        for task in tasks:
            if _records_tag(task):
                yield task.first, _TAG
            elif _fetches_checksum(task):
                yield task.first, _FETCHED
            elif task.first < last and _writes_marker(task):
                yield task.first, _EARLY


def _installs_into_venv(task: Task) -> bool:
    return task.module == "pip" and bool(
        task.args.get("virtualenv") or VENV.search(task.args.get("executable", ""))
    )


def _records_tag(task: Task) -> bool:
    """Say whether *task* writes a venv's tag where facts are read; distribution packages have no venv."""
    if any("distro" in condition for condition in task.conditions):
        return False
    if task.module == "ini_file":
        return task.args.get("option", "").endswith("venv_tag") or (
            "{{" in task.args.get("option", "") and "venv_tag" in task.loop
        )
    wrote = " ".join(task.args.get(name, "") for name in ("line", "content", "path", "dest"))
    return task.module in ("lineinfile", "copy") and ".fact" in wrote and "venv_tag" in wrote


def _fetches_checksum(task: Task) -> bool:
    url = task.args.get("url", "")
    if task.module == "uri" or is_download(task):
        return bool(_CHECKSUM.search(url) and (VENV.search(url) or VENV.search(task.name)))
    return False


def _writes_marker(task: Task) -> bool:
    where = task.args.get("path", "") or task.args.get("dest", "")
    if task.module == "file" and task.args.get("state") == "touch":
        return bool(_MARKER.search(where))
    return (
        task.module == "copy"
        and "content" in task.args
        and bool(_MARKER.search(where) and VENV.search(where))
    )
