"""The cache is cleaned by age and size, and never under a build's hands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.caching.clean import clean
from builder.caching.inventory import Entry, entries
from builder.caching.place import cache_identity
from builder.caching.usage import count_running, registered
from builder.wheels.cache import WheelCache
from manifests.errors import StoreUnavailable
from tests.builder.test_build_command import ROOT, Site
from tests.wheel_factory import make_wheel

DAY = 86400.0


def fill(root: Path, names: str, *, age: float = 0) -> dict[str, str]:
    """Add a wheel for each letter, each used *age* seconds and a bit ago; return names and digests."""
    cache = WheelCache(root)
    digests = {}
    for index, name in enumerate(names):
        path = make_wheel(root / "in", name, "1.0", {f"{name}.bin": os.urandom(100_000)})
        wheel = cache.add(path, name=path.name, sha256=None, origin="a test")
        digests[name] = wheel.sha256
        when = time.time() - age - (len(names) - index) * 60
        os.utime(wheel.path, (when, when))
    return digests


def present(root: Path, digests: dict[str, str]) -> str:
    kept = {entry.name for entry in entries(root)}
    return "".join(name for name, digest in digests.items() if digest in kept)


def test_what_was_not_used_for_long_goes(tmp_path: Path) -> None:
    old, new = fill(tmp_path, "ab", age=40 * DAY), fill(tmp_path, "cd")
    assert present(tmp_path, old | new) == "abcd"
    dry = clean(tmp_path, age=30 * DAY, size=None, dry_run=True)
    assert (len(dry.removed), present(tmp_path, old | new)) == (2, "abcd")
    done = clean(tmp_path, age=30 * DAY, size=None)
    assert done.size == dry.size > 200_000
    assert present(tmp_path, old | new) == "cd"
    assert clean(tmp_path, age=30 * DAY, size=None).removed == ()


def test_the_least_recently_used_go_beyond_a_size(tmp_path: Path) -> None:
    digests = fill(tmp_path, "abcde")
    assert WheelCache(tmp_path).get(digests["a"], "a-1.0-py3-none-any.whl") is not None  # used just now
    one = entries(tmp_path)[0].size
    clean(tmp_path, age=None, size=2 * one + one // 2)
    assert present(tmp_path, digests) == "ae"


def test_a_running_build_keeps_what_it_looked_up(tmp_path: Path) -> None:
    digests = fill(tmp_path, "abc", age=40 * DAY)
    with registered(tmp_path):
        assert count_running(tmp_path) == 1
        assert WheelCache(tmp_path).get(digests["b"], "b-1.0-py3-none-any.whl") is not None
        cleaned = clean(tmp_path, age=None, size=0)
        assert present(tmp_path, digests) == "b"
        assert cleaned.kept_for_builds == 1
    assert count_running(tmp_path) == 0
    clean(tmp_path, age=None, size=0)
    assert present(tmp_path, digests) == ""


def test_a_killed_build_keeps_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from builder.caching.usage import registered\n"
        "with registered(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        digests = fill(tmp_path, "a")
        os.utime(next(tmp_path.glob("wheels/*/*/*")))
        assert clean(tmp_path, age=None, size=0).kept_for_builds == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert count_running(tmp_path) == 0
    clean(tmp_path, age=None, size=0)
    assert present(tmp_path, digests) == ""
    assert list((tmp_path / "running").iterdir()) == []


def test_what_is_used_between_the_look_and_the_removal_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = fill(tmp_path, "a", age=40 * DAY)

    def look_and_then_it_is_used(root: Path) -> list[Entry]:
        found = entries(root)
        assert WheelCache(root).get(digests["a"], "a-1.0-py3-none-any.whl") is not None
        return found

    monkeypatch.setattr("builder.caching.clean.entries", look_and_then_it_is_used)
    assert clean(tmp_path, age=30 * DAY, size=None).removed == ()
    assert present(tmp_path, digests) == "a"


def test_leftovers_go_after_a_day_and_what_is_new_stays(tmp_path: Path) -> None:
    for folder in ("tmp", "layers/tmp"):
        for name, age in (("old", 2 * DAY), ("new", 60.0)):
            path = tmp_path / folder / name
            path.mkdir(parents=True)
            (path / "file").write_bytes(b"x")
            os.utime(path, (time.time() - age,) * 2)
    clean(tmp_path, age=3650 * DAY, size=None)
    assert sorted(path.name for path in tmp_path.glob("**/tmp/*")) == ["new", "new"]


@pytest.mark.slow
def test_builds_and_cleaners_at_once_never_disturb_each_other(tmp_path: Path) -> None:
    site = Site(tmp_path)
    reference = site.run("-o", "reference")
    assert reference.returncode == 0, reference.stderr
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            clean(tmp_path / "cache", age=None, size=0)

    cleaner = threading.Thread(target=sweep)
    cleaner.start()
    try:
        for index in range(4):
            done = site.run("-o", f"out{index}")
            assert done.returncode == 0, done.stderr
            for name in site.files("reference/artifacts"):
                built = tmp_path / f"out{index}/artifacts" / name
                assert built.read_bytes() == (tmp_path / "reference/artifacts" / name).read_bytes()
    finally:
        stop.set()
        cleaner.join()


def test_the_command_shows_and_cleans(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.run().returncode == 0

    def cache(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "venvoy", "cache", *words, "--cache", "cache"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
        )

    shown = json.loads(cache("show", "--json").stdout)
    counts = {row["kind"]: row["entries"] for row in shown["kinds"]}
    assert (counts["wheels"], counts["layers"], shown["running_builds"]) == (2, 3, 0)
    assert "wheels         2" in cache("show").stdout
    dry = cache("clean", "--max-size", "0M", "--dry-run")
    assert dry.stdout.startswith("would remove 5 entries, ")
    assert json.loads(cache("clean", "--max-size", "0M", "--json").stdout)["freed"] > 0
    assert json.loads(cache("show", "--json").stdout)["kinds"][0]["entries"] == 0
    for words in (["clean"], ["clean", "--max-size", "much"], ["clean", "--older-than", "3y"]):
        assert cache(*words).returncode == 2
    assert site.run().returncode == 0  # all of it can be had again


def test_a_cache_has_one_identity(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(cache_identity(root))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
    assert cache_identity(tmp_path / "another") != seen[0]
    assert [path.name for path in root.iterdir()] == ["cache-id"]
    (root / "cache-id").write_text("nonsense")
    with pytest.raises(StoreUnavailable, match="is damaged"):
        cache_identity(root)
