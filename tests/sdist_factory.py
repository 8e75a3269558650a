"""Makes sdists for tests: of a project whose backend is sloppy, or of one whose backend attacks.

package = make_sdist(folder, project_files({"files": {"demo.py": "x = 1\\n"}}))
package = make_sdist(folder, attacking_files("def attack(name):\\n    return {}\\n"))
"""

from __future__ import annotations

import io
import json
import tarfile
import textwrap
import zipfile
from typing import TYPE_CHECKING

from manifests.lock import LockedFile, LockedPackage
from tests.wheel_factory import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# An in-tree PEP 517 backend: writes a wheel as sloppily as it can (order, dates, modes), so that what is
# equal afterwards was made equal here.
BACKEND = r"""
import base64, hashlib, json, os, random, subprocess, sys, time, zipfile

def metadata(name, version):
    return ("Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)).encode()

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    with open("spec.json") as f:
        spec = json.load(f)
    info = "%s-%s.dist-info" % (spec["name"], spec["version"])
    os.mkdir(os.path.join(directory, info))
    with open(os.path.join(directory, info, "METADATA"), "wb") as f:
        f.write(metadata(spec["name"], spec["version"]))
    return info

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open("spec.json") as f:
        spec = json.load(f)
    name, version, tag = spec["name"], spec["version"], spec.get("tag", "py3-none-any")
    time.sleep(spec.get("sleep", 0))
    print("BACKEND-SAYS hello")
    if spec.get("fail"):
        sys.exit("no such header: demo.h")
    files = {path: text.encode() for path, text in spec["files"].items()}
    for path in spec.get("dump", []):
        files[path] = json.dumps(dict(os.environ)).encode()
    for path, source in spec.get("compile", {}).items():
        flags = os.environ["CFLAGS"].split()
        full = os.path.abspath(source)
        subprocess.check_call(["gcc", "-g", "-shared", "-fPIC", *flags, full, "-o", "out.so"])
        with open("out.so", "rb") as f:
            files[path] = f.read()
    if spec.get("leak"):
        files["leak.txt"] = os.getcwd().encode()
    try:
        import buildreq
        files["built_with.txt"] = buildreq.v.encode()
    except ImportError:
        pass
    info = "%s-%s.dist-info" % (name, version)
    files[info + "/METADATA"] = metadata(name, version)
    files[info + "/WHEEL"] = ("Wheel-Version: 1.0\nTag: %s\n" % tag).encode()
    rows = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append("%s,sha256=%s,%d" % (path, digest, len(data)))
    random.SystemRandom().shuffle(rows)
    files[info + "/RECORD"] = ("\n".join(rows + [info + "/RECORD,,"]) + "\n").encode()
    out = "%s-%s-%s.whl" % (name, version, tag)
    with zipfile.ZipFile(os.path.join(wheel_directory, out), "w", zipfile.ZIP_DEFLATED) as z:
        order = list(files)
        random.SystemRandom().shuffle(order)
        for path in order:
            when = time.gmtime(random.SystemRandom().randrange(10**9, 2 * 10**9))[:6]
            item = zipfile.ZipInfo(path, when)
            item.external_attr = (0o100000 | random.SystemRandom().choice([0o600, 0o664, 0o640])) << 16
            if path.endswith(".sh"):
                item.external_attr = 0o100700 << 16
            z.writestr(item, files[path])
    return out
"""
PYPROJECT = '[build-system]\nrequires = [{}]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
_ATTACKING = """
import base64, hashlib, json, os, sys, zipfile
{attack}
def row(path, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return "%s,sha256=%s,%d\\n" % (path, digest, len(text.encode()))

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = os.path.join(wheel_directory, "demo-1.0-py3-none-any.whl")
    files = {{"demo.py": "x = 1", **attack(name)}}
    files["demo-1.0.dist-info/METADATA"] = "Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n"
    files["demo-1.0.dist-info/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    record = "demo-1.0.dist-info/RECORD"
    files[record] = "".join(row(*item) for item in files.items()) + record + ",,\\n"
    if not os.path.lexists(name):
        with zipfile.ZipFile(name, "w") as wheel:
            for path, text in files.items():
                wheel.writestr(path, text)
    return os.path.basename(name)
"""


def project_files(spec: Mapping[str, object], requires: str = "") -> dict[str, bytes]:
    """Return a project with the sloppy backend, which does what *spec* says; it asks for *requires*."""
    full = {"name": "demo", "version": "1.0", "files": {"demo.py": "x = 1\n"}} | dict(spec)
    return {
        "pyproject.toml": PYPROJECT.format(requires).encode(),
        "backend.py": BACKEND.encode(),
        "spec.json": json.dumps(full).encode(),
    }


def make_sdist(folder: Path, files: Mapping[str, bytes], name: str = "demo-1.0.tar.gz") -> LockedPackage:
    """Pack *files* into *folder*, and return the package of which there is this sdist and nothing else."""
    path = folder / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in files.items():
                archive.writestr(f"demo-1.0/{member}", content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for member, content in files.items():
                info = tarfile.TarInfo(f"demo-1.0/{member}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    size = path.stat().st_size
    file = LockedFile(name=name, url="http://127.0.0.1:9/x", size=size, sha256=sha256(path))  # type: ignore[arg-type]
    return LockedPackage(name="demo", version="1.0", sdist=file)


def attacking_files(attack: str) -> dict[str, bytes]:
    """Return a project whose backend runs *attack*, Python that defines a function of that name.

    It takes the wheel's path, and returns files (by path, as text) that the wheel shall hold.
    """
    pyproject = '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n'
    backend = _ATTACKING.format(attack=textwrap.dedent(attack))
    return {"pyproject.toml": pyproject.encode(), "b.py": backend.encode()}


def locked_sdist(package: LockedPackage) -> str:
    """Return the lines of a lock for *package*."""
    file = package.sdist
    if file is None:
        raise ValueError("it has no sdist")
    return (
        f'[[packages]]\nname = "{package.name}"\nversion = "{package.version}"\n'
        f'sdist = {{ url = "https://files.example.org/{file.name}", '
        f'hashes = {{ sha256 = "{file.sha256}" }} }}\n'
    )
