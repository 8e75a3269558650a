from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.documents import (
    MAX_DOCUMENT_BYTES,
    canonical_json,
    digest_of,
    parse_json,
    sha256_bytes,
    sha256_file,
    sha256_stream,
)
from manifests.errors import InvalidInput
from manifests.fields import Fields
from manifests.naming import artifact_stem, lock_file_name, release_name, safe_relative_path, service_name

if TYPE_CHECKING:
    from pathlib import Path

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), _VALUES, max_size=5))
def test_canonical_json_comes_back_and_order_does_not_matter(value: dict[str, object]) -> None:
    try:
        data = canonical_json(value)
    except UnicodeEncodeError:
        return
    assert parse_json(data, what="it") == value
    shuffled = dict(sorted(value.items(), key=lambda item: item[0][::-1]))
    assert canonical_json(shuffled) == data
    assert data.endswith(b"\n")


def test_canonical_json_is_this_text() -> None:
    assert canonical_json({"b": (1, None), "a": "ü\n"}) == '{"a":"ü\\n","b":[1,null]}\n'.encode()


@pytest.mark.parametrize("value", [1.5, {"a": [{"b": 0.0}]}, (float("nan"),)])
def test_floats_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no floats"):
        canonical_json(value)


def test_framing_tells_lists_apart() -> None:
    assert digest_of(["a", "bc"]) != digest_of(["ab", "c"]) != digest_of(["abc"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON object, found list"),
        (b'{"a":1,"a":1}', "a key stands twice"),
        (b'{"x":{"a":1,"a":2}}', "a key stands twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, "not valid JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (bytes(MAX_DOCUMENT_BYTES + 1), "more than a document may have"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_hostile_json_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^it: .*{said}"):
        parse_json(data, what="it")


def test_digests_of_bytes_files_and_streams_agree(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == sha256_bytes(data) == sha256_stream(io.BytesIO(data))


TOP = Fields(
    {
        "text": "a",
        "control": "a\nb",
        "half": "\ud800",
        "number": 3,
        "negative": -1,
        "huge": 2**53,
        "yes": True,
        "null": None,
        "texts": ["a", 1],
        "lines": ["a", "b\x00"],
        "matrix": [["a"], []],
        "counts": [1, True],
        "object": {"inner": {}},
        "objects": [{}, 3],
        "digest": "AB" * 32,
        "lists": {"k": ["v"], "bad\n": []},
    },
    "doc",
)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: TOP.text("gone"), "doc: 'gone' is missing"),
        (lambda: TOP.text("number"), "doc.number: expected str, found int"),
        (lambda: TOP.text("null"), "doc.null: expected str, found NoneType"),
        (lambda: TOP.text("control"), "doc.control: control characters are not allowed"),
        (lambda: TOP.text("half"), "doc.half: control characters are not allowed"),
        (lambda: TOP.count("yes"), "doc.yes: expected int, found bool"),
        (lambda: TOP.count("negative"), "doc.negative: -1 is out of range"),
        (lambda: TOP.count("huge"), "doc.huge: 9007199254740992 is out of range"),
        (lambda: TOP.flag("number", default=False), "doc.number: expected bool, found int"),
        (lambda: TOP.sha256("digest"), f"doc.digest: {'AB' * 32!r} is not a sha256"),
        (lambda: TOP.texts("texts"), "doc.texts[1]: expected str, found int"),
        (lambda: TOP.texts("lines"), "doc.lines[1]: control characters are not allowed"),
        (lambda: TOP.texts("text"), "doc.text: expected list, found str"),
        (lambda: TOP.text_matrix("matrix"), "doc.matrix[1]: expected a non-empty list of strings"),
        (lambda: TOP.counts("counts"), "doc.counts: expected a list of counts"),
        (lambda: TOP.object("texts"), "doc.texts: expected dict, found list"),
        (lambda: TOP.objects("objects"), "doc.objects[1]: expected an object, found int"),
        (lambda: TOP.object("object").object("inner").text("x"), "doc.object.inner: 'x' is missing"),
        (lambda: TOP.object("lists").text_lists(), "doc.lists.'bad\\n': control characters are not allowed"),
    ],
)
def test_errors_name_the_field(call: object, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value) == said


def test_absent_and_null_where_they_are_allowed() -> None:
    assert TOP.optional_text("gone") is None
    assert TOP.optional_text("null") is None
    assert TOP.texts("gone") == ()
    assert TOP.flag("gone", default=True)
    assert not TOP.has("null")
    assert TOP.objects("gone", required=False) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2.0", "doc: format 2.0 needs Venvoy >= 2.0 (this one reads format 1.x)"),
        ("0.9", "doc: format 0.9 needs Venvoy >= 0.0 (this one reads format 1.x)"),
        ("1", "doc.format: '1' is not major.minor"),
        ("1.0.0", "doc.format: '1.0.0' is not major.minor"),
        ("\u0661.\u0660", "doc.format: '\u0661.\u0660' is not major.minor"),
        ("1.99999", "doc.format: '1.99999' is not major.minor"),
    ],
)
def test_other_majors_are_refused_and_other_minors_are_not(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Fields({"format": text}, "doc").expect_format(1)
    assert str(caught.value) == said
    Fields({"format": "1.7"}, "doc").expect_format(1)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a\nb", "a\x7f", "\udc80"],
)
def test_paths_that_are_not_plain_and_relative_are_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match=r"^field: .* is not a plain relative path$"):
        safe_relative_path(path, what="field")


@pytest.mark.parametrize("path", ["a", "a/b", "...", ".a", "a..b", " a ", "ü/日本", "-a", "a\\b", "a:b"])
def test_other_paths_come_back_as_they_are(path: str) -> None:
    assert safe_relative_path(path, what="field") == path


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "a" * 101, "ü", "a\n", "_a"]
)
def test_service_names(name: str) -> None:
    assert service_name("a0_b-c") == "a0_b-c"
    with pytest.raises(InvalidInput, match="cannot name a service"):
        service_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a..b", "-1", "1-", "a/b", "a b", "a" * 101, "ü", "1.0\n"])
def test_release_names(name: str) -> None:
    assert release_name("2026.1.0-rc1+x_y") == "2026.1.0-rc1+x_y"
    with pytest.raises(InvalidInput, match="cannot name a release"):
        release_name(name)


def test_labels() -> None:
    target = "cp311-linux_x86_64-glibc2.36"
    assert lock_file_name("keystone", target) == "pylock.keystone-cp311-linux_x86_64-glibc2_36.toml"
    assert artifact_stem("keystone", "29.0.2", target, "ab" * 32) == f"keystone-29.0.2-{target}-abababababab"
    assert json.loads(canonical_json({"a": 1})) == {"a": 1}
