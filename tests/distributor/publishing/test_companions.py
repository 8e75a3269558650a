"""Bills of materials and provenance in a store: signed with the artifact, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope

from distributor.publishing.companions import builders_keys
from distributor.publishing.keys import load_signers
from distributor.stores.directory import DirectoryStore
from distributor.trust.trust import Trust
from tests.small_site import SmallSite, venvoy
from tests.wheel_factory import make_wheel


@pytest.fixture
def site(tmp_path: Path) -> SmallSite:
    return SmallSite(tmp_path, described=True)


def options(site: SmallSite) -> list[str]:
    return ["--store", str(site.store), "--root", str(site.root), "--state", str(site.state)]


def trust_in(site: SmallSite) -> Trust:
    trust = Trust(DirectoryStore(site.store), site.state, site.root.read_bytes())
    trust.refresh()
    return trust


def test_sbom_prints_what_was_signed(site: SmallSite) -> None:
    stem = site.release("1.0").artifact.stem
    done = venvoy("sbom", stem, *options(site))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (site.directory / f"build/1.0/sbom/demo/{stem}.cdx.json").read_text()
    done = venvoy("sbom", "demo", "--release", "1.0", "--provenance", *options(site))
    assert json.loads(done.stdout)["predicateType"] == "https://slsa.dev/provenance/v1"


def test_provenance_travels_in_an_envelope_that_the_builders_key_signed(site: SmallSite) -> None:
    stem = site.release("1.0").artifact.stem
    done = venvoy("sbom", stem, "--provenance", "--envelope", *options(site))
    envelope = Envelope.from_dict(json.loads(done.stdout))
    assert envelope.payload_type == "application/vnd.in-toto+json"
    key = load_signers(site.keys, ["artifacts"])["artifacts"][0].public_key
    assert envelope.verify([key], 1)
    assert key in builders_keys(trust_in(site))


@pytest.mark.parametrize("folder", ["sbom", "provenance"])
def test_what_was_altered_in_the_store_is_refused(site: SmallSite, folder: str) -> None:
    stem = site.release("1.0").artifact.stem
    (file,) = (site.store / folder).rglob("*.json")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    flags = ["--provenance"] if folder == "provenance" else []
    done = venvoy("sbom", stem, *flags, *options(site))
    assert done.returncode == 3, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("folder", ["sbom", "provenance"])
def test_documents_of_another_artifact_are_not_signed(site: SmallSite, folder: str) -> None:
    built = [site.release(release, publish=False) for release in ("1.0", "2.0")]
    (theirs,) = (site.directory / "build/2.0" / folder).rglob("*.json")
    (ours,) = (site.directory / "build/1.0" / folder).rglob("*.json")
    shutil.copy(theirs, ours)
    done = venvoy("publish", site.directory / "build/1.0", "--store", site.store, "--keys", site.keys)
    assert done.returncode == 3
    assert f"another artifact than {built[0].artifact.stem}" in done.stderr
    assert trust_in(site).entries("artifacts") == {}


def test_a_second_build_of_the_same_changes_nothing_that_is_published(site: SmallSite) -> None:
    built = site.release("1.0")
    path = site.store / f"provenance/demo/{built.artifact.stem}.intoto.json"
    before = path.read_bytes()
    shutil.rmtree(site.directory / "build/1.0")
    again = site.release("1.0", publish=False)
    assert again.artifact == built.artifact
    done = venvoy(
        "publish", site.directory / "build/1.0", "--store", site.store, "--keys", site.keys, "--json"
    )
    assert json.loads(done.stdout)["published"] == []
    assert path.read_bytes() == before


def test_a_publish_that_was_cut_short_goes_on_with_the_provenance_it_left(site: SmallSite) -> None:
    built = site.release("1.0")
    metadata = site.directory / "metadata-before"
    shutil.copytree(site.store / "metadata", metadata)
    other = site.release("2.0", publish=False)
    site.publish(other)
    left = (site.store / f"provenance/demo/{other.artifact.stem}.intoto.json").read_bytes()
    # What the second publish signed is taken back; its files stay, as after a kill before the metadata.
    shutil.rmtree(site.store / "metadata")
    shutil.copytree(metadata, site.store / "metadata")
    shutil.rmtree(site.keys / "seen")
    shutil.rmtree(site.directory / "build/2.0")
    site.publish(site.release("2.0", publish=False))
    assert trust_in(site).document(f"provenance/demo/{other.artifact.stem}.intoto.json") == left
    assert built.artifact.service == "demo"


def test_provenance_that_no_builder_signed_is_not_taken_over(site: SmallSite) -> None:
    built = site.release("1.0", publish=False)
    statement = next((site.directory / "build/1.0/provenance").rglob("*.json")).read_bytes()
    envelope = Envelope(statement, "application/vnd.in-toto+json", {})
    envelope.sign(load_signers(site.keys, ["releases"])["releases"][0])
    planted = site.store / f"provenance/demo/{built.artifact.stem}.intoto.json"
    planted.parent.mkdir(parents=True)
    planted.write_text(json.dumps(envelope.to_dict()))
    done = venvoy("publish", site.directory / "build/1.0", "--store", site.store, "--keys", site.keys)
    assert done.returncode == 9, done.stdout
    assert "provenance/demo" in done.stderr


def test_an_artifact_without_companions_is_published_as_before(tmp_path: Path) -> None:
    site = SmallSite(tmp_path)
    stem = site.release("1.0").artifact.stem
    done = venvoy("sbom", stem, *options(site))
    assert done.returncode == 5
    assert "has no bill of materials" in done.stderr
    assert venvoy("sbom", "nothing-1.0", *options(site)).returncode == 5


def test_usage(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0")
    done = venvoy("sbom", wheel.name, "--envelope", "--store", tmp_path)
    assert done.returncode == 2
    assert "--envelope goes with --provenance" in done.stderr


def test_they_travel_in_bundles(site: SmallSite, tmp_path: Path) -> None:
    stem = site.release("1.0").artifact.stem
    bundle, other = tmp_path / "1.0.bundle", tmp_path / "other"
    done = venvoy("export", "1.0", "-o", bundle, *options(site))
    assert done.returncode == 0, done.stderr
    state = ("--root", site.root, "--state", tmp_path / "elsewhere")
    done = venvoy("import", bundle, "--store", other, *state)
    assert done.returncode == 0, done.stderr
    for what in ([], ["--provenance"]):
        here = venvoy("sbom", stem, *what, *options(site))
        there = venvoy("sbom", stem, *what, "--store", other, *state)
        assert there.returncode == 0, there.stderr
        assert there.stdout == here.stdout
