"""Rules `pip-service-outside-venv` and `pip-host-prerequisite`: what pip puts into the host's own Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ansiblelint.rules import TransformMixin
from venvoy_lint.base import Finding, MigrationRule
from venvoy_lint.fixing import fix_yaml
from venvoy_lint.pip_tasks import host_packages, is_service
from venvoy_lint.role_files import role_of
from venvoy_lint.tasks import Task

if TYPE_CHECKING:
    from ansiblelint.errors import MatchError
    from ansiblelint.file_utils import Lintable
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

_PREREQUISITE = (
    "This task installs into the host's own Python with pip: a host that fetches prebuilt venvs needs no "
    "virtualenv tools; take what modules import from distribution packages or a venv of their own"
)


class PipServiceOutsideVenvRule(MigrationRule, TransformMixin):
    """A service is installed into the host's own Python."""

    id = "pip-service-outside-venv"
    description = (
        "Services live in virtual environments only. --fix deletes the task where a toggle, which is always "
        "true, keeps it from running."
    )
    tags = ["deprecations", "idiom"]  # noqa: RUF012

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find the tasks that install a service with the host's pip."""
        for task in tasks:
            packages = host_packages(task)
            if packages is not None and is_service(task, packages, role_of(path)):
                what = (
                    "delete it" if task.never_runs else "install the packages with venvoy.venvoy.python_venv"
                )
                yield task.first, f"This task installs a service outside a virtual environment: {what}"

    def transform(
        self, match: MatchError, lintable: Lintable, data: CommentedMap | CommentedSeq | str
    ) -> None:
        """Delete a task that never runs."""
        if not isinstance(data, str) and match.message.endswith("delete it"):
            match.fixed = fix_yaml(data, match.lineno)


class PipHostPrerequisiteRule(MigrationRule):
    """A tool is installed into the host's own Python by pip."""

    id = "pip-host-prerequisite"
    description = (
        "A host that fetches prebuilt venvs needs no virtualenv, no virtualenv-tools and no pip. What "
        "modules import on the host comes from the distribution's packages, or lives in a venv of its own."
    )
    # ansible-lint only warns of what is "experimental"
    tags = ["experimental", "idiom"]  # noqa: RUF012
    severity = "LOW"

    def findings(self, path: Path, text: str, tasks: list[Task]) -> Iterator[Finding]:
        """Find the tasks that install with the host's pip, and no service."""
        for task in tasks:
            packages = host_packages(task)
            if packages is not None and not is_service(task, packages, role_of(path)):
                yield task.first, _PREREQUISITE
