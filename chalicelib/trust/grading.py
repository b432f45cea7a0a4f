"""How an answer compares with boxes that are settled, and with what somebody else answered.

Both sides are paired one to one, as ``chalicelib.trust.changes`` does it. A settled box is

- *matched*: the answer has a box of its class there, IoU at least 0.5;
- *misplaced*: the answer has a box of its class nearby, IoU at least 0.1 and below 0.5;
- *mislabelled*: the answer has a box of another class there, IoU at least 0.5;
- *overlooked*: none of these.

A box of the answer that is paired with none of the settled ones is *spurious*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.changes import SAME_OBJECT_IOU, Change, ChangeKind, compare
from chalicelib.trust.pairing import effort, same_objects

# Pairs of boxes after which an answer is compared with no further ones on its image. Where 2,000
# boxes, the most that an answer may have, lie beside each other, that is some ten answers; where
# all lie over each other, one, which is always compared and takes some tenths of a second.
MOST_PAIRS = 2_000_000


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
    matched = len(same_objects(one, other))
    return Agreement(matched, len(one) + len(other) - matched)


def agreements(
    answer: ClassedBoxes,
    others: Mapping[str, ClassedBoxes],
    first: Collection[str] = (),
    most_pairs: int = MOST_PAIRS,
) -> dict[str, Agreement]:
    """Compare an answer with those of others about the same image, until a limit is reached.

    Equal answers are compared once. Those in ``first`` come before the others, and of both those
    whose comparison takes least. So at most ``most_pairs`` pairs of boxes are looked at, and those
    of one comparison more: 4 million between the largest answers that are taken.

    Parameters
    ----------
    answer : ClassedBoxes
    others : Mapping[str, ClassedBoxes]
        By who gave them.
    first : Collection[str]
        Whose opinions can count.
    most_pairs : int
        Pairs of boxes that are looked at, all comparisons together, until the rest is left out.

    Returns
    -------
    dict[str, Agreement]
        Without those that were left out.
    """
    distinct = {boxes.digest: boxes for boxes in others.values()}
    efforts = {digest: effort(answer, boxes) for digest, boxes in distinct.items()}
    in_order = sorted(others, key=lambda who: (who not in first, efforts[others[who].digest], who))
    compared: dict[bytes, Agreement] = {}
    found, left = {}, most_pairs
    for who in in_order:
        digest = others[who].digest
        if digest not in compared and left > 0:
            left -= efforts[digest]
            compared[digest] = agreement(answer, distinct[digest])
        if digest in compared:
            found[who] = compared[digest]
    return found


def _matched(changes: Iterable[Change]) -> int:
    kinds = (ChangeKind.KEPT, ChangeKind.MOVED)
    return sum(change.kind in kinds and _same(change) for change in changes)


def _same(change: Change) -> bool:
    return change.iou >= SAME_OBJECT_IOU
