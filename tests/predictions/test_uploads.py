"""Upload forms: what they allow, and what becomes of odd file names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from chalicelib.errors import ModelNotFound, PredictionNotFound, UnsupportedMediaType
from chalicelib.predictions import State
from chalicelib.predictions.keys import UploadKey, is_prediction_id, safe_name

QueuePath = Any


def test_a_form_allows_one_key_one_type_and_a_size(path: QueuePath) -> None:
    ticket = path.offer(file_name="tag.png", content_type="image/png")

    key = f"uploads/scratch/{ticket.prediction.prediction_id}/tag.png"
    policy = json.loads(base64.b64decode(ticket.form.fields["policy"]))
    assert ticket.form.fields["key"] == key
    assert {"key": key} in policy["conditions"]
    assert {"Content-Type": "image/png"} in policy["conditions"]
    assert ["content-length-range", 1, ticket.max_bytes] in policy["conditions"]


def test_a_form_makes_a_record_that_waits(path: QueuePath) -> None:
    ticket = path.offer(file_name="Étiquette 1.jpg")

    held = path.record(ticket.prediction.prediction_id)
    assert held == ticket.prediction
    assert (held.state, held.file_name) == (State.WAITING, "Étiquette 1.jpg")
    assert path.services.predictions.read(held.prediction_id).result is None


def test_ids_are_never_the_same(path: QueuePath) -> None:
    ids = {path.offer().prediction.prediction_id for _ in range(20)}

    assert len(ids) == 20
    assert all(is_prediction_id(each) for each in ids)


def test_an_unknown_model_gets_no_form(path: QueuePath) -> None:
    with pytest.raises(ModelNotFound):
        path.offer(model="nothing")


def test_a_type_that_is_not_read_gets_no_form(path: QueuePath) -> None:
    with pytest.raises(UnsupportedMediaType, match="image/jpeg"):
        path.offer(content_type="application/pdf")


@pytest.mark.parametrize(
    "prediction_id",
    ["0b9f8c66-4d59-4b6f-8a52-1f6a7b3f1c11", "nonsense", "", "../x", "Ü", "0B9F8C66" * 4],
)
def test_an_unknown_id_is_not_found(path: QueuePath, prediction_id: str) -> None:
    with pytest.raises(PredictionNotFound):
        path.services.predictions.read(prediction_id)


def test_a_prediction_expires(path: QueuePath) -> None:
    prediction_id = path.send()
    path.work()
    path.clock.forward(days=path.settings.prediction_ttl_days, hours=1)

    with pytest.raises(PredictionNotFound):
        path.services.predictions.read(prediction_id)


def test_the_links_read_the_pictures(path: QueuePath) -> None:
    prediction_id = path.send()
    path.work()

    view = path.services.predictions.read(prediction_id)

    assert f"predictions/{prediction_id}/image.jpg?" in view.image_url
    assert f"predictions/{prediction_id}/annotated.jpg?" in view.annotated_url


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("tag.jpg", "tag.jpg"),
        ("Étiquette n°1 (süß).JPG", "Etiquette-n1-su.JPG"),
        ("../../etc/passwd", "passwd"),
        (r"C:\photos\tag.png", "tag.png"),
        ("写真.jpg", "upload.jpg"),
        ("写真", "upload"),
        ("tag", "tag"),
        ("...", "upload"),
        ("", "upload"),
        ("a" * 300 + ".jpeg", "a" * 89 + ".jpeg"),
        ("a\x00b\n.jpg", "a-b.jpg"),
        ("archive.tar.gz", "archive.tar.gz"),
        (".jpg", "upload.jpg"),
    ],
)
def test_a_file_name_becomes_fit_for_a_key(given: str, safe: str) -> None:
    assert safe_name(given) == safe
    assert len(safe_name(given)) <= 100


@pytest.mark.parametrize(
    ("key", "taken_apart"),
    [
        ("uploads/scratch/an-id/tag.jpg", UploadKey("scratch", "an-id", "tag.jpg")),
        ("uploads/scratch/tag.jpg", UploadKey("scratch", "", "tag.jpg")),
        ("uploads/scratch/a/b/tag.jpg", UploadKey("scratch", "a/b", "tag.jpg")),
        ("uploads/tag.jpg", None),
        ("uploads/scratch/", None),
        ("uploads//tag.jpg", None),
        ("other/scratch/tag.jpg", None),
    ],
)
def test_a_key_is_taken_apart(key: str, taken_apart: UploadKey | None) -> None:
    assert UploadKey.parse(key) == taken_apart
