"""Deleting what somebody sent: all of it, from everywhere, whoever is killed meanwhile."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from chalicelib.catalog.visibility import Visibility
from chalicelib.labels.dataset import NewLabel
from chalicelib.labels.fingerprint import fingerprint_of
from chalicelib.predictions.intake import ArrivedFile
from chalicelib.predictions.keys import annotated_key, image_key
from chalicelib.predictions.messages import IdentifyMessage
from chalicelib.vision import Detections
from tests.api.conftest import member_headers as somebody
from tests.api.conftest import photo

Gateway = Any
Stack = Any
Headers = dict[str, str]

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
GOOD = [
    {"class_id": class_id, "class_name": name, "AP50": 0.9}
    for class_id, name in enumerate(("scratch", "dent"))
]
METRICS = json.dumps({"per_class": GOOD}).encode()
NAMES = ("scratch", "dent")
TABLES = ("samples", "labels", "requests", "tasks", "agreements", "deletions", "cluster_names")


class Killed(BaseException):
    """A process that is killed: nothing catches it."""


@pytest.fixture
def model(stack: Stack, make_model: Callable[..., bytes]) -> Iterator[str]:
    """A public model of its own."""
    name = f"m{uuid.uuid4().hex[:12]}"
    stack.publish(make_model(), name, METRICS)
    yield name
    with stack.services.database.transaction() as rows:
        rows.execute(
            """TRUNCATE samples, labels, label_terms, tasks, control_answers, agreements,
                        control_standings, deletions CASCADE"""
        )
        rows.execute("DELETE FROM requests")


def send(gateway: Gateway, model: str, image: bytes, headers: Headers) -> str:
    target = f"/v1/models/{model}/detections?keep=true"
    kept = gateway("POST", target, image, content_type="image/jpeg", **headers)
    return str(kept.json["prediction_id"])


def say(
    gateway: Gateway, model: str, prediction_id: str, headers: Headers, answer: str = "confirmed"
) -> Any:
    body = json.dumps({"prediction_id": prediction_id, "answer": answer}).encode()
    target = f"/v1/models/{model}/submissions"
    return gateway("POST", target, body, content_type="application/json", **headers)


def contribute(
    gateway: Gateway, model: str, headers: Headers, image: bytes, answer: str = "confirmed"
) -> str:
    prediction_id = send(gateway, model, image, headers)
    assert say(gateway, model, prediction_id, headers, answer).status == 201
    return prediction_id


def delete(gateway: Gateway, prediction_id: str, **headers: str) -> Any:
    return gateway("DELETE", f"/v1/predictions/{prediction_id}", **headers)


def objects(stack: Stack) -> list[str]:
    """Return the key of every object in the store, older versions and markers included."""
    s3, bucket = stack.services.client("s3"), stack.services.settings.store_bucket
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    return [
        each["Key"]
        for page in pages
        for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    ]


def stored(stack: Stack, text: str) -> list[str]:
    """Return where a hash or an id is still found, in keys of the store and in rows."""
    found = [key for key in objects(stack) if text in key]
    with stack.services.database.transaction() as rows:
        for table in TABLES:
            rows.execute(f"SELECT t::text FROM {table} t WHERE t::text LIKE %s", (f"%{text}%",))
            found += [f"{table}: {row}" for (row,) in rows.fetchall()]
    return found


def sql(stack: Stack, statement: str, *given: Any) -> list[tuple[Any, ...]]:
    with stack.services.database.transaction() as rows:
        rows.execute(statement, given or None)
        return list(rows.fetchall())


def assert_consistent(stack: Stack, model: str) -> None:
    """Assert that counters and clusters equal a recount of the rows."""
    counted = "SELECT coalesce(sum(n), 0) FROM dataset_counts WHERE model = %s AND fact = %s"
    labelled = "SELECT count(*) FROM samples WHERE model = %s AND label_id IS NOT NULL"
    assert sql(stack, counted, model, "images") == sql(stack, labelled, model)
    members = """SELECT c.cluster_id FROM clusters c WHERE c.model = %s AND c.train + c.valid <>
                 (SELECT count(*) FROM cluster_names k
                  JOIN samples s ON s.model = k.model AND s.sha256 = k.name
                  WHERE k.cluster_id = c.cluster_id)"""
    assert sql(stack, members, model) == []
    assert sql(stack, "SELECT sample_id FROM samples WHERE NOT published") == []


def assert_gone(stack: Stack, prediction_id: str, image: bytes) -> None:
    """Assert that of a photo nothing is left but the id."""
    assert stored(stack, hashlib.sha256(image).hexdigest()) == []
    assert [each for each in objects(stack) if prediction_id in each] == []
    detail = sql(stack, "SELECT detail FROM requests WHERE prediction_id = %s", prediction_id)
    assert all(set(each) == {"control"} for (each,) in detail)


@pytest.mark.parametrize("answer", ["confirmed", "empty"])
def test_whoever_holds_the_id_deletes_the_photo_from_everywhere(
    gateway: Gateway, stack: Stack, model: str, answer: str
) -> None:
    ann, image = somebody(stack), photo()
    prediction_id = contribute(gateway, model, ann, image, answer)
    assert stored(stack, hashlib.sha256(image).hexdigest())

    told = delete(gateway, prediction_id)

    assert told.status == 200, told.body
    assert (told.json["model"], told.json["is_erased"]) == (model, True)
    assert_gone(stack, prediction_id, image)
    assert_consistent(stack, model)
    assert gateway("GET", f"/v1/predictions/{prediction_id}").status == 404
    assert say(gateway, model, prediction_id, ann).status == 404
    assert delete(gateway, prediction_id).json == told.json


def test_what_does_not_exist_cannot_be_deleted(gateway: Gateway) -> None:
    assert delete(gateway, str(uuid.uuid4())).status == 404
    assert delete(gateway, "nonsense").status == 404


def test_a_photo_that_nobody_answered_is_deleted_as_well(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    image = photo()
    prediction_id = send(gateway, model, image, {})

    assert delete(gateway, prediction_id).status == 200
    assert_gone(stack, prediction_id, image)


def test_deleting_an_upload_outlives_late_events_and_messages(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    services, image = stack.services, photo()
    body = json.dumps({"model": model, "file_name": "a.jpg", "content_type": "image/jpeg"})
    target = "/v1/uploads"
    offered = gateway("POST", target, body.encode(), content_type="application/json").json
    prediction_id = offered["prediction_id"]
    record = services.predictions_table.find(prediction_id)
    services.uploads.put(record.key, image, "image/jpeg")
    file = ArrivedFile(record.key, hashlib.md5(image).hexdigest(), services.now())
    services.intake.receive(file)
    message = IdentifyMessage.of(services.predictions_table.find(prediction_id), file)

    assert delete(gateway, prediction_id).status == 200

    assert not services.uploads.has(record.key)
    services.store.put(image_key(prediction_id), image, "image/jpeg")  # a worker killed too late
    services.worker.identify(message)
    assert [each for each in objects(stack) if prediction_id in each] == []
    services.uploads.put(record.key, image, "image/jpeg")  # the form is good for a while
    services.intake.receive(file)
    assert not services.uploads.has(record.key)
    assert gateway("GET", f"/v1/predictions/{prediction_id}").status == 404


def test_a_worker_that_looks_meanwhile_leaves_nothing(
    gateway: Gateway, stack: Stack, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, image = stack.services, photo()
    body = json.dumps({"model": model, "file_name": "a.jpg", "content_type": "image/jpeg"})
    offered = gateway("POST", "/v1/uploads", body.encode(), content_type="application/json").json
    prediction_id = offered["prediction_id"]
    record = services.predictions_table.find(prediction_id)
    services.uploads.put(record.key, image, "image/jpeg")
    look = services.worker._look

    def deleted_meanwhile(*given: Any) -> Any:
        assert delete(gateway, prediction_id).status == 200
        return look(*given)

    monkeypatch.setattr(services.worker, "_look", deleted_meanwhile)
    file = ArrivedFile(record.key, hashlib.md5(image).hexdigest(), services.now())
    services.worker.identify(IdentifyMessage.of(record, file))

    assert [each for each in objects(stack) if prediction_id in each] == []
    assert gateway("GET", f"/v1/predictions/{prediction_id}").status == 404


def test_deleting_yours_leaves_what_somebody_else_sent(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    image, ann, bob = photo(), somebody(stack), somebody(stack)
    hers = contribute(gateway, model, ann, image)
    his = contribute(gateway, model, bob, image)

    assert delete(gateway, hers).status == 200

    sha256 = hashlib.sha256(image).hexdigest()
    assert gateway("GET", f"/v1/predictions/{his}").status == 200
    of_image = (
        "SELECT l.user_address FROM samples s JOIN labels l USING (label_id) WHERE sha256 = %s"
    )
    [(label_user,)] = sql(stack, of_image, sha256)
    assert label_user.startswith("user:")
    assert any(f"models/{model}/images" in key for key in stored(stack, sha256))
    assert delete(gateway, his).status == 200
    assert_gone(stack, his, image)
    assert_gone(stack, hers, image)
    assert_consistent(stack, model)


def test_deleting_a_task_deletes_the_copy_and_the_answer_alone(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    image, ann, bob = photo(), somebody(stack), somebody(stack)
    hers = contribute(gateway, model, ann, image)
    task = gateway("POST", f"/v1/models/{model}/tasks", **bob).json["prediction_id"]
    assert say(gateway, model, task, bob).status == 201

    assert delete(gateway, task).status == 200

    sha256 = hashlib.sha256(image).hexdigest()
    assert gateway("GET", f"/v1/predictions/{hers}").status == 200
    assert any(f"models/{model}/images" in key for key in stored(stack, sha256))
    in_force = "SELECT count(*) FROM samples WHERE sha256 = %s AND label_id IS NOT NULL"
    assert sql(stack, in_force, sha256) == [(1,)]
    assert_consistent(stack, model)


def test_copies_that_others_were_given_go_with_the_photo(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    image, ann = photo(), somebody(stack)
    hers = contribute(gateway, model, ann, image)
    tasks = []
    for helper in (somebody(stack), somebody(stack)):
        task = gateway("POST", f"/v1/models/{model}/tasks", **helper).json["prediction_id"]
        tasks.append(task)
    say(gateway, model, tasks[0], helper)

    assert delete(gateway, hers).status == 200

    for task in tasks:
        assert gateway("GET", f"/v1/predictions/{task}").status == 404
        assert_gone(stack, task, image)
        assert say(gateway, model, task, somebody(stack)).status == 404
    assert_gone(stack, hers, image)


def test_a_task_that_is_handed_out_meanwhile_is_deleted_by_the_schedule(
    gateway: Gateway, stack: Stack, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo()
    hers = contribute(gateway, model, somebody(stack), image)
    book = stack.services.reviewing.tasks._book
    hand_out = book.hand_out

    def deleted_meanwhile(task: Any) -> bool:
        assert stack.services.deletions.delete(hers)
        return bool(hand_out(task))

    monkeypatch.setattr(book, "hand_out", deleted_meanwhile)
    task = gateway("POST", f"/v1/models/{model}/tasks", **somebody(stack)).json["prediction_id"]
    assert stored(stack, hashlib.sha256(image).hexdigest())

    assert stack.services.deletions.finish(100) == 1

    assert_gone(stack, task, image)
    assert gateway("GET", f"/v1/predictions/{task}").status == 404
    assert stack.services.deletions.finish(100) == 0


def test_the_same_photo_can_be_sent_again(gateway: Gateway, stack: Stack, model: str) -> None:
    image, ann = photo(), somebody(stack)
    delete(gateway, contribute(gateway, model, ann, image))

    contribute(gateway, model, ann, image)

    assert any(f"models/{model}/images" in key for key in objects(stack))
    assert_consistent(stack, model)


def test_counters_and_bans_stay(gateway: Gateway, stack: Stack, model: str) -> None:
    ann = somebody(stack)
    sent = [contribute(gateway, model, ann, photo(), "empty") for _ in range(11)]
    [(user,)] = sql(stack, "SELECT DISTINCT user_address FROM requests")
    before = stack.services.ledger.standing(user)
    assert before.suspicious_requests == 11
    assert before.banned_since
    stack.services.ban_follow_up.run()

    for prediction_id in sent:
        assert delete(gateway, prediction_id, **ann).status == 200

    assert stack.services.ledger.standing(user) == before
    assert sql(stack, "SELECT count(*) FROM requests WHERE state = 'quarantined'") == [(0,)]


def test_what_was_deleted_cannot_be_accepted(
    gateway: Gateway, stack: Stack, model: str, as_operator: Headers
) -> None:
    prediction_id = contribute(gateway, model, somebody(stack), photo(), "empty")
    [item] = gateway("GET", "/v1/review", **as_operator).json["waiting"]
    delete(gateway, prediction_id)
    [(seen,)] = sql(stack, "SELECT updated_at FROM requests")

    for looked_at in (item["updated_at"], seen.isoformat()):
        body = {"decision": "accept", "why": "it is right", "seen": looked_at}
        target, sent = f"/v1/review/{item['submission_id']}", json.dumps(body).encode()
        told = gateway("POST", target, sent, content_type="application/json", **as_operator)
        assert told.status == 409, told.body
    assert gateway("GET", "/v1/review", **as_operator).json["waiting"] == []


def test_every_version_that_was_trained_on_it_is_named(
    gateway: Gateway, stack: Stack, model: str, as_operator: Headers, make_model: Any
) -> None:
    first = contribute(gateway, model, somebody(stack), photo())
    trained_on = stack.services.dataset_versions.revision(model)
    later = contribute(gateway, model, somebody(stack), photo())
    stack.publish(make_model(((1, 1, 20, 20, 0.9, 0),)), model)
    with stack.services.database.transaction() as rows:
        rows.execute(
            "UPDATE model_versions SET dataset_revision = %s WHERE model = %s AND version = 2",
            (trained_on, model),
        )

    named = [{"model": model, "version": 2, "live": True}]
    assert delete(gateway, first).json["versions"] == named
    assert delete(gateway, later).json["versions"] == []
    listed = gateway("GET", "/v1/deletions", **as_operator).json["deletions"]
    assert [each["versions"] for each in listed] == [[], named]


def test_all_of_a_callers_is_deleted_with_their_token_only(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    ann, bob = somebody(stack), somebody(stack)
    images = [photo() for _ in range(3)]
    hers = [contribute(gateway, model, ann, images[0]), send(gateway, model, images[1], ann)]
    his = contribute(gateway, model, bob, images[2])
    task = gateway("POST", f"/v1/models/{model}/tasks", **ann).json["prediction_id"]
    say(gateway, model, task, ann)

    assert gateway("DELETE", "/v1/contributions").status == 401
    told = gateway("DELETE", "/v1/contributions", **ann)

    assert (told.status, told.json) == (200, {"deleted": 3, "images": 0, "is_finished": True})
    for prediction_id, image in zip(hers, images, strict=False):
        assert_gone(stack, prediction_id, image)
    assert gateway("GET", f"/v1/predictions/{task}").status == 404
    assert gateway("GET", f"/v1/predictions/{his}").status == 200
    assert [key for key in objects(stack) if key.startswith("deletions/")] == []
    assert gateway("DELETE", "/v1/contributions", **ann).json["deleted"] == 0


def import_image(stack: Stack, model: str, image: bytes, user: str) -> None:
    """Put an image into a dataset as an import of a user's does."""
    services, key = stack.services, f"imports/{uuid.uuid4()}"
    services.store.put(key, image, "image/jpeg")
    boxes = Detections(np.array([[8.0, 8, 40, 40]]), np.ones(1), np.zeros(1, int), NAMES, (64, 64))
    new = NewLabel(
        sha256=hashlib.sha256(image).hexdigest(),
        extension="jpg",
        size=(64, 64),
        fingerprint=fingerprint_of(image),
        source_key=key,
        boxes=boxes,
        origin="import",
        user_address=user,
        request_id=None,
        visibility=Visibility.PRIVATE,
    )
    with services.database.transaction() as rows:
        services.dataset.add(rows, model, [new])
    services.dataset.publish(100)


