"""Rows for ``benchmarks/million.py``: ten datasets and their history, made inside PostgreSQL.

The triggers of ``sql/`` see every row, so that counters, bans, terms and clusters are what they
would be; ``checked`` recounts some of them. Nobody sends a million requests through the API here:
the rows are spread as people spread them, the busiest user having a hundredth of all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg2
from psycopg2.extensions import connection

from chalicelib.trust import ClassedBoxes, judge

USERS = 20_000
BATCH = 500
TEMPLATES = 40  # of what a reviewer looks at
CLASSES = ("scratch", "dent", "stain")
APS = (0.9, 0.7, 0.3)
OPTIONS = "-c search_path=sightloop,public -c synchronous_commit=off -c work_mem=256MB"

USER = "'user:' || CASE WHEN n % 100 = 0 THEN 0 ELSE (n::bigint * 7919) % {users} END"
MODEL = "'m' || (n - 1) / {each}"
SHA256 = "encode(sha256(convert_to({model} || ' ' || n, 'UTF8')), 'hex')"

MODELS = """
INSERT INTO models (name, class_names, live_version) SELECT 'm' || n, %(classes)s, 1
FROM generate_series(0, %(models)s - 1) n ON CONFLICT (name) DO UPDATE SET live_version = 1
"""
TEMPLATES_TABLE = """
CREATE TEMP TABLE templates (number integer PRIMARY KEY, detail jsonb, score float8,
                             predicted integer, submitted integer, quarantined boolean)
"""
REQUESTS = """
INSERT INTO requests (prediction_id, user_address, model, model_version, score, predicted_boxes,
                      submitted_boxes, state, detail, created_at, updated_at)
SELECT md5(n::text)::uuid, {user}, {model}, 1, t.score, t.predicted, t.submitted,
       CASE WHEN t.quarantined THEN 'quarantined' ELSE 'accepted' END,
       jsonb_set(t.detail, '{{image,sha256}}', to_jsonb({sha256})),
       now() - make_interval(secs => {rows} - n), now() - make_interval(secs => {rows} - n)
FROM generate_series({first}, {last}) n JOIN templates t ON t.number = n % {templates}
"""
REVIEWED = """
UPDATE requests SET state = CASE WHEN request_id % 3 = 0 THEN 'rejected' ELSE 'accepted' END,
                    reviewed_at = now(), reviewed_by = 'ada'
WHERE state = 'quarantined' AND request_id % 50 <> 0
"""
# A twelfth of the images is near to the one before, a twentieth belongs to a group of four.
SAMPLES = """
INSERT INTO samples (model, sha256, extension, width, height, side, bits, groups, joins, source_key,
                     published, created_at)
SELECT {model}, {sha256}, 'jpg', 450, 300,
       CASE WHEN (n / 4) % 5 = 0 THEN 'valid' ELSE 'train' END,
       sha256(convert_to('bits' || n, 'UTF8')),
       CASE WHEN n % 80 < 4 THEN ARRAY['shot ' || n / 80] ELSE '{{}}' END,
       CASE WHEN n % 12 = 7 AND (n - 1) % {each} > 0 THEN ARRAY[{before}] ELSE '{{}}' END,
       'models/' || {model} || '/images/train/' || {sha256} || '.jpg', true,
       now() - make_interval(secs => {rows} - n)
FROM generate_series({first}, {last}) n
"""
# Every image was imported or submitted; every fifth has both, and so a history.
IMPORTED = """
INSERT INTO labels (sample_id, yolo, boxes, origin, import_id, created_at)
SELECT s.sample_id, y.yolo, s.sample_id % 4, 'import', md5(s.model)::uuid, s.created_at
FROM samples s CROSS JOIN LATERAL ({yolo}) y (yolo)
WHERE s.model = %(model)s AND (s.sample_id % 5 = 1 OR NOT EXISTS (
    SELECT FROM requests r WHERE r.request_id = s.sample_id AND r.state = 'accepted'))
