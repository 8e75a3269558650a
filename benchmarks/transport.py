"""Figures of transport: installs over HTTP, and the bytes that an upgrade takes."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.figures import Plan, Row, against, expect_venv, temporary
from benchmarks.lab import RELEASE, ROOT, Built, Lab, quoted, read_built, remove
from benchmarks.measure import BenchmarkError, Contender, Sample, race
from benchmarks.wire import Relay, served

_OLD_SPECS = {"33.0.0": ROOT / "examples/bench/nova-33.0.0", "32.2.1": ROOT / "examples/bench/nova-32.2.1"}
_NEW = "33.0.2"
_MB = 1_000_000
_KB = 1000


def over_http(plan: Plan) -> None:
    """http: a fresh install over HTTP, against a directory store, and against curl piped into tar."""
    lab = plan.lab
    built = lab.built()
    lab.store(built)
    curl = shutil.which("curl")
    if curl is None:
        raise BenchmarkError("curl is not on this machine")
    with temporary(lab, plan.tmpfs) as place, served(lab.work / "store") as server:

        def install(name: str, store: str | Path) -> Contender:
            # A folder of its own: layers are not fetched that can be had from a venv beside.
            home = place / name
            venv, state = home / "venv", home / "state"

            def reset() -> None:
                lab.aside(home)
                home.mkdir()

            return Contender(
                name=name,
                reset=reset,
                run=lambda: _install(lab, RELEASE, venv, state, store, lab.work / "keys"),
                check=lambda _: expect_venv(venv, built),
            )

        tree = place / "curl"
        pipe = (
            f"mkdir {quoted(tree)}; {quoted(Path(curl))} -sf {server.url}{built.artifact.tarball_path}"
            f" | {quoted(lab.tools['tar'])} --zstd -x -C {quoted(tree)}"
        )
        contenders = [
            install("http", server.url.rstrip("/")),
            install("directory", lab.work / "store"),
            Contender(
                name="curl and tar",
                reset=lambda: lab.aside(tree),
                run=lambda: lab.meter.run([lab.tools["sh"], "-ec", pipe], lab.environment),
                check=lambda _: expect_venv(tree, built),
            ),
        ]
        series = race(contenders, max(plan.runs, 1 if plan.quick else 5), place)
    plan.results.keep("over HTTP", series)
    rows = plan.results.rows
    rows.append(
        against(
            "http", "fresh install, against a directory store", series, ("http", "directory"), (1.3, 1.15)
        )
    )
    rows.append(
        against(
            "http",
            "the same against curl piped into tar --zstd -x",
            series,
            ("http", "curl and tar"),
            (0.8, 0.7),
        )
    )


def bytes_on_the_wire(plan: Plan) -> None:
    """upgrade: all bytes of an upgrade over HTTP, metadata and headers included, against casync and zstd."""
    lab = plan.lab
    if lab.service != "nova":
        raise BenchmarkError("upgrades are measured with nova")
    new = lab.built()
    for old_version, spec in _OLD_SPECS.items():
        old = _built(lab, spec / "release.toml", lab.work / f"built/nova-{old_version}")
        place = lab.work / f"upgrade-{old_version}"
        remove(place)
        place.mkdir()
        count = _upgrade(lab, old, new, old_version, place)
        peers = _peers(lab, old, new, place, thorough=old_version == "32.2.1")
        small = old_version == "33.0.0"
        what = f"nova {old_version} -> {_NEW}, all bytes"
        shown = f"{count / _KB:.0f} kB" if small else f"{count / _MB:.2f} MB"
        casync = peers["casync"]
        if small:
            plan.results.rows.append(
                Row(
                    figure="upgrade",
                    what=what,
                    ours=shown,
                    peer="",
                    value=count / _KB,
                    unit="kB",
                    bar=240,
                    aim=150,
                )
            )
        for name, bar, aim in (("casync", 1 / 3, 1 / 5), ("zstd", 1.25, 1.1)):
            size = casync if name == "casync" else peers.get("zstd")
            if size:
                plan.results.rows.append(
                    Row(
                        figure="upgrade", what=f"{what}, against {name}", ours=shown,
                        peer=f"{size / _MB:.2f} MB", value=count / size, unit="x", bar=bar, aim=aim,
                    )
                )  # fmt: skip
        lab.aside(place)
    _neighbours(plan)


def _upgrade(lab: Lab, old: Built, new: Built, release: str, place: Path) -> int:
    """Publish and install *old*, then *new*; return the bytes over the wire of the second install."""
    store, keys = place / "store", place / "keys"
    lab.venvoy_run("init", store, "--keys", keys)
    with served(store) as server:
        relay = Relay(server.server_address[1])
        try:
            for built, name in ((old, release), (new, _NEW)):
                lab.venvoy_run("publish", built.output, "--store", store, "--keys", keys)
                lab.venvoy_run("pin", name, built.output, "--store", store, "--keys", keys)
                before = relay.count
                _install(lab, name, place / "venv", place / "state", relay.url, keys)
                lab.venvoy_run("verify", place / "venv")
            return relay.count - before
        finally:
            relay.close()


def _peers(lab: Lab, old: Built, new: Built, place: Path, *, thorough: bool) -> dict[str, int]:
    """Return the bytes that casync would fetch for *new* after *old*, and the length of zstd's patch."""
    tars = {}
    for name, built in (("old", old), ("new", new)):
        tars[name] = place / f"{name}.tar"
        lab.meter.run([lab.tools["zstd"], "-qdf", built.tarball, "-o", tars[name]], lab.environment)
    sizes = {"casync": 0}
    casync = shutil.which("casync")
    if casync is not None:
        chunks = place / "chunks"
        total = {}
        for name, tar in tars.items():
            index = place / f"{name}.caibx"
            lab.meter.run([casync, "make", f"--store={chunks}", index, tar], lab.environment)
            total[name] = sum(path.stat().st_size for path in chunks.rglob("*") if path.is_file())
        sizes["casync"] = total["new"] - total["old"] + (place / "new.caibx").stat().st_size
    if thorough:
        patch = place / "patch.zst"
        command = [lab.tools["zstd"], "-q", "-19", "--long=31", f"--patch-from={tars['old']}", tars["new"]]
        lab.meter.run([*command, "-o", patch], lab.environment)
        sizes["zstd"] = patch.stat().st_size
    return sizes


