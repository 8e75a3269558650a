"""The service as a process of its own, over HTTP, with real builds, a real store and real signals."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distributor.publishing.repository import open_repository
from distributor.stores.directory import DirectoryStore
from tests.service_site import ServiceSite, alive
from tests.small_site import PROJECT, venvoy

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILDS = "/api/v1/builds"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSite]:
    site = ServiceSite(tmp_path_factory.mktemp("service"))
    with site.running():
        yield site


def frozen_worker(site: ServiceSite, build_id: str) -> int:
    """Wait until *build_id* is at work, and stop its worker where it is; return the worker's pid."""
    deadline = time.monotonic() + 30
    while site.build(build_id)["state"] != "building" or not (pids := site.workers()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGSTOP)
    return pids[0]


def test_a_release_is_built_published_and_fetched(site: ServiceSite) -> None:
    body = site.request("1.0.0", ("demo", "other"))
    answer = site.call("POST", BUILDS, json={**body, "publish": True})
    assert answer.status_code == 201
    build = site.wait(answer.json()["id"])
    assert (build["state"], build["error"], build["requests"]) == ("published", None, 1)
    assert answer.headers["location"] == f"{BUILDS}/{build['id']}"
    assert {item["service"] for item in build["artifacts"]} == {"demo", "other"}
    signed = open_repository(DirectoryStore(site.site.store), site.keys, ()).trust.entries("artifacts")
    for file in build["files"]:
        data = site.call("GET", f"{BUILDS}/{build['id']}/files/{file['path']}").content
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["length"], file["sha256"])
    for artifact in build["artifacts"]:
        assert f"{artifact['manifest']}.gz" in signed
        stored = site.call("GET", f"/store/{artifact['tarball']}")
        assert hashlib.sha256(stored.content).hexdigest() == artifact["sha256"]
        part = site.call("GET", f"/store/{artifact['tarball']}", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, stored.content[10:20])
    again = site.call("POST", BUILDS, json=body)
    assert (again.status_code, again.json()["id"], again.json()["requests"]) == (200, build["id"], 2)
    assert again.json()["state"] == "published"


def test_events_tell_everything_and_go_on_where_they_were_cut(site: ServiceSite) -> None:
    build = site.submit(site.request("1.1.0"))
    text = site.call("GET", f"{BUILDS}/{build['id']}/events").text
    events = [
        dict(line.split(": ", 1) for line in event.splitlines()) for event in text.split("\n\n") if event
    ]
    assert events[-1] == {"event": "end", "data": '{"state": "built"}'}
    logs = [event for event in events if event["event"] == "log"]
    assert [json.loads(event["data"])["text"] for event in logs] == site.texts(build["id"])
    states = [json.loads(event["data"])["state"] for event in events if event["event"] == "build"]
    assert states[-1] == "built"
    later = site.call("GET", f"{BUILDS}/{build['id']}/events", headers={"Last-Event-ID": logs[0]["id"]}).text
    assert later.count("event: log") == len(logs) - 1


