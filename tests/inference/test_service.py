"""Detectors kept warm: loaded once, replaced when another version serves, never all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.catalog import Catalog
from chalicelib.errors import (
    InvalidImage,
    ModelNotFound,
    ModelUnavailable,
    OutOfTime,
    StorageUnavailable,
    TruncatedImage,
)
from chalicelib.inference import Answer, Inference
from chalicelib.inference.service import BATCH_SECONDS, RETRY_SECONDS
from chalicelib.vision import DetectionOptions

Clock = Any
WatchedStore = Any
Publish = Callable[..., int]
Break = Callable[[bytes | None], None]
OPTIONS = DetectionOptions()
A_WARM_LAMBDA_SEES_IT_WITHIN = 30


@pytest.fixture
def inference(catalog: Catalog, clock: Clock) -> Inference:
    return Inference(catalog, keep=2, threads=1, clock=clock)


@pytest.fixture
def image(make_picture: Callable[..., bytes]) -> bytes:
    return make_picture()


def test_an_answer_has_the_shape_that_other_programs_rely_on(
    inference: Inference, publish: Publish, make_picture: Callable[..., bytes]
) -> None:
    publish(0.75)

    told = inference.detect("scratch", make_picture((128, 64)), OPTIONS).to_json()

    timing = told.pop("timing_ms")
    assert told == {
        "model": "scratch",
        "version": 1,
        "image": {"width": 128, "height": 64},
        "detections": [
            {
                "class_id": 0,
                "class_name": "scratch",
                "confidence": 0.75,
                "box": {"x1": 16.0, "y1": 16.0, "x2": 48.0, "y2": 40.0},
            }
        ],
    }
    assert list(timing) == ["decode", "preprocess", "inference", "postprocess"]


def test_weights_are_read_once_while_warm(
    inference: Inference, publish: Publish, store: WatchedStore, image: bytes
) -> None:
    publish()

    for _ in range(5):
        inference.detect("scratch", image, OPTIONS)

    assert store.weights_read == ["models/scratch/versions/1/model.onnx"]


def test_a_new_live_version_serves_within_thirty_seconds(
    inference: Inference, publish: Publish, clock: Clock, image: bytes
) -> None:
    publish(0.9)
    assert inference.detect("scratch", image, OPTIONS).version == 1
    publish(0.8)

    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN
    answer = inference.detect("scratch", image, OPTIONS)

    assert answer.version == 2
    assert answer.to_json()["detections"][0]["confidence"] == pytest.approx(0.8, abs=1e-3)


def test_an_unchanged_version_is_not_loaded_again(
    inference: Inference, publish: Publish, clock: Clock, store: WatchedStore, image: bytes
) -> None:
    publish()
    for _ in range(4):
        inference.detect("scratch", image, OPTIONS)
        clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN

    assert len(store.weights_read) == 1


def test_only_so_many_models_stay_in_memory(
    inference: Inference, publish: Publish, store: WatchedStore, image: bytes
) -> None:
    for name in ("a", "b", "c"):
        publish(name=name)
    for name in ("a", "b", "a", "c"):  # keeps two: b was not used for longest
        inference.detect(name, image, OPTIONS)
    store.weights_read.clear()

    inference.detect("a", image, OPTIONS)
    inference.detect("c", image, OPTIONS)
    assert store.weights_read == []
    inference.detect("b", image, OPTIONS)
    assert store.weights_read == ["models/b/versions/1/model.onnx"]


def test_a_model_that_nobody_knows_is_not_found(inference: Inference, image: bytes) -> None:
    with pytest.raises(ModelNotFound):
        inference.detect("nothing", image, OPTIONS)


@pytest.mark.parametrize("garbage", [b"", b"not onnx", b"\x08\x08" * 50])
def test_broken_weights_are_told_and_not_read_over_and_over(
    inference: Inference,
    publish: Publish,
    break_live_version: Break,
    store: WatchedStore,
    image: bytes,
    garbage: bytes,
) -> None:
    publish()
    break_live_version(garbage)

    for _ in range(5):
        with pytest.raises(ModelUnavailable, match="version 1 of the model 'scratch'"):
            inference.detect("scratch", image, OPTIONS)

    assert len(store.weights_read) == 1


def test_broken_weights_that_were_mended_serve_again(
    inference: Inference,
    publish: Publish,
    break_live_version: Break,
    make_model: Callable[..., bytes],
    clock: Clock,
    image: bytes,
) -> None:
    publish()
    break_live_version(b"not onnx")
    with pytest.raises(ModelUnavailable):
        inference.detect("scratch", image, OPTIONS)

    break_live_version(make_model())
    clock.seconds += RETRY_SECONDS

    assert inference.detect("scratch", image, OPTIONS).version == 1


def test_missing_weights_are_told(
    inference: Inference, publish: Publish, store: WatchedStore, image: bytes
) -> None:
    publish()
    store.delete("models/scratch/versions/1/model.onnx")

    with pytest.raises(ModelUnavailable):
        inference.detect("scratch", image, OPTIONS)


@pytest.mark.parametrize("broken", [b"not onnx", None], ids=["does not load", "does not run"])
def test_a_new_version_that_cannot_detect_leaves_the_old_one_serving(
    inference: Inference,
    publish: Publish,
    break_live_version: Break,
    clock: Clock,
    store: WatchedStore,
    image: bytes,
    broken: bytes | None,
) -> None:
    publish(0.9)
    inference.detect("scratch", image, OPTIONS)
    publish(0.8)
    break_live_version(broken)
    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN

    for _ in range(3):
        assert inference.detect("scratch", image, OPTIONS).version == 1
    assert len(store.weights_read) == 1

    publish(0.7)
    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN
    assert inference.detect("scratch", image, OPTIONS).version == 3


def test_while_the_store_fails_the_warm_version_serves_on(
    inference: Inference, publish: Publish, clock: Clock, store: WatchedStore, image: bytes
) -> None:
    def fail() -> None:
        raise StorageUnavailable("no answer")

    publish(0.9)
    inference.detect("scratch", image, OPTIONS)
    publish(0.8)
    store.before_weights = fail
    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN

    assert inference.detect("scratch", image, OPTIONS).version == 1

    store.before_weights = lambda: None
    clock.seconds += RETRY_SECONDS
    assert inference.detect("scratch", image, OPTIONS).version == 2


def test_a_version_that_stops_running_is_told(
    inference: Inference,
    publish: Publish,
    break_live_version: Break,
    image: bytes,
) -> None:
    publish()
    break_live_version(None)

    with pytest.raises(ModelUnavailable):
        inference.detect("scratch", image, OPTIONS)
    with pytest.raises(ModelUnavailable):
        inference.prove("scratch")


def test_many_callers_at_once_load_a_version_once(
    inference: Inference, publish: Publish, store: WatchedStore, image: bytes
) -> None:
    publish()
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(inference.detect("scratch", image, OPTIONS)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.version for answer in answers] == [1] * 8
    assert len(store.weights_read) == 1


def test_while_a_new_version_loads_the_old_one_answers(
    inference: Inference, publish: Publish, clock: Clock, store: WatchedStore, image: bytes
) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        loading.set()
        assert go_on.wait(30)

    publish(0.9)
    inference.detect("scratch", image, OPTIONS)
    publish(0.8)
    store.before_weights = wait
    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN
    first: list[Answer] = []
    loader = threading.Thread(
        target=lambda: first.append(inference.detect("scratch", image, OPTIONS))
    )
    loader.start()
    assert loading.wait(30)

    meanwhile = inference.detect("scratch", image, OPTIONS)
    go_on.set()
    loader.join()

    assert (meanwhile.version, first[0].version) == (1, 2)


def test_a_bad_picture_among_several_spoils_no_other(
    inference: Inference, publish: Publish, image: bytes
) -> None:
    publish()

    batch = inference.detect_each("scratch", [image, image[:-40], b"", image], OPTIONS)

    assert batch.version == 1
    assert [isinstance(answer, InvalidImage) for answer in batch.answers] == [
        False,
        True,
        True,
        False,
    ]
    assert isinstance(batch.answers[1], TruncatedImage)


def test_pictures_that_a_call_has_no_time_for_are_named(
    catalog: Catalog, publish: Publish, image: bytes
) -> None:
    publish()
    ticks = iter([0.0, 0.0, 1.0, BATCH_SECONDS + 1, BATCH_SECONDS + 2])
    hurried = Inference(catalog, keep=1, threads=1, clock=lambda: next(ticks))

    batch = hurried.detect_each("scratch", [image] * 4, OPTIONS)

    assert [type(answer) for answer in batch.answers] == [Answer, Answer, OutOfTime, OutOfTime]


def test_proving_detects_once_for_each_version(
    inference: Inference, publish: Publish, clock: Clock
) -> None:
    publish(0.9)
    assert inference.prove("scratch") == inference.prove("scratch") == 1
    publish(0.8)
    clock.seconds += A_WARM_LAMBDA_SEES_IT_WITHIN
    assert inference.prove("scratch") == 2