"""
SUBMITTED = """
INSERT INTO labels (sample_id, yolo, boxes, origin, user_address, request_id, created_at)
SELECT s.sample_id, y.yolo, s.sample_id % 4, 'submission', r.user_address, r.request_id,
       r.created_at
FROM samples s JOIN requests r ON r.request_id = s.sample_id AND r.state = 'accepted'
CROSS JOIN LATERAL ({yolo}) y (yolo)
WHERE s.model = %(model)s
"""
YOLO = """
SELECT coalesce(string_agg(format('%%s %%s %%s %%s %%s', (s.sample_id + b) %% 3,
                round(0.2 + (s.sample_id + b * 7) %% 60 / 100.0, 6),
                round(0.3 + (s.sample_id + b * 11) %% 40 / 100.0, 6),
                round(0.02 + (s.sample_id + b * 13) %% 35 / 100.0, 6),
                round(0.02 + (s.sample_id + b * 17) %% 55 / 100.0, 6)), E'\\n' ORDER BY b), '')
FROM generate_series(1, (s.sample_id %% 4)::integer) b
"""
CURRENT = """
UPDATE samples s SET label_id = l.label_id
FROM (SELECT sample_id, max(label_id) AS label_id FROM labels GROUP BY sample_id) l
WHERE s.sample_id = l.sample_id AND s.model = %(model)s
"""
TASKS = """
INSERT INTO tasks (prediction_id, user_address, model, image_sha256, kind, label_id, boxes,
                   created_at, answered_at)
SELECT md5('task' || n)::uuid, {user}, {model}, {sha256}, 'control', n,
       '{{"xyxy": [[10, 10, 60, 60]], "class_id": [0]}}', now(), now()
FROM generate_series(1, {rows}, 10) n ON CONFLICT DO NOTHING
"""
ANSWERS = """
INSERT INTO control_answers (prediction_id, user_address, boxes, matched, overlooked, misplaced,
                             mislabelled, spurious, accuracy)
SELECT prediction_id, user_address, 1, (n % 10 > 0)::integer, (n % 10 = 0)::integer, 0, 0, 0,
       (n % 10 > 0)::integer
FROM (SELECT *, row_number() OVER () AS n FROM tasks) t
"""
STANDINGS = """
INSERT INTO control_standings (user_address, controls, accuracy)
SELECT user_address, least(count(*), 100), avg(accuracy) FROM control_answers GROUP BY user_address
ON CONFLICT DO NOTHING
"""
RECOUNT = """
SELECT (SELECT sum(n) FROM dataset_counts WHERE fact = 'images'),
       (SELECT count(*) FROM samples WHERE label_id IS NOT NULL),
       (SELECT sum(n) FROM dataset_counts WHERE fact = 'boxes_of'),
       (SELECT sum(boxes) FROM samples JOIN labels USING (label_id)),
       (SELECT sum(num_accesses) FROM users), (SELECT count(*) FROM requests),
       (SELECT sum(suspicious_requests) FROM users),
       (SELECT count(*) FROM requests WHERE counted)
