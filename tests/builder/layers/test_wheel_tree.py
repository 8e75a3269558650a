from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from builder.layers.layer import build_layer
from builder.layers.wheel_tree import installed_tree
from manifests.documents import Sha256
from manifests.errors import Refused, StoreUnavailable, VenvoyError, VerificationFailed
from manifests.layout import belongs_to_venv, index_path
from tests.builder.interpreters import executable, interpreter, target_of
from tests.builder.layer_factory import layer_of, request_for, skeleton_bytes, unpack
from tests.wheel_factory import make_wheel, sha256, zip_info

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SITE = "lib/python3.11/site-packages"
SCRIPT = b"#!python\nprint('script')\n"
LARGE = bytes(range(256)) * 80 * 1024  # 20 MB: more than is inflated in one piece


def all_wheels(folder: Path) -> list[Path]:
    """Wheels that together show all that a wheel may hold."""
    return [
        make_wheel(
            folder,
            "schemes",
            "1.0",
            {"schemes/__init__.py": b"value = 1\n", "schemes/native.so": b"not really"},
            entry_points={"schemes-run": "schemes:main", "schemes-extra": "schemes.cli:Tool.run [color]"},
            gui_scripts={"schemes-gui": "schemes:main"},
            scripts={
                "schemes-data.py": SCRIPT,
                "schemes-sh": b"#!/bin/sh\necho hi\n",
                "schemes-bin": b"\x7fELF",
            },
            data={
                "data/etc/schemes/schemes.conf": b"[DEFAULT]\n",
                "data/share/man/man1/schemes.1": b".TH",
                "headers/schemes.h": b"#pragma once\n",
                "headers/sub/deep.h": b"",
                "purelib/schemes_pure.py": b"pure = True\n",
                "platlib/schemes_plat/mod.py": b"plat = True\n",
            },
            modes={"schemes/native.so": 0o755},
        ),
        make_wheel(
            folder,
            "platform-only",
            "2.0",
            {"platform_only.py": b"x = 1\n"},
            tag="cp311-cp311-linux_x86_64",
            root_is_purelib=False,
        ),
        make_wheel(
            folder,
            "strange.names",
            "1.0",
            {
                "strange/with space.txt": b"1",
                "strange/comma, and more.txt": b"2",
                "strange/ünï-日本.txt": b"3",
                "strange/.hidden/...": b"4",
                "strange/-dash": b"5",
                "strange/empty.py": b"",
                "strange/empty.dat": b"",
                "strange/no_newline.py": b"x = 1",
                "strange/bad.py": b"def (:\n",
                "strange/legacy.pyc": b"a module without source",
                "strange/tool.sh": b"#!/bin/sh\n",
                "strange/odd_mode.txt": b"o",
                "strange.pth": b"strange\n",
            },
            modes={"strange/tool.sh": 0o775, "strange/odd_mode.txt": 0o600},
        ),
        make_wheel(folder, "space-one", "1.0", {"shared_space/one.py": b"x = 1\n"}),
        make_wheel(folder, "space-two", "1.0", {"shared_space/two.py": b"x = 2\n"}),
        make_wheel(folder, "big", "1.0", {"big/blob.bin": LARGE, "big/after.txt": b"after"}),
        make_wheel(
            folder,
            "both-ways",
            "1.0",
            {"both_ways.py": b"def main(): ...\n"},
            entry_points={"both": "both_ways:main"},
            scripts={
                "both": b"#!python\n# made by setuptools\n",
                "both-script.py": SCRIPT,
                "both.exe": b"MZ",
            },
        ),
    ]


