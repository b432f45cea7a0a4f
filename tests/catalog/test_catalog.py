"""Looking models up: how fresh the answer is, and what happens while S3 is in trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.catalog import Catalog
from chalicelib.errors import (
    ConfigurationError,
    InvalidModel,
    ModelNotFound,
    ModelUnavailable,
    SightloopError,
    StorageUnavailable,
)
from chalicelib.storage import ObjectStore, StoredObject

Clock = Any
Put = Callable[..., None]
FRESH_FOR = 15


def text(live: int | None = 1, name: str = "scratch") -> str:
    return f"name: {name}\nnames: [scratch]\nnc: 1\nlive_version: {live or 'null'}\n"


class TroubledStore(ObjectStore):
    """The real seam, which counts what is read and fails when told to."""

    def __init__(self, like: ObjectStore) -> None:
        super().__init__(like._s3, like.bucket)
        self.asked = 0
        self.fault: SightloopError | None = None

    def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
        self.asked += 1
        if self.fault:
            raise self.fault
        return super().get_if_changed(key, etag)

    def folders(self, prefix: str) -> Any:
        if self.fault:
            raise self.fault
        return super().folders(prefix)


@pytest.fixture
def troubled(store: ObjectStore) -> TroubledStore:
    return TroubledStore(store)


@pytest.fixture
def catalog(troubled: TroubledStore, clock: Clock) -> Catalog:
    return Catalog(troubled, FRESH_FOR, clock)


def test_a_new_live_version_is_seen_once_the_old_answer_is_too_old(
    catalog: Catalog, put_model: Put, clock: Clock
) -> None:
    put_model(text(live=1))
    assert catalog.require("scratch").version == 1

    put_model(text(live=2))
    clock.seconds += FRESH_FOR - 1
    assert catalog.require("scratch").version == 1
    clock.seconds += 1
    assert catalog.require("scratch").version == 2


def test_s3_is_asked_once_however_often_a_model_is_wanted(
    catalog: Catalog, put_model: Put, troubled: TroubledStore
) -> None:
    put_model(text())

    for _ in range(10):
        catalog.get("scratch")

    assert troubled.asked == 1


def test_an_unchanged_file_stays_known(
    catalog: Catalog, put_model: Put, clock: Clock, troubled: TroubledStore
) -> None:
    put_model(text())
    first = catalog.get("scratch")
    clock.seconds += FRESH_FOR

    assert catalog.get("scratch") is first
    assert troubled.asked == 2


def test_what_was_forgotten_is_asked_for(catalog: Catalog, put_model: Put) -> None:
    put_model(text(live=1))
    catalog.get("scratch")
    put_model(text(live=2))

    catalog.forget("scratch")

    assert catalog.require("scratch").version == 2


@pytest.mark.parametrize(
    "fault",
    [StorageUnavailable("no answer"), ConfigurationError("access denied")],
    ids=["unavailable", "refused"],
)
def test_while_s3_fails_the_last_known_version_serves_on(
    catalog: Catalog, put_model: Put, clock: Clock, troubled: TroubledStore, fault: SightloopError
) -> None:
    put_model(text(live=4))
    catalog.all()
    troubled.fault = fault

    for _ in range(3):
        clock.seconds += FRESH_FOR
        assert catalog.require("scratch").version == 4
    assert [file.name for file in catalog.all()] == ["scratch"]

    troubled.fault = None
    put_model(text(live=5))
    clock.seconds += FRESH_FOR
    assert catalog.require("scratch").version == 5


def test_while_s3_fails_it_is_asked_no_more_often(
    catalog: Catalog, put_model: Put, clock: Clock, troubled: TroubledStore
) -> None:
    put_model(text())
    catalog.get("scratch")
    troubled.fault = StorageUnavailable("no answer")
    clock.seconds += FRESH_FOR

    for _ in range(10):
        catalog.get("scratch")

    assert troubled.asked == 2


def test_while_s3_fails_a_model_that_was_never_read_is_unavailable(
    catalog: Catalog, troubled: TroubledStore
) -> None:
    troubled.fault = StorageUnavailable("no answer")

    with pytest.raises(StorageUnavailable):
        catalog.get("scratch")
    with pytest.raises(StorageUnavailable):
        catalog.names()


def test_a_file_that_became_garbage_leaves_the_last_known_version_serving(
    catalog: Catalog, put_model: Put, clock: Clock
) -> None:
    put_model(text(live=1))
    catalog.get("scratch")
    put_model("a: [unclosed")
    clock.seconds += FRESH_FOR

    assert catalog.require("scratch").version == 1


def test_a_file_of_another_model_is_not_taken(catalog: Catalog, put_model: Put) -> None:
    put_model(text(name="other"))

    with pytest.raises(ModelUnavailable, match="'scratch' cannot be read"):
        catalog.get("scratch")


def test_a_model_that_was_taken_away_is_gone(
    catalog: Catalog, put_model: Put, clock: Clock, store: ObjectStore
) -> None:
    put_model(text())
    catalog.get("scratch")
    store.delete("models/scratch/model.yaml")
    clock.seconds += FRESH_FOR

    with pytest.raises(ModelNotFound):
        catalog.get("scratch")


@pytest.mark.parametrize(
    "name", ["", "Scratch", "../scratch", "scratch/", "a b", "ä", "scratch\n", "x" * 64, "-x", "\0"]
)
def test_a_name_that_no_model_has_is_not_looked_up(
    catalog: Catalog, troubled: TroubledStore, name: str
) -> None:
    with pytest.raises(ModelNotFound):
        catalog.get(name)

    assert troubled.asked == 0


def test_a_model_without_a_live_version_is_listed_but_does_not_serve(
    catalog: Catalog, put_model: Put
) -> None:
    put_model(text(live=None))

    assert [file.live_version for file in catalog.all()] == [None]
    with pytest.raises(ModelNotFound, match="no version that serves yet"):
        catalog.require("scratch")


def test_a_broken_model_spoils_no_list(
    catalog: Catalog, put_model: Put, store: ObjectStore
) -> None:
    put_model(text(name="good"), "good")
    put_model("a: [unclosed", "broken")
    store.put("models/no-yaml/images/train/x.jpg", b"", "image/jpeg")
    store.put("models/Not A Name/model.yaml", b"", "application/yaml")

    assert [file.name for file in catalog.all()] == ["good"]


def test_the_first_that_serves_is_found_without_reading_those_behind_it(
    catalog: Catalog, troubled: TroubledStore, put_model: Put
) -> None:
    assert catalog.first_live() is None
    for name, live in (("a", None), ("b", 1), ("c", 1)):
        put_model(text(live=live, name=name), name)

    found = catalog.first_live()

    assert found is not None
    assert (found.name, troubled.asked) == ("b", 2)


def test_a_page_reads_no_more_models_than_it_has(
    catalog: Catalog, troubled: TroubledStore, put_model: Put
) -> None:
    for name in ("a", "c-1", "c-2", "c_3"):
        put_model(text(name=name), name)
    put_model("a: [unclosed", "b")

    told, read, after = [], [], ""
    for _ in range(3):
        assert after is not None
        before = troubled.asked
        found, after = catalog.page(after, 2)
        told.append([file.name for file in found])
        read.append(troubled.asked - before)

    assert (told, after) == ([["a"], ["c-1", "c-2"], ["c_3"]], None)
    assert read == [2, 2, 1]
    assert catalog.page("", None) == (catalog.all(), None)
    assert catalog.page("c_3", 1) == catalog.page("z", None) == ([], None)


def test_models_are_found_by_a_part_of_their_name(
    catalog: Catalog, troubled: TroubledStore, put_model: Put
) -> None:
    for name in ("dent-1", "scratch", "tag-dent", "tag-dent-2"):
        put_model(text(name=name), name)

    first, after = catalog.page("", 2, "dent")
    second, end = catalog.page(str(after), 2, "dent")

    assert [file.name for file in first + second] == ["dent-1", "tag-dent", "tag-dent-2"]
    assert (end, troubled.asked) == (None, 3)


def test_models_are_read_several_at_a_time(
    put_model: Put, store: ObjectStore, clock: Clock
) -> None:
    for name in ("a", "b", "c"):
        put_model(text(name=name), name)
    together = threading.Barrier(3, timeout=20)

    class Meeting(ObjectStore):
        def get_if_changed(self, key: str, etag: str | None) -> StoredObject | None:
            together.wait()  # breaks unless three are here at once
            return super().get_if_changed(key, etag)

    found = Catalog(Meeting(store._s3, store.bucket), FRESH_FOR, clock).all()

    assert [file.name for file in found] == ["a", "b", "c"]


def test_the_history_tells_every_version_and_survives_broken_metrics(
    catalog: Catalog, store: ObjectStore
) -> None:
    for version, metrics in {1: b'{"mAP50": 0.5}', 2: b"garbage", 10: b'{"mAP50": 0.7}'}.items():
        folder = f"models/scratch/versions/{version}"
        store.put(f"{folder}/model.onnx", b"", "application/octet-stream")
        store.put(f"{folder}/metrics.json", metrics, "application/json")
    store.put("models/scratch/versions/3/model.onnx", b"", "application/octet-stream")
    store.put("models/scratch/versions/backup/model.onnx", b"", "application/octet-stream")

    history = catalog.history("scratch")

    assert {version: metrics.map50 for version, metrics in history.items()} == {
        1: 0.5,
        2: None,
        3: None,
        10: 0.7,
    }
    assert catalog.next_version("scratch") == 11


def test_weights_that_are_not_there_are_an_invalid_model(catalog: Catalog, put_model: Put) -> None:
    put_model(text(live=9))

    with pytest.raises(InvalidModel, match=r"versions/9/model\.onnx"):
        catalog.weights(catalog.require("scratch"))
