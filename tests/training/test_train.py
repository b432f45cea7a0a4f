"""The training entry point, run as SageMaker runs it: a tree of files in, artefacts out."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sagemaker.training.drawn_tags import write_dataset

pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
pytest.importorskip("ultralytics", reason="training needs ultralytics: requirements-training.txt")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.training
ROOT = Path(__file__).parents[2]
TINY = {
    "epochs": "2",
    "batch": "4",
    "imgsz": "96",
    "workers": "0",
    "threads": "1",
    "mosaic": "0",
    "close_mosaic": "0",
    "rect": "true",
    "optimizer": '"AdamW"',  # the SDK quotes strings once more
    "sagemaker_region": '"eu-central-1"',  # and adds settings of its own
}


def _lay_tree(prefix: Path, hyperparameters: dict[str, str]) -> Path:
    write_dataset(prefix / "input/data/training", 8, seed=500)
    config = prefix / "input/config/hyperparameters.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(hyperparameters), encoding="utf-8")
    return prefix


COMMAND = [sys.executable, str(ROOT / "sagemaker/training/train.py"), "--sagemaker"]


def _environment(prefix: Path) -> dict[str, str]:
    told = {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "true"}
    return os.environ | told | {"SIGHTLOOP_ML_PREFIX": str(prefix)}


def _train(prefix: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, env=_environment(prefix), cwd=prefix, capture_output=True, text=True, check=False
    )


def _train_until_killed(prefix: Path) -> None:
    """Kill a training, with no chance to tidy up, once its first checkpoint is there."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        COMMAND, env=_environment(prefix), cwd=prefix, stdout=quiet, stderr=quiet
    )
    try:
        while not (prefix / "checkpoints/resumable.pt").exists():
            assert process.poll() is None, "the training ended before its first checkpoint"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the prefix of a finished tiny training."""
    prefix = _lay_tree(tmp_path_factory.mktemp("ml"), TINY)
    done = _train(prefix)
    assert done.returncode == 0, done.stderr[-4000:]
    return prefix


def test_the_model_is_where_sagemaker_looks_for_it(trained: Path) -> None:
    written = {path.name for path in (trained / "model").iterdir()}

    assert written == {"best.pt", "model.onnx", "metrics.json"}
    assert not (trained / "output/failure").exists()


def test_the_onnx_model_takes_any_batch_height_and_width(trained: Path) -> None:
    session = onnxruntime.InferenceSession(trained / "model/model.onnx")
    [image] = session.get_inputs()

    for batch, height, width in ((1, 64, 96), (3, 96, 64), (2, 160, 160)):
        blank = np.zeros((batch, 3, height, width), np.float32)
        [head] = session.run(None, {image.name: blank})
        anchors = sum(height // stride * (width // stride) for stride in (8, 16, 32))
        assert head.shape == (batch, 5, anchors)


def test_the_onnx_model_carries_its_metadata(trained: Path) -> None:
    session = onnxruntime.InferenceSession(trained / "model/model.onnx")

    carried = session.get_modelmeta().custom_metadata_map

    assert carried["names"] == "{0: 'scratch'}"
    assert carried["stride"] == "32"
    assert carried["imgsz"] == "[96, 96]"


def test_metrics_name_sizes_classes_and_settings(trained: Path) -> None:
    metrics = json.loads((trained / "model/metrics.json").read_text(encoding="utf-8"))

    [scratch] = metrics["per_class"]
    assert (scratch["class_id"], scratch["class_name"]) == (0, "scratch")
    assert 0 <= metrics["mAP50-95"] <= metrics["mAP50"] <= 1
    assert scratch["AP50"] == metrics["mAP50"]
    assert metrics["training_set_size"] == metrics["validation_set_size"] == 8
    assert metrics["settings"]["epochs"] == 2
    assert metrics["settings"]["seed"] == 0
    assert metrics["seconds"] > 0


def test_the_course_of_the_training_is_recorded(trained: Path) -> None:
    assert _epochs(trained) == [1, 2]


def _epochs(prefix: Path) -> list[int]:
    text = (prefix / "output/data/results.csv").read_text(encoding="utf-8")
    return [int(row["epoch"]) for row in csv.DictReader(text.splitlines(), skipinitialspace=True)]


def test_the_weights_are_a_plain_ultralytics_model(trained: Path) -> None:
    code = (
        "import sys, torch; "
        "model = torch.load(sys.argv[1], weights_only=False)['model']; "
        "print(type(model).__module__, type(model).__name__)"
    )
    command = [sys.executable, "-c", code, trained / "model/best.pt"]

    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=trained)

    assert shown.stdout.strip() == "ultralytics.nn.tasks DetectionModel"


def test_a_killed_training_goes_on_where_it_was(tmp_path: Path) -> None:
    prefix = _lay_tree(tmp_path, TINY | {"epochs": "6"})
    _train_until_killed(prefix)

    done = _train(prefix)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "Resuming training" in done.stdout + done.stderr
    assert _epochs(prefix) == [1, 2, 3, 4, 5, 6]
    assert (prefix / "model/model.onnx").exists()
    assert not (prefix / "checkpoints/resumable.pt").exists()


def test_a_training_can_start_from_the_weights_of_another(trained: Path, tmp_path: Path) -> None:
    prefix = _lay_tree(tmp_path, TINY | {"epochs": "1"})
    (prefix / "input/data/weights").mkdir()
    (prefix / "input/data/weights/best.pt").write_bytes((trained / "model/best.pt").read_bytes())

    done = _train(prefix)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "Transferred 355/355 items from pretrained weights" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epoch": "3"}, "ValueError: unknown hyperparameters ['epoch']"),
        ({"epochs": "many"}, "ValueError: epochs must be int, got 'many'"),
        ({"keep": "worst"}, "ValueError: keep must be one of ('best', 'last'), got 'worst'"),
    ],
)
def test_bad_settings_fail_with_the_reason_written_down(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    done = _train(_lay_tree(tmp_path, TINY | change))

    assert done.returncode == 1
    assert (tmp_path / "output/failure").read_text(encoding="utf-8").startswith(reason)
    assert not (tmp_path / "model").exists()


def test_a_missing_dataset_fails_with_the_reason_written_down(tmp_path: Path) -> None:
    prefix = _lay_tree(tmp_path, TINY)
    (prefix / "input/data/training/data.yaml").unlink()

    done = _train(prefix)

    assert done.returncode == 1
    reason = (prefix / "output/failure").read_text(encoding="utf-8")
    assert reason.startswith(f"FileNotFoundError: no dataset at {prefix / 'input/data/training'}")


def test_the_plain_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "sagemaker/training/train.py"]
    places = ["--data", tmp_path / "data.yaml", "--out", tmp_path / "out"]

    done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("train: no dataset at")
    assert "Traceback" not in done.stderr