def test_pins_that_managers_signed_are_forwarded_and_the_store_is_read(
    site: ServiceSite, tmp_path: Path
) -> None:
    build = site.wait(site.submit(site.request("1.2.0"), publish=True)["id"])
    managers = tmp_path / "managers"
    managers.mkdir(mode=0o700)
    for name in ("releases.pem", "root.json"):
        shutil.copy2(site.site.keys / name, managers / name)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {site.token('read')}\n")
    (tmp_path / "netrc").chmod(0o600)
    file = tmp_path / "pins.json"
    stem = Path(build["artifacts"][0]["manifest"]).stem
    done = venvoy(
        *("pin", "1.2.0", stem, "--store", f"{site.url}/store", "--keys", managers, "--propose", file),
        env={"NETRC": str(tmp_path / "netrc")},
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(file.read_text())
    assert site.call("POST", "/api/v1/pins", token=site.token("build"), json=body).status_code == 403
    answer = site.call("POST", "/api/v1/pins", json=body)
    assert (answer.status_code, answer.json()) == (200, {"forwarded": ["pins/1.2.0.json"]})
    (release,) = site.call("GET", "/api/v1/releases").json()["releases"]
    assert (release["release"], release["pins"][0]["service"]) == ("1.2.0", "demo")
    assert "1.2.0" in site.call("GET", "/releases").text
    body["releases"] = body["releases"][:-4] + "AAAA"
    assert site.call("POST", "/api/v1/pins", json=body).status_code == 422


@pytest.mark.parametrize(
    ("scopes", "publish", "status"),
    [
        (("read",), False, 403),
        (("build",), True, 403),
        (("publish",), True, 403),
        (("build", "publish"), False, 422),
    ],
)
def test_scopes(site: ServiceSite, scopes: tuple[str, ...], publish: bool, status: int) -> None:
    body = {"spec": "", "locks": {}, "publish": publish}
    answer = site.call("POST", BUILDS, token=site.token(*scopes), json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "exit_code"}


def test_without_a_good_token_there_is_nothing_to_see(site: ServiceSite) -> None:
    for path in ("/", "/metrics", BUILDS, "/api/v1/releases", "/store/metadata/timestamp.json"):
        for token in ("", "venvoy_wrong", site.token("build")):
            answer = site.call("GET", path, token=token)
            assert answer.status_code == (403 if token == site.token("build") else 401), path
    browser = site.call("GET", "/", token="", auth=("me", site.token("read")))
    assert browser.status_code == 200
    assert "<h1>Builds" in browser.text
    # What changes something is never done for a password that a browser would send by itself.
    foreign = site.call("POST", BUILDS, token="", auth=("me", site.token("read", "build")), json={})
    assert foreign.status_code == 401
    assert site.call("GET", "/health", token="").json()["status"] == "ok"


def test_a_revoked_token_is_worthless_at_once(site: ServiceSite) -> None:
    made = venvoy("token", "leaver", "--state", site.state, "--json")
    secret = json.loads(made.stdout)["token"]
    assert site.call("GET", BUILDS, token=secret).status_code == 200
    assert secret.encode() not in b"".join(path.read_bytes() for path in site.state.glob("service.sqlite*"))
    assert venvoy("token", "leaver", "--state", site.state, "--revoke").returncode == 0
    assert site.call("GET", BUILDS, token=secret).status_code == 401
    assert secret not in site.log.read_text()


def test_what_cannot_be_built_fails_and_is_mended_by_a_retry(site: ServiceSite) -> None:
    body = site.request("2.0.0")
    (wheel,) = site.wheels.glob("demo-2.0.0*")
    hidden = wheel.rename(site.directory / wheel.name)
    build = site.wait(site.submit(body)["id"])
    assert (build["state"], build["exit_code"]) == ("failed", 5)
    assert f"{wheel.name} cannot be had" in build["error"]
    assert f"{wheel.name} cannot be had" in site.call("GET", f"/builds/{build['id']}").text
    hidden.rename(wheel)
    assert site.call("POST", f"{BUILDS}/{build['id']}/retry").status_code == 200
    assert site.wait(build["id"])["state"] == "built"
    assert site.call("POST", f"{BUILDS}/{build['id']}/cancel").status_code == 409
    assert site.submit(body, publish=True)["state"] == "queued"
    assert site.wait(build["id"])["state"] == "published"


def test_cancelling_what_works_and_what_waits(site: ServiceSite) -> None:
    first = site.submit(site.request("3.0.0"))
    worker = frozen_worker(site, first["id"])
    second, urgent = site.submit(site.request("3.0.1")), site.submit(site.request("3.0.2"), priority=5)
    assert site.call("POST", f"{BUILDS}/{second['id']}/cancel").json()["state"] == "cancelled"
    os.kill(worker, signal.SIGCONT)
    assert site.call("POST", f"{BUILDS}/{first['id']}/cancel").status_code == 200
    assert site.wait(first["id"])["state"] == "cancelled"
    assert not alive(worker)
    assert site.wait(urgent["id"])["state"] == "built"
    assert site.build(second["id"])["state"] == "cancelled"


def test_a_killed_worker_is_replaced(site: ServiceSite) -> None:
    build = site.submit(site.request("4.0.0"))
    os.kill(frozen_worker(site, build["id"]), signal.SIGKILL)
    build = site.wait(build["id"])
    assert build["state"] == "built"
    assert "its worker was ended by signal 9; trying again in 0.5 s" in site.texts(build["id"])


def test_a_killed_service_goes_on_with_what_it_accepted(site: ServiceSite) -> None:
    working = site.submit(site.request("5.0.0"), publish=True)
    worker = frozen_worker(site, working["id"])
    waiting = site.submit(site.request("5.0.1"))
    site.kill()
    deadline = time.monotonic() + 10
    while alive(worker):  # it dies with the service, even where it was stopped
        assert time.monotonic() < deadline
        time.sleep(0.01)
    site.start()
    assert site.wait(working["id"])["state"] == "published"
    assert site.wait(waiting["id"])["state"] == "built"


def test_there_is_one_service_for_one_state(site: ServiceSite) -> None:
    done = subprocess.run(
        [word if not word.startswith("127.") else "127.0.0.1:0" for word in site.command()],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 6, done.stderr
    assert "in use by another process" in done.stderr


def test_requests_that_are_too_large_are_refused_unread(site: ServiceSite) -> None:
    size = 33 * 1024 * 1024

    def endless() -> Iterator[bytes]:
        for _ in range(34):
            yield b" " * 1024 * 1024

    for options in ({"data": b" " * size}, {"data": endless()}):
        try:
            answer = site.call("POST", BUILDS, headers={"Content-Type": "application/json"}, **options)
        except OSError:  # the service hung up while we still sent: refused all the same
            continue
        assert answer.status_code == 413
    assert site.call("GET", "/health", token="").status_code == 200


def test_forwarded_headers_of_strangers_are_not_believed(site: ServiceSite) -> None:
    site.call("GET", "/health", token="", headers={"X-Forwarded-For": "203.0.113.9"})
    assert "203.0.113.9" not in site.log.read_text()


def test_figures_for_prometheus(site: ServiceSite) -> None:
    site.call("GET", BUILDS)
    text = site.call("GET", "/metrics").text
    assert 'venvoy_builds{state="published"}' in text
    assert 'venvoy_http_requests_total{method="GET",route="/api/v1/builds",status="200"}' in text


def test_a_signal_right_after_the_start_is_heeded(tmp_path: Path) -> None:
    site = ServiceSite(tmp_path)
    site.start()
    assert site.stop() == 0


def test_stopping_leaves_followers_and_builds_in_order(tmp_path: Path) -> None:
    site = ServiceSite(tmp_path, options=("--grace", "0"))
    with site.running():
        build = site.submit(site.request("6.0.0"))
        worker = frozen_worker(site, build["id"])
        follower = site.call("GET", f"{BUILDS}/{build['id']}/events", stream=True)
        lines = follower.iter_lines(decode_unicode=True)
        next(lines)
        os.kill(worker, signal.SIGCONT)
        assert site.stop() == 0
        assert "event: end" not in list(lines)
    with site.running():
        assert site.wait(build["id"])["state"] == "built"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--listen", "0.0.0.0:0"), 9, "tokens would travel in the clear to 0.0.0.0"),
        (("--trusted-proxy", "proxy.example"), 2, "'proxy.example' is no address or network"),
        (("--tls-cert", "x"), 2, "--tls-cert and --tls-key go together"),
        (("--", "--output", "/tmp"), 2, "--output is the service's own affair"),
    ],
)
def test_unsafe_settings_are_refused(tmp_path: Path, options: tuple[str, ...], code: int, said: str) -> None:
    done = venvoy("serve", "--state", tmp_path / "state", "--keys", tmp_path, *options)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("role", ["root", "targets", "releases"])
def test_keys_that_a_service_may_not_hold_are_refused(tmp_path: Path, role: str) -> None:
    (tmp_path / f"{role}.pem").write_text("")
    done = venvoy("serve", "--state", tmp_path / "state", "--keys", tmp_path)
    assert done.returncode == 9, done.stderr
    assert f"holds the keys of {role}, which no service may hold" in done.stderr
