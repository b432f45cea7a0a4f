"""What is counted of a dataset while it changes equals a recount, whoever changes it and how."""

from __future__ import annotations

import bisect
import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import psycopg2
import pytest

from chalicelib.labels.split import Member, Split

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

CONNECTIONS = 8
PARTS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
Key = tuple[str, str, str, str]
ADD_SAMPLE = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, groups, joins, source_key)
VALUES (%s, %s, 'jpg', 640, 480, %s, decode(repeat('00', 32), 'hex'), %s, %s, 'x')
RETURNING sample_id
"""
ADD_LABEL = """
INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id)
VALUES (%s, %s, %s, %s, 'ann', 1) RETURNING label_id
"""


class Dataset:
    """One test's database; every call is a transaction on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *statements: str, given: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        options = "-c search_path=sightloop"
        with closing(psycopg2.connect(self.url, options=options)) as held, held:
            rows = held.cursor()
            for statement in statements:
                rows.execute(statement, given or None)
            return list(rows.fetchall()) if rows.description else []

    def add(
        self,
        name: str,
        side: str = "train",
        joins: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        model: str = "tags",
    ) -> int:
        joined = [sha256(other) for other in joins]
        return self(ADD_SAMPLE, given=(model, sha256(name), side, list(groups), joined))[0][0]

    def label(self, sample_id: int, yolo: str, origin: str = "import") -> int:
        [(label_id,)] = self(ADD_LABEL, given=(sample_id, yolo, len(yolo.splitlines()), origin))
        self("UPDATE samples SET label_id = %s WHERE sample_id = %s", given=(label_id, sample_id))
        return int(label_id)

    def counts(self) -> dict[Key, int]:
        found = self("SELECT model, side, fact, key, n FROM dataset_counts WHERE n <> 0")
        return {tuple(key): int(n) for *key, n in found}  # type: ignore[misc]

    def recount(self) -> dict[Key, int]:
        """Count anew, in Python, from samples and labels alone."""
        counted: Counter[Key] = Counter()
        for model, side, why, origin in self("""
            SELECT s.model, s.side, l.withdrawn_why, l.origin
            FROM labels l JOIN samples s USING (sample_id)"""):
            counted[model, side, "labels", origin] += 1
            if why:
                counted[model, side, "withdrawn", why] += 1
        for model, side, width, height, yolo, origin, user in self("""
            SELECT s.model, s.side, s.width, s.height, l.yolo, l.origin, l.user_address
            FROM samples s JOIN labels l USING (label_id)"""):
            counted[model, side, "images", ""] += 1
            counted[model, side, "images_by_origin", origin] += 1
            by_operator = user.startswith("operator:") if user else origin == "import"
            counted[model, side, "images_of_operators", ""] += by_operator or origin == "operator"
            counted[model, side, "empty", ""] += not yolo
            boxes = [line.split() for line in yolo.splitlines()]
            counted.update((model, side, "images_of", name) for name in {box[0] for box in boxes})
            for name, _, _, box_width, box_height in boxes:
                share = float(box_width) * float(box_height)
                part = bisect.bisect(PARTS, math.sqrt(share))
                counted[model, side, "boxes_of", name] += 1
                counted[model, side, "boxes_by_share", str(part)] += 1
                counted[model, side, "boxes_by_size", size(share * width * height)] += 1
        for model, side, n in self("SELECT model, side, count(*) FROM samples GROUP BY 1, 2"):
            counted[model, side, "placed", ""] = n
        counted.update(self.recounted_clusters())
        return {key: n for key, n in counted.items() if n}

    def recounted_clusters(self) -> dict[Key, int]:
        counted: Counter[Key] = Counter()
        clusters: dict[tuple[str, int], list[str]] = defaultdict(list)
        for model in {row[0] for row in self("SELECT model FROM samples")}:
            counted[model, "", "leaking", ""] = len(self.split(model).leaking())
        for model, cluster_id, side in self("""
            SELECT s.model, k.cluster_id, s.side FROM samples s
            JOIN cluster_names k ON k.model = s.model AND k.name = s.sha256"""):
            clusters[model, cluster_id].append(side)
        for (model, _), sides in clusters.items():
            counted[model, "", "clusters", ""] += len(sides) > 1
            counted[model, "", "clustered", ""] += len(sides) * (len(sides) > 1)
        return counted

    def split(self, model: str = "tags") -> Split:
        """Return the split as Python reads it out of the rows."""
        return Split(
            Member(name, np.zeros(4, np.uint64), side, tuple(groups), tuple(joins))
            for name, side, groups, joins in self(
                "SELECT sha256, side, groups, joins FROM samples WHERE model = %s", given=(model,)
            )
        )

    def clusters(self) -> set[frozenset[str]]:
        """Return the images of each cluster of several."""
        together = defaultdict(set)
        for cluster_id, name in self("""
            SELECT cluster_id, sha256 FROM cluster_names k JOIN samples s
            ON (s.model, s.sha256) = (k.model, k.name)"""):
            together[cluster_id].add(name)
        return {frozenset(names) for names in together.values() if len(names) > 1}


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def size(pixels: float) -> str:
    return "small" if pixels < 32 * 32 else "medium" if pixels < 96 * 96 else "large"


