"""A dataset becomes a ZIP that can be read again as the same labels, in every format."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.errors import ObjectNotFound
from chalicelib.labels.formats import FORMATS
from chalicelib.labels.transfers import exported, exporter
from chalicelib.labels.transfers.exporter import PartSizes
from chalicelib.labels.transfers.records import JobMessage, State, export_key
from chalicelib.labels.transfers.table import Transfers
from chalicelib.storage import ObjectStore
from chalicelib.vision import Detections

Way = Any
Files = dict[str, bytes | str]
CLASSES = ("scratch", "dent")
SIZE = (64, 48)


@pytest.fixture
def full(way: Way, make_tags: Callable[..., Files]) -> Way:
    """A dataset of twelve photos, one of which shows nothing and one much."""
    files = make_tags(12)
    files["labels/003.txt"] = ""
    files["labels/004.txt"] = "0 0.25 0.25 0.25 0.25\n1 0.3 0.4 0.123456 0.2\n1 0.5 0.5 1 1\n"
    assert way.bring(files).state is State.DONE
    return way


@pytest.fixture
def small_parts_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr(exporter, "IMAGES_AT_ONCE", 2)
    monkeypatch.setattr(exporter, "ROWS_AT_ONCE", 5)


def read(way: Way, held: Any) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(way.services.store.get(export_key(held)).body))


def boxes(yolo: str) -> Any:
    found = Detections.from_yolo(yolo, CLASSES, SIZE)
    return sorted(zip(found.class_id.tolist(), found.xyxy.tolist(), strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_exported_and_imported_again_has_the_same_labels(full: Way, kind: str) -> None:
    held = full.take(format=kind)
    assert (held.state, held.done, held.total) == (State.DONE, 12, 12)
    archive = full.services.store.get(export_key(held)).body
    assert held.found == {"images": 12, "bytes": len(archive)}
    full.services.pending_models.ask("again", CLASSES, "192.0.2.9")

    again = full.services.transfers.offer_import("again", "192.0.2.9", {}).transfer
    full.tell(again.key, full.put(again, archive))
    full.work()

    assert full.now(again).state is State.DONE, full.now(again).found
    assert full.now(again).found["format"] == kind
    before, after = full.labels(), full.labels("again")
    assert before.keys() == after.keys()
    for sha256, yolo in before.items():
        was, became = boxes(yolo), boxes(after[sha256])
        assert [class_id for class_id, _ in was] == [class_id for class_id, _ in became]
        most = max(FORMATS[kind].precision, 2e-4)
        for (_, one), (_, other) in zip(was, became, strict=True):
            assert np.allclose(one, other, atol=most)


def test_labels_alone_are_a_small_zip(full: Way) -> None:
    with read(full, full.take(images="none")) as archive:
        names = archive.namelist()

    assert "data.yaml" in names
    assert len(names) == 13


def test_links_lead_to_the_images(full: Way) -> None:
    with read(full, full.take(format="coco", images="links")) as archive:
        text = io.StringIO(archive.read("links.tsv").decode())
        rows = list(csv.DictReader(text, dialect=csv.excel_tab))
        told = json.loads(archive.read("annotations/train.json"))

    assert len(rows) == 12
    assert {image["file_name"] for image in told["images"]} <= {row["name"] for row in rows}
    assert all("X-Amz-Signature" in row["url"] for row in rows)
    sides = dict(full.sql("SELECT sha256 || '.jpg', side FROM samples"))
    assert {row["name"]: row["split"] for row in rows} == sides


def test_a_dataset_as_it_was_can_be_exported(full: Way, make_tags: Callable[..., Files]) -> None:
    [(revision,)] = full.sql("SELECT max(began) FROM label_terms")
    files = make_tags(14)
    files["labels/000.txt"] = "1 0.5 0.5 0.5 0.5\n"
    full.bring(files)

    with read(full, full.take(revision=revision)) as archive:
        labels = [name for name in archive.namelist() if name.startswith("labels/")]
        texts = {archive.read(name).decode() for name in labels}

    assert len(labels) == 12
    assert "1 0.500000 0.500000 0.500000 0.500000\n" not in texts
    with read(full, full.take()) as archive:
        assert sum(name.startswith("labels/") for name in archive.namelist()) == 14


def test_an_empty_dataset_is_a_zip_without_images(way: Way) -> None:
    held = way.take()

    assert (held.state, held.total) == (State.DONE, 0)
    with read(way, held) as archive:
        assert archive.namelist() == ["data.yaml"]


class Killed(BaseException):
    """The worker is no more."""


class MortalStore(ObjectStore):
    """A bucket of which somebody dies before or after the so-manieth write."""

    def __init__(self, store: ObjectStore, at: int) -> None:
        super().__init__(store._s3, store.bucket)
        self._left = at

    def _count(self, write: Callable[..., Any], *given: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise Killed
        done = write(*given)
        self._left -= 1
        if self._left == 0:
            raise Killed
        return done

    def begin_parts(self, *given: Any) -> str:
        return str(self._count(super().begin_parts, *given))

    def put_part(self, *given: Any) -> str:
        return str(self._count(super().put_part, *given))

    def put(self, *given: Any) -> None:
        self._count(super().put, *given)

    def complete_parts(self, *given: Any) -> None:
        self._count(super().complete_parts, *given)


class ForgetfulStore(ObjectStore):
    """A bucket that has cleared the parts of an upload away, as it does after a day."""

    def __init__(self, store: ObjectStore, lost: str) -> None:
        super().__init__(store._s3, store.bucket)
        self._lost = lost

    def put_part(self, key: str, upload_id: str, number: int, part: bytes) -> str:
        if upload_id == self._lost:  # moto fails over it
            raise ObjectNotFound("there is no such upload")
        return super().put_part(key, upload_id, number, part)


def in_small_parts(way: Way, store: ObjectStore | None = None) -> None:
    """Let exports be sent in parts of a few photos, which the stand-in for S3 takes."""
    services = way.services
    table = Transfers(services.database)
    names = services.pending_models.class_names
    sizes = PartSizes(least=1, wanted=((10_000, 2_000),))
    made = exporter.Exporter(table, services.database, store or services.store, names, sizes)
    services.transfer_worker._steps = {**services.transfer_worker._steps, "export": made.step}


def whole(way: Way, held: Any) -> dict[str, bytes]:
    """Return the files of an export's ZIP, each of which is there once and sound."""
    with read(way, held) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("images", ["included", "links", "none"])
