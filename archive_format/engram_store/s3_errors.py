"""What the answers of an S3 server, and the lack of one, mean to the caller of a backend.

Messages carry the server's short code, never its text, which may repeat what was sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from botocore import exceptions as boto
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from engram_format.errors import (
    Damaged,
    Denied,
    EngramError,
    Exhausted,
    InvalidInput,
    NotFound,
    Precondition,
    Unavailable,
)
from engram_store.object_key import no_such_object

_DENIED = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_FULL = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
)
_GARBLED = frozenset(
    {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
)
_OTHER_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"})
_BUSY = frozenset(
    {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"}
)
_BUSY_STATUS = frozenset({408, 409, 425, 429})
_UNPROVEN = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.UnauthorizedSSOTokenError,
    boto.NoAuthTokenError,
)


@dataclass(frozen=True, slots=True)
class S3Task:
    """What was attempted: `doing` (read, write, list, delete) with a key, or with the bucket if there is no key."""

    doing: str
    bucket: str
    key: str = ""

    def __str__(self) -> str:
        where = f"s3://{self.bucket}"
        return f"{self.doing} {self.key!r} in {where}" if self.key else f"{self.doing} {where}"


def answers_taken(error: ClientError) -> bool:
    """Tell whether the server refused a conditional PUT because the object is there."""
    return _status_of(error) == 412


def answers_range_error(error: ClientError) -> bool:
    """Tell whether the server holds the object but not the first byte that was asked for."""
    return _status_of(error) == 416


def error_for_answer(error: ClientError, task: S3Task) -> EngramError:
    """Return our error for a server's refusal."""
    code, status = _code_of(error), _status_of(error)
    said = f"{code}, status {status}"
    if code == "NoSuchBucket":
        return NotFound(
            f"cannot {task} because there is no bucket {task.bucket!r}; create it or check the name and the endpoint"
        )
    if status == 404:
        if task.doing == "read":
            return no_such_object(f"s3://{task.bucket}", task.key)
        return NotFound(f"cannot {task} ({said}); check the bucket {task.bucket!r} and the endpoint")
    if code in _DENIED or status in {401, 403}:
        return Denied(f"not allowed to {task} ({said}); check the AWS credentials, the clock and the bucket's policy")
    if code in _FULL or status == 507:
        return Exhausted(f"cannot {task} ({said}); make room in the store or raise its quota")
    if code == "EntityTooLarge":
        return InvalidInput(f"cannot {task} because the store takes no object of that size; raise its limit")
    if code in _OTHER_REGION or status in {301, 307}:
        return Precondition(f"cannot {task} because the bucket is in another region ({said}); set AWS_REGION to it")
    if code in _GARBLED:
        return Unavailable(f"cannot {task} because the bytes changed on their way ({said}); try again")
    if code in _BUSY or status in _BUSY_STATUS or status >= 500:
        return Unavailable(f"cannot {task} now ({said}); try again")
    return Precondition(
        f"cannot {task} because the server refuses the request ({said}); check the endpoint and the bucket"
    )


def error_for_transport(error: boto.BotoCoreError | HTTPError | OSError, task: S3Task) -> EngramError:
    """Return our error for a request that could not be made or was not answered."""
    kind = type(error).__name__
    if isinstance(error, _UNPROVEN):
        return Denied(
            f"cannot {task} without AWS credentials ({kind}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
        )
    if isinstance(error, boto.FlexibleChecksumError):
        return Damaged(
            f"cannot {task} because the bytes do not have the checksum that the store keeps; repair the object"
        )
    if isinstance(error, boto.ParamValidationError):
        return InvalidInput(f"cannot {task} because S3 allows no such name; mend the location")
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError | boto.IncompleteReadError | HTTPError | OSError):
        return Unavailable(
            f"cannot {task} because the server does not answer ({kind}); check the network and try again"
        )
    return Precondition(f"cannot {task} with these AWS settings ({kind}); mend the profile, region or endpoint")


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
