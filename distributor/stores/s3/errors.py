"""What botocore raises, told in our words from two tables. Server's texts are never repeated.

They may hold an access key, a signature or several lines; a code is all that is taken from them.
"""

from __future__ import annotations

import contextlib
import enum
import re
from typing import TYPE_CHECKING, Any

from botocore import exceptions as boto

from manifests.errors import InvalidInput, NotFound, StoreUnavailable, VenvoyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributor.stores.s3.client import Bucket


class Problem(enum.Enum):
    """What a server's error means to us."""

    MISSING = "{path} is not in the store {location}"
    NO_BUCKET = "there is no bucket {bucket} ({location}); create it, or correct --store"
    DENIED = (
        "{path} in {location}: denied, or it does not exist and the credentials may not list; "
        "check the credentials and the bucket's policy"
    )
    CREDENTIALS = (
        "{location} does not accept the credentials ({code}); check AWS_PROFILE, the AWS_... variables "
        "or the instance's role"
    )
    CLOCK = "{location} refuses the request's time; set this machine's clock"
    REGION = "{location} lies in another region ({code}); set VENVOY_S3_REGION, or the right endpoint"
    BUSY = "{location} is overloaded or broken ({code}); try again later"
    CONDITION = "{path} in {location} was changed by another writer; try again"
    CONFLICT = "{path} in {location} is being written by another writer; try again"
    UNSUPPORTED = "{location} does not support what {path} needs ({code}); use another server or store"
    RANGE = "{path} in {location} ends before the bytes asked for; its copy is incomplete"
    NO_UPLOAD = "the upload of {path} to {location} was aborted by somebody else; try again"
    FULL = "{location} has no room for {path} ({code}); raise the quota, or prune"
    DAMAGED = "{path} was damaged on its way to {location} ({code}); try again"
    ARCHIVED = "{path} in {location} is archived; restore it to a class that can be read"
    OTHER = "{path} in {location}: the server answers {code} (HTTP {status}); see the server's log"


_CODES = {
    **dict.fromkeys(("NoSuchKey", "NotFound"), Problem.MISSING),
    "NoSuchBucket": Problem.NO_BUCKET,
    **dict.fromkeys(("AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem"), Problem.DENIED),
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "TokenRefreshRequired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
        ),
        Problem.CREDENTIALS,
    ),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), Problem.CLOCK),
    **dict.fromkeys(
        (
            "PermanentRedirect",
            "TemporaryRedirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ),
        Problem.REGION,
    ),
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ThrottlingException"),
        Problem.BUSY,
    ),
    "PreconditionFailed": Problem.CONDITION,
    **dict.fromkeys(("ConditionalRequestConflict", "OperationAborted"), Problem.CONFLICT),
    **dict.fromkeys(
        ("NotImplemented", "MethodNotAllowed", "InvalidArgument", "InvalidRequest"), Problem.UNSUPPORTED
    ),
    "InvalidRange": Problem.RANGE,
    "NoSuchUpload": Problem.NO_UPLOAD,
    **dict.fromkeys(("QuotaExceeded", "EntityTooLarge", "TooManyBuckets", "XMinioStorageFull"), Problem.FULL),
    **dict.fromkeys(
        ("BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"),
        Problem.DAMAGED,
    ),
    "InvalidObjectState": Problem.ARCHIVED,
}
# Answers to HEAD have no body, so no code: botocore gives the status for it.
_STATUS = {
    301: Problem.REGION,
    307: Problem.REGION,
    403: Problem.DENIED,
    404: Problem.MISSING,
    409: Problem.CONFLICT,
    412: Problem.CONDITION,
    416: Problem.RANGE,
    429: Problem.BUSY,
    500: Problem.BUSY,
    501: Problem.UNSUPPORTED,
    502: Problem.BUSY,
    503: Problem.BUSY,
    504: Problem.BUSY,
    507: Problem.FULL,
}
_KINDS: dict[Problem, type[VenvoyError]] = {Problem.MISSING: NotFound, Problem.NO_BUCKET: NotFound}

