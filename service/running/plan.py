"""How builds are run: folders, store, keys, and what the operator adds to each command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import InvalidInput, NotFound, Refused
from service.submission import LOCK_DIRECTORY

if TYPE_CHECKING:
    from service.running.workspace import Workspace
    from service.state.build import Build

FORBIDDEN_ROLES = ("root", "targets", "releases")
NEEDED_ROLES = ("artifacts", "snapshot", "timestamp")
_SECRETS = ("VENVOY_KEYS", "VENVOY_KEY_PASSPHRASE", "VENVOY_TOKEN", "VENVOY_STORE", "VENVOY_REMOTE")
"""What a build, which runs code of others, has no use for."""
_OWN_OPTIONS = {
    "--output": "-o",
    "--service": "-s",
    "--target": "-t",
    "--cache": "",
    "--lock-dir": "",
    "--json": "",
    "--remote": "",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a build's commands need besides the build.

    *options* go to each ``venvoy build`` (where wheels come from, on which cluster, in which sandbox).
    Without *store* nothing can be published. With *site* each publication brings its pages up to date.
    """

    cache: Path
    workspaces: Path
    store: str | None
    keys: Path
    options: tuple[str, ...] = ()
    site: bool = False

    def build_command(self, build: Build, workspace: Workspace, spec: Path) -> list[str]:
        """Return the arguments of ``venvoy`` that build it."""
        services = dict.fromkeys(service for service, _ in build.jobs)
        chosen = [word for service in services for word in ("--service", service)]
        return [
            *("build", str(spec), *self.options, *chosen, *_targets(build)),
            *("--cache", str(self.cache), "--output", str(workspace.output)),
            *("--lock-dir", str(workspace.inputs / LOCK_DIRECTORY)),
        ]

    def publish_command(self, workspace: Workspace) -> list[str]:
        """Return the arguments of ``venvoy`` that publish what was built. Raises Refused without a store."""
        if self.store is None:
            raise Refused("this service has no store to publish to: start it with --store")
        return ["publish", str(workspace.output), *self._publishing(self.store)]

    def forward_command(self, file: Path) -> list[str]:
        """Return the arguments of ``venvoy`` that show to hosts what managers signed into *file*.

        Raises Refused without a store.
        """
        if self.store is None:
            raise Refused("this service has no store to forward to: start it with --store")
        return ["forward", str(file), *self._publishing(self.store)]

    def _publishing(self, store: str) -> list[str]:
        return ["--store", store, "--keys", str(self.keys), *(["--site"] if self.site else [])]

    def check(self) -> None:
        """Check what can be known beforehand.

        Raises Refused where keys lie here that no service may hold, NotFound where those lack that
        publishing needs, InvalidInput for options that are the service's own.
        """
        names = {name for pair in _OWN_OPTIONS.items() for name in pair if name}
        own = [word for word in self.options if word.partition("=")[0] in names]
        if own:
            raise InvalidInput(f"{own[0]} is the service's own affair; leave it out of the build options")
        held = [role for role in FORBIDDEN_ROLES if (self.keys / f"{role}.pem").exists()]
        if held:
            raise Refused(
                f"{self.keys} holds the keys of {', '.join(held)}, which no service may hold: whoever takes "
                "it over could sign releases; keep them elsewhere, and name a directory with those of "
                f"{', '.join(NEEDED_ROLES)} alone"
            )
        if self.store is not None:
            lacking = [role for role in NEEDED_ROLES if not (self.keys / f"{role}.pem").is_file()]
            if lacking:
                raise NotFound(
                    f"no key of {', '.join(lacking)} in {self.keys}: publishing needs it; name the directory "
                    "with --keys"
                )


def build_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a build: this process's, without what only publishing may know."""
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if name not in _SECRETS}


def _targets(build: Build) -> list[str]:
    """Name the targets where all services have the same: the spec may say otherwise for some."""
    by_service: dict[str, list[str]] = {}
    for service, target in build.jobs:
        by_service.setdefault(service, []).append(target)
    first, *others = by_service.values()
    if any(targets != first for targets in others):
        return []  # only the spec's own targets differ from service to service
    return [word for target in first for word in ("--target", target)]
