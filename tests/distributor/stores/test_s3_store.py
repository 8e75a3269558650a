"""What only a store in S3 must mind: settings, secrets, broken answers, uploads, the lock, processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import traceback
import urllib.request
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions as boto

from distributor.publishing.initialisation import initialise
from distributor.stores.interface import CHUNK_SIZE, Digest
from distributor.stores.s3 import lock as s3_lock
from distributor.stores.s3 import store as s3_store
from distributor.stores.s3.client import Bucket
from distributor.stores.s3.errors import Problem, told
from distributor.stores.s3.opening import open_s3_store
from distributor.stores.s3.options import S3Connection, S3Options, read_options
from distributor.stores.s3.store import S3Store
from distributor.stores.s3.upload import PART_SIZE
from distributor.stores.s3.writing import has_conditional_writes
from distributor.trust.trust import Trust
from manifests.documents import sha256_bytes
from manifests.errors import (
    InvalidInput,
    Locked,
    NotFound,
    Refused,
    StoreUnavailable,
    VerificationFailed,
)
from tests.s3_server import (
    ACCESS_KEY,
    CREDENTIALS,
    SECRET_KEY,
    client_of,
    new_bucket,
    options_at,
    s3_server,
    set_credentials,
    store_at,
)
from tests.small_site import SmallSite, venvoy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[3]
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def ignoring_url() -> Iterator[str]:
    with s3_server("--ignore-conditions") as running:
        yield running


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    set_credentials(monkeypatch)


@pytest.fixture
def options(url: str) -> S3Options:
    return new_bucket(url, prefix="venvs/")


@pytest.fixture
def store(options: S3Options) -> S3Store:
    return store_at(options)


def keys_in(options: S3Options) -> list[str]:
    found = client_of(options).list_objects_v2(Bucket=options.bucket)
    return [entry["Key"] for entry in found.get("Contents", ())]


def uploads_in(options: S3Options) -> list[str]:
    found = client_of(options).list_multipart_uploads(Bucket=options.bucket)
    return [entry["Key"] for entry in found.get("Uploads", ())]


class OddServer:
    """Answers as *answer* says: it gets the handler and the request's body, and writes what it likes."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                answer(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> S3Store:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return store_at(options_at(f"http://127.0.0.1:{self._server.server_port}", "bucket"))

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), "ETag": '"e"', **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def reply_error(handler: BaseHTTPRequestHandler, status: int, code: str, message: str = "") -> None:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    reply(handler, status, body.encode(), Content_Type="application/xml")


