"""A package index on the loopback that holds a few wheels."""

from __future__ import annotations

import contextlib
import ensurepip
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.wheel_factory import make_wheel


def own_wheel(folder: Path, name: str, version: str) -> Path:
    """Make a wheel with one command that prints its version."""
    module = name.replace("-", "_")
    code = f"import sys\n\n\ndef main():\n    print({name!r}, {version!r}, *sys.argv[1:])\n".encode()
    return make_wheel(
        folder,
        name,
        version,
        {f"{module}/__init__.py": b"", f"{module}/main.py": code},
        entry_points={f"{name}-manage": f"{module}.main:main"},
    )


@contextlib.contextmanager
def simple_index(folder: Path, wheels: Sequence[Path]) -> Iterator[str]:
    """Serve *wheels*, and the pip that Python brings along, as a simple index; yield its address."""
    bundled = next(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    for wheel in (*wheels, bundled):
        place = folder / "simple" / wheel.name.partition("-")[0].replace("_", "-").lower()
        place.mkdir(parents=True, exist_ok=True)
        (place / wheel.name).write_bytes(wheel.read_bytes())
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split(" port ")[1].split()[0]
            yield f"http://127.0.0.1:{port}/simple/"
        finally:
            server.terminate()
