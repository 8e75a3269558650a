from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import Sha256
from manifests.errors import InvalidInput, NotFound
from manifests.lock import (
    Lock,
    LockedFile,
    LockedPackage,
    LockedVcs,
    artifact_version,
    locked_versions,
    parse_lock,
    read_lock,
)
from manifests.release_spec import ServiceSpec
from manifests.strict_toml import load_toml
from manifests.target import Target

DEBIAN = Target.parse("cp311-linux_x86_64-glibc2.36")
PATH = Path("locks/pylock.a.toml")
HEAD = 'lock-version = "1.0"\ncreated-by = "uv"\nrequires-python = ">=3.11"\n'
DIGEST = "ab" * 32
NO_WHEEL = "no wheel fits cp311-linux_x86_64-glibc2.36, and there is no sdist to build one from"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(file: str, extra: str = "") -> str:
    hashes = f'hashes = {{ sha256 = "{DIGEST}" }}'
    return f'{{ url = "https://example.org/{file}", size = 7, {hashes}{extra} }}'


def locked(file: str) -> LockedFile:
    return LockedFile(name=file, url=f"https://example.org/{file}", size=7, sha256=Sha256(DIGEST))


def package(name: str, body: str, version: str | None = "1.0") -> str:
    spelled = f'version = "{version}"\n' if version else ""
    return f'[[packages]]\nname = "{name}"\n{spelled}{body}\n'


def wheels(*files: str) -> str:
    return f"wheels = [{', '.join(entry(file) for file in files)}]"


def parse(text: str, target: Target = DEBIAN) -> Lock:
    return parse_lock((HEAD + text).encode(), PATH, target)


def problem(text: str, target: Target = DEBIAN) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(text, target)
    return str(caught.value)


def test_chooses_what_fits_best_first_sorted_by_name() -> None:
    lock = parse(
        package(
            "zeta",
            wheels(
                "zeta-1.0-py3-none-any.whl",
                "zeta-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "zeta-1.0-cp311-cp311-manylinux_2_36_x86_64.whl",
                "zeta-1.0-cp311-cp311-manylinux_2_37_x86_64.whl",
                "zeta-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
                "zeta-1.0-cp39-abi3-manylinux_2_36_x86_64.whl",
                "zeta-1.0-2-py3-none-any.whl",
                "zeta-1.0-10b-py3-none-any.whl",
            )
            + f"\nsdist = {entry('zeta-1.0.tar.gz')}",
        )
        + package("alpha", f"sdist = {entry('alpha-1.0.zip')}")
    )
    assert lock.path == PATH
    assert [item.name for item in lock.packages] == ["alpha", "zeta"]
    assert [wheel.name for wheel in lock.packages[1].wheels] == [
        "zeta-1.0-cp311-cp311-manylinux_2_36_x86_64.whl",
        "zeta-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "zeta-1.0-cp39-abi3-manylinux_2_36_x86_64.whl",
        "zeta-1.0-10b-py3-none-any.whl",
        "zeta-1.0-2-py3-none-any.whl",
        "zeta-1.0-py3-none-any.whl",
    ]
    assert lock.packages[1].sdist == locked("zeta-1.0.tar.gz")
    assert lock.packages[0] == LockedPackage(name="alpha", version="1.0", sdist=locked("alpha-1.0.zip"))


def test_reads_commits_and_archives() -> None:
    url = "https://example.org/x.git"
    git = f'vcs = {{ type = "git", url = "{url}", commit-id = "{COMMIT}", subdirectory = "a/b" }}'
    lock = parse(
        package("git", git, version=None)
        + package("wheel", f"archive = {entry('wheel-2.0-py3-none-any.whl')}", version=None)
        + package("source", f"archive = {entry('source-3.0.tar.gz')}", version=None)
        + package("branch", f"archive = {entry('main.tar.gz')}", version=None)
    )
    found = {item.name: item for item in lock.packages}
    assert found["git"] == LockedPackage(
        name="git",
        version=None,
        vcs=LockedVcs(url="https://example.org/x.git", commit=COMMIT, subdirectory="a/b"),
    )
    assert found["wheel"].archive == locked("wheel-2.0-py3-none-any.whl")
    assert {name: lock.version_of(name) for name in found} == {
        "git": "0+git.0123456789ab",
        "wheel": "2.0",
        "source": "3.0",
        "branch": "0+sha256.abababababab",
    }