def drawn(rng: random.Random) -> str:
    """Return a label of some boxes, often of none."""
    rows = (
        f"{rng.randrange(3)} 0.5 0.5 {rng.uniform(0.01, 0.9):.6f} {rng.uniform(0.01, 0.9):.6f}"
        for _ in range(rng.choice([0, 0, 1, 2, 5]))
    )
    return "\n".join(rows)


@pytest.fixture
def rows(new_database: Callable[..., str], migrated: str) -> Dataset:
    return Dataset(new_database(template=migrated))


def test_a_label_is_counted_by_class_size_and_origin(rows: Dataset) -> None:
    rows.label(rows.add("a"), "0 0.5 0.5 0.02 0.02\n0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.8 0.9")

    assert rows.counts() == {
        ("tags", "train", "placed", ""): 1,
        ("tags", "train", "images", ""): 1,
        ("tags", "train", "images_by_origin", "import"): 1,
        ("tags", "train", "labels", "import"): 1,
        ("tags", "train", "images_of", "0"): 1,
        ("tags", "train", "images_of", "2"): 1,
        ("tags", "train", "boxes_of", "0"): 2,
        ("tags", "train", "boxes_of", "2"): 1,
        ("tags", "train", "boxes_by_size", "small"): 1,  # 12.8 x 9.6 pixels
        ("tags", "train", "boxes_by_size", "medium"): 1,  # 64 x 48
        ("tags", "train", "boxes_by_size", "large"): 1,
        ("tags", "train", "boxes_by_share", "2"): 1,
        ("tags", "train", "boxes_by_share", "4"): 1,
        ("tags", "train", "boxes_by_share", "7"): 1,
    }
    assert rows.counts() == rows.recount()


def test_the_newer_label_takes_the_place_of_the_older(rows: Dataset) -> None:
    sample = rows.add("a", "valid")
    rows.label(sample, "0 0.5 0.5 0.1 0.1")
    rows.label(sample, "", "operator")

    counted = rows.counts()
    assert counted["tags", "valid", "empty", ""] == 1
    assert counted["tags", "valid", "labels", "import"] == 1
    assert ("tags", "valid", "boxes_of", "0") not in counted
    assert rows("SELECT * FROM dataset_classes") == []
    assert counted == rows.recount()


def test_an_image_without_a_label_is_not_counted(rows: Dataset) -> None:
    sample = rows.add("a")
    rows.label(sample, "1 0.5 0.5 0.1 0.1")
    rows(
        "UPDATE samples SET label_id = NULL",
        "UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'banned'",
    )

    assert rows.counts() == {
        ("tags", "train", "placed", ""): 1,
        ("tags", "train", "labels", "import"): 1,
        ("tags", "train", "withdrawn", "banned"): 1,
    }


