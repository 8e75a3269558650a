"""The migration rules over roles from before, right after and long after services moved into venvs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.distributor.ansible.lint.linting import SERVICES, Match, copy, count, lint, write_roles

TOGGLE = re.compile(r"\w+_venv_enabled\b")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Roles of four times, in one project; one of them links to itself below its tests, as many do."""
    folder = tmp_path_factory.mktemp("world")
    (folder / ".ansible-lint").write_text("---\nexclude_paths: [.home/]\n")
    for era in ("before", "after", "later", "today"):
        for role in write_roles(era, folder / era):
            if (era, role.name) == ("today", "os_glance"):
                (role / "tests/roles").mkdir(parents=True)
                (role / "tests/roles" / role.name).symlink_to("../..")
    return folder


@pytest.fixture(scope="module")
def matches(world: Path) -> dict[str, list[Match]]:
    """What one run over the project finds, by era."""
    eras = ("before", "after", "later", "today")
    found = lint(world, targets=[Path(era) for era in eras])
    return {era: [match for match in found if match.path.startswith(f"{era}/")] for era in eras}


def test_before_the_change_everything_is_found(matches: dict[str, list[Match]]) -> None:
    assert count(matches["before"]) == {
        "toggle": 96,
        "pip-service-outside-venv": 11,
        "pip-host-prerequisite": 5,
        "prebuilt-venv-chain": 5,
        "mark-before-payload": 5,
    }


def test_each_line_with_a_toggle_is_found_once(world: Path, matches: dict[str, list[Match]]) -> None:
    expected = set()
    for path in (world / "before").rglob("*"):
        for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
            if TOGGLE.search(line) and "{#" not in line:
                expected.add((str(path.relative_to(world)), number))
    found = [(match.path, match.line) for match in matches["before"] if match.rule == "toggle"]
    assert len(found) == len(set(found)) == len(expected)
    assert set(found) == expected


def test_after_the_change_chains_and_prerequisites_are_left(matches: dict[str, list[Match]]) -> None:
    assert count(matches["after"]) == {"pip-host-prerequisite": 5, "prebuilt-venv-chain": 5}


def test_what_came_later_is_found(matches: dict[str, list[Match]]) -> None:
    assert count(matches["later"]) == {
        "prebuilt-venv-chain": 5,
        "shebang-rewrite": 10,  # sed over the scripts, and an interpreter planted
        "mark-before-payload": 15,  # a checksum, a stamp and a tag, each by a task of its own
    }


def test_nothing_is_found_in_roles_of_today(matches: dict[str, list[Match]]) -> None:
    assert matches["today"] == []


def test_prerequisites_are_warnings_and_the_others_errors(matches: dict[str, list[Match]]) -> None:
    levels = {(match.rule, match.level) for era in matches.values() for match in era}
    assert levels == {
        ("toggle", "error"),
        ("pip-service-outside-venv", "error"),
        ("pip-host-prerequisite", "warning"),
        ("prebuilt-venv-chain", "error"),
        ("shebang-rewrite", "error"),
        ("mark-before-payload", "error"),
    }


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "os_nova/defaults/main.yml:7",
            "nova_venv_enabled has no effect any more, services live in venvs only: delete the variable; "
            "its companions go with it: nova_venv_bin (defaults/main.yml:4)",
        ),
        (
            "os_glance/defaults/paths.yml:4",
            "glance_venv_enabled is always true: put the first value in place of this ternary",
        ),
        ("os_nova/tasks/nova_install.yml:38", "nova_venv_enabled is always true: delete this condition"),
        (
            "os_nova/tasks/nova_bin.yml:5",
            "nova_venv_enabled is always true, this task never runs: "
            "delete the search by which, and the set_fact that uses it",
        ),
        (
            "os_nova/tasks/nova_bin.yml:13",
            "nova_venv_enabled is always true, this task never runs: delete it",
        ),
        (
            "os_cinder/tasks/cinder_backup.yml:25",
            "cinder_venv_enabled is always true: take it out of this condition",
        ),
        (
            "os_nova/templates/sudoers.j2:3",
            "nova_venv_enabled is always true: keep the body of this if, and delete its else branch",
        ),
        (
            "os_glance/templates/glance-scrub.py.j2:1",
            "glance_venv_enabled is always true: put the first value in place of this ternary",
        ),
    ],
)
def test_each_form_says_what_to_do(matches: dict[str, list[Match]], place: str, message: str) -> None:
    found = {
        f"{match.path}:{match.line}": match.message for match in matches["before"] if match.rule == "toggle"
    }
    assert found[f"before/{place}"] == message


