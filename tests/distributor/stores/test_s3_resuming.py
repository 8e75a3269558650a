"""Uploads to S3 that broke off go on where they were, over real HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from distributor.stores.interface import Digest
from distributor.stores.s3.client import Bucket
from manifests.documents import Sha256, sha256_bytes, sha256_file
from manifests.errors import VerificationFailed
from tests.s3_server import client_of, new_bucket, s3_server, set_credentials, store_at
from tests.small_site import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributor.stores.s3.options import S3Options


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def ignoring_url() -> Iterator[str]:
    with s3_server("--ignore-conditions") as found:
        yield found


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


KILLED = """
import os, sys
from pathlib import Path
from distributor.stores.interface import Digest
from manifests.documents import sha256_file
from tests.s3_server import options_at, store_at

url, bucket, file, parts = sys.argv[1:]
sent = 0

def moved(count):
    global sent
    sent += count
    if sent > int(parts) * 8 * 1024 * 1024 + 5 * 8 * 1024 * 1024:  # some are on their way
        os.kill(os.getpid(), 9)

expect = Digest(Path(file).stat().st_size, sha256_file(Path(file)))
store_at(options_at(url, bucket)).write_if_absent("a/b.tar", Path(file), expect=expect, moved=moved)
"""


class TestResuming:
    """A publisher that was killed, or lost its connection, goes on where it was."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "big.tar"
        path.write_bytes(os.urandom(10 * 8 * 1024 * 1024 - 17))
        return path

    def expected(self, file: Path) -> Digest:
        return Digest(file.stat().st_size, Sha256(sha256_file(file)))

    def sent_parts(self, options: S3Options, file: Path) -> list[int]:
        """Upload *file*; return the numbers of the parts that were sent for it."""
        sent: list[int] = []
        events = Bucket(options).client().meta.events

        def note(params: dict[str, Any], **_: Any) -> None:
            if params["url_path"].endswith("/a/b.tar"):  # and not the probe for conditions
                sent.append(int(params["query_string"]["partNumber"]))

        events.register("before-call.s3.UploadPart", note)
        try:
            assert store_at(options).write_if_absent("a/b.tar", file, expect=self.expected(file))
        finally:
            events.unregister("before-call.s3.UploadPart", note)
        stored = b"".join(store_at(options).stream("a/b.tar", offset=0, length=file.stat().st_size))
        assert stored == file.read_bytes()
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        return sorted(sent)

    @pytest.mark.slow
    @pytest.mark.parametrize("server", ["url", "ignoring_url"])
    def test_after_a_kill_only_the_rest_is_sent(
        self, server: str, request: pytest.FixtureRequest, file: Path
    ) -> None:
        options = new_bucket(request.getfixturevalue(server))
        arguments = [str(options.connection.endpoint), options.bucket, str(file), "3"]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=PROJECT, check=False)
        assert killed.returncode == -9
        assert store_at(options).size("a/b.tar") is None
        sent = self.sent_parts(options, file)
        assert 2 <= len(sent) < 10
        assert sent[-1] == 10

    @pytest.mark.slow
    def test_an_upload_that_is_gone_begins_again(self, url: str, file: Path) -> None:
        options = new_bucket(url)
        arguments = [str(options.connection.endpoint), options.bucket, str(file), "3"]
        subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=PROJECT, check=False)
        client = client_of(options)
        for upload in client.list_multipart_uploads(Bucket=options.bucket)["Uploads"]:
            client.abort_multipart_upload(
                Bucket=options.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        assert self.sent_parts(options, file) == list(range(1, 11))

    def test_wrong_bytes_leave_nothing(self, url: str, file: Path) -> None:
        options = new_bucket(url)
        with pytest.raises(VerificationFailed):
            store_at(options).write_if_absent(
                "a/b.tar", file, expect=Digest(file.stat().st_size, sha256_bytes(b"other"))
            )
        assert "Uploads" not in client_of(options).list_multipart_uploads(Bucket=options.bucket)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
