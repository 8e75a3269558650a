"""``python -m benchmarks.plays``: the role on fresh hosts beside what it replaces, by real plays.

Each run has a host of its own: an overlay of this machine's files that writes into memory, reached by
chroot, so that neither a network nor a disk is measured. All contenders install the same wheels of keystone
for the same Python, from servers on the loopback. What a play without tasks takes is taken off. The
second run is timed on a host that is as wanted, beside a play that gathers facts and does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.lab import RELEASE, ROOT, Built, Lab, remove
from benchmarks.measure import BenchmarkError, Contender, Meter, Sample, Series, race
from benchmarks.play_texts import EMPTY, FACTS, PATTERN_OF_2018, PIP, ROLE
from manifests.documents import sha256_file
from tests.distributor.ansible.playground import Playground
from tests.distributor.ansible.web import Nginx, free_port
from tests.overlay_hosts import overlay_hosts, why_not

_SERVICE = "keystone"
_VENV = f"/openstack/venvs/{_SERVICE}-29.0.2"
_SECOND_RUN_BAR = 2.0


class Plays:
    """What all contenders need, and the host of the run that is at hand."""

    def __init__(self, lab: Lab, servers: dict[str, str], archive: Path) -> None:
        self.lab = lab
        self.archive = archive
        self.meter = lab.meter
        self.variables: dict[str, Any] = {
            "python": str(lab.python),
            "venv": _VENV,
            "requirements": (lab.requirements).read_text(encoding="utf-8"),
            "wheels": servers["wheels"],
            "virtualenv": f"{sys.executable} -m virtualenv",
            "archive": f"{servers['old']}/{_SERVICE}.tgz",
            "archive_sha256": sha256_file(lab.work / f"old/{_SERVICE}.tgz"),
            "venv_install_destination_path": _VENV,
            "venv_python_executable": str(lab.python),
            "venv_artifact_store": servers["store"],
            "venv_artifact_release": RELEASE,
            "venv_artifact_root": str(lab.work / "keys/root.json"),
            "venv_pip_packages": [_SERVICE],
            "venv_facts_when_changed": [
                {"section": _SERVICE, "option": option, "value": value}
                for option, value in (
                    ("need_db_expand", True),
                    ("need_db_contract", True),
                    ("venv_tag", RELEASE),
                    ("install_method", "source"),
                )
            ],
        }
        self._host = ExitStack()
        self._ground: Playground | None = None

    def fresh_host(self) -> None:
        """Throw the host away and make another one."""
        self.close()
        folder = self.lab.work / "plays"
        roots = self._host.enter_context(overlay_hosts(folder / "hosts", ["web1"]))
        self._ground = Playground(folder / "controller", roots, self.archive)
        self._ground.variables |= self.variables

    def close(self) -> None:
        """Throw the host away."""
        self._host.close()
        self._host, self._ground = ExitStack(), None

    def play(self, text: str, *options: str) -> Sample:
        """Run a play on the host of the moment."""
        assert self._ground is not None
        command, environment = self._ground.command(text, *options)
        return self.meter.run(command, {**environment, "ANSIBLE_PYTHON_INTERPRETER": str(self.lab.python)})

    def works(self, _: Sample) -> None:
        """See that keystone is there and starts."""
        assert self._ground is not None
        assert self._ground.run("web1", f"{_VENV}/bin/{_SERVICE}-manage", "--version").strip()

    def contender(self, name: str, text: str, *, installs: bool = True) -> Contender:
        return Contender(
            name=name,
            run=lambda: self.play(text),
            reset=self.fresh_host,
            check=self.works if installs else lambda _: None,
        )


def main() -> int:
    """Run it and return the exit status: 0 all bars met, 1 some missed, 2 not measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plays", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--work", type=Path, default=ROOT / "var/bench", metavar="DIR", help="(var/bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--ours-only", action="store_true", help="leave the peers out")
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work: Path = arguments.work.absolute()
    why = why_not()
    if why:
        sys.stderr.write(f"benchmarks: {why}\n")
        return 2
    if arguments.servers is not None:
        return _measure(work, arguments, json.loads(arguments.servers))
    lab = _prepared(work)
    # The measuring process waits for all that it started: servers must not be its children.
    with _served(lab) as servers:
        command = [sys.executable, "-m", "benchmarks.plays", *sys.argv[1:], "--servers", json.dumps(servers)]
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def _prepared(work: Path) -> Lab:
    """Have wheels, a store, the host part's archive, and what the pattern of 2018 downloads."""
    lab = _lab(work)
    lab.prepare_wheels(every_service=False)
    built = lab.built()
    lab.store(built)
    lab.prepare_peers(built)
    remove(work / "tool")
    lab.venvoy_run("tool", "-t", str(lab.target), "-o", work / "tool")
    _archive_of_2018(lab, built)
    return lab


def _lab(work: Path) -> Lab:
    return Lab(work, _SERVICE, Meter(work / "logs"), lambda text: print(text, file=sys.stderr))


