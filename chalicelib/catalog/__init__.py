"""Models and their versions: which exist, which one serves, and how a new one is published."""

from __future__ import annotations

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import (
    ClassMetrics,
    LiveModel,
    ModelFile,
    ModelName,
    VersionMetrics,
)
from chalicelib.catalog.proof import prove
from chalicelib.catalog.register import Publisher

__all__ = [
    "Catalog",
    "ClassMetrics",
    "LiveModel",
    "ModelFile",
    "ModelName",
    "Publisher",
    "VersionMetrics",
    "prove",
]
