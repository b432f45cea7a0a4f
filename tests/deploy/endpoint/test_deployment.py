"""The endpoint that detects, as `up` makes and changes it on SageMaker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import ConfigurationError
from deploy.stages import Stage

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
STAGE = Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE})
LARGER = Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE, "max_pixels": "1000"})
NAME = "acme-dev"
CHANGING = ["Creating", "Updating", "SystemUpdating", "RollingBack"]
SageMaker = Any  # the stand-in of conftest.py
Up = Callable[[Stage], int]


def test_an_endpoint_is_made_with_all_that_it_needs(
    up: Up, sagemaker: SageMaker, client: Callable[[str], Any]
) -> None:
    up(STAGE)

    config = sagemaker.configs[sagemaker.endpoints[NAME]["EndpointConfigName"]]
    (variant,) = config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.c6i.xlarge", 1)
    model = sagemaker.models[variant["ModelName"]]
    assert model["PrimaryContainer"]["Image"] == IMAGE
    assert "ModelDataUrl" not in model["PrimaryContainer"]
    made = client("iam").get_role(RoleName=STAGE.endpoint_role)["Role"]
    assert model["ExecutionRoleArn"] == made["Arn"]
    for tagged in (
        config,
        model,
        {"Tags": sagemaker.tags[sagemaker.endpoints[NAME]["EndpointArn"]]},
    ):
        told = {tag["Key"]: tag["Value"] for tag in tagged["Tags"]}
        assert told == {"application": "sightloop", "stage": "dev"}


def test_the_server_is_told_where_it_is_and_what_touches_detection(
    up: Up, sagemaker: SageMaker
) -> None:
    changed = {"max_pixels": "1000", "prediction_ttl_days": "7", "live_version_ttl_seconds": "5"}
    up(Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE, **changed}))

    (model,) = sagemaker.models.values()
    assert model["PrimaryContainer"]["Environment"] == {
        "SIGHTLOOP_STAGE": "dev",
        "SIGHTLOOP_REGION": "eu-central-1",
        "SIGHTLOOP_STORE_BUCKET": "acme-dev-store-123456789012",
        "SIGHTLOOP_MAX_PIXELS": "1000",
        "SIGHTLOOP_LIVE_VERSION_TTL_SECONDS": "5.0",
    }


@pytest.mark.parametrize("status", ["InService", *CHANGING])
def test_a_second_deployment_changes_nothing(up: Up, sagemaker: SageMaker, status: str) -> None:
    up(STAGE)
    sagemaker.settle(NAME, status)
    sagemaker.changes.clear()

    up(STAGE)

    assert sagemaker.changes == []


def test_nothing_is_deployed_anew_for_a_setting_that_the_server_has_no_use_for(
    up: Up, sagemaker: SageMaker
) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    sagemaker.changes.clear()

    up(Stage(name="dev", prefix="acme", changed={**STAGE.changed, "prediction_ttl_days": "7"}))

    assert sagemaker.changes == []


def test_a_change_is_put_in_the_place_of_what_serves(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    before = sagemaker.endpoints[NAME]["EndpointConfigName"]
    sagemaker.changes.clear()

    up(LARGER)

    assert sagemaker.changes == ["CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]
    sagemaker.settle(NAME)
    assert sagemaker.endpoints[NAME]["EndpointConfigName"] != before


def test_another_machine_wants_no_other_model(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    sagemaker.changes.clear()

    up(Stage(name="dev", prefix="acme", changed={**STAGE.changed, "endpoint_instances": "2"}))

    assert sagemaker.changes == ["CreateEndpointConfig", "UpdateEndpoint"]


def test_what_served_before_goes_once_the_change_serves(up: Up, sagemaker: SageMaker) -> None:
    sagemaker.configs["acme-dev-2-0123456789ab"] = {}  # of the stage `dev-2`
    sagemaker.models["my-acme-dev-0123456789ab"] = {}  # somebody else's
    up(STAGE)
    sagemaker.settle(NAME)
    up(LARGER)
    up(LARGER)
    assert (len(sagemaker.models), len(sagemaker.configs)) == (3, 3)

    sagemaker.settle(NAME)
    up(LARGER)

    (row,) = sagemaker.endpoints.values()
    assert {*sagemaker.configs} == {row["EndpointConfigName"], "acme-dev-2-0123456789ab"}
    assert len(sagemaker.models) == 2
    assert "my-acme-dev-0123456789ab" in sagemaker.models


@pytest.mark.parametrize("status", [*CHANGING, "Deleting"])
def test_an_endpoint_that_takes_no_change_now_gets_it_later(
    up: Up, sagemaker: SageMaker, status: str
) -> None:
    up(STAGE)
    sagemaker.settle(NAME, status)
    sagemaker.changes.clear()

    with pytest.raises(ConfigurationError, match=f"acme-dev is {status} .* run this again"):
        up(LARGER)
    assert sagemaker.changes == []

    sagemaker.settle(NAME)
    up(LARGER)
    assert sagemaker.changes[-1] == "UpdateEndpoint"


@pytest.mark.parametrize("status", ["Failed", "OutOfService"])
def test_an_endpoint_that_failed_is_made_anew_and_says_why(
    up: Up, sagemaker: SageMaker, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    up(STAGE)
    sagemaker.settle(NAME, status, why="The image is not there.")
    sagemaker.changes.clear()

    assert up(STAGE) > 0  # until the name is free

    assert sagemaker.changes == ["DeleteEndpoint", "CreateEndpoint"]
    assert sagemaker.endpoints[NAME]["EndpointStatus"] == "Creating"
    assert f"acme-dev is {status}: The image is not there." in caplog.text


def test_a_change_that_failed_is_tried_again_and_says_why(
    up: Up, sagemaker: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    up(LARGER)
    sagemaker.settle(NAME, why="No machine was healthy.")  # rolled back
    sagemaker.changes.clear()

    up(LARGER)

    assert sagemaker.changes == ["UpdateEndpoint"]
    assert "No machine was healthy." in caplog.text


def test_a_mix_of_old_and_new_is_brought_to_the_new(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME, "UpdateRollbackFailed")
    sagemaker.changes.clear()

    up(STAGE)

    assert sagemaker.changes == ["UpdateEndpoint"]


def test_parts_that_somebody_deleted_are_made_again(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    parts = [{**sagemaker.models}, {**sagemaker.configs}]
    sagemaker.models.clear()
    sagemaker.configs.clear()

    up(STAGE)

    assert [sagemaker.models.keys(), sagemaker.configs.keys()] == [p.keys() for p in parts]


def test_a_role_that_sagemaker_does_not_know_yet_is_tried_again(
    up: Up, sagemaker: SageMaker
) -> None:
    arn = STAGE.role_arn(STAGE.endpoint_role)
    for _ in range(3):
        sagemaker.refuse("CreateModel", f"Could not assume role {arn}. Please ensure that …")

    assert up(STAGE) == 3

    assert len(sagemaker.models) == 1
    assert sagemaker.endpoints[NAME]["EndpointStatus"] == "Creating"


def test_a_role_that_sagemaker_never_takes_is_told(up: Up, sagemaker: SageMaker) -> None:
    arn = STAGE.role_arn(STAGE.endpoint_role)
    for _ in range(20):
        sagemaker.refuse("CreateModel", f"Could not assume role {arn}.")

    with pytest.raises(ConfigurationError, match=r"refuses .* acme-dev: Could not assume role"):
        up(STAGE)
    assert sagemaker.endpoints == {}


@pytest.mark.parametrize(
    ("operation", "words", "code"),
    [
        ("CreateModel", "Requested image … not found.", "ValidationException"),
        ("CreateEndpoint", "The account-level service limit … is 0.", "ResourceLimitExceeded"),
    ],
)
def test_what_sagemaker_refuses_is_told_and_mended_by_another_deployment(
    up: Up, sagemaker: SageMaker, operation: str, words: str, code: str
) -> None:
    sagemaker.refuse(operation, words, code)

    with pytest.raises(ConfigurationError, match=words):
        up(STAGE)
    assert sagemaker.endpoints == {}

    up(STAGE)
    assert sagemaker.endpoints[NAME]["EndpointStatus"] == "Creating"


@pytest.mark.parametrize("operation", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"])
def test_a_deployment_that_is_killed_is_gone_on_with(
    up: Up, sagemaker: SageMaker, operation: str
) -> None:
    sagemaker.break_off(operation, RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        up(STAGE)

    up(STAGE)

    assert (len(sagemaker.models), len(sagemaker.configs)) == (1, 1)
    assert sagemaker.endpoints[NAME]["EndpointStatus"] == "Creating"


def test_a_change_that_is_killed_is_gone_on_with(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    sagemaker.break_off("UpdateEndpoint", RuntimeError("killed"))
    with pytest.raises(RuntimeError, match="killed"):
        up(LARGER)
    sagemaker.changes.clear()

    up(LARGER)

    assert sagemaker.changes == ["UpdateEndpoint"]


def test_of_two_who_deploy_the_same_the_second_takes_what_the_first_made(
    up: Up, sagemaker: SageMaker
) -> None:
    """Somebody else makes a part between our looking for it and our making it."""
    up(STAGE)
    made = [{**sagemaker.models}, {**sagemaker.configs}]
    sagemaker.endpoints.clear()
    sagemaker.lists_nothing = True
    sagemaker.changes.clear()

    up(STAGE)

    assert sagemaker.changes == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert [sagemaker.models, sagemaker.configs] == made


def test_of_two_who_make_it_at_once_the_second_is_told_to_look_again(
    up: Up, sagemaker: SageMaker
) -> None:
    sagemaker.refuse("CreateEndpoint", "Cannot create already existing endpoint.")

    with pytest.raises(ConfigurationError, match="run this again in some minutes"):
        up(STAGE)


def test_somebody_elses_endpoint_of_the_name_is_left_alone(up: Up, sagemaker: SageMaker) -> None:
    up(STAGE)
    sagemaker.settle(NAME)
    arn = sagemaker.endpoints[NAME]["EndpointArn"]
    sagemaker.tags[arn] = [{"Key": "team", "Value": "other"}]
    sagemaker.changes.clear()

    with pytest.raises(ConfigurationError, match="an endpoint acme-dev that is not this stage's"):
        up(LARGER)

    assert sagemaker.changes == []


def test_an_image_that_is_not_in_ecr_is_refused_before_anything_is_made(
    up: Up, sagemaker: SageMaker, client: Callable[[str], Any]
) -> None:
    with pytest.raises(ConfigurationError, match="endpoint_image is 'serving:1'"):
        up(Stage(name="dev", prefix="acme", changed={"endpoint_image": "serving:1"}))

    assert sagemaker.changes == []
    assert client("iam").list_roles()["Roles"] == []


def test_the_longest_names_are_names_to_sagemaker(up: Up, sagemaker: SageMaker) -> None:
    """The stand-in holds each name to AWS's pattern and length."""
    up(Stage(name="s" * 20, prefix="p" * 20, changed={"endpoint_image": IMAGE}))

    assert max(map(len, [*sagemaker.models, *sagemaker.configs, *sagemaker.endpoints])) <= 63
