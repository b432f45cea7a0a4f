"""How an answer compares with boxes that are settled, and with what somebody else answered.

Both sides are paired one to one, as ``chalicelib.trust.changes`` does it. A settled box is

- *matched*: the answer has a box of its class there, IoU at least 0.5;
- *misplaced*: the answer has a box of its class nearby, IoU at least 0.1 and below 0.5;
- *mislabelled*: the answer has a box of another class there, IoU at least 0.5;
- *overlooked*: none of these.

A box of the answer that is paired with none of the settled ones is *spurious*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.changes import SAME_OBJECT_IOU, Change, ChangeKind, compare


@dataclass(frozen=True)
class Grade:
    """How an answer compares with the settled boxes of one image.

    Attributes
    ----------
    boxes : int
        How many are settled: ``matched + overlooked + misplaced + mislabelled``.
    matched, overlooked, misplaced, mislabelled : int
        What became of them.
    spurious : int
        Boxes of the answer where nothing is settled.

    Examples
    --------
    >>> Grade(boxes=4, matched=3, overlooked=1, misplaced=0, mislabelled=0, spurious=1).accuracy
    0.6
    """

    boxes: int
    matched: int
    overlooked: int
    misplaced: int
    mislabelled: int
    spurious: int

    @property
    def accuracy(self) -> float:
        """``matched / (boxes + spurious)``, 0 to 1; 1 where neither side has a box."""
        return self.matched / (self.boxes + self.spurious) if self.boxes + self.spurious else 1.0

    def to_json(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Agreement:
    """How far two answers about one image agree.

    Attributes
    ----------
    matched : int
        Pairs of one class and an IoU of at least 0.5.
    total : int
        Boxes that either has, a matched pair counted once. Where neither has any both say that
        nothing is there: 1 of 1.
    """

    matched: int
    total: int

    @property
    def share(self) -> float:
        """``matched / total``, 0 to 1."""
        return self.matched / self.total


def grade(answer: ClassedBoxes, settled: ClassedBoxes) -> Grade:
    """Compare an answer with the settled boxes of its image, both in the same units.

    Examples
    --------
    >>> settled = ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 1])
    >>> answer = ClassedBoxes([[1, 0, 11, 10], [25, 0, 35, 10], [40, 0, 50, 10]], [0, 0, 0])
    >>> grade(answer, settled)
    Grade(boxes=3, matched=1, overlooked=0, misplaced=1, mislabelled=1, spurious=0)
    """
    changes = compare(settled, answer)
    return Grade(
        boxes=len(settled),
        matched=_matched(changes.changes),
        overlooked=len(changes.of(ChangeKind.REMOVED)),
        misplaced=sum(not _same(change) for change in changes.of(ChangeKind.MOVED)),
        mislabelled=len(changes.of(ChangeKind.RELABELLED)),
        spurious=len(changes.of(ChangeKind.ADDED)),
    )


def agreement(one: ClassedBoxes, other: ClassedBoxes) -> Agreement:
    """Compare two answers about one image, both in the same units.

    Examples
    --------
    >>> both = ClassedBoxes([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0])
    >>> agreement(both, ClassedBoxes([[0, 0, 10, 10]], [0]))
    Agreement(matched=1, total=2)
    """
    if not len(one) and not len(other):
        return Agreement(1, 1)
    matched = _matched(compare(one, other).changes)
    return Agreement(matched, len(one) + len(other) - matched)


def _matched(changes: Iterable[Change]) -> int:
    kinds = (ChangeKind.KEPT, ChangeKind.MOVED)
    return sum(change.kind in kinds and _same(change) for change in changes)


def _same(change: Change) -> bool:
    return change.iou >= SAME_OBJECT_IOU
