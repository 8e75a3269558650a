from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from builder.sandbox.limits import BuildLimits
from builder.wheels.cache import WheelCache
from builder.wheels.gathering import resolve_wheels
from builder.wheels.sdist_build import BuildOptions, SdistBuilder
from builder.wheels.sources import DirectorySource
from manifests.errors import (
    HostUnsuitable,
    InvalidInput,
    NotFound,
    StoreUnavailable,
    VenvoyError,
    VerificationFailed,
)
from manifests.interpreter import Interpreter, probe
from manifests.lock import LockedFile, LockedPackage, LockedVcs
from manifests.target import Target
from tests.sdist_factory import make_sdist, project_files
from tests.wheel_factory import make_wheel, sha256

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("virtualenv") is None, reason="needs the extra 'build'"
)


@pytest.fixture(scope="session")
def python() -> Interpreter:
    return probe(Path(sys.executable))


@pytest.fixture(scope="session")
def target(python: Interpreter) -> Target:
    return Target(python.python, python.abi_flags, python.machine, python.libc, python.libc_version)


@pytest.fixture
def sdists(tmp_path: Path) -> Path:
    (tmp_path / "sdists").mkdir()
    return tmp_path / "sdists"


@pytest.fixture(scope="session")
def app_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """virtualenv's cache, shared to save seconds."""
    return tmp_path_factory.mktemp("app-data")


def new_cache(root: Path, app_data: Path) -> WheelCache:
    root.mkdir(parents=True)
    (root / "virtualenv").symlink_to(app_data)
    return WheelCache(root)


@pytest.fixture
def cache(tmp_path: Path, app_data: Path) -> WheelCache:
    return new_cache(tmp_path / "cache", app_data)


def offline(**facts: object) -> BuildOptions:
    return BuildOptions(offline=True, limits=BuildLimits(time=60), **facts)  # type: ignore[arg-type]


def test_two_builds_on_other_paths_and_umasks_are_the_same_bytes(
    tmp_path: Path, sdists: Path, app_data: Path, target: Target, python: Interpreter
) -> None:
    files = {"demo/__init__.py": "x = 1\n", "demo/run.sh": "#!/bin/sh\n", "demo/z.txt": "z"}
    package = make_sdist(sdists, project_files({"files": files}))
    built = []
    for folder, umask in (("one", 0o022), ("two/a/longer/path", 0o077)):
        before = os.umask(umask)
        try:
            cache = new_cache(tmp_path / folder, app_data)
            wheel = SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])
        finally:
            os.umask(before)
        built.append(wheel)
    assert built[0].path != built[1].path
    assert built[0].path.read_bytes() == built[1].path.read_bytes()
    with zipfile.ZipFile(built[0].path) as archive:
        members = archive.infolist()
    assert {(m.date_time, m.compress_type) for m in members} == {((1980, 1, 2, 0, 0, 0), zipfile.ZIP_STORED)}
    names = [member.filename for member in members]
    assert names[-1] == "demo-1.0.dist-info/RECORD"
    assert names[:-1] == sorted(names[:-1])
    modes = {member.filename: member.external_attr >> 16 for member in members}
    assert modes.pop("demo/run.sh") == 0o100755
    assert set(modes.values()) == {0o100644}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_two_builds_of_a_c_extension_are_the_same_bytes(
    tmp_path: Path, sdists: Path, app_data: Path, target: Target, python: Interpreter
) -> None:
    spec = {"compile": {"demo/_c.so": "demo.c"}, "tag": f"cp3-none-linux_{target.machine}"}
    code = b'#include <stdio.h>\nconst char *where(void) { puts(""); return __FILE__; }\n'
    package = make_sdist(sdists, project_files(spec) | {"demo.c": code})
    digests = set()
    for folder, umask in (("one", 0o022), ("two/longer", 0o077)):
        before = os.umask(umask)
        try:
            cache = new_cache(tmp_path / folder, app_data)
            wheel = SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])
        finally:
            os.umask(before)
        digests.add(wheel.sha256)
    assert len(digests) == 1


