"""A TUF repository on the web, made with python-tuf's metadata API, that tests can make misbehave.

``roles`` holds the metadata that is worked on, ``published`` what is served, by version. A change is
seen when it is published; what an attacker would do is done to ``published`` directly.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOP = ("targets", "snapshot", "timestamp", "root")
SIGNED = ("targets", "snapshot", "timestamp")
"""The roles of a new state whose root stays."""


class TufSite:
    """One repository: every role with one key, version 1 of all published."""

    def __init__(self) -> None:
        self.now = datetime.now(timezone.utc).replace(microsecond=0)
        self.expires = self.now + timedelta(days=30)
        self.roles: dict[str, Metadata[Any]] = {
            "targets": Metadata(Targets(expires=self.expires)),
            "snapshot": Metadata(Snapshot(expires=self.expires)),
            "timestamp": Metadata(Timestamp(expires=self.expires)),
            "root": Metadata(Root(expires=self.expires)),
        }
        self.published: dict[str, list[bytes]] = {}
        self.signers: dict[str, dict[str, CryptoSigner]] = {}
        self.files: dict[str, bytes] = {}
        self.hashed_metadata = False
        self.asked: list[tuple[str, int | None]] = []
        self.downloads: list[str] = []
        for role in TOP:
            self.add_key(role)
        self.publish(*TOP)

    @property
    def root(self) -> Root:
        return self.roles["root"].signed

    @property
    def timestamp(self) -> Timestamp:
        return self.roles["timestamp"].signed

    @property
    def snapshot(self) -> Snapshot:
        return self.roles["snapshot"].signed

    def targets(self, role: str = "targets") -> Targets:
        signed: Targets = self.roles[role].signed
        return signed

    # Keys.

    def add_key(self, role: str, signer: CryptoSigner | None = None, *, signs: bool = True) -> CryptoSigner:
        """Let one more key answer for a top-level *role*, and sign with it from now on."""
        signer = signer or CryptoSigner.generate_ed25519()
        self.root.add_key(signer.public_key, role)
        self.signers.setdefault(role, {})
        if signs:
            self.signers[role][signer.public_key.keyid] = signer
        return signer

    def replace_keys(self, role: str) -> None:
        """Rotate: as many new keys as the threshold asks for, and none of the old."""
        self.root.roles[role].keyids.clear()
        self.signers[role].clear()
        for _ in range(self.root.roles[role].threshold):
            self.add_key(role)

    # Delegations.

    def delegate(
        self,
        delegator: str,
        name: str,
        paths: list[str],
        *,
        terminating: bool = False,
        expires: datetime | None = None,
    ) -> CryptoSigner:
        """Delegate *paths* to the role *name*, with a new key; return that key."""
        parent = self.targets(delegator)
        if parent.delegations is None:
            parent.delegations = Delegations({}, roles={})
        assert parent.delegations.roles is not None
        parent.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, paths)
        signer = CryptoSigner.generate_ed25519()
        parent.add_key(signer.public_key, name)
        self.signers.setdefault(name, {})[signer.public_key.keyid] = signer
        if name not in self.roles:
            self.roles[name] = Metadata(Targets(expires=expires or self.expires))
        return signer

    def add_file(self, role: str, path: str, data: bytes, *hashes: str) -> None:
        """Have *role* sign *data* as *path*, and serve it."""
        self.targets(role).targets[path] = TargetFile.from_data(path, data, list(hashes or ("sha256",)))
        self.files[path] = data

    # Publishing.

    def publish(self, *roles: str) -> None:
        """Sign the next version of each of *roles*, in order; snapshot and timestamp follow by meta."""
        for role in roles:
            metadata = self.roles[role]
            if role in self.published:
                metadata.signed.version += 1
            metadata.signatures.clear()
            for signer in self.signers[role].values():
                metadata.sign(signer, append=True)
            data = metadata.to_bytes(JSONSerializer())
            self.published.setdefault(role, []).append(data)
            if role == "snapshot":
                self.timestamp.snapshot_meta = self._meta(metadata, data)
            elif role not in ("root", "timestamp"):
                self.snapshot.meta[f"{role}.json"] = self._meta(metadata, data)

    def begin_again(self, role: str) -> None:
        """Forget what was published of *role*: its next version is 1 again."""
        del self.published[role]
        self.roles[role].signed.version = 1

    def _meta(self, metadata: Metadata[Any], data: bytes) -> MetaFile:
        if not self.hashed_metadata:
            return MetaFile(metadata.signed.version)
        return MetaFile(metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    # Serving.

    def answer(self, path: str) -> bytes | None:
        """Return what is served at *path*, as it was asked for; None for nothing."""
        folder, _, name = path.partition("/")
        if folder == "metadata":
            return self._metadata(name.removesuffix(".json"))
        self.downloads.append(name)
        above, slash, last = unquote(name).rpartition("/")
        digest, _, plain = last.partition(".")
        found = self.files.get(f"{above}{slash}{plain}")
        known = [
            target.hashes.values()
            for metadata in self.roles.values()
            if isinstance(metadata.signed, Targets)
            for path, target in metadata.signed.targets.items()
            if path == f"{above}{slash}{plain}"
        ]
        return found if any(digest in hashes for hashes in known) else None

    def _metadata(self, name: str) -> bytes | None:
        version: int | None = None
        if name != "timestamp":
            number, _, name = name.partition(".")
            version = int(number)
        self.asked.append((name, version))
        states = self.published.get(unquote(name), [])
        if version is None:
            return states[-1] if states else None
        return states[version - 1] if 0 < version <= len(states) else None


@contextlib.contextmanager
def served(site: TufSite) -> Iterator[str]:
    """Serve *site*; give the URL below which are ``metadata/`` and ``targets/``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = site.answer(self.path.lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who reads no more than it may hangs up
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def versions(roles: Iterable[tuple[str, int | None]]) -> list[str]:
    """Return requests in short: ``2.root``, ``timestamp``."""
    return [name if version is None else f"{version}.{name}" for name, version in roles]
