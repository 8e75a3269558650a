"""Bills of materials: valid, complete, the same each time, and not led astray by what wheels carry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.small_site import SmallSite
from tests.wheel_factory import make_wheel, sha256

if TYPE_CHECKING:
    from builder.pipeline import BuiltArtifact

ROOT = Path(__file__).parents[3]
AUDITWHEEL = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.4",
    "version": 1,
    "metadata": {
        "component": {
            "type": "library",
            "bom-ref": "pkg:pypi/helper@2.0",
            "name": "helper",
            "version": "2.0",
            "purl": "pkg:pypi/helper@2.0",
        },
        "tools": [{"name": "auditwheel", "version": "6.4.0"}],
    },
    "components": [
        {
            "type": "library",
            "bom-ref": "pkg:rpm/almalinux/zlib@1.2.11#1",
            "name": "zlib",
            "version": "1.2.11",
            "purl": "pkg:rpm/almalinux/zlib@1.2.11",
        },
        {"type": "library", "name": "without-a-reference"},
    ],
    "dependencies": [{"ref": "pkg:pypi/helper@2.0", "dependsOn": ["pkg:rpm/almalinux/zlib@1.2.11#1"]}],
}


def metadata(name: str, version: str, *lines: str) -> bytes:
    return "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines, ""]).encode()


def helper(folder: Path, sboms: dict[str, bytes], *lines: str, name: str = "helper") -> Path:
    files = {
        f"{name}.py": b"",
        **{f"{name}-2.0.dist-info/sboms/{path}": data for path, data in sboms.items()},
    }
    return make_wheel(folder, name, "2.0", files, metadata=metadata(name, "2.0", *lines))


def build(folder: Path, *wheels: Path, requires: tuple[str, ...] = ()) -> BuiltArtifact:
    site = SmallSite(folder, described=True)
    demo = make_wheel(
        folder / "wheels",
        "demo",
        "1.0",
        metadata=metadata(
            "demo", "1.0", "Summary: A demo", "License-Expression: Apache-2.0 OR MIT", *requires
        ),
    )
    return site.build("1.0", "demo", [demo, *wheels])


def bill(built: BuiltArtifact) -> dict[str, Any]:
    """Return the bill of *built*, which must be valid by the schema."""
    text = sbom_file(built).read_text(encoding="utf-8")
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert problem is None, problem
    value: dict[str, Any] = json.loads(text)
    return value


def sbom_file(built: BuiltArtifact) -> Path:
    output = built.manifest.parents[2]
    return output / f"sbom/{built.artifact.service}/{built.artifact.stem}.cdx.json"


def by_name(value: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in value["components"]}


def test_every_wheel_stands_in_it_with_licence_digest_and_purl(tmp_path: Path) -> None:
    wheel = helper(tmp_path, {}, "License: BSD", "Classifier: License :: OSI Approved :: MIT License")
    built = build(tmp_path, wheel, requires=("Requires-Dist: helper>=1",))
    value = bill(built)
    root = value["metadata"]["component"]
    assert (root["name"], root["version"]) == ("demo", "1.0")
    assert root["hashes"] == [{"alg": "SHA-256", "content": built.artifact.sha256}]
    found = by_name(value)
    assert sorted(found) == ["demo", "helper"]
    assert found["demo"]["description"] == "A demo"
    assert found["demo"]["licenses"] == [{"acknowledgement": "declared", "expression": "Apache-2.0 OR MIT"}]
    assert found["helper"]["licenses"] == [{"license": {"acknowledgement": "declared", "name": "BSD"}}]
    assert found["helper"]["hashes"] == [{"alg": "SHA-256", "content": sha256(wheel)}]
    assert found["helper"]["purl"] == "pkg:pypi/helper@2.0?file_name=helper-2.0-py3-none-any.whl"


def test_dependencies_are_those_that_hold_for_the_target(tmp_path: Path) -> None:
    wheels = [helper(tmp_path, {}, name=name) for name in ("helper", "other", "extra")]
    built = build(
        tmp_path,
        *wheels,
        requires=(
            "Requires-Dist: helper[more]>=1 ; sys_platform == 'linux'",
            "Requires-Dist: other ; sys_platform == 'win32'",
            "Requires-Dist: not a requirement",
            "Requires-Dist: extra ; extra == 'unasked'",
        ),
    )
    edges = {item["ref"]: item.get("dependsOn", []) for item in bill(built)["dependencies"]}
    assert edges["pkg:pypi/demo@1.0"] == ["pkg:pypi/helper@2.0"]
    assert edges[f"artifact:{built.artifact.stem}"] == [
        "pkg:pypi/demo@1.0",
        "pkg:pypi/extra@2.0",
        "pkg:pypi/other@2.0",
    ]


def test_bills_that_wheels_carry_are_part_of_it(tmp_path: Path) -> None:
    data = json.dumps(AUDITWHEEL).encode()
    wheels = [
        helper(tmp_path, {"auditwheel.cdx.json": data}),
        helper(tmp_path, {"auditwheel.cdx.json": data}, name="second"),
    ]
    found = by_name(bill(build(tmp_path, *wheels)))
    for name in ("helper", "second"):
        inner = {item["name"]: item for item in found[name]["components"]}
        assert set(inner) == {"helper", "zlib", "without-a-reference"}
        assert inner["zlib"]["purl"] == "pkg:rpm/almalinux/zlib@1.2.11"
        reference = found[name]["externalReferences"][0]
        assert reference["url"].endswith(f"site-packages/{name}-2.0.dist-info/sboms/auditwheel.cdx.json")
    refs = [item["bom-ref"] for name in ("helper", "second") for item in found[name]["components"]]
    assert len(set(refs)) == 6


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("broken.cdx.json", b"{"),
        ("other.spdx.json", b'{"spdxVersion": "SPDX-2.3"}'),
        ("text.spdx", b"SPDXVersion: SPDX-2.3\n"),
        ("deep.cdx.json", b'{"bomFormat":"CycloneDX","components":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        ("types.cdx.json", b'{"bomFormat":"CycloneDX","components":[{"type":"library","name":7}, 8]}'),
        ("kinds.cdx.json", b'{"bomFormat":"CycloneDX","components":{"name":"x"}}'),
    ],
)
def test_a_bill_that_cannot_be_read_is_referred_to_and_left_out(
    tmp_path: Path, name: str, data: bytes
) -> None:
    component = by_name(bill(build(tmp_path, helper(tmp_path, {name: data}))))["helper"]
    assert "components" not in component
    assert component["externalReferences"][0]["url"].endswith(f"/sboms/{name}")
    assert [item["value"] for item in component["properties"] if "not-read" in item["name"]]


def test_the_bytes_depend_on_the_inputs_alone(tmp_path: Path) -> None:
    texts = set()
    for seed in ("1", "2"):
        folder = tmp_path / seed
        code = (
            "import json, sys; from pathlib import Path; "
            "from tests.builder.describing.test_sbom import *; folder = Path(sys.argv[1]); "
            "data = json.dumps(AUDITWHEEL).encode(); "
            "wheel = helper(folder, {'a.cdx.json': data}, 'Requires-Dist: demo'); "
            "print(sbom_file(build(folder, wheel)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}"},
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(Path(done.stdout.strip()).read_bytes())
    assert len(texts) == 1


def test_a_wheel_that_was_changed_since_is_refused(tmp_path: Path) -> None:
    from builder.describing.wheel_facts import read_wheel_facts
    from manifests.errors import VerificationFailed

    wheel = helper(tmp_path, {})
    digest = sha256(wheel)
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(VerificationFailed, match="expected"):
        read_wheel_facts(wheel, digest)


def test_what_lacks_beside_an_artifact_is_written_again(tmp_path: Path) -> None:
    site = SmallSite(tmp_path, described=True)
    wheel = helper(tmp_path, {})
    first = site.build("1.0", "helper", [wheel])
    before = sbom_file(first).read_bytes()
    assert site.build("1.0", "helper", [wheel]).unchanged
    sbom_file(first).unlink()
    assert not site.build("1.0", "helper", [wheel]).unchanged
    assert sbom_file(first).read_bytes() == before
