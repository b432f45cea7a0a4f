"""What a deletion changes in the database: one transaction, which leaves nothing to be shown.

Content goes, counters stay: a request keeps its user, score and box counts, so that a deletion
takes back no suspicion and lifts no ban; of its image and boxes nothing is kept. Which versions
were trained on its labels is still told by their terms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from chalicelib.labels.keys import parked_key
from chalicelib.labels.quarantine import quarantine_key

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

LOCK = "SELECT lock_prediction(%s, true)"
KNOWN = """
SELECT model FROM deletions WHERE prediction_id = %(id)s
UNION ALL SELECT model FROM requests WHERE prediction_id = %(id)s
UNION ALL SELECT model FROM tasks WHERE prediction_id = %(id)s LIMIT 1
"""
IS_TASK = "SELECT EXISTS (SELECT FROM tasks WHERE prediction_id = %s)"
# The images of a prediction that nobody else sent: neither as a photo of theirs nor in an import.
OWN_IMAGES = """
SELECT DISTINCT r.model, r.image_sha256 FROM requests r
WHERE r.prediction_id = %(id)s AND r.image_sha256 IS NOT NULL
ORDER BY 1, 2
"""
SENT_BY = """
SELECT EXISTS (
    SELECT FROM requests o LEFT JOIN tasks t USING (prediction_id)
    WHERE o.image_sha256 = %(sha256)s AND o.model = %(model)s AND {requests}
      AND t.prediction_id IS NULL
) OR EXISTS (
    SELECT FROM samples s JOIN labels l USING (sample_id)
    WHERE s.model = %(model)s AND s.sha256 = %(sha256)s AND l.origin <> 'submission' AND {labels})
"""
HAS_OTHER_SENDERS = SENT_BY.format(requests="o.prediction_id <> %(id)s", labels="true")
IMPORTED = """
SELECT DISTINCT s.model, s.sha256 FROM labels l JOIN samples s USING (sample_id)
WHERE l.user_address = %(user)s AND l.origin = 'import' AND l.created_at <= %(until)s
  AND l.withdrawn_why IS DISTINCT FROM 'deleted'
ORDER BY 1, 2 LIMIT %(limit)s
"""
IS_OF_OTHERS = SENT_BY.format(
    requests="o.user_address <> %(user)s", labels="l.user_address IS DISTINCT FROM %(user)s"
)
IMPORTED_LABELS = """
SELECT l.label_id, l.sample_id FROM labels l JOIN samples s USING (sample_id)
WHERE s.model = %(model)s AND s.sha256 = %(sha256)s AND l.origin = 'import'
  AND l.user_address = %(user)s AND l.withdrawn_why IS DISTINCT FROM 'deleted' ORDER BY 1
"""
COPIES = """
SELECT prediction_id::text FROM tasks WHERE image_sha256 = %(sha256)s AND model = %(model)s
ORDER BY prediction_id
"""
STRIP = """
UPDATE requests SET state = 'deleted', reviewed_at = NULL, reviewed_by = NULL, updated_at = now(),
    detail = jsonb_build_object('control', coalesce(detail -> 'control', 'false'))
WHERE prediction_id = ANY(%s::uuid[]) AND state <> 'deleted' RETURNING request_id
"""
LOCK_DATASET = "SELECT lock_dataset(%s)"
SAMPLE = """
SELECT sample_id, extension, side, source_key FROM samples WHERE model = %(model)s
AND sha256 = %(sha256)s FOR NO KEY UPDATE
"""
LABELS_OF_SAMPLE = "SELECT label_id FROM labels WHERE sample_id = %s ORDER BY label_id"
LABELS_OF_REQUESTS = """
SELECT l.label_id, l.sample_id, s.model FROM labels l JOIN samples s USING (sample_id)
WHERE l.request_id = ANY(%s) ORDER BY s.model, l.label_id
"""
WITHDRAW = """
UPDATE labels SET withdrawn_at = coalesce(withdrawn_at, now()), withdrawn_why = 'deleted'
WHERE label_id = ANY(%s) AND withdrawn_why IS DISTINCT FROM 'deleted'
"""
BLANK_LABELS = "UPDATE labels SET yolo = '', boxes = 0 WHERE label_id = ANY(%s)"
NEW_NAME = "SELECT encode(sha256(convert_to(gen_random_uuid()::text, 'UTF8')), 'hex')"
BLANK_SAMPLE = "SELECT blank_sample(%s, %s)"
BLANK_TASKS = """
UPDATE tasks SET image_sha256 = %(name)s, boxes = CASE WHEN kind = 'control'
    THEN '{"xyxy": [], "class_id": []}'::jsonb END
