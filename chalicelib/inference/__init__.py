"""Who runs a detection: this process, with detectors kept warm, or a SageMaker endpoint."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chalicelib.inference.service import Answer, Batch, Inference, Look

__all__ = ["Answer", "Batch", "Inference", "Look"]


def __getattr__(name: str) -> Any:
    """Load onnxruntime and its like when a detection is first asked for, not for a page."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module("chalicelib.inference.service"), name)