def tree_of(root: Path) -> dict[str, tuple[str, int]]:
    """Every file of *root*: its digest and its mode."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(root))] = digest, stat.S_IMODE(status.st_mode)
    return found


def records_of(root: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    found = {}
    for record in root.glob(f"{SITE}/*.dist-info/RECORD"):
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
        assert len({row[0] for row in rows}) == len(rows), record
        found[record.parent.name] = {row[0]: tuple(row[1:]) for row in rows}
    return found


def bytecode(tree: Mapping[str, object]) -> set[str]:
    return {path for path in tree if path.endswith(".pyc")}


def is_pips_alone(path: str) -> bool:
    """Rows of pip's RECORD for compiled scripts, and for scripts that it left out itself."""
    return "/bin/__pycache__/" in path or ".data/scripts/" in path


def is_ours(path: str) -> bool:
    """What may differ from pip's tree: bytecode, how it was installed, and what the venv itself holds."""
    name = path.rpartition("/")[2]
    return path.endswith(".pyc") or name in ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")


@pytest.fixture(scope="module")
def two_trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same wheels installed by us and by pip."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("no pip to compare with")
    root = tmp_path_factory.mktemp("trees")
    wheels = all_wheels(root / "wheels")
    built = [layer_of(request_for(wheel, interpreter=interpreter()))[1] for wheel in wheels]
    ours = unpack(root / "ours", *built)
    theirs = root / "theirs"
    subprocess.run([executable(), "-m", "venv", "--without-pip", theirs], check=True)
    before = tree_of(theirs)
    command = [sys.executable, "-m", "pip", "--python", str(theirs / "bin/python"), "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--no-warn-script-location"]
    subprocess.run([*command, *options, *map(str, wheels)], check=True, umask=0o022, cwd=root)
    for path in before:
        (theirs / path).unlink()
    return ours, theirs


def test_the_tree_is_pips_tree(two_trees: tuple[Path, Path]) -> None:
    ours, theirs = map(tree_of, two_trees)
    mine = {path for path in ours if not is_ours(path) and not path.startswith(".venvoy/")}
    assert mine == {path for path in theirs if not is_ours(path)}
    launchers = {"bin/schemes-run", "bin/schemes-extra", "bin/schemes-gui", "bin/schemes-data.py", "bin/both"}
    assert {path for path in mine if ours[path] != theirs[path]} == launchers
    assert {ours[path][1] for path in launchers} == {0o755}
    # pip compiles scripts that end in .py too, where nothing ever looks for the result
    assert bytecode(ours) == {path for path in bytecode(theirs) if not path.startswith("bin/")}


def test_record_is_pips_record(two_trees: tuple[Path, Path]) -> None:
    ours, theirs = map(records_of, two_trees)
    assert ours.keys() == theirs.keys()
    for name, rows in ours.items():
        # direct_url.json is pip's note of a wheel named by its path
        differ = {path for path in rows.keys() ^ theirs[name].keys() if not is_pips_alone(path)}
        assert differ <= {f"{name}/direct_url.json", f"{name}/REQUESTED"}
        for path, cells in rows.items():
            if not is_ours(path) and not path.startswith("../../../bin/"):
                assert cells == theirs[name][path]
            if path.endswith(".pyc") and "__pycache__" in path:
                assert cells == ("", "")


def test_record_says_what_is_there(two_trees: tuple[Path, Path]) -> None:
    root = two_trees[0]
    files = tree_of(root)
    claimed = set()
    for name, rows in records_of(root).items():
        for path, (digest, size) in rows.items():
            full = os.path.normpath(f"{SITE}/{path}")
            claimed.add(full)
            if digest:
                import base64

                raw = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
                assert (raw.hex(), int(size)) == (files[full][0], (root / full).stat().st_size), (name, path)
            else:
                assert path.endswith(".pyc") or path == f"{name}/RECORD"
    assert claimed == {path for path in files if not path.startswith(".venvoy/")}


