"""A release in one file: exported, installed from without a network, imported into other stores."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from distributor.bundles.store import BundleStore
from manifests.errors import VenvoyError
from tests.small_site import SmallSite, run, venvoy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> SmallSite:
    made = SmallSite(tmp_path_factory.mktemp("site"))
    made.release("1.0.0")
    made.release("2.0.0")
    return made


def access(site: SmallSite, state: Path) -> tuple[str, ...]:
    return ("--root", str(site.root), "--state", str(state), "--json")


def export(site: SmallSite, release: str, output: Path, *options: str) -> dict[str, Any]:
    done = venvoy(
        *("export", release, *options, "-o", output, "--store", site.store),
        *access(site, output.parent / "export-state"),
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def install(site: SmallSite, bundle: Path, dest: Path, release: str = "1.0.0") -> Any:
    return venvoy(
        *("install", "demo", "--release", release, "--dest", dest, "--bundle", bundle),
        *access(site, dest.parent / "state"),
    )


@pytest.fixture
def bundle(site: SmallSite, tmp_path: Path) -> Path:
    export(site, "1.0.0", tmp_path / "one.bundle")
    return tmp_path / "one.bundle"


def test_a_bundle_installs_where_there_is_no_store(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    dest = tmp_path / "host/demo"
    done = install(site, bundle, dest)
    assert done.returncode == 0, done.stderr
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 1.0.0\n"
    assert venvoy("verify", dest).returncode == 0


def test_a_bundle_is_a_plain_tar_and_the_same_each_time(
    site: SmallSite, bundle: Path, tmp_path: Path
) -> None:
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
    assert "metadata/timestamp.json" in names
    assert "pins/1.0.0.json" in names
    assert not any("2.0.0" in name for name in names if not name.startswith("metadata"))
    (tmp_path / "again").mkdir()
    export(site, "1.0.0", tmp_path / "again/two.bundle")
    assert (tmp_path / "again/two.bundle").read_bytes() == bundle.read_bytes()


def test_export_overwrites_only_when_told(site: SmallSite, bundle: Path) -> None:
    arguments = ("export", "1.0.0", "-o", bundle, "--store", site.store)
    state = access(site, bundle.parent / "export-state")
    assert venvoy(*arguments, *state).returncode == 9
    assert venvoy(*arguments, "--force", *state).returncode == 0


def test_what_is_not_pinned_is_an_error_and_leaves_nothing(site: SmallSite, tmp_path: Path) -> None:
    for words in (("9.9.9",), ("1.0.0", "nova")):
        done = venvoy(
            *("export", *words, "-o", tmp_path / "x.bundle", "--store", site.store),
            *access(site, tmp_path / "state"),
        )
        assert done.returncode == 5, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_a_damaged_tarball_is_not_exported(site: SmallSite, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(site.store, copy)
    tarball = next((copy / "artifacts").rglob("demo-1.0.0*.tar.zst"))
    data = tarball.read_bytes()
    tarball.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = venvoy(
        *("export", "1.0.0", "-o", tmp_path / "x.bundle", "--store", copy),
        *access(site, tmp_path / "state"),
    )
    assert done.returncode == 3
    assert not [path for path in tmp_path.iterdir() if "bundle" in path.name or ".tmp" in path.name]


def test_damage_is_refused_and_changes_nothing(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    host = tmp_path / "host"
    damaged = tmp_path / "damaged.bundle"
    with tarfile.open(bundle) as archive:
        members = [(item.offset, item.offset_data, item.size) for item in archive if item.size]
    for offset, start, size in members:
        for change in (start, start + size // 2, start + size - 1, offset):
            damaged.write_bytes(data[:change] + bytes([data[change] ^ 1]) + data[change + 1 :])
            done = install(site, damaged, host / "demo")
            if done.returncode == 0:  # older roots and unused bytes of a header decide nothing
                assert venvoy("verify", host / "demo").returncode == 0
            else:
                assert done.returncode in (2, 3, 5, 7), done.stderr
                assert "Traceback" not in done.stderr
                assert not (host / "demo").exists()
            shutil.rmtree(host, ignore_errors=True)


def test_truncation_is_refused(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    for length in (0, 100, 512, len(data) // 3, len(data) // 2, len(data) - 11_000):
        bundle.write_bytes(data[:length])
        done = install(site, bundle, tmp_path / "host/demo")
        assert done.returncode in (3, 5, 7), done.stderr
        assert not (tmp_path / "host/demo").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../metadata/timestamp.json"},
        {"name": "/etc/passwd"},
        {"name": ".hidden/x"},
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "metadata/timestamp.json"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.DIRTYPE},
        {"name": "metadata/1.root.json"},
    ],
    ids=str,
)
def test_hostile_members_are_refused(bundle: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    hostile = tmp_path / "hostile.bundle"
    shutil.copy(bundle, hostile)
    with tarfile.open(hostile, "a") as archive:
        info = tarfile.TarInfo("artifacts/x/y")
        for name, value in change.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO())
    with pytest.raises(VenvoyError):
        BundleStore(hostile, "test")


def import_into(site: SmallSite, bundle: Path, store: Path) -> Any:
    return venvoy("import", bundle, "--store", store, *access(site, store.parent / "import-state"))


def test_a_bundle_becomes_a_store(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    store = tmp_path / "mirror/store"
    done = import_into(site, bundle, store)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"][-1] == "metadata/timestamp.json"
    assert json.loads(import_into(site, bundle, store).stdout)["added"] == []
    done = venvoy(
        *("install", "demo", "--release", "1.0.0", "--dest", tmp_path / "host/demo", "--store", store),
        *access(site, tmp_path / "host/state"),
    )
    assert done.returncode == 0, done.stderr


def test_a_later_bundle_adds_to_what_was_imported(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    store = tmp_path / "mirror/store"
    import_into(site, bundle, store)
    export(site, "2.0.0", tmp_path / "two.bundle")
    assert import_into(site, tmp_path / "two.bundle", store).returncode == 0
    for release in ("1.0.0", "2.0.0"):
        done = venvoy(
            *("install", "demo", "--release", release, "--dest", tmp_path / "host" / release),
            *("--store", store, *access(site, tmp_path / "host/state")),
        )
        assert done.returncode == 0, done.stderr


def bins(bundle: Path) -> set[str]:
    with tarfile.open(bundle) as archive:
        return {name.partition(".")[2] for name in archive.getnames() if ".bin-" in name}


def test_for_hosts_a_bundle_has_the_bins_of_its_artifacts_alone(
    site: SmallSite, bundle: Path, tmp_path: Path
) -> None:
    small, dest = tmp_path / "small.bundle", tmp_path / "host/demo"
    export(site, "1.0.0", small, "--for-hosts")
    assert bins(small) < bins(bundle)
    assert install(site, small, dest).returncode == 0
    assert venvoy("verify", dest).returncode == 0
    # A host that looks for patches to what is there asks for bins that are in no bundle.
    upgrade = tmp_path / "upgrade.bundle"
    export(site, "2.0.0", upgrade, "--for-hosts")
    done = install(site, upgrade, dest, "2.0.0")
    assert done.returncode == 0, done.stderr
    assert run([str(dest / "bin/demo-manage")]).stdout == "demo 2.0.0\n"


def test_without_the_bin_of_an_artifact_nothing_is_installed(
    site: SmallSite, bundle: Path, tmp_path: Path
) -> None:
    robbed = tmp_path / "robbed.bundle"
    with tarfile.open(bundle) as whole, tarfile.open(robbed, "w") as archive:
        for member in whole:
            if ".bin-" not in member.name:
                archive.addfile(member, whole.extractfile(member))
    done = install(site, robbed, tmp_path / "host/demo")
    assert done.returncode == 3, done.stderr
    assert "no builder signed it" in done.stderr
    assert not (tmp_path / "host/demo").exists()


def test_a_bundle_for_hosts_takes_nothing_from_a_store(tmp_path: Path) -> None:
    site = SmallSite(tmp_path / "site")
    site.release("1.0.0")
    site.release("2.0.0")
    one, two, whole = (tmp_path / f"{name}.bundle" for name in ("one", "two", "whole"))
    store = tmp_path / "mirror/store"
    export(site, "1.0.0", one, "--for-hosts")
    assert import_into(site, one, store).returncode == 0
    keys = site.root.parent
    assert venvoy("keys", "rotate", "artifacts", "--store", site.store, "--keys", keys).returncode == 0
    export(site, "2.0.0", two, "--for-hosts")
    before = sorted(path for path in store.rglob("*"))
    done = import_into(site, two, store)
    assert done.returncode == 9
    assert "export it without --for-hosts" in done.stderr
    assert sorted(path for path in store.rglob("*")) == before
    export(site, "2.0.0", whole)
    assert import_into(site, whole, store).returncode == 0
    for release in ("1.0.0", "2.0.0"):
        done = venvoy(
            *("install", "demo", "--release", release, "--dest", str(tmp_path / "host" / release)),
            *("--store", str(store), *access(site, tmp_path / "host/state")),
        )
        assert done.returncode == 0, done.stderr


def test_a_bundle_of_another_site_is_refused(site: SmallSite, bundle: Path, tmp_path: Path) -> None:
    other = SmallSite(tmp_path / "other")
    assert install(other, bundle, tmp_path / "host/demo").returncode == 3
    done = import_into(site, bundle, other.store)
    assert done.returncode == 9
    assert "another root" in done.stderr


def test_an_older_bundle_after_a_newer_one_is_a_rollback(tmp_path: Path) -> None:
    site = SmallSite(tmp_path / "site")
    site.release("1.0.0")
    export(site, "1.0.0", tmp_path / "old.bundle")
    site.release("2.0.0")
    export(site, "2.0.0", tmp_path / "new.bundle")
    assert install(site, tmp_path / "new.bundle", tmp_path / "host/two", "2.0.0").returncode == 0
    done = install(site, tmp_path / "old.bundle", tmp_path / "host/one", "1.0.0")
    assert done.returncode == 3
    assert "older" in done.stderr
