"""How many new images count towards the thresholds of a training."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.labels.progress import Progress, TrainingProgress, most_of_one
from chalicelib.labels.sizes import Sizes
from chalicelib.trust.records import BY_AGREEMENT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

ADD_SAMPLE = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key, joins, groups)
VALUES ('tags', %(sha256)s, 'jpg', 640, 480, %(side)s, decode(repeat('00', 32), 'hex'), 'x',
        %(joins)s, %(groups)s)
RETURNING sample_id
"""
ADD_LABEL = """
INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id)
VALUES (%(sample)s, '', 0, %(origin)s, %(user)s, %(request)s) RETURNING label_id
"""
ADD_REQUEST = """
INSERT INTO requests (prediction_id, user_address, model, model_version, score, predicted_boxes,
                      submitted_boxes, state, reviewed_at, reviewed_by)
VALUES (gen_random_uuid(), %(user)s, 'tags', 1, 0, 1, 1, 'accepted',
        CASE WHEN %(reviewed_by)s IS NOT NULL THEN now() END, %(reviewed_by)s)
RETURNING request_id
"""
NEEDS = Sizes(16, 4)
ANN, BOB, CARL = "203.0.113.7", "user:bob", "2001:db8::/64"


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Dataset:
    """The dataset of the model `tags`, in rows."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self._names = 0

    def _do(self, statement: str, **given: Any) -> Any:
        with self.database.transaction() as rows:
            rows.execute(statement, given)
            return rows.fetchall()[0][0] if rows.description else None

    def add(
        self,
        user: str | None,
        times: int = 1,
        *,
        side: str = "train",
        like: str | None = None,
        origin: str = "submission",
        reviewed_by: str | None = None,
        groups: tuple[str, ...] = (),
    ) -> None:
        """Add labelled images of a contributor, near to an image where one is named."""
        for _ in range(times):
            self._names += 1
            name = sha256(str(self._names))
            joins = [sha256(like)] if like else []
            sample = self._do(ADD_SAMPLE, sha256=name, side=side, joins=joins, groups=list(groups))
            request = None
            if origin == "submission":
                request = self._do(ADD_REQUEST, user=user, reviewed_by=reviewed_by)
            label = self._do(ADD_LABEL, sample=sample, origin=origin, user=user, request=request)
            use = "UPDATE samples SET label_id = %(label)s WHERE sample_id = %(sample)s"
            self._do(use, label=label, sample=sample)

    def training(
        self, share: float = 0.5, needs: Sizes = NEEDS, revision: int | None = None
    ) -> Progress:
        counting = TrainingProgress(self.database, share)
        return counting.toward({"tags": revision}, needs)["tags"].training


@pytest.fixture
def dataset(new_database: Callable[..., str], migrated: str) -> Iterator[Dataset]:
    made = Dataset(new_database(template=migrated))
    yield made
    made.database.close()


def test_one_contributor_fills_no_threshold(dataset: Dataset) -> None:
    dataset.add(ANN, 100)
    dataset.add(ANN, 100, side="valid")

    counting = TrainingProgress(dataset.database, 0.5)
    progress = counting.toward({"tags": None}, NEEDS)["tags"]

    assert progress.counts == Sizes(8, 2)
    assert progress.training == Progress(100, 100, 8, 8)


def test_two_contributors_fill_it_together(dataset: Dataset) -> None:
    dataset.add(ANN, 100)
    dataset.add(BOB, 7)
    assert dataset.training().counts == 15

    dataset.add(BOB, 5)
    assert dataset.training().counts == 16


def test_what_operators_bring_or_accept_is_not_limited(dataset: Dataset) -> None:
    dataset.add(None, 3, origin="import")
    dataset.add("operator:olga", 4, origin="import")
    dataset.add("operator:olga", 2)
    dataset.add(ANN, 5, origin="operator")
    dataset.add(ANN, 6, reviewed_by="olga")
    assert dataset.training().counts == 20

    dataset.add(ANN, 50)
    assert dataset.training(needs=Sizes(40, 4)).counts == 40


def test_images_that_people_agree_on_count_as_their_senders(dataset: Dataset) -> None:
    dataset.add(BOB, 30, reviewed_by=BY_AGREEMENT)
    assert dataset.training().counts == 8

    dataset.add(ANN, 3, reviewed_by=BY_AGREEMENT)
    assert dataset.training().counts == 11


def test_what_somebody_imports_into_the_model_that_they_asked_for_is_limited(
    dataset: Dataset,
) -> None:
    dataset.add(ANN, 30, origin="import")

    assert dataset.training().counts == 8


def test_near_duplicates_count_once(dataset: Dataset) -> None:
    dataset.add(ANN, 24, like="one photo")
    dataset.add(ANN, 4)

    assert dataset.training() == Progress(28, 5, 5, 8)


def test_near_duplicates_count_once_without_a_share_too(dataset: Dataset) -> None:
    dataset.add(ANN, 24, like="one photo")
    dataset.add(ANN, 15)

    assert dataset.training(share=1).counts == 16


def test_a_duplicate_of_an_operators_image_is_the_operators(dataset: Dataset) -> None:
    dataset.add(ANN, 9, like="one photo")
    dataset.add(None, 1, like="one photo", origin="import")

    assert dataset.training() == Progress(10, 1, 1, 8)


def test_images_that_an_importer_grouped_count_each(dataset: Dataset) -> None:
    dataset.add(None, 16, origin="import", groups=("one shift",))

    assert dataset.training().counts == 16


@pytest.mark.parametrize("needs", [1, 2, 3, 16])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_nobody_meets_a_threshold_alone(dataset: Dataset, needs: int, share: float) -> None:
    dataset.add(ANN, 40)
    assert dataset.training(share, Sizes(needs, 1)).counts < needs

    dataset.add(None, needs - dataset.training(share, Sizes(needs, 1)).counts, origin="import")
    assert dataset.training(share, Sizes(needs, 1)).counts >= needs


def test_with_a_share_of_one_somebody_does(dataset: Dataset) -> None:
    dataset.add(ANN, 16)

    assert dataset.training(share=1) == Progress(16, 16, 16, dataset.training(1).most)


def test_others_are_seen_behind_many_images_of_one(dataset: Dataset) -> None:
    dataset.add(ANN, 300)
    dataset.add(BOB, 8)

    assert dataset.training().counts == 16


def test_only_what_is_newer_counts(dataset: Dataset) -> None:
    dataset.add(ANN, 5)
    dataset.add(BOB, 5)
    with dataset.database.transaction() as rows:
        rows.execute("SELECT revision FROM datasets")
        [[revision]] = rows.fetchall()
    dataset.add(CARL, 3)

    assert dataset.training(revision=revision).counts == 3


def test_any_dataset_is_counted_as_its_rows_say(dataset: Dataset) -> None:
    rng = random.Random(3)
    people = [ANN, BOB, CARL, None]
    expected: Counter[str | None] = Counter()
    seen: dict[str, str | None] = {}
    for _ in range(120):
        user, photo = rng.choice(people), rng.choice("abcdefgh")
        is_copy = rng.random() < 0.4
        origin = "import" if user is None else "submission"
        dataset.add(user, like=photo if is_copy else None, origin=origin)
        if not is_copy:
            expected[user] += 1
        elif photo not in seen or user is None:
            seen[photo] = user
    expected.update(seen.values())

    for needs in (10, 30, 1_000):
        most = most_of_one(needs, 0.5)
        counts = sum(n if user is None else min(n, most) for user, n in expected.items())
        counted = dataset.training(needs=Sizes(needs, 1)).counts
        assert counted == counts if needs == 1_000 else min(counted, needs) == min(counts, needs)
    assert TrainingProgress(dataset.database, 0.5).toward({}, NEEDS) == {}
