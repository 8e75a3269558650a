"""Rule `toggle`: no variable decides any more whether a service lives in a virtual environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ansiblelint.rules import TransformMixin
from venvoy_lint.base import Finding, MigrationRule, task_at
from venvoy_lint.conditions import TOGGLE
from venvoy_lint.fixing import fix_yaml, is_used_beyond_fixing
from venvoy_lint.role_files import role_of
from venvoy_lint.tasks import Task
from venvoy_lint.template_fixing import fix_template
from venvoy_lint.toggles import advice, toggle_lines

if TYPE_CHECKING:
    from ansiblelint.errors import MatchError
    from ansiblelint.file_utils import Lintable
    from ruamel.yaml.comments import CommentedMap, CommentedSeq


class ToggleRule(MigrationRule, TransformMixin):
    """Services are installed into virtual environments only: a toggle has no effect."""

    id = "toggle"
    description = (
        "Variables named *_venv_enabled decided whether a service was installed into a virtual environment. "
        "They do not exist any more. --fix deletes the variable, conditions that are always true, "
        "and tasks that never run."
    )
    tags = ["deprecations", "idiom"]  # noqa: RUF012

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find each line that holds a toggle, once."""
        for number, line in toggle_lines(path, text):
            yield number, advice(path, line, task_at(tasks, number))

    def transform(
        self, match: MatchError, lintable: Lintable, data: CommentedMap | CommentedSeq | str
    ) -> None:
        """Correct what is safe to correct; the rest stays reported.

        A variable that something else still asks for stays too: without it, that would fail.
        """
        if isinstance(data, str):
            lintable.content = fix_template(lintable.content)
            match.fixed = match.details not in map(str.strip, lintable.content.splitlines())
        elif not self._is_needed(match, lintable):
            match.fixed = fix_yaml(data, match.lineno)

    def _is_needed(self, match: MatchError, lintable: Lintable) -> bool:
        role, name = role_of(lintable.path), TOGGLE.search(match.message)
        if role is None or name is None or "delete the variable" not in match.message:
            return False
        return is_used_beyond_fixing(role, name[0])
