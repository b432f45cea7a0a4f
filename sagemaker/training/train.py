"""Train a detector: from a YOLO dataset folder to ``best.pt``, ``model.onnx`` and ``metrics.json``.

As a plain command::

    python sagemaker/training/train.py --data dataset/data.yaml --out runs/scratch --epochs 100

In a SageMaker training container (``--sagemaker``; the prefix is ``/opt/ml`` unless
``SIGHTLOOP_ML_PREFIX`` names another) it reads hyperparameters, all strings, from
``input/config/hyperparameters.json`` and the dataset from ``input/data/training/data.yaml``, starts
from ``input/data/weights/best.pt`` where that channel exists, keeps its checkpoints in
``checkpoints/`` and resumes from them, and writes to ``model/``, the course of the training to
``output/data/results.csv``; on failure the reason goes to ``output/failure`` and the exit status
is 1.

On a CPU with AMX or AVX-512 bfloat16 instructions the forward and backward passes run in bfloat16,
which halves the time of an epoch there (``--precision`` to choose).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.utils.torch_utils import strip_optimizer

if not __package__:  # run as a script: the repository's root is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sagemaker.training.hyperparameters import Hyperparameters
from sagemaker.training.team import ALONE, Team
from sagemaker.training.trainer import (
    Epoch,
    Trainer,
    Wishes,
    cpu_computes_bfloat16,
    read_checkpoint,
    restore_files,
)

KEPT = ("best", "last")
PRECISIONS = ("auto", "fp32", "bf16")
PREFIX_VARIABLE = "SIGHTLOOP_ML_PREFIX"
DEFAULT_PREFIX = "/opt/ml"


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes."""

    data: Path  # data.yaml of a YOLO dataset
    weights: Path | None  # .pt to start from
    checkpoints: Path
    out: Path
    records: Path  # results.csv: losses and metrics by epoch

    @classmethod
    def of_sagemaker(cls, prefix: Path) -> Places:
        """Return SageMaker's directories below a prefix."""
        weights = prefix / "input/data/weights/best.pt"
        return cls(
            data=prefix / "input/data/training/data.yaml",
            weights=weights if weights.exists() else None,
            checkpoints=prefix / "checkpoints",
            out=prefix / "model",
            records=prefix / "output/data",
        )

    @property
    def run(self) -> Path:
        """Where ultralytics keeps what it writes while it trains."""
        return self.checkpoints / "run"

    @property
    def resumable(self) -> Path:
        """The last checkpoint, always a whole one."""
        return self.checkpoints / "resumable.pt"

    @property
    def best(self) -> Path:
        """The weights that came out."""
        return self.out / "best.pt"

    @property
    def results(self) -> Path:
        """Losses and metrics by epoch."""
        return self.records / "results.csv"


def train(settings: Hyperparameters, places: Places) -> dict[str, Any]:
    """Train, export and measure; return what went into ``metrics.json``.

    Raises
    ------
    FileNotFoundError
        The dataset or the starting weights are not there.
    """
    started = time.monotonic()
    fit(settings, places)
    metrics = evaluate(places.best, settings, places)
    export(places.best, settings)
    metrics["seconds"] = round(time.monotonic() - started, 1)
    written = json.dumps(metrics, indent=2, allow_nan=False)
    (places.out / "metrics.json").write_text(written + "\n", encoding="utf-8")
    places.resumable.unlink()
    return metrics


def fit(
    settings: Hyperparameters,
    places: Places,
    team: Team = ALONE,
    after_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> None:
    """Run the epochs, or those that an interrupted run in the same place still lacks.

    All of a team have to call it; at its leader there are then ``best.pt`` and ``results.csv``,
    and a checkpoint that says that there is nothing left to run.

    Parameters
    ----------
    team : Team
    after_epoch : callable
        Told, at the leader, of an epoch once ``places.resumable`` holds it.

    Raises
    ------
    ValueError
        A setting does not fit.
    FileNotFoundError
        The dataset is not there.
    """
    _check(settings, places, team)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    places.checkpoints.mkdir(parents=True, exist_ok=True)
    if not _has_ended(settings, places):
        bfloat16 = _computes_in_bfloat16(settings)
        wishes = Wishes(places.resumable, settings.keep, bfloat16, after_epoch)
        Trainer(_training_arguments(settings, places, team), team, wishes).train()
    if team.leads:
        state = read_checkpoint(places.resumable)
        assert state is not None, "a training that ends leaves a checkpoint"
        restore_files(state, places.best, places.results)
        strip_optimizer(places.best)


def _check(settings: Hyperparameters, places: Places, team: Team) -> None:
    if not places.data.is_file():
        raise FileNotFoundError(f"no dataset at {places.data}: expected a YOLO data.yaml")
    if settings.keep not in KEPT:
        raise ValueError(f"keep must be one of {KEPT}, got {settings.keep!r}")
    if settings.precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {settings.precision!r}")
    if settings.batch < team.size:
        raise ValueError(f"a batch of {settings.batch} cannot be divided among {team.size}")


def _computes_in_bfloat16(settings: Hyperparameters) -> bool:
    """Tell whether to do by ourselves what ultralytics does on GPUs only."""
    if torch.cuda.is_available():
        return False
    return settings.precision == "bf16" or (
        settings.precision == "auto" and cpu_computes_bfloat16()
    )


def _has_ended(settings: Hyperparameters, places: Places) -> bool:
    """Tell whether all epochs were run before, or as many as early stopping lets run."""
    state = read_checkpoint(places.resumable)
    return state is not None and (state["ended"] or state["epoch"] + 1 >= settings.epochs)


def _training_arguments(settings: Hyperparameters, places: Places, team: Team) -> dict[str, Any]:
    ours = {"model", "threads", "precision", "keep"}
    passed = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ours}
    return passed | {
        "model": str(places.weights or settings.model),
        "data": str(places.data),
        "nbs": settings.nbs or settings.batch,
        "rect": settings.rect and team.size == 1,  # unequal shares of such batches would not meet
        "project": str(places.checkpoints.resolve()),
        "name": "run",
        "exist_ok": True,
        "amp": torch.cuda.is_available() and settings.precision != "fp32",
        "cos_lr": True,
        "cache": "ram",
        "deterministic": True,
        "plots": False,
        "save_period": -1,
    }