def test_markers_and_python_are_those_of_the_target() -> None:
    markers = {
        "on-linux": "sys_platform == 'linux' and platform_machine == 'x86_64'",
        "on-windows": "sys_platform == 'win32'",
        "before-3": "python_full_version < '3.11.3'",
        "with-extra": "'tls' in extras",
        "in-group": "'prod' in dependency_groups",
    }
    text = "".join(
        package(
            name, f"marker = {json.dumps(marker)}\n{wheels(name.replace('-', '_') + '-1.0-py3-none-any.whl')}"
        )
        for name, marker in markers.items()
    )
    lock = parse('default-groups = ["prod"]\n' + text)
    assert [item.name for item in lock.packages] == ["before-3", "in-group", "on-linux"]


def test_a_lock_may_ask_for_a_patch_level_which_then_rules_its_markers() -> None:
    text = (
        HEAD
        + package("a", "marker = \"python_full_version < '3.11.3'\"\n" + wheels("a-1.0-py3-none-any.whl"))
    ).replace(">=3.11", ">=3.11.7")
    assert parse_lock(text.encode(), PATH, DEBIAN).packages == ()
    assert parse(package("a", 'requires-python = ">=3.11.2"\n' + wheels("a-1.0-py3-none-any.whl"))).packages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            package(
                "a", wheels("a-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", "a-1.0-cp311-cp311-win_amd64.whl")
            ),
            f"a 1.0: {NO_WHEEL}; wheels are "
            "for: cp311-cp311-musllinux_1_2_x86_64, cp311-cp311-win_amd64; "
            "lock it again, constrained to a version that fits",
        ),
        (
            package("a", wheels(*(f"a-1.0-cp3{n}-cp3{n}-win_amd64.whl" for n in range(20, 28)))),
            f"a 1.0: {NO_WHEEL}; wheels are for: "
            "cp320-cp320-win_amd64, cp321-cp321-win_amd64, cp322-cp322-win_amd64, cp323-cp323-win_amd64, "
            "cp324-cp324-win_amd64, cp325-cp325-win_amd64 and 2 more; "
            "lock it again, constrained to a version that fits",
        ),
        (
            package("a", 'directory = { path = "../a" }', version=None),
            "a: is a local directory (../a); lock a release or a git commit instead",
        ),
        (
            package("a", 'directory = { path = "../a", editable = true }'),
            "a 1.0: is an editable checkout (../a); lock a release or a git commit instead",
        ),
        (
            package(
                "a",
                f'wheels = [{{ path = "/x/a-1.0-py3-none-any.whl", hashes = {{ sha256 = "{DIGEST}" }} }}]',
            ),
            "a 1.0: wheels[0] is the local path '/x/a-1.0-py3-none-any.whl'; "
            "lock it from an index or URL instead",
        ),
        (
            package("a", 'sdist = { url = "https://example.org/a-1.0.tar.gz", hashes = { md5 = "00" } }'),
            "a 1.0: sdist has no sha256; lock it from an index that gives one",
        ),
        (
            package("a", f"sdist = {entry('a-1.0.tar.gz')}").replace(DIGEST, DIGEST[1:]),
            "a 1.0: sdist has no sha256; lock it from an index that gives one",
        ),
        (
            package("a", f"sdist = {entry('a-1.0.tar.gz')}").replace("https:", "file:"),
            "a 1.0: sdist is the local path 'file://example.org/a-1.0.tar.gz'; "
            "lock it from an index or URL instead",
        ),
        (
            package("a", f"sdist = {entry('a-1.0.tar.gz')}").replace("https:", "ftp:"),
            "a 1.0: 'ftp://example.org/a-1.0.tar.gz' is not an http or https URL",
        ),
        (
            package("a", f"sdist = {entry('a-1.0.tar.gz')}").replace("https://", "https://me:secret@"),
            "a 1.0: 'https://***@example.org/a-1.0.tar.gz' holds credentials; "
            "keep them out of files: use ~/.netrc, a keyring or the settings of git",
        ),
        (
            package("a", f"index = 'https://t@example.org/'\nsdist = {entry('a-1.0.tar.gz')}"),
            "a 1.0: 'https://***@example.org/' holds credentials; "
            "keep them out of files: use ~/.netrc, a keyring or the settings of git",
        ),
        (
            package("a", f"archive = {entry('..%2Fa.zip')}"),
            "a 1.0: archive: '../a.zip' cannot be a file name",
        ),
        (
            package("a", f"archive = {entry('a-1.0-cp312-cp312-win_amd64.whl')}"),
            f"a 1.0: {NO_WHEEL}; wheels are "
            "for: cp312-cp312-win_amd64; "
            "lock it again, constrained to a version that fits",
        ),
        (
            package("a", "archive = " + entry("a.zip", ', subdirectory = "b"')),
            "a 1.0: is a subdirectory of an archive, which is not supported; lock a git commit instead",
        ),
        (
            package("a", f'vcs = {{ type = "hg", url = "https://example.org/x", commit-id = "{COMMIT}" }}'),
            "a 1.0: vcs is 'hg'; only git is supported",
        ),
        (
            package("a", 'vcs = { type = "git", url = "https://example.org/x", commit-id = "main" }'),
            "a 1.0: vcs: 'main' is not a full git commit",
        ),
        (
            package("a", f'vcs = {{ type = "git", path = "../x", commit-id = "{COMMIT}" }}'),
            "a 1.0: vcs is the local path '../x'; lock it from an http(s) URL instead",
        ),
        (
            package(
                "a",
                f'vcs = {{ type = "git", url = "http://h", commit-id = "{COMMIT}", subdirectory = "../x" }}',
            ),
            "a 1.0: vcs.subdirectory: '../x' is not a plain relative path",
        ),
        (
            package("a", wheels("a-1.0-py3-none-any.whl")) * 2,
            "a: stands twice for cp311-linux_x86_64-glibc2.36; lock it again",
        ),
        (
            package("a", 'requires-python = ">=3.12"\n' + wheels("a-1.0-py3-none-any.whl")),
            "a requires Python >=3.12, which cp311-linux_x86_64-glibc2.36 is not; "
            "lock it again for this target",
        ),
        (
            "environments = [\"sys_platform == 'win32'\"]\npackages = []",
            "none of the lock's environments is cp311-linux_x86_64-glibc2.36; lock it again for this target",
        ),
        (
            package(
                "a",
                "wheels = [{ url = 'http://h/a-1.0-py3-none-any.whl', size = true, hashes = { md5 = '' } }]",
            ),
            "Unexpected type bool (expected int) in 'packages[0].wheels[0].size'",
        ),
        (
            package("a", wheels("b-1.0-py3-none-any.whl")),
            "Name in 'b-1.0-py3-none-any.whl' is not consistent with package name 'a' "
            "in 'packages[0].wheels[0]'",
        ),
        ("packages = 3", "Unexpected type int (expected Sequence) in 'packages'"),
        ("= ", "not valid TOML: Invalid statement (at line 4, column 1)"),
    ],
)
def test_refuses_by_name_what_cannot_be_built_from(text: str, message: str) -> None:
    assert problem(text) == f"locks/pylock.a.toml: {message}"