def reply_range(handler: BaseHTTPRequestHandler, data: bytes, *, at_most: int | None = None) -> None:
    """Answer a GET with its range of *data*; cut it off after *at_most* bytes."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
    first, last = (int(found[1]), int(found[2])) if found else (0, len(data) - 1)
    body = data[first : last + 1]
    handler.send_response(206 if found else 200)
    handler.send_header("ETag", '"e"')
    handler.send_header("Content-Length", str(len(body)))
    if found:
        handler.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
    handler.end_headers()
    handler.wfile.write(body[:at_most])
    handler.close_connection = True


class TestSettings:
    def test_the_location_names_bucket_and_prefix(self) -> None:
        options = read_options("s3://venvs", {})
        assert options == S3Options(bucket="venvs")
        assert options.location == "s3://venvs"
        options = read_options("s3://venvs/a/b/", {"AWS_ENDPOINT_URL": "https://s3.example/"})
        assert (options.bucket, options.prefix) == ("venvs", "a/b/")
        assert options.location == "s3://venvs/a/b at https://s3.example"
        assert options.connection.addressing == "path"

    def test_venvoys_settings_go_before_those_of_aws(self) -> None:
        environ = {
            "VENVOY_S3_ENDPOINT": "http://127.0.0.1:1",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:2",
            "VENVOY_S3_REGION": "eu-north-1",
            "AWS_REGION": "us-west-2",
            "VENVOY_S3_PROFILE": "publisher",
            "VENVOY_S3_ANONYMOUS": "1",
            "VENVOY_S3_ADDRESSING": "virtual",
            "VENVOY_CA_BUNDLE": __file__,
            "VENVOY_S3_REQUIRE_CONDITIONAL": "1",
        }
        options = read_options("s3://venvs", environ)
        assert options.require_conditional
        assert options.connection == S3Connection(
            endpoint="http://127.0.0.1:1",
            region="eu-north-1",
            profile="publisher",
            anonymous=True,
            addressing="virtual",
            ca_bundle=__file__,
        )
        for name in ("VENVOY_S3_ENDPOINT", "VENVOY_S3_REGION"):
            del environ[name]
        connection = read_options("s3://venvs", environ).connection
        assert (connection.endpoint, connection.region) == ("http://127.0.0.1:2", "us-west-2")

    @pytest.mark.parametrize(
        ("location", "environ", "message"),
        [
            ("s3:bucket", {}, "is named s3://BUCKET"),
            ("s3://", {}, "cannot name a bucket"),
            ("s3://CANARY@bucket/x", {}, "without credentials or a query"),
            ("s3://bucket/x?X-Amz-Signature=CANARY", {}, "without credentials or a query"),
            ("s3://bucket/a/../b", {}, "is not a plain relative path"),
            ("s3://b", {"VENVOY_S3_ENDPOINT": "https://u:CANARY@host"}, "cannot name a bucket"),
            ("s3://bucket", {"VENVOY_S3_ENDPOINT": "https://u:CANARY@host"}, "the S3 endpoint must be"),
            ("s3://bucket", {"AWS_ENDPOINT_URL": "host:9000"}, "the S3 endpoint must be"),
            ("s3://bucket", {"AWS_ENDPOINT_URL": "http://host:port"}, "the S3 endpoint must be"),
            ("s3://bucket", {"VENVOY_S3_ADDRESSING": "odd"}, "use one of: auto, path, virtual"),
            ("s3://bucket", {"VENVOY_S3_ANONYMOUS": "maybe"}, "set it to 1 or 0"),
            ("s3://bucket", {"AWS_CA_BUNDLE": "/no/such"}, "/no/such: no such file"),
        ],
    )
    def test_what_cannot_be(self, location: str, environ: dict[str, str], message: str) -> None:
        with pytest.raises(InvalidInput, match=message) as caught:
            read_options(location, environ)
        assert "CANARY" not in str(caught.value)

    def test_without_boto3_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(InvalidInput, match=r"pip install 'venvoy\[s3\]'"):
            open_s3_store("s3://bucket", {})

    def test_boto3_is_imported_only_for_a_store(self) -> None:
        program = (
            "import sys, distributor.stores.s3.opening; "
            "print('botocore' in sys.modules, 'boto3' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False False\n"

    def test_names_too_long_for_s3(self, store: S3Store) -> None:
        with pytest.raises(InvalidInput, match="1024 bytes"):
            store.size("x" * 1020)


class TestErrors:
    @pytest.mark.parametrize(
        "kind",
        sorted(
            {
                value
                for value in vars(boto).values()
                if isinstance(value, type) and issubclass(value, boto.BotoCoreError)
            },
            key=lambda kind: kind.__name__,
        ),
        ids=lambda kind: kind.__name__,
    )
    def test_the_table_knows_all_that_botocore_raises(self, kind: type[Exception]) -> None:
        error = kind.__new__(kind)
        error.args = ("secret\ntext",)
        found = told(error, Bucket(S3Options(bucket="b")), "a/b")
        assert type(found) in (StoreUnavailable, InvalidInput)
        assert str(found).startswith("a/b in s3://b: ")
        assert "\n" not in str(found)
        assert "secret" not in str(found)

    @pytest.mark.parametrize(
        ("code", "status", "kind", "message"),
        [
            ("NoSuchKey", 404, NotFound, "a/b is not in the store s3://b"),
            ("404", 404, NotFound, "a/b is not in the store s3://b"),
            ("NoSuchBucket", 404, NotFound, "there is no bucket b"),
            ("AccessDenied", 403, StoreUnavailable, "denied, or it does not exist"),
            ("403", 403, StoreUnavailable, "denied, or it does not exist"),
            ("InvalidAccessKeyId", 403, StoreUnavailable, "does not accept the credentials"),
            ("ExpiredToken", 400, StoreUnavailable, "does not accept the credentials"),
            ("RequestTimeTooSkewed", 403, StoreUnavailable, "set this machine's clock"),
            ("PermanentRedirect", 301, StoreUnavailable, "another region"),
            ("SlowDown", 503, StoreUnavailable, "try again later"),
            ("NotImplemented", 501, StoreUnavailable, "does not support"),
            ("NoSuchUpload", 404, StoreUnavailable, "was aborted by somebody else"),
            ("XAmzContentSHA256Mismatch", 400, StoreUnavailable, "damaged on its way"),
            ("PreconditionFailed", 412, StoreUnavailable, "changed by another writer"),
            ("EntityTooLarge", 400, StoreUnavailable, "no room"),
            ("InvalidObjectState", 403, StoreUnavailable, "archived"),
            ("Teapot", 418, StoreUnavailable, "the server answers Teapot (HTTP 418)"),
            ("odd\ncode CANARY", 418, StoreUnavailable, "the server answers an unknown code"),
        ],
    )
    def test_what_servers_answer(self, code: str, status: int, kind: type, message: str) -> None:
        answer = {
            "Error": {"Code": code, "Message": "CANARY"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        found = told(boto.ClientError(answer, "GetObject"), Bucket(S3Options(bucket="b")), "a/b")
        assert type(found) is kind
        assert message in str(found)
        assert "CANARY" not in str(found)
        assert "\n" not in str(found)

    def test_every_problem_can_be_told(self) -> None:
        for problem in Problem:
            text = problem.value.format(path="P", location="L", bucket="B", code="C", status=1)
            assert "{" not in text

    def test_a_missing_bucket_is_named(self, url: str) -> None:
        store = store_at(options_at(url, "no-such-bucket"))
        for attempt in (
            lambda: store.read("a", limit=1),
            lambda: store.write_if_absent("a", b""),
            lambda: list(store.list("")),
        ):
            with pytest.raises(NotFound, match="there is no bucket no-such-bucket"):
                attempt()

    def test_an_endpoint_where_nobody_listens(self) -> None:
        store = store_at(options_at("http://127.0.0.1:9", "bucket"))
        with pytest.raises(StoreUnavailable, match=r"a in s3://bucket at http://127\.0\.0\.1:9: cannot"):
            store.read("a", limit=1)

    def test_no_credentials(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        for name in CREDENTIALS:
            monkeypatch.delenv(name)
        # A connection of its own: clients are kept, with the credentials that they found.
        connection = S3Connection(endpoint=url, region="nowhere-1")
        with pytest.raises(StoreUnavailable, match="found no credentials"):
            store_at(S3Options(bucket="bucket", connection=connection)).read("a", limit=1)

    def test_no_such_profile(self) -> None:
        connection = S3Connection(profile="no-such-profile")
        with pytest.raises(InvalidInput, match="the AWS profile does not exist"):
            store_at(S3Options(bucket="bucket", connection=connection)).read("a", limit=1)


class TestSecrets:
    def test_no_error_and_no_repr_holds_a_credential(self) -> None:
        """The server echoes all that it got, as some do in the text of a signature's mismatch."""
        seen = []

        def echo(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            seen.append(handler.headers["Authorization"])
            reply_error(handler, 403, "SignatureDoesNotMatch", f"{handler.headers} {SECRET_KEY}")

        with OddServer(echo) as store:
            for attempt in (
                lambda: store.read("a", limit=1),
                lambda: list(store.stream("a", offset=0, length=1)),
                lambda: store.write_if_absent("a", b""),
                lambda: store.replace_if_unchanged("a", b"", '"e"'),
                lambda: list(store.list("")),
                lambda: store.delete("a"),
                store.sweep,
            ):
                with pytest.raises(StoreUnavailable) as caught:
                    attempt()
                text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
                text += repr(store) + repr(vars(store)) + store.location
                for secret in (ACCESS_KEY, SECRET_KEY, "Signature="):
                    assert secret not in text
        assert all(ACCESS_KEY in header for header in seen)

    def test_anonymous_requests_are_not_signed(self) -> None:
        signed = []

        def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            signed.append(handler.headers.get("Authorization"))
            reply(handler, 200, b"public")

        with OddServer(answer) as store:
            endpoint = store._bucket.options.connection.endpoint
            connection = S3Connection(endpoint=endpoint, anonymous=True, addressing="path")
            public = store_at(S3Options(bucket="bucket", connection=connection))
            assert public.read("a", limit=10) == b"public"
        assert signed == [None]

    def test_a_presigned_url_reads_one_object(self, store: S3Store) -> None:
        store.write_if_absent("a/b", b"for a while")
        with urllib.request.urlopen(store.presign("a/b", seconds=60)) as answer:
            assert answer.read() == b"for a while"


class TestDenied:
    """403 for what is missing, where the credentials may not list."""

    @staticmethod
    def server(*readable: str) -> OddServer:
        def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            if handler.path.removeprefix("/bucket/") in readable:
                reply(handler, 200, b"x")
            else:
                reply_error(handler, 403, "AccessDenied")

        return OddServer(answer)

    def test_denied_does_not_pass_for_missing(self) -> None:
        with self.server("metadata/timestamp.json") as store:
            for attempt in (
                lambda: store.read("metadata/7.snapshot.json", limit=1),
                lambda: store.size("artifacts/a/b"),
                lambda: store.read_versioned("metadata/other.json", limit=1),
            ):
                with pytest.raises(StoreUnavailable, match="denied, or it does not exist"):
                    attempt()

    def test_the_next_root_is_missing_where_the_rest_can_be_read(self) -> None:
        with self.server("metadata/timestamp.json") as store, pytest.raises(NotFound):
            store.read("metadata/2.root.json", limit=1)

    def test_nothing_is_missing_where_all_is_denied(self) -> None:
        with self.server() as store, pytest.raises(StoreUnavailable, match="denied"):
            store.read("metadata/2.root.json", limit=1)


class TestReading:
    def test_a_cut_answer_is_resumed_from_the_byte_reached(self) -> None:
        data = os.urandom(3 * CHUNK_SIZE)
        asked = []

        def cutting(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            asked.append((handler.headers.get("Range"), handler.headers.get("If-Match")))
            reply_range(handler, data, at_most=CHUNK_SIZE + 1000 if len(asked) < 3 else None)

        with OddServer(cutting) as store:
            assert b"".join(store.stream("a", offset=5, length=len(data) - 5)) == data[5:]
            last = len(data) - 1
            assert asked[0] == (f"bytes=5-{last}", None)
            assert len(asked) == 3
            assert asked[1] == (f"bytes={5 + CHUNK_SIZE + 1000}-{last}", '"e"')
            asked.clear()
            assert store.read("a", limit=len(data)) == data

    def test_a_server_that_only_drips_is_given_up(self) -> None:
        asked = []

        def dripping(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            asked.append(handler.headers.get("Range"))
            reply_range(handler, b"x" * 100_000, at_most=10)

        with OddServer(dripping) as store, pytest.raises(StoreUnavailable, match="cut the answer short"):
            list(store.stream("a", offset=0, length=100_000))
        assert len(asked) == 6

    def test_another_object_is_not_mixed_in_after_a_cut(self) -> None:
        def changing(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            if handler.headers.get("If-Match"):
                reply_error(handler, 412, "PreconditionFailed")
            else:
                reply_range(handler, b"x" * 100_000, at_most=10)

        with OddServer(changing) as store, pytest.raises(StoreUnavailable, match="changed by another writer"):
            list(store.stream("a", offset=0, length=100_000))

    def test_a_server_that_ignores_ranges_is_refused(self) -> None:
        with (
            OddServer(lambda handler, _: reply(handler, 200, b"x" * 100)) as store,
            pytest.raises(StoreUnavailable, match="ignores byte ranges"),
        ):
            list(store.stream("a", offset=10, length=10))

    def test_an_endless_object_is_not_read(self) -> None:
        def endless(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            handler.send_response(200)
            handler.send_header("ETag", '"e"')
            handler.send_header("Content-Length", str(10**12))
            handler.end_headers()
            handler.close_connection = True

        with OddServer(endless) as store, pytest.raises(VerificationFailed, match="larger than the 100"):
            store.read("a", limit=100)

    def test_a_range_behind_the_end(self, store: S3Store) -> None:
        store.write_if_absent("a", b"0123")
        with pytest.raises(StoreUnavailable, match="ends at byte 4, expected 20"):
            list(store.stream("a", offset=10, length=10))

    def test_listing_passes_over_what_is_no_object(self, store: S3Store, options: S3Options) -> None:
        for key in ("venvs/", "venvs/a//b", "venvs/.venvoy/lock/x", "venvs/folder/", "other/x", "venvs/a b"):
            client_of(options).put_object(Bucket=options.bucket, Key=key, Body=b"")
        assert list(store.list("")) == ["a b"]

    @pytest.mark.slow
    def test_long_listings_have_several_pages(self, store: S3Store, options: S3Options) -> None:
        client = client_of(options)
        names = [f"a/{number:04}" for number in range(1005)]
        for name in names:
            client.put_object(Bucket=options.bucket, Key=f"venvs/{name}", Body=b"")
        assert list(store.list("a/")) == names


class TestUploads:
    def test_parts_become_one_object(self, store: S3Store, options: S3Options, tmp_path: Path) -> None:
        source = tmp_path / "source"
        data = os.urandom(5 * PART_SIZE + 17)
        source.write_bytes(data)
        assert store.write_if_absent("a.tar.zst", source, expect=Digest(len(data), sha256_bytes(data)))
        assert b"".join(store.stream("a.tar.zst", offset=0, length=len(data))) == data
        assert not store.write_if_absent("a.tar.zst", tmp_path / "not read at all")
        found = client_of(options).head_object(Bucket=options.bucket, Key="venvs/a.tar.zst")
        assert found["ContentType"] == "application/zstd"
        assert uploads_in(options) == []

    @pytest.mark.parametrize("length", [PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 2 * PART_SIZE])
    def test_sizes_at_the_borders_of_parts(self, store: S3Store, length: int) -> None:
        data = os.urandom(length)
        assert store.write_if_absent("a", data)
        assert store.read("a", limit=length) == data

    def test_wrong_bytes_leave_neither_object_nor_parts(self, store: S3Store, options: S3Options) -> None:
        data = bytes(2 * PART_SIZE + 1)
        with pytest.raises(VerificationFailed):
            store.write_if_absent("a", data, expect=Digest(len(data), sha256_bytes(b"other")))
        assert uploads_in(options) == []
        assert [key for key in keys_in(options) if ".venvoy" not in key] == []

    def test_the_loser_of_a_race_leaves_no_parts(
        self, store: S3Store, options: S3Options, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        outcome: list[bool] = []
        loser = threading.Thread(target=lambda: outcome.append(store.write_if_absent("a", pipe)))
        loser.start()
        with pipe.open("wb") as feed:
            feed.write(bytes(2 * PART_SIZE))
            assert store.write_if_absent("a", b"faster")
        loser.join()
        assert outcome == [False]
        assert store.read("a", limit=10) == b"faster"
        assert uploads_in(options) == []

    def test_memory_does_not_grow_with_the_object(self, options: S3Options, tmp_path: Path) -> None:
        source = tmp_path / "source"
        with source.open("wb") as sparse:
            sparse.truncate(120_000_000)
        results = PROCESSES.Queue()

        def upload() -> None:
            store = store_at(options)
            store.write_if_absent("small", b"x")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            store.write_if_absent("large", source)
            results.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

        process = PROCESSES.Process(target=upload)
        process.start()
        grown = results.get(timeout=60)
        process.join(10)
        assert grown < 64 * 1024

    def test_what_was_aborted_long_ago_is_swept(
        self, store: S3Store, options: S3Options, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = client_of(options)
        store.write_if_absent("kept", b"x")
        for key in ("venvs/a/b", "elsewhere/a"):
            client.create_multipart_upload(Bucket=options.bucket, Key=key)
        for key in ("venvs/.venvoy/lock/1", "venvs/.venvoy/probe-1", "elsewhere/.venvoy/lock/1"):
            client.put_object(Bucket=options.bucket, Key=key, Body=b"")
        # moto dates every upload to 2010.
        monkeypatch.setattr(s3_store, "LEFTOVER_AGE", timedelta(days=36_500))
        assert store.sweep() == 0
        monkeypatch.setattr(s3_store, "LEFTOVER_AGE", timedelta(seconds=-5))
        assert store.sweep() == 3
        assert uploads_in(options) == ["elsewhere/a"]
        assert keys_in(options) == ["elsewhere/.venvoy/lock/1", "venvs/kept"]


class TestLostAnswers:
    """A write is carried out, its answer is lost, and botocore sends it again."""

    @staticmethod
    def server(objects: dict[str, bytes], *, heeds: bool = True) -> OddServer:
        lost = set()

        def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
            path = handler.path.removeprefix("/bucket/").partition("?")[0]
            held = objects.get(path)
            etag = f'"{sha256_bytes(held)}"' if held is not None else None
            if "uploadId" in handler.path and handler.command != "POST":
                reply(handler, 200)
            elif handler.command == "PUT":
                wanted = handler.headers.get("If-Match")
                if heeds and (
                    (handler.headers.get("If-None-Match") and held is not None) or wanted not in (None, etag)
                ):
                    reply_error(handler, 412, "PreconditionFailed")
                    return
                objects[path] = body
                if not path.startswith(".") and path not in lost:
                    lost.add(path)
                    handler.close_connection = True
                    return
                reply(handler, 200, ETag=f'"{sha256_bytes(body)}"')
            elif handler.command == "POST":
                if "uploadId" in handler.path:
                    reply_error(handler, 412, "PreconditionFailed")
                else:
                    reply(handler, 200, b"<R><UploadId>1</UploadId></R>")
            elif handler.command == "DELETE":
                objects.pop(path, None)
                reply(handler, 204)
            elif held is None:
                reply_error(handler, 404, "NoSuchKey")
            else:
                reply(handler, 200, held, ETag=str(etag))

        return OddServer(answer)

    def test_a_write_that_met_itself_was_ours(self) -> None:
        objects: dict[str, bytes] = {}
        with self.server(objects) as store:
            assert store.write_if_absent("a", b"ours")
            assert not store.write_if_absent("a", b"other")
        assert objects["a"] == b"ours"

    def test_a_swap_that_met_itself_was_ours(self) -> None:
        objects = {"t": b"before"}
        with self.server(objects) as store:
            found = store.read_versioned("t", limit=10)
            assert found is not None
            assert store.replace_if_unchanged("t", b"after", found[1])
            assert not store.replace_if_unchanged("t", b"again", found[1])
        assert objects["t"] == b"after"


class TestConditions:
    def test_a_server_that_heeds_conditions_is_known(self, store: S3Store, options: S3Options) -> None:
        assert has_conditional_writes(Bucket(options))
        assert keys_in(options) == []
        assert uploads_in(options) == []

    @pytest.mark.parametrize("variant", ["--ignore-conditions", "--refuse-conditions"])
    def test_a_server_that_does_not_is_found_out(self, variant: str) -> None:
        with s3_server(variant) as url:
            options = new_bucket(url)
            assert not has_conditional_writes(Bucket(options))
            assert keys_in(options) == []
            assert uploads_in(options) == []
            assert store_at(options).write_if_absent("a", b"x")
            assert not store_at(options).write_if_absent("a", b"y")

    def test_the_lock_can_be_forbidden(self, ignoring_url: str) -> None:
        options = new_bucket(ignoring_url, require_conditional=True)
        with pytest.raises(Refused, match="has no conditional writes"):
            store_at(options).write_if_absent("a", b"x")
        assert keys_in(options) == []

    def test_a_holder_that_died_is_waited_for_and_then_ignored(
        self, ignoring_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = new_bucket(ignoring_url)
        store = store_at(options)
        s3_lock.Claim(Bucket(options))
        monkeypatch.setattr(s3_lock, "_PATIENCE", 0.5)
        with pytest.raises(Locked, match="other publishers hold the lock"):
            store.write_if_absent("a", b"x")
        monkeypatch.setattr(s3_lock, "LIFETIME", 1.0)
        monkeypatch.setattr(s3_lock, "_PATIENCE", 20)
        assert store.write_if_absent("a", b"x")
        assert keys_in(options) == ["a"]

    def test_a_holder_that_was_too_slow_does_not_write(
        self, ignoring_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = new_bucket(ignoring_url)
        store = store_at(options)
        assert store.write_if_absent("a", b"x")
        monkeypatch.setattr(s3_lock.Claim, "_age", lambda _: 61.0)
        with pytest.raises(StoreUnavailable, match="too slow for the lock"):
            store.write_if_absent("b", b"x")
        assert keys_in(options) == ["a"]

    def test_two_who_claim_at_once_never_both_win(self, ignoring_url: str) -> None:
        bucket = Bucket(new_bucket(ignoring_url))
        first, second = sorted([s3_lock.Claim(bucket), s3_lock.Claim(bucket)], key=lambda claim: claim.path)
        assert not second.wins()
        second.withdraw()
        assert first.wins()


class TestProcesses:
    def test_a_child_has_a_client_of_its_own(self, store: S3Store, options: S3Options) -> None:
        store.write_if_absent("a", b"x" * 1000)
        mine = id(Bucket(options).client())
        results = PROCESSES.Queue()

        def child() -> None:
            for _ in range(10):
                assert store.read("a", limit=1000) == b"x" * 1000
            results.put(id(Bucket(options).client()) != mine)

        children = [PROCESSES.Process(target=child) for _ in range(2)]
        for process in children:
            process.start()
        for _ in range(10):
            assert store.read("a", limit=1000) == b"x" * 1000
        for process in children:
            process.join(60)
        assert [process.exitcode for process in children] == [0, 0]
        assert all(results.get(timeout=5) for _ in children)

    def test_threads_share_a_store(self, store: S3Store) -> None:
        store.write_if_absent("a", b"0123456789")
        wrong = []

        def read(offset: int) -> None:
            for _ in range(20):
                if b"".join(store.stream("a", offset=offset, length=1)) != b"%d" % offset:
                    wrong.append(offset)

        threads = [threading.Thread(target=read, args=(offset,)) for offset in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


PUBLISHER = """
import sys
from pathlib import Path
from distributor.publishing.repository import PIN_ROLES, PUBLISH_ROLES, open_repository
from tests.distributor.artifacts import build_artifact
from tests.s3_server import options_at, store_at

url, bucket, directory, service = sys.argv[1:]
store = store_at(options_at(url, bucket))
for number in range(2):
    built = build_artifact(Path(directory) / "build", service, str(number))
    assert open_repository(store, Path(directory) / "keys", PUBLISH_ROLES).publish([built]).published
    repository = open_repository(store, Path(directory) / "keys", PIN_ROLES)
    repository.pin(f"{service}-{number}", repository.pins_for([built.artifact]))
"""


class TestPublishing:
    @pytest.mark.parametrize("server", ["url", pytest.param("ignoring_url", marks=pytest.mark.slow)])
    def test_two_publishers_at_once_both_succeed(
        self, server: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        endpoint = request.getfixturevalue(server)
        options = new_bucket(endpoint)
        root = initialise(store_at(options), tmp_path / "keys", now=datetime.now(timezone.utc))
        both = []
        for service in ("nova", "glance"):
            # Each publishes from a machine of its own.
            shutil.copytree(tmp_path / "keys", tmp_path / service / "keys")
            arguments = [endpoint, options.bucket, str(tmp_path / service), service]
            both.append(subprocess.Popen([sys.executable, "-c", PUBLISHER, *arguments], cwd=PROJECT))
        assert [process.wait(120) for process in both] == [0, 0]
        trust = Trust(store_at(options), tmp_path / "host", root)
        trust.refresh()
        assert len(trust.entries("artifacts")) == 4
        assert len(trust.releases()) == 4
        for release in trust.releases():
            trust.manifest(trust.pins(release).pins[0])
        assert [key for key in keys_in(options) if ".venvoy" in key] == []

    def test_publish_pin_and_install_by_the_command_line(self, options: S3Options, tmp_path: Path) -> None:
        site = SmallSite(tmp_path)
        site.release("1.0.0")
        place = f"s3://{options.bucket}/{options.prefix}"
        environ = {"VENVOY_S3_ENDPOINT": str(options.connection.endpoint), "VENVOY_STORE": place}
        keys = tmp_path / "s3-keys"
        build = tmp_path / "build" / "1.0.0"
        for arguments in (
            ("init", place, "--keys", keys),
            ("publish", build, "--keys", keys),
            ("pin", "1.0.0", build, "--keys", keys),
        ):
            done = venvoy(*arguments, env=environ)
            assert done.returncode == 0, done.stderr
        dest = tmp_path / "host" / "demo"
        dest.parent.mkdir()
        command = site.command("1.0.0", dest, "--json")
        command[command.index("--store") + 1] = place
        command[command.index("--root") + 1] = str(keys / "root.json")
        done = subprocess.run(
            command, env={**os.environ, **environ}, cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert json.loads(done.stdout)["changed"]
        ran = subprocess.run([dest / "bin/demo-manage", "x"], capture_output=True, text=True, check=True)
        assert ran.stdout == "demo 1.0.0 x\n"
