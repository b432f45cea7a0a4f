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
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import ultralytics
from ultralytics import YOLO
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

KEPT = ("best", "last")
PREFIX_VARIABLE = "SIGHTLOOP_ML_PREFIX"
DEFAULT_PREFIX = "/opt/ml"


@dataclass(frozen=True)
class Hyperparameters:
    """What shapes a training run; every field is also a flag and a SageMaker hyperparameter."""

    model: str = "yolov8n.yaml"  # architecture, where no starting weights are given
    epochs: int = 100  # 100 for a first training, 20 for a fine-tune
    batch: int = 16  # images a step
    imgsz: int = 640  # longest side the network sees, in pixels
    rect: bool = False  # keep the photos' aspect ratio; takes mosaic away
    seed: int = 0  # same seed, same data, one process: same weights
    patience: int = 50  # epochs without improvement before it stops
    optimizer: str = "AdamW"
    lr0: float = 0.002  # first learning rate; falls along a cosine …
    lrf: float = 0.01  # … to this fraction of it
    warmup_epochs: float = 3.0
    weight_decay: float = 0.0005
    mosaic: float = 1.0  # chance of a picture made of four
    close_mosaic: int = 10  # last epochs without mosaic
    mixup: float = 0.0  # chance of two pictures laid over each other
    fliplr: float = 0.5  # chance of mirroring left-right
    flipud: float = 0.0  # chance of mirroring up-down: right where up means nothing
    degrees: float = 0.0  # rotation by up to ±
    translate: float = 0.1  # shift by up to ± this share of the picture
    scale: float = 0.5  # zoom by up to ±
    hsv_h: float = 0.015  # hue by up to ±
    hsv_s: float = 0.7  # saturation by up to ±
    hsv_v: float = 0.4  # brightness by up to ±
    keep: str = "best"  # best: the epoch that validated best; last: the last epoch, unselected
    workers: int = 2  # processes that load pictures
    threads: int = 0  # of the network; 0: as many as torch likes
    precision: str = "auto"  # auto, fp32 or bf16

    @classmethod
    def from_strings(cls, given: dict[str, str]) -> Hyperparameters:
        """Read hyperparameters as SageMaker hands them over; unknown ones are refused.

        Raises
        ------
        ValueError
            A name is unknown or a value does not fit; the message names it.
        """
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        unknown = sorted(set(given) - set(kinds))
        if unknown:
            raise ValueError(f"unknown hyperparameters {unknown}; known are {sorted(kinds)}")
        return cls(**{name: _parse(name, text, kinds[name]) for name, text in given.items()})


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in {"true", "false", "1", "0"}:
            raise ValueError(f"{name} must be true or false, got {text!r}")
        return text.lower() in {"true", "1"}
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None


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
        """The last whole checkpoint: ultralytics' own is torn if it dies while writing it."""
        return self.checkpoints / "resumable.pt"


def cpu_computes_bfloat16() -> bool:
    """Tell whether this is a CPU run on a CPU with bfloat16 matrix instructions."""
    if torch.cuda.is_available():
        return False
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


class Bfloat16Model(DetectionModel):
    """A detection model whose forward pass runs in bfloat16 on the CPU, its loss in float32."""

    def loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ultralytics' loss and its parts for a batch of images and labels."""
        if preds is None:
            with torch.autocast("cpu", torch.bfloat16):
                preds = self.forward(batch["img"].to(memory_format=torch.channels_last))
        loss: tuple[torch.Tensor, torch.Tensor] = super().loss(batch, _float32(preds))
        return loss


class Bfloat16Trainer(DetectionTrainer):
    """Ultralytics' trainer, which has mixed precision on GPUs only, with bfloat16 on the CPU.

    The class of the trained model is changed and that of its moving average is not, so that
    checkpoints hold a plain ``DetectionModel`` that any ultralytics can load.
    """

    def _setup_train(self) -> None:
        super()._setup_train()
        self.model.to(memory_format=torch.channels_last)
        self.model.__class__ = Bfloat16Model


def _float32(tree: Any) -> Any:
    """Return nested dicts, lists and tuples of tensors with every tensor in float32."""
    if isinstance(tree, torch.Tensor):
        return tree.float()
    if isinstance(tree, dict):
        return {key: _float32(value) for key, value in tree.items()}
    return type(tree)(_float32(value) for value in tree)


def _trainer(precision: str) -> type[DetectionTrainer]:
    """Return the trainer for a precision: auto, fp32 or bf16."""
    if precision not in {"auto", "fp32", "bf16"}:
        raise ValueError(f"precision must be auto, fp32 or bf16, got {precision!r}")
    wanted = precision == "bf16" or (precision == "auto" and cpu_computes_bfloat16())
    return Bfloat16Trainer if wanted and not torch.cuda.is_available() else DetectionTrainer


def train(settings: Hyperparameters, places: Places) -> dict[str, Any]:
    """Train, export and measure; return what went into ``metrics.json``.

    Raises
    ------
    FileNotFoundError
        The dataset or the starting weights are not there.
    """
    started = time.monotonic()
    if not places.data.is_file():
        raise FileNotFoundError(f"no dataset at {places.data}: expected a YOLO data.yaml")
    if settings.keep not in KEPT:
        raise ValueError(f"keep must be one of {KEPT}, got {settings.keep!r}")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    fit(settings, places)
    for folder in (places.out, places.records):
        folder.mkdir(parents=True, exist_ok=True)
    weights = shutil.copy2(places.run / f"weights/{settings.keep}.pt", places.out / "best.pt")
    shutil.copy2(places.run / "results.csv", places.records / "results.csv")
    metrics = evaluate(Path(weights), settings, places)
    export(Path(weights), settings)
    metrics["seconds"] = round(time.monotonic() - started, 1)
    written = json.dumps(metrics, indent=2, allow_nan=False)
    (places.out / "metrics.json").write_text(written + "\n", encoding="utf-8")
    return metrics


def fit(settings: Hyperparameters, places: Places) -> None:
    """Run the epochs, or those that an interrupted run in the same place still lacks."""
    trainer = _trainer(settings.precision)
    resuming = places.resumable.exists() and _unfinished(places.resumable)
    model = YOLO(places.resumable if resuming else places.weights or settings.model)
    model.add_callback("on_model_save", lambda trainer: _keep(trainer.last, places.resumable))
    if resuming:
        model.train(trainer=trainer, resume=True, data=str(places.data))
    else:
        model.train(trainer=trainer, **_training_arguments(settings, places))
    places.resumable.unlink(missing_ok=True)


def _keep(checkpoint: Path, kept: Path) -> None:
    """Copy a checkpoint so that there is always a whole one under the second name."""
    copied = shutil.copy2(checkpoint, kept.with_suffix(".tmp"))
    Path(copied).replace(kept)


def _unfinished(last: Path) -> bool:
    """Tell whether a checkpoint was left by a run that did not end (a finished one says -1)."""
    checkpoint = torch.load(last, map_location="cpu", weights_only=False)
    return int(checkpoint["epoch"]) >= 0


def _training_arguments(settings: Hyperparameters, places: Places) -> dict[str, Any]:
    ours = {"model", "threads", "precision", "keep"}
    passed = {k: v for k, v in dataclasses.asdict(settings).items() if k not in ours}
    return passed | {
        "data": str(places.data),
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
        **_about_the_dataset(places.data),
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
