"""Keys that are in a token or a key service: real PKCS #11, and AWS KMS as moto's server speaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_key_changes import Place
from tests.s3_server import SECRET_KEY, s3_server, set_credentials

_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
PIN = "CANARY-4711"


@pytest.mark.slow
def test_a_key_in_aws_kms_is_asked_and_its_signature_is_held_to_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto's server hashes the digest that it is to sign once more, so that its signature is wrong.

    So this shows that key and signature come over the wire, and that what does not verify is not published.
    """
    boto3 = pytest.importorskip("boto3")
    place = Place(tmp_path)
    set_credentials(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        client = boto3.client("kms")
        key = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["KeyId"]
        words = ["keys", "new", "releases", "--label", "away", "--uri", f"awskms:{key}"]
        made = place.run(*words, "--keys", place.keys)
        old = place.keyids("releases")[0]
        change = place.draft(f"--add=releases={made['public']}", f"--remove=releases={old[:16]}")
        place.run("keys", "sign", change, "--keys", place.keys, "--yes")
        before = place.keyids("releases")
        error = place.by(None, "keys", "apply", change, code=9)["error"]
        assert "0 of 1 signatures" in error
        assert place.keyids("releases") == before
        error = place.run(*words[:3], "--label=x", "--uri=awskms:nothing", "--keys", place.keys, code=7)
        assert "awskms:nothing" in error["error"]
    error = place.by(None, "keys", "apply", change, code=7)
    assert "releases does not sign" in error["error"]
    assert SECRET_KEY not in error["error"]
    assert place.host()["releases"] == ["1"]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A token of SoftHSM with one ECDSA key: its URI."""
    module = next((path for path in _MODULES if Path(path).exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM (softhsm2) is not installed")
    pkcs11: Any = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.setenv("PYKCS11LIB", module)
    made = ["--init-token", "--free", "--label", "venvoy root", "--pin", PIN, "--so-pin", "1234"]
    subprocess.run(["softhsm2-util", *made], check=True, capture_output=True, env=os.environ)
    from pkcs11.util.ec import encode_named_curve_parameters

    with pkcs11.lib(module).get_token(token_label="venvoy root").open(rw=True, user_pin=PIN) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        parameters.generate_keypair(store=True, id=b"\x02", label="root")
    return "hsm:2?label=venvoy+root"


def test_a_key_in_a_token_signs_the_root(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "site")
    monkeypatch.setenv("VENVOY_HSM_PIN", PIN)
    made = place.run("keys", "new", "root", "--label", "away", "--uri", token, "--keys", place.keys)
    old = place.keyids("root")[0]
    change = place.draft(f"--add=root={made['public']}", f"--remove=root={old[:16]}")
    place.run("keys", "sign", change, "--keys", place.keys, "--yes")
    (place.keys / "root.pem").unlink()
    place.by(None, "keys", "apply", change)
    change = place.draft("--renew", "root")
    monkeypatch.setenv("VENVOY_HSM_PIN", "")
    error = place.run("keys", "sign", change, "--keys", place.keys, "--yes", code=7)["error"]
    assert "VENVOY_HSM_PIN" in error
    assert PIN not in error
    monkeypatch.setenv("VENVOY_HSM_PIN", PIN)
    assert place.run("keys", "sign", change, "--keys", place.keys, "--yes")["lacking"] == []
    assert place.by(None, "keys", "apply", change)["changed"]
    assert place.host()["releases"] == ["1"]
    assert PIN not in "".join(path.read_text() for path in place.keys.glob("*.json"))
