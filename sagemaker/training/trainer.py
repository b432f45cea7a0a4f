"""Ultralytics' trainer with three things it does not do by itself.

It goes on after a kill exactly as if there had been none: its checkpoint holds all of its state in
full precision, and an epoch depends on that, on the seed and on its own number alone. It is
distributed on CPUs too, by gloo. And on CPUs that can it computes in bfloat16.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import unwrap_model

from sagemaker.training.team import Team

MAP50, MAP50_95 = "metrics/mAP50(B)", "metrics/mAP50-95(B)"


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to.

    Attributes
    ----------
    number, of : int
        Which it was, from 1, and how many there are to be.
    losses : dict
        Such as ``train/box_loss`` and ``val/cls_loss``; those that are finite.
    map50, map50_95 : float
        On the validation images.
    seconds : float
        With validation and checkpoint.
    """

    number: int
    of: int
    losses: dict[str, float]
    map50: float
    map50_95: float
    seconds: float


@dataclass(frozen=True)
class Wishes:
    """What a caller wants of a training beside ultralytics' own settings.

    Attributes
    ----------
    checkpoint : Path
        Written anew with each epoch, whole or not at all; taken up where it is there.
    keep : str
        ``best`` or ``last``: of which epoch the weights are wanted.
    bfloat16 : bool
        Whether to compute in it, on a CPU.
    after_epoch : callable
        Told, at the leader, of an epoch whose checkpoint is written.
    """

    checkpoint: Path
    keep: str
    bfloat16: bool
    after_epoch: Callable[[Epoch], None]


