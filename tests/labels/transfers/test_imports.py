"""A ZIP becomes part of a dataset: all of it or nothing, once, whoever dies on the way."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import StorageUnavailable
from chalicelib.labels.transfers import importer
from chalicelib.labels.transfers.records import State
from chalicelib.labels.transfers.worker import MOST_ATTEMPTS
from chalicelib.storage import ObjectStore

Way = Any
Files = dict[str, bytes | str]
MakeTags = Callable[..., Files]
PREFIX = "pending_models/tags/"
LABEL = "0 0.500000 0.500000 0.250000 0.500000\n"


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def faults(held: Any) -> set[tuple[str, str]]:
    return {(fault["name"], fault["kind"]) for fault in held.found["faults"]}


def nothing_came_of_it(way: Way) -> bool:
    counted = way.sql("SELECT (SELECT count(*) FROM samples), (SELECT count(*) FROM labels)")
    return counted == [(0, 0)] and way.files(PREFIX) == {"model.yaml"}


def test_all_images_of_a_sound_zip_are_in_the_dataset(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(20)

    held = way.bring(files)

    assert (held.state, held.done, held.total) == (State.DONE, 20, 20)
    assert (held.found["images"], held.found["boxes"], held.found["format"]) == (20, 20, "yolo")
    placed = held.found["placed"]
    assert placed["training"] + placed["validation"] == 20
    images = [content for name, content in files.items() if name.endswith(".jpg")]
    assert way.labels() == {sha256(image): LABEL for image in images}
    sides = dict(way.sql("SELECT sha256, side FROM samples"))
    assert way.files(PREFIX) == {
        "model.yaml",
        *(f"images/{side}/{sha}.jpg" for sha, side in sides.items()),
        *(f"labels/{side}/{sha}.txt" for sha, side in sides.items()),
    }
    first = sha256(images[0])
    stored = way.services.store.get(f"{PREFIX}images/{sides[first]}/{first}.jpg").body
    assert stored == images[0]
    sizes = way.services.dataset_sizes.of("tags")
    assert (sizes.training, sizes.validation) == (placed["training"], placed["validation"])


def test_a_zip_with_a_fault_leaves_nothing_behind(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(5) | {"images/odd.jpg": b"no image", "labels/odd.txt": LABEL}
    del files["labels/001.txt"], files["images/003.jpg"]

    held = way.bring(files)

    assert held.state is State.FAULTY
    assert faults(held) == {
        ("images/001.jpg", "image without label"),
        ("labels/003.txt", "label without image"),
        ("images/odd.jpg", "unusable image"),
    }
    assert nothing_came_of_it(way)


def test_a_file_that_is_no_zip_is_faulty(way: Way) -> None:
    held = way.bring(b"PK but no more")

    assert held.state is State.FAULTY
    assert faults(held) == {("", "not a ZIP")}


def test_a_zip_without_images_is_faulty(way: Way) -> None:
    held = way.bring({"data.yaml": "names: [scratch, dent]"})

    assert faults(held) == {("", "label without image")}


def test_the_same_image_with_other_labels_is_named(way: Way, make_tags: MakeTags) -> None:
    files = make_tags(3)
    files |= {"images/again.jpg": files["images/001.jpg"], "labels/again.txt": ""}
    files |= {"images/same.jpg": files["images/002.jpg"], "labels/same.txt": LABEL}

    held = way.bring(files)

    assert faults(held) == {("images/again.jpg", "same image, other labels")}
    assert nothing_came_of_it(way)


def test_an_image_that_is_there_twice_with_one_label_is_taken_once(
    way: Way, make_tags: MakeTags
) -> None:
    files = make_tags(3)
    files |= {"images/same.jpg": files["images/002.jpg"], "labels/same.txt": LABEL}

    held = way.bring(files)

    assert (held.state, held.done, held.total) == (State.DONE, 3, 3)
    assert len(way.labels()) == 3


def test_images_whose_names_tell_one_time_stay_on_one_side(
    way: Way, make_photo: Callable[..., bytes]
) -> None:
    files: Files = {}
    for number in range(30):
        name = f"image-2020-04-22-10-15-{number // 10:02}-04-part-{number}"
        files |= {f"{name}.jpg": make_photo(number), f"{name}.txt": ""}

    assert way.bring(files, groups_from_names=True).state is State.DONE

    rows = way.sql("SELECT groups, side, count(*) FROM samples GROUP BY groups, side")
    assert sorted(count for _, _, count in rows) == [10, 10, 10]


def test_an_import_into_a_dataset_labels_anew_what_is_there(way: Way, make_tags: MakeTags) -> None:
    way.bring(make_tags(4))
    files = make_tags(5)
    files["labels/002.txt"] = "1 0.5 0.5 0.1 0.1\n"

    held = way.bring(files)

    assert held.state is State.DONE
    assert held.found["placed"]["known"] == 4
    labels = way.labels()
    assert labels[sha256(files["images/002.jpg"])] == "1 0.500000 0.500000 0.100000 0.100000\n"
    assert len(labels) == 5


def test_what_a_coco_document_says_is_imported(way: Way, make_photo: Callable[..., bytes]) -> None:
    coco = {
        "images": [{"id": 7, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "dent"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [16, 12, 32, 24]}],
    }
    image = make_photo(1, kind="PNG")

    held = way.bring({"labels.json": json.dumps(coco), "in/a.png": image}, format="coco")

    assert held.state is State.DONE
    assert way.labels() == {sha256(image): "1 0.500000 0.500000 0.500000 0.500000\n"}
    assert way.sql("SELECT extension FROM samples") == [("png",)]


def test_long_work_is_cut_into_slices_that_ask_for_more_time(
    way: Way, make_tags: MakeTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "SLICE_IMAGES", 4)
    monkeypatch.setattr(importer, "PUBLISHED_AT_ONCE", 4)
    held = way.send(make_tags(10))
    left = iter([900.0, 0.0] * 1000)  # one step a process
    [body] = way.messages()
    states = []

    while not way.now(held).is_over:
        message = importer_message(body)
        way.services.transfer_worker.work(message, lambda: next(left))
        states.append(way.now(held).state)
        if not way.now(held).is_over:
            [body] = way.messages()

    assert states == [
        *[State.CHECKING] * 4,
        State.PLACING,
        State.PUBLISHING,
        *[State.PUBLISHING] * 2,
        State.DONE,
    ]
    assert len(way.labels()) == 10


def importer_message(body: str) -> Any:
    from chalicelib.labels.transfers.records import JobMessage  # noqa: PLC0415

    return JobMessage.model_validate_json(body)


def test_progress_is_to_be_seen_on_the_way(
    way: Way, make_tags: MakeTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "SLICE_IMAGES", 4)
    held = way.send(make_tags(10))
    assert (way.now(held).state, way.now(held).done) == (State.CHECKING, 0)

    worker, left = way.services.transfer_worker, iter([900.0, 900.0, 0.0])
    worker.work(importer_message(way.message(held)), lambda: next(left))

    assert (way.now(held).state, way.now(held).done, way.now(held).total) == (
        State.CHECKING,
        4,
        10,
    )


class Killed(BaseException):
    """What a killed process does: nothing more."""


KILLS = ["put", "save", "save_in", "add", "publish_samples"]


@pytest.mark.parametrize("call", KILLS)
@pytest.mark.parametrize("after", [False, True])
def test_whoever_is_killed_at_any_step_leaves_it_to_the_next(
    way: Way, make_tags: MakeTags, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    """Each call is killed once, before or after its effect; then somebody else goes on."""
    monkeypatch.setattr(importer, "SLICE_IMAGES", 4)
    services = way.services
    place = {
        "put": services.store,
        "save": services.transfer_worker._table,
        "save_in": services.transfer_worker._table,
        "add": services.dataset,
        "publish_samples": services.dataset,
    }[call]
    whole = getattr(place, call)
    calls = itertools.count(1)

    def mortal(*given: Any, **named: Any) -> Any:
        number = next(calls)  # its own: several threads put
        if number == 2 and not after:
            raise Killed
        answer = whole(*given, **named)
        if number == 2 or (number == 1 and call in ("add", "publish_samples")):
            raise Killed
        return answer

    held = way.send(make_tags(10))
    [body] = way.messages()
    monkeypatch.setattr(place, call, mortal)
    with pytest.raises(Killed):
        way.deliver(body)
    monkeypatch.undo()
    services.database.close()
    way.sql("UPDATE transfers SET leased_until = now() - interval '1 second'")

    way.deliver(body)
    way.work()

    assert (way.now(held).state, way.now(held).done) == (State.DONE, 10)
    assert len(way.labels()) == 10
    assert way.sql("SELECT count(*) FROM labels") == [(10,)]
    assert len(way.files(PREFIX)) == 21


def test_two_deliveries_do_it_once(way: Way, make_tags: MakeTags) -> None:
    held = way.send(make_tags(5))
    [body] = way.messages()

    for _ in range(2):
        way.deliver(body)
        way.tell(held.key, "another-event")
    way.work()

    assert way.now(held).state is State.DONE
    assert way.sql("SELECT count(*) FROM labels") == [(5,)]


def test_while_somebody_is_at_it_nobody_else_is(way: Way, make_tags: MakeTags) -> None:
    held = way.send(make_tags(5))
    [body] = way.messages()
    taken = way.services.transfers._table.take(held.transfer_id)

    way.deliver(body)

    assert way.now(held).done == 0
    assert way.messages() == []
    assert way.services.transfers._table.save(taken, done=1).done == 1


def test_who_was_too_slow_finds_that_it_is_anothers(way: Way, make_tags: MakeTags) -> None:
    from chalicelib.labels.transfers.table import LostLease  # noqa: PLC0415

    held = way.send(make_tags(5))
    table = way.services.transfers._table
    slow = table.take(held.transfer_id)
    way.sql("UPDATE transfers SET leased_until = now() - interval '1 second'")
    quick = table.take(held.transfer_id)

    with pytest.raises(LostLease):
        table.save(slow, done=3)
    assert table.save(quick, done=2).done == 2


def test_another_file_in_the_place_of_the_zip_is_not_read(
    way: Way, make_tags: MakeTags, make_zip: Callable[..., bytes]
) -> None:
    held = way.send(make_tags(5))
    way.put(held, make_zip(make_tags(5, first=50)))

    way.work()

    assert way.now(held).state is State.FAILED
    assert "another file" in way.now(held).problem
    assert nothing_came_of_it(way)


def test_a_zip_that_is_gone_ends_the_import(way: Way, make_tags: MakeTags) -> None:
    held = way.send(make_tags(5))
    way.services.uploads.delete(held.key)

    way.work()

    assert way.now(held).state is State.FAILED
    assert "kept for a day" in way.now(held).problem


def test_where_the_store_fails_it_is_tried_again_and_given_up_some_time(
    way: Way, make_tags: MakeTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("S3 is down")

    held = way.send(make_tags(5))
    monkeypatch.setattr(ObjectStore, "put", broken)
    monkeypatch.setattr("chalicelib.labels.transfers.worker.RETRY_SECONDS", 0)

    assert way.work() == MOST_ATTEMPTS + 1  # the first has got on: it opened the ZIP

    assert way.now(held).state is State.FAILED
    assert way.now(held).problem == f"given up after {MOST_ATTEMPTS} attempts: S3 is down"
    assert nothing_came_of_it(way)


def test_a_zip_that_kills_its_worker_every_time_is_given_up(way: Way, make_tags: MakeTags) -> None:
    held = way.send(make_tags(5))
    for _ in range(MOST_ATTEMPTS):
        assert way.services.transfers._table.take(held.transfer_id)
        way.sql("UPDATE transfers SET leased_until = now() - interval '1 second'")

    way.deliver(way.message(held))

    assert way.now(held).state is State.FAILED


@pytest.mark.parametrize(
    "key",
    [
        "imports/tags/archive.zip",
        "imports/tags/6f0c1a52-6f7e-4d5e-9a57-2d0f3c1b7a11/archive.zip",
        "imports/x",
    ],
)
def test_a_file_that_no_import_awaits_is_passed_over(way: Way, key: str) -> None:
    way.tell(key, "etag")

    assert way.messages() == []


def test_the_name_of_a_file_does_not_stand_for_anothers_import(way: Way) -> None:
    held = way.offer()

    way.tell(f"imports/other/{held.transfer_id}/archive.zip", "etag")

    assert way.now(held).state is State.WAITING


def test_the_upkeep_finds_a_zip_whose_event_was_lost(
    way: Way, make_tags: MakeTags, make_zip: Callable[..., bytes]
) -> None:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    held = way.offer()
    way.put(held, make_zip(make_tags(3)))
    assert way.services.transfers.drive() == 0, "it may be on its way"
    way.services.transfers._now = lambda: datetime.now(UTC) + timedelta(minutes=10)

    assert way.services.transfers.drive() == 1
    way.work()

    assert way.now(held).state is State.DONE


def test_the_upkeep_sends_a_lost_message_again(way: Way, make_tags: MakeTags) -> None:
    held = way.send(make_tags(3))
    way.messages()
    assert way.services.transfers.drive() == 0
    way.sql("UPDATE transfers SET updated_at = now() - interval '10 minutes'")

    assert way.services.transfers.drive() == 1
    way.work()

    assert way.now(held).state is State.DONE


def test_an_import_whose_zip_never_came_is_over_some_time(way: Way) -> None:
    held = way.offer()
    way.sql("UPDATE transfers SET created_at = now() - interval '2 days'")

    way.services.transfers.drive()

    assert way.now(held).state is State.FAILED
    assert "no ZIP came" in way.now(held).problem


def test_faults_beyond_what_is_listed_are_counted(way: Way) -> None:
    files = {f"images/{number:04}.jpg": "x" for number in range(700)}

    held = way.bring(files)

    assert len(held.found["faults"]) == 500
    assert held.found["unlisted"] == 200
