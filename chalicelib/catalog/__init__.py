"""Models and their versions: which exist, which one serves, and how a new one is published."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chalicelib.catalog.catalog import Catalog
from chalicelib.catalog.model import (
    ClassMetrics,
    LiveModel,
    ModelFile,
    ModelName,
    VersionMetrics,
)

if TYPE_CHECKING:
    from chalicelib.catalog.proof import blank_picture, prove
    from chalicelib.catalog.register import Publisher

__all__ = [
    "Catalog",
    "ClassMetrics",
    "LiveModel",
    "ModelFile",
    "ModelName",
    "Publisher",
    "VersionMetrics",
    "blank_picture",
    "prove",
]

_LOADED_LATE = {"Publisher": "register", "blank_picture": "proof", "prove": "proof"}


def __getattr__(name: str) -> Any:
    """Load onnxruntime and the database's driver when they are first asked for, not for a page."""
    if name not in _LOADED_LATE:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"{__name__}.{_LOADED_LATE[name]}"), name)
