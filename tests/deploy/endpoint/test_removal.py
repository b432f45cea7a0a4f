"""The endpoint that detects, as it is taken away: while it is there it costs by the hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy import endpoint
from deploy import roles as deployed_roles
from deploy.stages import Stage

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
STAGE = Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE})
WITHOUT = Stage(name="dev", prefix="acme")
NAME = "acme-dev"
SageMaker = Any  # the stand-in of conftest.py
Up = Callable[[Stage], int]
Client = Callable[[str], Any]


def roles(client: Client) -> list[str]:
    return [role["RoleName"] for role in client("iam").list_roles()["Roles"]]


@pytest.fixture
def serving(up: Up, sagemaker: SageMaker) -> SageMaker:
    """A SageMaker that has the stage's endpoint, and parts of one that served before."""
    up(STAGE)
    sagemaker.settle(NAME)
    up(Stage(name="dev", prefix="acme", changed={**STAGE.changed, "max_pixels": "1000"}))
    sagemaker.settle(NAME)
    sagemaker.changes.clear()
    return sagemaker


def is_all_gone(sagemaker: SageMaker, client: Client) -> bool:
    return not any([sagemaker.endpoints, sagemaker.configs, sagemaker.models, roles(client)])


def test_a_stage_without_an_image_any_more_has_no_endpoint(
    up: Up, serving: SageMaker, client: Client
) -> None:
    assert up(WITHOUT) > 0  # until it is gone, which its role and configuration outlive

    assert is_all_gone(serving, client)
    assert serving.changes[0] == "DeleteEndpoint"


def test_a_stage_that_never_had_one_does_not_even_ask(
    up: Up, sagemaker: SageMaker, client: Client
) -> None:
    """Whoever deploys without SageMaker may not be allowed to."""
    sagemaker.break_off("DescribeEndpoint", AssertionError("asked"))

    up(WITHOUT)
    endpoint.remove(client, WITHOUT)

    assert sagemaker.changes == []


def test_a_stage_that_is_taken_down_leaves_nothing(serving: SageMaker, client: Client) -> None:
    endpoint.remove(client, STAGE, lambda _: None)
    endpoint.remove(client, STAGE, lambda _: None)

    assert is_all_gone(serving, client)


@pytest.mark.parametrize("operation", ["DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"])
def test_a_removal_that_is_killed_is_gone_on_with(
    up: Up, serving: SageMaker, client: Client, operation: str
) -> None:
    serving.break_off(operation, RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        up(WITHOUT)
    assert roles(client) == [STAGE.endpoint_role]

    up(WITHOUT)

    assert is_all_gone(serving, client)


def test_a_role_that_was_half_deleted_is_deleted(up: Up, client: Client) -> None:
    up(STAGE)
    client("iam").delete_role_policy(RoleName=STAGE.endpoint_role, PolicyName="serve")

    deployed_roles.remove(client("iam"), STAGE.endpoint_role)

    assert roles(client) == []


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_what_cannot_be_deleted_now_is_deleted_later(
    up: Up, serving: SageMaker, client: Client, status: str
) -> None:
    serving.settle(NAME, status)

    with pytest.raises(ConfigurationError, match=f"in status {status}.* run this again"):
        up(WITHOUT)
    assert serving.endpoints
    assert roles(client) == [STAGE.endpoint_role]

    serving.settle(NAME)
    up(WITHOUT)
    assert is_all_gone(serving, client)


def test_one_that_is_being_deleted_is_waited_for(
    up: Up, serving: SageMaker, client: Client
) -> None:
    serving.settle(NAME, "Deleting")

    up(WITHOUT)

    assert "DeleteEndpoint" not in serving.changes
    assert is_all_gone(serving, client)


def test_one_that_is_not_gone_after_a_while_keeps_its_role(
    up: Up, serving: SageMaker, client: Client
) -> None:
    serving.looks_until_gone = 1000

    with pytest.raises(ConfigurationError, match="acme-dev is not gone yet: run this again"):
        up(WITHOUT)

    assert roles(client) == [STAGE.endpoint_role]


def test_an_endpoint_that_is_named_as_ones_own_stays(up: Up, serving: SageMaker) -> None:
    up(Stage(name="dev", prefix="acme", changed={"endpoint": NAME}))

    assert serving.changes == []


def test_somebody_elses_endpoint_of_the_name_stays(
    up: Up, serving: SageMaker, client: Client
) -> None:
    row = serving.endpoints[NAME]
    serving.tags[row["EndpointArn"]] = []
    serving.configs["by-hand"] = serving.configs.pop(row["EndpointConfigName"])
    row["EndpointConfigName"] = "by-hand"

    up(WITHOUT)

    assert list(serving.endpoints) == [NAME]
    assert list(serving.configs) == ["by-hand"]
    assert roles(client) == []


@pytest.mark.parametrize("operation", ["DeleteEndpointConfig", "DeleteModel"])
def test_a_part_that_somebody_else_deleted_meanwhile_is_no_matter(
    up: Up, serving: SageMaker, client: Client, operation: str
) -> None:
    """Of two removals at once: the part is listed, and gone when this one comes to it."""
    serving.refuse(operation, "Could not find it.")

    up(WITHOUT)

    assert serving.endpoints == {}
    assert roles(client) == []


def test_a_part_that_may_not_be_deleted_is_told(up: Up, serving: SageMaker, client: Client) -> None:
    serving.refuse("DeleteModel", "not authorized", "AccessDeniedException")

    with pytest.raises(ClientError, match=r"AccessDenied.* DeleteModel .*not authorized"):
        up(WITHOUT)

    assert roles(client) == [STAGE.endpoint_role]
