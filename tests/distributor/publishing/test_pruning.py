"""Pruning: what goes, what stays, and that nothing signed is ever missing, whoever publishes meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distributor.publishing import prune_record
from distributor.publishing.prune_record import PruneRecord, read_record
from distributor.publishing.pruning import Pruned, label_of, prune
from distributor.publishing.repository import PIN_ROLES, PUBLISH_ROLES, open_repository
from distributor.stores.directory import DirectoryStore
from distributor.trust.trust import ARTIFACTS
from manifests.errors import Locked, NotFound, Refused
from tests.distributor.artifacts import Site, build_artifact

AT_ONCE = timedelta(0)
ROOT = Path(__file__).parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A store in which one release pins one artifact."""
    site = Site(tmp_path)
    pinned = build_artifact(site.build, version="1.0.0")
    site.publish(pinned)
    site.pin("1.0.0", pinned)
    return site


def run(site: Site, **options: Any) -> Pruned:
    return prune(site.repository(), **{"grace": AT_ONCE, **options})


def objects(site: Site) -> list[str]:
    return [path for path in site.store.list("") if not path.startswith("metadata/")]


def expect_whole(site: Site) -> None:
    """Check that all that is signed is there, to the byte."""
    trust = site.refreshed(f"reader-{datetime.now(timezone.utc):%f}")
    for path in trust.entries(ARTIFACTS):
        if path.startswith("artifacts/"):
            artifact = trust.published(path)
            chunks = site.store.stream(artifact.tarball_path, offset=0, length=artifact.length)
            assert sum(map(len, chunks)) == artifact.length
        else:
            assert trust.document(path)
    for release in trust.releases():
        for pin in trust.pins(release).pins:
            assert trust.manifest(pin)


