"""The endpoint that detects, with as many machines as its calls want."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy import endpoint
from deploy.stages import Stage, with_changes

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
FIXED = Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE})
NAME = "acme-dev"
SageMaker = Any  # the stand-ins of conftest.py
AutoScaling = Any
Up = Callable[[Stage], int]
Client = Callable[[str], Any]


def changed(stage: Stage, **settings: str) -> Stage:
    return with_changes(stage, changed={**stage.changed, **settings})


SCALING = changed(FIXED, endpoint_instances_most="4")


@pytest.fixture
def serving(up: Up, sagemaker: SageMaker, autoscaling: AutoScaling) -> SageMaker:
    """A SageMaker whose endpoint scales, and has three machines just now."""
    up(SCALING)
    sagemaker.settle(NAME)
    up(SCALING)
    sagemaker.set_count(NAME, 3)
    sagemaker.changes.clear()
    autoscaling.changes.clear()
    return sagemaker


def test_an_endpoint_scales_once_it_is_in_service(
    up: Up, sagemaker: SageMaker, autoscaling: AutoScaling, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    up(SCALING)
    assert autoscaling.changes == []
    assert "how it scales is set when it is in service and this is run again" in caplog.text

    sagemaker.settle(NAME)
    up(SCALING)

    assert autoscaling.bounds(NAME) == (1, 4)
    (policy,) = autoscaling.policies.values()
    assert policy["TargetTrackingScalingPolicyConfiguration"] == {
        "TargetValue": 600,
        "PredefinedMetricSpecification": {
            "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
        },
    }
    assert "acme-dev scales: 1 to 4 machines" in caplog.text


def test_a_second_deployment_changes_nothing_of_what_scales(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    up(SCALING)

    assert (serving.changes, autoscaling.changes) == ([], [])
    assert serving.count(NAME) == 3


@pytest.mark.parametrize(
    "setting", [{"endpoint_instances_most": "8"}, {"endpoint_calls_per_minute": "90"}]
)
def test_other_bounds_or_calls_change_how_it_scales_and_not_the_endpoint(
    up: Up, serving: SageMaker, autoscaling: AutoScaling, setting: dict[str, str]
) -> None:
    up(changed(SCALING, **setting))

    assert serving.changes == []
    assert autoscaling.changes == ["RegisterScalableTarget", "PutScalingPolicy"]
    assert autoscaling.bounds(NAME) == (1, int(setting.get("endpoint_instances_most", 4)))
    (policy,) = autoscaling.policies.values()
    target = policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
    assert target == int(setting.get("endpoint_calls_per_minute", 600))


def test_a_change_keeps_the_machines_that_calls_asked_for(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    up(changed(SCALING, max_pixels="1000"))
    serving.settle(NAME)

    assert serving.changes == ["CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]
    assert serving.count(NAME) == 3
    assert autoscaling.changes == []


def test_another_machine_is_put_in_while_nothing_scales(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    """SageMaker refuses it otherwise."""
    larger = changed(SCALING, endpoint_instance="ml.c6i.2xlarge")

    up(larger)
    assert autoscaling.targets == {}
    serving.settle(NAME)
    up(larger)

    assert autoscaling.bounds(NAME) == (1, 4)
    assert serving.count(NAME) == 3


def test_more_machines_at_least_are_more_at_once(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    serving.set_count(NAME, 1)
    wider = changed(SCALING, endpoint_instances="2")

    up(wider)
    serving.settle(NAME)
    up(wider)

    assert autoscaling.bounds(NAME) == (2, 4)
    assert serving.count(NAME) == 2


def test_where_it_is_to_scale_no_more_its_machines_are_as_many_as_before(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    up(FIXED)

    assert (autoscaling.targets, autoscaling.policies) == ({}, {})
    assert serving.changes == ["UpdateEndpointWeightsAndCapacities"]
    assert serving.count(NAME) == 1

    serving.settle(NAME)
    up(FIXED)
    assert serving.changes == ["UpdateEndpointWeightsAndCapacities"]


def test_scaling_that_ends_with_another_change_leaves_no_machines_behind(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    up(changed(FIXED, max_pixels="1000"))
    serving.settle(NAME)

    assert autoscaling.targets == {}
    assert serving.count(NAME) == 1


@pytest.mark.parametrize("operation", ["RegisterScalableTarget", "PutScalingPolicy"])
def test_a_deployment_that_is_killed_goes_on_with_scaling(
    up: Up, sagemaker: SageMaker, autoscaling: AutoScaling, operation: str
) -> None:
    up(SCALING)
    sagemaker.settle(NAME)
    autoscaling.break_off(operation, RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        up(SCALING)

    up(SCALING)

    assert autoscaling.bounds(NAME) == (1, 4)
    assert len(autoscaling.policies) == 1


def test_scaling_whose_end_was_killed_ends(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    serving.break_off("UpdateEndpointWeightsAndCapacities", RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        up(FIXED)
    assert serving.count(NAME) == 3

    up(FIXED)

    assert serving.count(NAME) == 1


def test_of_two_who_change_it_at_once_the_second_is_told_to_look_again(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    autoscaling.refuse("RegisterScalableTarget", "You cannot …", "ConcurrentUpdateException")

    with pytest.raises(ConfigurationError, match="run this again in some minutes"):
        up(changed(SCALING, endpoint_instances_most="8"))


def test_of_two_who_end_it_at_once_the_second_finds_it_ended(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    autoscaling.refuse("DeregisterScalableTarget", "None.", "ObjectNotFoundException")

    up(FIXED)

    assert serving.count(NAME) == 1


def test_an_endpoint_that_goes_leaves_nothing_that_scales_it(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    up(changed(SCALING, endpoint_image=""))

    assert serving.endpoints == {}
    assert (autoscaling.targets, autoscaling.policies) == ({}, {})


def test_what_scaled_an_endpoint_that_somebody_deleted_goes_too(
    client: Client, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    serving.endpoints.clear()

    endpoint.remove(client, SCALING, lambda _: None)

    assert autoscaling.targets == {}


def test_an_endpoint_that_failed_is_made_anew_and_scales_again(
    up: Up, serving: SageMaker, autoscaling: AutoScaling
) -> None:
    serving.settle(NAME, "Failed", why="The image is gone.")
    up(SCALING)
    assert autoscaling.targets == {}

    serving.settle(NAME)
    up(SCALING)

    assert autoscaling.bounds(NAME) == (1, 4)


def test_who_never_had_it_scale_need_not_be_allowed_to(
    up: Up, sagemaker: SageMaker, autoscaling: AutoScaling
) -> None:
    up(FIXED)
    sagemaker.settle(NAME)
    for _ in range(2):
        autoscaling.refuse("DescribeScalableTargets", "not authorized", "AccessDeniedException")

    up(FIXED)
    up(changed(FIXED, endpoint_image=""))

    assert sagemaker.endpoints == {}


def test_who_has_it_scale_has_to_be_allowed_to(
    up: Up, sagemaker: SageMaker, autoscaling: AutoScaling
) -> None:
    up(SCALING)
    sagemaker.settle(NAME)
    autoscaling.refuse("RegisterScalableTarget", "not authorized", "AccessDeniedException")

    with pytest.raises(ClientError, match=r"AccessDenied.* RegisterScalableTarget"):
        up(SCALING)


@pytest.mark.parametrize(("least", "most"), [("2", "1"), ("2", "2")])
def test_bounds_between_which_nothing_scales_are_refused(least: str, most: str) -> None:
    with pytest.raises(ConfigurationError, match=f"endpoint_instances_most is {most}: .* {least}"):
        changed(FIXED, endpoint_instances=least, endpoint_instances_most=most)
