"""Plays against hosts that have nothing but Python: what is installed, told, foretold and left alone."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.distributor.ansible.playground import VENVS, Played, Playground
from tests.distributor.ansible.test_embedding import make_server

Bare = Callable[..., contextlib.AbstractContextManager[Playground]]
ONLY_AFTERWARDS = ("fetched_bytes", "replaced", "kept", "aside")
_TASK = re.compile(r"^(changed|ok): \[", re.MULTILINE)


@pytest.fixture(scope="module")
def ground(bare: Bare) -> Iterator[Playground]:
    with bare("web1", "web2") as made:
        yield made


def told(results: dict[str, Any]) -> dict[str, Any]:
    """Return what check mode must tell too."""
    return {
        host: {key: value for key, value in result.items() if key not in ONLY_AFTERWARDS}
        for host, result in results.items()
    }


def test_keystone_on_bare_hosts_and_again(ground: Playground, prebuilt: dict[str, str]) -> None:
    toggle = {"keystone_venv_enabled": False}
    other_python = ground.inside("web1", VENVS / "uwsgi-1-python3/bin/uwsgi")
    has_compiler = shutil.which("cc") is not None
    if has_compiler:
        make_server(other_python, 9)
    first = ground.play("keystone.yml", results="first", **prebuilt, **toggle)
    assert first.warnings("keystone_venv_enabled has no effect") == 1
    assert first.warnings("uwsgi-1-python3/bin/uwsgi has Python 3.9 inside") == has_compiler
    venv = VENVS / "keystone-1.0.0"
    for host, result in ground.results("first").items():
        assert (result["tool_installed"], result["version"]) == (True, "1.0.0")
        assert ground.run(host, f"{venv}/bin/keystone-manage", "x") == "demo 1.0.0 x\n"
        assert ground.facts(host)["keystone"] == {
            "need_db_expand": "True",
            "need_db_contract": "True",
            "venv_tag": "1.0.0",
            "install_method": "source",
            "artifact_id": result["artifact"],
        }
        assert ground.handled(host) == ["stop keystone", "start keystone"]
        for name in ("requirements.txt", "constraints.txt", "global-constraints.txt"):
            lines = ground.inside(host, venv / name).read_text().splitlines()
            assert lines[0] == "# Managed with python_venv_build role"
    second = ground.play("keystone.yml", "--tags", "install", results="second", **prebuilt)
    assert second.changed == 0
    assert [result["fetched_bytes"] for result in ground.results("second").values()] == [0, 0]
    assert tasks_on_hosts(second, "venvoy.venvoy.python_venv") <= 3
    ground.play("keystone.yml", "--check", "--tags", "install", results="checked", **prebuilt)
    assert told(ground.results("checked")) == told(ground.results("second"))
    assert ground.handled("web1") == ["stop keystone", "start keystone"]


def tasks_on_hosts(played: Played, role: str) -> int:
    """Count the tasks of *role* that a module ran for."""
    controller_only = (
        "Validating arguments",
        "Read what is wanted",
        "Install the venv]",
        "Tell the services",
    )
    blocks = re.split(r"^TASK \[", played.output, flags=re.MULTILINE)[1:]
    return sum(
        block.startswith(role)
        and not any(name in block for name in controller_only)
        and bool(_TASK.search(block))
        for block in blocks
    )