def test_a_chain_is_told_with_its_steps(matches: dict[str, list[Match]]) -> None:
    chains = [match for match in matches["before"] if match.rule == "prebuilt-venv-chain"]
    assert {match.path for match in chains} == {
        f"before/os_{name}/tasks/{name}_install.yml" for name in SERVICES
    }
    assert {match.message for match in chains} == {
        "A prebuilt venv in 4 tasks, any of which may be the last to run: "
        "download (line 43), removal (line 60), unpack (line 77), repair (line 88); "
        "replace them by the role venvoy.venvoy.python_venv or one venvoy.venvoy.venv_artifact task"
    }


@pytest.fixture(scope="module")
def corrected(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corrected")
    copy(world / "before", folder / "before")
    (folder / ".ansible-lint").write_text("---\nexclude_paths: [.home/]\n")
    lint(folder, "--fix", targets=[Path("before")])
    return folder


def test_corrections_leave_only_what_is_for_people(corrected: Path) -> None:
    left = lint(corrected, targets=[Path("before")])
    assert count(left) == {
        "toggle": 3,
        "pip-host-prerequisite": 5,
        "prebuilt-venv-chain": 5,
        "mark-before-payload": 5,
    }
    # A sum inside a ternary, and a toggle in a failed_when: the variable that they ask for stays as well.
    assert {match.path.removeprefix("before/os_cinder/") for match in left if match.rule == "toggle"} == {
        "defaults/main.yml",
        "defaults/paths.yml",
        "tasks/cinder_backup.yml",
    }


def test_corrections_delete_tasks_conditions_and_variables_and_keep_comments(corrected: Path) -> None:
    role = corrected / "before/os_nova"
    defaults = (role / "defaults/main.yml").read_text()
    assert "enable or disable installing in a venv" not in defaults
    assert 'nova_venv_bin: "/openstack/venvs/nova-{{ nova_venv_tag }}/bin"\n\n# The bin path' in defaults
    install = (role / "tasks/nova_install.yml").read_text()
    assert "(no venv)" not in install
    assert "# On the host itself" not in install
    assert "# TODO: with Ansible 2" in install
    assert "  when:\n    - not nova_developer_mode | bool\n  register: local_venv_stat\n" in install
    assert "when: \n" not in install
    assert (
        (role / "tasks/nova_bin.yml")
        .read_text()
        .startswith("---\n# Written wherever the commands are.\n- name: Drop the cleanup cron job\n")
    )
    backup = (corrected / "before/os_cinder/tasks/cinder_backup.yml").read_text()
    assert "  when: cinder_backup_enable | bool\n" in backup
    assert (role / "templates/sudoers.j2").read_text().splitlines()[1:4] == [
        "Defaults:nova !requiretty",
        'Defaults:nova secure_path="{{ nova_venv_bin }}:/usr/sbin:/usr/bin"',
        "nova ALL = (root) NOPASSWD: {{ nova_bin }}/nova-rootwrap",
    ]
    vhost = (corrected / "before/os_keystone/templates/keystone-httpd.conf.j2").read_text()
    assert "threads={{ threads }} python-path={{ keystone_venv_lib_dir }}\n" in vhost
    assert "WSGIScriptAlias / {{ keystone_venv_wsgi }}/main\n" in vhost
    assert "{% if keystone_ssl_enabled == true %}" in vhost


def test_a_play_that_names_a_role_brings_its_templates(tmp_path: Path) -> None:
    write_roles("before", tmp_path / "roles")
    (tmp_path / ".ansible-lint").write_text("---\nexclude_paths: [.home/]\n")
    (tmp_path / "site.yml").write_text("---\n- name: Nova\n  hosts: all\n  roles: [os_nova]\n")
    found = [match for match in lint(tmp_path, targets=[Path("site.yml")]) if match.rule == "toggle"]
    assert len(found) == 24
    assert "roles/os_nova/templates/sudoers.j2" in {match.path for match in found}
