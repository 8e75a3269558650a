"""Runs in the target's interpreter (3.8 or newer) and turns sources into ``.pyc`` bytes.

Started as ``python -s -S -W ignore -c <this text>`` with a clean environment. It imports nothing but
built-in modules, so that no file of the host is run, and executes nothing of what it compiles.

Protocol, all integers little-endian 32 bit. Request: count, then for each file: length of the name,
name (UTF-8), length of the source, source. Answer: for each file: length of the pyc, pyc; a length
of zero says that the source does not compile. The end of the input ends the server.

Each request is compiled in a fork of the pristine process. ``marshal`` writes a reference flag that
depends on which strings the process happens to hold, so only equal process states give equal bytes.

The pyc are hash-based and checked (PEP 552): a source that somebody patches takes effect, and no
time stamp enters the file. Left without one are sources that do not compile and, before Python 3.11,
the few whose pyc would differ from run to run.
"""

import _frozen_importlib_external
import _imp
import gc
import marshal
import posix
import sys

MAGIC = _frozen_importlib_external.MAGIC_NUMBER
CHECKED_HASH = (0b11).to_bytes(4, "little")
SETS_IN_HASH_ORDER = sys.version_info < (3, 11)  # later ones marshal them in the order of their bytes


def read_exactly(size: int) -> bytes:
    """Return the next bytes of the request; its end ends the server."""
    parts = []
    while size:
        part = posix.read(0, min(size, 1 << 20))
        if not part:
            raise SystemExit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_number() -> int:
    """Return the next number of the request."""
    return int.from_bytes(read_exactly(4), "little")


def write_all(data: bytes) -> None:
    """Write all of the answer."""
    view = memoryview(data)
    while view:
        view = view[posix.write(1, view) :]


def compile_one(name: str, source: bytes) -> bytes:
    """Return the pyc of one source, or nothing where it does not compile."""
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
        if SETS_IN_HASH_ORDER and has_unstable_set(code):
            return b""
        body = marshal.dumps(code)
    except Exception:  # noqa: BLE001 - whatever a compiler may say of a source; importing it will say it again
        return b""
    digest = _imp.source_hash(int.from_bytes(MAGIC, "little"), source)
    return b"".join((MAGIC, CHECKED_HASH, digest, body))


def has_unstable_set(code) -> bool:  # type: ignore[no-untyped-def] # types.CodeType is not built in
    """Say whether a constant set's order is that of memory addresses, which no two runs share."""
    return any(
        has_unstable_set(item) if type(item) is type(code) else is_set_with_address(item)
        for item in code.co_consts
    )


def is_set_with_address(item: object) -> bool:
    """Say whether *item* is a frozenset in which anything is hashed by its address."""
    return isinstance(item, frozenset) and any(is_hashed_by_address(each) for each in item)


def is_hashed_by_address(item: object) -> bool:
    """Say whether the hash of the constant *item* follows an address: None, Ellipsis, NaN."""
    if isinstance(item, (tuple, frozenset)):
        return any(is_hashed_by_address(each) for each in item)
    return item is None or item is ... or item != item  # noqa: PLR0124 - NaN


def answer(files: "list[tuple[bytes, bytes]]") -> None:
    """Compile a request's files and answer. Runs in a fork."""
    out = []
    for name, source in files:
        pyc = compile_one(name.decode("utf-8", "surrogateescape"), source)
        out.append(len(pyc).to_bytes(4, "little"))
        out.append(pyc)
        del pyc
    write_all(b"".join(out))


def serve() -> None:
    """Answer requests until there are no more."""
    gc.disable()
    while True:
        count = read_number()
        files = []
        for _ in range(count):
            name = read_exactly(read_number())
            files.append((name, read_exactly(read_number())))
        child = posix.fork()
        if child == 0:
            code = 1
            try:
                answer(files)
                code = 0
            finally:
                posix._exit(code)
        _, status = posix.waitpid(child, 0)
        if status:
            raise SystemExit("compiling failed")


if __name__ == "__main__":
    serve()
