"""The figures: who races whom, and what is held against which bar."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import checks
from benchmarks.lab import SPEC, Built, Lab, Variant, read_built, require_packers
from benchmarks.measure import BenchmarkError, Contender, Sample, Series, race

SERVICES = ("keystone", "glance", "nova", "neutron", "cinder")
_MB = 1_000_000
_TMPFS_BYTES = 4_000_000_000
_DISK_BYTES = 10_000_000_000
_SMALL_RUNS = 15


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure as measured. ``value`` is to be at most ``bar``, and at best at most ``aim``."""

    figure: str
    what: str
    ours: str
    peer: str
    value: float
    unit: str
    bar: float
    aim: float | None
    cpu_ratio: float | None = None

    @property
    def verdict(self) -> str:
        """Whether bar and aim are met."""
        if self.value > self.bar:
            return "missed"
        return "bar met" if self.aim is not None and self.value > self.aim else "aim met"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Rows for people, and the samples of every contender for machines."""

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def keep(self, group: str, series: dict[str, Series]) -> None:
        """Keep all samples of a race."""
        for name, one in series.items():
            self.samples[f"{group}/{name}"] = [
                {"wall": s.wall, "cpu": s.cpu, "peak": s.peak, "tree_peak": s.tree_peak} for s in one.samples
            ]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure and how often."""

    lab: Lab
    wanted: frozenset[str]
    runs: int
    quick: bool
    load: float
    tmpfs: Path
    note: Callable[[str], None]
    results: Results

    @property
    def small_runs(self) -> int:
        """How often something short is run."""
        return 5 if self.quick else max(_SMALL_RUNS, self.runs)


# Builds.


def builds(plan: Plan) -> None:
    """cold-build, rebuild, rebuild-venv-pack, size, and the memory of a build."""
    lab, wanted = plan.lab, plan.wanted
    built = lab.built()
    lab.prepare_peers(built)
    arena = lab.work / "builds"
    lab.aside(arena)
    arena.mkdir()
    uv_cache = lab.work / "uv-cache"
    lab.warm_uv(uv_cache)
    contenders: list[Contender] = []
    if wanted & {"cold-build", "size", "memory"}:
        contenders.append(_cold(lab, arena))
    if wanted & {"rebuild", "rebuild-venv-pack"}:
        contenders.append(_rebuild(lab, lab.variant(built), arena))
    if wanted & {"cold-build", "rebuild", "size"}:
        contenders.append(_uv_pipeline(lab, built, uv_cache, arena))
    if "rebuild-venv-pack" in wanted:
        require_packers()
        contenders.append(_pip_pipeline(lab, built, uv_cache, arena))
    series = race(contenders, plan.runs, lab.work)
    plan.results.keep("builds", series)
    rows = plan.results.rows
    if "cold-build" in wanted:
        rows.append(against("cold-build", "cold build, with .pyc", series, ("ours, cold", "uv"), (0.9, 0.75)))
    if "rebuild" in wanted:
        rows.append(
            against("rebuild", "one small wheel changed", series, ("ours, rebuild", "uv"), (1 / 25, 1 / 50))
        )
    if "rebuild-venv-pack" in wanted:
        pair = ("ours, rebuild", "pip + venv-pack")
        rows.append(against("rebuild-venv-pack", "one small wheel changed", series, pair, (1 / 80, 1 / 150)))
    if "size" in wanted:
        rows.append(_size(read_built(arena / "cold").artifact.length, (arena / "uv.tar.zst").stat().st_size))
    if "memory" in wanted:
        _build_memory(plan, arena, series["ours, cold"].peak)
    lab.aside(arena)


def _cold(lab: Lab, arena: Path) -> Contender:
    cache = lab.cold_cache()
    output = arena / "cold"

    def reset() -> None:
        lab.aside(cache / "layers")
        lab.aside(output)

    return Contender(
        name="ours, cold",
        reset=reset,
        run=lambda: lab.build(services=(lab.service,), cache=cache, output=output),
        check=lambda _: read_built(output),
    )


def _rebuild(lab: Lab, variant: Variant, arena: Path) -> Contender:
    output = arena / "rebuild"

    def reset() -> None:
        lab.aside(output)
        lab.aside(variant.blob)
        lab.aside(variant.facts)

    def check(_: Sample) -> None:
        layers = read_built(output).artifact.layers
        if not variant.blob.is_file() or variant.digest not in {layer.wheel_sha256 for layer in layers}:
            raise BenchmarkError("a rebuild did not build the changed wheel's layer")

    return Contender(
        name="ours, rebuild",
        reset=reset,
        run=lambda: lab.build(
            "--lock-dir", variant.locks, services=(lab.service,), cache=lab.cache, output=output
        ),
        check=check,
    )


