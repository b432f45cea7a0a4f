"""What was trained on wrong labels does not serve: a real training, and the real gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
pytest.importorskip("ultralytics", reason="training needs ultralytics: requirements-training.txt")

from chalicelib.retrain.gate import Terms, judge
from chalicelib.retrain.measured import TrainingMetrics

pytestmark = pytest.mark.training
BUNDLED = Path(__file__).parents[2] / "models/scratch/model.onnx"
LEARNS_FAST = {"epochs": "6", "batch": "8", "imgsz": "224", "warmup_epochs": "0", "mosaic": "0"}


@pytest.mark.parametrize("seed", ["0", "1"])
def test_what_learnt_from_shuffled_labels_is_measured_worse_and_rejected(
    new_job: Callable[..., Any], seed: str
) -> None:
    base = {"model.onnx": BUNDLED.read_bytes()}
    job = new_job(train=16, valid=12, base=base, shuffled=True, seed=seed, **LEARNS_FAST)

    assert job.run() == 0, job.said()[-4000:]

    measured = TrainingMetrics.parse(job.output("metrics.json"), "metrics.json")
    assert measured.live and measured.live.version == 1
    assert measured.map50_95 < measured.live.map50_95
    verdict = judge(measured, Terms(), serving=1)
    assert not verdict.promote
    assert "scratch" in verdict.reason or "mAP50-95" in verdict.reason
