"""Models and their versions: which exist, which one serves, and how a new one is published."""

from __future__ import annotations

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import ClassMetrics, LiveModel, ModelFile, VersionMetrics
from chalicelib.catalog.register import Publisher

__all__ = [
    "Catalog",
    "ClassMetrics",
    "LiveModel",
    "ModelFile",
    "Publisher",
    "VersionMetrics",
]
