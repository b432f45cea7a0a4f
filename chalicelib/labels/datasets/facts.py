"""What a dataset is made of. Triggers (``sql``) count it while it changes; here it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.database import Database

SIZES = ("small", "medium", "large")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
COUNTS = "SELECT side, fact, key, n FROM dataset_counts WHERE model = %(model)s AND n <> 0"
REVISION = "SELECT revision, changed_at FROM datasets WHERE model = %(model)s"
Counts = Mapping[str, int]


@dataclass(frozen=True)
class SideFacts:
    """What one side of a dataset is made of.

    Attributes
    ----------
    images, empty : int
        Images that have a label, and those of them whose label says that there is nothing.
    images_of, boxes_of : mapping of class id to int
        Images with at least one box of a class; its boxes.
    boxes_by_size : mapping
        "small" (below 32 x 32 pixels, as COCO has it), "medium", "large" (from 96 x 96).
    boxes_by_share : tuple of 8 int
        By the root of the share of the image that a box covers: below 1 %, 2, 5, 10, 20, 30, 50,
        and from there on.
    images_by_origin : mapping
        Where the present labels came from.
    labels, withdrawn : mapping
        All labels that there ever were, by origin; those that went, by why.
    """

    images: int
    empty: int
    images_of: Mapping[int, int]
    boxes_of: Mapping[int, int]
    boxes_by_size: Counts
    boxes_by_share: tuple[int, ...]
    images_by_origin: Counts
    labels: Counts
    withdrawn: Counts

    @property
    def boxes(self) -> int:
        """All boxes."""
        return sum(self.boxes_of.values())


@dataclass(frozen=True)
class Facts:
    """What a dataset is made of.

    Attributes
    ----------
    revision : int
        At which it last changed; 0 where there was no label yet.
    changed_at : datetime or None
    train, valid : SideFacts
    clusters : int
        Groups of two images or more that look alike or were said to belong together.
    clustered : int
        Images in them.
    leaking : int
        Validation images of which the like is in training too: not to be measured on.
    """

    revision: int
    changed_at: datetime | None
    train: SideFacts
    valid: SideFacts
    clusters: int
    clustered: int
    leaking: int


@dataclass
class _Counted:
    """The counts of one side: fact to key to count."""

    of: dict[str, dict[str, int]] = field(default_factory=dict)

    def total(self, fact: str) -> int:
        return sum(self.of.get(fact, {}).values())

    def side(self) -> SideFacts:
        by_share = self.of.get("boxes_by_share", {})
        return SideFacts(
            images=self.total("images"),
            empty=self.total("empty"),
            images_of=self._by_class("images_of"),
            boxes_of=self._by_class("boxes_of"),
            boxes_by_size={size: self.of.get("boxes_by_size", {}).get(size, 0) for size in SIZES},
            boxes_by_share=tuple(by_share.get(str(n), 0) for n in range(len(SHARES) + 1)),
            images_by_origin=self.of.get("images_by_origin", {}),
            labels=self.of.get("labels", {}),
            withdrawn=self.of.get("withdrawn", {}),
        )

    def _by_class(self, fact: str) -> dict[int, int]:
        return {int(key): n for key, n in sorted(self.of.get(fact, {}).items())}


class DatasetFacts:
    """Tells what datasets are made of.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, model: str) -> Facts:
        """Return the facts of one dataset; all zero where there is none.

        Raises
        ------
        DatabaseUnavailable
        """
        with self._database.transaction() as rows:
            rows.execute(COUNTS, {"model": model})
            counted = _by_side(rows.fetchall())
            rows.execute(REVISION, {"model": model})
            revision, changed_at = rows.fetchone() or (0, None)
        whole = counted[""]
        return Facts(
            revision=revision,
            changed_at=changed_at,
            train=counted["train"].side(),
            valid=counted["valid"].side(),
            clusters=whole.total("clusters"),
            clustered=whole.total("clustered"),
            leaking=whole.total("leaking"),
        )


def _by_side(rows: Iterable[tuple[str, str, str, int]]) -> dict[str, _Counted]:
    counted = {"": _Counted(), "train": _Counted(), "valid": _Counted()}
    for side, fact, key, n in rows:
        counted[side].of.setdefault(fact, {})[key] = n
    return counted