class Trainer(DetectionTrainer):
    """Trains a detector.

    Parameters
    ----------
    overrides : dict
        Ultralytics' settings.
    team : Team
    wishes : Wishes
    """

    model: Any
    amp: bool

    def __init__(self, overrides: dict[str, Any], team: Team, wishes: Wishes) -> None:
        self.team, self.wishes = team, wishes
        super().__init__(overrides=overrides)
        self.world_size = 1  # what is done for more is done below, for any device
        self.add_callback("on_train_epoch_start", Trainer._begin_epoch)

    @property
    def kept(self) -> Path:
        """The file that ultralytics writes the wanted weights to."""
        return Path(self.last if self.wishes.keep == "last" else self.best)

    def set_model_attributes(self) -> None:
        """Set what ultralytics sets, and lay the weights as a CPU's bfloat16 instructions like."""
        super().set_model_attributes()
        if self.wishes.bfloat16:
            self.model.to(memory_format=torch.channels_last)

    def _build_train_pipeline(self) -> None:
        """Join the team, which a batch is divided among; it is made of a network that is whole."""
        if self.team.size > 1 and self.world_size == 1:
            self._agree_on_precision()
            self.model = DistributedDataParallel(
                self.model,
                device_ids=None if self.device.type == "cpu" else [self.device.index],
                forward_sync_buffers=False,  # each normalises by its own share of a batch
                find_unused_parameters=True,  # of boxes, where a share has none
            )
            self.world_size = self.team.size
        super()._build_train_pipeline()

    def _agree_on_precision(self) -> None:
        """Use mixed precision on GPUs only if the leader found that it works there."""
        agreed = self.team.share(self.amp)
        if self.device.type != "cpu" and agreed != self.amp:
            self.amp = agreed
            self.scaler = torch.amp.GradScaler("cuda", enabled=agreed)

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.wishes.bfloat16:
            # The class of the moving average stays, so that what is saved is a plain
            # ``DetectionModel`` that any ultralytics can load.
            unwrap_model(self.model).__class__ = Bfloat16Model

    def validate(self) -> tuple[dict[str, float] | None, float | None]:
        """Measure on the validation images, of which each of a team has a share."""
        found: tuple[dict[str, float] | None, float | None] = super().validate()
        metrics, fitness = found
        if self.team.size == 1:
            return found
        # Ultralytics means the members' losses, though the last may have had fewer batches or none.
        sums = torch.stack([*self.validator.loss.values()]).double().flatten()
        batches = torch.tensor([len(self.test_loader)], dtype=torch.float64, device=self.device)
        total = torch.cat([sums, batches])
        distributed.all_reduce(total)
        if metrics is not None:
            means = dict(zip(self.validator.loss, total[:-1] / total[-1], strict=True))
            metrics |= self.label_loss_items(means, prefix="val")
        return metrics, fitness

    def _begin_epoch(self) -> None:
        """Start chance anew, so that an epoch does not depend on how many ran before it here."""
        self.epoch_began = time.monotonic()
        of_all, own = (
            int(np.random.SeedSequence([self.args.seed, self.epoch, who]).generate_state(1)[0])
            for who in (0, 1 + self.team.rank)
        )
        random.seed(own)
        np.random.seed(own)
        torch.manual_seed(own)
        self.train_loader.reset()
        self.train_loader.generator.manual_seed(of_all)

    def save_model(self) -> bool:
        """Write ultralytics' files and the checkpoint, and tell of the epoch."""
        super().save_model()
        _write(self._state(), self.wishes.checkpoint)
        self.wishes.after_epoch(self._epoch())
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "ended": bool(self.stop),
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": float(self.best_fitness),
            "stopper": {
                "best_fitness": float(self.stopper.best_fitness),
                "best_epoch": self.stopper.best_epoch,
                "possible_stop": self.stopper.possible_stop,
            },
            "results": self.csv.read_text(encoding="utf-8"),
            "kept": torch.frombuffer(bytearray(self.kept.read_bytes()), dtype=torch.uint8),
        }

    def _epoch(self) -> Epoch:
        found = {**self.label_loss_items(self.tloss), **self.metrics}
        return Epoch(
            number=self.epoch + 1,
            of=self.epochs,
            losses={
                name: float(value)
                for name, value in found.items()
                if name.endswith("_loss") and np.isfinite(value)
            },
            map50=float(np.nan_to_num(found[MAP50])),
            map50_95=float(np.nan_to_num(found[MAP50_95])),
            seconds=time.monotonic() - self.epoch_began,
        )

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Take up the checkpoint, where there is one; that of ultralytics is not exact."""
        state = read_checkpoint(self.wishes.checkpoint)
        if state is None:
            return
        unwrap_model(self.model).load_state_dict(state["model"])
        self.resume = True
        super().resume_training({**state, "ema": None})
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        if self.team.leads:
            restore_files(state, self.kept, self.csv)

    def final_eval(self) -> None:
        """Do nothing: what was kept is measured by itself, at the end and on one process."""


class Bfloat16Model(DetectionModel):
    """A detection model whose forward pass runs in bfloat16 on the CPU, its loss in float32."""

    def loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ultralytics' loss and its parts for a batch of images and labels."""
        if preds is None:
            with torch.autocast("cpu", torch.bfloat16):
                preds = self.forward(batch["img"].to(memory_format=torch.channels_last))
        loss: tuple[torch.Tensor, torch.Tensor] = super().loss(batch, _float32(preds))
        return loss


def _float32(tree: Any) -> Any:
    """Return nested dicts, lists and tuples of tensors with every tensor in float32."""
    if isinstance(tree, torch.Tensor):
        return tree.float()
    if isinstance(tree, dict):
        return {key: _float32(value) for key, value in tree.items()}
    return type(tree)(_float32(value) for value in tree)


def cpu_computes_bfloat16() -> bool:
    """Tell whether this is a CPU run on a CPU with bfloat16 matrix instructions."""
    if torch.cuda.is_available():
        return False
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return a training's state; none where there is no such file."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def restore_files(state: dict[str, Any], kept: Path, results: Path) -> None:
    """Write down again what a training had written until a checkpoint."""
    for file in (kept, results):
        file.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(state["kept"].numpy().tobytes())
    results.write_text(state["results"], encoding="utf-8")


def _write(state: dict[str, Any], path: Path) -> None:
    begun = path.with_suffix(".tmp")
    torch.save(state, begun)
    begun.replace(path)
