"""The plays that ``benchmarks.plays`` times: the role, and what installed services before it."""

EMPTY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.meta: noop
"""

FACTS = """
- hosts: all
  gather_facts: true
  gather_subset: ["!all", min]
"""

# By the name by which OpenStack-Ansible's roles call it.
ROLE = """
- hosts: all
  gather_facts: false
  roles:
    - venvoy.venvoy.python_venv_build
"""

# What python_venv_build does to a host for which wheels are ready, without apt and bookkeeping.
PIP = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Make the folder
      ansible.builtin.file:
        path: "{{ venv }}"
        state: directory
        mode: "0755"
    - name: Write what is wanted
      ansible.builtin.copy:
        dest: "{{ venv }}/{{ item }}.txt"
        content: "# Managed with python_venv_build role\\n{{ requirements }}"
        mode: "0644"
      loop: [requirements, constraints, global-constraints]
    - name: Make the venv, with its seed
      ansible.builtin.pip:
        name: [pip, setuptools]
        virtualenv: "{{ venv }}"
        virtualenv_command: "{{ python }} -m venv"
        extra_args: --no-index --isolated
    - name: Install the packages
      ansible.builtin.pip:
        requirements: "{{ venv }}/requirements.txt"
        virtualenv: "{{ venv }}"
        extra_args: --isolated --no-index --find-links {{ wheels }}/ --constraint {{ venv }}/constraints.txt
    - name: Write the facts
      venvoy.venvoy.venv_facts:
        path: /etc/ansible/facts.d/openstack_ansible.fact
        facts: "{{ venv_facts_when_changed }}"
"""

# What roles did from 2016 to 2018, without the checksum that was looked up by a task of its own.
PATTERN_OF_2018 = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Fetch the archive
      ansible.builtin.get_url:
        url: "{{ archive }}"
        checksum: "sha256:{{ archive_sha256 }}"
        dest: /var/cache/keystone.tgz
        mode: "0644"
    - name: Remove existing venv
      ansible.builtin.file:
        path: "{{ venv }}"
        state: absent
    - name: Make the folder
      ansible.builtin.file:
        path: "{{ venv }}"
        state: directory
        mode: "0755"
    - name: Unpack the archive
      ansible.builtin.unarchive:
        src: /var/cache/keystone.tgz
        dest: "{{ venv }}"
        remote_src: true
    - name: Correct the first lines
      ansible.builtin.shell: sed -si '1s|^#!.*python.*$|#!{{ venv }}/bin/python|' {{ venv }}/bin/*
    - name: Implant the interpreter again
      ansible.builtin.command: "{{ virtualenv }} --python {{ python }} --always-copy {{ venv }}"
    - name: Write the facts
      venvoy.venvoy.venv_facts:
        path: /etc/ansible/facts.d/openstack_ansible.fact
        facts: "{{ venv_facts_when_changed }}"
"""