@pytest.mark.slow  # takes setuptools from the index
@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_two_setuptools_builds_of_a_c_extension_are_the_same_bytes(
    tmp_path: Path, sdists: Path, app_data: Path, target: Target, python: Interpreter
) -> None:
    setup = (
        b"from setuptools import Extension, setup\n"
        b"setup(name='demo', version='1.0', py_modules=['demo'], ext_modules=[Extension('_c', ['c.c'])])\n"
    )
    code = (
        b"#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, __FILE__};\n"
        b"PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&d); }\n"
    )
    pyproject = b'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    files = {"setup.py": setup, "c.c": code, "pyproject.toml": pyproject, "demo.py": b"", "README": b""}
    package = make_sdist(sdists, files)
    options = BuildOptions(limits=BuildLimits(time=300), constraints="setuptools==80.9.0\n")
    digests = set()
    for folder in ("one", "two/longer"):
        cache = new_cache(tmp_path / folder, app_data)
        wheel = SdistBuilder(cache, target, python, options).build(package, [DirectorySource(sdists)])
        with zipfile.ZipFile(wheel.path) as archive:
            assert b"setuptools (80.9.0)" in archive.read("demo-1.0.dist-info/WHEEL")
        digests.add(wheel.sha256)
    assert len(digests) == 1


@pytest.mark.parametrize("network", [False, True])
def test_a_build_sees_a_clean_environment(
    network: bool,
    cache: WheelCache,
    sdists: Path,
    target: Target,
    python: Interpreter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import json

    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    hidden = (
        "VENVOY_STORE",
        "AWS_SECRET_ACCESS_KEY",
        "CC",
        "NETRC",
        "PIP_INDEX_URL",
        "PIP_TARGET",
        "XDG_X",
        "PYTHONPATH",
    )
    for name in hidden:
        monkeypatch.setenv(name, "/nonexistent/hidden")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/certs")
    package = make_sdist(sdists, project_files({"dump": ["env.json"]}))
    # The dump holds the build's own paths, which would be refused.
    monkeypatch.setattr("builder.wheels.sdist_build.normalise_wheel", lambda built, output, forbidden: shutil.copy(built, output))  # fmt: skip # noqa: E501
    builder = SdistBuilder(cache, target, python, offline(network=network))
    with zipfile.ZipFile(builder.build(package, [DirectorySource(sdists)]).path) as archive:
        seen = json.loads(archive.read("env.json"))
    assert not set(hidden) & set(seen)
    assert not [value for value in seen.values() if "hidden" in value or str(tmp_path / "home") in value]
    passed = {"https_proxy": "http://127.0.0.1:9", "SSL_CERT_FILE": "/nonexistent/certs"}
    assert {name: seen[name] for name in passed if name in seen} == (passed if network else {})
    assert seen["HOME"].startswith(str(cache.root))
    assert seen["TMPDIR"].startswith(str(cache.root))
    expected = {"SOURCE_DATE_EPOCH": "315619200", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    assert {name: seen[name] for name in expected} == expected
    assert seen["CFLAGS"].startswith(f"-ffile-prefix-map={cache.root}")


def test_a_path_of_the_build_in_the_wheel_is_refused(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({"leak": True}))
    with pytest.raises(VerificationFailed, match=r"leak\.txt holds the path of the build directory"):
        SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])
    assert list((cache.root / "tmp").iterdir()) == []


def test_a_failing_build_shows_the_end_of_its_log(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({"fail": True}))
    builder = SdistBuilder(cache, target, python, offline())
    with pytest.raises(HostUnsuitable, match="no such header") as caught:
        builder.build(package, [DirectorySource(sdists)])
    log = cache.built_path(builder.key(package), ".log")
    assert str(caught.value).startswith(
        f"building demo 1.0 from source failed (status 1); its log {log} ends with:\n"
    )
    assert "BACKEND-SAYS hello" in log.read_text()
    assert list((cache.root / "tmp").iterdir()) == []
    assert builder.cached(package) is None


def test_a_build_that_hangs_is_killed(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({"sleep": 60}))
    options = BuildOptions(offline=True, limits=BuildLimits(time=3))
    start = time.monotonic()
    with pytest.raises(
        HostUnsuitable, match=r"building demo 1\.0 from source took more than 3 seconds; see "
    ):
        SdistBuilder(cache, target, python, options).build(package, [DirectorySource(sdists)])
    assert time.monotonic() - start < 20


def test_stop_ends_a_running_build(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({"sleep": 60}))
    builder = SdistBuilder(cache, target, python, offline())
    errors: list[VenvoyError] = []

    def work() -> None:
        try:
            builder.build(package, [DirectorySource(sdists)])
        except VenvoyError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    builder.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert "was interrupted" in str(errors[0])


