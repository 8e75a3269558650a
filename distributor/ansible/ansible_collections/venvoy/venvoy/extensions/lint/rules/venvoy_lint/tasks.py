"""Tasks as they stand in a file, found without asking Ansible.

ansible-lint stops at the first task whose module is gone (`include`), and roles worth migrating are full of
those. Here a file is composed into YAML nodes, which know their lines; nothing is constructed or resolved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from venvoy_lint.conditions import TOGGLE, truth

_LISTS = ("pre_tasks", "tasks", "post_tasks", "handlers")
_BLOCKS = ("block", "rescue", "always")
MODULES = frozenset(
    """
    command copy dnf file get_url import_role include_role ini_file lineinfile pip raw replace
    script set_fact shell stat tar template unarchive uri
    """.split()  # noqa: SIM905 - a list of words reads best as one
)
# `key=value` pairs of the old one-line form; a value may be quoted, or hold a template with spaces.
_PAIR = re.compile(r"""([a-z_]+)=("[^"]*"|'[^']*'|(?:\{\{.*?\}\}|[^\s{])+)""", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task: *first* and *last* are its lines, from 1; *conditions* include those of its blocks."""

    name: str
    module: str  # without its collection; empty if none of MODULES
    args: dict[str, str]  # scalars as written; lists joined by spaces; "" holds a free form
    conditions: tuple[str, ...]
    loop: str
    first: int
    last: int
    text: str

    @property
    def command(self) -> str:
        """What command and shell tasks run, as one text."""
        return " ".join(filter(None, (self.args.get(""), self.args.get("cmd"), self.args.get("argv"))))

    @property
    def never_runs(self) -> bool:
        """Whether a condition is false, now that services live in venvs alone."""
        return any(TOGGLE.search(condition) and truth(condition) is False for condition in self.conditions)


def tasks_in(text: str) -> list[Task]:
    """Return all tasks of a file of tasks, handlers or plays; none if it is not YAML or holds none."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError):
        return []
    return list(_walk(root, (), text.splitlines())) if isinstance(root, yaml.SequenceNode) else []


def _walk(node: yaml.Node | None, conditions: tuple[str, ...], lines: list[str]) -> Iterator[Task]:
    if not isinstance(node, yaml.SequenceNode):
        return
    for item in node.value:
        if not isinstance(item, yaml.MappingNode):
            continue
        fields = {key.value: value for key, value in item.value if isinstance(key, yaml.ScalarNode)}
        inherited = (*conditions, *_conditions(fields.get("when")))
        if nested := [name for name in (*_LISTS, *_BLOCKS) if name in fields]:
            for name in nested:
                yield from _walk(fields[name], inherited, lines)
        else:
            yield _task(item, fields, inherited, lines)


def _conditions(node: yaml.Node | None) -> tuple[str, ...]:
    if isinstance(node, yaml.SequenceNode):
        return tuple(plain(item) for item in node.value)
    return (plain(node),) if node is not None else ()


def _task(
    item: yaml.MappingNode, fields: dict[str, yaml.Node], conditions: tuple[str, ...], lines: list[str]
) -> Task:
    module, args = _action(fields)
    first, last = item.start_mark.line + 1, _last_line(item)
    while last > first and not lines[last - 1].strip():
        last -= 1
    loops = [plain(value) for key, value in fields.items() if key == "loop" or key.startswith("with_")]
    return Task(
        name=plain(fields.get("name")),
        module=module,
        args=args,
        conditions=conditions,
        loop=" ".join(loops),
        first=first,
        last=last,
        text="\n".join(lines[first - 1 : last]),
    )


def _last_line(node: yaml.Node) -> int:
    """Return the last line of *node*, from 1; a mapping's own end is where the next item begins."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return int(node.end_mark.line) + (0 if is_block and not node.end_mark.column else 1)


def _action(fields: dict[str, yaml.Node]) -> tuple[str, dict[str, str]]:
    """Return the module and its arguments, in whichever of its forms they are written."""
    for key, value in fields.items():
        name = key.rpartition(".")[2]
        if name in ("action", "local_action"):
            args = _arguments(value)
            words = args.pop("module", args.get("", "")).partition(" ")
            module, args = words[0].rpartition(".")[2], args | _pairs(words[2])
        elif name in MODULES:
            module, args = name, _arguments(value)
        else:
            continue
        return module, args | _arguments(fields.get("args"))
    return "", {}


def _arguments(node: yaml.Node | None) -> dict[str, str]:
    if isinstance(node, yaml.MappingNode):
        return {plain(key): plain(value) for key, value in node.value}
    return _pairs(plain(node)) if node is not None else {}


def _pairs(text: str) -> dict[str, str]:
    """Read `name=x virtualenv=y` and free forms; the whole text stays under the empty name."""
    return {"": text} | {key: value.strip("\"'") for key, value in _PAIR.findall(text)}


def plain(node: yaml.Node | None) -> str:
    """Return a node's text, all scalars below it joined by spaces."""
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return " ".join(plain(item) for item in node.value)
    if isinstance(node, yaml.MappingNode):
        return " ".join(plain(part) for pair in node.value for part in pair)
    return ""
