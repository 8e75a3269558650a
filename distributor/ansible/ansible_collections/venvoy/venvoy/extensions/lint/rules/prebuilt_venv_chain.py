"""Rule `prebuilt-venv-chain`: a prebuilt venv comes by one task, not by a chain that can break anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from venvoy_lint.base import Finding, MigrationRule
from venvoy_lint.tasks import Task
from venvoy_lint.venv_steps import chains_in

_INSTEAD = "replace them by the role venvoy.venvoy.python_venv or one venvoy.venvoy.venv_artifact task"


class PrebuiltVenvChainRule(MigrationRule):
    """A prebuilt venv is fetched, unpacked and repaired by tasks of their own."""

    id = "prebuilt-venv-chain"
    description = (
        "A venv that is downloaded, removed, unpacked and repaired by separate tasks is left half done by "
        "whatever interrupts the play, and the next run says 'unchanged'. One task replaces the chain: "
        "the role python_venv, or the module venv_artifact."
    )
    tags = ["idempotency", "idiom"]  # noqa: RUF012

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find each chain, at its download."""
        for chain in chains_in(tasks):
            steps = ", ".join(f"{what} (line {line})" for what, line in chain.steps)
            how = f"A prebuilt venv in {len(chain.steps)} tasks, any of which may be the last to run: {steps}"
            yield chain.download.first, f"{how}; {_INSTEAD}"
