"""Promoting and falling back: readers see one version or the other, and nothing is forgotten."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.catalog import Catalog, Publisher
from chalicelib.catalog.model import ModelFile
from chalicelib.catalog.promoting import Promoter
from chalicelib.database import Database
from chalicelib.errors import (
    Conflict,
    InvalidModel,
    ModelNotFound,
    ModelVersionNotFound,
    StorageUnavailable,
)
from chalicelib.storage import ObjectStore

MakeModel = Callable[..., bytes]


def weights(make_model: MakeModel, confidence: float) -> bytes:
    return make_model(((8, 8, 24, 20, confidence, 0),))


def measured(ap: float) -> bytes:
    return json.dumps(
        {
            "mAP50": ap,
            "mAP50-95": ap / 2,
            "per_class": [{"class_id": 0, "class_name": "scratch", "AP50": ap, "AP50-95": ap / 2}],
            "training_set_size": round(100 * ap),
            "validation_set_size": 32,
        }
    ).encode()


@pytest.fixture
def three(publisher: Publisher, make_model: MakeModel) -> Promoter:
    """Three versions with APs 0.1, 0.2 and 0.3, of which the last serves."""
    for ap in (0.1, 0.2, 0.3):
        publisher.publish("scratch", weights(make_model, ap), measured(ap))
    return publisher.promoter


def test_a_promoted_version_serves_with_its_own_measurements(
    three: Promoter, catalog: Catalog
) -> None:
    told = three.promote("scratch", 1, "Ada", "the last one is worse at night")

    live = catalog.require("scratch")
    assert live.version == 1
    assert live.file.validation_APs == (0.1, None)
    assert live.file.training_set_size == 10
    assert (told.version, told.previous, told.by) == (1, 3, "Ada")
    assert live.file.promoted_why == "the last one is worse at night"


def test_promoting_what_serves_changes_nothing(three: Promoter, store: ObjectStore) -> None:
    before = store.get("models/scratch/model.yaml")

    three.promote("scratch", 3, "Ada", "again")

    assert store.get("models/scratch/model.yaml") == before


def test_rolling_back_goes_one_further_each_time(three: Promoter, catalog: Catalog) -> None:
    seen = []
    for _ in range(2):
        three.rollback("scratch", "Ada", "it misses dents")
        seen.append(catalog.require("scratch").version)

    assert seen == [2, 1]
    with pytest.raises(Conflict, match="nothing is known to have served before version 1"):
        three.rollback("scratch", "Ada", "further")
    assert catalog.require("scratch").version == 1


def test_after_a_rollback_another_promotion_falls_back_on_what_served_then(
    three: Promoter, catalog: Catalog
) -> None:
    three.rollback("scratch", "Ada", "worse")
    three.promote("scratch", 3, "Ben", "no, better")
    three.rollback("scratch", "Ada", "worse, I said")

    assert catalog.require("scratch").version == 2


def test_a_version_that_comes_after_a_rollback_gets_a_number_of_its_own(
    three: Promoter, publisher: Publisher, catalog: Catalog, make_model: MakeModel
) -> None:
    three.rollback("scratch", "Ada", "worse")
    publisher.publish("scratch", weights(make_model, 0.4), measured(0.4))

    assert catalog.require("scratch").version == 4
    three.rollback("scratch", "Ada", "worse")
    assert catalog.require("scratch").version == 2


@pytest.mark.parametrize("version", [0, 4, 10**9])
def test_a_version_that_is_not_there_cannot_be_promoted(
    three: Promoter, catalog: Catalog, version: int
) -> None:
    with pytest.raises(ModelVersionNotFound, match=f"no version {version}"):
        three.promote("scratch", version, "Ada", "why not")

    assert catalog.require("scratch").version == 3


def test_nothing_can_be_done_to_a_model_that_is_not_there(three: Promoter) -> None:
    with pytest.raises(ModelVersionNotFound):
        three.promote("rust", 1, "Ada", "why not")
    with pytest.raises(ModelNotFound):
        three.rollback("rust", "Ada", "why not")


def test_a_version_whose_weights_are_broken_is_not_promoted(
    three: Promoter, store: ObjectStore, catalog: Catalog
) -> None:
    store.put("models/scratch/versions/1/model.onnx", b"torn", "application/octet-stream")

    with pytest.raises(InvalidModel):
        three.promote("scratch", 1, "Ada", "why not")

    assert catalog.require("scratch").version == 3


def test_a_version_is_promoted_only_over_the_one_it_was_compared_with(three: Promoter) -> None:
    with pytest.raises(Conflict, match="version 3 of 'scratch' serves by now, not 2"):
        three.promote("scratch", 1, "the gate", "better", over=2)
    with pytest.raises(Conflict, match="not None"):
        three.promote("scratch", 1, "the gate", "better", over=None)

    assert three.promote("scratch", 1, "the gate", "better", over=3).previous == 3


def test_of_two_who_decide_at_once_the_second_sees_the_first(
    three: Promoter, ordered: Any, catalog: Catalog
) -> None:
    ordered.before["models/scratch/model.yaml"] = lambda: three.promote("scratch", 1, "Ben", "no")

    told = Promoter(ordered, catalog).promote("scratch", 2, "Ada", "yes")

    assert told.previous == 1
    assert catalog.require("scratch").version == 2


def test_of_two_who_decide_at_once_the_gate_gives_way(
    three: Promoter, ordered: Any, catalog: Catalog
) -> None:
    ordered.before["models/scratch/model.yaml"] = lambda: three.promote("scratch", 1, "Ben", "no")

    with pytest.raises(Conflict):
        Promoter(ordered, catalog).promote("scratch", 2, "the gate", "better", over=3)

    assert catalog.require("scratch").version == 1


def test_of_two_who_roll_back_at_once_one_does(
    three: Promoter, ordered: Any, catalog: Catalog
) -> None:
    ordered.before["models/scratch/model.yaml"] = lambda: three.rollback("scratch", "Ben", "worse")

    with pytest.raises(Conflict, match="version 2 of 'scratch' serves by now, not 3"):
        Promoter(ordered, catalog).rollback("scratch", "Ada", "worse")

    assert catalog.require("scratch").version == 2


def test_a_version_is_rolled_back_only_while_it_serves(three: Promoter, catalog: Catalog) -> None:
    with pytest.raises(Conflict, match="version 3 of 'scratch' serves by now, not 2"):
        three.rollback("scratch", "Ada", "worse", over=2)

    assert three.rollback("scratch", "Ada", "worse", over=3).version == 2


def test_readers_see_one_version_or_the_other_and_never_half(
    three: Promoter, store: ObjectStore
) -> None:
    whole = {(version, (round(version / 10, 1), None)) for version in (1, 2, 3)}
    seen: list[ModelFile] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(Catalog(store, 0).require("scratch").file)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        three.promote("scratch", 1, "Ada", "to and fro")
        three.promote("scratch", 2, "Ada", "to and fro")
        three.rollback("scratch", "Ada", "to and fro")
    done.set()
    for reader in readers:
        reader.join()

    assert len(seen) > 10
    assert {(file.live_version, file.validation_APs) for file in seen} <= whole


@pytest.fixture
def minutes() -> Callable[[], datetime]:
    """A clock that is a minute further each time."""
    passed = iter(range(1000))
    return lambda: datetime(2026, 11, 21, 8, tzinfo=UTC) + timedelta(minutes=next(passed))


@pytest.fixture
def kept(
    store: ObjectStore, catalog: Catalog, database: Database, minutes: Callable[[], datetime]
) -> Publisher:
    """Who publishes with a database."""
    return Publisher(store, catalog, database, minutes)


@pytest.mark.stack
def test_the_history_tells_what_served_since_when_by_whose_will(
    kept: Publisher, make_model: MakeModel, database: Database
) -> None:
    for ap in (0.1, 0.2):
        kept.publish("scratch", weights(make_model, ap), measured(ap))
    kept.promoter.promote("scratch", 1, "Ada", "the new one misses dents")
    kept.promoter.promote("scratch", 2, "Ben", "not any more")
    kept.promoter.rollback("scratch", "Ada", "it does")

    told = [(each.version, each.previous, each.by) for each in kept.promoter.history("scratch")]
    assert told == [
        (1, 2, "Ada"),
        (2, 1, "Ben"),
        (1, 2, "Ada"),
        (2, 1, "the publisher"),
        (1, None, "the publisher"),
    ]
    with database.transaction() as rows:
        rows.execute("SELECT live_version, training_set_size FROM models")
        assert rows.fetchall() == [(1, 10)]


@pytest.mark.stack
def test_who_dies_between_the_file_and_the_rows_leaves_a_promotion_that_is_told_all_the_same(
    kept: Publisher,
    make_model: MakeModel,
    catalog: Catalog,
    ordered: Any,
    database: Database,
    minutes: Callable[[], datetime],
) -> None:
    for ap in (0.1, 0.2):
        kept.publish("scratch", weights(make_model, ap), measured(ap))
    Promoter(ordered, catalog, None, minutes).promote("scratch", 1, "Ada", "who has no database")

    assert kept.promoter.history("scratch")[0].by == "Ada"
    kept.promoter.promote("scratch", 2, "Ben", "back again")
    assert [each.by for each in kept.promoter.history("scratch")][:2] == ["Ben", "Ada"]
    with database.transaction() as rows:
        rows.execute("SELECT count(*) FROM model_promotions")
        assert rows.fetchone() == (4,)


@pytest.mark.stack
def test_a_version_has_served_even_where_it_was_rolled_back(
    kept: Publisher, make_model: MakeModel
) -> None:
    for ap in (0.1, 0.2):
        kept.publish("scratch", weights(make_model, ap), measured(ap))
    kept.promoter.rollback("scratch", "Ada", "worse")

    assert kept.promoter.has_served("scratch", 2)
    assert not kept.promoter.has_served("scratch", 3)


@pytest.mark.stack
def test_many_who_promote_at_once_leave_rows_that_agree_with_the_file(
    kept: Publisher,
    make_model: MakeModel,
    store: ObjectStore,
    database: Database,
) -> None:
    for ap in (0.1, 0.2, 0.3):
        kept.publish("scratch", weights(make_model, ap), measured(ap))

    def decide(version: int) -> None:
        mine = Database(database.require())
        Promoter(store, Catalog(store, 0), mine).promote("scratch", version, "Ada", "mine")
        mine.close()

    threads = [threading.Thread(target=decide, args=(1 + n % 3,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    live = Catalog(store, 0).require("scratch").version
    with database.transaction() as rows:
        rows.execute("SELECT live_version FROM models")
        assert rows.fetchall() == [(live,)]


@pytest.mark.stack
def test_a_file_whose_reason_no_row_can_hold_stands_in_nobodys_way(
    kept: Publisher,
    make_model: MakeModel,
    store: ObjectStore,
    catalog: Catalog,
    minutes: Callable[[], datetime],
) -> None:
    for ap in (0.1, 0.2):
        kept.publish("scratch", weights(make_model, ap), measured(ap))
    Promoter(store, catalog, None, minutes).promote("scratch", 1, "Ada", "torn\x00off")

    kept.promoter.promote("scratch", 2, "Ben", "back again")

    assert [each.why for each in kept.promoter.history("scratch")][:2] == [
        "back again",
        "torn\ufffdoff",
    ]


@pytest.mark.parametrize("cut", ["models/scratch/model.yaml"])
def test_a_promotion_that_breaks_off_leaves_the_version_before(
    three: Promoter, ordered: Any, catalog: Catalog, cut: str
) -> None:
    def die() -> None:
        raise StorageUnavailable("cut off")

    ordered.before[cut] = die
    with pytest.raises(StorageUnavailable):
        Promoter(ordered, catalog).promote("scratch", 1, "Ada", "why not")

    catalog.forget("scratch")
    assert catalog.require("scratch").version == 3
