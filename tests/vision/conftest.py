"""Pictures of every kind and tiny ONNX graphs, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array as constant
from PIL import Image

Encode = Callable[..., bytes]

settings.register_profile("vision", deadline=None)  # a busy machine is no failure
settings.load_profile("vision")


@pytest.fixture(scope="session")
def photo() -> Callable[..., Image.Image]:
    """A picture with soft shapes and some grain, different for every seed."""

    def draw(width: int, height: int, seed: int = 0) -> Image.Image:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 4, (height, width, 1))
        return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))

    return draw


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Encode a picture: ``encode(image, "PNG", exif=…)``."""

    def save(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        buffer = BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return save


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    """Make an ONNX model whose output is always ``rows``, whatever the picture."""
    return constant_model


def constant_model(
    rows: Sequence[Sequence[float]] | np.ndarray,
    names: Sequence[str] = ("scratch", "dent"),
    *,
    side: int = 64,
    dynamic: bool = False,
    batch: int | None = None,
    half: bool = False,
    metadata: dict[str, str | None] | None = None,
) -> bytes:
    """Return output = rows + 0 * mean(input), so that the batch follows the input's."""
    dtype = np.float16 if half else np.float32
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    table = np.asarray(rows, dtype)[None]
    shape: list[Any] = [batch or "batch", 3, *(("height", "width") if dynamic else (side, side))]
    axes = constant(np.array([1, 2, 3]), "axes")
    flat = constant(np.array([-1, 1, 1]), "flat")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "flat"], ["column"]),
            helper.make_node("Add", ["column", "rows"], ["output0"]),
        ],
        "constant",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("output0", kind, [batch or "batch", *table.shape[1:]])],
        [axes, flat, constant(table, "rows"), constant(np.array(0, dtype), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    entries: dict[str, str | None] = {
        "names": repr(dict(enumerate(names))),
        "stride": "32",
        "imgsz": f"[{side}, {side}]",
        "task": "detect",
    } | (metadata or {})
    for key, value in entries.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    return model.SerializeToString()
