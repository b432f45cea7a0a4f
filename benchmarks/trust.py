"""Measures how many submissions of honest and of hostile people the trust signals hold back.

    python benchmarks/trust.py                        # on drawn tags
    python benchmarks/trust.py --photos FOLDER        # on photos: images and labels.csv
    python benchmarks/trust.py --photos FOLDER --aps 0.9 0.6 0.3

The bundled model predicts; an honest person's answer is the photo's own labels, a hostile one's is
made from them or from the prediction. Each answer is judged as a submission is: which share of
them is suspicious (counts towards a ban), which waits for a person, and which is accepted. The
validation AP is the one that the model's metrics state, or each of --aps in turn: what if its
predictions came from a model known to be so good.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.labels.label_store_csv import newest, read_label_store_csv  # noqa: E402
from chalicelib.trust import ClassedBoxes, Verdict, judge  # noqa: E402
from chalicelib.vision import Detector  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

MODEL = ROOT / "models/scratch"
SEED = 900_000  # the model was trained on tags of other seeds
WIDTH, HEIGHT = 450, 300
Corners = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Photo:
    """What the model found and what is there, xyxy [N, 4] each; all of class 0."""

    predicted: Corners
    labelled: Corners


def spurious(count: int, rng: np.random.Generator) -> Corners:
    """Return boxes anywhere, of 10 to 160 by 10 to 110 pixels."""
    corner = rng.random((count, 2)) * (WIDTH - 40, HEIGHT - 40)
    return np.hstack([corner, corner + rng.random((count, 2)) * (150, 100) + 10])


def pushed(boxes: Corners, share: float, rng: np.random.Generator) -> Corners:
    """Return boxes moved by a share of their size, each in a direction of its own."""
    sides = boxes[:, 2:] - boxes[:, :2]
    way = rng.choice([-1.0, 1.0], sides.shape) * share * sides
    return boxes + np.hstack([way, way])


Answer = Callable[[Photo, np.random.Generator], Corners]
HONEST: Mapping[str, Answer] = {
    "honest: labels the photo": lambda photo, _: photo.labelled,
    "honest: confirms": lambda photo, _: photo.predicted,
}
HOSTILE: Mapping[str, Answer] = {
    "deletes all": lambda photo, _: photo.labelled[:0],
    "deletes half": lambda photo, _: photo.labelled[: len(photo.labelled) // 2],
    "random boxes": lambda photo, rng: spurious(max(len(photo.labelled), 1), rng),
    "moves all by 0.1 of their size": lambda photo, rng: pushed(photo.predicted, 0.1, rng),
    "moves all by 0.3": lambda photo, rng: pushed(photo.predicted, 0.3, rng),
    "moves all by 0.5": lambda photo, rng: pushed(photo.predicted, 0.5, rng),
    "adds 1": lambda photo, rng: np.vstack([photo.predicted, spurious(1, rng)]),
    "adds 3": lambda photo, rng: np.vstack([photo.predicted, spurious(3, rng)]),
    "adds 5": lambda photo, rng: np.vstack([photo.predicted, spurious(5, rng)]),
    "adds 15": lambda photo, rng: np.vstack([photo.predicted, spurious(15, rng)]),
}


def drawn(count: int) -> Iterator[tuple[bytes, Corners]]:
    """Draw photos, as JPEG, with their labels."""
    for seed in range(SEED, SEED + count):
        tag = draw_tag(seed)
        buffer = BytesIO()
        tag.image.save(buffer, "JPEG", quality=90)
        yield buffer.getvalue(), tag.xyxy


def stored(folder: Path) -> Iterator[tuple[bytes, Corners]]:
    """Read photos with the labels that people gave them."""
    text = (folder / "labels.csv").read_text(encoding="utf-8")
    for image in newest(read_label_store_csv(text)):
        yield (folder / image.source_ref).read_bytes(), image.xyxy


def predictions(photos: Iterator[tuple[bytes, Corners]]) -> list[Photo]:
    """Let the bundled model look at the photos."""
    detector = Detector(MODEL / "model.onnx")
    return [
        Photo(detector.detect(image).detections.xyxy.astype(np.float64), labelled)
        for image, labelled in photos
    ]


def row(name: str, answer: Answer, photos: list[Photo], ap: float) -> str:
    """Return one row of the table: what becomes of this answer to every photo."""
    rng = np.random.default_rng(0)
    suspicious = waiting = 0
    for photo in photos:
        predicted, submitted = (_scratches(each) for each in (photo.predicted, answer(photo, rng)))
        judgement = judge(predicted, submitted, [ap])
        suspicious += judgement.suspicious
        waiting += judgement.verdict is Verdict.QUARANTINE
    shares = (suspicious, waiting - suspicious, len(photos) - waiting)
    return f"| {name} | {' | '.join(f'{100 * each / len(photos):.1f} %' for each in shares)} |"


def _scratches(boxes: Corners) -> ClassedBoxes:
    return ClassedBoxes(boxes, np.zeros(len(boxes), np.int64))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of images with its labels.csv")
    parser.add_argument("--drawn", type=int, default=200, help="how many to draw, without --photos")
    parser.add_argument("--aps", type=float, nargs="+", help="of the class, instead of the stated")
    given = parser.parse_args()
    stated = json.loads((MODEL / "metrics.json").read_text(encoding="utf-8"))["mAP50"]
    photos = predictions(stored(given.photos) if given.photos else drawn(given.drawn))
    found = sum(len(photo.predicted) for photo in photos)
    there = sum(len(photo.labelled) for photo in photos)
    print(f"{len(photos)} photos, {there} labelled boxes, {found} predicted")
    for ap in given.aps or [stated]:
        print(f"\n| AP {ap} | suspicious | waits, no suspect | accepted |")
        print("| --- | ---: | ---: | ---: |")
        for name, answer in {**HONEST, **HOSTILE}.items():
            print(row(name, answer, photos, ap), flush=True)


if __name__ == "__main__":
    main()
