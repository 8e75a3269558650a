"""Where the service meets strangers: TLS, a proxy in front of it, and too many requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import requests

from service.web.access import Limiter
from service.web.problems import TooMany
from tests.cluster import make_certificates
from tests.service_site import ServiceSite, written
from tests.small_site import venvoy

if TYPE_CHECKING:
    from pathlib import Path

CLIENT = "203.0.113.9"
RATE = 12


@pytest.mark.slow
def test_tls_a_named_proxy_and_a_rate(tmp_path: Path) -> None:
    folder = make_certificates(tmp_path / "certificates")
    site = ServiceSite(
        tmp_path,
        options=(
            *("--tls-cert", str(folder / "node.pem"), "--tls-key", str(folder / "node.key")),
            *("--trusted-proxy", "127.0.0.1", "--rate", str(RATE)),
        ),
    )
    authority = str(folder / "ca.pem")
    with site.running():
        assert site.url.startswith("https://")
        with pytest.raises(requests.exceptions.SSLError):
            site.call("GET", "/health", token="")
        forwarded = {"X-Forwarded-For": CLIENT}
        health = site.call("GET", "/health", token="", verify=authority, headers=forwarded)
        assert health.json()["status"] == "ok"
        assert f"{CLIENT}:0 - " in site.log.read_text()
        (tmp_path / "token").write_text(site.token("read", "build"))
        (tmp_path / "token").chmod(0o600)
        spec = written(tmp_path, site.request("1.0.0"))
        done = venvoy(
            *(
                "build",
                spec,
                "--remote",
                site.url,
                "--token-file",
                tmp_path / "token",
                "--no-fetch",
                "--json",
            ),
            env={"REQUESTS_CA_BUNDLE": authority},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "built"
        token = site.token("read")
        answers = [site.call("GET", "/api/v1/builds", token=token, verify=authority) for _ in range(RATE + 1)]
        assert [answer.status_code for answer in answers] == [200] * RATE + [429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        # Others are not in the way of each other.
        assert site.call("GET", "/metrics", token=site.token("read", "build"), verify=authority).ok


def test_bad_tokens_are_counted_by_address_and_good_ones_by_name() -> None:
    limiter = Limiter(3)
    for _ in range(60):
        limiter.failure("192.0.2.1")
    with pytest.raises(TooMany, match="too many requests; try again in") as caught:
        limiter.failure("192.0.2.1")
    assert int(caught.value.headers["Retry-After"]) >= 1
    limiter.failure("192.0.2.2")
    for _ in range(3):
        limiter.request("token ci")
    with pytest.raises(TooMany):
        limiter.request("token ci")
    limiter.request("token other")
