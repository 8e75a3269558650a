"""What a role wants of an install beyond what people type: one JSON document, checked before it is used."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from distributor.host.announcing import Announcement
from manifests.artifact import Checks, read_checks
from manifests.documents import parse_json
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import safe_relative_path
from manifests.pending import read_fact

_MAJOR = 1
_POLICIES = ("keep", "new")


@dataclass(frozen=True, kw_only=True)
class RoleRequest:
    """Facts and topics to announce, and what else goes into the tree; see ``InstallRequest``."""

    announcement: Announcement
    preserve: dict[str, str]
    files: dict[str, bytes]
    link_packages: tuple[str, ...]
    checks: Checks | None


def read_role_request(data: bytes, *, what: str, state: Path) -> RoleRequest:
    """Read a role's request. *state* is the host's. Raises InvalidInput naming the field.

    ::

        {"format": "1.0",
         "facts": [{"section": "keystone", "option": "venv_tag", "value": "29.0.2"}],
         "facts_file": "/etc/ansible/facts.d/openstack_ansible.fact",
         "identity_facts": [{"section": "keystone", "option": "artifact_id"}],
         "notify": ["venv changed"], "run": "the play that is told",
         "handled": ["a play that died when its handlers had run"],
         "preserve": {"etc": "new"}, "files": {"requirements.txt": "BASE64"},
         "link_packages": ["python3-libvirt"],
         "checks": {"imports": ["keystone"], "commands": [["keystone-manage", "--version"]]}}
    """
    top = Fields(parse_json(data, what=what), what)
    top.expect_format(_MAJOR)
    facts_file = top.optional_text("facts_file")
    if facts_file is not None and not Path(facts_file).is_absolute():
        raise InvalidInput(f"{what}.facts_file: {facts_file!r} is not an absolute path")
    return RoleRequest(
        announcement=Announcement(
            state=state,
            facts=tuple(read_fact(item) for item in top.objects("facts", required=False)),
            facts_file=Path(facts_file) if facts_file else None,
            identity_facts=tuple(
                (item.text("section"), item.text("option"))
                for item in top.objects("identity_facts", required=False)
            ),
            notify=top.texts("notify"),
            run=top.optional_text("run") or "",
            handled=top.texts("handled"),
        ),
        preserve=_preserve(top),
        files=_files(top),
        link_packages=top.texts("link_packages"),
        checks=read_checks(top.object("checks")) if top.has("checks") else None,
    )


def _preserve(top: Fields) -> dict[str, str]:
    found = {}
    for path, policy in top.object("preserve", required=False).texts_by_name().items():
        if policy not in _POLICIES:
            raise InvalidInput(f"{top.where}.preserve.{path}: {policy!r} is neither keep nor new")
        found[safe_relative_path(path, what=f"{top.where}.preserve")] = policy
    return found


def _files(top: Fields) -> dict[str, bytes]:
    found = {}
    for path, content in top.object("files", required=False).texts_by_name().items():
        try:
            found[safe_relative_path(path, what=f"{top.where}.files")] = base64.b64decode(
                content, validate=True
            )
        except binascii.Error as error:
            raise InvalidInput(f"{top.where}.files.{path}: not base64: {error}") from None
    return found
