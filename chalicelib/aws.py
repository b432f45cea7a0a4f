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


# API Gateway gives up on a call after 29 s: three attempts that hang, and the pauses between them,
# take 24 s at most. Work that a queue hands out has minutes, and so has a deployment.
IN_A_CALL = Config(
    connect_timeout=2,
    read_timeout=7,
    retries={"mode": "standard", "total_max_attempts": 3},
    s3={"addressing_style": "virtual"},  # signs links to the region, which never redirects
)
IN_THE_BACKGROUND = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
)
# The table of limits is asked before anything is done: two attempts that hang, and the pause
# between them, take 6 s at most, so that a call is refused, or goes on without it, in good time.
BEFORE_A_CALL = Config(
    connect_timeout=1, read_timeout=2.5, retries={"mode": "standard", "total_max_attempts": 2}
)
# A detection does not need the endpoint: it is made in this process instead.
OPTIONAL = {
    "sagemaker-runtime": Config(
        connect_timeout=2, read_timeout=6, retries={"mode": "standard", "total_max_attempts": 1}
    )
}


def client(
    service: str, region: str, *, background: bool = False, before_a_call: bool = False
) -> Any:
    """Make a boto3 client whose timeouts fit the deadline of its callers.

    The endpoint and the credentials come from the standard variables (``AWS_ENDPOINT_URL``, …).

    Parameters
    ----------
    service : str
    region : str
    background : bool, optional
        Whether its callers have minutes and not the seconds of an HTTP call.
    before_a_call : bool, optional
        Whether it is asked before a call does what it is for.
    """
    config = IN_A_CALL.merge(OPTIONAL.get(service, Config()))
    if background:
        config = IN_A_CALL.merge(IN_THE_BACKGROUND)
    elif before_a_call:
        config = IN_A_CALL.merge(BEFORE_A_CALL)
    return boto3.client(service, region_name=region, config=config)


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
