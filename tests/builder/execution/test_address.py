from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.execution.address import cluster_address
from manifests.errors import InvalidInput, NotFound, Refused


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    paths = {"authority": "ca.pem", "certificate": "node.pem", "key": "node.key"}
    for name in paths.values():
        (tmp_path / name).touch(mode=0o600)
    return {option: tmp_path / name for option, name in paths.items()}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "[::1]"])
def test_plain_tcp_is_for_loopback(host: str) -> None:
    address = cluster_address(f"tcp://{host}:8786")
    assert (address.scheme, address.credentials) == ("tcp", None)


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "0.0.0.0", "scheduler", "localhost.example.org", "127.0.0.1.example.org", "[::]"]
)
def test_plain_tcp_off_loopback_is_refused_by_name(host: str, files: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"plain tcp is for this machine alone .* use tls:// with --cluster-ca"):
        cluster_address(f"tcp://{host}:8786", **files)


def test_tls_takes_certificates_of_both_sides(files: dict[str, Any]) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    address = cluster_address("tls://scheduler:8786", **files)
    assert address.scheme == "tls"
    security = address.security()
    assert security.require_encryption
    for role in ("client", "worker", "scheduler"):
        assert security.get_tls_config_for_role(role)["key"] == str(files["key"])


@pytest.mark.parametrize("lacking", ["authority", "certificate", "key"])
def test_tls_without_a_certificate_is_refused(lacking: str, files: dict[str, Any]) -> None:
    option = {"authority": "--cluster-ca", "certificate": "--cluster-cert", "key": "--cluster-key"}[lacking]
    with pytest.raises(InvalidInput, match=f"TLS needs a certificate on both sides; name {option}$"):
        cluster_address("tls://scheduler:8786", **{**files, lacking: None})


def test_a_missing_file_is_named(files: dict[str, Any]) -> None:
    files["certificate"].unlink()
    with pytest.raises(NotFound, match=r"--cluster-cert .*node\.pem: no such file"):
        cluster_address("tls://scheduler:8786", **files)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused(mode: int, files: dict[str, Any]) -> None:
    files["key"].chmod(mode)
    with pytest.raises(Refused, match="others can read this key; run chmod 600"):
        cluster_address("tls://scheduler:8786", **files)


@pytest.mark.parametrize(
    "text",
    ["scheduler:8786", "tls://scheduler", "ucx://a:1", "tls://:8786", "tls://a:99999", "tls://u:p@a:1", ""],
)
def test_what_is_no_address_is_said(text: str, files: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="one looks like tls://scheduler:8786"):
        cluster_address(text, **files)
