"""A ZIP of whoever asked for a model leaves settled labels, and others' of higher standing."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from chalicelib.labels.dataset import NewLabel
from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.labels.transfers.records import State
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import grade
from chalicelib.trust.ledger import Request
from chalicelib.trust.task_book import Task
from chalicelib.vision import Detections

Way = Any
MakeTags = Callable[..., dict[str, bytes | str]]
ME = "192.0.2.1"  # who asked for the model and imports
BEN, CAT = "user:ben", "user:cat"
OF_OTHERS = "1 0.500000 0.500000 0.500000 0.500000\n"
OF_THE_ZIP = "0 0.500000 0.500000 0.250000 0.500000\n"


def labelled(way: Way, image: bytes, user: str, *, origin: Any = "submission") -> int:
    """Have an image labelled by somebody's accepted submission; return the request's id."""
    sha256, key = hashlib.sha256(image).hexdigest(), f"predictions/{uuid.uuid4()}/image.jpg"
    way.services.store.put(key, image, "image/jpeg")
    box = {"x1": 16, "y1": 12, "x2": 48, "y2": 36}
    about = {"width": 64, "height": 48, "sha256": sha256, "key": key, "visibility": "public"}
    detail = {"image": about, "submitted": [{"class_id": 1, "class_name": "dent", "box": box}]}
    request = Request(user, str(uuid.uuid4()), "tags", 0, 0.0, 0, 1, "accepted", detail)
    request_id: int = way.services.ledger.record(request).request_id
    boxes = Detections(
        np.array([[16.0, 12, 48, 36]]), np.ones(1), np.array([1]), ("scratch", "dent"), (64, 48)
    )
    label = NewLabel(
        sha256,
        "jpg",
        (64, 48),
        fingerprint_of(image),
        key,
        boxes,
        origin,
        user_address=user,
        request_id=request_id if origin == "submission" else None,
    )
    with way.services.database.transaction() as rows:
        way.services.dataset.add(rows, "tags", [label])
    return request_id


def settle(way: Way, request_id: int, by: str) -> None:
    way.sql(
        "UPDATE requests SET reviewed_at = now(), reviewed_by = %s WHERE request_id = %s",
        by,
        request_id,
    )


def establish(way: Way, user: str) -> None:
    """Let a member answer three controls, and 20 submissions of theirs be accepted."""
    book = way.services.reviewing._book
    for number in range(3):
        right = ClassedBoxes([[0, 0, 1, 1]], [0])
        task = Task(str(uuid.uuid4()), user, "other", f"{number:064}", "control", right, 1)
        assert book.hand_out(task)
        book.grade(task, grade(right, right))
    for _ in range(20):
        made = Request(user, str(uuid.uuid4()), "other", 1, 0.0, 0, 0, "accepted", {})
        settle(way, way.services.ledger.record(made).request_id, "sightloop")


def test_a_requesters_zip_leaves_what_is_settled(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(4)
    images = [files[f"images/{number:03}.jpg"] for number in range(4)]
    settle(way, labelled(way, images[0], BEN), "operator:olga")
    settle(way, labelled(way, images[1], BEN), "sightloop")
    labelled(way, images[2], "operator:olga", origin="operator")

    report = way.bring(files)

    assert (report.state, report.done, report.total) == (State.DONE, 4, 4)
    placed = report.found["placed"]
    assert placed["training"] + placed["validation"] == 1
    assert placed["not_taken"] == 3
    assert placed["not_taken_names"] == [f"images/{number:03}.jpg" for number in range(3)]
    labels = way.labels()
    of_images = [labels[hashlib.sha256(image).hexdigest()] for image in images]
    assert of_images == [OF_OTHERS] * 3 + [OF_THE_ZIP]


def test_an_unsettled_label_goes_only_to_a_higher_standing(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(2)
    establish(way, BEN)
    labelled(way, files["images/000.jpg"], BEN)
    labelled(way, files["images/001.jpg"], ME)

    report = way.bring(files)

    assert report.found["placed"]["not_taken_names"] == ["images/000.jpg"]
    assert sorted(way.labels().values()) == [OF_THE_ZIP, OF_OTHERS]
    assert len(way.labels()) == 2


def test_an_equal_standing_does_not_overwrite(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(1)
    labelled(way, files["images/000.jpg"], CAT)

    report = way.bring(files)

    assert report.found["placed"]["not_taken"] == 1
    assert list(way.labels().values()) == [OF_OTHERS]


def test_a_zip_that_says_what_is_settled_is_no_contradiction(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(1)
    settle(way, labelled(way, files["images/000.jpg"], BEN), "operator:olga")
    files["labels/000.txt"] = OF_OTHERS

    placed = way.bring(files).found["placed"]

    assert (placed["confirmed"], placed["not_taken"]) == (1, 0)
    assert way.sql("SELECT count(*) FROM labels") == [(1,)]


def test_an_operators_zip_overwrites_everything(
    way: Way, make_tags: MakeTags, make_zip: Callable[..., bytes]
) -> None:
    files = make_tags(1)
    settle(way, labelled(way, files["images/000.jpg"], BEN), "operator:olga")

    held = way.services.transfers.offer_import("tags", "operator:olga", {}).transfer
    way.tell(held.key, way.put(held, make_zip(files)))
    way.work()

    assert way.now(held).found["placed"]["not_taken"] == 0
    assert list(way.labels().values()) == [OF_THE_ZIP]


def test_what_people_are_just_agreeing_on_is_waited_for(way: Way, make_tags: MakeTags) -> None:
    """An agreement that is not committed yet counts: the import waits for it."""
    files = make_tags(1)
    request_id = labelled(way, files["images/000.jpg"], ME)
    way.send(files)
    importing = threading.Thread(target=way.work)

    with way.services.database.transaction() as rows:
        rows.execute(
            "UPDATE requests SET reviewed_at = now(), reviewed_by = 'sightloop' "
            "WHERE request_id = %s",
            (request_id,),
        )
        importing.start()
        _until_it_waits(way)
    importing.join()

    assert list(way.labels().values()) == [OF_OTHERS]


def _until_it_waits(way: Way) -> None:
    until = time.monotonic() + 30
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while way.sql(waiting) == [(0,)]:
        assert time.monotonic() < until, "the import waits for nobody"
        time.sleep(0.02)
