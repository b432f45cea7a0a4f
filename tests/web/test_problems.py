"""Every error we know leaves as a problem document that says what to do and leaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, Field, ValidationError

from chalicelib.errors import (
    Banned,
    Conflict,
    InvalidModel,
    ModelNotFound,
    ModelUnavailable,
    NotReady,
    SightloopError,
    StorageUnavailable,
)
from chalicelib.observability import bind_correlation_id
from chalicelib.web import problems


def all_kinds(kind: type[SightloopError] = SightloopError) -> Iterator[type[SightloopError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_kinds(below)


def an_error(kind: type[SightloopError]) -> SightloopError:
    if kind is Banned:
        return Banned("eve", datetime(2026, 11, 21, tzinfo=UTC), "write to us")
    return kind("why it failed")


KINDS = [kind for kind in all_kinds() if kind.__module__ == "chalicelib.errors"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_is_a_whole_problem(kind: type[SightloopError]) -> None:
    bound = bind_correlation_id("an-id-of-ours")

    answer = problems.response(an_error(kind), "/v1/models")

    told = json.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.status_code == told["status"] == kind.status
    assert 400 <= told["status"] < 600
    assert told["type"].startswith("urn:sightloop:problem:")
    assert told["title"] == kind.title
    assert told["instance"] == "/v1/models"
    assert told["correlation_id"] == bound
    assert told["retry"] is kind.retry
    assert ("Retry-After" in answer.headers) is kind.retry
    assert told["detail"]
    problems.ProblemDocument.model_validate(told)


def test_every_kind_has_a_name_and_a_title_of_its_own() -> None:
    named = [kind.type_uri() for kind in KINDS]

    assert len(set(named)) == len(KINDS)
    assert ModelNotFound.type_uri() == "urn:sightloop:problem:model-not-found"


def test_a_retry_is_promised_only_where_it_can_help() -> None:
    assert {kind.status for kind in KINDS if kind.retry} == {503}


@pytest.mark.parametrize("kind", [SightloopError, InvalidModel, StorageUnavailable])
def test_what_failed_inside_is_not_told(kind: type[SightloopError]) -> None:
    told = problems.document(kind("reading s3://secret-bucket: AccessDenied for role/x"))

    assert "secret" not in told.model_dump_json()


@pytest.mark.parametrize("kind", [NotReady, ModelUnavailable, Conflict])
def test_what_a_caller_can_use_is_told(kind: type[SightloopError]) -> None:
    assert problems.document(kind("publish another version")).detail == "publish another version"


def test_every_fault_of_a_request_is_named() -> None:
    class Wanted(BaseModel):
        count: int = Field(ge=1)
        names: list[str]

    with pytest.raises(ValidationError) as refused:
        Wanted.model_validate({"count": 0, "names": ["a", 1]})
    told = problems.document(problems.InvalidFields(refused.value, "body"))

    assert (told.status, told.type) == (400, "urn:sightloop:problem:invalid-fields")
    assert [fault.where for fault in told.faults or []] == ["body.count", "body.names.1"]
    assert told.detail.startswith("body.count: ")


def test_what_was_sent_is_not_repeated_in_a_problem() -> None:
    class Wanted(BaseModel):
        count: int

    with pytest.raises(ValidationError) as refused:
        Wanted.model_validate({"count": "hunter2"})

    assert (
        "hunter2"
        not in problems.document(problems.InvalidFields(refused.value, "body")).model_dump_json()
    )
