"""Which images of a ZIP take the labels in it, where others have labelled these images before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.callers import is_operator
from chalicelib.labels.present import Present, hold_in, presents_in
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.policy import PresentLabel, Rank, may_replace
from chalicelib.trust.votes import says_the_same

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

    from chalicelib.labels.settling import Ranks
    from chalicelib.labels.transfers.checked import Checked

MOST_NAMES = 20  # of images that keep their labels, in the report of an import


@dataclass(frozen=True)
class Taken:
    """What an import changes, and what it leaves as it is.

    Attributes
    ----------
    images : list[Checked]
        Those that get the labels of the ZIP.
    confirmed : list[Checked]
        Those whose settled labels say the same.
    refused : list[Checked]
        Those that keep the labels that others made.
    """

    images: list[Checked]
    confirmed: list[Checked]
    refused: list[Checked]


class TakingRules:
    """Decides by the trust policy what an import may overwrite; an operator's overwrites all.

    Parameters
    ----------
    ranks : Ranks
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def hold_in(self, rows: cursor, user: str, model: str, images: Sequence[Checked]) -> set[int]:
        """Keep the submissions behind images' labels from being decided about.

        Call it before the dataset is locked.

        Returns
        -------
        set[int]
            Ids of the labels whose submissions are held; to be passed to ``taken_in``.
        """
        return set() if is_operator(user) else hold_in(rows, model, [i.sha256 for i in images])

    def taken_in(
        self, rows: cursor, user: str, model: str, images: Sequence[Checked], held: set[int]
    ) -> Taken:
        """Return what an import changes, while the dataset is locked."""
        taken = Taken([], [], [])
        if is_operator(user):
            return Taken(list(images), [], [])
        present = presents_in(rows, model, [each.sha256 for each in images])
        authors = {label.user_address or "" for label in present.values()}
        ranks = self._ranks.known_in(rows, {user, *authors})[1]
        for image in images:
            label = present.get(image.sha256)
            if label is None:
                taken.images.append(image)
                continue
            facts = _facts(user, image, label, ranks)
            if facts.is_settled and facts.agrees:
                taken.confirmed.append(image)
            elif may_replace(ranks[user], facts) and not _is_new(label, held):
                taken.images.append(image)
            else:
                taken.refused.append(image)
        return taken


def _facts(user: str, image: Checked, label: Present, ranks: dict[str, Rank]) -> PresentLabel:
    author, boxes = label.user_address or "", image.detections
    agrees = says_the_same(ClassedBoxes.from_detections(boxes), label.boxes(boxes.image_size))
    return PresentLabel(label.is_settled, author == user, ranks[author], agrees)


def _is_new(label: Present, held: set[int]) -> bool:
    """Return whether a submission made the label after those before were held."""
    return label.prediction_id is not None and label.label_id not in held
