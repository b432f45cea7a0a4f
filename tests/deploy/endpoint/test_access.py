"""Who may ask the endpoint that detects, and what its server may do."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from chalicelib.catalog.model import model_key, version_key
from chalicelib.settings import Settings
from chalicelib.wiring import Services
from deploy import bundled, endpoint
from deploy.policies import policy
from deploy.stages import FUNCTIONS, Stage
from sagemaker.serving.follower import Follower

ROOT = Path(__file__).parent.parent.parent.parent
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
DETECT = ("api_handler", "identify", "converse")
STAGE = Stage(name="dev", prefix="acme", changed={"endpoint_image": IMAGE})


def asked_by(stage: Stage, function: str) -> list[dict[str, Any]]:
    """Return what a function's policy says of asking endpoints."""
    return [
        statement
        for statement in policy(stage, function)["Statement"]
        if any(action.startswith("sagemaker:") for action in statement["Action"])
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_who_detects_may_ask_the_stages_endpoint_and_nobody_else(function: str) -> None:
    allowed = asked_by(STAGE, function)

    if function not in DETECT:
        assert allowed == []
        return
    (statement,) = allowed
    assert statement["Action"] == ["sagemaker:InvokeEndpoint"]
    assert statement["Resource"] == [
        "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/acme-dev"
    ]


@pytest.mark.parametrize("function", DETECT)
def test_an_endpoint_made_by_hand_is_named_as_sagemaker_writes_it_too(function: str) -> None:
    (statement,) = asked_by(Stage(name="dev", changed={"endpoint": "By-Hand"}), function)

    endpoints = "arn:aws:sagemaker:eu-central-1:123456789012:endpoint"
    assert statement["Resource"] == [f"{endpoints}/By-Hand", f"{endpoints}/by-hand"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_an_endpoint_nobody_may_ask_one(function: str) -> None:
    assert asked_by(Stage(name="dev"), function) == []


def test_only_sagemaker_may_take_the_servers_role_and_for_this_account() -> None:
    (statement,) = endpoint.role(STAGE).trust["Statement"]

    assert statement["Principal"] == {"Service": "sagemaker.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_the_server_may_do_what_it_does() -> None:
    arn = "arn:aws:{}:eu-central-1:123456789012:{}".format
    group = "log-group:/aws/sagemaker/Endpoints/acme-dev"

    assert _allows("s3:GetObject", _object(model_key("scratch")))
    assert _allows("s3:GetObject", _object(version_key("scratch", 3, "model.onnx")))
    assert _allows("s3:ListBucket", STAGE.bucket_arn(STAGE.settings.store_bucket))
    assert _allows("logs:PutLogEvents", arn("logs", f"{group}:log-stream:live/i-1"))
    assert _allows("ecr:BatchGetImage", arn("ecr", "repository/sightloop-serving"))


def test_the_server_may_make_every_call_it_makes_and_is_told_enough_to() -> None:
    """It follows the store by the settings that SageMaker hands it, and asks nothing it may not."""
    told = endpoint.model(STAGE)["PrimaryContainer"]["Environment"]
    called: set[tuple[str, str]] = set()
    with mock_aws():
        s3 = boto3.client("s3", region_name="eu-central-1")
        s3.create_bucket(
            Bucket=STAGE.settings.store_bucket,
            CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
        )
        bundled.register(Services(STAGE.settings, {"s3": s3}), ROOT / "models")
        s3.meta.events.register(
            "provide-client-params.s3",
            lambda params, model, **_: called.add(
                (model.name, params.get("Key", params.get("Prefix")))
            ),
        )
        services = Services(Settings.from_environment(told), {"s3": s3})
        Follower(services.inference, services.catalog, most=2).look()

        assert services.inference.warm() == ["scratch"]

    reads = {key for name, key in called if name != "ListObjectsV2"}
    assert {name for name, _ in called} == {"GetObject", "ListObjectsV2"}
    assert {version_key("scratch", 1, "model.onnx"), model_key("scratch")} <= reads
    assert all(_allows("s3:GetObject", _object(key)) for key in reads)
    assert {key for name, key in called if name == "ListObjectsV2"} == {"models/"}


def test_the_server_may_not_do_more() -> None:
    statements = endpoint.role(STAGE).policy["Statement"]

    assert {statement["Sid"]: statement["Action"] for statement in statements} == {
        "ReadModels": ["s3:GetObject"],
        "ListModels": ["s3:ListBucket"],
        "KeepLogs": [
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
        ],
        "KeepMetrics": ["cloudwatch:PutMetricData"],
        "EnterRegistry": ["ecr:GetAuthorizationToken"],
        "FetchImage": [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ],
    }
    on_all = {s["Sid"]: s.get("Condition") for s in statements if s["Resource"] == ["*"]}
    metrics = {"StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"}}
    assert on_all == {"KeepMetrics": metrics, "EnterRegistry": None}
    (listing,) = (s for s in statements if s["Sid"] == "ListModels")
    assert listing["Condition"] == {"StringLikeIfExists": {"s3:prefix": ["models/*"]}}
    for key in ("predictions/x/image.jpg", "pending_models/x/model.yaml", "deployments/dev.json"):
        assert not _allows("s3:GetObject", _object(key))
    of_others = "arn:aws:{}:eu-central-1:123456789012:{}".format
    assert not _allows("ecr:BatchGetImage", of_others("ecr", "repository/sightloop-serving-2"))
    other = "log-group:/aws/sagemaker/Endpoints/acme-dev-2"
    assert not _allows("logs:PutLogEvents", of_others("logs", f"{other}:log-stream:x"))


def _object(key: str) -> str:
    return STAGE.bucket_arn(STAGE.settings.store_bucket, key)


def _allows(action: str, resource: str) -> bool:
    return any(
        action in statement["Action"]
        and any(fnmatchcase(resource, each) for each in statement["Resource"])
        for statement in endpoint.role(STAGE).policy["Statement"]
    )