def test_what_is_rolled_back_is_not_counted(rows: Dataset) -> None:
    sample = rows.add("a")
    [(label,)] = rows(ADD_LABEL, given=(sample, "", 0, "import"))
    with pytest.raises(psycopg2.errors.DivisionByZero):
        rows(f"UPDATE samples SET label_id = {label}", "SELECT 1 / 0")

    assert rows.counts() == rows.recount()


def test_what_publishing_writes_changes_no_count(rows: Dataset) -> None:
    rows.label(rows.add("a"), "1 0.5 0.5 0.1 0.1")
    before = rows("SELECT xmin FROM dataset_counts"), rows("SELECT * FROM datasets")
    rows("UPDATE samples SET published = true")

    assert (rows("SELECT xmin FROM dataset_counts"), rows("SELECT * FROM datasets")) == before


def test_a_label_cannot_be_edited(rows: Dataset) -> None:
    rows.label(rows.add("a"), "1 0.5 0.5 0.1 0.1")

    with pytest.raises(psycopg2.errors.RestrictViolation, match="history"):
        rows("UPDATE labels SET yolo = ''")


def test_the_revision_is_that_of_the_last_label(rows: Dataset) -> None:
    first, second = rows.add("a"), rows.add("b")
    rows.label(first, "")
    rows.label(second, "")
    rows("UPDATE samples SET label_id = NULL WHERE sample_id = %s", given=(first,))
    rows.add("c")

    [(revision,)] = rows("SELECT revision FROM datasets")
    assert [(revision,)] == rows("SELECT max(greatest(began, ended)) FROM label_terms")


def test_one_statement_may_change_thousands(rows: Dataset) -> None:
    rows(
        """INSERT INTO samples (model, sha256, extension, width, height, side, bits, source_key)
           SELECT 'model' || n % 3, encode(sha256(n::text::bytea), 'hex'), 'jpg', 640, 480,
                  CASE WHEN n % 5 = 0 THEN 'valid' ELSE 'train' END,
                  decode(repeat('00', 32), 'hex'), 'x'
           FROM generate_series(1, 3000) n""",
        """INSERT INTO labels (sample_id, yolo, boxes, origin)
           SELECT sample_id, CASE WHEN sample_id % 7 = 0 THEN ''
                             ELSE sample_id % 4 || ' 0.5 0.5 0.' || sample_id % 9 || '1 0.2' END,
                  (sample_id % 7 > 0)::integer, 'import' FROM samples""",
        "UPDATE samples s SET label_id = l.label_id FROM labels l WHERE l.sample_id = s.sample_id",
    )
    assert rows.counts() == rows.recount()

    rows(
        "UPDATE samples SET label_id = NULL WHERE sample_id % 3 = 0",
        "UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'rejected' WHERE label_id % 2 = 0",
    )
    assert rows.counts() == rows.recount()


def test_everything_goes_when_all_is_truncated(rows: Dataset) -> None:
    rows.label(rows.add("a", groups=("g",)), "1 0.5 0.5 0.1 0.1")
    rows.add("b", groups=("g",))
    rows("TRUNCATE samples CASCADE")

    assert rows.counts() == {}
    assert rows("SELECT * FROM cluster_names UNION ALL SELECT * FROM cluster_names") == []


def test_images_that_join_or_share_a_group_are_one_cluster(rows: Dataset) -> None:
    rows.add("a")
    rows.add("b", joins=("a",))
    rows.add("c", groups=("shot 7",))
    rows.add("d", groups=("shot 7",))
    rows.add("alone", groups=("shot 8",))
    assert rows.clusters() == {
        frozenset({sha256("a"), sha256("b")}),
        frozenset({sha256("c"), sha256("d")}),
    }

    rows.add("e", "valid", joins=("a", "d"))
    assert rows.clusters() == {frozenset(map(sha256, "abcde"))}
    assert rows.counts() == rows.recount()
    assert rows.counts()["tags", "", "leaking", ""] == 1


