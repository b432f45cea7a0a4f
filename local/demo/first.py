"""Make the demo's first model, weak on purpose: it has learnt from two dozen photos.

Run by the Python that trains: ``python local/demo/first.py FOLDER``. The network starts from the
bundled model's weights, which know dark tags; FOLDER/model then holds ``model.onnx`` and
``metrics.json``.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from local.demo.photos import write_dataset  # noqa: E402

BUNDLED = ROOT / "models/scratch/model.onnx"
TRAIN, VALID = 24, 48  # to learn from; to know how far the model is to be believed
CHOSEN = {"epochs": 12, "imgsz": 320, "warmup_epochs": 0, "lr0": 0.001}  # so few steps warm nothing


def main() -> None:
    """Draw the photos and train."""
    from sagemaker.training import train  # noqa: PLC0415 - the demo itself has no torch
    from sagemaker.training.start_weights import rebuild  # noqa: PLC0415

    folder = Path(sys.argv[1])
    described = write_dataset(folder / "photos", TRAIN, VALID)
    start = folder / "start.pt"
    rebuild(BUNDLED.read_bytes(), sorted((folder / "photos/images/train").iterdir()), start)
    given = {"data": described, "out": folder / "model", "weights": start, **CHOSEN}
    train.main([f"--{name}={value}" for name, value in given.items()])


if __name__ == "__main__":
    main()
