from __future__ import annotations

import pytest

from builder.conflicts import find_overlaps
from builder.layers.layer import LayerRecord
from manifests.artifact import Overlap
from manifests.documents import Sha256
from manifests.errors import Refused
from manifests.layout import SKELETON, TEMPLATES


def layer(name: str, **files: str) -> LayerRecord:
    digest = Sha256("0" * 64)
    return LayerRecord(
        key=digest,
        distribution=name,
        version="" if name == SKELETON else "1.0",
        length=0,
        sha256=digest,
        tar_length=0,
        tar_sha256=digest,
        members=0,
        files={path.replace("__", "/").replace("_DOT_", "."): content for path, content in files.items()},
    )


VENV = layer(SKELETON, bin__activate="a", lib64="lib")
VENV.files[f"{TEMPLATES}/activate.csh"] = "t"


def test_layers_that_share_nothing() -> None:
    assert find_overlaps([VENV, layer("a", lib__a="1"), layer("b", lib__b="1")]) == ()


def test_equal_bytes_are_recorded_in_order_of_paths_and_layers() -> None:
    layers = [layer("a", x="1", y="2"), layer("b", y="2"), layer("c", x="1", y="2")]
    assert find_overlaps(layers) == (Overlap(path="x", layers=(0, 2)), Overlap(path="y", layers=(0, 1, 2)))


def test_different_bytes_are_refused_naming_both_and_the_path() -> None:
    with pytest.raises(Refused) as caught:
        find_overlaps([layer("one", lib__x="1", lib__y="1"), layer("two", lib__x="2", lib__y="2")])
    assert str(caught.value).splitlines() == [
        "one 1.0 and two 1.0 both own lib/x, with different bytes",
        "one 1.0 and two 1.0 both own lib/y, with different bytes",
        "allow a path in the spec (allow-overlap) if the last one may win",
    ]


def test_a_third_layer_with_the_firsts_bytes_does_not_hide_the_second() -> None:
    with pytest.raises(Refused, match=r"a 1.0 and b 1.0"):
        find_overlaps([layer("a", x="1"), layer("b", x="2"), layer("c", x="1")])


def test_many_clashes_are_summed_up() -> None:
    many = {f"p{index}": "1" for index in range(40)}
    with pytest.raises(Refused) as caught:
        find_overlaps([layer("a", **many), layer("b", **dict.fromkeys(many, "2"))])
    assert str(caught.value).count("\n") == 11
    assert "... and 30 more" in str(caught.value)


@pytest.mark.parametrize("pattern", ["lib/x", "lib/*", "*", "l?b/[x]"])
def test_a_path_that_the_spec_allows_may_differ(pattern: str) -> None:
    layers = [layer("a", lib__x="1"), layer("b", lib__x="2")]
    assert find_overlaps(layers, [pattern]) == (Overlap(path="lib/x", layers=(0, 1)),)


@pytest.mark.parametrize("pattern", ["lib", "lib/X", "x", "lib/x/*"])
def test_other_patterns_allow_nothing(pattern: str) -> None:
    with pytest.raises(Refused):
        find_overlaps([layer("a", lib__x="1"), layer("b", lib__x="2")], [pattern])


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_where_another_has_a_folder_is_refused_always(order: int) -> None:
    layers = [layer("a", lib__x="1"), layer("b", lib__x__y="2")][::order]
    with pytest.raises(Refused, match=r"lib/x is a file of a 1.0 and a directory of b 1.0"):
        find_overlaps(layers, ["*"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("bin/activate", "the venv itself and a 1.0 both own bin/activate, with different bytes"),
        ("lib64/x", "lib64 is a file of the venv itself and a directory of a 1.0"),
        ("bin/activate.csh", "a 1.0 owns bin/activate.csh, which belongs to the venv itself"),
        ("bin", "bin is a file of a 1.0 and a directory of the venv itself"),
    ],
)
def test_the_venvs_own_files_are_never_given_up(path: str, said: str) -> None:
    wheel = layer("a")
    wheel.files[path] = "mine"
    with pytest.raises(Refused) as caught:
        find_overlaps([VENV, wheel], ["*"])
    assert said in str(caught.value).splitlines()
