"""What submissions ask about models: those that serve, and those that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.catalog import Catalog
from chalicelib.errors import ModelNotFound
from chalicelib.labels.case import Precision

if TYPE_CHECKING:
    from chalicelib.catalog.pending import PendingModels


class KnownModels:
    """Classes and precision of models.

    Parameters
    ----------
    catalog : Catalog
    pending : PendingModels
    """

    def __init__(self, catalog: Catalog, pending: PendingModels) -> None:
        self._catalog = catalog
        self._pending = pending

    def class_names(self, model: str) -> tuple[str, ...]:
        """Return a model's classes by id, whether it has a version or is asked for only.

        Raises
        ------
        ModelNotFound
        """
        try:
            return self._catalog.get(model).names
        except ModelNotFound:
            return self._pending.get(model).class_names

    def live_version(self, model: str) -> int | None:
        """Return the number of the version that serves; None: the model has none yet."""
        try:
            return self._catalog.get(model).live_version
        except ModelNotFound:
            return None

    def precision(self, model: str, version: int) -> Precision:
        """Return the AP of a version by class; where it was not measured, that of the live one.

        Raises
        ------
        ModelNotFound
        """
        file = self._catalog.get(model)
        if version != file.live_version:
            measured = self._catalog.metrics(model, version)
            if measured.per_class:
                return Precision(version, measured.average_precisions(len(file.names)))
        return Precision(file.live_version, file.validation_APs)

    def prefix(self, model: str) -> str:
        """Return the prefix of a model's dataset in the store bucket."""
        try:
            self._catalog.require(model)
        except ModelNotFound:
            return f"pending_models/{model}"
        return f"models/{model}"
