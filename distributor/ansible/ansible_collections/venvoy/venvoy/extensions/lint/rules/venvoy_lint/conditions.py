"""What conditions say once every `*_venv_enabled` toggle is taken to be true.

Expressions are parsed by Jinja's own parser. What it cannot parse (templates inside conditions, as Ansible 1
had them) is taken apart by its text, or left alone.
"""

from __future__ import annotations

import re

from jinja2 import Environment, TemplateSyntaxError, nodes

# A name in front of the suffix: `.*_venv_enabled` in a pattern is no variable.
TOGGLE = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z][A-Za-z0-9_]*_venv_enabled(?![A-Za-z0-9_])")
_TESTS = {"defined": True, "undefined": False, "true": True, "truthy": True, "false": False, "falsy": False}
_TRUE = ("true", "yes", "on", "1")
_JINJA = Environment(autoescape=False)  # parses only; nothing is ever rendered  # noqa: S701


def is_toggle(name: str) -> bool:
    """Say whether *name* is the name of a toggle, and nothing more."""
    return TOGGLE.fullmatch(name) is not None


def truth(expression: str) -> bool | None:
    """Return what *expression* (a condition without braces) is with toggles true; None if that depends."""
    try:
        template = _JINJA.parse("{{ (" + expression + "\n) }}")
    except TemplateSyntaxError:
        return _truth_by_text(expression)
    output = template.body[0]
    if len(template.body) != 1 or not isinstance(output, nodes.Output) or len(output.nodes) != 1:
        return None
    return _truth(output.nodes[0])


def _truth(node: nodes.Node | None) -> bool | None:
    """Evaluate in three values: true, false, and unknown."""
    value: bool | None = None
    match node:
        case nodes.Name():
            value = True if is_toggle(node.name) else None
        case nodes.Const():
            value = _constant(node.value)
        case nodes.Not():
            inner = _truth(node.node)
            value = None if inner is None else not inner
        case nodes.And() | nodes.Or():
            decisive, sides = isinstance(node, nodes.Or), (_truth(node.left), _truth(node.right))
            value = decisive if decisive in sides else None if None in sides else not decisive
        case nodes.Filter(name="bool" | "default" | "d"):
            value = _truth(node.node)
        case nodes.Test() if _is_name(node.node):
            value = _TESTS.get(node.name)
        case nodes.Compare() if len(node.ops) == 1:
            value = _comparison(node)
    return value


def _comparison(node: nodes.Compare) -> bool | None:
    left, right = _truth(node.expr), _truth(node.ops[0].expr)
    if left is None or right is None or not TOGGLE.search(_names(node)):
        return None
    return {"eq": left == right, "ne": left != right}.get(node.ops[0].op)


def _constant(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_TRUE, "false", "no", "off", "0"):
        return value.lower() in _TRUE
    return None


def _is_name(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and is_toggle(node.name)


def _names(node: nodes.Node) -> str:
    return " ".join(name.name for name in node.find_all(nodes.Name))


def _truth_by_text(expression: str) -> bool | None:
    parts = [part for part in conjuncts(expression) if part.strip() != expression.strip()]
    values = [truth(part) for part in parts]
    if False in values:
        return False
    return None


def conjuncts(expression: str) -> list[str]:
    """Take *expression* apart at its outermost `and`; one with an outermost `or` or `if` stays whole."""
    parts, depth, quote, start, position = [], 0, "", 0, 0
    while position < len(expression):
        character = expression[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif not depth and (
            word := re.compile(r"(?<=[\s)])(and|or|if)(?=[\s(])").match(expression, position)
        ):
            if word[1] != "and":
                return [expression]
            parts.append(expression[start:position])
            start = position = word.end()
            continue
        position += 1
    return [*parts, expression[start:]]


def without_toggles(expression: str) -> str | None:
    """Return *expression* without the conjuncts that are always true; None where it has none or cannot tell.

    An empty string says that nothing is left: the condition always holds.
    """
    if truth(expression) is True:
        return ""
    parts = conjuncts(expression)
    kept = [part.strip() for part in parts if truth(part) is not True]
    if len(kept) == len(parts) or any(TOGGLE.search(part) for part in kept):
        return None
    return " and ".join(kept)
