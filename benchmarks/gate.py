"""How often the gate promotes by chance, and how often it sees a gain, with real detections.

    python benchmarks/gate.py --versions v1.onnx v2.onnx v3.onnx   # of `make demo`'s model

Detects drawn photos of the demo that nobody trained on with each version. Then plays trainings: the
"new" and the "live" version of each are made of what two versions found on photos drawn at random.

- no gain: on each photo it is drawn which of two versions is the new one, so neither is better
- a gain: the third version is the new one, the second serves
- a class falls: boxes are told apart by shape, as two classes; the new version finds those of one
  class as the first version does, on a share of the photos

Each figure is of `--trainings` trainings. Detections are kept in `--cache`, for they take longest.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.retrain.evidence import compare  # noqa: E402
from chalicelib.retrain.gate import Terms  # noqa: E402
from chalicelib.retrain.measuring import EVERYTHING  # noqa: E402
from chalicelib.vision import Detections, Detector  # noqa: E402
from chalicelib.vision.resampled import Scored  # noqa: E402
from local.demo.photos import HELD_OUT_SEED, photo  # noqa: E402

SIZE = (450, 300)
ONE, TWO = ("scratch",), ("flat", "steep")
FALLEN_SHARE = 0.05  # of the photos, on which a class is found as by the weakest version
Boxes = npt.NDArray[np.float32]
Seen = tuple[Boxes, list[tuple[Boxes, Boxes]]]  # what is there; of each version boxes, confidences
Pair = tuple[list[Detections], list[Detections]]


def detect(versions: Sequence[Path], count: int) -> list[Seen]:
    """Return what is on photos, and what each version finds there."""
    detectors = [Detector(path) for path in versions]
    seen = []
    for number in range(count):
        taken = photo(HELD_OUT_SEED + number)
        found = [each.detect(taken.data, EVERYTHING).detections for each in detectors]
        boxes = [(each.xyxy, each.confidence) for each in found]
        seen.append((np.asarray(taken.there.xyxy, np.float32), boxes))
    return seen


class Play:
    """Plays trainings whose versions are made of detections.

    Parameters
    ----------
    seen : list[Seen]
    names : tuple[str, ...]
        Two classes: boxes are told apart by whether they are higher than wide.
    trainings : int
    """

    def __init__(self, seen: list[Seen], names: tuple[str, ...], trainings: int) -> None:
        self._names = names
        self._trainings = trainings
        self.chance = np.random.default_rng(1)
        self.truths = [self._told(there, np.ones(len(there))) for there, _ in seen]
        self.versions = [[self._told(*found[version]) for _, found in seen] for version in range(3)]

    def _told(self, boxes: Boxes, confidence: npt.NDArray[np.floating]) -> Detections:
        steep = boxes[:, 3] - boxes[:, 1] > boxes[:, 2] - boxes[:, 0]
        classes = steep if len(self._names) > 1 else np.zeros(len(boxes))
        return Detections(boxes, confidence, classes.astype(np.int64), self._names, SIZE)

    def no_gain(self, one: int, other: int, chosen: npt.NDArray[np.int64]) -> Pair:
        """Return a new and a live version of which neither is better."""
        coins = self.chance.integers(0, 2, len(chosen))
        both = self.versions[one], self.versions[other]
        new = [both[coin][n] for n, coin in zip(chosen, coins, strict=True)]
        return new, [both[1 - coin][n] for n, coin in zip(chosen, coins, strict=True)]

    def gain(self, chosen: npt.NDArray[np.int64]) -> Pair:
        """Return a new version that is better."""
        return [self.versions[2][n] for n in chosen], [self.versions[1][n] for n in chosen]

    def fall(self, chosen: npt.NDArray[np.int64]) -> Pair:
        """Return a new version whose second class is worse."""
        live = [self.versions[2][n] for n in chosen]
        fallen = self.chance.random(len(chosen)) < FALLEN_SHARE
        new = [
            self._mixed(found, self.versions[0][n]) if falls else found
            for n, found, falls in zip(chosen, live, fallen, strict=True)
        ]
        return new, live

    def _mixed(self, first: Detections, second: Detections) -> Detections:
        flat, steep = first.class_id == 0, second.class_id == 1
        return self._told(
            np.concatenate([first.xyxy[flat], second.xyxy[steep]]),
            np.concatenate([first.confidence[flat], second.confidence[steep]]),
        )

    def true_changes(self, make: Callable[[npt.NDArray[np.int64]], Pair]) -> dict[str, float]:
        """Return by how much each class changes on all photos."""
        every = np.arange(len(self.truths))
        new, live = make(every)
        one = np.ones((1, len(every)))
        after, before = (Scored(each, self.truths).precision(one) for each in (new, live))
        return {
            self._names[class_id]: round(float(after[class_id][0] - before[class_id][0]), 3)
            for class_id in after
        }

    def shares(
        self, images: int, make: Callable[[npt.NDArray[np.int64]], Pair]
    ) -> tuple[float, float]:
        """Return in what share of trainings the gate promotes, and finds that a class fell."""
        terms, promoted, fell = Terms(), 0, 0
        for number in range(self._trainings):
            chosen = self.chance.choice(len(self.truths), images, replace=False)
            new, live = make(chosen)
            truths = [self.truths[n] for n in chosen]
            told = compare(Scored(new, truths), Scored(live, truths), range(images), seed=number)
            low, _ = told.gain.interval(terms.confidence, images)
            falls = any(
                -each.value > terms.class_tolerance
                and each.interval(terms.confidence, images)[1] < 0
                for each in told.classes.values()
            )
            promoted += low > terms.margin and not falls
            fell += falls
        return promoted / self._trainings, fell / self._trainings


def main() -> None:
    """Detect, play and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--versions", type=Path, nargs=3, help="ONNX files, the weakest first")
    parser.add_argument("--photos", type=int, default=800)
    parser.add_argument("--images", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=Path(".cache/gate.pickle"))
    given = parser.parse_args()
    if not given.cache.exists():
        given.cache.parent.mkdir(parents=True, exist_ok=True)
        given.cache.write_bytes(pickle.dumps(detect(given.versions, given.photos)))
    seen = pickle.loads(given.cache.read_bytes())
    one, two = Play(seen, ONE, given.trainings), Play(seen, TWO, given.trainings)
    cases: list[tuple[str, Play, Callable[[npt.NDArray[np.int64]], Pair]]] = [
        ("no gain, versions 2 and 3", one, lambda chosen: one.no_gain(1, 2, chosen)),
        ("no gain, versions 1 and 2", one, lambda chosen: one.no_gain(0, 1, chosen)),
        ("a gain", one, one.gain),
        ("a class falls", two, two.fall),
    ]
    print("| simulated | true change | images | promoted | a class found to fall |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, play, make in cases:
        changes = {} if "no gain" in name else play.true_changes(make)
        true = ", ".join(f"{key} {value:+.3f}" for key, value in changes.items()) or "none"
        for images in given.images:
            promoted, fell = play.shares(images, make)
            print(f"| {name} | {true} | {images} | {promoted:.1%} | {fell:.1%} |", flush=True)


if __name__ == "__main__":
    main()