def test_a_lock_for_another_python_is_refused() -> None:
    assert problem("packages = []", Target.parse("cp310-linux_x86_64-glibc2.36")) == (
        "locks/pylock.a.toml: requires Python >=3.11, which cp310-linux_x86_64-glibc2.36 is not; "
        "lock it again"
    )


def test_a_lock_of_another_format_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_lock(b'lock-version = "2.0"\ncreated-by = "x"\npackages = []\n', PATH, DEBIAN)
    assert str(caught.value) == "locks/pylock.a.toml: pylock version 2.0 is not supported"


def test_reports_every_package_up_to_a_length_that_can_be_read() -> None:
    text = "".join(package(f"p{n:02}", f'directory = {{ path = "p{n}" }}', version=None) for n in range(12))
    lines = problem(text).splitlines()
    assert (
        lines[0]
        == "locks/pylock.a.toml: p00: is a local directory (p0); lock a release or a git commit instead"
    )
    assert lines[-1] == "locks/pylock.a.toml: and 2 packages more"
    assert len(lines) == 11


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pylock.a.toml"
    path.write_text(HEAD + package("a", wheels("a-1.0-py3-none-any.whl")))
    assert read_lock(path, DEBIAN).packages[0].wheels == (locked("a-1.0-py3-none-any.whl"),)
    with pytest.raises(NotFound) as missing:
        read_lock(tmp_path / "none.toml", DEBIAN)
    assert str(missing.value) == f"{tmp_path}/none.toml: no such lock; make it with venvoy lock"
    with pytest.raises(InvalidInput) as folder:
        read_lock(tmp_path, DEBIAN)
    assert str(folder.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_an_artifact_is_named_by_package_then_service_then_first_requirement() -> None:
    lock = parse(
        package("keystone", wheels("keystone-29.0.2-py3-none-any.whl"), "29.0.2")
        + package("openstack-placement", wheels("openstack_placement-15.0.0-py3-none-any.whl"), "15.0.0")
    )

    def version(name: str, package: str | None = None) -> str:
        requirements = ("Openstack_Placement >= 14", "keystone")
        return artifact_version(
            lock, ServiceSpec(name=name, requirements=requirements, targets=(DEBIAN,), package=package)
        )

    assert version("keystone") == "29.0.2"
    assert version("placement") == "15.0.0"
    assert version("placement", "keystone") == "29.0.2"
    with pytest.raises(NotFound) as caught:
        version("keystone", "nova")
    assert str(caught.value) == (
        "locks/pylock.a.toml: 'nova' is not in the lock; correct 'package' in the release spec, or add it to "
        "'requirements' and run venvoy lock"
    )


def test_versions_of_any_target_can_be_compared() -> None:
    text = (
        package("a", wheels("a-1.0-cp312-cp312-win_amd64.whl"))
        + package("b", f'vcs = {{ type = "git", url = "https://h/b", commit-id = "{COMMIT}" }}')
        + package("c", f"archive = {entry('main.zip')}", version=None)
    )
    assert locked_versions((HEAD + text).encode(), what="x") == {
        "a": "1.0",
        "b": "1.0@0123456789ab",
        "c": "?",
    }
    with pytest.raises(InvalidInput) as caught:
        locked_versions(b"packages = []", what="x")
    assert str(caught.value) == "x: Missing required value in 'lock-version'"


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/locks/pylock.*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parts[-3]}-{path.name}")
def test_the_examples_can_be_built_from(path: Path) -> None:
    lock = read_lock(path, DEBIAN)
    assert len(lock.packages) == len(load_toml(path.read_bytes(), what=str(path))[0]["packages"])


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 9


