"""Measures the score of a submission: vectorised, against the plain loop over the formula.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --boxes 20 --rounds 1000

Each size has as many predicted as submitted boxes of five classes, most slightly moved, some
deleted, added and relabelled. The three take turns, round by round; a ratio is the median of the
rounds' ratios:

    loop     the formula as it is written, one pair of boxes at a time
    score    customization_score
    judge    the score, what was changed, the second signal, and the words for it
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.trust import ClassedBoxes, customization_score, judge  # noqa: E402

SIZES = (1, 20, 300)
CLASSES = 5
APS = (0.9, 0.75, 0.6, 0.3, None)
Box = tuple[float, float, float, float]
Labelled = tuple[int, Box]


def plain_iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, xyxy."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def plain_class_score(
    class_id: int, predicted: list[Labelled], submitted: list[Labelled], ap: float
) -> float:
    """Return s_c, pair by pair."""
    theirs = [box for known, box in submitted if known == class_id]
    best = [
        max((plain_iou(box, other) for other in theirs), default=0.0)
        for known, box in predicted
        if known == class_id
    ]
    distance = max(1 - math.fsum(best) / len(best), 0.0)
    return float((ap**0.4 * distance**0.6) ** (1 / (0.4 + 0.6)))


def plain_score(
    predicted: list[Labelled], submitted: list[Labelled], aps: Sequence[float | None] | None
) -> float:
    """Return the customization score as the formula is written; the tests compare with it too."""
    if not aps or not (predicted or submitted):
        return 0.0
    if not predicted:
        return 1.0
    scores = []
    for class_id in {class_id for class_id, _ in predicted}:
        ap = aps[class_id] if class_id < len(aps) else None
        believed = 0.0 if ap is None or math.isnan(ap) else ap
        scores.append(plain_class_score(class_id, predicted, submitted, believed))
    return math.fsum(s**3 for s in scores) / (math.fsum(s**2 for s in scores) + 1e-5)


def plain(boxes: ClassedBoxes) -> list[Labelled]:
    """Return boxes as the plain loop takes them."""
    rows = (tuple(row) for row in boxes.xyxy.tolist())
    return list(zip(boxes.class_id.tolist(), rows, strict=True))


def submission(count: int, seed: int = 0) -> tuple[ClassedBoxes, ClassedBoxes]:
    """Return so many predicted boxes and a person's mending of them, in a 4000 x 3000 photo."""
    rng = np.random.default_rng(seed)
    corner = rng.random((count, 2)) * (3600, 2600)
    size = rng.random((count, 2)) * 380 + 20
    predicted = np.hstack([corner, corner + size])
    class_id = rng.integers(0, CLASSES, count)
    moved = predicted + rng.normal(0, 4, (count, 4))
    strange = rng.random(count) < 0.1  # deleted here and added elsewhere
    moved[strange] = np.roll(moved[strange], 2, axis=0) + 37
    relabelled = np.where(rng.random(count) < 0.05, (class_id + 1) % CLASSES, class_id)
    return ClassedBoxes(predicted, class_id), ClassedBoxes(moved, relabelled)


def take_turns(turns: Mapping[str, Callable[[], object]], rounds: int) -> Mapping[str, list[float]]:
    """Return the milliseconds of each round, after one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds + 1):
        for name, turn in turns.items():
            start = time.perf_counter()
            turn()
            spent[name].append((time.perf_counter() - start) * 1000)
    return {name: times[1:] for name, times in spent.items()}


def measure(count: int, rounds: int) -> str:
    """Return one row of the table."""
    predicted, submitted = submission(count)
    flat = plain(predicted), plain(submitted)
    spent = take_turns(
        {
            "loop": lambda: plain_score(*flat, APS),
            "score": lambda: customization_score(predicted, submitted, APS),
            "judge": lambda: judge(predicted, submitted, APS),
        },
        rounds,
    )
    cells = [f"{statistics.median(times):.3f}" for times in spent.values()]
    ratios = [loop / ours for loop, ours in zip(spent["loop"], spent["score"], strict=True)]
    return f"| {count} | {' | '.join(cells)} | {statistics.median(ratios):.2f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; numpy "
        f"{np.__version__}; medians of {given.rounds} rounds, milliseconds\n"
    )
    print("| boxes a side | loop | score | judge | loop / score |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for count in given.boxes:
        print(measure(count, given.rounds), flush=True)


if __name__ == "__main__":
    main()
