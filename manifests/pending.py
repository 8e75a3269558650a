"""What a switch owes to the outside: facts that were not written yet, topics not acknowledged yet.

It stands in the receipt, so that it appears with the tree, in one rename. Who writes the facts, and
who ran the handlers, takes it out again. Whatever is killed in between is owed still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifests.fields import Fields


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One ``option = value`` of a section of an INI file of facts."""

    section: str
    option: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What is owed: *facts* to the file *facts_file*, and the topics *notify* to the handlers of *run*.

    *run* names the play that was told last; only its handlers may acknowledge.
    """

    facts: tuple[Fact, ...] = ()
    facts_file: str | None = None
    notify: tuple[str, ...] = ()
    run: str = ""

    def __bool__(self) -> bool:
        """Whether anything is owed."""
        return bool(self.facts or self.notify)

    def to_value(self) -> dict[str, Any]:
        """Return plain JSON data; what is not owed is left out."""
        value: dict[str, Any] = {}
        if self.facts:
            value["facts"] = [
                {"section": fact.section, "option": fact.option, "value": fact.value} for fact in self.facts
            ]
            value["facts_file"] = self.facts_file
        if self.notify:
            value["notify"] = list(self.notify)
            value["run"] = self.run
        return value

    @classmethod
    def read(cls, item: Fields) -> Pending:
        """Read what ``to_value`` wrote. Raises InvalidInput naming the field."""
        return cls(
            facts=tuple(read_fact(fact) for fact in item.objects("facts", required=False)),
            facts_file=item.optional_text("facts_file"),
            notify=item.texts("notify"),
            run=item.optional_text("run") or "",
        )

    def and_then(self, later: Pending) -> Pending:
        """Return what is owed where *later* comes on top: its facts replace those of the same name."""
        replaced = {(fact.section, fact.option) for fact in later.facts}
        same_file = later.facts_file in (None, self.facts_file)
        kept = tuple(fact for fact in self.facts if same_file and (fact.section, fact.option) not in replaced)
        return Pending(
            facts=(*kept, *later.facts),
            facts_file=later.facts_file or self.facts_file,
            notify=tuple(dict.fromkeys((*self.notify, *later.notify))),
            run=later.run or self.run,
        )


def read_fact(item: Fields) -> Fact:
    """Read a fact. Raises InvalidInput naming the field."""
    return Fact(section=item.text("section"), option=item.text("option"), value=item.text("value"))


NOTHING = Pending()
