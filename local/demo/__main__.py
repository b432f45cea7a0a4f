"""`python -m local.demo`: the whole loop, from a weak model to a better one, each step reported."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local.demo import first, picture
from local.demo.course import Course
from local.demo.photos import CLASS_NAMES, HELD_OUT_SEED, Photo, photo
from local.demo.rounds import Measured, Round, play, table, to_show
from local.demo.stage import Stage
from local.errors import LocalError
from local.home import ROOT, free_port

HOME = ROOT / ".sightloop/demo"
PYTHON = ROOT / ".venv-training/bin/python"
HELD_OUT = 150
INTRODUCTION = """\
The whole loop of Sightloop, on this machine.

A plant had dark metal tags and a model that finds the scratches on them. Its new tags are painted
in light colours, and the model finds few scratches on these. An operator labels {few} photos to
train a first model and {more} photos to validate it, and imports the latter into the service.
People then send photos and correct the predicted boxes; some of these people are vandals, who send
wrong boxes on purpose. People also answer tasks: photos that the service asks them to label. Some
tasks are controls, for which the service knows the right boxes: who answers them well is trusted.

The service runs with its default settings and makes all decisions: which corrections count, who is
banned, when to train, and whether the new version is good enough to serve. The people, the operator
and the photos are simulated. Quality is measured on {apart} other photos that nobody sends.
"""
LEGEND = """
honest counted alone: corrections of honest people that became labels within a minute, without
an operator. poison: wrong corrections by vandals, and photos of vandals that were refused; caught:
those that are not in the training data. trained on: images in the dataset, imported ones included.
mAP: quality (1 is perfect) on {apart} photos that nobody sent.
"""
END = """
  picture     {picture}
              green: what is there; red: what the model finds
  look        SIGHTLOOP_HOME={home} make run, then /training and /trust
  took        {minutes:.1f} minutes, at a load of {load:.1f} on {cores} cores
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    given = _arguments(argv)
    begun = time.monotonic()
    print(INTRODUCTION.format(few=first.TRAIN, more=first.VALID, apart=HELD_OUT), flush=True)
    try:
        stage = Stage(given.home.resolve(), given.port, given.python)
        try:
            path = _run(stage, given.rounds)
        finally:
            stage.stop()
    except LocalError as error:
        print(f"\nsightloop: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; `make demo` begins anew", file=sys.stderr)
        return 130
    minutes, load = (time.monotonic() - begun) / 60, os.getloadavg()[1]
    told = {"minutes": minutes, "load": load, "cores": os.cpu_count()}
    print(END.format(picture=path, home=given.home, **told))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    home = Path(os.environ.get("SIGHTLOOP_HOME") or HOME)
    parser.add_argument("--home", type=Path, default=home, help="the data folder, which is kept")
    port = int(os.environ.get("PORT") or 0)
    parser.add_argument("--port", type=int, default=port, help="of 127.0.0.1; 0: any")
    python = Path(os.environ.get("SIGHTLOOP_TRAINING_PYTHON") or PYTHON)
    parser.add_argument("--python", type=Path, default=python, help="that which can train")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args(argv)
    given.port = given.port or free_port()
    return given


def _run(on: Stage, rounds: int) -> Path:
    """Play the rounds, show the table, draw the picture; return where it is."""
    held_out = [photo(HELD_OUT_SEED + number) for number in range(HELD_OUT)]
    print(f"\nThe first model learns from {first.TRAIN} photos …", flush=True)
    took = on.begin()
    weak = now = Measured.now(on, held_out)
    print(
        f"  {f'trained in {took:.0f} s' if took else 'an earlier run trained it'}; "
        "on the photos kept apart: "
        f"mAP50 {now.precision.map50:.3f}, mAP50-95 {now.precision.map50_95:.3f}"
    )
    settled = on.settle()
    print(f"  the operator imports the {settled} photos that it was measured on, with their labels")
    course = Course(on, on.model, len(CLASS_NAMES))
    course.learn_imported()
    played: list[Round] = []
    for number in range(1, rounds + 1):
        played.append(play(on, course, number, now, held_out))
        now = played[-1].after
    print(f"\n{table(played)}\n{LEGEND.format(apart=HELD_OUT)}", flush=True)
    return _draw(on, held_out, weak, now)


def _draw(on: Stage, held_out: Sequence[Photo], weak: Measured, now: Measured) -> Path:
    """Draw what people would see on a few of the photos kept apart; return where it is."""
    path = on.home / f"demo/{on.model}.png"
    columns = [
        (f"version {each.version}: mAP50 {each.precision.map50:.3f}", each.shown)
        for each in (weak, now)
    ]
    picture.before_and_after([each.data for each in to_show(held_out)], columns, path)
    return path


if __name__ == "__main__":
    sys.exit(main())
