from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("nova_venv_enabled | bool", True),
        ("nova_venv_enabled|bool", True),
        ("(nova_venv_enabled | default(true)) | bool", True),
        ("nova_venv_enabled == 'yes'", True),
        ("nova_venv_enabled is defined", True),
        ("not nova_venv_enabled | bool", False),
        ("not (nova_venv_enabled | bool)", False),
        ("nova_venv_enabled | bool == false", False),
        ("nova_venv_enabled != true", False),
        ("nova_developer_mode | bool and not nova_venv_enabled | bool", False),
        ("nova_developer_mode | bool or nova_venv_enabled | bool", True),
        ("nova_developer_mode | bool or not nova_venv_enabled | bool", None),
        ("nova_developer_mode | bool", None),
        ("install_packages|success and {{ broken", None),
        ("not nova_venv_enabled | bool and {{ other }} == 'x'", False),
    ],
)
def test_truth_with_toggles_true(condition: str, value: bool | None) -> None:
    from venvoy_lint.conditions import truth

    assert truth(condition) is value


@pytest.mark.parametrize(
    ("condition", "rest"),
    [
        ("nova_venv_enabled | bool", ""),
        ("a | bool and nova_venv_enabled | bool", "a | bool"),
        ("nova_venv_enabled | bool and (b or c)", "(b or c)"),
        ("a == 'x and y' and nova_venv_enabled", "a == 'x and y'"),
        ("nova_venv_enabled and a or b", None),
        ("a | bool", None),
        ("(nova_venv_enabled | bool) == other", None),
    ],
)
def test_conditions_without_toggles(condition: str, rest: str | None) -> None:
    from venvoy_lint.conditions import without_toggles

    assert without_toggles(condition) == rest


@pytest.mark.parametrize(
    "name",
    [
        "venv_wheel_build_enable",
        "wsgi_venv",
        "tempest_venv_bin",
        "stackviz_venv_bin",
        "nova_venv_tag",
        "nova_venv_python_executable",
        "nova_venv_enabled_services",
        ".*_venv_enabled$",
    ],
)
def test_names_that_are_no_toggles(name: str) -> None:
    from venvoy_lint.conditions import TOGGLE

    assert not TOGGLE.search(f"when: {name} | bool")