def _uv_pipeline(lab: Lab, built: Built, uv_cache: Path, arena: Path) -> Contender:
    tree, tarball = arena / "uv", arena / "uv.tar.zst"
    checked: list[bool] = []

    def reset() -> None:
        lab.aside(tree)
        lab.aside(tarball)

    def check(_: Sample) -> None:
        if not checked:
            with unpacked(lab, built.tarball, arena / "unpacked") as ours:
                checks.same_venvs(ours, tree, _wheels(built))
            checked.append(True)
        expect_venv(tree, built)

    return Contender(
        name="uv",
        reset=reset,
        run=lambda: lab.shell(lab.uv_pipeline(tree, tarball), uv_cache),
        check=check,
    )


def _pip_pipeline(lab: Lab, built: Built, uv_cache: Path, arena: Path) -> Contender:
    tree, tarball = arena / "pip", arena / "pip.tar.gz"

    def reset() -> None:
        lab.aside(tree)
        lab.aside(tarball)

    def check(_: Sample) -> None:
        expect_venv(tree, built)
        if tarball.stat().st_size < built.artifact.length / 2:
            raise BenchmarkError("venv-pack left no whole tarball")

    return Contender(
        name="pip + venv-pack",
        reset=reset,
        run=lambda: lab.shell(lab.pip_pipeline(tree, tarball), uv_cache),
        check=check,
    )


def _size(ours: int, theirs: int) -> Row:
    return Row(
        figure="size", what="the tarball, against tar + zstd -3 of uv's venv",
        ours=_megabytes(ours), peer=_megabytes(theirs), value=ours / theirs, unit="x", bar=0.92, aim=0.88,
    )  # fmt: skip


def _build_memory(plan: Plan, arena: Path, peak: int) -> None:
    lab = plan.lab
    cache = lab.work / "cold"
    lab.aside(cache / "layers")
    watched = lab.build(services=(lab.service,), cache=cache, output=arena / "watched", watch=True)
    plan.results.rows.append(
        _memory(
            "cold build: largest process (beside it: all)", max(peak, watched.peak), watched.tree_peak, 300
        )
    )


# Five services.


def services(plan: Plan) -> None:
    """five-services: all in one build, against their distinct layers alone."""
    lab = plan.lab
    lab.prepare_wheels(every_service=True)
    cold, alone = lab.cold_cache(), lab.work / "layers-alone"
    output = lab.work / "five"
    jobs = str(os.cpu_count() or 1)
    found: list[int] = []

    def reset_build() -> None:
        lab.aside(cold / "layers")
        lab.aside(output)

    def check_build(_: Sample) -> None:
        manifests = list(output.glob("artifacts/*/*.json"))
        if len(manifests) != len(SERVICES):
            raise BenchmarkError(f"{len(manifests)} artifacts instead of {len(SERVICES)}")

    def layers_alone() -> Sample:
        sample = lab.probe("layers", SPEC, lab.cache, alone, jobs)
        facts = json.loads(sample.output)
        found.append(facts["layers"])
        cpu = sample.cpu - facts["cpu_before"]
        return Sample(wall=facts["wall"], cpu=cpu, peak=sample.peak, tree_peak=0, output="")

    def check_layers(_: Sample) -> None:
        if len(list(alone.glob("layers/*/*.bin"))) != found[-1]:
            raise BenchmarkError("layers are missing")

    contenders = [
        Contender(
            name="ours, five services",
            reset=reset_build,
            run=lambda: lab.build("-j", jobs, services=SERVICES, cache=cold, output=output),
            check=check_build,
        ),
        Contender(name="layers alone", reset=lambda: lab.aside(alone), run=layers_alone, check=check_layers),
    ]
    series = race(contenders, plan.runs, lab.work)
    plan.results.keep("services", series)
    pair = ("ours, five services", "layers alone")
    what = f"{len(SERVICES)} services against their {found[-1]} distinct layers alone"
    plan.results.rows.append(against("five-services", what, series, pair, (1.3, 1.1)))
    for path in (alone, output, cold / "layers"):
        lab.aside(path)


# Unpacking.


