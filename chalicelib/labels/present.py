"""The label that an image has now, and how far it is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.records import accepted_by_operator, label_of_operator

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

PRESENT = f"""
SELECT s.sha256, l.label_id, l.yolo, l.user_address, r.prediction_id::text,
       {label_of_operator("l")}
       OR coalesce(r.state = 'accepted' AND r.reviewed_at IS NOT NULL, false),
       {label_of_operator("l")} OR coalesce({accepted_by_operator("r")}, false)
FROM samples s JOIN labels l ON l.label_id = s.label_id
LEFT JOIN requests r ON r.request_id = l.request_id
WHERE s.model = %(model)s AND s.sha256 = ANY(%(images)s)
"""
# In the order of their ids, as whoever decides about them locks them.
HOLD = """
SELECT l.label_id
FROM samples s JOIN labels l ON l.label_id = s.label_id JOIN requests r USING (request_id)
WHERE s.model = %(model)s AND s.sha256 = ANY(%(images)s)
ORDER BY r.request_id FOR SHARE OF r
"""


@dataclass(frozen=True)
class Present:
    """The label of an image.

    Attributes
    ----------
    label_id : int
    yolo : str
        ``class cx cy w h`` a line, normalised.
    user_address : str | None
        Who made it.
    prediction_id : str | None
        That its submission answers.
    is_settled : bool
        An operator imported, made or accepted it, or people agreed on it.
    is_of_an_operator : bool
        The same, without what people agreed on.
    """

    label_id: int
    yolo: str
    user_address: str | None
    prediction_id: str | None
    is_settled: bool
    is_of_an_operator: bool

    def boxes(self, size: tuple[int, int]) -> ClassedBoxes:
        """Return the boxes in pixels of an image of a width and height."""
        numbers = [line.split() for line in self.yolo.splitlines() if line]
        table = np.array(numbers, np.float64).reshape(-1, 5)
        centres = table[:, 1:] * np.array([*size, *size])
        return ClassedBoxes.from_centres(centres, table[:, 0].astype(np.int64))


def present_in(rows: cursor, model: str, image_sha256: str) -> Present | None:
    """Return the label of an image, in the caller's transaction; None: it has none."""
    return presents_in(rows, model, [image_sha256]).get(image_sha256)


def presents_in(rows: cursor, model: str, images: Sequence[str]) -> dict[str, Present]:
    """Return the labels of those images that have one, by sha256."""
    rows.execute(PRESENT, {"model": model, "images": list(images)})
    return {sha256: Present(*row) for sha256, *row in rows.fetchall()}


def hold_in(rows: cursor, model: str, images: Sequence[str]) -> set[int]:
    """Let nobody decide about submissions that made images' labels; return these labels' ids.

    Holds until the transaction ends. Call it before the dataset is locked.
    """
    rows.execute(HOLD, {"model": model, "images": list(images)})
    return {label_id for (label_id,) in rows.fetchall()}
