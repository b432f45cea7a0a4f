"""Cuts: versions of datasets that are too large to be written down while somebody waits."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.labels.datasets.versions import DatasetVersions
from chalicelib.labels.transfers.records import State, Transfer
from chalicelib.labels.transfers.table import Transfers

ClassNamesOf = Callable[[str], tuple[str, ...]]


class Cutter:
    """Writes versions down, each in one go: one that was killed is begun again.

    Parameters
    ----------
    table : Transfers
    versions : DatasetVersions
    class_names_of : callable
        From a model's name to its classes.
    """

    def __init__(
        self, table: Transfers, versions: DatasetVersions, class_names_of: ClassNamesOf
    ) -> None:
        self._table, self._versions, self._class_names_of = table, versions, class_names_of

    def step(self, held: Transfer) -> Transfer:
        """Begin a cut that is held, or do it.

        Raises
        ------
        LostLease
            Somebody else has it by now.
        ModelNotFound
            It cannot be finished: the model is gone.
        StorageUnavailable, DatabaseUnavailable
            It can, later.
        """
        if held.state is State.QUEUED:
            return self._table.save(held, state=State.BUILDING)
        names = self._class_names_of(held.model)
        version, is_new = self._versions.cut(held.model, names, held.user)
        found = {"sha256": version.sha256, "is_new": is_new}
        images = version.train + version.valid
        return self._table.save(held, state=State.DONE, done=images, total=images, found=found)