def unpacking(plan: Plan) -> None:
    """unpack: verified and unpacked, against tar, which verifies nothing."""
    lab = plan.lab
    built = lab.built()
    with temporary(lab, plan.tmpfs) as place:
        mine, whole, other = place / "ours", place / "whole", place / "tar"
        jobs = str(min(2, os.cpu_count() or 1))
        probe = ("unpack", built.manifest, built.output)
        checked: list[bool] = []

        def part() -> Sample:
            sample = lab.probe(*probe, mine, jobs)
            facts = json.loads(sample.output)
            return Sample(wall=facts["wall"], cpu=facts["cpu"], peak=sample.peak, tree_peak=0, output="")

        def reset_tar() -> None:
            lab.aside(other)
            other.mkdir()

        def check_tar(_: Sample) -> None:
            if not checked:
                checks.same_trees(mine, other)
                checked.append(True)

        command: list[str | Path] = [lab.tools["tar"], "--zstd", "-xf", built.tarball, "-C", other]
        contenders = [
            Contender(name="ours", reset=lambda: lab.aside(mine), run=part),
            Contender(
                name="ours, whole process",
                reset=lambda: lab.aside(whole),
                run=lambda: lab.probe(*probe, whole, jobs),
            ),
            Contender(
                name="tar",
                reset=reset_tar,
                run=lambda: lab.meter.run(command, lab.environment),
                check=check_tar,
            ),
        ]
        series = race(contenders, max(plan.runs, 1 if plan.quick else 5), lab.work)
    plan.results.keep("unpack", series)
    plan.results.rows.append(
        against("unpack", "verify + unpack on tmpfs, wall clock", series, ("ours", "tar"), (0.7, 0.5))
    )
    plan.results.rows.append(
        Row(
            figure="unpack", what="the same, processor time",
            ours=f"{series['ours'].cpu:.2f} s", peer=f"{series['tar'].cpu:.2f} s",
            value=series["ours"].cpu / series["tar"].cpu, unit="x", bar=1.1, aim=None,
        ),
    )  # fmt: skip
    one = series["ours, whole process"]
    tar = series["tar"]
    plan.results.notes.append(
        f"unpack with interpreter start and imports: wall {one.wall:.2f} s "
        f"({one.wall / tar.wall:.2f}x of tar), "
        f"CPU {one.cpu:.2f} s ({one.cpu / tar.cpu:.2f}x)"
    )


# Installing.


def installing(plan: Plan) -> None:
    """install, on tmpfs and on a disk's file system, and the memory of an install."""
    lab = plan.lab
    built = lab.built()
    lab.prepare_peers(built)
    lab.store(built)
    peak = 0
    for label, parent in (("tmpfs", plan.tmpfs), ("disk", lab.work)):
        with temporary(lab, parent) as place:
            # uv's cache lies where uv can link from it: on the venv's own file system.
            uv_cache = place / "uv-cache"
            if "install" in plan.wanted:
                lab.warm_uv(uv_cache)
            contenders = [_install(lab, place, built)]
            if "install" in plan.wanted:
                contenders += [
                    _uv_install(lab, built, place, uv_cache, "copy", "--link-mode copy"),
                    _uv_install(lab, built, place, uv_cache, "default", ""),
                ]
            series = race(contenders, plan.runs, place)
            plan.results.keep(f"install on {label}", series)
            peak = max(peak, series["ours"].peak)
            if "install" in plan.wanted:
                for mode, name in (("copy", "uv, copy"), ("uv's default links", "uv, default")):
                    what = f"on {label}, against uv ({mode})"
                    plan.results.rows.append(against("install", what, series, ("ours", name), (0.3, 0.15)))
            if "memory" in plan.wanted and label == "tmpfs":
                lab.aside(place / "ours")
                lab.aside(place / "state")
                watched = lab.install(place / "ours", place / "state", watch=True)
    if "memory" in plan.wanted:
        row = _memory(
            "install: all processes (beside it: the largest)", watched.tree_peak, max(peak, watched.peak), 200
        )
        plan.results.rows.append(row)


def _install(lab: Lab, place: Path, built: Built) -> Contender:
    destination, state = place / "ours", place / "state"
    checked: list[bool] = []

    def reset() -> None:
        lab.aside(destination)
        lab.aside(state)

    def check(_: Sample) -> None:
        if not checked:
            lab.venvoy_run("verify", destination)
            checked.append(True)
        expect_venv(destination, built)

    return Contender(name="ours", reset=reset, run=lambda: lab.install(destination, state), check=check)


def _uv_install(lab: Lab, built: Built, place: Path, uv_cache: Path, name: str, options: str) -> Contender:
    tree = place / f"uv-{name}"
    return Contender(
        name=f"uv, {name}",
        reset=lambda: lab.aside(tree),
        run=lambda: lab.shell(lab.uv_install(tree, options), uv_cache),
        check=lambda _: expect_venv(tree, built),
    )


