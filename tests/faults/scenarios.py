"""What is interrupted: a table of scenarios, each with its legal states.

To add one, add a row to ``SCENARIOS``: how the machine is prepared, which command line runs, what may
be seen at any instant (from the first state to the last), and what must be on disk at exit 0.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.pipeline import BuiltArtifact
from distributor.stores.directory import DirectoryStore
from distributor.trust.trust import Trust
from manifests.artifact import Checks, MutablePath
from manifests.errors import NotFound
from manifests.receipt import read_receipt
from tests.faults.preloaded import Runner
from tests.small_site import HOST, SmallSite

View = Mapping[str, str | None]
"""What can be seen of a machine: a release, a link's target, a list of names; None for nothing."""

_RANDOM = re.compile(r"[0-9a-f]{16}")
_OLD, _NEW = "1.0.0", "2.0.0"
_SAME = ("1.0.1", "1.0.2", "1.0.3", "1.0.4", "1.0.5")
_ETC = {"kept.conf": b"one\n", "moving.conf": b"one\n", "dropped.conf": b"one\n"}
_LATE = "3.0.0"
_WRITES_LATE = ("sh", "-c", 'echo late > "${VIRTUAL_ENV%/.*}/demo/etc/demo/late.conf"')
"""A check that runs in the staged tree, and writes into the live one, as a service might just then."""
_NEW_ETC = {"kept.conf": b"two\n", "moving.conf": b"two\n", "fresh.conf": b"two\n"}


class Broken(AssertionError):
    """A state that nobody may ever see."""


class Kit:
    """What all machines share and no run changes: a signed store of releases, and an older sight of it.

    ``2.0.0`` differs from ``1.0.0``; ``1.0.1`` and those like it are ``1.0.0``'s artifact under other names;
    ``3.0.0`` has a check during which the host's configuration changes.
    """

    def __init__(self, directory: Path, runner: Runner) -> None:
        mutable = [MutablePath(path="etc/demo")]
        self.site = SmallSite(directory)
        self.built: BuiltArtifact = self.site.release(_OLD, etc=_ETC, mutable=mutable)
        self.old_state = directory / "state-of-old"
        done = runner.run(["releases", *self.access(self.old_state)])
        assert done.returncode == 0, done.stderr
        for release in _SAME:
            self.site.pin(release, self.built)
        self.site.release(_NEW, etc=_NEW_ETC, mutable=mutable, files={"demo/late.py": b"WHERE = 'new'\n"})
        self.site.release(_LATE, etc=_NEW_ETC, mutable=mutable, checks=Checks(commands=(_WRITES_LATE,)))

    @property
    def build_directory(self) -> Path:
        return self.built.manifest.parent.parent.parent

    def access(self, state: Path) -> list[str]:
        """Return the options that lead to the store and to its trust."""
        return ["--store", str(self.site.store), "--root", str(self.site.root), "--state", str(state)]


