"""Models that were asked for, over a real database and a store bucket that stands in for S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from chalicelib.catalog import Catalog, ModelFile, Publisher
from chalicelib.catalog.pending import MOST_A_USER, PendingModels, cleaned
from chalicelib.database import Database
from chalicelib.errors import (
    Conflict,
    InvalidLabel,
    InvalidModel,
    ModelNotFound,
    StorageUnavailable,
)
from chalicelib.storage import ObjectStore

CLASSES = ("scratch", "dent")


@pytest.fixture
def url(new_database: Callable[..., str], migrated: str) -> str:
    return new_database(template=migrated)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    yield made
    made.close()


@pytest.fixture
def pending(database: Database, store: ObjectStore, catalog: Catalog) -> PendingModels:
    return PendingModels(database, store, catalog)


class BrokenStore(ObjectStore):
    """One that reads and does not write."""

    def put(self, *_: object, **__: object) -> None:
        raise StorageUnavailable("S3 is down")


def test_a_model_that_was_asked_for_has_a_row_and_a_file(
    pending: PendingModels, store: ObjectStore
) -> None:
    made, is_new = pending.ask("dents", CLASSES, "192.0.2.1")

    assert is_new
    assert pending.get("dents") == made
    assert pending.all() == [made]
    file = ModelFile.parse(store.get("pending_models/dents/model.yaml").body, "model.yaml")
    assert (file.name, file.names, file.live_version) == ("dents", CLASSES, None)


def test_asking_for_the_same_again_changes_nothing(pending: PendingModels) -> None:
    made, _ = pending.ask("dents", CLASSES, "192.0.2.1")

    assert pending.ask("dents", CLASSES, "192.0.2.1") == (made, False)


@pytest.mark.parametrize(
    ("classes", "user"), [(CLASSES, "192.0.2.9"), (CLASSES[::-1], "192.0.2.1")]
)
def test_a_name_that_is_asked_for_is_taken(
    pending: PendingModels, classes: tuple[str, ...], user: str
) -> None:
    pending.ask("dents", CLASSES, "192.0.2.1")

    with pytest.raises(Conflict, match="taken"):
        pending.ask("dents", classes, user)


def test_the_name_of_a_model_that_serves_is_taken_with_a_row_or_without(
    pending: PendingModels, publisher: Publisher, make_model: Callable[..., bytes]
) -> None:
    publisher.publish("scratch", make_model(), b"{}")

    with pytest.raises(Conflict, match="taken"):
        pending.ask("scratch", CLASSES, "192.0.2.1")


def test_of_many_who_ask_for_a_name_at_once_one_gets_it(
    url: str, store: ObjectStore, catalog: Catalog
) -> None:
    def ask(number: int) -> bool:
        with closing(Database(url)) as database:
            try:
                asked = PendingModels(database, store, catalog)
                return asked.ask("dents", CLASSES, f"192.0.2.{number}")[1]
            except Conflict:
                return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_where_the_file_cannot_be_written_nobody_has_asked(
    database: Database, store: ObjectStore, catalog: Catalog, pending: PendingModels
) -> None:
    broken = BrokenStore(store._s3, store.bucket)

    with pytest.raises(StorageUnavailable):
        PendingModels(database, broken, catalog).ask("dents", CLASSES, "192.0.2.1")

    assert pending.all() == []
    assert pending.ask("dents", CLASSES, "192.0.2.2")[1]


def test_a_user_may_ask_for_so_many_and_not_more(pending: PendingModels) -> None:
    for number in range(MOST_A_USER):
        pending.ask(f"dents-{number}", CLASSES, "192.0.2.1")

    with pytest.raises(Conflict, match=str(MOST_A_USER)):
        pending.ask("one-more", CLASSES, "192.0.2.1")
    assert pending.ask("dents-0", CLASSES, "192.0.2.1")[1] is False
    assert pending.ask("one-more", CLASSES, "192.0.2.2")[1]


def test_a_model_nobody_asked_for_is_not_found(pending: PendingModels) -> None:
    with pytest.raises(ModelNotFound, match="nobody asked"):
        pending.get("dents")


def test_a_pending_model_whose_first_version_is_published_serves(
    pending: PendingModels,
    store: ObjectStore,
    catalog: Catalog,
    database: Database,
    make_model: Callable[..., bytes],
) -> None:
    live: list[str] = []
    publisher = Publisher(store, catalog, database, went_live=live.append)
    pending.ask("dents", CLASSES, "192.0.2.1")

    publisher.publish("dents", make_model(), b"{}")

    assert catalog.require("dents").version == 1
    assert live == ["dents"]
    assert pending.all() == []
    assert list(store.keys("pending_models/")) == []
    with pytest.raises(ModelNotFound, match="serves by now"):
        pending.get("dents")
    with pytest.raises(Conflict):
        pending.ask("dents", CLASSES, "192.0.2.1")


def test_weights_of_other_classes_than_were_asked_for_are_refused(
    pending: PendingModels,
    store: ObjectStore,
    catalog: Catalog,
    database: Database,
    make_model: Callable[..., bytes],
) -> None:
    pending.ask("dents", ("dent", "scratch"), "192.0.2.1")

    with pytest.raises(InvalidModel, match="asked for with the classes"):
        Publisher(store, catalog, database).publish("dents", make_model(), b"{}")

    assert [model.name for model in pending.all()] == ["dents"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("scratch\n dent \n\n", ("scratch", "dent")),
        ("scratch\r\ndent", ("scratch", "dent")),
        ([" scratch", "dent\t"], ("scratch", "dent")),
        (["A", "a"], ("A", "a")),
        (["Ka\u0308fer"], ("Käfer",)),
    ],
)
def test_classes_are_trimmed_and_of_one_spelling(
    given: str | list[str], names: tuple[str, ...]
) -> None:
    assert cleaned(given) == names


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "between 1 and"),
        (" \n\n", "between 1 and"),
        (["a"] * 1001, "between 1 and"),
        (["scratch", "  "], "class 2 is empty"),
        (["scratch", "dent", "scratch "], "class 3 is 'scratch' again"),
        (["K\u00e4fer", "Ka\u0308fer"], "class 2 is 'Käfer' again"),
        (["x" * 101], "class 1 has 101 characters"),
        (["a\x1b[31m"], "class 1 has a character that cannot be printed"),
    ],
)
def test_classes_that_cannot_be_are_named(given: str | list[str], told: str) -> None:
    with pytest.raises(InvalidLabel, match=told):
        cleaned(given)


def test_a_database_counts_its_images_by_itself(url: str) -> None:
    sha256 = [f"{number:064x}" for number in range(4)]
    with closing(psycopg2.connect(url, options="-c search_path=sightloop")) as held:
        held.autocommit = True
        rows = held.cursor()
        rows.executemany(
            """INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
               VALUES ('dents', %s, 'jpg', 1, 1, %s, decode(repeat('00', 32), 'hex'), 'x')""",
            [(each, side) for each, side in zip(sha256, ["train"] * 3 + ["valid"], strict=True)],
        )
        rows.execute(
            """INSERT INTO labels (sample_id, yolo, boxes, origin)
               SELECT sample_id, '', 0, 'import' FROM samples"""
        )
        rows.execute("""UPDATE samples s SET label_id = l.label_id FROM labels l
                        WHERE l.sample_id = s.sample_id""")
        sizes = """SELECT side, n FROM dataset_counts
                   WHERE model = 'dents' AND fact = 'images' ORDER BY side"""

        rows.execute(sizes)
        assert rows.fetchall() == [("train", 3), ("valid", 1)]
        rows.execute("UPDATE samples SET label_id = NULL WHERE sha256 = %s", (sha256[0],))
        rows.execute("UPDATE samples SET published = true")
        rows.execute(sizes)
        assert rows.fetchall() == [("train", 2), ("valid", 1)]
