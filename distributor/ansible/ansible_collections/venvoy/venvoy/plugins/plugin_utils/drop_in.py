# Copyright the Venvoy authors
# SPDX-License-Identifier: Apache-2.0
"""The variables of python_venv_build, read into what a prebuilt venv is made of and installed with.

Each variable is honoured where it means something here. One whose value cannot be followed is an error
that names it; nothing is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.venvoy.venvoy.plugins.plugin_utils.pip_options import PipOptionError, PipOptions

HEADER = "# Managed with python_venv_build role"
_FACTS_FOLDER = "/etc/ansible/facts.d"
_ARGUMENTS = (
    "venv_default_pip_build_args",
    "venv_pip_build_args",
    "venv_default_pip_install_args",
    "venv_pip_install_args",
)
_STATES = {
    "venv_pip_package_state": ("present", "latest", "forcereinstall"),
    "venv_distro_package_state": ("present", "latest"),
    "venv_install_tool": ("pip", "uv"),
}
_PYTHON = re.compile(r"(?:/.*/)?python(3(?:\.\d+)?t?)?")
_CONSTRAINT = re.compile(r"(?:-c|--constraint)[ =]\s*(\S+)")
_TRUE = ("1", "on", "true", "yes", "y", "t")


class VariableError(Exception):
    """A variable that cannot be followed; names it."""


def plan(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return what to build and to install for *variables* (templated). Raises VariableError."""
    _check(variables)
    destination = _text(variables, "venv_install_destination_path")
    options = _pip_options(variables)
    lines, urls = _constraints(variables, "venv_build_constraints")
    global_lines, global_urls = _constraints(variables, "venv_build_global_constraints")
    packages = _packages(variables)
    facts = _facts(variables)
    return {
        "service": _text(variables, "venv_artifact_service") or service_of(destination),
        "prebuilt": bool(_text(variables, "venv_artifact_store") or _text(variables, "venv_artifact_bundle")),
        "build": {
            "requirements": sorted({*packages, *_tools(variables)}),
            "constraints": [*global_lines, *lines],
            "constraint_urls": [*global_urls, *urls, *options.constraints],
            "build_constraints": [
                *_list(variables, "venv_build_requirements"),
                *_list(variables, "venv_build_requirements_extra"),
            ],
            "index": options.index,
            "extra_indexes": options.extra_indexes,
            "insecure_hosts": options.insecure_hosts,
            "find_links": options.find_links,
            "prereleases": options.prereleases,
        },
        "repair": _flag(variables, "venv_rebuild")
        or _text(variables, "venv_pip_package_state") == "forcereinstall",
        "files": {
            "requirements.txt": _listing(packages),
            "constraints.txt": _listing(_list(variables, "venv_build_constraints")),
            "global-constraints.txt": _listing(_list(variables, "venv_build_global_constraints")),
        },
        "facts": facts,
        "artifact_facts": sorted({f"{fact['section']}/artifact_id" for fact in facts}),
        "facts_file": _facts_file(variables),
        "toggles": toggles(variables),
    }


def service_of(destination: str) -> str:
    """Return the service that a destination is named after: keystone for /openstack/venvs/keystone-29.0.2."""
    name = re.sub(r"-\d.*", "", destination.rstrip("/").rpartition("/")[2]).lower()
    return re.sub(r"[^a-z0-9_-]+", "-", name).strip("-_") or "venv"


def toggles(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of toggles that no longer have an effect, and are set all the same."""
    return sorted(name for name in variables if re.fullmatch(r"\w+_venv_enabled", name))


def _check(variables: Mapping[str, Any]) -> None:
    if not _text(variables, "venv_install_destination_path").startswith("/"):
        raise VariableError("venv_install_destination_path: must be the absolute path of the venv")
    for name, known in _STATES.items():
        value = _text(variables, name)
        if value and value not in known:
            raise VariableError(
                f"{name}: {value!r} has no meaning for a prebuilt venv; use {', '.join(known)}"
            )
    python = _text(variables, "venv_python_executable")
    if python and not _PYTHON.fullmatch(python):
        raise VariableError(
            f"venv_python_executable: {python!r} cannot be bound; name a python3 or python3.X, or its path"
        )
    for name in ("venv_pip_build_env", "venv_pip_install_env"):
        if not isinstance(variables.get(name) or {}, Mapping):
            raise VariableError(f"{name}: must be a dictionary of environment variables")


def _pip_options(variables: Mapping[str, Any]) -> PipOptions:
    options = PipOptions()
    try:
        for name in _ARGUMENTS:
            options.add(_text(variables, name), name)
    except PipOptionError as error:
        raise VariableError(str(error)) from None
    return options


def _packages(variables: Mapping[str, Any]) -> list[str]:
    given = _list(variables, "venv_default_pip_packages") + _list(variables, "venv_pip_packages")
    for item in given:
        if re.match(r"(-e|--editable)[\s=]", item):
            raise VariableError(
                f"venv_pip_packages: {item!r} is editable: an artifact does not hold a checkout"
            )
        if item.startswith("-"):
            raise VariableError(f"venv_pip_packages: {item!r} is an option and names no package")
    return sorted(dict.fromkeys(given))


def _tools(variables: Mapping[str, Any]) -> list[str]:
    """Return what installs further packages into such a venv by hand, which its users expect in it."""
    tool = _text(variables, "venv_install_tool")
    return ["pip", *([tool] if tool not in ("", "pip") else [])]


def _constraints(variables: Mapping[str, Any], name: str) -> tuple[list[str], list[str]]:
    """Return constraint lines, and where files of them lie, as the variable *name* lists both."""
    lines, urls = [], []
    for item in _list(variables, name):
        text = re.sub(r"(^|\s)#(?!egg=).*", "", item).strip()
        match = _CONSTRAINT.fullmatch(text)
        if match:
            urls.append(match[1])
        elif text.startswith("-"):
            raise VariableError(
                f"{name}: {text!r} is no constraint; only --constraint URL is an option there"
            )
        elif text:
            lines.append(text)
    return lines, urls


def _facts(variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    facts = variables.get("venv_facts_when_changed") or []
    for fact in facts:
        if not isinstance(fact, Mapping) or not {"section", "option", "value"} <= fact.keys():
            raise VariableError("venv_facts_when_changed: each entry needs section, option and value")
    return [{key: fact[key] for key in ("section", "option", "value")} for fact in facts]


def _facts_file(variables: Mapping[str, Any]) -> str:
    name = _text(variables, "venv_facts_dest") or "openstack_ansible"
    return name if name.startswith("/") else f"{_FACTS_FOLDER}/{name}.fact"


def _listing(lines: list[str]) -> str:
    return "\n".join([HEADER, *lines, ""])


def _text(variables: Mapping[str, Any], name: str) -> str:
    value = variables.get(name)
    return "" if value is None else str(value).strip()


def _flag(variables: Mapping[str, Any], name: str) -> bool:
    return _text(variables, name).lower() in _TRUE


def _list(variables: Mapping[str, Any], name: str) -> list[str]:
    value = variables.get(name) or []
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list):
        raise VariableError(f"{name}: must be a list, not {type(value).__name__}")
    return [text for item in value if (text := str(item).strip())]
