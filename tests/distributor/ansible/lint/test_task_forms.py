"""Forms in which tasks are written, and what the rules take them for."""

from __future__ import annotations

import pytest

HOST_PIP = {
    "one line": "- pip: name={{ nova_pip_packages | join(' ') }} state=latest",
    "with its collection": '- ansible.builtin.pip: {name: "{{ nova_pip_packages }}"}',
    "local action": '- local_action: {module: pip, name: "{{ nova_pip_packages }}"}',
    "action": "- action: pip name=nova",
    "bare loop": "- pip: {name: '{{ item }}'}\n  with_items: nova_pip_packages",
    "the system's pip": "- pip: {name: nova, executable: /usr/bin/pip3}",
    "pip by name": "- pip: {name: nova, executable: pip3}",
    "command": "- command: pip install nova",
    "as a module": "- shell: cd /opt && python3 -m pip install --upgrade nova",
    "in a block": "- block:\n    - pip: {name: nova}\n  when: not nova_venv_enabled | bool",
}
VENV_PIP = {
    "virtualenv": "- pip: name=nova virtualenv=/opt/nova",
    "executable": '- pip: {name: nova, executable: "{{ nova_bin }}/pip"}',
    "plain executable": "- pip: {name: nova, executable: /openstack/venvs/nova/bin/pip}",
    "virtualenv_command": "- pip: {name: nova, virtualenv: /opt/x, virtualenv_command: python3 -m venv}",
    "args": "- pip: name=nova\n  args:\n    virtualenv: /opt/nova",
    "command": '- command: "{{ nova_bin }}/pip install nova"',
    "full path": "- command: /openstack/venvs/nova/bin/pip install nova",
    "target": "- command: pip install --target /opt/modules nova",
    "removal": "- pip: {name: nova, state: absent}",
    "download": "- command: pip download nova",
}
UNPACKING = {
    "unarchive": "- unarchive: {src: /var/cache/nova-venv.tgz, dest: /openstack/venvs/nova}",
    "tar": '- command: /bin/tar xzf "/var/cache/{{ nova_venv_download_url | basename }}" -C /opt',
    "tar with a dash": "- shell: tar -C /opt -xf /var/cache/nova-venv.tgz",
    "its name": "- name: Unarchive pre-built venv\n  unarchive: {src: /var/cache/nova.tgz, dest: /opt/nova}",
}
NOT_UNPACKING = {
    "theme": '- unarchive: {src: /tmp/theme.tgz, dest: "{{ horizon_venv_lib_dir }}/themes"}',
    "packing": "- command: tar czf /var/cache/nova-venv.tgz /openstack/venvs/nova",
    "image": "- get_url: {url: http://x/cirros-0.6.img, dest: /openstack/venvs/nova/image}",
}


@pytest.mark.parametrize("text", HOST_PIP.values(), ids=HOST_PIP)
def test_pip_on_the_host_in_every_form(text: str) -> None:
    from venvoy_lint.pip_tasks import host_packages, is_service
    from venvoy_lint.tasks import tasks_in

    (task,) = tasks_in(text)
    packages = host_packages(task)
    assert packages is not None
    assert "nova" in packages
    assert task.first == (2 if "block" in text else 1)
    if "pip_packages" in packages or task.never_runs:
        assert is_service(task, packages, None)


@pytest.mark.parametrize("text", VENV_PIP.values(), ids=VENV_PIP)
def test_pip_that_leaves_the_host_alone(text: str) -> None:
    from venvoy_lint.pip_tasks import host_packages
    from venvoy_lint.tasks import tasks_in

    (task,) = tasks_in(text)
    assert host_packages(task) is None


@pytest.mark.parametrize("text", UNPACKING.values(), ids=UNPACKING)
def test_unpacking_a_venv(text: str) -> None:
    from venvoy_lint.tasks import tasks_in
    from venvoy_lint.venv_steps import unpacks_venv

    (task,) = tasks_in(text)
    assert unpacks_venv(task)


@pytest.mark.parametrize("text", NOT_UNPACKING.values(), ids=NOT_UNPACKING)
def test_what_only_looks_like_it(text: str) -> None:
    from venvoy_lint.tasks import tasks_in
    from venvoy_lint.venv_steps import unpacks_venv

    (task,) = tasks_in(text)
    assert not unpacks_venv(task)


@pytest.mark.parametrize("text", ["", "a: 1", "- [", "- 1\n- x", "\t- a: b", "- when: {a: [b]}"])
def test_files_without_tasks_are_no_trouble(text: str) -> None:
    from venvoy_lint.tasks import tasks_in

    assert all(not task.module for task in tasks_in(text))


@pytest.mark.parametrize(
    ("template", "corrected"),
    [
        ("{% if x_venv_enabled %}\na\n{% endif %}\nb\n", "a\nb\n"),
        ("{% if x_venv_enabled | bool %}\na\n{% else %}\nb\n{% endif %}\n", "a\n"),
        ("{% if not x_venv_enabled %}\na\n{% else %}\nb\n{% endif %}\n", "b\n"),
        ("p {% if x_venv_enabled %}q{% endif %} r", "p q r"),
        (
            "{% if y %}\n{% if x_venv_enabled %}\na\n{% endif %}\n{% endif %}\n",
            "{% if y %}\na\n{% endif %}\n",
        ),
        (
            "{% if x_venv_enabled %}\n{% for i in l %}\n{% if i %}a{% endif %}\n{% endfor %}\n{% endif %}\n",
            "{% for i in l %}\n{% if i %}a{% endif %}\n{% endfor %}\n",
        ),
        ("#!{{ (x_venv_enabled | bool) | ternary(a, '/usr') }}/python", "#!{{ a }}/python"),
    ],
)
def test_templates_are_corrected(template: str, corrected: str) -> None:
    from venvoy_lint.template_fixing import fix_template

    assert fix_template(template) == corrected


@pytest.mark.parametrize(
    "template",
    [
        "{%- if x_venv_enabled %}a{% endif %}",
        "{% if x_venv_enabled %}a{% elif y %}b{% endif %}",
        "{% if x_venv_enabled and y %}a{% endif %}",
        "{{ x_venv_enabled | ternary(a ~ b, c) }}",
        "{% if x_venv_enabled %}a",
    ],
)
def test_templates_that_are_for_people(template: str) -> None:
    from venvoy_lint.template_fixing import fix_template

    assert fix_template(template) == template
