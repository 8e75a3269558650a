"""Runs in a build's own environment and calls one hook of a project's build backend (PEP 517).

Started as ``python this-file HOOK BACKEND BACKEND-PATH OUTPUT [METADATA]`` in the project's folder,
once for each hook; works with Python 3.8 and newer. Lists travel as JSON.

HOOK is ``requires``, which writes what the backend wants besides the static requirements to the file
OUTPUT as a JSON list; ``metadata``, which puts the wheel's metadata below the folder OUTPUT; or
``wheel``, which builds the wheel into OUTPUT, with that metadata. Wheels are then what pip makes.
"""

import importlib
import json
import os
import sys


def main(hook: str, backend: str, backend_path: str, output: str, metadata: str = "") -> None:
    """Call the hook. What goes wrong goes wrong loudly: the log is the caller's."""
    # Not this file's folder; and what is in the project's folder only where the project says so.
    sys.path[0:1] = [os.path.join(os.getcwd(), path) for path in json.loads(backend_path)]  # noqa: PTH109, PTH118
    module, _, attributes = backend.partition(":")
    found = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)
    if hook == "requires":
        ask = getattr(found, "get_requires_for_build_wheel", None)
        wanted = list(ask(None)) if ask is not None else []
        with open(output, "w", encoding="utf-8") as file:  # noqa: PTH123 - one import less
            json.dump(wanted, file)
    elif hook == "metadata":
        prepare = getattr(found, "prepare_metadata_for_build_wheel", None)
        if prepare is not None:
            prepare(output, None)
    else:
        names = [name for name in os.listdir(metadata) if name.endswith(".dist-info")]  # noqa: PTH208
        found.build_wheel(output, None, os.path.join(metadata, names[0]) if names else None)  # noqa: PTH118


if __name__ == "__main__":
    main(*sys.argv[1:])
