"""Endpoints that a stage left behind when it got another prefix or region: they cost by the hour.

Nothing is deleted here, for somebody may still ask them directly: it is told, with the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from deploy import roles
from deploy.cloud import FORBIDDEN, ClientOf, code_of, log
from deploy.stages import Stage

DELETE = "aws sagemaker delete-endpoint --region {} --endpoint-name {}"


def tell(client: ClientOf, stage: Stage) -> list[str]:
    """Say which endpoints in the region have the stage's tags and another name than its own.

    Returns
    -------
    list[str]
        Their names; none where the deployer may not look.
    """
    try:
        names = sorted(_tagged(client("resourcegroupstaggingapi"), stage))
    except ClientError as error:
        if code_of(error) not in FORBIDDEN:
            raise
        log.info("whether %s left endpoints behind is not known: tag:GetResources", stage.name)
        return []
    strays = [name for name in names if not _is_gone(client("sagemaker"), name)]
    for name in strays:
        log.warning(
            "the endpoint %s was made for %s under another prefix; its functions do not ask it, "
            "and it costs by the hour. To delete it:\n  %s",
            name,
            stage.name,
            DELETE.format(stage.region, name),
        )
    return strays


def tell_of_move(before: Stage, after: Stage) -> None:
    """Say that an endpoint stays where a stage was, when its prefix or region changes."""
    is_same = (before.endpoint, before.region) == (after.endpoint, after.region)
    if not before.changed.get("endpoint_image") or is_same:
        return
    log.warning(
        "the endpoint %s in %s does not move along: where it was made, it goes on costing by the "
        "hour. Once %s is deployed anew, delete it:\n  %s",
        before.endpoint,
        before.region,
        after.name,
        DELETE.format(before.region, before.endpoint),
    )


def _tagged(tagging: Any, stage: Stage) -> Iterator[str]:
    """Find the endpoints that were made for the stage and that it does not ask."""
    pages = tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": tag["Key"], "Values": [tag["Value"]]} for tag in roles.tags(stage)],
        ResourceTypeFilters=["sagemaker:endpoint"],
    )
    for page in pages:
        for row in page["ResourceTagMappingList"]:
            name = str(row["ResourceARN"]).rpartition("/")[2]
            if name not in (stage.endpoint, stage.settings.endpoint.lower()):
                yield name


def _is_gone(sagemaker: Any, name: str) -> bool:
    """Tell whether it is gone, or about to be: tags outlive what they were on for a while."""
    try:
        status = sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
    except ClientError as error:
        return code_of(error) not in FORBIDDEN
    return bool(status == "Deleting")