@dataclass(frozen=True, kw_only=True)
class World:
    """One machine, in a folder whose path never changes: receipts and bound files hold it."""

    root: Path
    kit: Kit

    @property
    def host(self) -> Path:
        return self.root / "host"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def install(self, release: str, name: str, *options: str) -> list[str]:
        """Return the arguments that install a release under a name; one thread, so that calls count."""
        return [
            *("install", "demo", "--release", release, "--dest", str(self.host / name), "--jobs", "1"),
            *("--python", str(HOST.executable), *self.kit.access(self.state), *options),
        ]

    @property
    def signing(self) -> list[str]:
        return ["--store", str(self.store), "--keys", str(self.keys)]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A command line on a prepared machine, and what may be seen while it runs.

    ``stages`` are the legal views, from before the run to after it. ``active`` is the name on the host
    from which the service starts. ``durable`` are the paths that must be on disk at exit 0. ``outcome``
    is what every completed run gives, whatever happened before it: files and litter alike.
    """

    name: str
    prepare: Callable[[World, Runner], None]
    arguments: Callable[[World], list[str]]
    stages: tuple[View, ...]
    look: Callable[[World, Runner, View], View]
    outcome: Callable[[World], Mapping[str, object]]
    durable: Callable[[World], list[Path]]
    active: str | None = None


def see_host(world: World, runner: Runner, names: View) -> View:
    """Return what stands at *names* on the host. Raises Broken for a venv that does not verify."""
    return {name: _see(world.host / name, runner) for name in names}


def _see(path: Path, runner: Runner) -> str | None:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if not path.exists():
        return None
    done = runner.run(["verify", str(path)])
    receipt = read_receipt(path)
    if done.returncode != 0 or receipt is None:
        raise Broken(f"{path.name} is half a venv: {done.stdout.strip()} {done.stderr.strip()}")
    return receipt.release


def check_active(world: World, name: str) -> None:
    """Start the service's console script as a unit file would. Raises Broken where it does not start."""
    venv = world.host / name
    if not venv.exists():
        return
    receipt = read_receipt(venv)
    script = venv / "bin/demo-manage"
    try:
        done = subprocess.run([script, "up"], capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        raise Broken(f"{name} does not start: {error}") from error
    if receipt is None or done.stdout != f"demo {receipt.version} up\n":
        raise Broken(f"{name} does not run: {done.stdout}{done.stderr}")


def see_store(world: World, _: Runner, names: View) -> View:
    """Return what a reader believes of the store. Raises Broken where a signed object is not whole."""
    seen = world.root.parent / "reader"
    shutil.rmtree(seen, ignore_errors=True)
    store = DirectoryStore(world.store)
    try:
        trust = Trust(store, seen, (world.keys / "root.json").read_bytes())
        trust.refresh()
    except (FileNotFoundError, NotFound):
        return dict.fromkeys(names)
    for path in trust.entries("artifacts"):
        artifact = trust.published(path)
        if store.size(artifact.tarball_path) != artifact.length:
            raise Broken(f"{path} is signed, but {artifact.tarball_path} is not there as a whole")
    found = {
        "artifacts": " ".join(sorted(trust.entries("artifacts"))),
        "releases": " ".join(pins.release for name in trust.releases() if (pins := trust.pins(name))),
    }
    return {name: _RANDOM.sub("*", re.sub(r"[0-9a-f]{12}", "*", found[name])) for name in names}


def host_outcome(world: World) -> Mapping[str, object]:
    """Return every path of the machine with mode, owner and content; random names and times aside.

    Litter is a path too: what an uninterrupted run does not leave, an interrupted one may not either.
    """
    found: dict[str, object] = {}
    for path in sorted(world.root.rglob("*")):
        if _is_cached(world, path):
            continue
        name = masked = _RANDOM.sub("*", str(path.relative_to(world.root)))
        count = 1
        while masked in found:
            count += 1
            masked = f"{name} ({count})"
        found[masked] = _facts(path)
    return found


def _is_remembered(path: Path) -> bool:
    """Whether it is a document, or a bin of artifacts, that some run had to look at."""
    looked_at = "documents" in (path.name, path.parent.name) or ".bin-" in path.name
    return looked_at and not path.name.startswith(".")


def _is_cached(world: World, path: Path) -> bool:
    """Whether it is one of the layers that the host keeps: as many as it could, and none is believed."""
    kept = world.state / "cache"
    return (path == kept or kept in path.parents) and not path.name.startswith(".")


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
        if path.name == "receipt.json":
            content = _without_chance(json.loads(content))
        elif path.name.endswith(".venvoy-link"):
            content = [{**flip, "when": ""} for flip in json.loads(content)["flips"]]
    return stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, content


def without_replaced(world: World) -> Mapping[str, object]:
    """Return the outcome without replaced trees: a repair that is asked for twice replaces twice."""
    return {
        name: facts
        for name, facts in host_outcome(world).items()
        if ".venvoy-old-" not in name and not name.endswith("receipt.json")  # it counts the repairs
    }


def _without_chance(receipt: dict[str, Any]) -> dict[str, Any]:
    """Drop what differs from run to run: times and random ids."""
    for name in ("installed_at", "install_id", "replaced"):
        receipt[name] = receipt.get(name) is not None
    for switch in receipt.get("history", ()):
        switch["when"] = ""
    return receipt


def store_outcome(world: World) -> Mapping[str, object]:
    """Return the names of a store's objects and of the keys' folder.

    In the store, what a killed writer leaves is no litter yet: temporary files until they are a day old
    (another writer may be at work), and metadata versions that no snapshot names.
    """
    objects = {
        f"store/{path}"
        for path in DirectoryStore(world.store).list("")
        if not re.fullmatch(r"metadata/\d+\.[\w.-]+\.json", path)
    }
    # The memory of what was seen is in the keys' folder, and holds the versions that were seen.
    # Which documents were read, and so are remembered, depends on what a rerun has to look at.
    found = [path for path in world.keys.rglob("*") if not _is_remembered(path)]
    own = {_RANDOM.sub("*", str(path.relative_to(world.root))) for path in found}
    return dict.fromkeys(sorted({re.sub(r"[0-9a-f]{12}", "*", name) for name in objects | own}))


def _nothing(world: World, _: Runner) -> None:
    world.host.mkdir(parents=True)


def _do(world: World, runner: Runner, *commands: list[str]) -> None:
    world.host.mkdir(parents=True, exist_ok=True)
    for command in commands:
        done = runner.run(command)
        assert done.returncode == 0, done.stderr


def _link(world: World) -> str:
    return str(world.host / "demo")


def _edited(world: World, runner: Runner) -> None:
    """An old venv in place, whose operator edited its configuration and added to it."""
    _do(world, runner, world.install(_OLD, "demo"))
    etc = world.host / "demo/etc/demo"
    (etc / "kept.conf").write_text("the host's\n")
    (etc / "kept.conf").chmod(0o640)
    (etc / "secret").write_text("never lose me\n")
    (etc / "secret").chmod(0o600)


def _flipped(world: World, runner: Runner) -> None:
    commands = [world.install(f"{n}.0.0", f"demo-{n}", "--link", _link(world)) for n in (1, 2)]
    _do(world, runner, *commands)


def _upgraded(world: World, runner: Runner) -> None:
    _edited(world, runner)
    _do(world, runner, world.install(_NEW, "demo"))


def _much_configured(world: World, runner: Runner) -> None:
    """So many files of the host that a rollback, which copies little else, has a hundred points."""
    _upgraded(world, runner)
    for number in range(12):
        (world.host / f"demo/etc/demo/more-{number}.conf").write_text(f"{number}\n")


def _twice_upgraded(world: World, runner: Runner) -> None:
    _upgraded(world, runner)
    _do(world, runner, world.install(_OLD, "demo"))


def _publishable(world: World, runner: Runner) -> None:
    _do(world, runner, ["init", str(world.store), "--keys", str(world.keys)])


def _pinnable(world: World, runner: Runner) -> None:
    _publishable(world, runner)
    _do(world, runner, ["publish", str(world.kit.build_directory), *world.signing])


def _second_refresh(world: World, runner: Runner) -> None:
    _nothing(world, runner)
    shutil.copytree(world.kit.old_state, world.state, symlinks=True)


_MANIFEST = "artifacts/demo/demo-1.0.0-cp311-linux_x86_64-glibc2.36-*.json.gz"


def _host(**facts: Any) -> Scenario:
    facts.setdefault("durable", lambda world: [world.host / name for name in facts["stages"][0]])
    facts.setdefault("outcome", host_outcome)
    return Scenario(look=see_host, **facts)


def _store(**facts: Any) -> Scenario:
    return Scenario(
        look=see_store, outcome=store_outcome, durable=lambda world: [world.store, world.keys], **facts
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _host(
            name="fresh install",
            prepare=_nothing,
            arguments=lambda world: world.install(_OLD, "demo-1", "--link", _link(world)),
            stages=(
                {"demo-1": None, "demo": None},
                {"demo-1": _OLD, "demo": None},
                {"demo-1": _OLD, "demo": "-> demo-1"},
            ),
            active="demo",
        ),
        _host(
            name="link flip",
            prepare=lambda world, runner: _do(
                world, runner, world.install(_OLD, "demo-1", "--link", _link(world))
            ),
            arguments=lambda world: world.install(_NEW, "demo-2", "--link", _link(world)),
            stages=(
                {"demo-1": _OLD, "demo-2": None, "demo": "-> demo-1"},
                {"demo-1": _OLD, "demo-2": _NEW, "demo": "-> demo-1"},
                {"demo-1": _OLD, "demo-2": _NEW, "demo": "-> demo-2"},
            ),
            active="demo",
        ),
        _host(
            name="in-place exchange",
            prepare=_edited,
            arguments=lambda world: world.install(_NEW, "demo"),
            stages=({"demo": _OLD}, {"demo": _NEW}),
            active="demo",
        ),
        _host(
            name="another release of the same artifact",
            prepare=lambda world, runner: _do(world, runner, world.install(_OLD, "demo")),
            arguments=lambda world: world.install("1.0.1", "demo"),
            stages=({"demo": _OLD}, {"demo": "1.0.1"}),
            active="demo",
        ),
        _host(
            name="exchange with a late write",
            prepare=_edited,
            arguments=lambda world: world.install(_LATE, "demo"),
            stages=({"demo": _OLD}, {"demo": _LATE}),
            active="demo",
        ),
        _host(
            name="exchange by two renames",
            prepare=_edited,
            arguments=lambda world: world.install(_NEW, "demo", "--non-atomic"),
            stages=({"demo": _OLD}, {"demo": None}, {"demo": _NEW}),
            active="demo",
        ),
        _host(
            name="exchange with hard links",
            prepare=_edited,
            arguments=lambda world: world.install(_NEW, "demo", "--link-mode", "hardlink"),
            stages=({"demo": _OLD}, {"demo": _NEW}),
            active="demo",
        ),
        _host(
            name="fetch",
            prepare=_nothing,
            arguments=lambda world: [
                *("fetch", "demo", "--release", _OLD, "--jobs", "1"),
                *("--python", str(HOST.executable), *world.kit.access(world.state)),
            ],
            stages=({},),
            durable=lambda world: [world.state],
        ),
        _host(
            name="repair",
            prepare=_edited,
            arguments=lambda world: world.install(_OLD, "demo", "--repair"),
            stages=({"demo": _OLD},),
            active="demo",
            outcome=without_replaced,
        ),
        _host(
            name="rollback",
            prepare=_much_configured,
            arguments=lambda world: ["rollback", str(world.host / "demo"), "--to", _OLD],
            stages=({"demo": _NEW}, {"demo": _OLD}),
            active="demo",
        ),
        _host(
            name="rollback of a link",
            prepare=_flipped,
            arguments=lambda world: ["rollback", _link(world), "--to", _OLD],
            stages=(
                {"demo-1": _OLD, "demo-2": _NEW, "demo": "-> demo-2"},
                {"demo-1": _OLD, "demo-2": _NEW, "demo": "-> demo-1"},
            ),
            active="demo",
        ),
        _host(
            name="gc",
            prepare=_twice_upgraded,
            arguments=lambda world: ["gc", str(world.host), "--keep", "0"],
            stages=({"demo": _OLD},),
            active="demo",
        ),
        _host(
            name="first trust refresh",
            prepare=_nothing,
            arguments=lambda world: ["releases", *world.kit.access(world.state)],
            stages=({},),
            durable=lambda world: [world.state],
        ),
        _host(
            name="second trust refresh",
            prepare=_second_refresh,
            arguments=lambda world: ["releases", *world.kit.access(world.state)],
            stages=({},),
            durable=lambda world: [world.state],
        ),
        _store(
            name="init",
            prepare=_nothing,
            arguments=lambda world: ["init", str(world.store), "--keys", str(world.keys)],
            stages=({"artifacts": None, "releases": None}, {"artifacts": "", "releases": ""}),
        ),
        _store(
            name="publish",
            prepare=_publishable,
            arguments=lambda world: ["publish", str(world.kit.build_directory), *world.signing],
            stages=({"artifacts": "", "releases": ""}, {"artifacts": _MANIFEST, "releases": ""}),
        ),
        _store(
            name="pin",
            prepare=_pinnable,
            arguments=lambda world: ["pin", _OLD, str(world.kit.build_directory), *world.signing],
            stages=({"artifacts": _MANIFEST, "releases": ""}, {"artifacts": _MANIFEST, "releases": _OLD}),
        ),
    )
}
