"""The models that come with the code, for a service that has none of their names yet."""

from __future__ import annotations

from pathlib import Path

from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import ModelNotFound
from chalicelib.wiring import Services
from deploy.cloud import log


def register(services: Services, folder: Path) -> None:
    """Let the models below a folder serve where nothing serves under their names yet.

    A model that has been trained further since is left alone.

    Raises
    ------
    InvalidModel
        One of them cannot be served.
    """
    for weights in sorted(folder.glob("*/model.onnx")):
        name = weights.parent.name
        try:
            live = services.catalog.require(name)
            log.info("model %s serves version %d", name, live.version)
        except ModelNotFound:
            metrics = (weights.parent / "metrics.json").read_bytes()
            onnx = weights.read_bytes()
            # They are for trying the service out, which needs photos that anybody may label.
            made = services.publisher.publish(name, onnx, metrics, Visibility.PUBLIC)
            log.info("registered model %s, version %s", name, made.live_version)
