"""The poisoning drill: honest people and attackers correct photos through the API; what remains?

    python benchmarks/poisoning.py                          # all, at two APs: half an hour
    python benchmarks/poisoning.py --quick                  # a quarter of the people, at one AP
    python benchmarks/poisoning.py --part collusion sybils  # some scenarios
    python benchmarks/poisoning.py --ap 0.6 --model private --json drill.json

It starts the one-machine stack in a folder of its own: the API is asked over HTTP, the triggers
count in a real PostgreSQL, bans reach the API as they do elsewhere. Nobody reviews, but for the few
decisions that `relabelling` needs: what waits for a person stays out of the dataset. Photos, people
and their order are drawn from fixed seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks.poisoning_report import Figures, Known, Occasion, figures, table  # noqa: E402
from benchmarks.poisoning_scenarios import SCENARIOS, Run  # noqa: E402
from benchmarks.poisoning_service import Service, Visibility  # noqa: E402
from benchmarks.poisoning_stage import INPUT_SIDES  # noqa: E402

QUICK_SCALE = 0.25
VISIBILITIES: Sequence[Visibility] = ("public", "members", "private")


@dataclass(frozen=True)
class Choice:
    """A scenario, about which AP its model has, and who may see the model's photos."""

    visibility: Visibility
    average_precision: float
    scenario: str


def run(service: Service, choice: Choice, number: int, scale: float) -> Figures:
    """Run a scenario with a model of its own, with a share ``scale`` of its people."""
    scenario, visibility = choice.scenario, choice.visibility
    model = f"{scenario}-{visibility}-{round(100 * choice.average_precision)}"
    served = service.publish(model, INPUT_SIDES[choice.average_precision], visibility)
    begun = time.monotonic()
    played = Run(service, model, number, scale)
    SCENARIOS[scenario](played)
    occasion = Occasion(
        scenario,
        visibility,
        served.average_precision,
        time.monotonic() - begun,
        played.notes,
    )
    known = Known.by(played.course, played.people)
    return figures(played.course, played.people, known, occasion)


@contextmanager
def running(home: Path | None, both_classes: bool) -> Iterator[Service]:
    """Run the service in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        service = Service(home or Path(folder) / "home", both_classes)
        try:
            yield service
        finally:
            service.stop()


def parsed() -> argparse.Namespace:
    """Return what was chosen on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--ap", type=float, nargs="+", choices=list(INPUT_SIDES))
    parser.add_argument(
        "--model",
        nargs="+",
        choices=VISIBILITIES,
        default=["public"],
        help="who may see its photos",
    )
    parser.add_argument("--scale", type=float, help="share of the people of each scenario")
    parser.add_argument("--quick", action="store_true", help="a quarter of the people, AP 0.6 only")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--home", type=Path, help="the data folder, to be kept")
    parser.add_argument("--both-classes", action="store_true", help="have boxes of both classes")
    chosen = parser.parse_args()
    chosen.ap = chosen.ap or ([0.6] if chosen.quick else list(INPUT_SIDES))
    chosen.scale = chosen.scale or (QUICK_SCALE if chosen.quick else 1.0)
    return chosen


def main() -> None:
    """Run the drill and print what came of it."""
    chosen, runs, begun = parsed(), list[Figures](), time.monotonic()
    with running(chosen.home, chosen.both_classes) as service:
        for picked in itertools.product(chosen.model, chosen.ap, chosen.part):
            runs.append(run(service, Choice(*picked), len(runs), chosen.scale))
            print(runs[-1].row(), f"{runs[-1].seconds:.0f} s", flush=True)
            _write(chosen.json, runs)
    print(f"\n{time.monotonic() - begun:.0f} s; {os.cpu_count()} cores, load", os.getloadavg()[0])
    print(f"commit {commit()}\n\n{table(runs)}")
    for noted in (each for each in runs if each.notes):
        print(f"\n{noted.scenario}, AP {noted.average_precision:.2f}, {noted.model_is}:")
        print("\n".join(f"- {what}: {value}" for what, value in noted.notes.items()))


def commit() -> str:
    """Return which commit is checked out."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _write(file: Path | None, runs: Sequence[Figures]) -> None:
    if file:
        written = {"commit": commit(), "runs": [each.to_json() for each in runs]}
        file.write_text(json.dumps(written, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
