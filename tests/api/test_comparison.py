"""Two versions side by side, as operators see them; against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.retrain.comparing import comparison
from chalicelib.retrain.comparing.comparison import Comparer
from chalicelib.vision import DetectionOptions

Caller = Any
Stack = Any

NAMES = ("scratch", "dent")
COMPARE = "/v1/models/twins/comparison?a=1&b=2"
# A scratch at the left, a dent at the right: the second version finds both, the first one only one.
LEFT = (8, 8, 24, 24, 0.9, 0)
RIGHT = (40, 8, 56, 24, 0.8, 1)
YOLO = {"both": "0 0.25 0.25 0.25 0.25\n1 0.75 0.25 0.25 0.25\n", "nothing": ""}
ADD = """
WITH sample AS (
    INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
    VALUES ('twins', %s, 'png', 64, 64, %s, decode(repeat('00', 32), 'hex'), %s)
    RETURNING sample_id),
label AS (
    INSERT INTO labels (sample_id, yolo, boxes, origin)
    SELECT sample_id, %s, 2, 'import' FROM sample RETURNING label_id, sample_id)
SELECT label_id, sample_id FROM label
"""


@pytest.fixture(scope="module", autouse=True)
def versions(stack: Stack, make_model: Callable[..., bytes]) -> None:
    metrics = {
        "mAP50": 0.5,
        "mAP50-95": 0.25,
        "per_class": [{"class_id": 0, "class_name": "scratch"}],
    }
    stack.publish(make_model((LEFT,), names=NAMES), "twins", json.dumps(metrics).encode())
    stack.publish(make_model((LEFT, RIGHT), names=NAMES), "twins", b"{}")


@pytest.fixture
def add(stack: Stack, make_picture: Callable[..., bytes]) -> Iterator[Callable[..., str]]:
    """Put a labelled image into the dataset; return its name. The dataset is emptied afterwards."""

    def add(side: str = "valid", label: str = "both", file: bytes | None = None) -> str:
        sha256 = uuid4().hex * 2
        key = f"models/twins/images/{side}/{sha256}.png"
        stack.services.store.put(key, file or make_picture((64, 64), "png"), "image/png")
        with stack.services.database.transaction() as rows:
            rows.execute(ADD, (sha256, side, key, YOLO[label]))
            [pair] = rows.fetchall()
            rows.execute("UPDATE samples SET label_id = %s WHERE sample_id = %s", pair)
        return sha256

    yield add
    with stack.services.database.transaction() as rows:
        rows.execute("TRUNCATE samples, labels, label_terms, datasets CASCADE")


def test_the_images_on_which_two_versions_differ_are_shown(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    name = add()
    answer = call("GET", COMPARE, **as_operator)

    assert answer.status == 200
    assert answer.json["images_compared"] == 1
    [image] = answer.json["images"]
    assert (image["sha256"], image["difference"]) == (name, 0.5)
    assert f"models/twins/images/valid/{name}.png" in image["url"]
    found = {side: [box["class_name"] for box in image[side]] for side in ("truth", "a", "b")}
    assert found == {"truth": ["scratch", "dent"], "a": ["scratch"], "b": ["scratch", "dent"]}
    assert image["truth"][1]["box"] == {"x1": 40, "y1": 8, "x2": 56, "y2": 24}
    assert image["b"][1]["box"] == pytest.approx(image["truth"][1]["box"], abs=0.5)


def test_each_version_tells_what_it_measured(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    told = call("GET", COMPARE, **as_operator).json

    assert (told["a"]["version"], told["a"]["map50"], told["a"]["map50_95"]) == (1, 0.5, 0.25)
    assert told["a"]["bytes"] > 0
    assert told["a"]["classes"][0]["class_name"] == "scratch"
    assert (told["b"]["map50"], told["b"]["classes"]) == (None, [])
    assert (told["class_names"], told["images"]) == (["scratch", "dent"], [])


@pytest.fixture
def none_serves(stack: Stack) -> Iterator[None]:
    """Let the gate have rejected both versions."""
    store, key = stack.services.store, "models/twins/model.yaml"
    held = store.get(key).body
    store.delete(key)
    stack.services.catalog.forget("twins")
    yield
    store.put(key, held, "application/yaml")


def test_versions_of_a_model_of_which_none_serves_are_compared(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str], none_serves: None
) -> None:
    name = add()

    told = call("GET", COMPARE, **as_operator).json

    assert [image["sha256"] for image in told["images"]] == [name]
    assert told["class_names"] == ["scratch", "dent"]


CURVES = {
    "confidence": [0, 0.5, 1],
    "precision": [0.5, 0.8, 1],
    "recall": [1, 0.6, 0],
    "f1": [0.67, 0.69, 0],
}
STEEPER = {**CURVES, "recall": [1, 0.9, 0], "f1": [0.67, 0.85, 0]}


@pytest.fixture
def measured(stack: Stack) -> Iterator[Callable[..., None]]:
    """Have versions measured so; they are as before after the test."""
    store, before = stack.services.store, {}

    def measure(**told: object) -> None:
        for version, metrics in told.items():
            key = f"models/twins/versions/{version[1:]}/metrics.json"
            before.setdefault(key, store.get(key).body)
            store.put(key, json.dumps(metrics).encode(), "application/json")

    yield measure
    for key, body in before.items():
        store.put(key, body, "application/json")


def test_curves_are_of_the_same_images_where_one_was_measured_beside_the_other(
    call: Caller, as_operator: dict[str, str], measured: Callable[..., None]
) -> None:
    beside = {"version": 1, "curves": CURVES}
    measured(v1={"curves": STEEPER}, v2={"curves": STEEPER, "live": beside})

    told = call("GET", COMPARE, **as_operator).json["curves"]
    turned = call("GET", "/v1/models/twins/comparison?a=2&b=1", **as_operator).json["curves"]

    assert told == {"a": CURVES, "b": STEEPER, "same_images": True}
    assert turned == {"a": STEEPER, "b": CURVES, "same_images": True}


@pytest.mark.parametrize(("second", "same"), [("aa", True), ("bb", False), (None, False)])
def test_else_curves_are_those_that_each_version_measured(
    call: Caller,
    as_operator: dict[str, str],
    measured: Callable[..., None],
    second: str | None,
    same: bool,
) -> None:
    measured(
        v1={"curves": CURVES, "dataset": "aa"},
        v2={"curves": STEEPER, "dataset": second, "live": {"version": 7, "curves": CURVES}},
    )

    told = call("GET", COMPARE, **as_operator).json["curves"]

    assert told == {"a": CURVES, "b": STEEPER, "same_images": same}


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"curves": None},
        {"curves": {**CURVES, "recall": [1]}},
        {"curves": {**CURVES, "f1": [0, 2, 0]}},
        {"curves": {**CURVES, "confidence": [0, 0.1, 0.2]}},
        {"curves": {**CURVES, "confidence": [1, 0.5, 0]}},
        {"curves": "steep", "live": 7},
    ],
)
def test_curves_that_are_not_there_or_cannot_be_read_are_none(
    call: Caller,
    as_operator: dict[str, str],
    measured: Callable[..., None],
    metrics: dict[str, Any],
) -> None:
    measured(v1={"curves": CURVES}, v2=metrics)

    answer = call("GET", COMPARE, **as_operator)

    assert (answer.status, answer.json["curves"]["b"]) == (200, None)
    assert answer.json["curves"]["a"] == CURVES


def test_images_on_which_both_find_the_same_are_not_shown(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    add()
    answer = call("GET", COMPARE.replace("b=2", "b=1"), **as_operator)

    assert (answer.json["images_compared"], answer.json["images"]) == (1, [])


def test_only_validation_images_are_looked_at(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    add("train")
    shown = add("valid", "nothing")
    answer = call("GET", COMPARE, **as_operator)

    assert [image["sha256"] for image in answer.json["images"]] == [shown]
    assert answer.json["images"][0]["truth"] == []


def test_an_image_that_cannot_be_read_is_passed_over(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    add(file=b"no picture")
    shown = add()
    answer = call("GET", COMPARE, **as_operator)

    assert answer.json["images_compared"] == 1
    assert [image["sha256"] for image in answer.json["images"]] == [shown]


def test_no_more_than_twelve_are_shown(
    call: Caller, as_operator: dict[str, str], add: Callable[..., str]
) -> None:
    for _ in range(comparison.MOST_SHOWN + 1):
        add()
    answer = call("GET", COMPARE, **as_operator)

    assert answer.json["images_compared"] == comparison.MOST_SHOWN + 1
    assert len(answer.json["images"]) == comparison.MOST_SHOWN


def test_it_stops_before_the_answer_would_come_too_late(
    stack: Stack, add: Callable[..., str]
) -> None:
    for _ in range(3):
        add()
    services = stack.services
    moments = iter([0.0, 1.0, 2.0, comparison.MOST_SECONDS + 1])
    comparer = Comparer(
        services.store,
        services.catalog,
        services.dataset_images,
        DetectionOptions(),
        threads=1,
        now=lambda: next(moments),
    )

    assert comparer.compare("twins", 1, 2).compared == 2


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("/v1/models/twins/comparison?a=1&b=9", 404),
        ("/v1/models/nobody/comparison?a=1&b=2", 404),
        ("/v1/models/twins/comparison?a=1", 400),
        ("/v1/models/twins/comparison?a=0&b=1", 400),
        ("/v1/models/twins/comparison?a=1&b=2&c=3", 400),
    ],
)
def test_what_cannot_be_compared_is_told(
    call: Caller, as_operator: dict[str, str], asked: str, status: int
) -> None:
    answer = call("GET", asked, **as_operator)

    assert answer.status == status, answer.json
    assert answer.json["detail"]


def test_strangers_see_no_images_of_others(call: Caller) -> None:
    assert call("GET", COMPARE).status == 401