def test_concurrent_builders_of_one_key_build_once(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({"sleep": 0.5}))
    wheels = []

    def work() -> None:
        builder = SdistBuilder(WheelCache(cache.root), target, python, offline())
        wheels.append(builder.build(package, [DirectorySource(sdists)]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wheels) == 3
    assert len(set(wheels)) == 1
    key = SdistBuilder(cache, target, python, offline()).key(package)
    assert cache.built_path(key, ".log").read_text().count("BACKEND-SAYS hello") == 1


def test_a_killed_owner_of_the_lock_blocks_nobody(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    builder = SdistBuilder(cache, target, python, offline())
    path = cache.built_path(builder.key(package), ".lock")
    code = f"import fcntl,time; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"  # noqa: E501
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        with path.open("w") as probe_file, pytest.raises(BlockingIOError):
            fcntl.flock(probe_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner.kill()
    assert builder.build(package, [DirectorySource(sdists)]).name == "demo-1.0-py3-none-any.whl"


def test_build_requirements_come_from_folders_when_offline(
    cache: WheelCache, sdists: Path, tmp_path: Path, target: Target, python: Interpreter
) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path / "links", "buildreq", version, {"buildreq.py": f"v = {version!r}\n".encode()})
    package = make_sdist(sdists, project_files({}, requires='"buildreq"'))
    sources = [DirectorySource(sdists)]
    with pytest.raises(HostUnsuitable, match="buildreq"):
        SdistBuilder(cache, target, python, offline()).build(package, sources)
    links = (str(tmp_path / "links"),)
    used = {}
    for constraints in ("", "buildreq<2\n"):
        builder = SdistBuilder(cache, target, python, offline(constraints=constraints, find_links=links))
        wheel = builder.build(package, sources)
        with zipfile.ZipFile(wheel.path) as archive:
            used[builder.key(package)] = archive.read("built_with.txt").decode()
    assert list(used.values()) == ["2.0", "1.0"]


def test_a_zip_of_a_branch_is_built(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    sdist = make_sdist(sdists, project_files({}), "main.zip").sdist
    package = LockedPackage(name="demo", version=None, archive=sdist)
    builder = SdistBuilder(cache, target, python, offline())
    (wheel,) = resolve_wheels(
        [package], target, [DirectorySource(sdists)], cache, offline=True, sdist_builder=builder
    )
    assert (wheel.version, wheel.origin, wheel.pinned) == ("1.0", "built", False)


def test_a_wheel_of_another_name_or_version_is_refused(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    for spec in ({"name": "other"}, {"version": "1.1"}):
        package = make_sdist(sdists, project_files(spec))
        with pytest.raises(VerificationFailed, match=r"the source that the lock names for demo 1\.0 built"):
            SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])


def test_an_sdist_that_leads_outside_is_refused(
    cache: WheelCache, sdists: Path, tmp_path: Path, target: Target, python: Interpreter
) -> None:
    for index, name in enumerate(("../../../../escaped", str(tmp_path / "escaped"))):
        path = sdists / f"demo-1.{index}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo(name))
        file = LockedFile(name=path.name, url="", size=None, sha256=sha256(path))  # type: ignore[arg-type]
        package = LockedPackage(name="demo", version="1.0", sdist=file)
        builder = SdistBuilder(cache, target, python, offline())
        if index == 0:
            with pytest.raises(VerificationFailed, match="cannot be unpacked"):
                builder.build(package, [DirectorySource(sdists)])
        else:  # the leading slash is dropped; then there is no project in it
            with pytest.raises(HostUnsuitable):
                builder.build(package, [DirectorySource(sdists)])
    assert not (tmp_path / "escaped").exists()


def test_a_damaged_sdist_is_refused(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    path = sdists / "demo-1.0.tar.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationFailed, match="the lock says"):
        SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])


def test_a_cached_sdist_that_rotted_is_fetched_again(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    assert package.sdist is not None
    path = cache.add_sdist(
        sdists / package.sdist.name, name=package.sdist.name, sha256=package.sdist.sha256, origin="the test"
    )
    path.write_bytes(bytes(path.stat().st_size))
    SdistBuilder(cache, target, python, offline()).build(package, [DirectorySource(sdists)])
    assert sha256(path) == package.sdist.sha256


def test_a_missing_sdist_is_named(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    with pytest.raises(NotFound, match=r"demo-1\.0\.tar\.gz cannot be had: offline"):
        SdistBuilder(cache, target, python, offline()).build(package, [])


def test_without_a_fitting_interpreter_the_python_needed_is_named(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    with pytest.raises(NotFound, match=f"no {target.python_name} was found".replace(".", r"\.")):
        SdistBuilder(cache, target, None, offline()).build(package, [])
    other = replace(python, python=(3, 99))
    with pytest.raises(HostUnsuitable, match="cannot build for"):
        SdistBuilder(cache, target, other, offline()).build(package, [])
    assert SdistBuilder(cache, target, None).cached(package) is None


def test_another_machine_builds_pure_wheels_only(
    cache: WheelCache, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    foreign = SdistBuilder(cache, target, replace(python, machine="vax"), offline())
    assert foreign.build(package, [DirectorySource(sdists)]).name.endswith("-none-any.whl")
    with pytest.raises(HostUnsuitable, match="build it on such a machine"):
        foreign._check_portable("demo-1.0-cp311-cp311-linux_vax.whl")


def test_a_cache_folder_with_a_space_is_refused(
    tmp_path: Path, sdists: Path, target: Target, python: Interpreter
) -> None:
    package = make_sdist(sdists, project_files({}))
    with pytest.raises(InvalidInput, match="holds white space; use another cache folder"):
        SdistBuilder(WheelCache(tmp_path / "a b"), target, python, offline()).build(package, [])


# Git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    root = tmp_path / "repo"
    (root / "sub").mkdir(parents=True)
    for name, content in project_files({}).items():
        (root / "sub" / name).write_bytes(content)
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "x")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"], ["tag", "1.0"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def commit_of(repository: Path) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def vcs_package(repository: Path, commit: str, subdirectory: str | None = "sub") -> LockedPackage:
    vcs = LockedVcs(url=repository.as_uri(), commit=commit, subdirectory=subdirectory)
    return LockedPackage(name="demo", version=None, vcs=vcs)


def online_without_index(tmp_path: Path) -> BuildOptions:
    return BuildOptions(limits=BuildLimits(time=60), find_links=(str(tmp_path),))


def test_a_git_commit_is_built_once(
    cache: WheelCache, repository: Path, tmp_path: Path, target: Target, python: Interpreter
) -> None:
    package = vcs_package(repository, commit_of(repository))
    (repository / "sub/spec.json").write_text("broken")
    subprocess.run(["git", "commit", "-qam", "later"], cwd=repository, check=True)
    wheel = SdistBuilder(cache, target, python, online_without_index(tmp_path)).build(package, [])
    assert wheel.name == "demo-1.0-py3-none-any.whl"
    shutil.rmtree(repository)
    assert SdistBuilder(cache, target, python, offline()).build(package, []) == wheel


def test_a_commit_that_no_branch_reaches_is_fetched_by_name(
    cache: WheelCache, repository: Path, tmp_path: Path, target: Target, python: Interpreter
) -> None:
    package = vcs_package(repository, commit_of(repository))
    for command in (
        ["commit", "-q", "--amend", "-m", "rewritten"],
        ["tag", "-d", "1.0"],
        ["config", "uploadpack.allowAnySHA1InWant", "true"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True, stdout=subprocess.DEVNULL)
    wheel = SdistBuilder(cache, target, python, online_without_index(tmp_path)).build(package, [])
    assert wheel.name == "demo-1.0-py3-none-any.whl"


def test_git_problems_are_named(
    cache: WheelCache, repository: Path, tmp_path: Path, target: Target, python: Interpreter
) -> None:
    builder = SdistBuilder(cache, target, python, online_without_index(tmp_path))
    commit = commit_of(repository)
    with pytest.raises(NotFound, match="the repository does not have this commit"):
        builder.build(vcs_package(repository, "ab" * 20), [])
    with pytest.raises(NotFound, match="it has no folder 'absent'"):
        builder.build(vcs_package(repository, commit, "absent"), [])
    with pytest.raises(StoreUnavailable, match=r"git clone for demo from .* failed"):
        builder.build(vcs_package(tmp_path / "gone", commit), [])
    with pytest.raises(NotFound, match="offline, and it was not built before"):
        SdistBuilder(cache, target, python, offline()).build(vcs_package(repository, commit), [])
