"""How we talk to AWS: one place that makes clients and turns botocore's errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import (
    ConfigurationError,
    Conflict,
    ObjectNotFound,
    SightloopError,
    Unavailable,
)

MISSING_OBJECT = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload", "NoSuchVersion"})
MISSING_RESOURCE = frozenset(
    {
        "NoSuchBucket",
        "ResourceNotFoundException",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
    }
)
CHANGED_MEANWHILE = frozenset(
    {
        "412",
        "PreconditionFailed",
        "ConditionalRequestConflict",
        "InvalidPart",
        "ConditionalCheckFailedException",
    }
)
REFUSED = frozenset({"403", "AccessDenied", "AccessDeniedException", "InvalidAccessKeyId"})


# What we can do without is not waited for: a detection is made here instead.
HASTY = {"sagemaker-runtime": {"read_timeout": 6, "retries": {"total_max_attempts": 1}}}


def client(service: str, region: str) -> Any:
    """Make a boto3 client that gives up in seconds rather than minutes.

    The endpoint and the credentials come from the standard variables (``AWS_ENDPOINT_URL``, …).
    """
    config = Config(
        connect_timeout=3,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 4},
        s3={"addressing_style": "virtual"},  # signs links to the region, which never redirects
    )
    hasty = Config(**HASTY.get(service, {}))
    return boto3.client(service, region_name=region, config=config.merge(hasty))


@contextmanager
def translated(unavailable: type[Unavailable], what: str) -> Iterator[None]:
    """Turn botocore's errors inside the block into ours.

    Parameters
    ----------
    unavailable : type[Unavailable]
        Raised for everything that a retry may mend.
    what : str
        What was being done, for the error's sentence.

    Raises
    ------
    ObjectNotFound
        The key does not exist.
    Conflict
        Somebody else wrote in between.
    ConfigurationError
        The bucket, queue or table does not exist, or we may not use it.
    Unavailable
        Anything else, as the class given.
    """
    try:
        yield
    except ClientError as error:
        raise _from_client_error(error, unavailable, what) from error
    except BotoCoreError as error:
        raise unavailable(f"{what}: {error}") from error


def _from_client_error(
    error: ClientError, unavailable: type[Unavailable], what: str
) -> SightloopError:
    code = error.response.get("Error", {}).get("Code", "")
    if code in MISSING_OBJECT:
        return ObjectNotFound(f"{what}: it does not exist")
    if code in CHANGED_MEANWHILE:
        return Conflict(f"{what}: somebody else wrote in between")
    if code in MISSING_RESOURCE or code in REFUSED:
        return ConfigurationError(f"{what}: {error}")
    return unavailable(f"{what}: {error}")
