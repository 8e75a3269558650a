from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.artifact import Checks, MutablePath, read_checks
from manifests.errors import InvalidInput, NotFound
from manifests.fields import Fields
from manifests.release_spec import ReleaseSpec, ServiceSpec, parse_release_spec, read_release_spec
from manifests.requirement import parse_requirement, requirement_name
from manifests.target import Target
from manifests.toml_lines import line_of, scan_lines
from manifests.urls import redacted, web_url

DEBIAN = Target.parse("cp311-linux_x86_64-glibc2.36")
UBUNTU = Target.parse("cp312-linux_aarch64-glibc2.39")
WAYS = "write 'name==version', 'name @ https://...' or 'name @ git+https://...@revision'"

FULL = """\
release = "2026.1.0"
targets = ["cp311-linux_x86_64-glibc2.36"]
constraints = ["upper-constraints.txt", "https://example.org/c.txt?h=stable#x"]
build-constraints = ["../build-constraints.txt"]

[services.keystone]
requirements = [
    "keystone==29.0.2",
    "PyMySQL",
    "ldappool @ git+https://example.org/ldappool@stable",
    "git+https://example.org/x@main#egg=Memcache[tls]&subdirectory=python",
    "tool @ https://example.org/tool-1.0.tar.gz ; python_version >= '3.11'",
]
package = "Key_Stone"
constraints = ["keystone.txt", "upper-constraints.txt"]
build-constraints = ["b.txt"]
targets = ["cp312-linux_aarch64-glibc2.39"]
mutable-paths = ["etc/keystone", { path = "etc", policy = "new" }]
system-packages = ["python3-libvirt"]
allow-overlap = ["lib/python3.11/site-packages/x.py", "share/doc/*"]
rollback-barrier = "the database was contracted"

[services.keystone.checks]
imports = ["keystone", "keystone.server"]
commands = [["keystone-manage", "--version"]]
timeout = 90
user = "keystone"

[services.glance]
requirements = ["glance"]
"""


def parse(text: str) -> ReleaseSpec:
    return parse_release_spec(text.encode(), Path("dir/release.toml"))


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    return str(caught.value).splitlines()


def with_service(lines: str) -> str:
    """A spec that is right but for *lines*, which begin at line 5."""
    return (
        'release = "1"\ntargets = ["cp311-linux_x86_64-glibc2.36"]\n'
        f'[services.keystone]\nrequirements = ["keystone"]\n{lines}\n'
    )


def test_reads_everything_there_is() -> None:
    spec = parse(FULL)
    assert spec == ReleaseSpec(
        release="2026.1.0",
        targets=(DEBIAN,),
        path=Path("dir/release.toml"),
        services=(
            ServiceSpec(
                name="keystone",
                requirements=(
                    "keystone==29.0.2",
                    "PyMySQL",
                    "ldappool @ git+https://example.org/ldappool@stable",
                    "Memcache[tls] @ git+https://example.org/x@main#subdirectory=python",
                    'tool @ https://example.org/tool-1.0.tar.gz ; python_version >= "3.11"',
                ),
                targets=(UBUNTU,),
                package="key-stone",
                constraints=(
                    Path("dir/upper-constraints.txt"),
                    "https://example.org/c.txt?h=stable#x",
                    Path("dir/keystone.txt"),
                ),
                build_constraints=(Path("dir/../build-constraints.txt"), Path("dir/b.txt")),
                mutable_paths=(
                    MutablePath(path="etc/keystone", policy="keep"),
                    MutablePath(path="etc", policy="new"),
                ),
                system_packages=("python3-libvirt",),
                allow_overlap=("lib/python3.11/site-packages/x.py", "share/doc/*"),
                rollback_barrier="the database was contracted",
                checks=Checks(
                    imports=("keystone", "keystone.server"),
                    commands=(("keystone-manage", "--version"),),
                    timeout=90,
                    user="keystone",
                ),
            ),
            ServiceSpec(
                name="glance",
                requirements=("glance",),
                targets=(DEBIAN,),
                constraints=(Path("dir/upper-constraints.txt"), "https://example.org/c.txt?h=stable#x"),
                build_constraints=(Path("dir/../build-constraints.txt"),),
            ),
        ),
    )
    assert hash(spec.services[0]) == hash(parse(FULL).services[0])


