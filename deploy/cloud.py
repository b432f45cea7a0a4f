"""What the steps of a deployment share: how to reach AWS, and whether it is AWS at all."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from chalicelib import aws

log = logging.getLogger("deploy")

ClientOf = Callable[[str], Any]
FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException"})
NOT_OFFERED = frozenset(
    {
        "501",
        "InvalidAction",
        "MethodNotAllowed",
        "NotImplemented",
        "NotImplementedError",
        "UnknownOperationException",
        "UnsupportedOperation",
    }
)


def clients(region: str) -> ClientOf:
    """Return a function from a service's name to its client, each made once."""
    return functools.cache(functools.partial(aws.client, region=region, background=True))


def is_aws(client: Any) -> bool:
    """Tell AWS itself from a stand-in, by the client's endpoint.

    Examples
    --------
    >>> import boto3
    >>> is_aws(boto3.client("sqs", region_name="eu-central-1", endpoint_url="http://127.0.0.1:1"))
    False
    """
    host = urlsplit(str(client.meta.endpoint_url)).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def code_of(error: ClientError) -> str:
    """Return the code with which AWS named an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def tolerated_on_stand_ins(client: Any, what: str) -> Iterator[None]:
    """Let a stand-in go without a feature that it does not offer; AWS has to offer it."""
    try:
        yield
    except ClientError as error:
        if is_aws(client) or code_of(error) not in NOT_OFFERED:
            raise
        log.warning("this stand-in for AWS cannot %s (%s)", what, code_of(error))