def evaluate(weights: Path, settings: Hyperparameters, places: Places) -> dict[str, Any]:
    """Measure weights on the dataset's validation images, at confidence 0.001 and NMS IoU 0.7."""
    model = YOLO(weights)
    found = model.val(
        data=str(places.data),
        imgsz=settings.imgsz,
        batch=settings.batch,
        conf=0.001,
        iou=0.7,
        rect=True,
        workers=settings.workers,
        plots=False,
        project=str(places.checkpoints.resolve()),
        name="val",
        exist_ok=True,
    )
    measured = {int(c): i for i, c in enumerate(found.box.ap_class_index)}
    return {
        "mAP50": round(float(found.box.map50), 5),
        "mAP50-95": round(float(found.box.map), 5),
        "per_class": [
            {
                "class_id": class_id,
                "class_name": name,
                "AP50": _rounded(found.box.ap50, measured.get(class_id)),
                "AP50-95": _rounded(found.box.ap, measured.get(class_id)),
            }
            for class_id, name in model.names.items()
        ],
        **about(settings, places),
    }


def about(settings: Hyperparameters, places: Places) -> dict[str, Any]:
    """Return what a training was made of: its dataset, its settings, and whose work it rests on."""
    return _about_the_dataset(places.data) | {
        "settings": dataclasses.asdict(settings),
        "versions": {"torch": torch.__version__, "ultralytics": ultralytics.__version__},
    }


def _rounded(values: Any, index: int | None) -> float | None:
    return None if index is None else round(float(values[index]), 5)


def _about_the_dataset(data: Path) -> dict[str, Any]:
    """Return how many images are trained and validated on, and the version's name if it has one."""
    described = check_det_dataset(str(data), autodownload=False)
    told = {"dataset": described["dataset"]} if "dataset" in described else {}
    for name, key in (("training_set_size", "train"), ("validation_set_size", "val")):
        paths = described[key] if isinstance(described[key], list) else [described[key]]
        told[name] = sum(
            file.suffix[1:].lower() in IMG_FORMATS
            for path in paths
            for file in Path(path).iterdir()
        )
    return told


def export(weights: Path, settings: Hyperparameters) -> Path:
    """Write ``model.onnx`` beside the weights: dynamic batch, height and width, metadata inside."""
    written = YOLO(weights).export(
        format="onnx", dynamic=True, imgsz=settings.imgsz, simplify=True, opset=17
    )
    return Path(written).rename(weights.with_name("model.onnx"))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sagemaker", action="store_true", help="use SageMaker's directories")
    parser.add_argument("--data", type=Path, help="data.yaml of a YOLO dataset")
    parser.add_argument("--out", type=Path, help="folder for best.pt, model.onnx, metrics.json")
    parser.add_argument("--weights", type=Path, help=".pt to start from")
    for field in dataclasses.fields(Hyperparameters):
        parser.add_argument(f"--{field.name}", default=None, help=f"default {field.default}")
    given = parser.parse_args(argv)
    if not given.sagemaker and not (given.data and given.out):
        parser.error("give --data and --out, or --sagemaker")
    return given


def _run_plain(given: argparse.Namespace) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Hyperparameters)]
    strings = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    places = Places(given.data, given.weights, given.out / "checkpoints", given.out, given.out)
    return train(Hyperparameters.from_strings(strings), places)


def _run_sagemaker(prefix: Path) -> dict[str, Any]:
    """Train below SageMaker's prefix; write the reason to ``output/failure`` where it fails."""
    try:
        config = prefix / "input/config/hyperparameters.json"
        strings = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
        # SageMaker's SDK adds settings of its own and quotes strings once more.
        ours = {k: str(v).strip('"') for k, v in strings.items() if not k.startswith("sagemaker_")}
        return train(Hyperparameters.from_strings(ours), Places.of_sagemaker(prefix))
    except Exception as fault:  # the process's edge: SageMaker shows the user what this file says
        failure = prefix / "output/failure"
        failure.parent.mkdir(parents=True, exist_ok=True)
        reason = f"{type(fault).__name__}: {fault}"  # first: only 1,024 characters are shown
        failure.write_text(f"{reason}\n\n{traceback.format_exc()}", encoding="utf-8")
        raise


def main(argv: list[str] | None = None) -> None:
    """Run as told by the command line."""
    given = _arguments(sys.argv[1:] if argv is None else argv)
    if given.sagemaker:
        metrics = _run_sagemaker(Path(os.environ.get(PREFIX_VARIABLE, DEFAULT_PREFIX)))
    else:
        try:
            metrics = _run_plain(given)
        except (ValueError, FileNotFoundError) as fault:
            sys.exit(f"train: {fault}")
    print(json.dumps({name: metrics[name] for name in ("mAP50", "mAP50-95", "seconds")}))


if __name__ == "__main__":
    main()