def test_finds_a_service_or_names_those_there_are() -> None:
    spec = parse(FULL)
    assert spec.service("glance").requirements == ("glance",)
    with pytest.raises(NotFound) as caught:
        spec.service("nova")
    assert str(caught.value) == "dir/release.toml: no service 'nova'; it has: keystone, glance"


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "release.toml"
    path.write_text(FULL)
    assert read_release_spec(path).services[0].constraints[0] == tmp_path / "upper-constraints.txt"
    with pytest.raises(NotFound) as missing:
        read_release_spec(tmp_path / "other.toml")
    assert str(missing.value) == f"{tmp_path}/other.toml: no such file; name the release spec to read"
    with pytest.raises(InvalidInput) as folder:
        read_release_spec(tmp_path)
    assert str(folder.value) == f"{tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "requirments = []",
            "unknown key 'requirments' in [services.keystone]; did you mean 'requirements'?",
        ),
        (
            "checks = { zzz = 1 }",
            "unknown key 'zzz' in [services.keystone.checks]; "
            "known are: imports, commands, timeout, user, dependencies",
        ),
        ("package = 3", "'package' in [services.keystone] must be a string, not an integer"),
        ("package = '_'", "'package' in [services.keystone]: '_' cannot name a distribution"),
        ("constraints = 'c.txt'", "'constraints' in [services.keystone] must be a list, not a string"),
        (
            "constraints = ['/etc/c.txt']",
            "'constraints[0]' in [services.keystone]: '/etc/c.txt' is neither a file relative to the spec "
            "nor an http(s) URL",
        ),
        (
            "constraints = ['ftp://example.org/c.txt']",
            "'constraints[0]' in [services.keystone]: 'ftp://example.org/c.txt' is not an http or https URL",
        ),
        (
            "constraints = ['https://me:secret@example.org/c.txt']",
            "'constraints[0]' in [services.keystone]: 'https://***@example.org/c.txt' holds credentials; "
            "keep them out of files: use ~/.netrc, a keyring or the settings of git",
        ),
        (
            "targets = ['cp311-linux_x86_64-glibc2.36', 'cp311-linux_x86_64-glibc2.36']",
            "'targets[1]' in [services.keystone]: 'cp311-linux_x86_64-glibc2.36' stands twice",
        ),
        (
            "targets = ['debian-12']",
            "'targets[0]' in [services.keystone]: 'debian-12' is not a target; "
            "one looks like cp311-linux_x86_64-glibc2.36",
        ),
        (
            "mutable-paths = ['../etc']",
            "'path' in [services.keystone.mutable-paths[0]]: '../etc' is not a plain path relative to the "
            "venv, such as 'etc/keystone'",
        ),
        (
            "mutable-paths = [{ path = 'etc', policy = 'merge' }]",
            "'policy' in [services.keystone.mutable-paths[0]]: 'merge' is neither 'keep' nor 'new'",
        ),
        (
            "mutable-paths = [{ policy = 'new' }]",
            "'path' is missing in [services.keystone.mutable-paths[0]]; write for instance: path = \"...\"",
        ),
        (
            "mutable-paths = [1979-05-27]",
            "'mutable-paths[0]' in [services.keystone] must be a table, not a date or time",
        ),
        (
            "mutable-paths = ['etc', {path='etc'}]",
            "'mutable-paths[1]' in [services.keystone]: 'etc' stands twice",
        ),
        (
            "system-packages = ['a b']",
            "'system-packages[0]' in [services.keystone]: 'a b' cannot name a system package",
        ),
        (
            "allow-overlap = ['/lib/x.py']",
            "'allow-overlap[0]' in [services.keystone]: '/lib/x.py' is not a plain path relative to the "
            "venv, such as 'etc/keystone'",
        ),
        (
            "rollback-barrier = ' '",
            "'rollback-barrier' in [services.keystone]: must not be empty or hold line breaks or "
            "control characters",
        ),
        ("checks = 5", "'checks' in [services.keystone] must be a table, not an integer"),
        (
            "checks.timeout = true",
            "'timeout' in [services.keystone.checks] must be an integer, not a boolean",
        ),
        (
            "checks.dependencies = 'no'",
            "'dependencies' in [services.keystone.checks] must be a boolean, not a string",
        ),
        ("checks.timeout = 0", "'timeout' in [services.keystone.checks]: must be from 1 to 86400"),
        ("checks.user = 'a b'", "'user' in [services.keystone.checks]: 'a b' cannot name a user"),
        (
            "checks.imports = ['a-b']",
            "'imports[0]' in [services.keystone.checks]: 'a-b' cannot name a module",
        ),
        (
            "checks.commands = [[]]",
            "'commands[0]' in [services.keystone.checks]: expected a command, such as "
            "['nova-manage', '--version']",
        ),
        (
            "checks.commands = [['a', 1.5]]",
            "'commands[0]' in [services.keystone.checks] must be a string, not a float",
        ),
        (
            "checks.commands = ['a']",
            "'commands[0]' in [services.keystone.checks] must be a list, not a string",
        ),
    ],
)
def test_names_key_line_and_what_is_expected(lines: str, message: str) -> None:
    assert problems(with_service(lines)) == [f"dir/release.toml:5: {message}"]


