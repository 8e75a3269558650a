# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""What options for pip mean to a build that pip has no part in."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

# Options that say where things come from, by what they become here.
_HONOURED = {
    "-i": "index",
    "--index-url": "index",
    "--extra-index-url": "extra_indexes",
    "--trusted-host": "insecure_hosts",
    "-f": "find_links",
    "--find-links": "find_links",
    "-c": "constraints",
    "--constraint": "constraints",
}
# Options that decide how pip works or what it prints, and nothing of what is installed.
_WITHOUT_EFFECT = {
    "--isolated",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--quiet",
    "-q",
    "--verbose",
    "-v",
    "--no-input",
    "--upgrade",
    "-U",
    "--no-color",
    "--prefer-binary",
    "--no-warn-script-location",
    "--no-python-version-warning",
    "--require-virtualenv",
}
_WITHOUT_EFFECT_BUT_A_VALUE = {
    "--log",
    "--timeout",
    "--retries",
    "--progress-bar",
    "--cache-dir",
    "--upgrade-strategy",
    "--root-user-action",
    "--exists-action",
}


class PipOptionError(Exception):
    """An option that a build cannot follow; names it and the variable that holds it."""


@dataclass
class PipOptions:
    """Where packages come from. Constraints are URLs or paths."""

    index: str = ""
    extra_indexes: list[str] = field(default_factory=list)
    insecure_hosts: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    prereleases: bool = False

    def add(self, text: str, variable: str) -> None:
        """Take in the options in *text*, the value of *variable*. Raises PipOptionError naming both."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise PipOptionError(f"{variable}: {error}") from None
        while words:
            name, has_value, value = words.pop(0).partition("=")
            if name == "--pre":
                self.prereleases = True
            elif name in _HONOURED or name in _WITHOUT_EFFECT_BUT_A_VALUE:
                if not has_value:
                    if not words:
                        raise PipOptionError(f"{variable}: {name} lacks its value")
                    value = words.pop(0)
                self._keep(name, value)
            elif name not in _WITHOUT_EFFECT:
                raise PipOptionError(
                    f"{variable}: {name} is an option of pip that a prebuilt venv cannot follow; remove it, "
                    "or say what it is for by requirements, constraints or an index"
                )

    def _keep(self, name: str, value: str) -> None:
        place = _HONOURED.get(name)
        if place == "index":
            self.index = value
        elif place is not None:
            getattr(self, place).append(value)
