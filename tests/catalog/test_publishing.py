"""Publishing versions: all of it or nothing, once, and each under a number of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.catalog import Catalog, Publisher
from chalicelib.database import Database
from chalicelib.errors import InvalidModel, InvalidRequest, StorageUnavailable
from chalicelib.storage import ObjectStore

MakeModel = Callable[..., bytes]
METRICS = json.dumps(
    {
        "mAP50": 0.8,
        "mAP50-95": 0.4,
        "per_class": [{"class_id": 0, "class_name": "scratch", "AP50": 0.8, "AP50-95": 0.4}],
        "training_set_size": 152,
        "validation_set_size": 32,
    }
).encode()


def weights(make_model: MakeModel, confidence: float = 0.9) -> bytes:
    return make_model(((8, 8, 24, 20, confidence, 0),))


def test_a_published_version_serves_with_what_was_measured(
    publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    onnx = weights(make_model)

    file = publisher.publish("scratch", onnx, METRICS)

    assert (file.live_version, file.names, file.nc) == (1, ("scratch", "dent"), 2)
    assert (file.training_set_size, file.validation_set_size) == (152, 32)
    assert file.validation_APs == (0.8, None)
    live = catalog.require("scratch")
    assert live.file == file
    assert catalog.weights(live) == onnx
    assert catalog.history("scratch")[1].map50 == 0.8


def test_publishing_what_serves_already_changes_nothing(
    publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    first = publisher.publish("scratch", weights(make_model), METRICS)

    assert publisher.publish("scratch", weights(make_model), METRICS) == first
    assert list(catalog.history("scratch")) == [1]


def test_other_weights_are_the_next_version(
    publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    publisher.publish("scratch", weights(make_model, 0.9), METRICS)
    publisher.publish("scratch", weights(make_model, 0.8), METRICS)

    assert catalog.require("scratch").version == 2
    assert list(catalog.history("scratch")) == [1, 2]


@pytest.mark.parametrize("name", ["", "Scratch", "../x", "a/b", "x" * 64, "_x", "a\n"])
def test_a_name_that_no_model_can_have_is_refused(
    publisher: Publisher, store: ObjectStore, make_model: MakeModel, name: str
) -> None:
    with pytest.raises(InvalidRequest, match="cannot name a model"):
        publisher.publish(name, weights(make_model), METRICS)

    assert list(store.keys("")) == []


@pytest.mark.parametrize(
    "metrics",
    [
        b"garbage",
        b'{"per_class": [{"class_id": 0, "class_name": "dog"}]}',
        b'{"per_class": [{"class_id": 7, "class_name": "scratch"}]}',
    ],
)
def test_metrics_of_another_model_are_refused(
    publisher: Publisher, store: ObjectStore, make_model: MakeModel, metrics: bytes
) -> None:
    with pytest.raises(InvalidModel):
        publisher.publish("scratch", weights(make_model), metrics)

    assert list(store.keys("")) == []


def test_weights_that_cannot_detect_are_refused(
    publisher: Publisher, store: ObjectStore, make_model: MakeModel
) -> None:
    for broken in (b"", b"not onnx", make_model()[:-100], make_model(runs=False)):
        with pytest.raises(InvalidModel):
            publisher.publish("scratch", broken, b"{}")

    assert list(store.keys("")) == []


class OrderedStore(ObjectStore):
    """The real seam, which lets a test step in before a key is written."""

    def __init__(self, like: ObjectStore) -> None:
        super().__init__(like._s3, like.bucket)
        self.before: dict[str, Callable[[], Any]] = {}

    def put_over(self, key: str, *args: Any, **kwargs: Any) -> None:
        self.before.pop(key, lambda: None)()
        super().put_over(key, *args, **kwargs)


def test_two_that_take_the_same_number_at_once_get_two_numbers(
    store: ObjectStore, publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    quick, slow = weights(make_model, 0.9), weights(make_model, 0.8)
    ordered = OrderedStore(store)
    ordered.before["models/scratch/versions/1/model.onnx"] = lambda: publisher.publish(
        "scratch", quick, METRICS
    )

    serves = Publisher(ordered, catalog).publish("scratch", slow, METRICS)

    assert serves.live_version == 2
    assert store.get("models/scratch/versions/1/model.onnx").body == quick
    assert store.get("models/scratch/versions/2/model.onnx").body == slow


def test_an_earlier_version_that_comes_late_does_not_replace_a_later_one(
    store: ObjectStore, publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    publisher.publish("scratch", weights(make_model, 0.5), METRICS)
    ordered = OrderedStore(store)
    ordered.before["models/scratch/model.yaml"] = lambda: publisher.publish(
        "scratch", weights(make_model, 0.9), METRICS
    )

    serves = Publisher(ordered, catalog).publish("scratch", weights(make_model, 0.8), METRICS)

    assert serves.live_version == 3
    assert catalog.require("scratch").version == 3
    assert list(catalog.history("scratch")) == [1, 2, 3]


def test_many_at_once_lose_nothing(store: ObjectStore, make_model: MakeModel) -> None:
    sent = [weights(make_model, 0.5 + step / 20) for step in range(6)]
    threads = [
        threading.Thread(
            target=Publisher(store, Catalog(store, 0)).publish, args=("scratch", onnx, METRICS)
        )
        for onnx in sent
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    numbers = Catalog(store, 0).history("scratch")
    kept = {store.get(f"models/scratch/versions/{n}/model.onnx").body for n in numbers}
    assert kept == set(sent)
    assert Catalog(store, 0).require("scratch").version == max(numbers)


def test_a_publisher_that_dies_half_way_leaves_the_old_version_serving(
    store: ObjectStore, publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    def die() -> None:
        raise StorageUnavailable("cut off")

    first = publisher.publish("scratch", weights(make_model, 0.9), METRICS)
    ordered = OrderedStore(store)
    ordered.before["models/scratch/model.yaml"] = die

    with pytest.raises(StorageUnavailable):
        Publisher(ordered, catalog).publish("scratch", weights(make_model, 0.8), METRICS)
    catalog.forget("scratch")
    assert catalog.get("scratch") == first

    again = publisher.publish("scratch", weights(make_model, 0.8), METRICS)
    assert again.live_version == 3


def test_a_garbled_model_yaml_is_mended_by_the_next_version(
    publisher: Publisher, put_model: Callable[..., None], make_model: MakeModel
) -> None:
    put_model("a: [unclosed")

    assert publisher.publish("scratch", weights(make_model), METRICS).live_version == 1


@pytest.mark.stack
def test_the_database_holds_every_version_and_the_latest_that_served(
    store: ObjectStore, catalog: Catalog, make_model: MakeModel, database: Database
) -> None:
    now = datetime(2026, 11, 21, 8, tzinfo=UTC)
    recording = Publisher(store, catalog, database, lambda: now)
    ordered = OrderedStore(store)

    recording.publish("scratch", weights(make_model, 0.5), METRICS)
    recording.publish("scratch", weights(make_model, 0.5), METRICS)
    ordered.before["models/scratch/model.yaml"] = lambda: recording.publish(
        "scratch", weights(make_model, 0.9), METRICS
    )
    Publisher(ordered, catalog, database, lambda: now).publish(
        "scratch", weights(make_model, 0.8), METRICS
    )

    with database.transaction() as rows:
        rows.execute("SELECT name, class_names, live_version, training_set_size FROM models")
        assert rows.fetchall() == [("scratch", ["scratch", "dent"], 3, 152)]
        rows.execute(
            "SELECT version, metrics->>'mAP50', promoted_at FROM model_versions ORDER BY 1"
        )
        assert rows.fetchall() == [(1, "0.8", now), (2, "0.8", None), (3, "0.8", now)]
