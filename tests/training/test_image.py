"""What the trainer's image is made of is enough to run it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.training
ROOT = Path(__file__).parents[2]
TRAINING = ROOT / "sagemaker/training"
LATE = ("train", "start_weights")  # which the entry point imports when it needs them


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Copy what the Dockerfile copies, less what is not sent to the builder."""
    ignored = (TRAINING / "Dockerfile.dockerignore").read_text().splitlines()
    left_out = [ROOT / line for line in ignored[1:] if line[0] not in "!*"]
    for source, target in re.findall(
        r"^COPY (\S+) (\S+)$", (TRAINING / "Dockerfile").read_text(), re.M
    ):
        if not (ROOT / source).is_dir():
            shutil.copy(ROOT / source, tmp_path / target)
            continue
        shutil.copytree(
            ROOT / source,
            tmp_path / target,
            ignore=lambda folder, names: {
                name for name in names if Path(folder) / name in left_out or name == "__pycache__"
            },
        )
    assert left_out
    return tmp_path


def test_the_entry_point_finds_all_that_it_imports(image: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
    pytest.importorskip("ultralytics", reason="training needs ultralytics")
    late = "; ".join(f"import sagemaker.training.{name}" for name in LATE)
    entry = image / "sagemaker/training/run_job.py"
    assert all((entry.parent / f"{name}.py").exists() for name in LATE)

    for command in ([str(entry), "--help"], ["-c", late]):
        done = subprocess.run(
            [sys.executable, *command], cwd=image, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