"""


@dataclass(frozen=True)
class Amount:
    """How many rows: images are spread evenly over the models, one request for each."""

    models: int
    each: int

    @property
    def rows(self) -> int:
        """Images, and requests."""
        return self.models * self.each


def fill(url: str, amount: Amount) -> None:
    """Fill an empty database, model by model."""
    with closing(psycopg2.connect(url, options=OPTIONS)) as held:
        held.autocommit = True
        run(held, MODELS, classes=list(CLASSES), models=amount.models)
        _templates(held)
        for number in range(amount.models):
            with told(f"model {number + 1} of {amount.models}"):
                _one_model(held, amount, number)
        with told("reviews, tasks, statistics"):
            for statement in (_written(TASKS, amount, 0), ANSWERS, STANDINGS, "VACUUM ANALYZE"):
                run(held, statement)
        _check(held)


def _one_model(held: connection, amount: Amount, number: int) -> None:
    run(held, _written(REQUESTS, amount, number))
    run(held, REVIEWED)
    # As an import does: a first batch, of which PostgreSQL learns that there is such a model.
    first = number * amount.each + 1
    for begin, end in ((first, first + BATCH - 1), (first + BATCH, first + amount.each - 1)):
        run(held, _written(SAMPLES, amount, number, begin, end))
        run(held, "ANALYZE samples, clusters, cluster_names")
    model = f"m{number}"
    run(held, "SELECT pack_fingerprints(%(model)s)", model=model)
    for statement in (IMPORTED, SUBMITTED):
        run(held, statement.replace("%", "%%").replace("%%(", "%(").format(yolo=YOLO), model=model)
    run(held, CURRENT, model=model)


def _written(statement: str, amount: Amount, number: int, first: int = 0, last: int = 0) -> str:
    model = MODEL.format(each=amount.each)
    return statement.format(
        model=model,
        user=USER.format(users=USERS),
        sha256=SHA256.format(model=model),
        before=SHA256.format(model=model).replace("|| n,", "|| n - 1,"),
        rows=amount.rows,
        each=amount.each,
        templates=TEMPLATES,
        first=first or number * amount.each + 1,
        last=last or (number + 1) * amount.each,
    )


def _templates(held: connection) -> None:
    """Judge some answers to some predictions, to be what requests tell of themselves."""
    run(held, TEMPLATES_TABLE)
    rng = np.random.default_rng(0)
    for number in range(TEMPLATES):
        boxes = np.sort(rng.uniform(0, 300, (1 + number % 3, 2, 2)), axis=1).reshape(-1, 4)
        classes = np.arange(len(boxes)) % 3
        said = boxes[: len(boxes) * (number % 20 > 0)] + rng.normal(0, 2)
        predicted = ClassedBoxes(boxes, classes)
        judged = judge(predicted, ClassedBoxes(said, classes[: len(said)]), APS, CLASSES)
        detail = {
            "image": {"width": 450, "height": 300, "sha256": "", "key": "quarantine/x.jpg"},
            "predicted": _detections(boxes, classes),
            "submitted": _detections(said, classes),
            **judged.to_json(),
        }
        run(
            held,
            "INSERT INTO templates VALUES (%(n)s, %(detail)s, %(score)s, %(p)s, %(s)s, %(q)s)",
            n=number,
            detail=json.dumps(detail),
            score=judged.scored.score,
            p=len(boxes),
            s=len(said),
            q=bool(judged.reasons),
        )


def _detections(boxes: np.ndarray, classes: np.ndarray) -> list[dict[str, object]]:
    return [
        {
            "class_id": int(class_id),
            "class_name": CLASSES[class_id],
            "confidence": 0.8,
            "box": dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)),
        }
        for box, class_id in zip(boxes, classes, strict=False)
    ]


def _check(held: connection) -> None:
    """Recount what the triggers counted, and say how large it all is."""
    with held.cursor() as rows:
        rows.execute(RECOUNT)
        [counts] = rows.fetchall()
        pairs = list(zip(counts[::2], counts[1::2], strict=True))
        if any(counted != recounted for counted, recounted in pairs):
            raise SystemExit(f"the triggers counted wrongly: {pairs}")
        print(f"counted as recounted: images, boxes, requests, suspicious: {pairs}")
        rows.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        [(size,)] = rows.fetchall()
    print(f"the database has {size}")


def run(held: connection, statement: str, **given: object) -> None:
    """Run one statement."""
    with held.cursor() as rows:
        rows.execute(statement, given or None)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print what is done and how long it took."""
    begun = time.perf_counter()
    print(f"  {what} …", end="", flush=True)
    yield
    print(f" {time.perf_counter() - begun:.0f} s", flush=True)