WHERE image_sha256 = %(sha256)s AND model = %(model)s
"""
BLANK_AGREEMENTS = """
UPDATE agreements SET image_sha256 = %(name)s
WHERE image_sha256 = %(sha256)s AND model = %(model)s
"""
# Handed out in the moment in which the photo was deleted: of an image that is nowhere any more.
ORPHANS = """
SELECT t.prediction_id::text FROM tasks t
WHERE t.created_at > now() - interval '2 days'
  AND NOT EXISTS (SELECT FROM samples s WHERE s.model = t.model AND s.sha256 = t.image_sha256)
  AND NOT EXISTS (SELECT FROM requests r
                  WHERE r.image_sha256 = t.image_sha256 AND r.model = t.model)
  AND NOT EXISTS (SELECT FROM deletions d WHERE d.prediction_id = t.prediction_id)
LIMIT %s
"""
BLANK_TASK = f"""
UPDATE tasks SET image_sha256 = ({NEW_NAME}), boxes = CASE WHEN kind = 'control'
    THEN '{{"xyxy": [], "class_id": []}}'::jsonb END
WHERE prediction_id = ANY(%s::uuid[])
"""
NOTE = """
INSERT INTO deletions AS d (prediction_id, model, label_ids, images) VALUES (%s, %s, %s, %s::jsonb)
ON CONFLICT (prediction_id) DO UPDATE SET
    label_ids = d.label_ids || excluded.label_ids, images = d.images || excluded.images,
    erased_at = CASE WHEN excluded.images = '[]'::jsonb THEN d.erased_at END
"""


@dataclass(frozen=True)
class ErasedImage:
    """An image that left a dataset and the quarantine, whose files are to be erased.

    Attributes
    ----------
    model, sha256 : str
    sample_id : int or None
        None where it never was in the dataset.
    keys : tuple[str, ...]
        Where in the store bucket it may be, with its label.
    """

    model: str
    sha256: str
    sample_id: int | None
    keys: tuple[str, ...]


def known_model_in(rows: cursor, prediction_id: str) -> str | None:
    """Return the model of a prediction that the database knows, deleted or not."""
    rows.execute(KNOWN, {"id": prediction_id})
    row = rows.fetchone()
    return str(row[0]) if row else None


@dataclass(frozen=True)
class Removed:
    """What else a deletion concerns.

    Attributes
    ----------
    copies : list[str]
        Predictions that went with it: tasks that others were given of its photo.
    samples : list[int]
        Images that stay in their datasets and lost a label: their files are to be made anew.
    """

    copies: list[str]
    samples: list[int]


def orphaned_tasks_in(rows: cursor, most: int) -> list[str]:
    """Return tasks whose photo was deleted while they were handed out."""
    rows.execute(ORPHANS, (most,))
    return [prediction_id for (prediction_id,) in rows.fetchall()]


def blank_tasks_in(rows: cursor, prediction_ids: Sequence[str]) -> None:
    """Take the image's hash and boxes out of tasks."""
    rows.execute(BLANK_TASK, (list(prediction_ids),))


def delete_in(rows: cursor, prediction_id: str, model: str) -> Removed:
    """Delete a prediction's content from all rows.

    A task is a copy of somebody else's photo: with it go the answers to it and nothing else. With
    a photo go the copies that others were given as tasks, and what they answered, unless somebody
    else sent the same bytes to the same model.

    Parameters
    ----------
    rows : cursor
        Of the caller's transaction.
    model : str
        Of the prediction.
    """
    rows.execute(LOCK, (prediction_id,))
    copies: list[str] = []
    erased: list[ErasedImage] = []
    label_ids: list[int] = []
    images = [] if _is_task(rows, prediction_id) else _own_images(rows, prediction_id)
    for image in images:
        copies += _lock_copies(rows, image)
    rows.execute(STRIP, ([prediction_id, *copies],))
    request_ids = [request_id for (request_id,) in rows.fetchall()]
    for image in images:
        rows.execute(LOCK_DATASET, (image["model"],))
        if _has_other_senders(rows, image, prediction_id):  # somebody was quicker
            continue
        gone, labels = _remove_image(rows, image)
        erased.append(gone)
        label_ids += labels
    labels_of_requests, samples = _withdraw_labels(rows, request_ids)
    label_ids += labels_of_requests
    found = json.dumps([asdict(each) for each in erased])
    rows.execute(NOTE, (prediction_id, model, sorted(set(label_ids)), found))
    for copy in copies:
        rows.execute(NOTE, (copy, model, [], "[]"))
    left = {each.sample_id for each in erased}
    return Removed(copies, [sample_id for sample_id in samples if sample_id not in left])


def imported_in(rows: cursor, user: str, until: datetime, limit: int) -> list[tuple[str, str]]:
    """Return images, by model and sha256, that a user imported until a moment."""
    rows.execute(IMPORTED, {"user": user, "until": until, "limit": limit})
    return [(model, sha256) for model, sha256 in rows.fetchall()]


