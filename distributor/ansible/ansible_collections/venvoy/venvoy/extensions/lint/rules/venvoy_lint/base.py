"""What the rules have in common: one look at a file's text, line by line or task by task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ansiblelint.file_utils import Lintable
from ansiblelint.rules import AnsibleLintRule
from ansiblelint.skip_utils import get_rule_skips_from_line

from venvoy_lint.role_files import files_of, is_template, is_watched, role_of
from venvoy_lint.tasks import Task, tasks_in

if TYPE_CHECKING:
    from ansiblelint.errors import MatchError

GUIDE = "docs/migrating.md"
# What a rule finds: the line, from 1, and what to do about it.
Finding = tuple[int, str]


class MigrationRule(AnsibleLintRule):
    """A rule that reads files by itself, so that a task which Ansible refuses hides nothing."""

    severity = "HIGH"
    version_changed = "0.1.0"

    @property
    def url(self) -> str:
        """Where the rule is explained."""
        return f"{GUIDE}#{self.id}"

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterable[Finding]:
        """Return what is wrong in one file; rules define this."""
        raise NotImplementedError

    def matchlines(self, file: Lintable) -> list[MatchError]:
        """Look at one file; with the tasks that a play brings in, at the role's templates too."""
        if not is_watched(file.path):
            return []
        found = self._matches(file)
        role = role_of(file.path)
        if role and not file.explicit and file.abspath == role / "tasks/main.yml":
            found += self._matches_in(path for path in files_of(role) if is_template(path))
        return found

    def matchtasks(self, file: Lintable) -> list[MatchError]:
        """Return nothing: `matchlines` has looked at the tasks."""
        return []

    def matchyaml(self, file: Lintable) -> list[MatchError]:
        """Return nothing: `matchlines` has looked at the YAML."""
        return []

    def matchdir(self, lintable: Lintable) -> list[MatchError]:
        """Look at a whole role, also at files that ansible-lint gave up."""
        return self._matches_in(files_of(lintable.path)) if lintable.kind == "role" else []

    def _matches_in(self, paths: Iterable[Path]) -> list[MatchError]:
        found = []
        for path in paths:
            try:
                found += self._matches(Lintable(path))
            except (OSError, UnicodeDecodeError):
                continue  # ansible-lint reports files that it cannot read
        return found

    def _matches(self, file: Lintable) -> list[MatchError]:
        text = file.content
        lines, tasks = text.splitlines(), tasks_in(text) if file.path.suffix in (".yml", ".yaml") else []
        return [
            self.create_matcherror(
                message=message, lineno=line, details=lines[line - 1].strip(), filename=file
            )
            for line, message in self.findings(file.path, text, tasks)
            if not self._is_skipped(file, lines, task_at(tasks, line), line)
        ]

    def _is_skipped(self, file: Lintable, lines: list[str], task: Task | None, line: int) -> bool:
        """Honour `# noqa: RULE` on the line or anywhere in its task, and the tag that excepts a task."""
        if task and "skip_ansible_lint" in task.text:
            return True
        around = task.text.splitlines() if task else lines[line - 1 : line]
        return any(
            "# noqa" in each and self.id in get_rule_skips_from_line(each, lintable=file) for each in around
        )


def task_at(tasks: list[Task], line: int) -> Task | None:
    """Return the task that *line* belongs to."""
    return next((task for task in tasks if task.first <= line <= task.last), None)
