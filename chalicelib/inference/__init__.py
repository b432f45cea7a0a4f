"""Who runs a detection: today this process, with detectors kept warm."""

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
