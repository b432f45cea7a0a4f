"""The weights that a fine-tune starts from: those of the version that serves.

A version that was trained here has a ``best.pt``. One that came as an ONNX file alone, as the
bundled one does, has its network rebuilt from that: exporting has folded each batch normalisation
into its convolution, so each is given back the statistics that photos have there, and what undoes
them. Such a network answers as the file does, and goes on learning where it stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

from chalicelib.catalog.model import version_key
from chalicelib.errors import InvalidModel, ObjectNotFound
from chalicelib.storage import ObjectStore
from chalicelib.vision import DetectionOptions, Detector

ARCHITECTURES = tuple(
    f"{family}{size}.yaml" for family in ("yolov8", "yolo11", "yolo12") for size in "nsmlx"
)
PHOTOS = 16  # that the statistics are taken from
LARGEST_DIFFERENCE = 1e-3  # of what both answer, as a share of the input's size or of certainty
Weights = Mapping[str, npt.NDArray[Any]]
Blob = npt.NDArray[np.float32]


def fetch(store: ObjectStore, model: str, version: int, photos: Sequence[Path], out: Path) -> Path:
    """Write a version's weights to a file and return its path.

    Parameters
    ----------
    photos : sequence of Path
        Of the kind that will be trained on.

    Raises
    ------
    ObjectNotFound
        There is no such version.
    InvalidModel
        It has an ONNX file alone, of a network that cannot be rebuilt.
    """
    begun = out.with_suffix(".part")
    try:
        begun.write_bytes(store.get(version_key(model, version, "best.pt")).body)
    except ObjectNotFound:
        rebuild(store.get(version_key(model, version, "model.onnx")).body, photos, begun)
    return begun.replace(out)


def rebuild(exported: bytes, photos: Sequence[Path], out: Path) -> None:
    """Write the network of an ONNX file as weights to train on.

    Raises
    ------
    InvalidModel
        It is none of ``ARCHITECTURES`` as ultralytics exports them, or there is no photo, or what
        was rebuilt does not answer as the file does.
    """
    detector = Detector(exported)
    if not photos:
        raise InvalidModel("a network cannot be rebuilt from its ONNX file without any photo")
    blobs = [_blob(detector, photo) for photo in photos[:PHOTOS]]
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_from_string(exported).graph.initializer
    }
    network = _shaped_as(weights, detector.class_names)
    _restore_statistics(network, blobs)
    _prove(network, detector, blobs[:4])
    torch.save({"epoch": -1, "model": network, "ema": None, "train_args": {}}, out)


def _blob(detector: Detector, photo: Path) -> Blob:
    """Return a photo as the network's input, float32 [1, 3, H, W]."""
    return detector.prepare(photo.read_bytes(), DetectionOptions()).pixels[None].copy()


def _shaped_as(weights: Weights, class_names: Sequence[str]) -> Any:
    """Return the network that has such weights, with these in it and no normalisation yet."""
    for architecture in ARCHITECTURES if "model.0.conv.weight" in weights else ():
        network = DetectionModel(architecture, nc=len(class_names), verbose=False).eval()
        wanted = dict(_wanted(network))
        if all(
            name in weights and weights[name].shape == tuple(tensor.shape)
            for name, tensor in wanted.items()
        ):
            for name, tensor in wanted.items():
                tensor.data.copy_(torch.from_numpy(weights[name].astype(np.float32)))
            network.names = dict(enumerate(class_names))
            return network
    raise InvalidModel(
        "the version has no best.pt, and its ONNX file is of no network that can be rebuilt "
        f"({', '.join(ARCHITECTURES)}): put its best.pt beside it"
    )


def _wanted(network: Any) -> Iterable[tuple[str, torch.Tensor]]:
    """Yield what an export holds of a network, by its names there."""
    for name, module in network.named_modules():
        if isinstance(module, Conv):
            nn.init.zeros_(module.bn.running_mean)
            module.bn.running_var.fill_(1 - module.bn.eps)  # divides by 1
            yield f"{name}.conv.weight", module.conv.weight
            yield f"{name}.conv.bias", module.bn.bias
        elif isinstance(module, nn.Conv2d) and not name.endswith(".conv"):
            yield f"{name}.weight", module.weight
            if module.bias is not None:
                yield f"{name}.bias", module.bias


class _Moments:
    """Mean and variance by channel of all that passes into a batch normalisation."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self._layer = layer
        self._count = 0
        self._sum = self._squares = torch.zeros(layer.num_features, dtype=torch.float64)
        self._hook = layer.register_forward_pre_hook(self._see)

    def _see(self, _: nn.Module, given: tuple[torch.Tensor]) -> None:
        variance, mean = (
            each.double() for each in torch.var_mean(given[0], (0, 2, 3), correction=0)
        )
        count = given[0].numel() // given[0].shape[1]
        self._count += count
        self._sum = self._sum + count * mean
        self._squares = self._squares + count * (variance + mean.square())

    def settle(self) -> None:
        """Give them to the layer, and what undoes them, so that its output stays as it is."""
        self._hook.remove()
        mean = self._sum / self._count
        variance = (self._squares / self._count - mean.square()).clamp(min=0)
        layer = self._layer
        with torch.no_grad():
            layer.weight.copy_((variance + layer.eps).sqrt())
            layer.bias.add_(mean)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)


def _restore_statistics(network: Any, blobs: Sequence[Blob]) -> None:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    seen = [_Moments(layer) for layer in layers]
    with torch.no_grad():
        for blob in blobs:
            network(torch.from_numpy(blob))
    for moments in seen:
        moments.settle()


def _prove(network: Any, detector: Detector, blobs: Sequence[Blob]) -> None:
    """Compare what both answer.

    Raises
    ------
    InvalidModel
        They differ by more than rounding.
    """
    for blob in blobs:
        with torch.no_grad():
            answer = network(torch.from_numpy(blob))
        ours = (answer[0] if isinstance(answer, tuple) else answer).numpy()
        theirs = detector.forward(blob)
        if ours.shape != theirs.shape:
            raise InvalidModel(f"rebuilt, it answers {ours.shape} and not {theirs.shape}")
        scale = np.ones((1, ours.shape[1], 1), np.float32)
        scale[:, :4] = max(blob.shape[2:])
        difference = float(np.abs((ours - theirs) / scale).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise InvalidModel(f"rebuilt, it answers otherwise than its ONNX file: {difference}")
