"""Requests, checked before they are kept: hostile ones name what is wrong, equal ones have one name."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.errors import InvalidInput
from service.submission import Rules, Submission, host_name, read_submission

TARGET = "cp311-linux_x86_64-glibc2.36"
OTHER = "cp312-linux_x86_64-glibc2.39"
LOCK = "pylock.demo-cp311-linux_x86_64-glibc2_36.toml"
SPEC = f'release = "1.0.0"\ntargets = ["{TARGET}"]\n[services.demo]\nrequirements = ["demo==1.0"]\n'
TEXT = (
    'lock-version = "1.0"\ncreated-by = "hand"\n[[packages]]\nname = "demo"\nversion = "1.0"\n'
    'wheels = [{ url = "https://files.example.org/demo-1.0-py3-none-any.whl", '
    f'hashes = {{ sha256 = "{"0" * 64}" }} }}]\n'
)


def read(spec: str = SPEC, **options: Any) -> Submission:
    wanted: dict[str, Any] = {"locks": {LOCK: TEXT}, "files": {}, "rules": Rules(), **options}
    return read_submission(spec, **wanted)


def test_equal_requests_have_one_name_and_others_another() -> None:
    plain = read()
    assert plain.jobs == (("demo", TARGET),)
    assert len(plain.blobs) == 2
    assert read(services=["demo"], targets=[TARGET]).id == plain.id
    constrained = SPEC.replace("[services", 'build-constraints = ["uc.txt"]\n[services')
    other = {LOCK.replace("311", "312").replace("2_36", "2_39"): TEXT}
    names = {
        plain.id,
        read(SPEC + "\n").id,
        read(locks={LOCK: TEXT + "\n"}).id,
        read(constrained, files={"uc.txt": "pbr<7\n"}).id,
        read(constrained, files={"uc.txt": "pbr<8\n"}).id,
        read(targets=[OTHER], locks=other).id,
    }
    assert len(names) == 6


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        (SPEC + 'colour = "red"\n', {}, "release.toml:5: "),
        ("\ud800", {}, "'release.toml' holds what no UTF-8 text can"),
        (SPEC, {"locks": {}}, f"locks: the release needs {LOCK}, which the request lacks"),
        (SPEC, {"locks": {LOCK: TEXT, "../evil": ""}}, "locks: the release does not need '../evil'"),
        (SPEC, {"files": {"uc.txt": ""}}, "files: the release does not need 'uc.txt'"),
        (SPEC, {"services": ["nova"]}, "no service 'nova'; it has: demo"),
        (SPEC, {"targets": ["windows"]}, "windows"),
        (SPEC, {"locks": {LOCK: "x"}}, f"{LOCK}: not valid TOML"),
        (SPEC, {"locks": {LOCK: TEXT.replace("https", "file")}}, "local path"),
        (
            SPEC,
            {"rules": Rules(hosts=frozenset({"pypi.org"}))},
            f"{LOCK}: demo comes from 'files.example.org', which this service does not ask",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(spec: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(spec, **options)
    assert said in str(caught.value)


def test_build_constraints_come_from_hosts_that_were_named() -> None:
    spec = SPEC.replace("[services", 'build-constraints = ["http://169.254.169.254/uc"]\n[services')
    assert read(spec).jobs
    with pytest.raises(InvalidInput, match=r"build-constraints comes from '169\.254\.169\.254'"):
        read(spec, rules=Rules(hosts=frozenset({"files.example.org"})))


@pytest.mark.parametrize("path", ["../uc.txt", "a/../../uc.txt", "release.toml", "locks/uc.txt"])
def test_files_stay_below_the_spec_and_beside_what_is_ours(path: str) -> None:
    spec = SPEC.replace("[services", f'build-constraints = ["{path}"]\n[services')
    with pytest.raises(InvalidInput, match="build-constraints"):
        read(spec, files={path: ""})


def test_hosts_that_were_named_may_be_asked() -> None:
    assert read(rules=Rules(hosts=frozenset({host_name("Files.Example.ORG")}))).id == read().id
    with pytest.raises(InvalidInput, match="is no host name"):
        host_name("https://files.example.org/")