def delete_imported_in(
    rows: cursor, deletion_id: str, user: str, model: str, sha256: str
) -> Removed:
    """Delete an image that a user imported, or, where others sent it too, the user's labels alone.

    Parameters
    ----------
    rows : cursor
        Of the caller's transaction.
    deletion_id : str
        A UUID under which is noted which files are still to be erased.
    """
    image = {"model": model, "sha256": sha256}
    copies = _lock_copies(rows, image)
    rows.execute(LOCK_DATASET, (model,))
    rows.execute(IS_OF_OTHERS, {**image, "user": user})
    [(is_of_others,)] = rows.fetchall()
    if is_of_others:
        rows.execute(IMPORTED_LABELS, {**image, "user": user})
        found = rows.fetchall()
        samples = {sample_id for _, sample_id in found}
        labels = [label_id for label_id, _ in found]
        _withdraw(rows, labels, samples)
        rows.execute(NOTE, (deletion_id, model, labels, "[]"))
        return Removed([], sorted(samples))
    rows.execute(STRIP, (copies,))
    gone, labels = _remove_image(rows, image)
    rows.execute(NOTE, (deletion_id, model, sorted(labels), json.dumps([asdict(gone)])))
    for copy in copies:
        rows.execute(NOTE, (copy, model, [], "[]"))
    return Removed(copies, [])


def _is_task(rows: cursor, prediction_id: str) -> bool:
    rows.execute(IS_TASK, (prediction_id,))
    [(is_task,)] = rows.fetchall()
    return bool(is_task)


def _own_images(rows: cursor, prediction_id: str) -> list[dict[str, str]]:
    """Return the images, by model and sha256, that nobody else sent."""
    rows.execute(OWN_IMAGES, {"id": prediction_id})
    images = [{"model": model, "sha256": sha256} for model, sha256 in rows.fetchall()]
    return [each for each in images if not _has_other_senders(rows, each, prediction_id)]


def _has_other_senders(rows: cursor, image: dict[str, str], prediction_id: str) -> bool:
    rows.execute(HAS_OTHER_SENDERS, {**image, "id": prediction_id})
    [(has_others,)] = rows.fetchall()
    return bool(has_others)


def _lock_copies(rows: cursor, image: dict[str, str]) -> list[str]:
    rows.execute(COPIES, image)
    copies = [prediction_id for (prediction_id,) in rows.fetchall()]
    for copy in copies:
        rows.execute(LOCK, (copy,))
    return copies


def _remove_image(rows: cursor, image: dict[str, str]) -> tuple[ErasedImage, list[int]]:
    """Take an image out of its locked dataset; return where its files are, and its labels."""
    rows.execute(NEW_NAME)
    [(name,)] = rows.fetchall()
    for statement in (BLANK_TASKS, BLANK_AGREEMENTS):
        rows.execute(statement, {**image, "name": name})
    waiting = quarantine_key(image["sha256"])
    rows.execute(SAMPLE, image)
    sample = rows.fetchone()
    if sample is None:
        return ErasedImage(**image, sample_id=None, keys=(waiting,)), []
    sample_id, extension, side, source_key = sample
    rows.execute(LABELS_OF_SAMPLE, (sample_id,))
    labels = [label_id for (label_id,) in rows.fetchall()]
    _withdraw(rows, labels, {sample_id})
    rows.execute(BLANK_SAMPLE, (sample_id, name))
    keys = (*_dataset_keys(image, extension, side), source_key, waiting)
    return ErasedImage(**image, sample_id=sample_id, keys=keys), labels


def _dataset_keys(image: dict[str, str], extension: str, side: str) -> tuple[str, ...]:
    model, sha256 = image["model"], image["sha256"]
    folders = (f"models/{model}", f"pending_models/{model}")
    return (
        *(f"{folder}/images/{side}/{sha256}.{extension}" for folder in folders),
        *(f"{folder}/labels/{side}/{sha256}.txt" for folder in folders),
        parked_key(model, sha256, extension),
    )


def _withdraw_labels(rows: cursor, request_ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """Withdraw and blank the labels that came of requests; return them and their samples."""
    rows.execute(LABELS_OF_REQUESTS, (list(request_ids),))
    found: list[tuple[Any, ...]] = rows.fetchall()
    for model in sorted({model for *_, model in found}):
        rows.execute(LOCK_DATASET, (model,))
    labels = [label_id for label_id, *_ in found]
    samples = {sample_id for _, sample_id, _ in found}
    _withdraw(rows, labels, samples)
    return labels, sorted(samples)


def _withdraw(rows: cursor, labels: Sequence[int], samples: set[int]) -> None:
    from chalicelib.labels.dataset import relabel_in  # noqa: PLC0415 - loads the fingerprints

    if labels:
        rows.execute(WITHDRAW, (list(labels),))
        relabel_in(rows, samples)
        rows.execute(BLANK_LABELS, (list(labels),))