def test_images_of_a_members_imports_are_deleted_with_all_of_theirs(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    ann, bob = somebody(stack), somebody(stack)
    shared, alone, of_operator = photo(), photo(), photo()
    contribute(gateway, model, ann, shared)
    [(user,)] = sql(stack, "SELECT DISTINCT user_address FROM requests")
    contribute(gateway, model, bob, shared)
    for image in (shared, alone):
        import_image(stack, model, image, user)
    import_image(stack, model, of_operator, "operator:olga")

    done = gateway("DELETE", "/v1/contributions", **ann)
    assert (done.status, done.json) == (200, {"deleted": 1, "images": 2, "is_finished": True})

    assert stored(stack, hashlib.sha256(alone).hexdigest()) == []
    for image in (shared, of_operator):
        assert stored(stack, hashlib.sha256(image).hexdigest())
    origins = "SELECT origin, user_address = %s FROM labels WHERE withdrawn_at IS NULL ORDER BY 1"
    assert sql(stack, origins, user) == [("import", False), ("submission", False)]
    assert_consistent(stack, model)
    assert gateway("DELETE", "/v1/contributions", **ann).json["images"] == 0


def test_whoever_is_killed_while_imported_images_are_deleted_is_followed_by_the_schedule(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    for call in range(1, 40):
        user, image = f"user:{uuid.uuid4()}", photo()
        import_image(stack, model, image, user)
        end = kill_at(stack, call)
        try:
            stack.services.deletions.delete_all(user)
            survived = True
        except Killed:
            survived = False
        end()
        stack.services.deletions.finish(100)

        left = stored(stack, hashlib.sha256(image).hexdigest())
        assert call == 1 or left == [], call  # killed before the order was written: nothing is done
        if survived:
            break
    assert survived
    assert call > 4


def test_an_operators_imports_stay_when_they_delete_all_of_theirs(stack: Stack, model: str) -> None:
    import_image(stack, model, photo(), "operator:olga")
    stack.services.deletions.delete_all("operator:olga")

    assert sql(stack, "SELECT count(*) FROM labels WHERE withdrawn_at IS NULL") == [(1,)]


def kill_at(stack: Stack, call: int) -> Callable[[], None]:
    """Have this process die at its so-manieth call to AWS; return what ends that."""
    left = itertools.count(1)

    def die(**_: Any) -> None:
        if next(left) == call:
            raise Killed

    clients = [stack.services.client(name) for name in ("s3", "dynamodb")]
    for client in clients:
        client.meta.events.register("before-call", die)

    def end() -> None:
        for client in clients:
            client.meta.events.unregister("before-call", die)

    return end


def test_whoever_is_killed_is_followed_by_the_schedule(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    """Killed before each call to AWS in turn, from the first to the last."""
    for call in itertools.count(1):
        image = photo()
        prediction_id = contribute(gateway, model, somebody(stack), image)
        task = gateway("POST", f"/v1/models/{model}/tasks", **somebody(stack)).json["prediction_id"]
        end, killed = kill_at(stack, call), False
        try:
            stack.services.deletions.delete(prediction_id)
        except Killed:
            killed = True
        finally:
            end()
        began = sql(stack, "SELECT FROM deletions WHERE prediction_id = %s", prediction_id)

        stack.services.deletions.finish(100)

        if began:
            assert_gone(stack, prediction_id, image)
            assert_gone(stack, task, image)
        assert stack.services.deletions.delete(prediction_id).is_erased
        assert_gone(stack, prediction_id, image)
        assert_consistent(stack, model)
        if not killed:
            break
    assert call > 10


def test_an_order_to_delete_all_is_carried_out_by_the_schedule(
    gateway: Gateway, stack: Stack, model: str
) -> None:
    ann, images = somebody(stack), [photo(), photo()]
    sent = [contribute(gateway, model, ann, image) for image in images]
    [(user,)] = sql(stack, "SELECT DISTINCT user_address FROM requests")
    end = kill_at(stack, 12)
    with pytest.raises(Killed):
        stack.services.deletions.delete_all(user)
    end()

    assert stack.services.deletions.finish(100)

    for prediction_id, image in zip(sent, images, strict=True):
        assert_gone(stack, prediction_id, image)
        assert annotated_key(prediction_id) not in objects(stack)
    assert [key for key in objects(stack) if key.startswith("deletions/")] == []