def test_in_parts_it_has_the_same_files(
    full: Way, kind: str, images: str, small_parts_allowed: None
) -> None:
    at_once = full.take(format=kind, images=images)
    in_small_parts(full)
    in_parts = full.take(format=kind, images=images)

    files, others = whole(full, in_parts), whole(full, at_once)
    if images == "links":
        assert files.pop("links.tsv").count(b"\n") == others.pop("links.tsv").count(b"\n") == 13
    assert files.keys() == others.keys()
    if kind not in ("ground-truth", "csv"):  # which say when it was asked for
        assert files == others
    assert in_parts.found["images"] == 12
    assert in_parts.found["bytes"] == len(full.services.store.get(export_key(in_parts)).body)


@pytest.mark.parametrize("kind", FORMATS)
def test_whoever_is_killed_at_any_step_leaves_it_to_the_next(
    full: Way, kind: str, small_parts_allowed: None
) -> None:
    expected = whole(full, full.take(format=kind))
    died = True
    at = 0
    while died:
        at += 1
        in_small_parts(full, MortalStore(full.services.store, at))
        held = full.services.transfers.ask_for_export(
            "tags", "192.0.2.1", {"format": kind, "images": "included"}
        )
        [body] = full.messages()
        try:
            full.deliver(body)
            died = False
        except Killed:
            pass
        full.sql("UPDATE transfers SET leased_until = now() WHERE lease IS NOT NULL")
        in_small_parts(full)
        full.deliver(body)
        full.work()

        assert full.now(held).state is State.DONE, full.now(held).problem
        files = whole(full, held)
        assert files.keys() == expected.keys()
        photos = [name for name in files if name.endswith(".jpg")]
        assert {name: files[name] for name in photos} == {name: expected[name] for name in photos}
        assert len(photos) == 12
    assert at > 10


def test_long_exports_ask_for_more_time(full: Way, small_parts_allowed: None) -> None:
    in_small_parts(full)
    held = full.services.transfers.ask_for_export(
        "tags", "192.0.2.1", {"format": "coco", "images": "included"}
    )
    seen = []
    while bodies := full.messages():
        for body in bodies:
            message = JobMessage.model_validate_json(body)
            left = iter([900.0, 0.0])  # for one step a call
            full.services.transfer_worker.work(message, lambda left=left: next(left, 0.0))
            seen.append(full.now(held).done)

    assert full.now(held).state is State.DONE
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "how far it is can be seen"
    assert len(whole(full, held)) == 14


