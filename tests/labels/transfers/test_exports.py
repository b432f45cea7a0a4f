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

from chalicelib.labels.formats import FORMATS
from chalicelib.labels.transfers import exporter
from chalicelib.labels.transfers.records import State, export_key
from chalicelib.storage import PartWriter
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


def test_an_export_that_was_killed_is_begun_again(
    full: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    held = full.services.transfers.ask_for_export(
        "tags", "192.0.2.1", {"format": "coco", "images": "included"}
    )
    [body] = full.messages()
    monkeypatch.setattr(PartWriter, "complete", killed)
    with pytest.raises(Killed):
        full.deliver(body)
    monkeypatch.undo()
    full.sql("UPDATE transfers SET leased_until = now() WHERE lease IS NOT NULL")

    full.deliver(body)

    assert full.now(held).state is State.DONE
    uploads = full.services.client("s3").list_multipart_uploads(
        Bucket=full.services.settings.store_bucket
    )
    assert "Uploads" not in uploads


def test_an_image_that_moved_meanwhile_is_found(full: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = exporter.Exporter._images

    def as_before(self: Any, held: Any) -> Any:
        images = whole(self, held)
        [(key,)] = full.sql("SELECT source_key FROM samples ORDER BY sample_id LIMIT 1")
        store = full.services.store
        store.copy(key, "parked/elsewhere.jpg")
        store.delete(key)
        full.sql(
            "UPDATE samples SET source_key = 'parked/elsewhere.jpg' WHERE source_key = %s", key
        )
        return images

    monkeypatch.setattr(exporter.Exporter, "_images", as_before)

    assert full.take().state is State.DONE


def test_an_image_that_is_gone_ends_the_export_and_leaves_no_zip(full: Way) -> None:
    [(key,)] = full.sql("SELECT source_key FROM samples ORDER BY sample_id LIMIT 1")
    full.services.store.delete(key)

    held = full.take()

    assert held.state is State.FAILED
    assert "is gone" in held.problem
    assert list(full.services.store.keys("exports/")) == []


def test_a_dataset_that_no_export_holds_is_told(full: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "MOST_IMAGES", 11)

    held = full.take()

    assert held.state is State.FAILED
    assert "over 11 images" in held.problem


def test_a_large_zip_is_sent_in_parts(full: Way, make_photo: Callable[..., bytes]) -> None:
    files: Files = {}
    for number in range(2):  # of 13 MB each
        files[f"{number}.bmp"] = make_photo(100 + number, size=(2400, 1800), kind="BMP")
        files[f"{number}.txt"] = ""
    assert full.bring(files).state is State.DONE

    held = full.take()

    place = {"Bucket": full.services.settings.store_bucket, "Key": export_key(held)}
    etag = full.services.client("s3").head_object(**place)["ETag"]
    assert int(etag.strip('"').rpartition("-")[2]) > 1
    with read(full, held) as archive:
        assert archive.testzip() is None
