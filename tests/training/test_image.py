"""What the trainer's image is made of is enough to run it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.training
ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "sagemaker/training"
LATE = ("train", "start_weights")  # which the entry point imports when it needs them


def test_the_entry_point_finds_all_that_it_imports(
    as_in_image: Callable[[Path], Path],
) -> None:
    pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
    pytest.importorskip("ultralytics", reason="training needs ultralytics")
    image = as_in_image(TRAINING / "Dockerfile")
    late = "; ".join(f"import sagemaker.training.{name}" for name in LATE)
    entry = image / "sagemaker/training/run_job.py"
    assert all((entry.parent / f"{name}.py").exists() for name in LATE)

    for command in ([str(entry), "--help"], ["-c", late]):
        done = subprocess.run(
            [sys.executable, *command], cwd=image, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