def test_a_dataset_that_changes_meanwhile_is_exported_as_it_was(
    full: Way, make_tags: Callable[..., Files], small_parts_allowed: None
) -> None:
    in_small_parts(full)
    held = full.services.transfers.ask_for_export(
        "tags", "192.0.2.1", {"format": "yolo", "images": "included"}
    )
    [body] = full.messages()
    left = iter([900.0, 900.0, 0.0])
    message = JobMessage.model_validate_json(body)
    full.services.transfer_worker.work(message, lambda: next(left, 0.0))
    before = full.labels()
    files = make_tags(14)
    files["labels/000.txt"] = "1 0.5 0.5 0.5 0.5\n"
    full.bring(files)
    full.work()

    labels = [text for name, text in whole(full, held).items() if name.startswith("labels/")]
    assert sorted(labels) == sorted(text.encode() for text in before.values())


def test_parts_that_were_lost_are_sent_again(full: Way, small_parts_allowed: None) -> None:
    in_small_parts(full)
    held = full.services.transfers.ask_for_export(
        "tags", "192.0.2.1", {"format": "yolo", "images": "included"}
    )
    [body] = full.messages()
    left = iter([900.0, 900.0, 900.0, 0.0])
    message = JobMessage.model_validate_json(body)
    full.services.transfer_worker.work(message, lambda: next(left, 0.0))
    lost = full.now(held).found["progress"]["upload"]
    in_small_parts(full, ForgetfulStore(full.services.store, lost))

    full.work()

    assert full.now(held).state is State.DONE
    assert len(whole(full, held)) == 25


def test_a_part_that_somebody_slow_sent_again_does_not_spoil_it(
    full: Way, small_parts_allowed: None
) -> None:
    in_small_parts(full)
    held = full.services.transfers.ask_for_export(
        "tags", "192.0.2.1", {"format": "yolo", "images": "included"}
    )
    [body] = full.messages()
    left = iter([900.0, 900.0, 900.0, 0.0])
    message = JobMessage.model_validate_json(body)
    full.services.transfer_worker.work(message, lambda: next(left, 0.0))
    progress = full.now(held).found["progress"]
    full.services.store.put_part(export_key(held), progress["upload"], 1, b"something else")

    full.work()

    assert full.now(held).state is State.DONE
    assert len(whole(full, held)) == 25


def test_an_image_that_moved_meanwhile_is_found(full: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    some = exported.ExportedImages.some

    def as_before(*given: Any) -> Any:
        images = some(*given)
        [(key,)] = full.sql("SELECT source_key FROM samples ORDER BY sample_id LIMIT 1")
        store = full.services.store
        if images and key != "parked/elsewhere.jpg":
            store.copy(key, "parked/elsewhere.jpg")
            store.delete(key)
            full.sql(
                "UPDATE samples SET source_key = 'parked/elsewhere.jpg' WHERE source_key = %s", key
            )
        return images

    monkeypatch.setattr(exported.ExportedImages, "some", as_before)

    assert full.take().state is State.DONE


def test_an_image_that_is_gone_ends_the_export_and_leaves_no_zip(full: Way) -> None:
    [(key,)] = full.sql("SELECT source_key FROM samples ORDER BY sample_id LIMIT 1")
    full.services.store.delete(key)

    held = full.take()

    assert held.state is State.FAILED
    assert "is gone" in held.problem
    assert list(full.services.store.keys("exports/")) == []
    uploads = full.services.client("s3").list_multipart_uploads(
        Bucket=full.services.settings.store_bucket
    )
    assert "Uploads" not in uploads


def incompressible(seed: int) -> bytes:
    """Return a PNG of 13 MB."""
    pixels = np.random.default_rng(seed).integers(0, 255, (1800, 2400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_a_large_zip_is_sent_in_parts(full: Way) -> None:
    files: Files = {}
    for number in range(2):  # of 13 MB each
        files[f"{number}.png"] = incompressible(number)
        files[f"{number}.txt"] = ""
    assert full.bring(files).state is State.DONE

    held = full.take()

    place = {"Bucket": full.services.settings.store_bucket, "Key": export_key(held)}
    etag = full.services.client("s3").head_object(**place)["ETag"]
    assert int(etag.strip('"').rpartition("-")[2]) > 1
    with read(full, held) as archive:
        assert archive.testzip() is None