NAMES = st.sampled_from(["a", "b-c", "A", ""])
TEXTS = st.sampled_from(
    [
        *(
            "1.0",
            "https://h/a-1.0-py3-none-any.whl",
            "https://h/a-1.0.tar.gz",
            "https://[/",
            "../a",
            "git",
            COMMIT,
            DIGEST,
        ),
        *(
            "sys_platform == 'linux'",
            "extra == 'x'",
            "'x' in extras",
            "python_version > 'a'",
            ">=3.11",
            "((((",
            "\0",
            "",
        ),
        *("python_full_version == 'x'", "platform_release < '1'", "os_name ~= 'a'", "1" * 5000),
    ]
)
KEYS = st.sampled_from(
    [
        *(
            "name",
            "version",
            "marker",
            "requires-python",
            "vcs",
            "directory",
            "archive",
            "index",
            "sdist",
            "wheels",
        ),
        *("url", "path", "type", "commit-id", "subdirectory", "hashes", "sha256", "size", "editable"),
    ]
)
VALUES = st.recursive(
    st.integers(-9, 9) | st.booleans() | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
FILES = st.fixed_dictionaries(
    {"url": TEXTS, "hashes": st.just({"sha256": DIGEST})},
    optional={"name": TEXTS, "path": TEXTS, "size": VALUES},
)
PACKAGES = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "version": TEXTS,
        "marker": TEXTS,
        "requires-python": TEXTS,
        "index": TEXTS,
        "wheels": st.lists(FILES, max_size=2) | VALUES,
        "sdist": FILES | VALUES,
        "archive": FILES | VALUES,
        "vcs": st.fixed_dictionaries({"type": TEXTS, "url": TEXTS, "commit-id": TEXTS}) | VALUES,
        "directory": VALUES,
    },
)
TOPS = st.dictionaries(
    st.sampled_from(["environments", "requires-python", "default-groups", "extras", "lock-version"]),
    VALUES,
    max_size=2,
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


@given(top=TOPS, packages=st.lists(PACKAGES, max_size=3))
def test_any_lock_is_read_or_invalid_input(top: dict[str, object], packages: list[dict[str, object]]) -> None:
    document = {"lock-version": "1.0", "created-by": "x", **top, "packages": packages}
    data = "\n".join(f"{key} = {toml(value)}" for key, value in document.items()).encode()
    try:
        parse_lock(data, PATH, DEBIAN)
    except InvalidInput as error:
        message = str(error)
    else:
        return
    assert message.startswith("locks/pylock.a.toml: ")


@given(st.binary(max_size=100))
def test_any_bytes_are_invalid_input(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_lock(data, PATH, DEBIAN)