def test_the_index_binds_every_file(two_trees: tuple[Path, Path]) -> None:
    root = two_trees[0]
    files = tree_of(root)
    seen = set()
    for index in (root / ".venvoy/layers").iterdir():
        document = json.loads(index.read_text(encoding="utf-8"))
        assert (document["format"], document["version"]) == ("1.0", records_version(document["distribution"]))
        for path, kind, size, digest in document["files"]:
            seen.add(path)
            assert kind == ("x" if files[path][1] == 0o755 else "")
            assert size == (root / path).stat().st_size
            assert digest in ("", files[path][0])
            assert digest or not path.endswith("/RECORD")
            assert digest or "__pycache__" not in path
    assert seen == {path for path in files if not path.startswith(".venvoy/")}


def records_version(distribution: str) -> str:
    return "2.0" if distribution == "platform-only" else "1.0"


def test_modes_and_folders_do_not_follow_the_wheel_or_the_umask(two_trees: tuple[Path, Path]) -> None:
    root = two_trees[0]
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_dir()} == {0o755}
    assert {mode for _, mode in tree_of(root).values()} == {0o644, 0o755}


def test_a_script_without_the_mode_bit_becomes_executable(tmp_path: Path) -> None:
    mode = {"demo-1.0.data/scripts/tool": 0o644}
    wheel = make_wheel(tmp_path, "demo", "1.0", scripts={"tool": SCRIPT}, modes=mode)
    root = unpack(tmp_path / "v", layer_of(request_for(wheel))[1])
    assert stat.S_IMODE((root / "bin/tool").stat().st_mode) == 0o755