@pytest.mark.parametrize(
    ("requirement", "message"),
    [
        ("-e ./src", f"'-e ./src' is editable, and the lock must not depend on a checkout; {WAYS}"),
        (
            "--editable=src",
            f"'--editable=src' is editable, and the lock must not depend on a checkout; {WAYS}",
        ),
        ("-r base.txt", "'-r base.txt' is an option, not a requirement"),
        ("./src", f"'./src' is a local path, and the lock must not depend on one; {WAYS}"),
        ("file:///src", f"'file:///src' is a local path, and the lock must not depend on one; {WAYS}"),
        (
            "a @ file:///src",
            f"'a @ file:///src' is a local path, and the lock must not depend on one; {WAYS}",
        ),
        ("a @ ../src", f"'a @ ../src' is a local path, and the lock must not depend on one; {WAYS}"),
        (
            "a-1-py3-none-any.whl",
            f"'a-1-py3-none-any.whl' is a local path, and the lock must not depend on one; {WAYS}",
        ),
        (
            "git+https://example.org/x@main",
            "'git+https://example.org/x@main' does not name a distribution; "
            "add #egg=name, or write 'name @ ...'",
        ),
        ("a @ git+ssh://git@example.org/x", "'ssh://***@example.org/x' is not an http or https URL"),
        (
            "a @ hg+https://example.org/x",
            "'a @ hg+https://example.org/x' is kept in hg, of which no lock can be made; only git can",
        ),
        (
            "a @ git+https://token@example.org/x",
            "'https://***@example.org/x' holds credentials; keep them out of files: use ~/.netrc, a keyring "
            "or the settings of git",
        ),
        (
            "a @ https://example.org/${TOKEN}/a-1.tar.gz",
            "'https://example.org/${TOKEN}/a-1.tar.gz' holds white space, control characters or a variable; "
            "write the URL out",
        ),
        (
            "a @ https://example.org/a.zip#subdirectory=b",
            "'a @ https://example.org/a.zip#subdirectory=b': a subdirectory of an archive is not supported; "
            "name the git repository",
        ),
        ("a @ https://[::1/a.zip", "'https://[::1/a.zip' is not a URL: Invalid IPv6 URL"),
        (
            "a ! 1",
            "'a ! 1' is not a requirement: Expected semicolon (after name with no version specifier) or end",
        ),
    ],
)
def test_refuses_requirements_that_no_lock_can_hold(requirement: str, message: str) -> None:
    text = FULL.replace("PyMySQL", requirement)
    assert problems(text) == [f"dir/release.toml:9: 'requirements[1]' in [services.keystone]: {message}"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "",
            [
                "1: 'release' is missing at the top level; write for instance: release = \"2026.1.0\"",
                "1: 'targets' is missing at the top level; write for instance: "
                'targets = ["cp311-linux_x86_64-glibc2.36"]',
                "1: 'services' is missing at the top level; write for instance: [services.keystone], and "
                'below it requirements = ["keystone"]',
            ],
        ),
        (
            'release = "a/b"\ntargets = []\n[services."key stone"]\n\n[services.b]\nrequirements = []\n',
            [
                "1: 'release' at the top level: 'a/b' cannot name a release: "
                "use letters, digits, '.', '_', '+' and '-'",
                "2: 'targets' at the top level: needs one target or more",
                "3: 'key stone' cannot name a service: use lower-case letters, digits, '-' and '_'",
                "3: 'requirements' is missing in [services.'key stone']; write for instance: "
                'requirements = ["key stone==1.0"]',
                "6: 'requirements' in [services.b]: needs one requirement or more",
            ],
        ),
        (
            'release = 1\ntargets = "x"\nservices = 3\n',
            [
                "1: 'release' at the top level must be a string, not an integer",
                "2: 'targets' at the top level must be a list, not a string",
                "3: 'services' at the top level must be a table, not an integer",
            ],
        ),
    ],
)
def test_reports_every_problem_at_once(text: str, messages: list[str]) -> None:
    assert problems(text) == [f"dir/release.toml:{message}" for message in messages]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"release = ", "r.toml: not valid TOML: Invalid value (at end of document)"),
        (b"release = '\xff'", "r.toml: not UTF-8 text (byte 11)"),
        (b"a = " + b"[" * 100_000, "r.toml: not valid TOML: nested too deeply"),
    ],
)
def test_refuses_what_is_no_toml(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_release_spec(data, Path("r.toml"))
    assert str(caught.value) == message


def test_lines_survive_comments_texts_and_nesting() -> None:
    text = (
        "# a = 1\n"
        'note = """\n[not.a.table]\nkey = 1 \\"""" # the end\n'
        "literal = '''\nother = 2\n'''\n"
        "list = [ # [\n  1, # ,\n  [2,\n   3], {x = [4],\n y = 5}, 6\n]\n"
        "[ a . 'b c' ]\n"
        'd."e\\u0020f".g = 1\n'
        "[[many]]\nkey = 1\n[[many]]\nkey = 2"
    )
    lines = scan_lines(text)
    assert lines == {
        ("note",): 2,
        ("literal",): 5,
        ("list",): 8,
        ("list", 0): 9,
        ("list", 1): 10,
        ("list", 2): 11,
        ("list", 3): 12,
        ("a",): 14,
        ("a", "b c"): 14,
        ("a", "b c", "d"): 15,
        ("a", "b c", "d", "e f"): 15,
        ("a", "b c", "d", "e f", "g"): 15,
        ("many",): 16,
        ("many", "key"): 17,
    }
    assert line_of(lines, ("list", 2, "x", 0)) == 11
    assert line_of(lines, ("nowhere", "at", "all")) == 1


def test_urls_are_redacted_wherever_they_stand() -> None:
    assert redacted("a https://u:p@h/x?y=a@b and ssh://git@h, mail a@b") == (
        "a https://***@h/x?y=a@b and ssh://***@h, mail a@b"
    )
    assert redacted("https://u:p@w@h/") == "https://***@h/"
    assert web_url("http://[::1]:8080/x?y") == "http://[::1]:8080/x?y"


def test_requirement_names_are_normalized() -> None:
    assert requirement_name(parse_requirement("Oslo_Config[x] >= 1")) == "oslo-config"


def test_the_check_of_dependencies_is_on_unless_it_is_turned_off() -> None:
    for line, expected in (("", True), ("dependencies = true", True), ("dependencies = false", False)):
        spec = parse(
            'release = "1"\ntargets = ["cp311-linux_x86_64-glibc2.36"]\n'
            f'[services.a]\nrequirements = ["a"]\n[services.a.checks]\n{line}\n'
        )
        assert spec.services[0].checks.dependencies is expected


def test_the_user_of_checks_is_read_from_manifests() -> None:
    assert read_checks(Fields({"imports": ["a"]}, "checks")) == Checks(imports=("a",), user=None)
    assert read_checks(Fields({"user": "keystone"}, "checks")) == Checks(user="keystone")
    assert read_checks(Fields({"user": None}, "checks")) == Checks()


TEXTS = st.text(alphabet="ab1-_. /:@\\\x00\n\"'#${}\u00e9\u2028", max_size=12) | st.sampled_from(
    [
        "keystone",
        "a @ https://h/x",
        "-e .",
        "git+https://h/x#egg=a",
        "etc",
        "keep",
        "cp311-linux_x86_64-glibc2.36",
    ]
)
VALUES = st.recursive(
    st.integers() | st.booleans() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["path", "policy", "x"]), inner)
    ),
    max_leaves=6,
)
SERVICE_KEYS = st.sampled_from(
    [
        *("requirements", "package", "constraints", "build-constraints", "targets", "mutable-paths"),
        *("system-packages", "allow-overlap", "rollback-barrier", "checks", "requirments"),
    ]
)
TOP_KEYS = st.sampled_from(["release", "targets", "constraints", "build-constraints", "services", "x y"])
CHECK_KEYS = st.sampled_from(["imports", "commands", "timeout", "user", "dependencies", "zzz"])


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


