"""Many clients, many builds, and what an OpenAPI document allows a client to send."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.settings import database_path
from tests.service_site import ServiceSite

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILDS = "/api/v1/builds"
CLIENTS = 100
FINISHED = 5000
CPU_SECONDS = 0.1
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# It cannot know which texts are release specs: that some are refused is no fault.
NOT_CHECKED = "positive_data_acceptance"
EVENTS = f"{BUILDS}/{{build_id}}/events"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceSite]:
    site = ServiceSite(tmp_path_factory.mktemp("service"), options=("--rate", "10000000"))
    with site.running():
        yield site


def test_a_hundred_clients_are_one_build(site: ServiceSite) -> None:
    body = site.request("1.0.0", ("demo", "other"))
    token = site.token("build", "publish")
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(
            clients.map(
                lambda _: site.call("POST", BUILDS, token=token, json={**body, "publish": True}),
                range(CLIENTS),
            )
        )
    assert sorted(answer.status_code for answer in answers) == [200] * (CLIENTS - 1) + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    build = site.wait(answers[0].json()["id"])
    assert (build["state"], build["requests"]) == ("published", CLIENTS)
    assert [item["id"] for item in site.call("GET", BUILDS).json()["builds"]] == [build["id"]]
    assert site.texts(build["id"]).count("building release 1.0.0") == 1


@pytest.mark.slow
def test_five_thousand_builds_cost_little_to_show(site: ServiceSite) -> None:
    services = ("keystone", "glance", "placement", "nova", "neutron")
    build = site.wait(site.submit(site.request("2.0.0", services), publish=True)["id"])
    with contextlib.closing(sqlite3.connect(database_path(site.state), timeout=30)) as database:
        names = [
            row[1] for row in database.execute("PRAGMA table_info(builds)") if row[1] not in ("seq", "id")
        ]
        columns = ", ".join(names)
        ids = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(FINISHED)]
        with database:
            database.executemany(
                f"INSERT INTO builds (id, {columns}) SELECT ?, {columns} FROM builds WHERE id = ?",
                [(name, build["id"]) for name in ids],
            )
            database.execute("UPDATE builds SET release = 'r' || (seq % 200) WHERE id != ?", (build["id"],))
    shown = []
    for path in (
        "/",
        "/?state=published",
        "/?release=r7&state=published",
        f"/?before={FINISHED // 2}",
        f"/builds/{build['id']}",
        "/releases",
        BUILDS,
        f"{BUILDS}?limit=200",
        f"{BUILDS}?release=r7",
        f"{BUILDS}/{build['id']}",
        f"{BUILDS}/{build['id']}/log",
        f"{BUILDS}/{build['id']}/events",
        "/api/v1/releases",
        "/metrics",
        "/health",
    ):
        seconds = cpu_of_a_request(site, path)
        shown.append(f"{1000 * seconds:6.1f} ms  {path}")
        assert seconds < CPU_SECONDS, path
    print("", *shown, sep="\n")


def cpu_of_a_request(site: ServiceSite, path: str, times: int = 20) -> float:
    """Return the service's CPU time for one request, in seconds."""
    before = cpu(site)
    for _ in range(times):
        assert site.call("GET", path).status_code == 200
    return (cpu(site) - before) / times


def cpu(site: ServiceSite) -> float:
    assert site.process is not None
    fields = Path(f"/proc/{site.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(SCHEMATHESIS) is None, reason="schemathesis is not installed")
@pytest.mark.parametrize(
    "chosen",
    # What is retried again and again never ends: its events are asked for without that.
    [["--exclude-path", EVENTS], ["--include-path", EVENTS]],
    ids=["all-but-events", "events"],
)
def test_no_answer_is_undocumented_and_none_a_server_error(
    site: ServiceSite, tmp_path: Path, chosen: list[str]
) -> None:
    build = site.wait(site.submit(site.request("3.0.0"))["id"])
    if "--include-path" in chosen:
        (tmp_path / "schemathesis.toml").write_text(f'[parameters]\n"path.build_id" = "{build["id"]}"\n')
    token = site.token("read", "build", "publish")
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{site.url}/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *(
                "--exclude-checks",
                NOT_CHECKED,
                "--max-examples",
                "100",
                "--request-timeout",
                "60",
                "--no-color",
                *chosen,
            ),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    print(done.stdout[-1200:])
    assert "Traceback" not in site.log.read_text()
