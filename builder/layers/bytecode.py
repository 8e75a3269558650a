"""Compiles sources to ``.pyc`` in the target's own interpreter, equal bytes whoever asks and when."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import IO

from manifests.errors import HostUnsuitable
from manifests.target import Target

FILES_PER_REQUEST = 100
"""Each request is compiled from the same process state; the split must not depend on the machine."""


def pyc_path(source: str, target: Target) -> str:
    """Return where PEP 3147 wants the compiled form of *source* (a path that ends in ``.py``)."""
    folder, slash, name = source.rpartition("/")
    tag = f"cpython-{target.python[0]}{target.python[1]}{target.abi_flags}"
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.{tag}.pyc"


class BytecodeCompiler:
    """A running compile server of one interpreter. Not for use by several threads."""

    def __init__(self, executable: Path) -> None:
        self._executable = executable
        self._process: subprocess.Popen[bytes] | None = None

    def compile(self, sources: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
        """Yield the pyc of each (name, source), in order; empty where the source does not compile.

        *name* becomes ``co_filename``; imports replace it by the real path. Raises HostUnsuitable
        where the interpreter cannot be run or dies.
        """
        for start in range(0, len(sources), FILES_PER_REQUEST):
            yield from self._request(sources[start : start + FILES_PER_REQUEST])

    def close(self) -> int | None:
        """End the server and return its exit status, None where there was none."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        with contextlib.suppress(OSError):  # what a dead server did not read is lost anyway
            _pipe(process.stdin).close()
        _pipe(process.stdout).close()
        return process.wait(timeout=10)

    def _request(self, sources: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Return all answers at once: none may be left in the pipe, where the next request would find it."""
        process = self._started()
        message = bytearray(_number(len(sources)))
        for name, source in sources:
            encoded = name.encode("utf-8")
            message += _number(len(encoded)) + encoded + _number(len(source))
            message += source
        try:
            stream = _pipe(process.stdin)
            stream.write(message)
            stream.flush()
        except OSError as error:
            raise self._died() from error
        answers = _pipe(process.stdout)
        return [self._read(answers, int.from_bytes(self._read(answers, 4), "little")) for _ in sources]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    [str(self._executable), "-s", "-S", "-W", "ignore", "-c", _server_source()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    # Sets in constants are marshalled in hash order before 3.11. `-I` would ignore the seed.
                    env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
                    cwd="/",
                )
            except OSError as error:
                raise HostUnsuitable(f"cannot run {self._executable} to compile: {error.strerror}") from error
        return self._process

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise self._died()
        return data

    def _died(self) -> HostUnsuitable:
        return HostUnsuitable(
            f"{self._executable} ended (status {self.close()}) while compiling; is it a working python?"
        )


@functools.cache
def _server_source() -> str:
    return resources.files("builder.layers").joinpath("compile_server.py").read_text(encoding="utf-8")


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise AssertionError("pipes were asked for")
    return stream
