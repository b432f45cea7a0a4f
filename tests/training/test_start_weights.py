"""Weights to start from, where a version has an ONNX file alone; and how far the two agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chalicelib.errors import InvalidModel
from sagemaker.training.drawn_tags import write_dataset

torch = pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
pytest.importorskip("ultralytics", reason="training needs ultralytics: requirements-training.txt")

from sagemaker.training import start_weights  # noqa: E402 - torch may be missing
from sagemaker.training.evaluate import WeightsDetector  # noqa: E402

pytestmark = pytest.mark.training
BUNDLE = Path(__file__).parents[2] / "models/scratch/model.onnx"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    write_dataset(folder, 3, seed=7)
    return sorted((folder / "images").iterdir())


@pytest.fixture(scope="module")
def rebuilt(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weights") / "start.pt"
    start_weights.rebuild(BUNDLE.read_bytes(), photos[:2], out)
    return out


def test_a_rebuilt_network_answers_as_its_file_does(rebuilt: Path, photos: list[Path]) -> None:
    detector = WeightsDetector(BUNDLE, rebuilt)

    detector.detect(photos[2].read_bytes())

    assert 0 < detector.largest_difference < 0.001


def test_a_rebuilt_network_has_statistics_to_go_on_learning_with(rebuilt: Path) -> None:
    network = torch.load(rebuilt, weights_only=False)["model"]

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]

    assert len(layers) == 57
    for layer in layers:
        scale = (layer.running_var + layer.eps).sqrt()
        assert torch.allclose(layer.weight, scale), "what learning sees is what serving sees"
        assert not torch.equal(layer.running_var, torch.ones_like(layer.running_var))


def test_weights_that_a_file_was_not_made_of_disagree(
    rebuilt: Path, photos: list[Path], tmp_path: Path
) -> None:
    loaded = torch.load(rebuilt, weights_only=False)
    next(loaded["model"].parameters()).data.mul_(1.1)
    torch.save(loaded, tmp_path / "other.pt")
    detector = WeightsDetector(BUNDLE, tmp_path / "other.pt")

    detector.detect(photos[2].read_bytes())

    assert detector.largest_difference > 0.01


def test_a_network_that_is_none_of_ours_is_refused(
    make_model: Callable[..., bytes], photos: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel, match="of no network that can be rebuilt"):
        start_weights.rebuild(make_model(), photos, tmp_path / "start.pt")

    assert not (tmp_path / "start.pt").exists()
