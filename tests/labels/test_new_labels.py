"""How many images have a label that is newer than what a version learnt from."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chalicelib.catalog.lineage import learnt_revisions
from chalicelib.database import Database
from chalicelib.labels.sizes import DatasetSizes, Sizes
from deploy.migrate import FOLDER, migrate

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ADD_SAMPLE = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
VALUES (%s, %s, 'jpg', 640, 480, %s, decode(repeat('00', 32), 'hex'), 'x') RETURNING sample_id
"""
ADD_LABEL = """
WITH said AS (INSERT INTO labels (sample_id, yolo, boxes, origin) VALUES (%s, '', 0, 'import')
              RETURNING label_id, sample_id)
SELECT set_config('test.label', said.label_id::text, true) FROM said
"""
USE_LABEL = """
UPDATE samples SET label_id = current_setting('test.label')::bigint WHERE sample_id = %s
"""
WITHDRAW = "UPDATE samples SET label_id = NULL WHERE sample_id = %s"


class Rows:
    """One test's database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)
        self.sizes = DatasetSizes(self.database)

    def __call__(self, statement: str, *given: object) -> list[tuple[Any, ...]]:
        with self.database.transaction() as rows:
            rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []

    def label(self, sample: int) -> None:
        with self.database.transaction() as rows:
            rows.execute(ADD_LABEL, (sample,))
            rows.execute(USE_LABEL, (sample,))

    def add(self, name: str, model: str = "tags", side: str = "train") -> int:
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        sample = int(self(ADD_SAMPLE, model, sha256, side)[0][0])
        self.label(sample)
        return sample

    def revision(self, model: str = "tags") -> int:
        return int(self("SELECT revision FROM datasets WHERE model = %s", model)[0][0])

    def new(self, revision: int | None, model: str = "tags") -> Sizes:
        return self.sizes.new_since({model: revision})[model]


@pytest.fixture
def rows(new_database: Callable[..., str], migrated: str) -> Rows:
    return Rows(new_database(template=migrated))


def test_all_is_new_to_a_version_that_came_with_its_weights(rows: Rows) -> None:
    rows.add("a")
    rows.add("b")
    rows.add("c", side="valid")
    rows.add("d", model="others")

    assert rows.new(None) == Sizes(2, 1)


def test_what_a_version_learnt_from_is_not_new(rows: Rows) -> None:
    rows.add("a")
    learnt = rows.revision()
    rows.add("b")
    rows.add("c", side="valid")

    assert rows.new(learnt) == Sizes(1, 1)
    assert rows.new(rows.revision()) == Sizes(0, 0)


def test_an_image_that_is_labelled_anew_is_new_again_and_once(rows: Rows) -> None:
    sample = rows.add("a")
    learnt = rows.revision()
    rows.label(sample)
    rows.label(sample)

    assert rows.new(learnt) == Sizes(1, 0)


def test_an_image_whose_label_was_withdrawn_is_not_new(rows: Rows) -> None:
    rows(WITHDRAW, rows.add("a"))

    assert rows.new(None) == Sizes(0, 0)


def test_counting_stops_where_there_is_enough(rows: Rows) -> None:
    for name in "abcde":
        rows.add(name)
    rows.add("f", side="valid")

    assert rows.sizes.new_since({"tags": None}, Sizes(3, 4)) == {"tags": Sizes(3, 1)}


def test_models_are_asked_together_and_one_without_images_has_none_new(rows: Rows) -> None:
    rows.add("a")
    rows.add("b", model="others", side="valid")

    asked = {"tags": rows.revision(), "others": None, "unknown": None}
    assert rows.sizes.new_since(asked) == {
        "tags": Sizes(0, 0),
        "others": Sizes(0, 1),
        "unknown": Sizes(0, 0),
    }
    assert rows.sizes.new_since({}) == {}


def test_an_image_that_is_moved_to_the_other_side_counts_there(rows: Rows) -> None:
    sample = rows.add("a")
    rows("UPDATE samples SET side = 'valid' WHERE sample_id = %s", sample)

    assert rows.new(None) == Sizes(0, 1)


def test_whatever_is_done_the_count_is_that_of_the_terms_in_force(rows: Rows) -> None:
    rng = random.Random(5)
    samples = [
        rows.add(str(number), f"m{number % 3}", rng.choice(["train", "valid"]))
        for number in range(40)
    ]
    for _ in range(150):
        sample = rng.choice(samples)
        rows.label(sample) if rng.random() < 0.7 else rows(WITHDRAW, sample)

    [(last,)] = rows("SELECT max(began) FROM label_terms")
    for revision in rng.sample(range(last + 1), 20):
        recount: Counter[tuple[str, str]] = Counter(
            (model, side)
            for model, side in rows(
                """SELECT s.model, s.side FROM samples s WHERE (
                       SELECT max(t.began) FROM label_terms t
                       WHERE t.sample_id = s.sample_id AND t.label_id = s.label_id) > %s""",
                revision,
            )
        )
        told = rows.sizes.new_since({f"m{number}": revision for number in range(3)})
        assert told == {
            name: Sizes(recount[name, "train"], recount[name, "valid"]) for name in told
        }


def test_a_version_is_known_by_the_revision_that_it_learnt_from(rows: Rows) -> None:
    rows("INSERT INTO models (name, class_names) VALUES ('tags', '{tag}'), ('others', '{x}')")
    rows(
        """INSERT INTO model_versions (model, version, sha256, dataset_revision)
           VALUES ('tags', 1, %s, NULL), ('tags', 2, %s, 41), ('others', 1, %s, NULL)""",
        *["0" * 64] * 3,
    )

    asked = {"tags": 2, "others": 1, "unknown": 7}
    assert learnt_revisions(rows.database, asked) == {"tags": 41, "others": None, "unknown": None}


def test_labels_from_before_there_was_such_a_count_are_counted(
    new_database: Callable[..., str], tmp_path: Path
) -> None:
    [ours] = FOLDER.glob("*_new_labels.sql")
    for file in sorted(FOLDER.glob("*.sql")):
        if file.name < ours.name:
            shutil.copy(file, tmp_path)
    url = new_database()
    migrate(url, tmp_path)
    rows = Rows(url)
    rows.label(rows.add("a"))
    rows.add("b", side="valid")
    rows(WITHDRAW, rows.add("c"))
    migrate(url)

    assert rows.new(None) == Sizes(1, 1)
    rows.add("d")
    assert rows.new(None) == Sizes(2, 1)
    with closing(psycopg2.connect(url)) as held, held.cursor() as again:
        again.execute(ours.read_text(encoding="utf-8"))
