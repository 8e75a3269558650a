"""Where a `*_venv_enabled` toggle stands, and what is to be done about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from venvoy_lint.conditions import TOGGLE, truth
from venvoy_lint.role_files import defined_names, is_template, role_of
from venvoy_lint.tasks import Task

_COMPANION = "{prefix}_(?:non_)?venv_(?:bin|lib|lib_dir|dir|path)"
_TEMPLATE_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_BRANCH = re.compile(r"\{%[-+]?\s*(?:el)?if\b")


def toggle_lines(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that holds a toggle outside comments."""
    if is_template(path):  # `#` means nothing to a template: `#!{{ ... }}` is what it renders
        text = _TEMPLATE_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)
    for number, line in enumerate(text.splitlines(), 1):
        shown = line if is_template(path) else without_comment(line)
        if TOGGLE.search(shown):
            yield number, shown


def without_comment(line: str) -> str:
    """Return a line of YAML without the comment at its end."""
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (not position or not line[position - 1].isalnum()):
            quote = character
        elif character == "#" and (not position or line[position - 1].isspace()):
            return line[:position]
    return line


def advice(path: Path, line: str, task: Task | None) -> str:
    """Return what to do about the toggle in *line*, which stands in *task* if that is not None."""
    found = TOGGLE.search(line)
    name = found[0] if found else ""
    if re.match(rf"\s*(?:-\s+)?['\"]?{name}['\"]?\s*[:=]", line):
        return (
            f"{name} has no effect any more, services live in venvs only: delete the variable"
            + _companions(path, name)
        )
    if "ternary" in line:
        return f"{name} is always true: put the first value in place of this ternary"
    if _BRANCH.search(line):
        return f"{name} is always true: keep the body of this if, and delete its else branch"
    if task is None:
        return f"{name} is always true: write what follows from it"
    return _advice_on_task(name, line, task)


def _advice_on_task(name: str, line: str, task: Task) -> str:
    if task.never_runs:
        if task.module in ("command", "shell") and re.search(r"\b(?:which|command -v)\b", task.command):
            found = "which, and the set_fact that uses it"
            return f"{name} is always true, this task never runs: delete the search by {found}"
        return f"{name} is always true, this task never runs: delete it"
    conditions = [condition for condition in task.conditions if TOGGLE.search(condition)]
    if conditions and all(truth(condition) is True for condition in conditions):
        return f"{name} is always true: delete this condition"
    return f"{name} is always true: take it out of this {'condition' if conditions else 'expression'}"


def _companions(path: Path, toggle: str) -> str:
    """Name the variables that came with *toggle* in the role that *path* belongs to."""
    role = role_of(path)
    prefix = re.escape(toggle.removesuffix("_venv_enabled"))
    found = defined_names(role, re.compile(_COMPANION.format(prefix=prefix))) if role else {}
    named = ", ".join(f"{name} ({place})" for name, place in sorted(found.items()))
    return f"; its companions go with it: {named}" if named else ""
