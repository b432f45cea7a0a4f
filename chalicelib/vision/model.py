"""An ONNX model as ultralytics exports it: the session, and what its metadata says."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from chalicelib.errors import InvalidModel

HOW_TO_EXPORT = "export it with ultralytics: yolo export model=best.pt format=onnx dynamic=True"
LARGEST_SIDE = 8192
BROKEN = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


@dataclass(frozen=True)
class ModelFacts:
    """What a model says of itself.

    Attributes
    ----------
    class_names : tuple[str, ...]
    shape : tuple[int, int]
        Height and width of the input in pixels.
    stride : int
    dynamic : bool
        The input's height and width may vary.
    batch : int or None
        How many images a run takes; ``None``: any.
    half : bool
        The input is float16.
    end_to_end : bool
        The metadata says that the network suppresses overlaps itself.
    rows : int or None
        The output's second dimension where it is fixed.
    input, output : str
        The names of the picture's tensor and of the boxes'.
    """

    class_names: tuple[str, ...]
    shape: tuple[int, int]
    stride: int
    dynamic: bool
    batch: int | None
    half: bool
    end_to_end: bool
    rows: int | None
    input: str
    output: str


def open_model(model: bytes | Path, threads: int) -> tuple[ort.InferenceSession, ModelFacts]:
    """Open a model on the CPU.

    Raises
    ------
    InvalidModel
        It is no ONNX file, not for detection, or its metadata is missing or garbled.
    """
    try:
        session = ort.InferenceSession(
            model, _session_options(threads), providers=["CPUExecutionProvider"]
        )
        return session, _facts(session)
    except (*BROKEN, UnicodeDecodeError) as error:
        raise InvalidModel(f"this ONNX file does not load: {error}") from error


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait sleep: where cores are shared or rationed, spinning makes a run slower.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _facts(session: ort.InferenceSession) -> ModelFacts:
    if not session.get_inputs() or not session.get_outputs():
        raise InvalidModel("the network has no input or no output")
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    task = metadata.get("task", "detect")
    if task != "detect":
        raise InvalidModel(f"the model is for the task {task!r}; only detection models are served")
    batch, height, width, dtype = _input(session)
    names, stride = _class_names(metadata), _stride(metadata)
    static = isinstance(height, int) and isinstance(width, int)
    output = session.get_outputs()[0]
    return ModelFacts(
        class_names=names,
        shape=(height, width) if static else _shape(metadata, stride),
        stride=stride,
        dynamic=not static,
        batch=batch if isinstance(batch, int) else None,
        half=dtype == "tensor(float16)",
        end_to_end=metadata.get("end2end", "").lower() == "true",
        rows=_rows(output.shape),
        input=session.get_inputs()[0].name,
        output=output.name,
    )


def _input(session: ort.InferenceSession) -> tuple[Any, Any, Any, str]:
    """Return the batch, height and width that the model takes, ints where fixed, and its dtype."""
    entry = session.get_inputs()[0]
    sides = [side for side in entry.shape if isinstance(side, int)]
    if (
        len(entry.shape) != 4
        or entry.shape[1] not in {3, "channels", None}
        or entry.type not in {"tensor(float)", "tensor(float16)"}
        or not all(1 <= side <= LARGEST_SIDE for side in sides)
    ):
        raise InvalidModel(
            "the input must be floats of shape [batch, 3, height, width], "
            f"got {entry.type} of {entry.shape}"
        )
    batch, _, height, width = entry.shape
    return batch, height, width, entry.type


def _rows(output: Sequence[Any]) -> int | None:
    return output[1] if len(output) == 3 and isinstance(output[1], int) else None


def _literal(metadata: dict[str, str], key: str) -> Any:
    """Read a metadata entry, which is written in Python's notation."""
    if key not in metadata:
        raise InvalidModel(f"the model's metadata has no {key!r}: {HOW_TO_EXPORT}")
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InvalidModel(f"the metadata's {key!r} cannot be read: {HOW_TO_EXPORT}") from error


def _class_names(metadata: dict[str, str]) -> tuple[str, ...]:
    names = _literal(metadata, "names")
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or set(names) != set(range(len(names))):
        raise InvalidModel(f"the metadata's 'names' must number the classes from 0, got {names}")
    return tuple(str(names[class_id]) for class_id in range(len(names)))


def _shape(metadata: dict[str, str], stride: int) -> tuple[int, int]:
    """Return the input's height and width, rounded up to the stride as ultralytics does."""
    size = _literal(metadata, "imgsz")
    sides = [size, size] if isinstance(size, int) else size
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in sides)
    ):
        raise InvalidModel(f"the metadata's 'imgsz' must be two sides in pixels, got {size}")
    height, width = (-(-side // stride) * stride for side in sides)
    return height, width


def _stride(metadata: dict[str, str]) -> int:
    stride = _literal(metadata, "stride")
    if not isinstance(stride, int | float) or not 1 <= stride <= 256:
        raise InvalidModel(f"the metadata's 'stride' must be a number of pixels, got {stride}")
    return int(stride)
