"""Who runs a detection: today this process, with detectors kept warm."""

from __future__ import annotations

from chalicelib.inference.service import Answer, Batch, Inference

__all__ = ["Answer", "Batch", "Inference"]