@given(
    top=st.dictionaries(TOP_KEYS, VALUES, max_size=3),
    service=st.dictionaries(SERVICE_KEYS, VALUES, max_size=4),
    checks=st.dictionaries(CHECK_KEYS, VALUES, max_size=3),
)
def test_any_value_anywhere_is_a_spec_or_invalid_input(
    top: dict[str, object], service: dict[str, object], checks: dict[str, object]
) -> None:
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in top.items()]
    lines += ["[services.keystone]", *(f"{key} = {toml(value)}" for key, value in service.items())]
    lines += ["[services.keystone.checks]", *(f"{key} = {toml(value)}" for key, value in checks.items())]
    text = "\n".join(lines)
    try:
        parse(text)
    except InvalidInput as error:
        for line in str(error).splitlines():
            assert line.startswith("dir/release.toml:")


@given(st.binary(max_size=200) | st.text(alphabet="ab=[]{}\"'\\\n#., 1\u00e9\r", max_size=60).map(str.encode))
def test_any_bytes_are_a_spec_or_invalid_input(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_release_spec(data, Path("release.toml"))
    scan_lines(data.decode("utf-8", "replace"))


@given(TEXTS | st.text(alphabet="git+https:/@#egg=[]a-. ;<>='\"&()\\", max_size=40))
def test_any_requirement_is_taken_or_invalid_input(text: str) -> None:
    try:
        parsed = parse_requirement(text)
    except InvalidInput:
        return
    assert parse_requirement(parsed) == parsed


def test_build_network_is_off_and_may_be_said_for_all_or_one(tmp_path: Path) -> None:
    text = 'release = "1"\ntargets = ["cp311-linux_x86_64-glibc2.36"]\n{top}\n'
    text += '[services.a]\nrequirements = ["a"]\n[services.b]\nrequirements = ["b"]\nbuild-network = {b}\n'

    def read(top: str, b: str) -> list[bool]:
        spec = parse_release_spec(text.format(top=top, b=b).encode(), tmp_path / "release.toml")
        return [service.build_network for service in spec.services]

    assert read("", "true") == [False, True]
    assert read("build-network = true", "false") == [True, False]
    with pytest.raises(InvalidInput, match=r"'build-network' in \[services\.b\] must be a boolean"):
        read("", '"yes"')
