"""Image bytes to boxes, with graphs whose output is known."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chalicelib.errors import InvalidModel, InvalidRequest, NotAnImage, TooManyPixels
from chalicelib.vision import DetectionOptions, Detector

BUNDLED = Path(__file__).parents[2] / "models/scratch/model.onnx"
# In a 64x64 input: the middle quarter, then its left half, of the other class.
ROWS = np.array([[16, 16, 48, 48, 0.9, 0], [16, 16, 32, 48, 0.6, 1], [0, 0, 1, 1, 0.1, 0]])


def as_anchor_free(rows: np.ndarray) -> np.ndarray:
    centre, size = (rows[:, :2] + rows[:, 2:4]) / 2, rows[:, 2:4] - rows[:, :2]
    scores = np.eye(2)[rows[:, 5].astype(int)] * rows[:, 4:5]
    return np.hstack([centre, size, scores]).T


def as_anchor_based(rows: np.ndarray) -> np.ndarray:
    columns = as_anchor_free(rows).T
    return np.hstack([columns[:, :4], np.ones((len(rows), 1)), columns[:, 4:]])


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("layout", [np.array, as_anchor_free, as_anchor_based])
def test_boxes_come_in_pixels_of_the_original(layout, half, make_model, photo, encode) -> None:
    detector = Detector(make_model(layout(ROWS), half=half))

    found = detector.detect(encode(photo(200, 100))).detections

    # 200x100 lies in the input's 64x32 middle rows: 16..48 are x 50..150 and all of y.
    assert found.xyxy.tolist() == [[50, 0, 150, 100], [50, 0, 100, 100]]
    assert found.confidence == pytest.approx([0.9, 0.6], abs=1e-3)
    assert found.class_id.tolist() == [0, 1]
    assert found.class_names == ("scratch", "dent")
    assert found.image_size == (200, 100)


def test_boxes_of_a_photo_that_lies_on_its_side_are_upright(make_model, photo, encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    found = Detector(make_model(ROWS)).detect(encode(photo(200, 100), "JPEG", exif=exif)).detections

    assert found.image_size == (100, 200)
    assert found.xyxy[0].tolist() == [0, 50, 100, 150]


def test_options_filter(make_model, photo, encode) -> None:
    detector, data = Detector(make_model(ROWS)), encode(photo(64, 64))

    def count(**options) -> int:
        return len(detector.detect(data, DetectionOptions(**options)).detections)

    assert count() == 2
    assert count(confidence=0.05) == 3
    assert count(confidence=0.7) == 1
    assert count(confidence=1.0) == 0
    assert count(max_detections=1) == 1


def test_one_forward_pass_gives_both_the_callers_boxes_and_the_reference(
    make_model, photo, encode
) -> None:
    detector, data = Detector(make_model(ROWS)), encode(photo(64, 64))
    forward, passes = detector.forward, []
    detector.forward = lambda blob: passes.append(blob) or forward(blob)
    own = DetectionOptions()

    found = detector.detect(data, DetectionOptions(confidence=0.05), own)

    assert len(passes) == 1
    assert (len(found.detections), len(found.reference)) == (3, 2)
    assert found.reference.to_json() == detector.detect(data, own).detections.to_json()
    assert detector.detect(data).reference is None


@pytest.mark.parametrize(("iou", "count"), [(0.49, 1), (0.51, 2)])
def test_overlap_within_a_class_is_suppressed_above_the_threshold(
    iou, count, make_model, photo, encode
) -> None:
    rows = ROWS[:2] * [1, 1, 1, 1, 1, 0]
    detector = Detector(make_model(as_anchor_free(rows)))

    found = detector.detect(encode(photo(64, 64)), DetectionOptions(iou=iou)).detections

    assert len(found) == count


@pytest.mark.parametrize(
    "options",
    [
        {"confidence": -0.1},
        {"confidence": 1.1},
        {"confidence": math.nan},
        {"iou": -1},
        {"iou": math.inf},
        {"max_detections": 0},
        {"max_detections": 10_001},
        {"max_pixels": 0},
    ],
)
def test_options_out_of_range_are_refused(options) -> None:
    with pytest.raises(InvalidRequest, match="must be"):
        DetectionOptions(**options)


@pytest.mark.parametrize("fixed", [None, 1, 2, 4])
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_batch_gives_what_each_picture_gives_alone(
    fixed, dynamic, make_model, photo, encode
) -> None:
    detector = Detector(make_model(as_anchor_free(ROWS), batch=fixed, dynamic=dynamic))
    sizes = [(64, 64), (200, 100), (64, 64), (100, 200), (31, 77), (200, 100), (400, 200)]
    images = [encode(photo(*size, seed)) for seed, size in enumerate(sizes)]

    together = detector.detect_batch(images)

    assert [each.detections.image_size for each in together] == sizes
    for image, each in zip(images, together, strict=True):
        alone = detector.detect(image).detections
        assert np.array_equal(each.detections.xyxy, alone.xyxy)
        assert np.array_equal(each.detections.confidence, alone.confidence)


def test_an_empty_batch_gives_nothing(make_model) -> None:
    assert Detector(make_model(ROWS)).detect_batch([]) == []


def test_a_bad_picture_in_a_batch_is_named(make_model, photo, encode) -> None:
    detector = Detector(make_model(ROWS))

    with pytest.raises(NotAnImage, match=r"^image 1: "):
        detector.detect_batch([encode(photo(9, 9)), b"no image"])
    with pytest.raises(NotAnImage, match=r"^the bytes"):
        detector.detect(b"no image")


def test_the_pixel_limit_is_an_option(make_model, photo, encode) -> None:
    with pytest.raises(TooManyPixels):
        Detector(make_model(ROWS)).detect(encode(photo(9, 9)), DetectionOptions(max_pixels=80))


def test_each_step_is_timed(make_model, photo, encode) -> None:
    timing = Detector(make_model(ROWS)).detect(encode(photo(640, 480))).timing

    assert timing.decode > 0
    assert timing.preprocess > 0
    assert timing.inference > 0
    assert timing.postprocess > 0


@pytest.mark.parametrize(("column", "value"), [(0, math.nan), (5, math.nan), (5, math.inf)])
def test_impossible_boxes_are_the_models_fault(column, value, make_model, photo, encode) -> None:
    rows = ROWS.copy()
    rows[0, column] = value

    with pytest.raises(InvalidModel, match="impossible boxes"):
        Detector(make_model(rows)).detect(encode(photo(64, 64)))


def test_a_class_beyond_the_names_is_the_models_fault(make_model, photo, encode) -> None:
    rows = ROWS.copy()
    rows[0, 5] = 2

    with pytest.raises(InvalidModel, match="impossible boxes"):
        Detector(make_model(rows)).detect(encode(photo(64, 64)))


def test_an_output_that_is_no_head_is_the_models_fault(make_model, photo, encode) -> None:
    with pytest.raises(InvalidModel, match="detection head"):
        Detector(make_model(np.zeros((9, 9)))).detect(encode(photo(64, 64)))


def test_one_detector_serves_several_threads(photo, encode) -> None:
    detector = Detector(BUNDLED, threads=1)
    images = [encode(photo(160 + 32 * seed, 128, seed)) for seed in range(4)]
    options = DetectionOptions(confidence=0.001)
    expected = [detector.detect(image, options).detections.xyxy for image in images]
    got: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        got[index] = detector.detect(images[index], options).detections.xyxy

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert any(len(boxes) for boxes in expected)
    assert all(np.array_equal(got[index], expected[index]) for index in range(4))


def test_the_bundled_model_says_what_it_is() -> None:
    detector = Detector(BUNDLED)

    assert detector.class_names == ("scratch",)
    assert detector.facts.dynamic
    assert detector.facts.batch is None
