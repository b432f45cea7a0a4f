"""Releasing control images, and taking that back from those who were given them as tasks."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.labels.releases import Releases
from chalicelib.predictions import PredictionTable
from chalicelib.trust.task_book import TaskBook


class ImageReleases:
    """Says which images callers with a token may be shown as control images.

    Parameters
    ----------
    releases : Releases
    book : TaskBook
    table : PredictionTable
    """

    def __init__(self, releases: Releases, book: TaskBook, table: PredictionTable) -> None:
        self._releases = releases
        self._book = book
        self._table = table

    def set(self, model: str, images: Sequence[str], *, released: bool, by: str) -> int:
        """Release images, or take that back, also of tasks; return how many changed.

        Safe to repeat: what a killed call left is done by the next one.

        Raises
        ------
        ImageNotFound
            The dataset has no such image; nothing is changed.
        DatabaseUnavailable
        """
        changed = self._releases.set(model, images, released=released, by=by)
        if not released:
            for prediction_id in self._book.tasks_on(model, images):
                self._close(prediction_id)
        return changed

    def _close(self, prediction_id: str) -> None:
        """Show a task only to those who may see its photo without the release."""
        if record := self._table.find(prediction_id):
            self._table.update(
                record, lambda found: found.model_copy(update={"is_released": False})
            )
