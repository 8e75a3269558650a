"""Releases that managers sign away from the store, and who forwards them: nothing is taken on trust."""

from __future__ import annotations

import base64
import json
import re
import shutil
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from distributor.publishing.forwarding import forward
from distributor.publishing.proposing import open_proposing
from distributor.publishing.repository import RENEW_ROLES, open_repository
from distributor.stores.directory import DirectoryStore
from manifests.errors import InvalidInput, NotFound, Refused, VerificationFailed
from manifests.proposal import Proposal
from tests.small_site import SmallSite, venvoy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from manifests.errors import VenvoyError


class Managed:
    """A site whose managers have the key of releases alone, and whose publisher has all keys but theirs."""

    def __init__(self, folder: Path) -> None:
        self.site = SmallSite(folder / "site")
        self.store = DirectoryStore(self.site.store)
        self.folder = folder
        self.managers = self._keys("managers", ("releases",))
        self.publisher = self._keys("publisher", ("snapshot", "timestamp"))
        self.built = {name: self.site.release(name, publish=False) for name in ("1.0.0", "1.1.0")}
        self.site.publish(*self.built.values())

    def _keys(self, name: str, roles: tuple[str, ...]) -> Path:
        keys = self.folder / name
        keys.mkdir(mode=0o700)
        for file in (*(f"{role}.pem" for role in roles), "root.json"):
            shutil.copy2(self.site.keys / file, keys / file)
        return keys

    def pin(self, release: str) -> Proposal:
        """Sign *release* as a manager does."""
        repository, proposal = open_proposing(self.store, self.managers)
        repository.pin(release, repository.pins_for([self.built[release].artifact]))
        signed = proposal()
        assert signed is not None
        return Proposal.from_json(signed.to_json())

    def forward(self, proposal: Proposal) -> tuple[str, ...]:
        return forward(open_repository(self.store, self.publisher, RENEW_ROLES), proposal).paths

    def state(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.site.store.rglob("*") if path.is_file()}


@pytest.fixture
def managed(tmp_path: Path) -> Managed:
    return Managed(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Managed:
    """A site of which nothing may change."""
    return Managed(tmp_path_factory.mktemp("managed"))


def test_hosts_see_what_was_signed_elsewhere_and_forwarded(managed: Managed, tmp_path: Path) -> None:
    store = ("--store", str(managed.site.store))
    manager, publisher = ("--keys", str(managed.managers)), ("--keys", str(managed.publisher))
    before = managed.state()
    stem = managed.built["1.0.0"].artifact.stem
    done = venvoy("pin", "1.0.0", stem, *store, *manager, "--propose", tmp_path / "pin.json")
    assert done.returncode == 0, done.stderr
    assert managed.state() == before  # the store was only read
    done = venvoy("forward", tmp_path / "pin.json", *store, *publisher, "--json")
    assert json.loads(done.stdout)["forwarded"] == ["pins/1.0.0.json"], done.stderr
    assert managed.site.install("1.0.0", tmp_path / "venv")["changed"]
    why = ("--why", "tested")
    done = venvoy("promote", "1.0.0", "stable", *why, *store, *manager, "--propose", tmp_path / "move.json")
    assert done.returncode == 0, done.stderr
    done = venvoy("forward", tmp_path / "move.json", *store, *publisher)
    assert done.stdout == "forwarded channels/stable.1.json\n", done.stderr


def test_once_more_changes_nothing(managed: Managed) -> None:
    proposal = managed.pin("1.0.0")
    assert managed.forward(proposal) == ("pins/1.0.0.json",)
    after = managed.state()
    assert managed.forward(proposal) == ()
    assert managed.state() == after


def test_two_proposals_on_one_state_do_not_both_count(managed: Managed) -> None:
    first, second = managed.pin("1.0.0"), managed.pin("1.1.0")
    managed.forward(first)
    before = managed.state()
    with pytest.raises(Refused, match="does not follow the store's present state"):
        managed.forward(second)
    assert managed.state() == before
    assert managed.forward(managed.pin("1.1.0")) == ("pins/1.1.0.json",)


def test_a_proposal_that_expired_is_refused(untouched: Managed) -> None:
    proposal = untouched.pin("1.0.0")
    repository = open_repository(untouched.store, untouched.publisher, RENEW_ROLES)
    with pytest.raises(VerificationFailed, match="the proposal expired at"):
        forward(repository, proposal, now=datetime.now(timezone.utc) + timedelta(days=366))


def test_managers_cannot_forward_and_publishers_cannot_propose(untouched: Managed) -> None:
    with pytest.raises(NotFound, match=r"snapshot\.pem"):
        open_repository(untouched.store, untouched.managers, RENEW_ROLES)
    with pytest.raises(NotFound, match=r"releases\.pem"):
        open_proposing(untouched.store, untouched.publisher)


def _flip(value: dict[str, Any]) -> None:
    metadata = json.loads(base64.b64decode(value["releases"]))
    metadata["signed"]["expires"] = "2099-01-01T00:00:00Z"
    value["releases"] = base64.b64encode(json.dumps(metadata).encode()).decode()


def _drop(value: dict[str, Any]) -> None:
    del value["documents"]["pins/1.0.0.json"]


def _change(value: dict[str, Any]) -> None:
    value["documents"]["pins/1.0.0.json"] = base64.b64encode(b"{}").decode()


def _add(value: dict[str, Any]) -> None:
    value["documents"]["artifacts/demo/evil.json.gz"] = ""


def _climb(value: dict[str, Any]) -> None:
    value["documents"]["../../evil"] = ""


def _garbage(value: dict[str, Any]) -> None:
    value["releases"] = base64.b64encode(b"[]").decode()


@pytest.mark.parametrize(
    ("tamper", "kind", "said"),
    [
        (_flip, VerificationFailed, "is not signed by the store's release managers (0 of 1 signatures)"),
        (_drop, InvalidInput, "lacks pins/1.0.0.json, or holds other bytes than were signed"),
        (_change, InvalidInput, "lacks pins/1.0.0.json, or holds other bytes than were signed"),
        (_add, InvalidInput, "holds artifacts/demo/evil.json.gz, which nobody signed"),
        (_climb, InvalidInput, "is not a plain relative path"),
        (_garbage, InvalidInput, "holds no signed metadata"),
    ],
)
def test_a_proposal_that_was_tampered_with_changes_nothing(
    untouched: Managed, tamper: Callable[[dict[str, Any]], None], kind: type[VenvoyError], said: str
) -> None:
    value = json.loads(untouched.pin("1.0.0").to_json())
    tamper(value)
    before = untouched.state()
    with pytest.raises(kind, match=re.escape(said)):
        untouched.forward(Proposal.from_json(json.dumps(value).encode()))
    assert untouched.state() == before
    assert not list(untouched.folder.rglob("evil*"))
