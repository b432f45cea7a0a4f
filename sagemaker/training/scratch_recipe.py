"""Make the bundled model again: from the labelled photos of tags to ``models/scratch``.

    python sagemaker/training/scratch_recipe.py photos/labels.csv runs/scratch

``photos/labels.csv`` is the label store of aws-samples/mlops-at-edge-for-quality-inspection, its
photos beside it. Two cores with bfloat16 instructions take about an hour. A stage that is finished
in ``runs/scratch`` is not run again, so the command can be given once more after a break.

1. Pretrain on 3,200 drawn photos, no real one.
2. Fine-tune three times, on the real photos without some groups of tags and on drawn ones, some of
   them of tags without a scratch; measure on the groups left out. The mean of these figures, by
   photos, is what ``metrics.json`` says.
3. Fine-tune alike on all real photos. That is the model; having seen every photo it cannot be
   measured on any, so the figures of stage 2 stand for it.

The weights of stages 2 and 3 are averaged with those of stage 1: a fine-tuned model keeps more of
what it knew before that way, and does better on tags it has not seen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

if not __package__:  # run as a script: the repository's root is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sagemaker.training import drawn_tags, make_dataset
from sagemaker.training.hyperparameters import Hyperparameters
from sagemaker.training.train import Places, evaluate, export, train

PRETRAINING = Hyperparameters(
    epochs=9,
    nbs=64,
    imgsz=480,  # the photos have 450 pixels …
    rect=True,  # … by 300: 480 x 320 wastes none
    lr0=0.002,
    warmup_epochs=1.0,
    mosaic=0.0,
    close_mosaic=0,
    flipud=0.5,
    degrees=2.0,
    translate=0.08,
    scale=0.25,
    hsv_h=0.0,
    hsv_s=0.3,
    hsv_v=0.3,
    workers=1,
    threads=2,
)
FINE_TUNING = replace(
    PRETRAINING, epochs=6, imgsz=640, lr0=0.0007, lrf=0.02, scale=0.35, keep="last"
)
SHARE_OF_FINE_TUNED = 0.5
REAL_REPEATS = 2  # in an epoch, beside the drawn photos
# Each group of tags is left out once.
FOLDS = (("10-15", "10-51"), ("11-01-47",), ("10-53", "10-55-39"))


@dataclass(frozen=True)
class DrawnPhotos:
    """A folder of drawn photos, and all it takes to draw them again."""

    name: str
    count: int
    seed: int
    margin: float
    scratches: int | None = None

    def images(self, work: Path) -> Path:
        """Return the folder of the images, which are drawn where they are not there."""
        if not (work / self.name / "data.yaml").exists():
            drawn_tags.write_dataset(
                work / self.name, self.count, self.seed, self.margin, self.scratches
            )
        return work / self.name / "images"


TO_PRETRAIN = DrawnPhotos("drawn-pretraining", 3200, 1000, margin=1.0)
TO_VALIDATE = DrawnPhotos("drawn-validation", 120, 90_000, margin=1.0)
TO_FINE_TUNE = (
    DrawnPhotos("drawn-fine-tuning", 300, 200_000, margin=0.8),
    DrawnPhotos("drawn-clean", 120, 300_000, margin=1.0, scratches=0),
)


def pretrain(work: Path) -> Path:
    """Train on drawn photos alone and return the weights."""
    data = _describe(work, "pretrained", [TO_PRETRAIN.images(work)], TO_VALIDATE.images(work))
    return _train(work / "pretrained", data, PRETRAINING)


def measure_fold(work: Path, labels: Path, number: int, pretrained: Path) -> dict[str, Any]:
    """Fine-tune without the groups of a fold and return the figures on the photos of these."""
    photos = _photos(work, labels, number) / "images"
    train_on = [photos / "train"] * REAL_REPEATS + _drawn(work)
    out = work / f"fold-{number}"
    data = _describe(work, out.name, train_on, photos / "valid")
    weights = _fine_tune(out, data, pretrained)
    metrics = evaluate(weights, FINE_TUNING, Places(data, None, out / "checkpoints", out, out))
    return {"held_out_groups": FOLDS[number - 1]} | metrics


def train_final(work: Path, labels: Path, pretrained: Path) -> Path:
    """Fine-tune on all photos and return the weights."""
    photos = _photos(work, labels, 1) / "images"
    every = [photos / "train", photos / "valid"]
    train_on = every * REAL_REPEATS + _drawn(work)
    data = _describe(work, "final", train_on, TO_VALIDATE.images(work))
    return _fine_tune(work / "final", data, pretrained)


def average(weights: Path, others: Path, share: float, out: Path) -> Path:
    """Write ``share`` of one model's weights plus the rest of another's, and return the path."""
    checkpoint = torch.load(weights, map_location="cpu", weights_only=False)
    model = checkpoint["model"].float()
    other = torch.load(others, map_location="cpu", weights_only=False)["model"].float()
    mixed = {
        name: share * tensor + (1 - share) * other.state_dict()[name]
        if tensor.is_floating_point()
        else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(mixed)
    checkpoint["model"] = model.half()
    torch.save(checkpoint, out)
    return out


def summarise(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the bundled model: the folds' means, weighted by their photos."""
    photos = sum(fold["validation_set_size"] for fold in folds)

    def mean(key: str) -> float:
        total: float = sum(fold[key] * fold["validation_set_size"] for fold in folds)
        return float(round(total / photos, 4))

    return {
        "mAP50": mean("mAP50"),
        "mAP50-95": mean("mAP50-95"),
        "per_class": [
            {
                "class_id": 0,
                "class_name": "scratch",
                "AP50": mean("mAP50"),
                "AP50-95": mean("mAP50-95"),
            }
        ],
        "training_set_size": photos,
        "validation_set_size": photos,
        "measured_on": "leave-groups-out: the mean of models of the same recipe, each measured "
        "on the tags it was not trained on; the bundled model was trained on all photos",
        "folds": folds,
        "settings": asdict(FINE_TUNING),
        "pretraining": asdict(PRETRAINING) | {"drawn_photos": TO_PRETRAIN.count},
    }


