"""Who may ask the endpoint that detects."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.policies import policy
from deploy.stages import FUNCTIONS, Stage

DETECT = ("api_handler", "identify")
STAGE = Stage(name="dev", prefix="acme", changed={"endpoint_image": "an/image:1"})


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
def test_an_endpoint_made_by_hand_is_named_as_sagemaker_writes_it(function: str) -> None:
    (statement,) = asked_by(Stage(name="dev", changed={"endpoint": "By-Hand"}), function)

    assert statement["Resource"] == ["arn:aws:sagemaker:eu-central-1:123456789012:endpoint/by-hand"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_an_endpoint_nobody_may_ask_one(function: str) -> None:
    assert asked_by(Stage(name="dev"), function) == []
