"""The variables of python_venv_build: each is honoured, or fails by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.distributor.ansible.playground import COLLECTIONS

CONSTRAINTS = ["six==1.17.0", "--constraint https://example.org/uc.txt", "# nothing", "a==1 # why"]
BASE = {"venv_install_destination_path": "/openstack/venvs/keystone-29.0.2"}


@pytest.fixture(autouse=True, scope="module")
def importable() -> Iterator[None]:
    sys.path.insert(0, str(COLLECTIONS))
    yield
    sys.path.remove(str(COLLECTIONS))


def plan(variables: Mapping[str, Any]) -> dict[str, Any]:
    from ansible_collections.venvoy.venvoy.plugins.plugin_utils.drop_in import plan as read

    result: dict[str, Any] = read(variables)
    return result


@pytest.mark.parametrize(
    ("destination", "service"),
    [
        ("/openstack/venvs/keystone-29.0.2", "keystone"),
        ("/openstack/venvs/uwsgi-29.0.2-python3", "uwsgi"),
        ("/openstack/venvs/My.Venv/", "my-venv"),
        ("/opt/neutron-31.0.0.dev12", "neutron"),
    ],
)
def test_services_are_named_after_their_destination(destination: str, service: str) -> None:
    assert plan({"venv_install_destination_path": destination})["service"] == service


def test_packages_constraints_and_options() -> None:
    wanted = plan(
        {
            **BASE,
            "venv_default_pip_packages": ["PyMySQL"],
            "venv_pip_packages": [
                "git+https://opendev.org/openstack/keystone@stable#egg=keystone",
                "PyMySQL",
                "",
            ],
            "venv_build_constraints": [
                "six==1.17.0",
                "--constraint https://example.org/uc.txt",
                "# nothing",
                "a==1 # why",
            ],
            "venv_build_global_constraints": ["-c https://example.org/global.txt", "setuptools==80.1"],
            "venv_build_requirements": ["setuptools==80.1"],
            "venv_pip_install_args": "--index-url https://a.example/simple --pre --log /var/log/pip.log",
            "venv_pip_build_args": "--extra-index-url=https://b.example/simple --trusted-host b.example "
            "-f /srv/wheels",
            "venv_install_tool": "uv",
        }
    )
    assert wanted["build"] == {
        "requirements": [
            "PyMySQL",
            "git+https://opendev.org/openstack/keystone@stable#egg=keystone",
            "pip",
            "uv",
        ],
        "constraints": ["setuptools==80.1", "six==1.17.0", "a==1"],
        "constraint_urls": ["https://example.org/global.txt", "https://example.org/uc.txt"],
        "build_constraints": ["setuptools==80.1"],
        "index": "https://a.example/simple",
        "extra_indexes": ["https://b.example/simple"],
        "insecure_hosts": ["b.example"],
        "find_links": ["/srv/wheels"],
        "prereleases": True,
    }
    assert wanted["files"]["requirements.txt"].splitlines()[:2] == [
        "# Managed with python_venv_build role",
        "PyMySQL",
    ]
    assert wanted["prebuilt"] is False


def test_facts_and_the_artifacts_identity_beside_them() -> None:
    facts = [{"section": "nova", "option": "venv_tag", "value": "1"}]
    wanted = plan({**BASE, "venv_facts_when_changed": facts, "venv_facts_dest": "site"})
    assert (wanted["facts"], wanted["artifact_facts"]) == (facts, ["nova/artifact_id"])
    assert wanted["facts_file"] == "/etc/ansible/facts.d/site.fact"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"venv_install_destination_path": ""}, "venv_install_destination_path"),
        ({"venv_python_executable": "python2"}, "venv_python_executable: 'python2'"),
        ({"venv_install_tool": "conda"}, "venv_install_tool: 'conda'"),
        ({"venv_pip_package_state": "absent"}, "venv_pip_package_state: 'absent'"),
        ({"venv_distro_package_state": "absent"}, "venv_distro_package_state: 'absent'"),
        ({"venv_pip_packages": ["-e ./here"]}, "venv_pip_packages: '-e ./here' is editable"),
        ({"venv_pip_packages": "--no-deps"}, "venv_pip_packages: '--no-deps' is an option"),
        ({"venv_pip_install_args": "--no-deps"}, "venv_pip_install_args: --no-deps"),
        ({"venv_pip_build_args": "--no-binary :all:"}, "venv_pip_build_args: --no-binary"),
        ({"venv_pip_build_args": "--index-url"}, "venv_pip_build_args: --index-url lacks its value"),
        ({"venv_build_constraints": ["-r other.txt"]}, "venv_build_constraints: '-r other.txt'"),
        ({"venv_build_constraints": {"a": 1}}, "venv_build_constraints: must be a list"),
        ({"venv_facts_when_changed": [{"section": "a"}]}, "venv_facts_when_changed"),
        ({"venv_pip_install_env": "no"}, "venv_pip_install_env"),
    ],
)
def test_what_cannot_be_followed_fails_by_name(variables: dict[str, Any], words: str) -> None:
    from ansible_collections.venvoy.venvoy.plugins.plugin_utils.drop_in import VariableError

    with pytest.raises(VariableError) as error:
        plan({**BASE, **variables})
    assert words in str(error.value)


def test_toggles_are_found_and_their_neighbours_are_not() -> None:
    names = (
        "keystone_venv_enabled",
        "venv_wheel_build_enable",
        "wsgi_venv",
        "tempest_venv_bin",
        "nova_venv_tag",
    )
    assert plan({**BASE, **dict.fromkeys(names)})["toggles"] == ["keystone_venv_enabled"]


def test_every_variable_of_the_old_role_is_known_to_ours() -> None:
    role = COLLECTIONS / "ansible_collections/venvoy/venvoy/roles/python_venv"
    text = "".join(path.read_text() for path in sorted(role.rglob("*.yml")))
    text += (COLLECTIONS / "ansible_collections/venvoy/venvoy/plugins/plugin_utils/drop_in.py").read_text()
    names = [
        "venv_install_destination_path",
        "venv_pip_packages",
        "venv_build_constraints",
        "venv_build_global_constraints",
        "venv_pip_install_args",
        "venv_python_executable",
        "venv_build_distro_package_list",
        "venv_install_distro_package_list",
        "venv_build_base_distro_package_list",
        "venv_install_base_distro_package_list",
        "venv_packages_to_symlink",
        "venv_facts_when_changed",
        "venv_facts_dest",
        "venv_wheel_build_enable",
        "venv_build_host_user_name",
        "venv_build_host_group_name",
        "venv_rebuild",
        "venv_wheels_rebuild",
        "venv_install_tool",
        "venv_pip_upgrade_noconf",
        "venv_build_group",
        "venv_build_host",
        "venv_build_targets",
        "venv_build_host_venv_path",
        "venv_build_host_wheel_path",
        "venv_build_host_requirements_path",
        "venv_default_pip_packages",
        "venv_build_requirements",
        "venv_build_requirements_extra",
        "venv_default_pip_build_args",
        "venv_default_pip_install_args",
        "venv_pip_build_args",
        "venv_pip_build_env",
        "venv_pip_install_env",
        "venv_distro_package_state",
        "venv_pip_package_state",
        "venv_distro_cache_valid_time",
        "venv_wheel_build_skip_check",
    ]
    assert [name for name in names if name not in text] == []


def test_index_settings_come_from_the_play_before_the_environment(tmp_path: Path) -> None:
    from ansible_collections.venvoy.venvoy.plugins.module_utils.index_settings import index_environment

    inputs = {"index": "", "extra_indexes": [], "insecure_hosts": [], "prereleases": False}
    outer = {"PIP_INDEX_URL": "https://env.example/simple", "no_proxy": "localhost"}
    found = index_environment(outer, inputs, ["http://127.0.0.1:1/"], read_configuration=False)
    assert found["UV_DEFAULT_INDEX"] == "https://env.example/simple"
    assert found["UV_FIND_LINKS"] == "http://127.0.0.1:1/"
    assert found["no_proxy"] == "localhost,127.0.0.1"
    said = {**inputs, "index": "https://play.example/simple"}
    assert index_environment(outer, said, [], read_configuration=False)["UV_DEFAULT_INDEX"] == said["index"]


def test_one_look_at_the_package_manager() -> None:
    import shutil

    from ansible_collections.venvoy.venvoy.plugins.module_utils.host_look import missing_packages

    if shutil.which("dpkg-query") is None:
        pytest.skip("needs dpkg")
    assert missing_packages([]) == []
    assert missing_packages(["dpkg", "no-such-package", "coreutils=0.0", "awk"]) == [
        "no-such-package",
        "coreutils=0.0",
    ]


def test_both_writers_of_facts_agree(tmp_path: Path) -> None:
    from ansible_collections.venvoy.venvoy.plugins.module_utils.ini_facts import with_facts

    from distributor.host.facts import write_facts
    from manifests.pending import Fact

    facts = [("demo", "Tag", "1"), ("demo", "need", "True"), ("new", "a", "b c")]
    for number, before in enumerate(("", "# c\n[demo]\ntag=0\n\n[other]\nx = 1\n", "[new]\n\n[demo]\n")):
        path = tmp_path / str(number)
        path.write_text(before)
        write_facts(path, [Fact(section=s, option=o, value=v) for s, o, v in facts])
        assert path.read_text() == with_facts(
            before, [{"section": s, "option": o, "value": v} for s, o, v in facts]
        )