def _neighbours(plan: Plan) -> None:
    """glance on a host that has keystone and nova: what is fetched, against the layers that it lacks."""
    lab = plan.lab
    lab.prepare_wheels(every_service=True)
    place = lab.work / "neighbours"
    remove(place)
    place.mkdir()
    built = {}
    store, keys = place / "store", place / "keys"
    lab.venvoy_run("init", store, "--keys", keys)
    outputs = []
    for service in ("keystone", "nova", "glance"):
        output = place / "built" / service
        lab.build(services=(service,), cache=lab.cache, output=output)
        built[service] = read_built(output)
        outputs.append(output)
    lab.venvoy_run("publish", *outputs, "--store", store, "--keys", keys, "--no-patches")
    lab.venvoy_run("pin", RELEASE, *outputs, "--store", store, "--keys", keys)
    known = {layer.sha256 for name in ("keystone", "nova") for layer in built[name].artifact.layers}
    lacking = sum(layer.length for layer in built["glance"].artifact.layers if layer.sha256 not in known)
    with served(store) as server:
        relay = Relay(server.server_address[1])
        try:
            for service in built:
                before = relay.count
                _install(lab, RELEASE, place / "venvs" / service, place / "state", relay.url, keys, service)
            count = relay.count - before
        finally:
            relay.close()
    plan.results.rows.append(
        Row(
            figure="upgrade", what="glance beside keystone and nova, all bytes against the layers it lacks",
            ours=f"{count / _MB:.2f} MB", peer=f"{lacking / _MB:.2f} MB", value=count / lacking, unit="x",
            bar=1.1, aim=1.05,
        )
    )  # fmt: skip
    lab.aside(place)


def _built(lab: Lab, spec: Path, output: Path) -> Built:
    lab.venvoy_run(
        "build", spec, "--cache", lab.cache, "-o", output, "--python", f"{lab.target}={lab.python}"
    )
    return read_built(output)


def _install(
    lab: Lab, release: str, venv: Path, state: Path, store: str | Path, keys: Path, service: str | None = None
) -> Sample:
    return lab.host_run(
        "venvoy", "install", service or lab.service, "--release", release, "--dest", venv, "--state", state,
        "--store", store, "--root", keys / "root.json", "--python", lab.python,
    )  # fmt: skip
