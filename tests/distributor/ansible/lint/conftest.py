from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.distributor.ansible.lint.linting import RULES


@pytest.fixture(scope="session", autouse=True)
def rules_importable() -> Iterator[None]:
    """Let tests import what the rules share as ansible-lint does: from their folder."""
    pytest.importorskip("ansiblelint", reason="ansible-lint needs Python 3.11")
    sys.path.insert(0, str(RULES))
    yield
    sys.path.remove(str(RULES))
