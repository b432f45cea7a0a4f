"""What a model says of itself is read, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chalicelib.errors import InvalidModel
from chalicelib.vision import Detector

ROWS = np.zeros((300, 6))


def test_names_size_and_stride_come_from_the_metadata(make_model) -> None:
    model = make_model(
        ROWS, names=("a", "b", "c"), dynamic=True, metadata={"imgsz": "[480, 640]", "stride": "64"}
    )

    facts = Detector(model).facts

    assert facts.class_names == ("a", "b", "c")
    assert facts.shape == (512, 640)  # rounded up to the stride
    assert facts.stride == 64
    assert facts.dynamic
    assert facts.batch is None
    assert not facts.half


def test_a_fixed_input_rules_over_the_metadata(make_model) -> None:
    facts = Detector(make_model(ROWS, side=96, batch=4, metadata={"imgsz": "[640, 640]"})).facts

    assert facts.shape == (96, 96)
    assert facts.batch == 4
    assert not facts.dynamic


def test_half_precision_is_seen(make_model) -> None:
    assert Detector(make_model(ROWS, half=True)).facts.half


def test_a_file_is_read_as_its_bytes_are(make_model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model(ROWS))

    assert Detector(path).class_names == Detector(path.read_bytes()).class_names


@pytest.mark.parametrize("names", ["['a', 'b']", "('a', 'b')", "{0: 'a', 1: 'b'}"])
def test_names_may_be_a_list_or_numbered(names: str, make_model) -> None:
    assert Detector(make_model(ROWS, metadata={"names": names})).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("names", None, "has no 'names'"),
        ("stride", None, "has no 'stride'"),
        ("imgsz", None, "has no 'imgsz'"),
        ("names", "{0: 'a'", "'names' cannot be read"),
        ("names", "__import__('os')", "'names' cannot be read"),
        ("names", "[" * 5000, "'names' cannot be read"),
        ("names", "{}", "must number the classes"),
        ("names", "{1: 'a'}", "must number the classes"),
        ("names", "{[]: 'a'}", "'names' cannot be read"),
        ("names", "7", "must number the classes"),
        ("stride", "0", "'stride' must be"),
        ("stride", "-32", "'stride' must be"),
        ("stride", "'32'", "'stride' must be"),
        ("stride", "1e99", "'stride' must be"),
        ("imgsz", "[640]", "'imgsz' must be"),
        ("imgsz", "[640, 0]", "'imgsz' must be"),
        ("imgsz", "[640, 1e9]", "'imgsz' must be"),
        ("imgsz", "[99999999, 640]", "'imgsz' must be"),
        ("imgsz", "None", "'imgsz' must be"),
        ("task", "segment", "only detection"),
    ],
)
def test_metadata_that_cannot_be_is_refused(key, value, says, make_model) -> None:
    with pytest.raises(InvalidModel, match=says):
        Detector(make_model(ROWS, dynamic=True, metadata={key: value}))


def test_missing_metadata_says_how_to_export(make_model) -> None:
    with pytest.raises(InvalidModel, match="yolo export"):
        Detector(make_model(ROWS, metadata={"names": None}))


@pytest.mark.parametrize("data", [b"", b"no model", b"\x00" * 100])
def test_other_bytes_are_no_model(data: bytes) -> None:
    with pytest.raises(InvalidModel, match="does not load"):
        Detector(data)


def test_a_model_that_breaks_off_is_refused(make_model) -> None:
    data = make_model(ROWS)

    with pytest.raises(InvalidModel):
        Detector(data[: len(data) // 2])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="does not load"):
        Detector(tmp_path / "absent.onnx")
