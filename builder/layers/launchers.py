"""Launchers: scripts that find python beside their own physical location, wherever the venv lies.

Two forms are needed:

* console scripts are ours from the first byte: a ``/bin/sh`` line that Python reads as a string.
  They give the process its own name back (``pgrep nova-compute``), since ``exec python`` takes it;
* scripts that a wheel ships keep every byte but their first line, so that their docstring,
  ``from __future__`` imports and coding cookie keep working.

Both resolve symbolic links first: a link flip during the start cannot mix two venvs.
"""

from __future__ import annotations

import re

from manifests.errors import InvalidInput

# The second line is a string to Python. To sh it is the no-op `:` and then the search for python.
# The `-` ends sh's options: it is given the launcher's path as it was called, which may begin with one.
_CONSOLE = """\
#!/bin/sh -
'''':; p=$(readlink -f -- "$0") && exec "${{p%/*}}/python" "$p" "$@"; exit 127 #'''
import sys

if __name__ == "__main__":
    try:
        with open("/proc/self/comm", "w", encoding="utf-8") as comm:
            comm.write({name!r})
    except OSError:
        pass

from {module} import {first}

if __name__ == "__main__":
    sys.exit({attribute}())
"""

# `env -S` keeps single-quoted text as it is; the line must stay below 127 bytes (kernels before 5.1).
_SCRIPT_LINE = b"""#!/usr/bin/env -S sh -c 'p=$(readlink -f -- "$0");exec "${p%/*}/python" "$p" "$@"'\n"""

_IDENTIFIERS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_SCRIPT_NAME = re.compile(r"[^/\x00-\x1f\x7f]+")


def console_script(name: str, module: str, attribute: str) -> bytes:
    """Return the launcher that calls ``module:attribute`` and exits with what it returns.

    Raises InvalidInput where the entry point is not made of identifiers (it becomes source code).
    """
    if not _SCRIPT_NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(f"entry point {name!r}: not a plain file name")
    for text in (module, attribute):
        if not _IDENTIFIERS.fullmatch(text):
            raise InvalidInput(f"entry point {name!r}: {text!r} is not a dotted name")
    first = attribute.partition(".")[0]
    return _CONSOLE.format(name=name, module=module, first=first, attribute=attribute).encode("utf-8")


def relocatable_script(content: bytes) -> bytes:
    """Return a wheel's script with its ``#!python`` line replaced; other scripts come back as they are.

    Follows the wheel specification: scripts that start with ``#!python`` or ``#!pythonw`` are meant
    to be rewritten by the installer.
    """
    if not content.startswith(b"#!python"):
        return content
    _, newline, rest = content.partition(b"\n")
    if not newline:
        return _SCRIPT_LINE
    return _SCRIPT_LINE + rest
