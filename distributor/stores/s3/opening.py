"""Opening a store in S3. Importing this imports no boto3: it is an extra, and slow to import."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from distributor.stores.s3.options import read_options
from manifests.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributor.stores.s3.store import S3Store


def open_s3_store(location: str, environ: Mapping[str, str] = os.environ) -> S3Store:
    """Return the store at *location*, ``s3://bucket/prefix``, with the settings in *environ*.

    No request is made yet. Raises InvalidInput for a location or settings that cannot be, and where
    boto3 is not installed.
    """
    options = read_options(location, environ)
    if importlib.util.find_spec("boto3") is None:
        raise InvalidInput("stores at s3: need boto3; install it: pip install 'venvoy[s3]'")
    from distributor.stores.s3.store import S3Store

    return S3Store(options)