def test_mode_bits_without_a_file_type_mean_nothing(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", raw_members=[(zip_info("tool.sh", 0o755), b"#!/bin/sh\n")])
    root = unpack(tmp_path / "v", layer_of(request_for(wheel))[1])
    assert stat.S_IMODE((root / SITE / "tool.sh").stat().st_mode) == 0o644


def test_other_installers_marks_and_caches_are_left_out(tmp_path: Path) -> None:
    info = "demo-1.0.dist-info"
    files = {
        "demo.py": b"x = 1\n",
        "__pycache__/demo.cpython-311.pyc": b"planted",
        "pkg/__pycache__/evil.cpython-311.pyc": b"planted",
        "pkg/sourceless.pyc": b"a module",
        f"{info}/REQUESTED": b"",
        f"{info}/direct_url.json": b'{"url": "https://user:secret@example.org/"}',
        f"{info}/INSTALLER": b"somebody\n",
        f"{info}/RECORD.jws": b"{}",
        f"{info}/licenses/INSTALLER": b"a licence of that name",
    }
    data = {"purelib/pkg/__pycache__/two.cpython-311.pyc": b"planted"}
    wheel = make_wheel(tmp_path, "demo", "1.0", files, data=data)
    record, packed = layer_of(request_for(wheel))
    assert record.files.keys() == {
        f"{SITE}/demo.py",
        f"{SITE}/pkg/sourceless.pyc",
        f"{SITE}/{info}/METADATA",
        f"{SITE}/{info}/WHEEL",
        f"{SITE}/{info}/RECORD",
        f"{SITE}/{info}/INSTALLER",
        f"{SITE}/{info}/licenses/INSTALLER",
        index_path("demo"),
    }
    root = unpack(tmp_path / "v", packed)
    assert (root / SITE / info / "INSTALLER").read_bytes() == b"venvoy\n"
    assert "planted" not in (root / SITE / info / "RECORD").read_text()


def test_a_data_folder_may_be_spelled_unlike_the_file_name(tmp_path: Path) -> None:
    files = {"Demo.Pkg-1.0.data/data/etc/demo.conf": b"", "Demo.Pkg-1.0.data/scripts/tool": SCRIPT}
    wheel = make_wheel(tmp_path, "demo_pkg", "1.0", files)
    record, _ = layer_of(request_for(wheel))
    assert {"etc/demo.conf", "bin/tool"} <= record.files.keys()
    assert not any("Demo.Pkg" in path for path in record.files)


def test_a_second_data_folder_is_refused(tmp_path: Path) -> None:
    files = {"demo-1.0.data/data/a": b"", "other-1.0.data/data/b": b""}
    wheel = make_wheel(tmp_path, "demo", "1.0", files)
    with pytest.raises(VerificationFailed, match=r"^demo-1.0-.*several .data folders"):
        layer_of(request_for(wheel))


def test_many_members(tmp_path: Path) -> None:
    files = {f"demo/p{index % 50}/m{index}.py": b"x = %d\n" % index for index in range(3000)}
    wheel = make_wheel(tmp_path, "demo", "1.0", files)
    record, data = layer_of(request_for(wheel))
    root = unpack(tmp_path / "v", data)
    found = sum(1 for path in root.rglob("*.py"))
    assert found == 3000
    assert record.members == 3000 + 1 + 50 + len({"lib", "py", "site", ".venvoy", "layers", "info"}) + 5


@pytest.mark.parametrize(
    ("files", "more", "path"),
    [
        ({"demo.py": b"one"}, {"data": {"purelib/demo.py": b"two"}}, f"{SITE}/demo.py"),
        ({}, {"data": {"data/bin/tool": b"x"}, "scripts": {"tool": b"y"}}, "bin/tool"),
        ({"d.py": b""}, {"data": {"data/bin/run": b"x"}, "entry_points": {"run": "d:main"}}, "bin/run"),
        ({}, {"data": {f"data/{SITE}/demo-1.0.dist-info/RECORD": b"forged"}}, "dist-info/RECORD"),
    ],
)
def test_two_files_for_one_path_are_refused(
    files: Mapping[str, bytes], more: dict[str, object], path: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", files, **more)  # type: ignore[arg-type]
    with pytest.raises(VerificationFailed, match=f"^demo-1.0-.* two files of the wheel install to .*{path}"):
        layer_of(request_for(wheel))


def test_one_content_at_one_path_twice_is_one_file(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo.py": b"x\n"}, data={"purelib/demo.py": b"x\n"})
    record, data = layer_of(request_for(wheel))
    root = unpack(tmp_path / "v", data)
    assert (root / SITE / "demo.py").read_bytes() == b"x\n"
    assert (root / SITE / "demo-1.0.dist-info/RECORD").read_text().count("demo.py,") == 1
    assert f"{SITE}/demo.py" in record.files


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo": b"file"}, data={"purelib/demo/x.py": b""})
    with pytest.raises(
        VerificationFailed, match=f"^demo-1.0-.*{SITE}/demo is a file of the wheel, and a dir"
    ):
        layer_of(request_for(wheel))


VENVS_OWN = [
    "data/pyvenv.cfg",
    "data/bin/python",
    "data/bin/python3",
    "data/bin/python3.11",
    "data/bin/python/x",
    "data/lib64/python3.11/site-packages/x.py",
    "data/lib64",
    "data/.venvoy/receipt.json",
    "data/.venvoy/layers/other.json",
    "data/.venvoy",
    "scripts/python",
    "scripts/python3.11",
]


@pytest.mark.parametrize("member", VENVS_OWN)
def test_no_wheel_may_own_what_belongs_to_the_venv(member: str, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", data={member: b"mine now"})
    path = member.removeprefix("data/").replace("scripts/", "bin/")
    with pytest.raises(Refused) as caught:
        layer_of(request_for(wheel))
    assert str(caught.value) == f"{wheel.name}: it would install {path}, which belongs to the venv itself"


def test_no_entry_point_may_replace_python(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", entry_points={"python3": "demo:main"})
    with pytest.raises(Refused, match=r"it would install bin/python3,"):
        layer_of(request_for(wheel))


@pytest.mark.parametrize(
    "path", ["bin/python3-config", "bin/python3.12", "pyvenv.cfg.d/x", ".venvoy-x", "lib64x"]
)
def test_neighbours_of_the_venvs_own_paths_are_free(path: str) -> None:
    assert not belongs_to_venv(path, "python3.11")


@pytest.mark.parametrize(
    "name",
    ["../outside", "/absolute", "a/../../b", "a//b", "./a", "a/./b", "a\x07b", "x" * 256, "d/" * 2001 + "x"],
)
def test_paths_that_leave_the_venv_are_refused(name: str, tmp_path: Path) -> None:
    for member in (name, f"demo-1.0.data/data/{name}", f"demo-1.0.data/scripts/{name}"):
        wheel = make_wheel(tmp_path / "w", "demo", "1.0", raw_members=[(member, b"hostile")])
        with pytest.raises(VerificationFailed, match=r"^demo-1.0-py3-none-any.whl: "):
            layer_of(request_for(wheel))
    assert not (tmp_path / "outside").exists()


def test_other_bytes_than_locked_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0")
    with pytest.raises(VerificationFailed) as caught:
        layer_of(request_for(wheel, digest="ab" * 32))
    assert str(caught.value) == f"{wheel.name}: sha256 is {sha256(wheel)}, expected {'ab' * 32}"


def refusal(wheel: Path) -> str | None:
    try:
        layer_of(request_for(wheel))
    except VenvoyError as error:
        return str(error)
    return None


def test_damaged_wheels_are_refused_naming_them(tmp_path: Path) -> None:
    """Truncated anywhere, or with any one byte changed: an error for an operator, or an honest layer."""
    good = make_wheel(
        tmp_path, "demo", "1.0", {"demo.py": b"x = 1\n" * 40}, scripts={"tool": SCRIPT}
    ).read_bytes()
    wheel = tmp_path / "bad" / "demo-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    variants = [good[:cut] for cut in range(0, len(good), 97)]
    variants += [good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in range(0, len(good), 7)]
    refused = 0
    for data in variants:
        wheel.write_bytes(data)
        message = refusal(wheel)
        refused += message is not None
        assert message is None or message.startswith(f"{wheel.name}: ")
        assert message is None or "\n" not in message
    assert refused > 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"omit": ["demo-1.0.dist-info/WHEEL"]}, "not a valid wheel"),
        ({"wheel_metadata": b"Wheel-Version: 2.0\n"}, "Incompatible Wheel-Version"),
        ({"data": {"unknown/x": b""}}, "not contained in a valid .data subdirectory"),
        ({"data": {"purelib": b""}}, "not a valid wheel"),
        ({"dist_info": "other-1.0.dist-info"}, "not a valid wheel"),
        ({"entry_points": "[console_scripts\n"}, "not a valid wheel"),
        ({"entry_points": "[console_scripts]\na = d:m\na = d:m\n"}, "not a valid wheel"),
        ({"entry_points": "[console_scripts]\na = demo\n"}, "not of the form module:attribute"),
    ],
)
def test_wheels_that_break_the_format_are_refused(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", **change)  # type: ignore[arg-type]
    with pytest.raises(VerificationFailed, match=rf"^demo-1.0-py3-none-any.whl: .*{said}"):
        layer_of(request_for(wheel))


def test_a_wheel_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0")
    request = request_for(wheel)
    wheel.unlink()
    with pytest.raises(StoreUnavailable, match=r"demo-1.0-py3-none-any.whl cannot be read: No such file"):
        layer_of(request)
    wheel.write_bytes(b"")
    with pytest.raises(VerificationFailed, match="not a valid wheel"):
        layer_of(request_for(wheel))


def test_members_of_every_kind_of_compression(tmp_path: Path) -> None:
    stored = make_wheel(
        tmp_path / "a", "demo", "1.0", {"demo.py": b"x = 1\n" * 9}, compression=zipfile.ZIP_STORED
    )
    packed = make_wheel(tmp_path / "b", "demo", "1.0", {"demo.py": b"x = 1\n" * 9})
    lzma = make_wheel(
        tmp_path / "c", "demo", "1.0", {"demo.py": b"x = 1\n" * 9}, compression=zipfile.ZIP_LZMA
    )
    layers = [layer_of(request_for(wheel))[1] for wheel in (stored, packed, lzma)]
    assert len(set(layers)) == 1


def test_folders_in_the_zip_bring_nothing(tmp_path: Path) -> None:
    folder = zip_info("empty/", stat.S_IFDIR | 0o777)
    wheel = make_wheel(tmp_path / "a", "demo", "1.0", raw_members=[(folder, b"")])
    plain = make_wheel(tmp_path / "b", "demo", "1.0")
    assert layer_of(request_for(wheel))[1] == layer_of(request_for(plain))[1]


def test_key_and_layer_differ_with_every_input(tmp_path: Path) -> None:
    import dataclasses

    from builder.layers.compression import Compression

    base = request_for(make_wheel(tmp_path, "demo", "1.0"), interpreter=interpreter())
    changed = [
        dataclasses.replace(base, wheel_sha256=Sha256("0" * 64)),
        dataclasses.replace(base, distribution="other"),
        dataclasses.replace(base, version="1.0.0"),
        dataclasses.replace(base, target=target_of("cp312")),
        dataclasses.replace(base, interpreter_version="3.11.99"),
        dataclasses.replace(base, interpreter=None, interpreter_version=None),
        dataclasses.replace(base, compression=Compression("zstd", 2)),
        dataclasses.replace(base, compression=Compression("gzip", 1)),
    ]
    assert len({request.key for request in [base, *changed]}) == len(changed) + 1
    for same in (dataclasses.replace(base, wheel=tmp_path / "elsewhere.whl"),):
        assert same.key == base.key


def test_long_module_names_get_no_pyc_that_no_disk_takes(tmp_path: Path) -> None:
    files = {"n" * 252 + ".py": b"x = 1\n", "m" * 238 + ".py": b"x = 1\n"}
    wheel = make_wheel(tmp_path, "demo", "1.0", files)
    record, data = layer_of(request_for(wheel, interpreter=interpreter()))
    assert sum(path.endswith(".pyc") for path in record.files) == 1
    unpack(tmp_path / "v", data)


def test_a_failed_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    wheel = make_wheel(tmp_path, "demo", "1.0")
    with pytest.raises(OSError, match="No space left"):
        build_layer(request_for(wheel), Full())  # type: ignore[arg-type]
    monkeypatch.setattr("builder.layers.tree._SPOOL_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    big = make_wheel(tmp_path, "large", "1.0", {"large.bin": bytes(5000)})
    with pytest.raises(
        StoreUnavailable, match=r"large-1.0-.* cannot write temporary files to .*/gone: No such"
    ):
        layer_of(request_for(big))


def test_contents_beyond_memory_go_to_disk_and_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", {"a.bin": LARGE[:300_000], "b.bin": LARGE[5:200_000]})
    in_memory = layer_of(request_for(wheel))[1]
    monkeypatch.setattr("builder.layers.tree._SPOOL_MEMORY", 1000)
    assert layer_of(request_for(wheel))[1] == in_memory
    with installed_tree(wheel, sha256(wheel), target_of(), "demo") as tree:
        assert tree.read(f"{SITE}/b.bin") == LARGE[5:200_000]


def test_skeleton_and_layers_unpack_to_a_working_venv(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path,
        "sample",
        "1.0",
        {"sample.py": b"def main():\n    print('it works')\n"},
        entry_points={"sample": "sample:main"},
    )
    root = unpack(
        tmp_path / "v", skeleton_bytes(), layer_of(request_for(wheel, interpreter=interpreter()))[1]
    )
    subprocess.run([root / "bin/venvoy-bind", executable()], check=True)
    done = subprocess.run([root / "bin/sample"], check=True, capture_output=True, text=True, cwd="/")
    assert done.stdout == "it works\n"
    code = (
        "import importlib.metadata as m; "
        "print(m.version('sample'), *(f for f in m.files('sample') if not f.locate().exists()))"
    )
    done = subprocess.run(
        [root / "bin/python", "-c", code], check=True, capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == "1.0\n"
