"""The OpenAPI document: valid, complete, and pleasant to generate a client from."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from app import app
from chalicelib.errors import SightloopError
from chalicelib.web import openapi
from chalicelib.web.problems import ProblemDocument
from chalicelib.web.routes import PAGES, VERSION, documented

UNDOCUMENTED = {*PAGES, "/static/{name}", "/static/vendor/{name}", "/samples/{name}"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(json.dumps(openapi.document(documented, VERSION)))


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_is_valid(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1.")


def test_what_is_served_is_described_and_the_reverse(operations: dict[str, Any]) -> None:
    served = {
        f"{method} {path}"
        for path, methods in app.routes.items()
        for method in methods
        if method != "HEAD" and path not in UNDOCUMENTED
    }

    assert set(operations) == served


def test_every_get_is_served_as_head_too() -> None:
    for path, methods in app.routes.items():
        assert ("HEAD" in methods) is ("GET" in methods), path


def test_every_operation_says_what_it_does(
    document: dict[str, Any], operations: dict[str, Any]
) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for named, operation in operations.items():
        assert operation["summary"], named
        assert operation["description"], named
        assert set(operation["tags"]) <= tags, named


def test_operations_have_names_that_clients_can_use(operations: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations.values()]

    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in names), names


def test_every_parameter_and_field_is_described(
    document: dict[str, Any], operations: dict[str, Any]
) -> None:
    for named, operation in operations.items():
        for parameter in operation["parameters"]:
            assert parameter.get("description"), (named, parameter["name"])
    for name, schema in document["components"]["schemas"].items():
        if "enum" not in schema:
            assert schema.get("description"), name


def test_no_query_can_say_null(operations: dict[str, Any]) -> None:
    asked = [p for operation in operations.values() for p in operation.get("parameters", [])]
    sent = [p for p in asked if p["in"] == "query"]
    assert len(sent) > 20
    assert [p["name"] for p in sent if "null" in json.dumps(p["schema"])] == []


def test_every_answer_names_its_request(operations: dict[str, Any]) -> None:
    for named, operation in operations.items():
        for status, answer in operation["responses"].items():
            assert "X-Correlation-Id" in answer["headers"], (named, status)
            assert answer["description"], (named, status)


def test_every_refusal_is_a_problem_with_an_example_of_each_kind(
    document: dict[str, Any], operations: dict[str, Any]
) -> None:
    schema = {
        "$ref": "#/components/schemas/ProblemDocument",
        "components": document["components"],
    }
    for operation in operations.values():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                media = answer["content"]["application/problem+json"]
                for name, example in media["examples"].items():
                    Draft202012Validator(schema).validate(example["value"])
                    assert example["value"]["type"] == f"urn:sightloop:problem:{name}"
                    assert example["value"]["status"] == int(status)


def test_examples_match_their_schemas(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        whole = {**schema, "components": document["components"]}
        for example in schema.get("examples", []):
            Draft202012Validator(whole).validate(example)
        for field, described in schema.get("properties", {}).items():
            inner = {**described, "components": document["components"]}
            for example in described.get("examples", []):
                Draft202012Validator(inner).validate(example), (name, field)


def test_every_post_takes_an_idempotency_key_and_says_what_follows(
    operations: dict[str, Any],
) -> None:
    for named, operation in operations.items():
        names = [parameter["name"] for parameter in operation["parameters"]]
        assert ("Idempotency-Key" in names) is named.startswith("POST"), named
        if named.startswith("POST"):
            kinds = {
                kind
                for status in ("409", "422")
                for kind in operation["responses"][status]["content"]["application/problem+json"][
                    "examples"
                ]
            }
            assert {"idempotency-key-in-use", "idempotency-key-reused"} <= kinds, named
            done = [answer for status, answer in operation["responses"].items() if status < "300"]
            assert all("Idempotency-Replayed" in answer["headers"] for answer in done), named


def test_what_a_quota_bounds_says_so(operations: dict[str, Any]) -> None:
    bounded = {named for named, each in operations.items() if "429" in each["responses"]}

    assert bounded == {
        "POST /v1/models/{model}/detections",
        "POST /v1/models/{model}/imports",
        "POST /v1/models/{model}/submissions",
        "POST /v1/models/{model}/tasks",
        "POST /v1/pending-models",
        "POST /v1/pending-models/{model}/images",
        "POST /v1/pending-models/{model}/imports",
        "POST /v1/pending-models/{model}/submissions",
        "POST /v1/pending-models/{model}/uploads",
        "POST /v1/uploads",
    }
    for named in bounded:
        assert "Retry-After" in operations[named]["responses"]["429"]["headers"], named


def test_errors_are_told_down_to_their_leaves(operations: dict[str, Any]) -> None:
    examples = operations["POST /v1/models/{model}/detections"]["responses"]["422"]["content"]

    assert set(examples["application/problem+json"]["examples"]) == {
        "empty-image",
        "not-an-image",
        "truncated-image",
        "animated-image",
        "too-many-pixels",
        "idempotency-key-reused",
    }


def test_problems_of_every_kind_fit_the_schema(document: dict[str, Any]) -> None:
    assert set(document["components"]["schemas"]["ProblemDocument"]["required"]) >= {
        "type",
        "title",
        "status",
        "detail",
        "correlation_id",
    }
    assert ProblemDocument.model_fields["type"].is_required()
    assert SightloopError.type_uri() == "urn:sightloop:problem:internal-error"