def _archive_of_2018(lab: Lab, built: Built) -> None:
    """Pack a venv that pip made, as repo servers did."""
    tree, archive = lab.work / "old" / _SERVICE, lab.work / "old" / f"{_SERVICE}.tgz"
    stamp = lab.work / "old/made-of"
    if archive.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == built.artifact.identity:
        return
    remove(tree)
    tree.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [lab.python, "-m", "venv", tree],
        [
            *(tree / "bin/python", "-m", "pip", "install", "-q", "--no-index", "--find-links", lab.flat),
            *("-r", lab.requirements),
        ],
        ["tar", "-C", tree, "-czf", archive, "."],
    ):
        lab.meter.run(command, os.environ)
    stamp.write_text(built.artifact.identity, encoding="utf-8")


@contextmanager
def _served(lab: Lab) -> Iterator[dict[str, str]]:
    """Yield where nginx serves the store, the wheels and the archive."""
    remove(lab.work / "nginx")
    server, port = Nginx(lab.work / "nginx"), free_port()
    places = {"store": lab.work / "store", "wheels": lab.flat, "old": lab.work / "old"}
    locations = "".join(
        f"location /{name}/ {{ alias {path}/; autoindex on; }}" for name, path in places.items()
    )
    settings = f"server {{ listen 127.0.0.1:{port}; gzip off; sendfile on; {locations} }}\n"
    (server.folder / "conf.d/places.conf").write_text(settings, encoding="utf-8")
    server.start()
    try:
        yield {name: f"http://127.0.0.1:{port}/{name}" for name in places}
    finally:
        server.stop()


def _measure(work: Path, arguments: argparse.Namespace, servers: dict[str, str]) -> int:
    lab = _lab(work)
    plays = Plays(lab, servers, next((work / "tool").glob("artifacts/*/*.tar.gz")))
    contenders = [plays.contender("empty", EMPTY, installs=False), plays.contender("role", ROLE)]
    if not arguments.ours_only:
        contenders += [plays.contender("pip", PIP), plays.contender("2018", PATTERN_OF_2018)]
    try:
        found = race(contenders, arguments.runs, work)
        plays.fresh_host()
        plays.play(ROLE)
        again = [
            Contender(name="facts", run=lambda: plays.play(FACTS + EMPTY)),
            Contender(name="again", run=lambda: plays.play(FACTS + ROLE), check=_changed_nothing),
        ]
        found |= race(again, max(arguments.runs, 5), work)
    except BenchmarkError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 2
    finally:
        plays.close()
        lab.empty_trash()
    if arguments.json:
        samples = {
            name: [{"wall": one.wall, "cpu": one.cpu} for one in series.samples]
            for name, series in found.items()
        }
        arguments.json.write_text(json.dumps(samples, indent=2) + "\n", encoding="utf-8")
    return 0 if _report(found) else 1


def _changed_nothing(sample: Sample) -> None:
    if "changed=0" not in sample.output:
        raise BenchmarkError("the second run changed something")


def _report(found: dict[str, Series]) -> bool:
    """Print the figures and return whether all bars are met."""
    for name, series in found.items():
        walls = ", ".join(f"{sample.wall:.2f}" for sample in series.samples)
        print(f"{name:<6} wall {series.wall:6.2f} s  cpu {series.cpu:6.2f} s  (wall of each: {walls})")
    met = True
    for peer, bar, words in (
        ("pip", 1 / 6, "venv and pip from ready wheels"),
        ("2018", 0.5, "get_url, unarchive, sed, virtualenv"),
    ):
        if peer not in found:
            continue
        wall, cpu = (_ratio(found, peer, cost) for cost in (lambda s: s.wall, lambda s: s.cpu))
        met = met and wall <= bar
        verdict = "met" if wall <= bar else "missed"
        print(
            f"role / {peer}: {wall:.3f} wall (1/{1 / wall:.1f}), {cpu:.3f} cpu (1/{1 / cpu:.1f}); "
            f"bar {bar:.3f} {verdict} ({words})"
        )
    beyond = zip(found["again"].samples, found["facts"].samples, strict=True)
    pairs = [(again.wall - facts.wall, again.cpu - facts.cpu) for again, facts in beyond]
    wall, cpu = (statistics.median(costs) for costs in zip(*pairs, strict=True))
    met = met and wall <= _SECOND_RUN_BAR
    verdict = "met" if wall <= _SECOND_RUN_BAR else "missed"
    print(
        f"second run: {wall:.2f} s wall, {cpu:.2f} s cpu beyond gathering facts; "
        f"bar {_SECOND_RUN_BAR:.1f} s {verdict}"
    )
    print(f"load average of the last five minutes: {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")
    return met


def _ratio(found: dict[str, Series], peer: str, cost: Callable[[Sample], float]) -> float:
    """Return the median of the ratios of runs that followed each other, without what an empty play costs."""
    runs = zip(found["role"].samples, found[peer].samples, found["empty"].samples, strict=True)
    return statistics.median(
        (cost(ours) - cost(empty)) / (cost(theirs) - cost(empty)) for ours, theirs, empty in runs
    )


if __name__ == "__main__":
    sys.exit(main())
