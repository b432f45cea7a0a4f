"""Versions that trainings made: kept once each, under a number of their own, without serving."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from chalicelib.catalog import Catalog, Publisher
from chalicelib.catalog.register import Trained
from chalicelib.catalog.version_records import Origin, VersionRecords
from chalicelib.database import Database
from chalicelib.errors import (
    InvalidModel,
    ModelNotFound,
    NoDatabase,
    ObjectNotFound,
    StorageUnavailable,
)
from chalicelib.storage import ObjectStore

MakeModel = Callable[..., bytes]
pytestmark = pytest.mark.stack
METRICS = json.dumps(
    {
        "mAP50": 0.8,
        "mAP50-95": 0.4,
        "per_class": [{"class_id": 0, "class_name": "scratch", "AP50": 0.8, "AP50-95": 0.4}],
        "training_set_size": 152,
        "validation_set_size": 32,
    }
).encode()
FILES = ("model.onnx", "best.pt", "metrics.json")
WEIGHTS = "training/of-a-test/output/best.pt"


@pytest.fixture
def publisher(store: ObjectStore, catalog: Catalog, database: Database) -> Publisher:
    """The model `scratch` serves version 1."""
    store.put(WEIGHTS, b"weights", "application/octet-stream")
    return Publisher(store, catalog, database)


@pytest.fixture
def live(publisher: Publisher, make_model: MakeModel) -> Publisher:
    publisher.publish("scratch", make_model(), METRICS)
    return publisher


def trained(make_model: MakeModel, job_id: UUID | None = None, **other: Any) -> Trained:
    onnx = make_model(((8, 8, 24, 20, 0.7, 0),), **other)
    return Trained(onnx, METRICS, WEIGHTS, Origin(job_id or uuid4(), "ab" * 32, 17))


def test_a_trained_version_is_kept_whole_and_does_not_serve(
    live: Publisher, store: ObjectStore, catalog: Catalog, make_model: MakeModel, database: Database
) -> None:
    made = trained(make_model)

    assert live.add_version("scratch", made) == 2

    assert catalog.require("scratch").version == 1
    files = {name: store.get(f"models/scratch/versions/2/{name}").body for name in FILES}
    assert files == {"model.onnx": made.onnx, "best.pt": b"weights", "metrics.json": METRICS}
    told = VersionRecords(database).of("scratch")[0]
    assert (told.version, told.job_id, told.dataset_revision) == (2, made.origin.job_id, 17)
    assert told.promoted_at is None
    live.promoter.promote("scratch", 2, "the gate", "better")
    assert catalog.require("scratch").version == 2


def test_a_training_has_one_version_however_often_it_is_handed_in(
    live: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    made = trained(make_model)

    assert [live.add_version("scratch", made) for _ in range(3)] == [2, 2, 2]
    assert list(catalog.history("scratch")) == [1, 2]


def test_two_trainings_with_the_same_weights_are_two_versions(
    live: Publisher, make_model: MakeModel
) -> None:
    assert live.add_version("scratch", trained(make_model)) == 2
    assert live.add_version("scratch", trained(make_model)) == 3


@pytest.mark.parametrize("cut", FILES)
def test_who_dies_before_any_file_is_followed_by_one_that_ends_with_the_same_number(
    live: Publisher,
    ordered: Any,
    catalog: Catalog,
    make_model: MakeModel,
    database: Database,
    store: ObjectStore,
    cut: str,
) -> None:
    def die() -> None:
        raise StorageUnavailable("killed")

    ordered.before[f"models/scratch/versions/2/{cut}"] = die
    made = trained(make_model)
    with pytest.raises(StorageUnavailable):
        Publisher(ordered, catalog, database).add_version("scratch", made)

    assert live.add_version("scratch", made) == 2
    assert all(store.has(f"models/scratch/versions/2/{name}") for name in FILES)
    assert len(VersionRecords(database).of("scratch")) == 2


def test_a_number_that_somebody_else_took_meanwhile_is_left_to_them(
    live: Publisher,
    ordered: Any,
    catalog: Catalog,
    make_model: MakeModel,
    database: Database,
    store: ObjectStore,
) -> None:
    other = make_model(((8, 8, 24, 20, 0.3, 0),))
    ordered.before["models/scratch/versions/2/model.onnx"] = lambda: live.publish(
        "scratch", other, METRICS
    )
    made = trained(make_model)

    assert Publisher(ordered, catalog, database).add_version("scratch", made) == 3

    assert store.get("models/scratch/versions/2/model.onnx").body == other
    told = {each.version: each.job_id for each in VersionRecords(database).of("scratch")}
    assert told == {1: None, 2: None, 3: made.origin.job_id}


def test_a_model_that_was_asked_for_gets_its_first_version_and_stays_pending_until_it_serves(
    publisher: Publisher,
    catalog: Catalog,
    make_model: MakeModel,
    store: ObjectStore,
    database: Database,
) -> None:
    told: list[str] = []
    publisher = Publisher(store, catalog, database, went_live=told.append)
    asked = b"name: scratch\nnames: [scratch, dent]\nnc: 2\n"
    store.put("pending_models/scratch/model.yaml", asked, "application/yaml")

    assert publisher.add_version("scratch", trained(make_model)) == 1
    with pytest.raises(ModelNotFound):
        catalog.require("scratch")
    assert told == []

    publisher.promoter.promote("scratch", 1, "the gate", "the first", over=None)
    assert catalog.require("scratch").version == 1
    assert told == ["scratch"]
    assert not store.has("pending_models/scratch/model.yaml")


@pytest.mark.parametrize(
    "broken",
    [
        {"onnx": b"torn"},
        {"metrics": b"torn"},
        {"metrics": b'{"per_class": [{"class_id": 0, "class_name": "dog"}]}'},
    ],
)
def test_what_cannot_serve_is_refused_and_takes_no_number(
    live: Publisher, make_model: MakeModel, broken: dict[str, bytes], database: Database
) -> None:
    made = trained(make_model)
    told = vars(made) | broken
    with pytest.raises(InvalidModel):
        live.add_version("scratch", Trained(**told))

    assert [each.version for each in VersionRecords(database).of("scratch")] == [1]


def test_weights_of_other_classes_are_refused(live: Publisher, make_model: MakeModel) -> None:
    with pytest.raises(InvalidModel, match="the model has the classes"):
        live.add_version("scratch", trained(make_model, names=("dent", "scratch")))


def test_a_model_that_nobody_asked_for_gets_no_version(
    publisher: Publisher, make_model: MakeModel
) -> None:
    with pytest.raises(ModelNotFound, match="nor was one asked for"):
        publisher.add_version("rust", trained(make_model))


def test_output_without_weights_is_refused(
    live: Publisher, store: ObjectStore, make_model: MakeModel
) -> None:
    store.delete(WEIGHTS)
    with pytest.raises(ObjectNotFound):
        live.add_version("scratch", trained(make_model))


def test_without_a_database_no_training_has_a_version(
    store: ObjectStore, catalog: Catalog, make_model: MakeModel
) -> None:
    with pytest.raises(NoDatabase):
        Publisher(store, catalog).add_version("scratch", trained(make_model))
