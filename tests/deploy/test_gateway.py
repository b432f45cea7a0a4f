"""What API Gateway answers by itself looks like what the app answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from app import app
from chalicelib.settings import Settings
from chalicelib.web.problems import ProblemDocument
from deploy.gateway import FORM_ROUTES, REFUSALS, finish


@pytest.fixture
def apigateway() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("apigateway", region_name="eu-central-1")


@pytest.fixture
def api_id(apigateway: Any) -> str:
    """Return an API of one method, which is the least that can be deployed."""
    api = apigateway.create_rest_api(name="sightloop")["id"]
    root = apigateway.get_resources(restApiId=api)["items"][0]["id"]
    method = {"restApiId": api, "resourceId": root, "httpMethod": "GET"}
    apigateway.put_method(**method, authorizationType="NONE")
    apigateway.put_integration(**method, type="MOCK")
    return str(api)


def test_every_refusal_is_a_whole_problem(apigateway: Any, api_id: str) -> None:
    finish(apigateway, api_id, "api", Settings())

    told = {
        each["responseType"]: each
        for each in apigateway.get_gateway_responses(restApiId=api_id)["items"]
        if each["responseType"] in REFUSALS
    }
    assert set(told) == set(REFUSALS)
    for response in told.values():
        problem = ProblemDocument.model_validate_json(
            response["responseTemplates"]["application/json"]
        )
        assert str(problem.status) == str(response["statusCode"])
        assert problem.instance == "$context.path"
        assert problem.correlation_id == "$context.requestId"
        headers = response["responseParameters"]
        assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
        assert headers["gatewayresponse.header.X-Correlation-Id"] == "context.requestId"
        assert ("gatewayresponse.header.Retry-After" in headers) is problem.retry


def test_refusals_are_deployed_to_the_stage(apigateway: Any, api_id: str) -> None:
    finish(apigateway, api_id, "api", Settings())
    finish(apigateway, api_id, "api", Settings())

    stages = [stage["stageName"] for stage in apigateway.get_stages(restApiId=api_id)["item"]]
    assert stages == ["api"]
    assert len(apigateway.get_deployments(restApiId=api_id)["items"]) == 2


def test_a_path_with_quotes_cannot_break_out_of_the_document() -> None:
    """API Gateway fills in text: only what it encodes itself may be named."""
    for refusal in REFUSALS.values():
        template = refusal.settings()["responseTemplates"]["application/json"]
        named = {part.split('"')[0] for part in template.split("$")[1:]}
        assert named == {"context.path", "context.requestId"}
        json.loads(template)


def test_a_body_that_is_too_large_is_sent_to_uploads() -> None:
    assert "POST /v1/uploads" in REFUSALS["REQUEST_TOO_LARGE"].detail


def test_a_stage_is_throttled_and_its_forms_more(apigateway: Any, api_id: str) -> None:
    rates = {"throttle_calls_per_second": 40.5, "throttle_burst": 80}
    finish(apigateway, api_id, "api", Settings(**rates, throttle_forms_burst=7))

    told = apigateway.get_stage(restApiId=api_id, stageName="api")["methodSettings"]
    limits = {
        method: (each["throttlingRateLimit"], each["throttlingBurstLimit"])
        for method, each in told.items()
    }
    forms = {f"{path.replace('/', '~1')}/POST": (5, 7) for path in FORM_ROUTES}
    assert limits == {"*/*": (40.5, 80), **forms}


def test_routes_that_give_out_forms_are_those_that_are_throttled() -> None:
    giving = {path for path in app.routes if path.endswith(("/uploads", "/imports"))}

    assert giving == set(FORM_ROUTES)
    assert all("POST" in app.routes[path] for path in FORM_ROUTES)
