"""Measures what a second process brings: an epoch of one process beside one of two, a thread each.

    python benchmarks/distributed.py                    # with requirements-training.txt installed
    python benchmarks/distributed.py --rounds 5 --imgsz 640

Both train the same network on the same drawn photos with the same global batch, by
`sagemaker/training/train.py`; two by gloo, as torchrun starts them. They take turns, round by
round, so that what else the machine does falls on both, and the ratio is that of the medians of
their epochs, the first of each run left out: it reads the photos. On a busy machine the quickest
epochs say more; where it is busier than that, processes that wait for each other wait for their
turns, and only what each computes tells anything. All are shown. Losses on the validation images
tell whether two learn what one does: how far they are apart is shown beside how far two runs of one
with another seed are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from sagemaker.training import team as teams  # noqa: E402
from sagemaker.training.drawn_tags import write_dataset  # noqa: E402
from sagemaker.training.hyperparameters import Hyperparameters  # noqa: E402

OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}
SEED = 40_000


@dataclass(frozen=True)
class Plan:
    """What is trained in each run."""

    images: int
    epochs: int
    imgsz: int
    batch: int

    def hyperparameters(self, seed: int) -> Hyperparameters:
        """Return them; nothing but the seed differs between runs."""
        return Hyperparameters(
            epochs=self.epochs,
            imgsz=self.imgsz,
            batch=self.batch,
            seed=seed,
            threads=1,
            mosaic=0.0,
            close_mosaic=0,
            patience=0,
        )


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes
    ----------
    seconds, computed : list of float
        Of each epoch but the first: on the wall's clock, and of the leader's processor.
    losses : list of float
        On the validation images, of every epoch.
    """

    seconds: list[float]
    computed: list[float]
    losses: list[float]


def member(out: Path, data: Path, plan: Plan, seed: int) -> None:
    """Train as one of a team, or alone, and have the leader write down how it went."""
    team = teams.of_environment()
    with teams.joined(team):
        from sagemaker.training.train import Places, fit  # noqa: PLC0415 - after the GPU is claimed
        from sagemaker.training.trainer import Epoch  # noqa: PLC0415

        told: list[dict[str, Any]] = []

        def note(epoch: Epoch) -> None:
            told.append(asdict(epoch) | {"processor": time.process_time()})

        fit(plan.hyperparameters(seed), Places(data, None, out, out, out), team, note)
        if team.leads:
            (out / "epochs.json").write_text(json.dumps(told))


def run(processes: int, data: Path, plan: Plan, seed: int) -> Run:
    """Train in processes of their own."""
    with tempfile.TemporaryDirectory() as out:
        script = [__file__, "--member", out, "--data", str(data), "--seed", str(seed)]
        script += [f"--{name}={value}" for name, value in asdict(plan).items()]
        runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *(runner if processes > 1 else []), *script]
        done = subprocess.run(
            command, env=os.environ | OFFLINE, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"a run of {processes} failed:\n{done.stderr[-4000:]}")
        epochs: list[dict[str, Any]] = json.loads(Path(out, "epochs.json").read_text())
    losses = [
        sum(value for name, value in epoch["losses"].items() if name.startswith("val/"))
        for epoch in epochs
    ]
    computed = [after["processor"] - before["processor"] for before, after in pairwise(epochs)]
    return Run([epoch["seconds"] for epoch in epochs[1:]], computed, losses)


def apart(one: Run, other: Run) -> float:
    """Return how far two runs' losses are apart, as a share, mean of the epochs."""
    return statistics.mean(
        2 * abs(a - b) / (a + b) for a, b in zip(one.losses, other.losses, strict=True)
    )


def compare(data: Path, plan: Plan, rounds: int) -> None:
    """Let both take turns, and print what came of it."""
    ones: list[Run] = []
    twos: list[Run] = []
    for turn in range(rounds):
        ones.append(run(1, data, plan, seed=turn))
        twos.append(run(2, data, plan, seed=turn))
        print(
            f"round {turn + 1}: one {_shown(ones[-1].seconds)}, two {_shown(twos[-1].seconds)}"
            f" s an epoch; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            flush=True,
        )
    one = [seconds for each in ones for seconds in each.seconds]
    two = [seconds for each in twos for seconds in each.seconds]
    medians, quickest = statistics.median(one) / statistics.median(two), min(one) / min(two)
    print(f"speed-up of two over one: {medians:.2f} by medians, {quickest:.2f} by quickest epochs")
    computed = [statistics.median(s for each in r for s in each.computed) for r in (ones, twos)]
    print(
        f"processor time of an epoch: {computed[0]:.2f} s of one, {computed[1]:.2f} s of the leader"
        f" of two: {computed[0] / computed[1]:.2f} at best, on a machine that does nothing else"
    )
    differ = statistics.mean(apart(*pair) for pair in zip(ones, twos, strict=True))
    print(f"losses of one and two are {differ:.1%} apart", end="")
    if rounds > 1:
        seeds = statistics.mean(apart(ones[i - 1], ones[i]) for i in range(1, rounds))
        print(f", those of one and one with another seed {seeds:.1%}", end="")
    print()


def _shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} (quickest {min(seconds):.2f})"


def main() -> None:
    """Run as told by the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--member", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    plan = Plan(given.images, given.epochs, given.imgsz, given.batch)
    if given.member:
        member(given.member, given.data, plan, given.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(write_dataset(Path(folder) / "photos", plan.images, SEED), plan, given.rounds)


if __name__ == "__main__":
    main()
