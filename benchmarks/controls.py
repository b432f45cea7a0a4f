"""Whom control tasks make distrusted: made-up people answer made-up controls, graded as ours are.

    python benchmarks/controls.py [--people 2000] [--seed 0]

Images have one to four boxes of one to three classes. Nobody was watched doing it: what an honest
person overlooks and how far they miss an edge are assumptions, named in the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.trust import ClassedBoxes  # noqa: E402
from chalicelib.trust.grading import grade  # noqa: E402
from chalicelib.trust.standing import Controls, TrustStanding  # noqa: E402

SIZE = 1000.0
ANSWERS = (5, 10, 20)
Random = np.random.Generator
Person = Callable[[Random, ClassedBoxes], ClassedBoxes]


def image(random: Random) -> ClassedBoxes:
    """Return settled boxes."""
    return scattered(random, int(random.integers(1, 5)))


def scattered(random: Random, count: int) -> ClassedBoxes:
    """Return boxes of any place, of a tenth to a third of the image."""
    sides = random.uniform(0.1, 0.33, (count, 2)) * SIZE
    start = random.uniform(0, 1, (count, 2)) * (SIZE - sides)
    return ClassedBoxes(np.hstack([start, start + sides]), random.integers(0, 3, count))


def honest(overlooks: float, misses: float, random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Overlook some boxes, and miss each edge by some share of the box's side."""
    seen = random.random(len(settled)) >= overlooks
    boxes, classes = settled.xyxy[seen], settled.class_id[seen]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    edges = boxes + random.normal(0, misses, boxes.shape) * sides
    start, end = np.minimum(edges[:, :2], edges[:, 2:]), np.maximum(edges[:, :2], edges[:, 2:])
    return ClassedBoxes(np.hstack([start, end]), classes)


def at_random(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Draw as many boxes anywhere."""
    return scattered(random, len(settled))


def shifted(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Move every box by half its width."""
    aside = (settled.xyxy[:, 2:3] - settled.xyxy[:, :1]) / 2 * np.array([1, 0, 1, 0])
    return ClassedBoxes(settled.xyxy + aside, settled.class_id)


def relabelled(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Call everything something else."""
    return ClassedBoxes(settled.xyxy, (settled.class_id + 1) % 3)


def emptied(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Say that nothing is there."""
    return ClassedBoxes.none()


def crowded(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Add five boxes anywhere."""
    more = scattered(random, 5)
    return ClassedBoxes(
        np.vstack([settled.xyxy, more.xyxy]), np.hstack([settled.class_id, more.class_id])
    )


def now_and_then(random: Random, settled: ClassedBoxes) -> ClassedBoxes:
    """Spoil one image in four, and be careful with the rest."""
    spoils = random.random() < 0.25
    return emptied(random, settled) if spoils else honest(0.05, 0.05, random, settled)


PEOPLE: dict[str, Person] = {
    "overlooks 5 %, edges off by 5 %": partial(honest, 0.05, 0.05),
    "overlooks 15 %, edges off by 10 %": partial(honest, 0.15, 0.1),
    "overlooks 30 %, edges off by 15 %": partial(honest, 0.3, 0.15),
    "random boxes": at_random,
    "moves all by half their width": shifted,
    "wrong classes": relabelled,
    "deletes all": emptied,
    "adds five": crowded,
    "deletes all of one image in four": now_and_then,
}


def accuracies(person: Person, random: Random, people: int) -> np.ndarray:
    """Return the accuracy of each of some people on each of their controls [people, answers]."""
    rows = []
    for _ in range(people):
        settled = [image(random) for _ in range(max(ANSWERS))]
        rows.append([grade(person(random, each), each).accuracy for each in settled])
    return np.array(rows)


def distrusted(accuracy: np.ndarray, answers: int) -> float:
    """Return the share of people who are distrusted after so many answers."""
    means = accuracy[:, :answers].mean(axis=1)
    standings = (TrustStanding(Controls(answers, float(mean))) for mean in means)
    return float(np.mean([standing.distrust is not None for standing in standings]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    print("| answers | accuracy | " + " | ".join(f"after {n}" for n in ANSWERS) + " |")
    print("| --- | ---: |" + " ---: |" * len(ANSWERS))
    for name, person in PEOPLE.items():
        accuracy = accuracies(person, random, given.people)
        shares = (f"{distrusted(accuracy, n):.1%}".replace("%", " %") for n in ANSWERS)
        print(f"| {name} | {accuracy.mean():.2f} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
