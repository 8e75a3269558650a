"""Every error that Venvoy raises on purpose, sorted by whose move is next.

::

    VenvoyError                exit 1
    ├── InvalidInput           exit 2   a spec, lock or option that a person wrote must change
    ├── VerificationFailed     exit 3   bytes or signatures are not what was promised
    │   └── MetadataExpired             they were, but are no longer fresh
    ├── HostUnsuitable         exit 4   this host, or this target, cannot run it
    ├── NotFound               exit 5   no such service, release, wheel, interpreter
    ├── Locked                 exit 6   somebody else is at work; try again
    ├── StoreUnavailable       exit 7   store, index or network failed
    ├── HealthCheckFailed      exit 8   the staged venv does not work
    └── Refused                exit 9   immutable, in conflict, or unsafe

Messages say what is wrong, where, and what to do, in one or two lines. ``str(error)`` is what the
operator reads; there is no other text.
"""

from __future__ import annotations

from typing import ClassVar


class VenvoyError(Exception):
    """Base of all errors meant for an operator's eyes. ``exit_code`` is the command's exit status."""

    exit_code: ClassVar[int] = 1


class InvalidInput(VenvoyError):
    """Something that a person wrote (spec, lock, option, document) cannot be accepted."""

    exit_code = 2


class VerificationFailed(VenvoyError):
    """A digest, size or signature does not match. Nothing of the input was used."""

    exit_code = 3


class MetadataExpired(VerificationFailed):
    """Signed metadata is past its expiry. Nothing else is wrong with it."""


class HostUnsuitable(VenvoyError):
    """The needs of an artifact do not fit the host or the declared target."""

    exit_code = 4


class NotFound(VenvoyError):
    """A named thing does not exist where it was looked for."""

    exit_code = 5


class Locked(VenvoyError):
    """Another process holds the lock and made no progress while we waited."""

    exit_code = 6


class StoreUnavailable(VenvoyError):
    """A store, an index or the network failed, or the local file system did."""

    exit_code = 7


class HealthCheckFailed(VenvoyError):
    """A check in the staged tree failed; the active venv was left alone."""

    exit_code = 8


class Refused(VenvoyError):
    """The request is understood and denied: immutable, in conflict, or unsafe."""

    exit_code = 9
