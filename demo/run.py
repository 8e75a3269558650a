"""``make demo`` (``python -m demo.run``): keystone from the package index to an installed venv.

Every step runs the real command line and shows what it says; the first that fails ends the demo.

Everything is made below ``var/demo``, which every run begins anew; ``var/cache`` stays, so that a
second run builds from cached wheels and layers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo.screen import Screen, StepFailed
from manifests.artifact import Artifact
from manifests.console import size
from manifests.errors import InvalidInput, VenvoyError
from manifests.interpreter import Interpreter, probe
from manifests.release_spec import read_release_spec
from manifests.target import Target

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"
DEMO = VAR / "demo"
EXAMPLE = ROOT / "examples/openstack-2026.1"
SERVICE = "keystone"
NAME = f"{SERVICE}-2026.1.0"
INSTALL = ("venvoy", "install", SERVICE, "--release", "2026.1.0", "--dest")
MOVED = f"another place/{NAME} moved"
# Relative paths keep the commands short; uv runs elsewhere and needs an absolute one.
SETTINGS = {
    "VENVOY_CACHE": "../cache",
    "VENVOY_STORE": "store",
    "VENVOY_KEYS": "keys",
    "VENVOY_ROOT": "keys/root.json",
    "VENVOY_STATE": "state",
}
_KILL_ATTEMPTS = 8


class Demo:
    """The steps, in order; each leaves below ``var/demo`` what the next one needs."""

    def __init__(self) -> None:
        venv = Path(sys.executable).parent
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VENVOY_")}
        environment |= SETTINGS
        environment["PATH"] = f"{venv}{os.pathsep}{environment.get('PATH', os.defpath)}"
        environment["UV_CACHE_DIR"] = str(VAR / "cache/uv")
        self.screen = Screen(folder=DEMO, environment=environment)
        self.target: list[str] = []

    def run(self) -> None:
        """Run all steps. Raises StepFailed at the first that does not do what it must."""
        self.prepare()
        self.lock()
        artifact = self.build()
        self.publish(artifact)
        self.install(artifact)
        self.move()
        self.install_again()
        self.interrupt(artifact)
        self.refuse_altered_bytes(artifact)
        self.status()
        self.screen.summary()

    def prepare(self) -> None:
        """Find out what this machine is, and whether the committed locks are for it."""
        interpreter = probe(Path(sys.executable))
        spec = read_release_spec(EXAMPLE / "release.toml")
        target = _target_of(interpreter)
        self.screen.step(
            "Target",
            "A target is what an artifact promises to run on: a Python, a machine, and the oldest libc.",
        )
        self.screen.say(f"this machine: {interpreter}")
        self.screen.say(f"its target:   {target}")
        if target in spec.targets:
            self.screen.say("the example's locks are for this very target")
        else:
            self.screen.say(f"the example's locks are for {', '.join(map(str, spec.targets))}: locking anew")
            self.target = ["--target", str(target)]
            _check_lockable(target)
        shutil.copytree(EXAMPLE, DEMO / "release")
        self.screen.show_command("cd var/demo")
        self.screen.show_command("export " + " ".join(f"{name}={value}" for name, value in SETTINGS.items()))

    def lock(self) -> None:
        """Resolve; with the committed locks this finds that nothing changes."""
        self.screen.step(
            "Lock",
            "uv resolves the release spec into a lock (PEP 751). Nothing is resolved after this.",
        )
        done = self.screen.run(["venvoy", "lock", "release/release.toml", "-s", SERVICE, *self.target])
        state = "unchanged" if ": unchanged, " in done.output else "written"
        self.screen.record("lock", done.seconds, state)

    def build(self) -> Artifact:
        """Build the artifact and return its manifest."""
        self.screen.step(
            "Build",
            "Each wheel is fetched once, checked against the lock, and becomes a layer with its compiled "
            "files; the artifact is the concatenation of its layers, a plain tarball.",
        )
        done = self.screen.run(["venvoy", "build", "release/release.toml", "-s", SERVICE, *self.target])
        manifests = list((DEMO / "build/artifacts" / SERVICE).glob("*.json"))
        _require(len(manifests) == 1, "the build left no manifest")
        artifact = Artifact.from_json(manifests[0].read_bytes())
        wheels = sum(1 for layer in artifact.layers if layer.wheel)
        note = f"{wheels} wheels, {size(artifact.length)}, {size(artifact.unpacked_size)} unpacked"
        self.screen.record("build", done.seconds, note)
        return artifact

    def publish(self, artifact: Artifact) -> None:
        """Make a signed store, publish, pin, and throw the build away."""
        self.screen.step("Store", "A store is a directory with signed metadata (TUF); new keys are made.")
        done = self.screen.run(["venvoy", "init", "store"])
        self.screen.record("init", done.seconds, "six keys, a signed and empty store")
        self.screen.step("Publish", "Builders sign artifacts, release managers sign what a release means.")
        published = self.screen.run(["venvoy", "publish", "build"])
        pinned = self.screen.run(["venvoy", "pin", "2026.1.0", "build"])
        seconds = published.seconds + pinned.seconds
        self.screen.record("publish, pin", seconds, f"{size(artifact.length)} in the store, release 2026.1.0")
        self.screen.say("The build tree goes away: what hosts install holds no path of it.")
        self.screen.run(["rm", "-rf", "build"])

    def install(self, artifact: Artifact) -> None:
        """Install, and run something of it."""
        self.screen.step(
            "Install",
            "Verified against the signed metadata, unpacked beside the destination, bound to this host's "
            "Python, checked, and renamed into place. The link is flipped last.",
        )
        done = self.screen.run([*INSTALL, f"venvs/{NAME}", "--link", f"venvs/{SERVICE}"])
        self.screen.record("install", done.seconds, f"{_members(artifact)} files and folders, on disk")
        used = self.screen.run([f"venvs/{SERVICE}/bin/keystone-manage", "--version"])
        _require("29.0.2" in used.output, "keystone-manage does not say its version")
        imported = self._import(f"venvs/{SERVICE}")
        self.screen.record("use it", used.seconds + imported, "keystone-manage --version, import keystone")

    def move(self) -> None:
        """Move the venv to a path with spaces, use it there, and move it back."""
        self.screen.step(
            "Move", "Launchers look for python beside themselves, so that the venv may go anywhere."
        )
        (DEMO / MOVED).parent.mkdir()
        self.screen.run(["mv", f"venvs/{NAME}", MOVED])
        used = self.screen.run([f"{MOVED}/bin/keystone-manage", "--version"])
        _require("29.0.2" in used.output, "keystone-manage does not run after the move")
        imported = self._import(MOVED)
        self.screen.record("use it, moved", used.seconds + imported, "the same, from a path with spaces")
        self.screen.run(["mv", MOVED, f"venvs/{NAME}"])

    def install_again(self) -> None:
        """Install what is there, from a store that does not exist."""
        self.screen.step(
            "Install again",
            "The venv's receipt says that all is there: nothing is changed, and the store is not even read. "
            "This one does not exist.",
        )
        done = self.screen.run(
            [*INSTALL, f"venvs/{NAME}", "--link", f"venvs/{SERVICE}", "--store", "no/such/store"]
        )
        _require(done.output.startswith("unchanged:"), "the second install changed something")
        self.screen.record("install again", done.seconds, "unchanged, no store needed")

    def interrupt(self, artifact: Artifact) -> None:
        """Kill an install half-way, look at what is there, and run the same command again."""
        self.screen.step(
            "Kill an install",
            "SIGKILL when a good part of the files is written. The destination must not exist then; the "
            "same command sweeps what was left and completes.",
        )
        destination = DEMO / "venvs/interrupted"
        command = [*INSTALL, "venvs/interrupted"]
        self.screen.show_command(command)
        staged, files = self._kill_half_way(command, destination, artifact)
        self.screen.say(
            f"killed with {files} of {_members(artifact)} files and folders in venvs/{staged.name}"
        )
        self.screen.run(["ls", "-d", "venvs/interrupted"], expect=2)
        done = self.screen.run(command)
        _require(not staged.exists(), f"{staged} was not swept")
        checked = self.screen.run(["venvoy", "verify", "venvs/interrupted"])
        _require("every file is as signed" in checked.output, "the venv is not as signed")
        self.screen.record(
            "install, once killed", done.seconds, f"killed at {files} of {_members(artifact)}; now whole"
        )
        self.screen.record("verify", checked.seconds, "every file read, every digest as signed")

    def refuse_altered_bytes(self, artifact: Artifact) -> None:
        """Change one byte in a copy of the store; hosts refuse it."""
        self.screen.step("Tamper", "One byte of a copy of the store is changed; no cache helps out.")
        self.screen.run(["cp", "-r", "store", "tampered"])
        tarball = DEMO / "tampered" / artifact.tarball_path
        tarball.chmod(0o644)
        with tarball.open("r+b") as stream:
            stream.seek(artifact.length // 2)
            byte = stream.read(1)[0]
            stream.seek(artifact.length // 2)
            stream.write(bytes([byte ^ 1]))
        done = self.screen.run([*INSTALL, "venvs/tampered", "--store", "tampered", "--no-cache"], expect=3)
        _require(not (DEMO / "venvs/tampered").exists(), "altered bytes were installed")
        self.screen.record("install, altered", done.seconds, "refused, exit status 3, nothing installed")

    def status(self) -> None:
        """Show what is installed."""
        self.screen.step("Status", "What is installed, read from the receipts.")
        done = self.screen.run(["venvoy", "status", "venvs"])
        self.screen.record("status", done.seconds, "two venvs")

    def _import(self, venv: str) -> float:
        code = "import keystone; print(keystone.__file__)"
        done = self.screen.run([f"{venv}/bin/python", "-c", code])
        imported = Path(done.output.strip()).resolve()
        _require(imported.is_relative_to((DEMO / venv).resolve()), "keystone was imported from elsewhere")
        return done.seconds

    def _kill_half_way(self, command: list[str], destination: Path, artifact: Artifact) -> tuple[Path, int]:
        """Start *command* and kill it while it unpacks. Return what it left, and how many files that are."""
        wanted = len(artifact.layers) // 3
        for _ in range(_KILL_ATTEMPTS):
            process = subprocess.Popen(
                command,
                cwd=DEMO,
                env=dict(self.screen.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                staged = _wait_for_files(process, destination, artifact, wanted)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if staged is not None and not destination.exists():
                return staged, sum(len(folders) + len(files) for _, folders, files in os.walk(staged))
            # It was done before we looked: strike earlier.
            shutil.rmtree(destination, ignore_errors=True)
            wanted = max(1, wanted // 2)
        raise StepFailed(f"{_KILL_ATTEMPTS} installs were complete before they could be killed")


def _wait_for_files(
    process: subprocess.Popen[bytes], destination: Path, artifact: Artifact, wanted: int
) -> Path | None:
    """Return the staging directory as soon as its site-packages has *wanted* entries."""
    while process.poll() is None:
        for staged in destination.parent.glob(f".{destination.name}.venvoy-*"):
            try:
                entries = sum(1 for _ in (staged / artifact.target.site_packages).iterdir())
                if entries >= wanted:
                    return staged
            except OSError:
                continue
        time.sleep(0.002)
    return None


def _target_of(interpreter: Interpreter) -> Target:
    """Return the target of this machine: its Python, and its own libc as the oldest one promised."""
    return Target(
        python=interpreter.python,
        abi_flags=interpreter.abi_flags,
        machine=interpreter.machine,
        libc=interpreter.libc,
        libc_version=interpreter.libc_version,
    )


def _check_lockable(target: Target) -> None:
    """Raise StepFailed where uv cannot resolve for *target*."""
    from builder.resolving.uv_compile import uv_platform

    try:
        uv_platform(target)
    except InvalidInput as error:
        raise StepFailed(
            f"{error}. The demo locks for this machine's Python: try another one, with "
            "'make clean' and 'make demo PYTHON=/path/to/python3.11'"
        ) from error


def _members(artifact: Artifact) -> int:
    return sum(layer.members for layer in artifact.layers)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise StepFailed(otherwise)


def _discard_last_run() -> None:
    """Move what the last run made out of the way, and remove it meanwhile: slow on some disks."""
    if DEMO.exists():
        DEMO.rename(VAR / f".demo-{os.getpid()}-{time.time_ns()}")
    # What an interrupted removal left is among them.
    old = list(VAR.glob(".demo-*"))
    if old:
        subprocess.Popen(["nice", "rm", "-rf", "--", *old], stdin=subprocess.DEVNULL)


def main() -> int:
    """Run the demo and return its exit status."""
    VAR.mkdir(exist_ok=True)
    with (VAR / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("demo: another 'make demo' is at work in this directory", file=sys.stderr)
            return 1
        _discard_last_run()
        (DEMO / "venvs").mkdir(parents=True)
        demo = Demo()
        try:
            demo.run()
        except (StepFailed, VenvoyError) as error:
            demo.screen.fail(str(error))
            return 1
        except KeyboardInterrupt:
            demo.screen.fail("interrupted; run it again, it begins anew and keeps what is in var/cache")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