def test_one_may_join_another_that_comes_after_it(rows: Dataset) -> None:
    rows.add("a", joins=("b",))
    assert rows.counts() == {("tags", "train", "placed", ""): 1}

    rows.add("b", "valid")
    assert rows.counts() == rows.recount()
    assert rows.counts()["tags", "", "clustered", ""] == 2


def test_models_have_clusters_of_their_own(rows: Dataset) -> None:
    rows.add("a", groups=("g",))
    rows.add("b", groups=("g",), model="other")

    assert rows.clusters() == set()


def test_a_known_image_may_be_told_a_group_later(rows: Dataset) -> None:
    rows.add("a", groups=("g",))
    late = rows.add("b", "valid")
    rows("UPDATE samples SET groups = '{g}' WHERE sample_id = %s", given=(late,))

    assert rows.clusters() == {frozenset(map(sha256, "ab"))}
    assert rows.counts() == rows.recount()


def test_a_group_may_be_called_anything(rows: Dataset) -> None:
    named = "Ünïcode 🔩 {} \\ '" + "x" * 5000
    rows.add("a", groups=(named,))
    rows.add("b", groups=(named,))

    assert rows.clusters() == {frozenset(map(sha256, "ab"))}


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_those_of_the_split(rows: Dataset, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(60):
        others = [str(rng.randrange(60)) for _ in range(rng.choice([0, 0, 1, 3]))]
        groups = [f"g{rng.randrange(12)}" for _ in range(rng.choice([0, 0, 0, 1]))]
        side = rng.choice(["train", "train", "valid"])
        rows.add(str(number), side, tuple(others), tuple(groups))

    [(leaking,)] = rows("""
        SELECT coalesce(array_agg(s.sha256), '{}') FROM samples s
        JOIN cluster_names k ON k.model = s.model AND k.name = s.sha256
        JOIN clusters c USING (cluster_id)
        WHERE s.side = 'valid' AND c.train > 0""")
    assert set(leaking) == rows.split().leaking()
    assert rows.counts() == rows.recount()


def test_many_at_once_are_counted_exactly(rows: Dataset) -> None:
    """Eight connections label, relabel, withdraw and join images of two models at random."""
    samples = [rows.add(str(n), model=f"model{n % 2}") for n in range(40)]

    def work(seed: int) -> int:
        rng = random.Random(seed)
        deadlocks = 0
        for step in range(40):
            try:
                change(rows, rng, rng.choice(samples), f"{seed} {step}")
            except psycopg2.errors.DeadlockDetected:
                deadlocks += 1
        return deadlocks

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        deadlocks = sum(pool.map(work, range(CONNECTIONS)))

    assert rows.counts() == rows.recount()
    assert deadlocks == 0
    [(labels,)] = rows("SELECT count(*) FROM labels")
    assert labels > 100


def change(rows: Dataset, rng: random.Random, sample: int, name: str) -> None:
    yolo = drawn(rng)
    what = rng.choice(["label", "label", "withdraw", "add"])
    if what == "add":
        rows.add(name, rng.choice(["train", "valid"]), (str(rng.randrange(40)),), model="model0")
    elif what == "label":
        rows(
            f"""WITH said AS (INSERT INTO labels (sample_id, yolo, boxes, origin)
                VALUES ({sample}, '{yolo}', {len(yolo.splitlines())}, 'import') RETURNING label_id)
                SELECT set_config('test.label', (SELECT label_id::text FROM said), true)""",
            f"""UPDATE samples SET label_id = current_setting('test.label')::bigint
                WHERE sample_id = {sample}""",
        )
    else:
        rows(
            f"""UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'banned'
                WHERE sample_id = {sample} AND withdrawn_at IS NULL""",
            f"UPDATE samples SET label_id = NULL WHERE sample_id = {sample}",
        )