def _drawn(work: Path) -> list[Path]:
    return [drawn.images(work) for drawn in TO_FINE_TUNE]


def _photos(work: Path, labels: Path, number: int) -> Path:
    """Return the dataset that leaves a fold's groups out, imported where it is not there."""
    folder = work / f"photos-{number}"
    groups = ["--validation-groups", ",".join(FOLDS[number - 1])]
    if not (folder / "data.yaml").exists() and make_dataset.main(
        [str(labels), str(folder), "--names", "scratch", *groups]
    ):
        sys.exit(1)
    return folder


def _describe(work: Path, name: str, train_on: list[Path], validate_on: Path) -> Path:
    """Write the data.yaml of a stage: which folders of images it trains and validates on."""
    described = work / f"{name}.yaml"
    folders = [str(folder.resolve()) for folder in train_on]
    text = {"train": folders, "val": str(validate_on.resolve()), "names": {0: "scratch"}}
    described.write_text(json.dumps(text, indent=2), encoding="utf-8")  # JSON is YAML
    return described


def _train(out: Path, data: Path, settings: Hyperparameters, start: Path | None = None) -> Path:
    if not (out / "metrics.json").exists():
        train(settings, Places(data, start, out / "checkpoints", out, out))
    return out / "best.pt"


def _fine_tune(out: Path, data: Path, pretrained: Path) -> Path:
    tuned = _train(out, data, FINE_TUNING, pretrained)
    return average(tuned, pretrained, SHARE_OF_FINE_TUNED, out / "averaged.pt")


def main() -> None:
    """Run all stages and write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("labels", type=Path, help="labels.csv, its photos beside it")
    parser.add_argument("work", type=Path, help="folder to work in; the model comes to lie below")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    pretrained = pretrain(given.work)
    folds = [
        measure_fold(given.work, given.labels, number, pretrained)
        for number in range(1, len(FOLDS) + 1)
    ]
    bundle = given.work / "bundle"
    bundle.mkdir(exist_ok=True)
    final = train_final(given.work, given.labels, pretrained)
    export(Path(shutil.copy2(final, bundle / "best.pt")), FINE_TUNING)
    text = json.dumps(summarise(folds), indent=2)
    (bundle / "metrics.json").write_text(text + "\n", encoding="utf-8")
    print(bundle)


if __name__ == "__main__":
    main()
