"""Measuring a version on a training's validation images, as the gate does where it has to."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.errors import InvalidManifest, InvalidModel, ObjectNotFound
from chalicelib.labels.keys import manifest_key
from chalicelib.labels.manifest import Entry, write
from chalicelib.retrain.job import Job
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.measured import VersionMetrics
from chalicelib.retrain.measuring import Beside, Photo, measure
from chalicelib.vision import Detections, Detector

pytestmark = pytest.mark.stack
SIZE = (64, 64)
FOUND = "0 0.25 0.21875 0.25 0.1875"  # what the model of these tests sees on every picture
ELSEWHERE = "0 0.75 0.75 0.25 0.25"


@pytest.fixture
def cut(bench: Any, make_picture: Callable[..., bytes]) -> Callable[..., Job]:
    """Write a dataset version whose images have these labels; return a job that learns from it."""

    def make(*images: tuple[str, str, bool]) -> Job:
        entries = []
        for number, (side, label, leaking) in enumerate(images):
            picture = make_picture((64, 64 + number))
            sha256 = hashlib.sha256(picture).hexdigest()
            bench.store.put(f"models/scratch/images/{side}/{sha256}.jpg", picture, "image/jpeg")
            entries.append(Entry(sha256, "jpg", side, 64, 64, label, number, leaking))
        file = io.BytesIO()
        entries.sort(key=lambda entry: entry.sha256)
        name = write(file, "scratch", ["scratch", "dent"], entries).sha256
        bench.store.put(manifest_key("scratch", name), file.getvalue(), "application/gzip")
        job: Job = bench.job(uuid4(), 1, dataset_sha256=name)
        made = output_key(job.job_id, "model.onnx")
        bench.store.put(made, bench.onnx(0.7), "application/octet-stream")
        return job

    return make


def test_only_validation_images_that_do_not_leak_are_measured_on(
    bench: Any, cut: Callable[..., Job]
) -> None:
    job = cut(
        ("valid", FOUND, False),
        ("valid", ELSEWHERE, True),
        ("train", ELSEWHERE, False),
    )

    measured = Beside(bench.store).measure(job, 1)

    assert measured is not None
    found, evidence = measured
    assert (evidence.images, evidence.groups, evidence.gain.value) == (1, 1, 0)
    assert (found.version, found.validation_set_size) == (1, 1)
    assert found.per_class[0].boxes == 1
    assert found.map50 == found.map50_95 == 1
    assert found.per_class[1].ap50 is None
    assert found.size_bytes == len(bench.onnx())


def test_what_is_missed_costs_recall(bench: Any, cut: Callable[..., Job]) -> None:
    measured = Beside(bench.store).measure(
        cut(("valid", FOUND, False), ("valid", ELSEWHERE, False)), 1
    )

    assert measured is not None
    found, _ = measured
    assert found.recall == 0.5
    assert found.precision == 0.5
    assert found.map50 == pytest.approx(51 / 101, abs=1e-5)  # of 101 recalls, those up to a half


def test_who_has_no_time_to_measure_says_so(bench: Any, cut: Callable[..., Job]) -> None:
    assert Beside(bench.store, seconds=-1).measure(cut(("valid", FOUND, False)), 1) is None


def test_a_version_without_weights_cannot_be_measured(bench: Any, cut: Callable[..., Job]) -> None:
    with pytest.raises(InvalidModel):
        Beside(bench.store).measure(cut(("valid", FOUND, False)), 7)


def test_a_dataset_that_is_gone_or_damaged_is_told_as_such(
    bench: Any, cut: Callable[..., Job]
) -> None:
    job = cut(("valid", FOUND, False))
    key = manifest_key("scratch", job.dataset_sha256 or "")
    bench.store.put(key, b"torn", "application/gzip")
    with pytest.raises(InvalidManifest):
        Beside(bench.store).measure(job, 1)
    bench.store.delete(key)
    with pytest.raises(ObjectNotFound):
        Beside(bench.store).measure(job, 1)


def test_without_photos_nothing_is_claimed(bench: Any) -> None:
    told = measure(Detector(bench.onnx()), [])

    assert (told["mAP50"], told["validation_set_size"], told["ms_per_image"]) == (None, 0, None)


def test_what_is_measured_is_read_as_metrics(
    bench: Any, make_picture: Callable[..., bytes]
) -> None:
    truth = Detections.from_yolo(FOUND, ("scratch", "dent"), SIZE)

    told = measure(Detector(bench.onnx()), [Photo(make_picture, truth)])

    read = VersionMetrics.model_validate(told)
    assert (read.precision, read.recall, read.f1) == (1, 1, 1)
    assert read.ms_per_image is not None
    assert {len(curve) for curve in told["curves"].values()} == {101}
