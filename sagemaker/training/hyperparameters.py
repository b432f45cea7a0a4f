"""What shapes a training run, and how it is read from the strings that launchers hand over."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hyperparameters:
    """What shapes a training run; every field is also a flag and a SageMaker hyperparameter."""

    model: str = "yolov8n.yaml"  # architecture, where no starting weights are given
    epochs: int = 100  # 100 for a first training, 20 for a fine-tune
    batch: int = 16  # images a step, over all processes
    nbs: int = 0  # images a step of the optimiser, gathered over steps; 0: as many as batch
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
