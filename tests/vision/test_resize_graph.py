"""The graph that resizes: what ships is what this file builds, and it resizes as OpenCV does.

``python tests/vision/test_resize_graph.py`` writes chalicelib/vision/resize.onnx anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chalicelib.vision import letterbox

SHIPPED = Path(__file__).parents[2] / "chalicelib/vision/resize.onnx"


def build() -> bytes:
    """Return the graph: pixels uint8 [1, H, W, 3] and sizes int64 [4] to float32 [1, 3, h, w]."""
    onnx = pytest.importorskip("onnx")
    make, kind = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node(
            "Resize",
            ["pixels", "", "", "sizes"],
            ["resized"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        make.make_node("Transpose", ["resized"], ["planes"], perm=[0, 3, 1, 2]),
        make.make_node("Cast", ["planes"], ["floats"], to=kind.FLOAT),
        make.make_node("Mul", ["floats", "scale"], ["input"]),
    ]
    graph = make.make_graph(
        nodes,
        "resize",
        [
            make.make_tensor_value_info("pixels", kind.UINT8, [1, "H", "W", 3]),
            make.make_tensor_value_info("sizes", kind.INT64, [4]),
        ],
        [make.make_tensor_value_info("input", kind.FLOAT, [1, 3, "h", "w"])],
        [make.make_tensor("scale", kind.FLOAT, [], [1 / 255])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def test_what_ships_is_what_this_file_builds() -> None:
    assert SHIPPED.read_bytes() == build()


@pytest.mark.parametrize(("size", "to"), [((97, 61), (40, 30)), ((30, 20), (96, 64))])
def test_it_resizes_bilinearly_without_antialiasing(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    box = letterbox.Letterbox(to[0] / size[0], to, 0, 0, (to[1], to[0]))
    blob = np.empty((3, to[1], to[0]), np.float32)

    letterbox.fill(blob, Image.fromarray(pixels), box, threads=1)

    expected = bilinear(pixels.astype(np.float64), to).transpose(2, 0, 1)
    assert np.abs(blob * 255 - expected).max() <= 1.5


def bilinear(pixels: np.ndarray, to: tuple[int, int]) -> np.ndarray:
    """Resize [H, W, 3] the plain way: half-pixel centres, two taps a side."""
    rows, row_weight = taps(pixels.shape[0], to[1])
    columns, column_weight = taps(pixels.shape[1], to[0])
    tall = (pixels[rows] * row_weight[..., None, None]).sum(axis=0)
    return (tall[:, columns] * column_weight[None, ..., None]).sum(axis=1)


def taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, source - 1)
    return np.stack([low, high]), np.stack([1 - (at - low), at - low])


if __name__ == "__main__":
    SHIPPED.write_bytes(build())
