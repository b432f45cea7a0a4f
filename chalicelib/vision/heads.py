"""What the network's output means: the heads of the YOLO families, as rows of boxes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.errors import InvalidModel
from chalicelib.vision.model import ModelFacts
from chalicelib.vision.overlap import suppress

MAX_CANDIDATES = 30_000  # the most confident that enter suppression, as in ultralytics
FINEST_STRIDE = 8
ANCHORS_PER_CELL = 3

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]
Int64 = npt.NDArray[np.int64]


class Head(Enum):
    """The layouts of the output, N candidates and nc classes."""

    ANCHOR_BASED = "YOLOv5: [batch, N, 5+nc], cx cy w h objectness scores"
    ANCHOR_FREE = "YOLOv8, YOLO11: [batch, 4+nc, N], cx cy w h scores"
    END_TO_END = "YOLOv10, YOLO26: [batch, K, 6], x1 y1 x2 y2 confidence class"


@dataclass(frozen=True)
class Candidates:
    """Boxes in pixels of the input, most confident first.

    Attributes
    ----------
    xyxy : float32 [N, 4]
    confidence : float32 [N]
    class_id : int64 [N]
    """

    xyxy: Float32
    confidence: Float32
    class_id: Int64


def recognise(output: tuple[int, ...], facts: ModelFacts, shape: tuple[int, int]) -> Head:
    """Tell which head gave an output.

    A YOLOv5 model of one class has rows of six as an end-to-end one has, and is told from it by
    its number of rows: three for each cell of the grids.

    Parameters
    ----------
    output : tuple[int, int, int]
        Shape of the output.
    facts : ModelFacts
    shape : tuple[int, int]
        Height and width of the input.

    Raises
    ------
    InvalidModel
        The output is none of these.
    """
    classes = len(facts.class_names)
    if len(output) != 3:
        raise InvalidModel(f"the output has shape {output}, not that of a detection head")
    _, rows, columns = output
    if facts.end_to_end and columns == 6:
        return Head.END_TO_END
    if columns == 5 + classes and rows == ANCHORS_PER_CELL * cells(shape, facts.stride):
        return Head.ANCHOR_BASED
    if rows == 4 + classes:
        return Head.ANCHOR_FREE
    if columns == 6:
        return Head.END_TO_END
    if columns == 5 + classes:
        return Head.ANCHOR_BASED
    raise InvalidModel(
        f"the output has shape {output}; a detection head of {classes} classes has "
        f"[batch, {4 + classes}, N], [batch, N, {5 + classes}] or [batch, K, 6]"
    )


def cells(shape: tuple[int, int], stride: int) -> int:
    """Return how many cells the grids have: strides 8, 16, 32 and so on to the coarsest."""
    doublings = max(stride // FINEST_STRIDE, 1).bit_length()
    strides = [FINEST_STRIDE << doubling for doubling in range(doublings)]
    return sum((shape[0] // each) * (shape[1] // each) for each in strides)


def decode(output: Floats, head: Head, confidence: float, iou: float, limit: int) -> Candidates:
    """Turn one image's output into boxes: threshold, suppress, cut to the best ``limit``.

    Parameters
    ----------
    output : float32 or float16, the head's layout without the batch
    confidence : float
        Keep what is above.
    iou : float
        Suppression threshold; an end-to-end head needs none.
    """
    if head is Head.END_TO_END:
        rows = output[output[:, 4] > confidence].astype(np.float32)
        rows = rows[np.argsort(-rows[:, 4], kind="stable")][:limit]
        with np.errstate(invalid="ignore"):  # a class that is not finite is refused later
            return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
    if head is Head.ANCHOR_BASED:
        cxcywh, scores = _anchor_based(output, confidence)
    else:
        cxcywh, scores = output[:4], output[4:].astype(np.float32, copy=False)
    best = scores[0] if len(scores) == 1 else scores.max(axis=0)
    chosen = np.flatnonzero(best > confidence)
    chosen = chosen[np.argsort(-best[chosen], kind="stable")][:MAX_CANDIDATES]
    class_id = scores[:, chosen].argmax(axis=0)
    xyxy = _corners(cxcywh[:, chosen])
    kept = suppress(xyxy, class_id, iou, limit)
    return Candidates(xyxy[kept], best[chosen][kept], class_id[kept])


def _anchor_based(output: Floats, confidence: float) -> tuple[Floats, Float32]:
    """Return boxes [4, N] and scores [nc, N], objectness multiplied in."""
    rows = output[output[:, 4] > confidence].T
    return rows[:4], (rows[5:] * rows[4]).astype(np.float32, copy=False)


def _corners(cxcywh: Floats) -> Float32:
    """Return xyxy [N, 4] of centres and sizes [4, N], rounded as the network's type rounds."""
    centre, half = cxcywh[:2], cxcywh[2:] / 2
    return np.concatenate([centre - half, centre + half]).T.astype(np.float32, copy=False)
