"""`GET /v1/models`, `GET /v1/models/{model}` and the service's own routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.labels.sizes import DatasetSizes

Caller = Any
Stack = Any

METRICS = json.dumps(
    {
        "mAP50": 0.81,
        "mAP50-95": 0.43,
        "per_class": [{"class_id": 0, "class_name": "bent", "AP50": 0.81, "AP50-95": None}],
        "training_set_size": 152,
        "validation_set_size": 32,
    }
).encode()
# Of every five images one is to measure on.
IMAGES = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
SELECT 'measured', encode(sha256(n::text::bytea), 'hex'), 'jpg', 640, 480,
       CASE WHEN n % 5 = 0 THEN 'valid' ELSE 'train' END, decode(repeat('00', 32), 'hex'), n::text
FROM generate_series(1, 30) n
"""
LABELS = """
INSERT INTO labels (sample_id, yolo, boxes, origin) SELECT sample_id, '', 0, 'import' FROM samples
"""
IN_USE = """
UPDATE samples s SET label_id = l.label_id FROM labels l
WHERE l.sample_id = s.sample_id AND s.source_key::integer BETWEEN %s AND %s
"""
LEARNT = """
UPDATE model_versions SET dataset_revision = (
    SELECT revision FROM datasets WHERE model = 'measured')
WHERE model = 'measured' AND version = 2
"""


@pytest.fixture(scope="module", autouse=True)
def measured(stack: Stack, make_model: Callable[..., bytes]) -> None:
    for confidence in (0.9, 0.8):
        onnx = make_model(((8, 8, 24, 20, confidence, 0),), names=("bent",))
        stack.publish(onnx, "measured", METRICS)


def test_models_are_listed_by_name(call: Caller) -> None:
    answer = call("GET", "/v1/models")

    assert answer.status == 200
    assert answer.type == "application/json"
    assert [model["name"] for model in answer.json["models"]] == ["measured", "scratch"]
    first = answer.json["models"][0]
    assert first.pop("promoted_at").endswith("Z")
    assert first == {
        "name": "measured",
        "class_names": ["bent"],
        "live_version": 2,
        "training_set_size": 152,
        "validation_set_size": 32,
        "visibility": "public",
        "dataset": {"training": 0, "validation": 0},
        "new_data": {
            "training": 0,
            "validation": 0,
            "min_new_training_data": 16,
            "min_new_validation_data": 4,
            "has_enough": False,
        },
    }


def test_models_are_listed_in_pages_to_who_asks_for_them(call: Caller) -> None:
    whole = call("GET", "/v1/models").json
    first = call("GET", "/v1/models?limit=1").json
    second = call("GET", f"/v1/models?limit=1&after={first['next']}").json

    assert whole["next"] is None
    assert (first["models"], first["next"]) == (whole["models"][:1], "measured")
    assert (second["models"], second["next"]) == (whole["models"][1:], None)
    some = call("GET", "/v1/models?limit=1&containing=asur").json
    assert ([model["name"] for model in some["models"]], some["next"]) == (["measured"], None)
    assert call("GET", "/v1/models?containing=%C3%A9").json["models"] == []
    for asked in (
        f"containing={64 * 'x'}",
        "limit=0",
        "limit=101",
        "limit=x",
        "after=No%20name",
        "_=17",
    ):
        assert call("GET", f"/v1/models?{asked}").status == 400, asked


def test_models_are_listed_where_the_database_does_not_answer(call: Caller, stack: Stack) -> None:
    attached = stack.services.dataset_sizes
    stack.services.dataset_sizes = DatasetSizes(Database("postgresql://127.0.0.1:1/none"))
    try:
        answer = call("GET", "/v1/models")
    finally:
        stack.services.dataset_sizes = attached

    assert answer.status == 200
    assert [model["dataset"] for model in answer.json["models"]] == [None, None]
    assert [model["new_data"] for model in answer.json["models"]] == [None, None]


def test_what_came_in_since_the_live_version_learnt_is_new(call: Caller, stack: Stack) -> None:
    """Of 30 images in the dataset, the live version of `measured` has seen the first ten."""
    with stack.services.database.transaction() as rows:
        rows.execute(IMAGES)
        rows.execute(LABELS)
        for first, last in ((1, 10), (11, 30)):
            rows.execute(IN_USE, (first, last))
            if last == 10:
                rows.execute(LEARNT)
    try:
        shown = call("GET", "/v1/models/measured").json
    finally:
        with stack.services.database.transaction() as rows:
            rows.execute("TRUNCATE samples, labels, label_terms, datasets CASCADE")
            rows.execute("UPDATE model_versions SET dataset_revision = NULL")

    assert shown["dataset"] == {"training": 24, "validation": 6}
    assert shown["new_data"] == {
        "training": 16,
        "validation": 4,
        "min_new_training_data": 16,
        "min_new_validation_data": 4,
        "has_enough": True,
    }


def test_a_model_is_shown_with_the_precision_of_each_version_newest_first(call: Caller) -> None:
    answer = call("GET", "/v1/models/measured")

    precision = [{"class_id": 0, "class_name": "bent", "ap50": 0.81, "ap50_95": None}]
    assert answer.json["versions"] == [
        {"version": 2, "live": True, "map50": 0.81, "map50_95": 0.43, "classes": precision},
        {"version": 1, "live": False, "map50": 0.81, "map50_95": 0.43, "classes": precision},
    ]


@pytest.mark.parametrize("name", ["nothing", "Scratch", "%2e%2e", "a%2Fb", "%00", "%ff", "%25"])
def test_an_unknown_model_is_not_found(call: Caller, name: str) -> None:
    answer = call("GET", f"/v1/models/{name}")

    assert answer.status == 404
    assert answer.json["type"] == "urn:sightloop:problem:model-not-found"
    assert answer.json["instance"].endswith("/v1/models/" + name)


def test_a_name_may_be_percent_encoded(call: Caller) -> None:
    assert call("GET", "/v1/models/%73cratch").json["name"] == "scratch"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/scratch", "/healthz", "/openapi.json"])
def test_head_answers_as_get_does_without_the_body(call: Caller, path: str) -> None:
    head, get = call("HEAD", path), call("GET", path)

    assert (head.status, head.type, head.body) == (get.status, get.type, b"")


def test_the_service_is_healthy_once_a_model_detects(call: Caller) -> None:
    answer = call("GET", "/healthz")

    assert answer.status == 200
    assert answer.json == {"status": "ok", "model": "measured", "version": 2}


def test_the_document_is_served_and_revalidated(call: Caller) -> None:
    first = call("GET", "/openapi.json")
    again = call("GET", "/openapi.json", if_none_match=f'"other", W/{first.headers["etag"]}')

    assert first.json["openapi"] == "3.1.0"
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "kind"), [("/static/app.js", "text/javascript"), ("/samples/tag-1.jpg", "image/jpeg")]
)
def test_files_that_ship_are_served_with_their_type(call: Caller, path: str, kind: str) -> None:
    answer = call("GET", path)

    assert (answer.status, answer.type) == (200, kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body


@pytest.mark.parametrize(
    "path",
    ["/static/nothing.js", "/static/..%2Froutes.py", "/static/%2e%2e", "/samples/..%2Fapp.js"],
)
def test_no_name_leads_out_of_the_folder_that_ships(call: Caller, path: str) -> None:
    answer = call("GET", path)

    assert answer.status == 404
    assert answer.type == "application/problem+json"