class TestWhatGoes:
    def test_what_no_release_pins_goes_and_the_rest_stays(self, site: Site) -> None:
        before = objects(site)
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        done = run(site)
        assert [item.label for item in done.removed] == [f"keystone/{other.artifact.stem}"]
        assert set(done.removed[0].objects) == {other.artifact.tarball_path, other.artifact.manifest_path}
        assert done.removed[0].size > other.artifact.length
        assert set(objects(site)) == {*before, "prune.json"}
        assert other.artifact.manifest_path not in site.refreshed().entries(ARTIFACTS)
        expect_whole(site)

    def test_a_second_run_has_nothing_to_do(self, site: Site) -> None:
        site.publish(build_artifact(site.build, version="2.0.0"))
        run(site)
        state = {path: path.read_bytes() for path in site.path("").rglob("*") if path.is_file()}
        assert run(site) == Pruned(removed=(), waiting=())
        assert {path: path.read_bytes() for path in site.path("").rglob("*") if path.is_file()} == state

    def test_files_beside_the_artifact_go_with_it(self, site: Site) -> None:
        other = build_artifact(site.build, version="2.0.0").artifact
        beside = [
            f"sbom/keystone/{other.stem}.cdx.json",
            f"provenance/keystone/{other.stem}.intoto.json",
            f"patches/keystone/{other.stem}-from-0123456789ab.json.gz",
            f"patches/keystone/{other.stem}-from-0123456789ab.patches",
        ]
        for path in beside:
            site.store.write_if_absent(path, b"x")
        site.store.write_if_absent("somebody/elses.file", b"x")
        (removed,) = run(site).removed
        assert set(removed.objects) == set(beside)
        assert "somebody/elses.file" in objects(site)

    def test_what_an_interrupted_publish_left_goes(self, site: Site) -> None:
        left = build_artifact(site.build, version="2.0.0").artifact
        site.store.write_if_absent(left.tarball_path, b"half of it")
        assert [item.label for item in run(site).removed] == [f"keystone/{left.stem}"]
        assert left.tarball_path not in objects(site)

    def test_without_a_release_it_refuses(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.publish(build_artifact(site.build))
        with pytest.raises(Refused, match=r"no release is pinned in .*, so pruning would remove everything"):
            run(site)

    def test_published_again_it_is_there_again(self, site: Site) -> None:
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        run(site)
        assert site.publish(other).published == (other.artifact.manifest_path,)
        expect_whole(site)

    @pytest.mark.parametrize(
        ("path", "label"),
        [
            ("artifacts/a-b/a-b-1-t-0123.tar.zst", "a-b/a-b-1-t-0123"),
            ("artifacts/a/a-1.json.gz", "a/a-1"),
            ("patches/a/a-2-from-0123.json.gz", "a/a-2"),
            ("sbom/a/a-1.cdx.json", "a/a-1"),
            ("pins/1.0.0.json", None),
            ("metadata/1.root.json", None),
            ("artifacts/a/b/c.json.gz", None),
            ("artifacts/README", None),
            ("artifacts/a/notes.txt", None),
        ],
    )
    def test_labels(self, path: str, label: str | None) -> None:
        assert label_of(path) == label


class TestGrace:
    def test_it_is_noted_first_and_removed_when_the_time_is_over(self, site: Site) -> None:
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        week = timedelta(days=7)
        first = run(site, grace=week)
        assert first.removed == ()
        assert [item.label for item in first.waiting] == [f"keystone/{other.artifact.stem}"]
        assert run(site, grace=week).waiting[0].since == first.waiting[0].since
        record, version = read_record(site.store)
        earlier = {label: since - week for label, since in record.unpinned.items()}
        assert site.store.replace_if_unchanged(
            "prune.json", replace(record, unpinned=earlier).to_json(), version
        )
        assert [item.label for item in run(site, grace=week).removed] == [f"keystone/{other.artifact.stem}"]
        assert read_record(site.store)[0].unpinned == {}

    def test_what_is_pinned_in_time_stays_and_is_forgotten(self, site: Site) -> None:
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        run(site, grace=timedelta(days=7))
        site.pin("2.0.0", other)
        done = run(site)
        assert (done.removed, done.waiting) == ((), ())
        assert read_record(site.store)[0].unpinned == {}

    def test_a_dry_run_writes_nothing(self, site: Site) -> None:
        site.publish(build_artifact(site.build, version="2.0.0"))
        state = {path: path.read_bytes() for path in site.path("").rglob("*") if path.is_file()}
        assert len(run(site, dry_run=True).removed) == 1
        assert {path: path.read_bytes() for path in site.path("").rglob("*") if path.is_file()} == state


class Hooked(DirectoryStore):
    """A store in which something happens before the given write, counted from 0."""

    def __init__(self, root: Path, at: int, what: Callable[[], object]) -> None:
        super().__init__(root)
        self.at, self.what, self.count = at, what, 0

    def _happens(self) -> None:
        self.count += 1
        if self.count == self.at + 1:
            self.what()

    def write_if_absent(self, path: str, source: Any, **options: Any) -> bool:
        self._happens()
        return super().write_if_absent(path, source, **options)

    def replace_if_unchanged(self, path: str, data: bytes, version: str | None) -> bool:
        self._happens()
        return super().replace_if_unchanged(path, data, version)

    def delete(self, path: str) -> None:
        self._happens()
        super().delete(path)


def points(count: int) -> list[Any]:
    """Return *count* points, of which every other one is left to the slow tests."""
    return [pytest.param(point, marks=[pytest.mark.slow] if point % 2 else []) for point in range(count)]


POINTS = points(6)


class TestTogetherWithOthers:
    @pytest.mark.parametrize("known", [False, True], ids=["new", "published before"])
    @pytest.mark.parametrize("point", POINTS)
    def test_a_publisher_never_signs_what_was_removed(self, site: Site, point: int, known: bool) -> None:
        other = build_artifact(site.build, version="2.0.0")
        if known:  # its files lie there, unsigned: the publisher finds them, and takes them for stored
            for path, data in (
                (other.artifact.tarball_path, other.tarball),
                (other.artifact.manifest_path, b""),
            ):
                if data:
                    site.store.write_if_absent(path, data)
        store = Hooked(site.path(""), point, lambda: run(site))
        open_repository(store, site.keys, PUBLISH_ROLES).publish([other])
        assert store.count > point or point >= 4
        expect_whole(site)

    @pytest.mark.parametrize("point", POINTS)
    def test_a_pin_names_what_is_there_or_fails(self, site: Site, point: int) -> None:
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        repository = open_repository(Hooked(site.path(""), point, lambda: run(site)), site.keys, PIN_ROLES)
        pins = repository.pins_for([other.artifact])
        try:
            repository.pin("2.0.0", pins)
        except NotFound:
            assert "2.0.0" not in site.refreshed().releases()
        else:
            run(site)
            assert "2.0.0" in site.refreshed().releases()
        expect_whole(site)

    @pytest.mark.parametrize("point", points(9))
    def test_what_is_pinned_or_published_while_it_prunes_is_whole(self, site: Site, point: int) -> None:
        other, third = (build_artifact(site.build, version=version) for version in ("2.0.0", "3.0.0"))
        site.publish(other, third)

        def meanwhile() -> None:
            try:
                site.pin("2.0.0", other)
            except NotFound:
                assert "2.0.0" not in site.refreshed().releases()

        store = Hooked(site.path(""), point, meanwhile)
        prune(open_repository(store, site.keys, PUBLISH_ROLES), grace=AT_ONCE)
        assert store.count > point
        expect_whole(site)
        assert third.artifact.tarball_path not in objects(site)

    @pytest.mark.parametrize("point", points(9))
    def test_killed_anywhere_it_leaves_a_whole_store_and_the_next_run_ends_it(
        self, site: Site, point: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prune_record, "LEASE", timedelta(milliseconds=1))
        site.publish(*(build_artifact(site.build, version=version) for version in ("2.0.0", "3.0.0")))
        before = objects(site)

        class Killed(BaseException):
            pass

        def die() -> None:
            store.at += 1  # a dead process writes nothing more, not even on its way out
            raise Killed

        store = Hooked(site.path(""), point, die)
        with pytest.raises(Killed):
            prune(open_repository(store, site.keys, PUBLISH_ROLES), grace=AT_ONCE)
        expect_whole(site)
        run(site)
        expect_whole(site)
        assert len(objects(site)) == len(before) - 4 + 1

    def test_only_one_removes_at_a_time(self, site: Site) -> None:
        site.publish(build_artifact(site.build, version="2.0.0"))
        prune_record.begin(site.store)
        with pytest.raises(Locked, match="is being pruned by somebody else until"):
            run(site)

    def test_a_publisher_waits_for_whoever_removes(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prune_record, "LEASE", timedelta(seconds=1))
        begun = prune_record.begin(site.store)
        other = build_artifact(site.build, version="2.0.0")
        site.publish(other)
        assert datetime.now(timezone.utc) >= begun.until
        expect_whole(site)

    @pytest.mark.slow
    def test_real_processes_side_by_side(self, site: Site, tmp_path: Path) -> None:
        """Three publish and pin, two prune at once, all the time; then everything signed is there."""
        work = tmp_path / "worker.py"
        work.write_text(WORKER)
        commands = [[sys.executable, str(work), "publish", str(tmp_path), str(number)] for number in range(3)]
        commands += [[sys.executable, str(work), "prune", str(tmp_path), str(number)] for number in range(2)]
        started = [subprocess.Popen(command, cwd=ROOT) for command in commands]
        assert [process.wait(timeout=300) for process in started] == [0] * len(started)
        expect_whole(site)
        run(site)
        expect_whole(site)
        assert len(site.refreshed("last").releases()) > 1


WORKER = """
import sys
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, ".")
from distributor.publishing import prune_record
from distributor.publishing.pruning import prune
from distributor.publishing.repository import PIN_ROLES, PUBLISH_ROLES, open_repository
from distributor.stores.directory import DirectoryStore
from manifests.errors import Locked, NotFound
from tests.distributor.artifacts import build_artifact
what, folder, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
store, keys = DirectoryStore(folder / "store"), folder / "keys"
for turn in range(12):
    try:
        if what == "prune":
            prune(open_repository(store, keys, PUBLISH_ROLES), grace=timedelta(0))
            continue
        built = build_artifact(folder / f"build-{number}", version=f"{turn}.{number}.{0 if turn % 2 else 1}")
        open_repository(store, keys, PUBLISH_ROLES).publish([built])
        if turn % 2:
            repository = open_repository(store, keys, PIN_ROLES)
            repository.pin(f"r{turn}.{number}", repository.pins_for([built.artifact]))
    except (Locked, NotFound) as error:
        print(what, number, turn, error)
"""


class TestRecord:
    def test_it_reads_what_it_writes(self) -> None:
        now = datetime.now(timezone.utc)
        record = PruneRecord(generation=3, until=now, unpinned={"a/b": now})
        assert PruneRecord.from_json(record.to_json(), what="x") == record

    @pytest.mark.parametrize("value", ["", "yesterday", "2026-01-01T00:00:00"])
    def test_times_without_a_zone_are_refused(self, value: str) -> None:
        from manifests.errors import InvalidInput

        data = json.dumps({"format": "1.0", "generation": 0, "until": value, "unpinned": {}}).encode()
        with pytest.raises(InvalidInput, match=r"x\.until: not a time with its zone"):
            PruneRecord.from_json(data, what="x")


def test_the_command_says_what_it_would_do_and_does_it(site: Site) -> None:
    from distributor.commands.prune import command

    other = build_artifact(site.build, version="2.0.0")
    site.publish(other)
    options = ["--store", str(site.path("")), "--keys", str(site.keys), "--grace", "0"]
    dry = CliRunner().invoke(command, [*options, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert dry.output.startswith(f"would remove keystone/{other.artifact.stem} (")
    done = CliRunner().invoke(command, [*options, "--json"])
    document = json.loads(done.stdout)
    assert document["changed"] is True
    assert [entry["artifact"] for entry in document["removed"]] == [f"keystone/{other.artifact.stem}"]
    assert document["freed_bytes"] > 0
    again = CliRunner().invoke(command, [*options, "--json"])
    assert json.loads(again.stdout)["changed"] is False
