"""Which pip tasks install into the host's Python, and whether that is a service or a tool."""

from __future__ import annotations

import re
from pathlib import Path

from venvoy_lint.role_files import value_of
from venvoy_lint.tasks import Task

_NO_VENV = re.compile(
    r"\b(?:no|non|without|outside)[ _-]*(?:a[ _-]+)?(?:virtual)?env\b|\bno[ _-]?venv\b", re.IGNORECASE
)
_PIP_COMMAND = re.compile(
    r"(?:^|[\s;&|])(?P<pip>(?:\S*python[0-9.]*\s+-m\s+)?(?:[^\s;&|{}]*/)?pip[0-9.]*)\s+install\s+(?P<what>[^;&|\n]+)"
)
_ELSEWHERE = re.compile(r"--(?:target|prefix|root|python)\b|\s-t\s")
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/opt/bin/")
# What prepares a host: these words in the name of a variable, or these packages by themselves.
_PREREQUISITE = re.compile(
    r"(?:^|_)(?:requires?|required|requirements?|prereqs?|prerequisites?|host|bootstrap)(?:_|$)"
)
_TOOLS = frozenset(
    """
    pip setuptools wheel virtualenv virtualenv-tools virtualenv-tools3 httplib2 pbr six docker
    docker-py requests urllib3 pyopenssl ndg-httpsclient pyasn1 python-keystoneclient python-
    openstackclient openstacksdk shade pymysql mysqlclient mysql-python psycopg2 psycopg2-binary
    pymongo boto boto3 botocore lxml netaddr jmespath ansible ansible-core uv pipx tox
    """.split()  # noqa: SIM905 - a list of words reads best as one
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def host_packages(task: Task) -> str | None:
    """Return what *task* installs into the host's Python, as written; None if it does no such thing."""
    if task.module == "pip":
        return _from_module(task)
    if task.module in ("command", "shell", "raw"):
        return _from_command(task.command)
    return None


def _from_module(task: Task) -> str | None:
    args = task.args
    if args.get("state") == "absent" or args.get("virtualenv") or args.get("virtualenv_command"):
        return None
    if args.get("extra_args") and _ELSEWHERE.search(args["extra_args"]):
        return None
    if not _is_system_pip(args.get("executable", "pip")):
        return None
    wanted = " ".join(filter(None, (args.get("name", ""), args.get("requirements", ""))))
    return f"{wanted} {task.loop}" if "item" in wanted or not wanted else wanted


def _from_command(command: str) -> str | None:
    for found in _PIP_COMMAND.finditer(command):
        if not _ELSEWHERE.search(found["what"]) and _is_system_pip(found["pip"].split()[0]):
            return found["what"]
    return None


def _is_system_pip(executable: str) -> bool:
    """Say whether *executable* is the host's own; a path that a template makes leads into a venv."""
    return "{{" not in executable and ("/" not in executable or executable.startswith(_SYSTEM))


def is_service(task: Task, packages: str, role: Path | None) -> bool:
    """Say whether *packages*, as written in *task* of *role*, belong to a service and not to the host."""
    if task.never_runs or _NO_VENV.search(task.name):
        return True
    service = role.name.rpartition("os_")[2] if role and "os_" in role.name else role.name if role else ""
    variables = _variables(packages)
    if not variables:
        return bool(service) and service in _distributions(packages)
    for name in variables:
        if _PREREQUISITE.search(name) or name in (
            "item",
            "join",
            "default",
            "list",
            "union",
            "flatten",
            "state",
        ):
            continue
        value = (value_of(role, name) if role else None) or ""
        listed = _distributions(value) if "{{" not in value else set()
        if listed and listed <= _TOOLS:
            continue
        if "pip" in name or "package" in name or (service and service in listed):
            return True
    return False


def _variables(packages: str) -> set[str]:
    templates = re.findall(r"\{\{(.*?)\}\}", packages, re.DOTALL)
    names = {name for text in templates for name in _NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", text))}
    for word in re.sub(r"\{\{.*?\}\}", " ", packages, flags=re.DOTALL).split():
        if _NAME.fullmatch(word) and word.endswith("_packages"):  # `with_items: keystone_pip_packages`
            names.add(word)
    return names


def _distributions(text: str) -> set[str]:
    """Return the names of the distributions that *text* lists, without versions."""
    return {found[0].lower() for word in re.split(r"[\s,]+", text) if (found := _DISTRIBUTION.match(word))}
