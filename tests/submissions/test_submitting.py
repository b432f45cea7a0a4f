"""Submissions: what is taken, what is refused, and what follows from it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.errors import (
    Banned,
    Conflict,
    InvalidSubmission,
    ModelNotFound,
    NoDatabase,
    PredictionNotFound,
    StorageUnavailable,
)
from chalicelib.labels.submissions import Parts, Submissions
from chalicelib.labels.submitted import MOST_BOXES, GivenBox
from chalicelib.predictions import Problem, Upload

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
MakePicture = Callable[..., bytes]
SCRATCH = GivenBox(8, 8, 24, 20, class_id=0)
DENT = GivenBox(30, 30, 60, 50, class_name="dent")
MENDED = replace(DENT, x2=58)
PEOPLE = 20


def test_a_correction_becomes_the_label_of_its_image(desk: Desk) -> None:
    told = desk.submit(desk.predict(), answer="corrected", boxes=[SCRATCH, MENDED])

    assert (told.state, told.change, told.version) == ("accepted", "new", 1)
    assert told.counts == {"kept": 1, "moved": 1, "relabelled": 0, "removed": 0, "added": 0}
    [label] = [body for key, body in desk.shown().items() if key.endswith(".txt")]
    assert label == "0 0.250000 0.218750 0.250000 0.187500\n1 0.687500 0.625000 0.437500 0.312500\n"
    desk.agree()


def test_nothing_to_see_here_is_a_valid_negative(desk: Desk, make_picture: MakePicture) -> None:
    desk.services.pending_models.ask("bolts", ["bolt"], "ann")
    kept = desk.services.keeper.keep_unseen("bolts", make_picture(), "a-call")
    told = desk.submit(kept.prediction_id, answer="empty", model="bolts")

    assert (told.state, told.version, told.score) == ("accepted", 0, 0.0)
    assert desk.sql("SELECT model, yolo, boxes FROM samples JOIN labels USING (label_id)") == [
        ("bolts", "", 0)
    ]


def test_boxes_for_a_model_without_a_version_wait_for_nobody(
    desk: Desk, make_picture: MakePicture
) -> None:
    desk.services.pending_models.ask("bolts", ["bolt"], "ann")
    kept = desk.services.keeper.keep_unseen("bolts", make_picture(), "a-call")
    box = GivenBox(1, 2, 30, 40, class_name="bolt")
    told = desk.submit(kept.prediction_id, answer="corrected", boxes=[box], model="bolts")

    assert (told.state, told.counts["added"]) == ("accepted", 1)
    keys = list(desk.services.store.keys("pending_models/bolts/labels/"))
    assert len(keys) == 1


def test_what_waits_is_no_label_until_an_operator_accepts_it(desk: Desk) -> None:
    prediction = desk.predict()
    told = desk.submit(prediction, answer="empty")

    assert told.state == "quarantined"
    assert "A person will look" in told.message
    assert (desk.shown(), desk.sql("SELECT count(*) FROM labels")) == ({}, [(0,)])
    [waiting] = desk.services.ledger.to_review()
    image = waiting.detail["image"]
    assert image["key"] == f"quarantine/{image['sha256']}.jpg"
    for key in list(desk.services.store.keys("predictions/")):
        desk.services.store.delete(key)  # it has expired meanwhile
    seen = waiting.updated_at
    desk.services.submissions.review(told.submission_id, seen, "accepted", "olga", "fine")
    desk.agree()
    assert [body for key, body in desk.shown().items() if key.endswith(".txt")] == [""]
    desk.services.submissions.review(told.submission_id, seen, "rejected", "olga", "no")
    desk.agree()
    assert desk.shown() == {}
    desk.services.submissions.review(told.submission_id, seen, "accepted", "olga", "yes")
    desk.agree()
    assert len(desk.shown()) == 2


def test_the_same_once_more_changes_nothing(desk: Desk) -> None:
    prediction = desk.predict()
    first = desk.submit(prediction)
    again = desk.submit(prediction, answer="corrected", boxes=[SCRATCH, DENT])

    assert (again.change, again.submission_id) == ("same", first.submission_id)
    assert desk.sql("SELECT count(*) FROM labels") == [(1,)]
    desk.agree()


def test_other_boxes_replace_those_before_and_count_once(desk: Desk) -> None:
    prediction = desk.predict()
    desk.submit(prediction)
    told = desk.submit(prediction, answer="corrected", boxes=[SCRATCH, MENDED])

    assert (told.change, told.state) == ("updated", "accepted")
    assert desk.sql("SELECT num_accesses FROM users") == [(1,)]
    assert desk.sql("SELECT boxes, withdrawn_why FROM labels ORDER BY label_id") == [
        (2, "replaced"),
        (2, None),
    ]
    assert desk.submit(prediction, answer="empty").state == "quarantined"
    desk.agree()
    assert desk.shown() == {}


def test_what_was_rejected_comes_back_with_other_boxes_only(desk: Desk) -> None:
    prediction = desk.predict()
    told = desk.submit(prediction)
    [held] = desk.services.ledger.of_user("ann")
    desk.services.submissions.review(
        told.submission_id, held.updated_at, "rejected", "olga", "blurred"
    )

    again = desk.submit(prediction)
    assert (again.state, again.change) == ("rejected", "same")
    assert "not used" in again.message
    assert desk.shown() == {}
    other = desk.submit(prediction, answer="corrected", boxes=[SCRATCH, MENDED])
    assert (other.state, other.change) == ("accepted", "updated")
    desk.agree()


def test_accepting_what_was_sent_anew_takes_the_new_boxes(desk: Desk) -> None:
    prediction = desk.predict()
    told = desk.submit(prediction)
    [held] = desk.services.ledger.of_user("ann")
    desk.services.submissions.review(
        told.submission_id, held.updated_at, "rejected", "olga", "blurred"
    )
    desk.submit(prediction, answer="empty")
    [waiting] = desk.services.ledger.to_review()
    with pytest.raises(Conflict, match="look at it again"):
        desk.services.submissions.review(
            told.submission_id, held.updated_at, "accepted", "olga", "fine"
        )
    desk.services.submissions.review(
        told.submission_id, waiting.updated_at, "accepted", "olga", "fine"
    )

    desk.agree()
    assert desk.sql("SELECT boxes FROM samples JOIN labels USING (label_id)") == [(0,)]


FAULTS = {
    "unknown id": (replace(SCRATCH, class_id=2), "there is no class 2"),
    "negative id": (replace(SCRATCH, class_id=-1), "there is no class -1"),
    "unknown name": (replace(DENT, class_name="rust"), "there is no class 'rust'"),
    "no class": (replace(DENT, class_name=None), "no class"),
    "disagreeing": (replace(DENT, class_id=0), "class_id 0 is 'scratch'"),
    "outside right": (replace(SCRATCH, x2=64.6), "outside the image, which has 64 x 64"),
    "outside left": (replace(SCRATCH, x1=-0.6), "outside the image"),
    "far outside": (GivenBox(1e300, 0, 1e301, 5, 0), "outside the image"),
    "not finite": (replace(SCRATCH, y1=float("nan")), "not a finite number"),
    "infinite": (replace(SCRATCH, y2=float("inf")), "not a finite number"),
    "turned round": (replace(SCRATCH, x1=25), "ends before it begins"),
    "a line": (replace(SCRATCH, x2=8), "no area"),
    "beside the edge": (GivenBox(-0.4, 5, 0, 9, 0), "no area"),
}


@pytest.mark.parametrize(("box", "why"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_named_with_its_box(desk: Desk, box: GivenBox, why: str) -> None:
    prediction = desk.predict()
    with pytest.raises(InvalidSubmission) as refused:
        desk.submit(prediction, answer="corrected", boxes=[SCRATCH, box, DENT, box])

    assert [fault["where"] for fault in refused.value.faults] == ["body.boxes.1", "body.boxes.3"]
    assert all(why in fault["what"] for fault in refused.value.faults)
    assert desk.sql("SELECT count(*) FROM requests") == [(0,)]


def test_an_answer_has_the_boxes_that_belong_to_it(desk: Desk) -> None:
    prediction = desk.predict()
    for answer, boxes in (
        ("empty", [SCRATCH]),
        ("confirmed", [SCRATCH]),
        ("confirmed", [SCRATCH, replace(DENT, x2=59.9)]),
        ("confirmed", [SCRATCH, replace(SCRATCH, class_id=1)]),
        ("corrected", [SCRATCH] * (MOST_BOXES + 1)),
    ):
        with pytest.raises(InvalidSubmission) as refused:
            desk.submit(prediction, answer=answer, boxes=boxes)
        assert [fault["where"] for fault in refused.value.faults] == ["body.boxes"]
    assert desk.submit(prediction, answer="confirmed", boxes=[DENT, SCRATCH]).state == "accepted"


def test_half_a_pixel_beyond_the_edge_is_rounding(desk: Desk) -> None:
    box = GivenBox(-0.5, -0.5, 64.5, 64.5, 0)
    told = desk.submit(desk.predict(), answer="corrected", boxes=[SCRATCH, DENT, box])

    [(detail,)] = desk.sql("SELECT detail FROM requests")
    assert detail["submitted"][2]["box"] == {"x1": 0.0, "y1": 0.0, "x2": 64.0, "y2": 64.0}
    assert told.counts["added"] == 1


def test_there_has_to_be_something_to_answer_to(desk: Desk) -> None:
    services = desk.services
    upload = Upload("scratch", "a.jpg", "image/jpeg")
    waiting = services.upload_desk.offer(upload, "a-call").prediction
    with pytest.raises(Conflict, match="no boxes yet"):
        desk.submit(waiting.prediction_id)
    problem = Problem(title="Not an image", status=422, detail="no")
    services.predictions_table.update(waiting, lambda held: held.failed(services.now(), problem))
    with pytest.raises(Conflict, match="failed"):
        desk.submit(waiting.prediction_id)
    for unknown in (str(uuid.uuid4()), "nonsense", "\0", "ü" * 100):
        with pytest.raises(PredictionNotFound):
            desk.submit(unknown)
    prediction = desk.predict()
    with pytest.raises(InvalidSubmission, match="model 'scratch', not of 'dents'"):
        desk.submit(prediction, model="dents")
    services.store.delete(f"predictions/{prediction}/image.jpg")
    with pytest.raises(PredictionNotFound, match="expired"):
        desk.submit(prediction)
    assert desk.sql("SELECT count(*) FROM requests") == [(0,)]


def test_a_model_that_is_gone_is_not_found(desk: Desk, make_model: Callable[..., bytes]) -> None:
    desk.services.publisher.publish("brief", make_model(), b"{}")
    prediction = desk.predict(model="brief")
    desk.services.store.delete("models/brief/model.yaml")
    desk.sql("DELETE FROM models WHERE name = 'brief'")

    with pytest.raises(ModelNotFound):
        desk.submit(prediction, model="brief")


def test_the_precision_is_that_of_the_version_that_is_compared_with(
    desk: Desk, make_model: Callable[..., bytes]
) -> None:
    prediction, later = desk.predict(), desk.predict()
    before = desk.submit(prediction, user="bob", answer="empty")
    poor = b'{"per_class": [{"class_id": 0, "class_name": "scratch", "AP50": 0.1}]}'
    desk.services.publisher.publish("scratch", make_model(((1, 1, 9, 9, 0.9, 0),)), poor)
    after = desk.submit(later, answer="empty")

    assert before.score > after.score == pytest.approx(0.1**0.4, abs=1e-3)
    versions = "SELECT detail -> 'precision_of_version' FROM requests ORDER BY request_id"
    assert desk.sql(versions) == [(1,), (2,)]


def test_without_a_database_no_submission_is_taken(desk: Desk) -> None:
    prediction = desk.predict()
    services = desk.services
    alone = Submissions(
        Database(""),
        Parts(
            services.predictions,
            services.known_models,
            services.store,
            services.ledger,
            services.dataset,
        ),
    )
    with pytest.raises(NoDatabase, match="takes no submissions"):
        alone.submit("scratch", prediction, "ann", "confirmed")


def test_the_banned_leave_nothing_behind(desk: Desk) -> None:
    prediction = desk.predict()
    desk.services.ledger.ban("eve", "olga", "spam")
    with pytest.raises(Banned):
        desk.submit(prediction, user="eve")

    assert desk.sql("SELECT count(*) FROM requests") == [(0,)]


def test_a_ban_takes_unreviewed_labels_back_and_its_lifting_restores_them(desk: Desk) -> None:
    services, pictures = desk.services, [desk.predict() for _ in range(4)]
    first, second, _ = (desk.submit(each, user="eve") for each in pictures[:3])
    [seen] = [r for r in services.ledger.of_user("eve") if r.request_id == second.submission_id]
    services.submissions.review(second.submission_id, seen.updated_at, "accepted", "olga", "ok")
    [third] = [r for r in services.ledger.of_user("eve") if r.request_id == first.submission_id]
    services.submissions.review(first.submission_id, third.updated_at, "rejected", "olga", "no")
    desk.submit(pictures[3], user="ann")
    desk.submit(pictures[2], user="bob", answer="corrected", boxes=[SCRATCH, MENDED])
    assert len(desk.shown()) == 6

    services.ledger.ban("eve", "olga", "spam")
    assert services.submissions.settle() == 1
    desk.agree()
    in_force = """SELECT DISTINCT user_address FROM labels WHERE withdrawn_at IS NULL
                  AND request_id <> %s ORDER BY 1"""
    assert desk.sql(in_force, second.submission_id) == [("ann",), ("bob",)]

    services.ledger.lift("eve", "olga", "a mistake")
    assert services.submissions.settle() == 1
    assert services.submissions.settle() == 0
    desk.agree()
    assert desk.sql(
        "SELECT withdrawn_why FROM labels WHERE request_id = %s", first.submission_id
    ) == [("rejected",)]
    newest = (
        "SELECT user_address FROM samples JOIN labels USING (label_id) WHERE yolo LIKE '%0.6875%'"
    )
    assert desk.sql(newest) == [("bob",)]


def test_files_that_cannot_be_made_follow_later(desk: Desk) -> None:
    prediction, store = desk.predict(), desk.services.store
    real = store.copy

    def refuse(source: str, target: str) -> None:
        raise StorageUnavailable(f"copying {source} to {target}")

    store.copy = refuse  # type: ignore[method-assign]
    assert desk.submit(prediction).state == "accepted"
    store.copy = real  # type: ignore[method-assign]
    assert not [key for key in desk.shown() if "/images/" in key]

    assert desk.services.submissions.reconcile(10) == 1
    desk.agree()
    assert len(desk.shown()) == 2


def at_once(desk: Desk, calls: list[Callable[[], Any]]) -> list[Any]:
    def run(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (Banned, Conflict) as refused:
            return refused
        finally:
            desk.services.database.close()

    with ThreadPoolExecutor(PEOPLE) as pool:
        return list(pool.map(run, calls))


def test_twenty_people_on_one_image_are_all_kept_and_the_newest_is_the_label(
    desk: Desk, make_picture: MakePicture
) -> None:
    shown = [desk.predict(make_picture()) for _ in range(PEOPLE)]
    told = at_once(
        desk,
        [
            lambda n=n, p=p: desk.submit(  # type: ignore[misc]
                p, f"user{n}", "corrected", [SCRATCH, replace(DENT, x2=60 - n / 20)]
            )
            for n, p in enumerate(shown)
        ],
    )

    assert {each.state for each in told} == {"accepted"}
    assert desk.sql("SELECT count(*) FROM samples") == [(1,)]
    assert desk.sql("SELECT count(*), count(DISTINCT user_address) FROM labels") == [(20, 20)]
    assert desk.sql("SELECT label_id = (SELECT max(label_id) FROM labels) FROM samples") == [
        (True,)
    ]
    desk.services.submissions.reconcile(100)
    desk.agree()


def test_twenty_retries_of_one_are_one(desk: Desk) -> None:
    prediction = desk.predict()
    told = at_once(desk, [lambda: desk.submit(prediction)] * PEOPLE)

    assert sorted(each.change for each in told) == ["new", *["same"] * 19]
    assert len({each.submission_id for each in told}) == 1
    assert desk.sql("SELECT count(*) FROM labels") == [(1,)]
    desk.services.submissions.reconcile(100)
    desk.agree()


def test_submitting_banning_lifting_and_reviewing_at_once_end_in_agreement(desk: Desk) -> None:
    services, shown = desk.services, [desk.predict() for _ in range(12)]

    def submit(n: int) -> Any:
        answer = ("confirmed", "empty", "corrected")[n % 3]
        boxes = [SCRATCH, MENDED] if answer == "corrected" else []
        return desk.submit(shown[n % 12], f"user{n % 3}", answer, boxes)

    def review(n: int) -> Any:
        for held in services.ledger.of_user(f"user{n % 3}", limit=5):
            state: Any = "accepted" if n % 2 else "rejected"
            services.submissions.review(held.request_id, held.updated_at, state, "olga", "test")

    def ban(n: int) -> Any:
        act = services.ledger.ban if n % 2 else services.ledger.lift
        act(f"user{n % 3}", "olga", "test")
        services.submissions.settle()

    acts = [submit, submit, review, ban]
    at_once(desk, [lambda n=n: acts[n % 4](n) for n in range(200)])  # type: ignore[misc]
    for user in ("user0", "user1", "user2"):
        services.ledger.lift(user, "olga", "the end")
    services.submissions.reconcile(1000)
    services.submissions.reconcile(1000)

    desk.agree()
