"""Every route of the document refuses what it does not know, and no boolean is a number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.web import openapi
from chalicelib.web.api import Operation
from chalicelib.web.routes import VERSION, documented

DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document(documented, VERSION)))
OPERATIONS = [each for each in documented if each.documented]
JSON = "application/json"
AS_TELEGRAM = {"x_telegram_bot_api_secret_token": "wrong"}
Gateway = Any


def _named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def _target(operation: Operation) -> str:
    path = operation.path.replace("{model}", "scratch")
    return path.replace("{version}", "1").replace("{", "").replace("}", "")


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return described


def _bodies(operation: Operation) -> list[dict[str, Any]]:
    """Return the schemas of a route's JSON body; one that says nothing of itself is left out."""
    content = _described(operation).get("requestBody", {}).get("content", {})
    schema = content.get(JSON, {}).get("schema", {})
    return [each for each in _alternatives(schema) if "additionalProperties" in each]


def _alternatives(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _alternatives(DOCUMENT["components"]["schemas"][name])
        return
    inner = schema.get("anyOf") or schema.get("oneOf")
    for each in inner or []:
        yield from _alternatives(each)
    if not inner:
        yield schema


def _numbers(schema: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where numbers are in a body; `0` stands for an item of a list."""
    for each in _alternatives(schema):
        if each.get("type") in ("integer", "number"):
            yield at
        for name, inner in each.get("properties", {}).items():
            yield from _numbers(inner, (*at, name))
        if "items" in each:
            yield from _numbers(each["items"], (*at, "0"))


def _filled(at: tuple[str, ...], value: object) -> object:
    """Return a body that has nothing but a value at a place."""
    if not at:
        return value
    inner = _filled(at[1:], value)
    return [inner] if at[0] == "0" else {at[0]: inner}


NUMBERS = [
    (operation, at)
    for operation in OPERATIONS
    for body in _bodies(operation)
    for at in dict.fromkeys(_numbers(body))
]
INTEGERS_IN_QUERIES = [
    (operation, parameter["name"])
    for operation in OPERATIONS
    for parameter in _described(operation)["parameters"]
    if parameter["in"] == "query" and parameter["schema"].get("type") in ("integer", "number")
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=_named)
def test_an_unknown_parameter_is_refused(
    gateway: Gateway, as_operator: dict[str, str], operation: Operation
) -> None:
    sent = {**as_operator, "content_type": JSON}

    answer = gateway(operation.method, f"{_target(operation)}?surprise=1", b"{}", **sent)

    assert answer.status == 400, answer.body
    assert "query.surprise" in {fault["where"] for fault in answer.json["faults"]}


@pytest.mark.parametrize("operation", OPERATIONS, ids=_named)
def test_a_parameter_that_is_said_twice_is_refused(
    gateway: Gateway, as_operator: dict[str, str], operation: Operation
) -> None:
    target = f"{_target(operation)}?limit=1&limit=2"

    answer = gateway(operation.method, target, b"{}", **as_operator, content_type=JSON)

    assert answer.status == 400, answer.body
    assert "limit" in answer.json["detail"]


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if _bodies(each)], ids=_named)
def test_an_unknown_field_of_a_body_is_refused(
    gateway: Gateway, as_operator: dict[str, str], operation: Operation
) -> None:
    body = b'{"surprise": 1}'

    answer = gateway(operation.method, _target(operation), body, **as_operator, content_type=JSON)

    assert answer.status == 400, answer.body
    assert any(fault["where"].endswith("surprise") for fault in answer.json["faults"])


@pytest.mark.parametrize(
    ("operation", "at"), NUMBERS, ids=lambda each: each if isinstance(each, tuple) else _named(each)
)
@pytest.mark.parametrize("value", [False, True, "7"])
def test_no_boolean_and_no_text_is_taken_for_a_number(
    gateway: Gateway,
    as_operator: dict[str, str],
    operation: Operation,
    at: tuple[str, ...],
    value: object,
) -> None:
    body = json.dumps(_filled(at, value)).encode()

    answer = gateway(operation.method, _target(operation), body, **as_operator, content_type=JSON)

    assert answer.status == 400, answer.body
    faulty = [fault["where"] for fault in answer.json["faults"]]
    assert any(where.startswith(f"body.{'.'.join(at)}") for where in faulty), faulty


def test_a_whole_number_may_be_written_as_json_schema_allows(
    gateway: Gateway, as_operator: dict[str, str]
) -> None:
    def export(revision: str) -> int:
        body = f'{{"format": "yolo", "revision": {revision}}}'.encode()
        answer = gateway(
            "POST", "/v1/models/scratch/exports", body, **as_operator, content_type=JSON
        )
        return int(answer.status)

    assert [export(written) for written in ("7", "7.0", "70e-1")] == [201, 201, 201]
    assert [export(written) for written in ("7.5", "false", '"7"', "1e400")] == [400] * 4


@pytest.mark.parametrize(("operation", "name"), INTEGERS_IN_QUERIES)
def test_no_boolean_in_a_query_is_taken_for_a_number(
    gateway: Gateway, as_operator: dict[str, str], operation: Operation, name: str
) -> None:
    target = f"{_target(operation)}?{name}=false"

    answer = gateway(operation.method, target, **as_operator, content_type=JSON)

    assert answer.status == 400, answer.body
    assert f"query.{name}" in {fault["where"] for fault in answer.json["faults"]}


@pytest.mark.parametrize("given", ["true", "false", "1.0", "+1", "1_0", "%201"])
@pytest.mark.parametrize("target", ["/v1/review/{}", "/v1/models/scratch/versions/{}/promote"])
def test_a_number_in_a_path_is_digits(
    gateway: Gateway, as_operator: dict[str, str], target: str, given: str
) -> None:
    body = {"decision": "accept", "why": "because", "seen": "2026-11-30T12:00:00Z"}
    body = {"why": "because"} if target.endswith("promote") else body

    answer = gateway(
        "POST",
        target.format(given),
        json.dumps(body).encode(),
        **as_operator,
        content_type=JSON,
    )

    assert answer.status == 404, answer.body


def test_the_walk_meets_numbers_of_many_routes() -> None:
    assert len({operation.path for operation, _ in NUMBERS}) >= 5, NUMBERS
    assert len(INTEGERS_IN_QUERIES) >= 10