# Starting up.


def starting(plan: Plan) -> None:
    """unchanged and help: what a command costs that has nothing to do."""
    lab = plan.lab
    contenders = [
        Contender(name="python", run=lambda: lab.host_run("python", "-c", "pass")),
        Contender(name="help", run=lambda: lab.host_run("venvoy", "--help"), check=_expect_text("Commands:")),
    ]
    with temporary(lab, lab.work) as place:
        if "unchanged" in plan.wanted:
            lab.store(lab.built())
            lab.install(place / "venv", place / "state")
            contenders.append(
                Contender(
                    name="unchanged",
                    run=lambda: lab.install(place / "venv", place / "state"),
                    check=_expect_text("unchanged"),
                )
            )
        race(contenders, 1, place)  # compiles what is not compiled yet
        series = race(contenders, plan.small_runs, place)
    plan.results.keep("start-up", series)
    if "unchanged" in plan.wanted:
        plan.results.rows.append(
            Row(
                figure="unchanged", what="second install, processor time", ours=_small(series["unchanged"]),
                peer="", value=series["unchanged"].cpu, unit="s", bar=0.25, aim=0.15,
            )
        )  # fmt: skip
    if "help" in plan.wanted:
        plan.results.rows.append(
            Row(
                figure="help", what="venvoy --help against python -c pass, processor time",
                ours=_small(series["help"]), peer=_small(series["python"]),
                value=series["help"].cpu / series["python"].cpu, unit="x", bar=9, aim=7,
            )
        )  # fmt: skip


def _expect_text(text: str) -> Callable[[Sample], None]:
    def check(sample: Sample) -> None:
        if text not in sample.output:
            raise BenchmarkError(f"{text!r} was not in what a command said")

    return check


# Shared.


def against(
    figure: str, what: str, series: dict[str, Series], pair: tuple[str, str], limits: tuple[float, float]
) -> Row:
    """Return the row of two contenders' wall clocks; *limits* are bar and aim."""
    ours, theirs = series[pair[0]], series[pair[1]]
    return Row(
        figure=figure, what=what, ours=_cost(ours), peer=_cost(theirs), value=ours.wall / theirs.wall,
        unit="x", bar=limits[0], aim=limits[1], cpu_ratio=ours.cpu / theirs.cpu,
    )  # fmt: skip


def _memory(what: str, measured: int, other: int, limit: int) -> Row:
    return Row(
        figure="memory", what=what, ours=f"{measured / _MB:.0f} MB", peer=f"{other / _MB:.0f} MB",
        value=measured / _MB, unit="MB", bar=limit, aim=None,
    )  # fmt: skip


def _cost(series: Series) -> str:
    return f"{series.wall:.2f} s (CPU {series.cpu:.2f} s)"


def _small(series: Series) -> str:
    return f"{series.cpu * 1000:.0f} ms (least {series.least_cpu * 1000:.0f})"


def _megabytes(size: int) -> str:
    return f"{size / _MB:.1f} MB"


def _wheels(built: Built) -> int:
    return sum(1 for layer in built.artifact.layers if layer.wheel)


def expect_venv(venv: Path, built: Built) -> None:
    """Raise BenchmarkError unless *venv* holds every distribution, compiled."""
    found = len(checks.installed(checks.site_packages(venv)))
    modules, compiled = checks.count_modules(venv)
    if found != _wheels(built) or compiled < 0.98 * modules:
        raise BenchmarkError(
            f"a venv has {found} of {_wheels(built)} distributions, {compiled} of {modules} modules compiled"
        )


@contextmanager
def unpacked(lab: Lab, tarball: Path, place: Path) -> Iterator[Path]:
    """Give *place* with what tar unpacks of *tarball*."""
    lab.aside(place)
    place.mkdir()
    lab.meter.run([lab.tools["tar"], "--zstd", "-xf", tarball, "-C", place], lab.environment)
    yield place
    lab.aside(place)


@contextmanager
def temporary(lab: Lab, parent: Path) -> Iterator[Path]:
    """Give a folder of one's own below *parent*, where there is enough room."""
    needed = _DISK_BYTES if parent == lab.work else _TMPFS_BYTES
    if shutil.disk_usage(parent).free < needed:
        raise BenchmarkError(f"{parent} has less than {needed // 10**9} GB free")
    folder = Path(tempfile.mkdtemp(prefix="venvoy-bench-", dir=parent))
    try:
        yield folder
    finally:
        lab.aside(folder)
