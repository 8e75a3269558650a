"""The same corrections in templates: ternaries, and ifs that are decided."""

from __future__ import annotations

import re
from dataclasses import dataclass

from venvoy_lint.conditions import TOGGLE, truth
from venvoy_lint.ternary import without_ternaries

_STATEMENT = re.compile(
    r"\{%(?P<open>[-+]?)\s*(?P<word>\w+)\s*(?P<rest>.*?)\s*(?P<close>[-+]?)%\}", re.DOTALL
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _If:
    """An if statement: its condition, and where its parts stand."""

    condition: str
    marks: tuple[re.Match[str], ...]  # {% if %}, perhaps {% else %}, {% endif %}

    @property
    def is_plain(self) -> bool:
        """Whether it has no elif, and takes no space away around itself."""
        words = [mark["word"] for mark in self.marks]
        return words in (["if", "endif"], ["if", "else", "endif"]) and not any(
            mark["open"] or mark["close"] for mark in self.marks
        )


def fix_template(text: str) -> str:
    """Return *text* with all that toggles decide decided, as far as that is safe."""
    text = without_ternaries(text)
    while (found := _first_decided(text)) is not None:
        text = _decide(text, found)
    return text


def _first_decided(text: str) -> _If | None:
    return next(
        (
            each
            for each in _ifs(text)
            if TOGGLE.search(each.condition) and each.is_plain and truth(each.condition) is not None
        ),
        None,
    )


def _ifs(text: str) -> list[_If]:
    """Return all if statements, with the marks that belong to each."""
    found, open_ones = [], list[list[re.Match[str]]]()
    for mark in _STATEMENT.finditer(text):
        word = mark["word"]
        if word == "if":
            open_ones.append([mark])
        elif word in ("elif", "else", "for", "endfor") and open_ones:
            # `else` may belong to a for: such an if counts as not plain, and stays
            open_ones[-1].append(mark)
        elif word == "endif" and open_ones:
            marks = open_ones.pop()
            marks.append(mark)
            found.append(_If(condition=marks[0]["rest"], marks=_own(marks)))
    return found


def _own(marks: list[re.Match[str]]) -> tuple[re.Match[str], ...]:
    """Take out the marks of loops that lie wholly within one part of an if."""
    kept, depth = [], 0
    for mark in marks:
        if mark["word"] == "for":
            depth += 1
        elif mark["word"] == "endfor":
            depth -= 1
        elif not depth or mark["word"] in ("if", "endif"):
            kept.append(mark)
    return tuple(kept)


def _decide(text: str, found: _If) -> str:
    """Replace an if by the branch that is taken."""
    begins = [_line_start(text, mark) for mark in found.marks]
    ends = [_line_end(text, mark) for mark in found.marks]
    taken = 0 if truth(found.condition) else 1
    kept = text[ends[taken] : begins[taken + 1]] if taken + 1 < len(begins) else ""
    return text[: begins[0]] + kept + text[ends[-1] :]


def _stands_alone(text: str, mark: re.Match[str]) -> bool:
    line_begin, line_end = text.rfind("\n", 0, mark.start()) + 1, text.find("\n", mark.end())
    around = text[line_begin : mark.start()] + text[mark.end() : line_end if line_end >= 0 else len(text)]
    return not around.strip()


def _line_start(text: str, mark: re.Match[str]) -> int:
    return text.rfind("\n", 0, mark.start()) + 1 if _stands_alone(text, mark) else mark.start()


def _line_end(text: str, mark: re.Match[str]) -> int:
    """Return where what follows *mark* begins; Ansible's templates drop the newline behind a statement."""
    return mark.end() + 1 if text[mark.end() : mark.end() + 1] == "\n" else mark.end()
