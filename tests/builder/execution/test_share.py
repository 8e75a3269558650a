"""Caches that meet in an object store only: S3, spoken to over real HTTP."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("boto3", reason="needs the extra 's3'")
pytest.importorskip("moto", reason="needs moto's server")

from builder.execution.share import Share, open_share
from builder.layers.cache import LayerCache
from builder.wheels.cache import WheelCache
from manifests.documents import Sha256
from manifests.errors import InvalidInput, StoreUnavailable, VerificationFailed
from manifests.lock import LockedFile, LockedPackage
from tests.builder.test_build_command import Site
from tests.cluster import Cluster
from tests.s3_server import client_of, new_bucket, s3_server, set_credentials
from tests.wheel_factory import make_wheel, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.s3.options import S3Options


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> S3Options:
    set_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    open_share.cache_clear()
    return new_bucket(server)


@pytest.fixture
def location(bucket: S3Options) -> str:
    return f"s3://{bucket.bucket}/builds/one"


@pytest.fixture
def share(location: str) -> Share:
    return open_share(location)


def test_a_wheel_goes_from_cache_to_cache(share: Share, tmp_path: Path) -> None:
    one, two = WheelCache(tmp_path / "one"), WheelCache(tmp_path / "two")
    made = make_wheel(tmp_path, "demo", "1.0")
    wheel = one.add(made, name=made.name, sha256=None, origin="a test")
    assert share.get_wheel(two, wheel.sha256, wheel.name) is None
    share.put_wheel(wheel.path, wheel.sha256)
    found = share.get_wheel(two, wheel.sha256, wheel.name)
    assert found is not None
    assert found.read_bytes() == made.read_bytes()


def test_an_sdist_goes_from_cache_to_cache(share: Share, tmp_path: Path) -> None:
    one, two = WheelCache(tmp_path / "one"), WheelCache(tmp_path / "two")
    made = tmp_path / "demo-1.0.tar.gz"
    made.write_bytes(b"an sdist")
    digest = sha256(made)
    file = LockedFile(name=made.name, url="", size=8, sha256=digest)  # type: ignore[arg-type]
    package = LockedPackage(name="demo", version="1.0", sdist=file)
    share.get_sdist(two, package)  # nothing there: nothing happens
    one.add_sdist(made, name=made.name, sha256=digest, origin="a test")
    share.put_sdist(one, package)
    share.get_sdist(two, package)
    assert two.get_sdist(digest, made.name) is not None


def test_other_bytes_than_promised_are_refused(share: Share, bucket: S3Options, tmp_path: Path) -> None:
    two = WheelCache(tmp_path / "two")
    made = make_wheel(tmp_path, "demo", "1.0")
    digest = Sha256(sha256(made))
    client = client_of(bucket)
    key = f"builds/one/wheels/{digest[:2]}/{digest}/{made.name}"
    client.put_object(Bucket=bucket.bucket, Key=key, Body=b"something else")
    with pytest.raises(VerificationFailed, match="has sha256"):
        share.get_wheel(two, digest, made.name)
    layer = Sha256("ab" * 32)
    for end in (".bin", ".json"):
        client.put_object(Bucket=bucket.bucket, Key=f"builds/one/layers/ab/{layer}{end}", Body=b"x")
    with pytest.raises(VerificationFailed, match="came with damaged facts"):
        share.get_layer(LayerCache(tmp_path / "two"), layer)
    assert LayerCache(tmp_path / "two").get(layer) is None
    assert not [path for path in (tmp_path / "two/layers").rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", ["s3://", "s3://bucket", "s3:///x", "http://a/b", "/srv/x", "s3://b/../x"])
def test_what_is_no_place_is_said(text: str) -> None:
    with pytest.raises(InvalidInput, match="one looks like s3://bucket/prefix"):
        open_share(text)


def test_a_bucket_that_is_not_there_is_said(location: str, tmp_path: Path) -> None:
    made = make_wheel(tmp_path, "demo", "1.0")
    with pytest.raises(StoreUnavailable, match=r"s3://nowhere-at-all/x: "):
        open_share("s3://nowhere-at-all/x").put_wheel(made, Sha256(sha256(made)))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs the extra 'cluster'")
def test_a_build_whose_workers_share_nothing_but_a_bucket(location: str, tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    here = site.run("-o", "here", "--cache", "cache-here")
    assert here.returncode == 0, here.stderr
    cache = tmp_path / "cluster/cache"
    with Cluster(tmp_path / "cluster", cache=cache) as cluster:
        there = site.run("-o", "there", "--share", location, *cluster.options)
        assert there.returncode == 0, there.stderr
        assert site.files("there/artifacts") == site.files("here/artifacts") != []
        for name in site.files("here/artifacts"):
            there_too = site.root / "there/artifacts" / name
            assert there_too.read_bytes() == (site.root / "here/artifacts" / name).read_bytes()
        assert len(list((cache / "layers").glob("*/*.bin"))) == 2  # the workers made them
        # Another machine with an empty cache takes them from the bucket.
        again = site.run("-o", "again", "--cache", "cache-again", "--share", location, *cluster.options)
        assert again.returncode == 0, again.stderr
    assert os.listdir(site.root / "again/artifacts")  # noqa: PTH208