# From the particular to the general: the first that fits is taken.
_FAILURES: tuple[tuple[type[Exception], type[VenvoyError], str], ...] = (
    (
        boto.ProfileNotFound,
        InvalidInput,
        "the AWS profile does not exist; check VENVOY_S3_PROFILE and AWS_PROFILE",
    ),
    (
        boto.NoCredentialsError,
        StoreUnavailable,
        "found no credentials; give a profile or AWS_... variables, or VENVOY_S3_ANONYMOUS=1 to do without",
    ),
    (boto.PartialCredentialsError, StoreUnavailable, "the credentials are incomplete; check the AWS profile"),
    (
        boto.CredentialRetrievalError,
        StoreUnavailable,
        "credentials could not be fetched; check the AWS profile",
    ),
    (
        boto.MetadataRetrievalError,
        StoreUnavailable,
        "the instance's role gives no credentials; check the role",
    ),
    (boto.SSOError, StoreUnavailable, "the sign-on session does not serve; sign in again"),
    (boto.SSLError, StoreUnavailable, "TLS failed; check the certificate, VENVOY_CA_BUNDLE and the clock"),
    (
        boto.ProxyConnectionError,
        StoreUnavailable,
        "the proxy cannot be reached; check HTTPS_PROXY and NO_PROXY",
    ),
    (boto.ConnectTimeoutError, StoreUnavailable, "no connection in time; check endpoint and network"),
    (boto.EndpointConnectionError, StoreUnavailable, "cannot be reached; check endpoint and network"),
    (boto.ReadTimeoutError, StoreUnavailable, "did not answer in time; try again later"),
    (boto.ConnectionClosedError, StoreUnavailable, "closed the connection; try again"),
    (boto.IncompleteReadError, StoreUnavailable, "cut the answer short; try again"),
    (boto.ResponseStreamingError, StoreUnavailable, "cut the answer short; try again"),
    (boto.HTTPClientError, StoreUnavailable, "the connection failed; try again"),
    (boto.ParamValidationError, InvalidInput, "the bucket or an object's name is not valid for S3"),
    (boto.ConfigParseError, InvalidInput, "the AWS configuration file cannot be read; correct it"),
    (boto.ConfigNotFound, InvalidInput, "the AWS configuration file is missing; check AWS_CONFIG_FILE"),
    (boto.InvalidConfigError, InvalidInput, "the AWS configuration is not valid; correct it"),
    (boto.BotoCoreError, StoreUnavailable, "boto3 failed"),
    (OSError, StoreUnavailable, "the connection failed; try again"),
)


def problem_of(error: Any) -> Problem:
    """Return what the ClientError *error* means."""
    code, status = _code(error), _status(error)
    return _CODES.get(code) or _STATUS.get(status, Problem.OTHER)


def was_retried(error: Any) -> bool:
    """Say whether the request was sent before: then it may have met its own effect."""
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts"))


def is_final(error: Any) -> bool:
    """Say whether the server certainly did not do what was asked, so that it will not be found done."""
    return _status(error) < 500 or problem_of(error) is Problem.UNSUPPORTED


def told(error: Exception, bucket: Bucket, path: str) -> VenvoyError:
    """Return *error* in our words, on one line."""
    what = path or "the listing"
    if isinstance(error, boto.ClientError):
        problem = problem_of(error)
        text = problem.value.format(
            path=what,
            location=bucket.location,
            bucket=bucket.options.bucket,
            code=_code(error),
            status=_status(error),
        )
        return _KINDS.get(problem, StoreUnavailable)(text)
    for kind, ours, text in _FAILURES:
        if isinstance(error, kind):
            suffix = f" ({type(error).__name__})" if kind is boto.BotoCoreError else ""
            return ours(f"{what} in {bucket.location}: {text}{suffix}")
    raise TypeError(f"{type(error).__name__} is not in the table") from error


@contextlib.contextmanager
def translated(bucket: Bucket, path: str) -> Iterator[None]:
    """Turn what botocore raises into our errors, about *path*."""
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, OSError) as error:
        # Not chained: what servers and botocore say may quote keys and signatures.
        raise told(error, bucket, path) from None


def _code(error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"[A-Za-z][A-Za-z0-9.]{0,60}|\d{3}", code) else "an unknown code"


def _status(error: Any) -> int:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = str(error.response.get("Error", {}).get("Code", ""))
    return int(status or (code if re.fullmatch(r"\d{3}", code) else 0))
