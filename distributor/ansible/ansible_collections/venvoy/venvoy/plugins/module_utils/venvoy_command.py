# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""What Venvoy's command line is given for a module's parameters, and how its answer is shown."""

from __future__ import annotations

import base64
import json
import shutil
from typing import Any

VERBS = {"present": "install", "absent": "remove", "rolled_back": "rollback", "verified": "verify"}
_TEXTS = {"type": "list", "elements": "str", "default": []}
ANNOUNCING_SPEC: dict[str, Any] = {
    "facts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "section": {"type": "str", "required": True},
            "option": {"type": "str", "required": True},
            "value": {"type": "raw", "required": True},
        },
    },
    "facts_file": {"type": "path", "default": "/etc/ansible/facts.d/venvoy.fact"},
    "artifact_facts": _TEXTS,
    "notify": _TEXTS,
    "state_dir": {"type": "path", "default": "/var/lib/venvoy"},
    "run": {"type": "str", "default": ""},
    "handled": _TEXTS,
}
"""The arguments of modules whose changes are told to facts and handlers."""

INSTALLING_SPEC: dict[str, Any] = {
    **{name: {"type": "str"} for name in ("store", "root_content", "python", "target", "allow_expired")},
    **{
        name: {"type": "bool", "default": False}
        for name in ("carry_over", "adopt", "repair", "force", "non_atomic")
    },
    "mirrors": _TEXTS,
    "bundle": {"type": "path"},
    "root": {"type": "path", "default": "/etc/venvoy/root.json"},
    "checks": {
        "type": "dict",
        "options": {
            "imports": _TEXTS,
            "commands": {"type": "list", "elements": "list", "default": []},
            "timeout": {"type": "int", "default": 60},
            "user": {"type": "str"},
        },
    },
    "servers": {"type": "list", "elements": "path", "default": []},
    "preserve": {"type": "dict", "default": {}},
    "files": {"type": "dict", "default": {}},
    "link_packages": _TEXTS,
    "jobs": {"type": "int", "default": 2},
}
"""The arguments of an install: where artifacts come from, and how they are laid out."""


class ArgumentError(Exception):
    """A parameter that makes no sense on this host."""


def role_request(params: dict[str, Any]) -> str:
    """Return what Venvoy is to announce and to write, as its JSON document."""
    value: dict[str, Any] = {
        "format": "1.0",
        "facts": [
            {"section": fact["section"], "option": fact["option"], "value": str(fact["value"])}
            for fact in params["facts"]
        ],
        "facts_file": params["facts_file"],
        "identity_facts": [
            dict(zip(("section", "option"), name.split("/", 1)))  # noqa: B905 - Python 3.8 has no strict
            for name in params["artifact_facts"]
        ],
        "notify": params["notify"],
        "run": params["run"],
        "handled": params["handled"],
        "preserve": params["preserve"],
        "link_packages": params["link_packages"],
        "files": {
            path: base64.b64encode(str(text).encode("utf-8")).decode("ascii")
            for path, text in params["files"].items()
        },
    }
    if params["checks"]:
        checks = {key: item for key, item in params["checks"].items() if item is not None}
        checks["commands"] = [[str(word) for word in words] for words in checks["commands"]]
        value["checks"] = {**checks, "dependencies": False}
    return json.dumps(value)


def install_arguments(params: dict[str, Any], root: str) -> list[str]:
    """Return what ``venvoy install`` is given."""
    arguments = [params["service"], "--root", root, "--jobs", str(params["jobs"]), "--role-request", "-"]
    for option in ("release", "channel", "link", "target", "bundle", "allow_expired"):
        if params[option]:
            arguments += [f"--{option.replace('_', '-')}", params[option]]
    for location in [params["store"], *params["mirrors"]]:
        if location:
            arguments += ["--store", location]
    for flag in ("carry_over", "adopt", "repair", "non_atomic"):
        if params[flag]:
            arguments.append(f"--{flag.replace('_', '-')}")
    if params["python"]:
        path = shutil.which(params["python"])
        if path is None:
            raise ArgumentError(f"there is no {params['python']} on this host")
        arguments += ["--python", path]
    return [*arguments, "--dest", params["dest"]]


def arguments_of(params: dict[str, Any], root: str, *, dry_run: bool) -> list[str]:
    """Return what Venvoy is given, after its verb."""
    state = params["state"]
    if state == "verified":
        return [params["dest"]]
    dry = ["--dry-run"] if dry_run else []
    if state == "absent":
        return [params["dest"], *(["--link", params["link"]] if params["link"] else []), *dry]
    arguments = ["--state", params["state_dir"], *dry]
    if state == "present":
        return [*install_arguments(params, root), *arguments]
    to = ["--to", params["release"]] if params["release"] else []
    force = ["--force"] if params["force"] else []
    return [params["dest"], "--role-request", "-", *to, *force, *arguments]


def diff_of(document: dict[str, Any], dest: str) -> dict[str, str]:
    """Return before and after as Ansible shows them: only packages that differ."""
    packages = document.get("packages") or {"added": {}, "removed": {}, "upgraded": {}}
    before = {**packages["removed"], **{name: pair[0] for name, pair in packages["upgraded"].items()}}
    after = {**packages["added"], **{name: pair[1] for name, pair in packages["upgraded"].items()}}

    def lines(versions: dict[str, str]) -> str:
        return "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))

    return {
        "before_header": dest,
        "after_header": f"{dest} (release {document.get('release')})",
        "before": lines(before),
        "after": lines(after),
    }
