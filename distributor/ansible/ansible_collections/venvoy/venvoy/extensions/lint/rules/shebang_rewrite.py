"""Rule `shebang-rewrite`: scripts of a relocatable venv need no rewriting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from venvoy_lint.base import Finding, MigrationRule
from venvoy_lint.tasks import Task
from venvoy_lint.venv_steps import (
    chains_in,
    is_repair,
    is_unpack,
    reimplants_python,
    rewrites_shebangs,
    unpacks_venv,
)


class ShebangRewriteRule(MigrationRule):
    """First lines of scripts are rewritten, or an interpreter is planted anew, in a venv that was moved."""

    id = "shebang-rewrite"
    description = (
        "Rewriting #! lines with sed, virtualenv-tools or a second virtualenv over an unpacked tree "
        "stops half way at a file that it does not expect. Artifacts are relocatable: delete the task."
    )
    tags = ["idempotency", "idiom"]  # noqa: RUF012

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find the tasks that repair a venv; virtualenv-tools within a chain is reported with the chain."""
        chained = bool(chains_in(tasks))
        unpacked = chained or any(unpacks_venv(task) for task in tasks)
        rewritten = any(rewrites_shebangs(task) for task in tasks)
        for task in tasks:
            if rewrites_shebangs(task):
                what = "rewrites the #! lines of a venv's scripts"
            elif is_repair(task) and not chained:
                what = "rewrites the paths in a venv"
            elif reimplants_python(task) and (rewritten or (unpacked and any(map(is_unpack, tasks)))):
                what = "plants an interpreter into an unpacked venv"
            else:
                continue
            yield (
                task.first,
                f"This task {what}: artifacts are relocatable and bound by their installation; delete it",
            )
