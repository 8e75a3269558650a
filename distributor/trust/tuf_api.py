"""The classes of python-tuf and securesystemslib that we use; they are not declared to type checkers.

securesystemslib imports the cloud key services' clients wherever they are installed, boto3 among them:
a tenth of a second in every command, for signers that a host never uses. They are hidden while it is
imported; its own optional imports make of that what they make of a client that is not installed.
"""

from __future__ import annotations

import sys

_CLIENTS = ("boto3", "azure.identity", "google.cloud.kms")
_hidden = {name: sys.modules.pop(name) for name in _CLIENTS if name in sys.modules}
sys.modules.update(dict.fromkeys(_CLIENTS))  # type: ignore[arg-type] # None makes an import fail
try:
    from securesystemslib.signer import (  # type: ignore[attr-defined]
        KEY_FOR_TYPE_AND_SCHEME,
        SIGNER_FOR_URI_SCHEME,
        CryptoSigner,
        Key,
        Signature,
        Signer,
    )
    from tuf.api.metadata import (  # type: ignore[attr-defined]
        DelegatedRole,
        Delegations,
        Metadata,
        MetaFile,
        Role,
        Root,
        Signed,
        Snapshot,
        SuccinctRoles,
        TargetFile,
        Targets,
        Timestamp,
        VerificationResult,
    )
    from tuf.ngclient.config import UpdaterConfig
    from tuf.ngclient.fetcher import FetcherInterface
    from tuf.ngclient.updater import Updater
finally:
    for _name in _CLIENTS:
        del sys.modules[_name]
    sys.modules.update(_hidden)

__all__ = [
    "KEY_FOR_TYPE_AND_SCHEME",
    "SIGNER_FOR_URI_SCHEME",
    "CryptoSigner",
    "DelegatedRole",
    "Delegations",
    "FetcherInterface",
    "Key",
    "MetaFile",
    "Metadata",
    "Role",
    "Root",
    "Signature",
    "Signed",
    "Signer",
    "Snapshot",
    "SuccinctRoles",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
    "VerificationResult",
]
