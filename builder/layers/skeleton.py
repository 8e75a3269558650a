"""The first layer: what a venv has before any wheel, made by virtualenv and normalised.

virtualenv writes its own path into activation scripts. bash, zsh and fish can find theirs at run
time; csh, nu and xonsh cannot, so their scripts travel as templates that the install fills in.
Left out on purpose: the interpreter links and ``pyvenv.cfg`` (bound on the host), seed packages,
and CACHEDIR.TAG, which makes back-ups skip service data kept in the venv.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from importlib import metadata, resources
from pathlib import Path
from typing import IO, Any

from builder.layers.compression import Compression, FrameWriter
from builder.layers.layer import LayerRecord, index_document
from builder.layers.tree import Tree
from manifests.documents import Sha256, digest_of
from manifests.layout import NAME_PLACEHOLDER, PREFIX_PLACEHOLDER, SKELETON, SKELETON_INDEX, TEMPLATES
from manifests.target import Target

SKELETON_FORMAT = 1

_POSIX_PREAMBLE = """\
# This venv may move: the script finds it by its own place.
if [ -n "${BASH_VERSION-}" ]; then
    _VENVOY_PREFIX=${BASH_SOURCE[0]}
elif [ -n "${ZSH_VERSION-}" ]; then
    eval '_VENVOY_PREFIX=${(%):-%x}'
else
    _VENVOY_PREFIX=${VENVOY_PREFIX:?"set it: this shell cannot tell where a script lies"}/bin/activate
fi
_VENVOY_PREFIX=$(CDPATH= cd -- "$(dirname -- "$_VENVOY_PREFIX")/.." > /dev/null && pwd)

"""
_FISH_PREAMBLE = """\
# This venv may move: the script finds it by its own place. fish's own cd would move the caller.
set -l _venvoy_prefix (sh -c 'CDPATH= cd -- "$1/.." && pwd' sh (dirname -- (status --current-filename)))

"""


def skeleton_key(target: Target, compression: Compression) -> Sha256:
    """Return the skeleton's layer key; it needs no import of virtualenv."""
    return digest_of(
        {
            "skeleton": SKELETON_FORMAT,
            "virtualenv": metadata.version("virtualenv"),
            "python": target.python_name,
            "compression": compression.identity,
        }
    )


def build_skeleton(target: Target, compression: Compression, sink: IO[bytes]) -> LayerRecord:
    """Write the skeleton layer to *sink* and return its facts."""
    with closing(Tree()) as tree:
        for name, text in _activation_scripts(target).items():
            if name == "activate":
                tree.add(
                    "bin/activate",
                    _POSIX_PREAMBLE.encode()
                    + _replace(text, '"$_VENVOY_PREFIX"', PREFIX_PLACEHOLDER)
                    + b"unset _VENVOY_PREFIX\n",
                )
            elif name == "activate.fish":
                quoted = f"'{PREFIX_PLACEHOLDER}'"
                tree.add(
                    "bin/activate.fish", _FISH_PREAMBLE.encode() + _replace(text, '"$_venvoy_prefix"', quoted)
                )
            elif PREFIX_PLACEHOLDER in text or NAME_PLACEHOLDER in text:
                tree.add(f"{TEMPLATES}/{name}", text.encode("utf-8"))
            else:
                tree.add(f"bin/{name}", text.encode("utf-8"))
        tree.add("bin/venvoy-bind", _bind_script(target), executable=True)
        tree.links["lib64"] = "lib"
        rows = [
            *(
                (path, "x" if entry.executable else "", entry.size, str(entry.sha256))
                for path, entry in tree.files.items()
            ),
            *((path, "l", 0, link) for path, link in tree.links.items()),
        ]
        tree.add(SKELETON_INDEX, index_document(SKELETON, "", sorted(rows)))
        writer = FrameWriter(sink, compression)
        members = tree.write_to(writer)
        return LayerRecord(
            key=skeleton_key(target, compression),
            distribution=SKELETON,
            version="",
            length=writer.length,
            sha256=writer.sha256,
            tar_length=writer.tar_length,
            tar_sha256=writer.tar_sha256,
            members=members,
            files={**{path: entry.sha256 for path, entry in tree.files.items()}, **tree.links},
        )


def _replace(text: str, expression: str, placeholder: str) -> bytes:
    return text.replace(placeholder, expression).encode("utf-8")


def _activation_scripts(target: Target) -> dict[str, str]:
    """Let virtualenv fill its templates for a placeholder path; return them by file name.

    The templates are instantiated, not read back from a created venv, so that neither the place of
    a temporary folder nor the building machine's Tcl and Python can leave a trace.
    """
    from virtualenv import session_via_cli
    from virtualenv.activation.via_template import ViaTemplateActivator

    with tempfile.TemporaryDirectory(prefix="venvoy-skeleton-") as folder:
        place = str(Path(folder) / NAME_PLACEHOLDER)
        session: Any = session_via_cli(
            [place, "--no-seed", "--no-periodic-update", "--app-data", str(Path(folder) / "app-data")],
            setup_logging=False,
            env=_plain_environment(folder),
        )
        scripts = {}
        for activator in session.activators:
            own = type(activator).__module__.startswith("virtualenv.")  # plug-ins may add others
            if not own or not isinstance(activator, ViaTemplateActivator):
                continue
            values = activator.replacements(session.creator, session.creator.bin_dir)
            ours = {
                "__VIRTUAL_ENV__": PREFIX_PLACEHOLDER,
                "__LIB_FOLDERS__": f"../{target.site_packages}",
                "__TCL_LIBRARY__": "",
                "__TK_LIBRARY__": "",
            }
            values.update({name: value for name, value in ours.items() if name in values})
            for template in activator.templates():
                text = activator.instantiate_template(values, template, session.creator)
                scripts[activator.as_name(template)] = text
    return scripts


def _plain_environment(folder: str) -> dict[str, str]:
    """Return the environment without what people configure virtualenv by."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUALENV_")}
    return {**kept, "VIRTUALENV_CONFIG_FILE": str(Path(folder) / "none.ini")}


def _bind_script(target: Target) -> bytes:
    text = resources.files("builder.layers").joinpath("venvoy-bind").read_text(encoding="utf-8")
    for placeholder, value in (
        ("@python-name@", target.python_name),
        ("@templates@", TEMPLATES),
        ("@prefix-placeholder@", PREFIX_PLACEHOLDER),
        ("@name-placeholder@", NAME_PLACEHOLDER),
    ):
        text = text.replace(placeholder, value)
    return text.encode("utf-8")
