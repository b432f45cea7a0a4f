"""Which images are for training and which for validation: decided once, without leaking.

The same thing photographed twice must not sit in both sets, or validation only measures memory.
So images are gathered in clusters: those that look alike (``chalicelib.labels.fingerprint``) and
those that an importer says belong together (a group). In this order:

1. An image that is known stays where it is, whatever is sent with it.
2. An image goes where its cluster went.
3. A new cluster draws its lot, which is the least SHA-256 of its images: the lowest fifth of all
   lots is for validation, as long as that keeps validation between 10 and 30 % of all images.
4. An image that joins clusters which went to different sides goes to training. Nothing moves; but
   the validation images of such a cluster can no longer measure anything: ``leaking`` names them,
   to be left out of validation.

``place`` decides a whole batch at once: clusters within it are found before anything is drawn, so
the order of its images does not matter, and rule 4 is only met with what was there before.

    >>> import numpy as np
    >>> alike = Fingerprint(np.zeros(4, np.uint64), np.zeros((1, 4), np.uint64))
    >>> split = Split()
    >>> [first] = split.place([Arrival("f" * 64, alike)])
    >>> [again] = split.place([Arrival("0" * 64, alike)])
    >>> first.member.side, first.reason, again.member.side, again.reason
    ('train', 'drawn', 'train', 'joined')
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.labels import words
from chalicelib.labels.fingerprint import NEAR, Fingerprint, Index, UInt64

Side = words.Side
Reason = Literal["known", "joined", "drawn", "joined both"]

SHARE = 0.2
LEAST_SHARE, MOST_SHARE = 0.1, 0.3
LONGEST_GROUP = 500  # characters; a longer one is known by its checksum
TIME_IN_NAME = re.compile(
    r"(?<!\d)(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d"  # year, month, day
    r"[-_T. ]{0,3}[0-2]\d[-_.:]?[0-5]\d[-_.:]?[0-5]\d(?:[-_.]?\d{1,6})?(?!\d)"  # to the second
)


@dataclass(frozen=True)
class Arrival:
    """An image that wants a side.

    Attributes
    ----------
    sha256 : str
        Of its bytes, in hexadecimal.
    fingerprint : Fingerprint
    group : str, optional
        Images of the same group stay together.
    """

    sha256: str
    fingerprint: Fingerprint
    group: str | None = None


@dataclass(frozen=True, eq=False)
class Member:
    """An image that has its side: what is to be stored of it.

    Attributes
    ----------
    sha256 : str
    bits : uint64 [4]
        ``Fingerprint.bits``.
    side : {"train", "valid"}
    groups : tuple[str, ...]
        All that it was said to be of.
    joins : tuple[str, ...]
        Images that it is near to: the nearest one of each cluster that it joined.
    """

    sha256: str
    bits: UInt64
    side: Side
    groups: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """Where an image goes, and why.

    Attributes
    ----------
    member : Member
        To be stored, also where the image was known: it may have another group now.
    reason : {"known", "joined", "drawn", "joined both"}
    """

    member: Member
    reason: Reason


@dataclass(frozen=True)
class Counts:
    """How many images a dataset has, and how many of them are for validation."""

    images: int
    valid: int


class Split:
    """The sides of all images of a dataset.

    Or of a part of it: what ``placing`` reads is the images that are known, the clusters of what is
    near to the others (``gather``), and how many there are of the rest.

    Parameters
    ----------
    members : Iterable[Member]
        What was placed so far.
    share : float
        Of validation.
    near : int
        Bits in which fingerprints of one thing may differ. Where very many images of things that
        are hardly different come together, less keeps them from becoming one cluster.
    counts : Counts, optional
        Of the whole dataset, where ``members`` is a part of it.
    """

    def __init__(
        self,
        members: Iterable[Member] = (),
        share: float = SHARE,
        near: int = NEAR,
        counts: Counts | None = None,
    ) -> None:
        self._share = share
        self._index = Index(near)
        self._order: list[str] = []
        self._members: dict[str, Member] = {}
        self._clusters = _Clusters()
        self._images = self._valid = 0
        self.enter(members)
        if counts:
            self._images, self._valid = counts.images, counts.valid

    @property
    def members(self) -> list[Member]:
        """All that were placed, in the order in which they were."""
        return list(self._members.values())

    @property
    def share(self) -> float:
        """Part of all images that is for validation, 0..1."""
        return self._valid / max(self._images, 1)

    def find(self, sha256: str) -> Member | None:
        """Return an image that was placed, None if it is unknown."""
        return self._members.get(sha256)

    def side(self, sha256: str) -> Side | None:
        """Return where an image is, None if it is unknown."""
        member = self.find(sha256)
        return member.side if member else None

    def leaking(self) -> set[str]:
        """Return the validation images whose cluster is in training too: do not measure on them."""
        return {
            sha256
            for sha256, member in self._members.items()
            if member.side == "valid" and len(self._clusters.sides(sha256)) > 1
        }

    def enter(self, members: Iterable[Member]) -> None:
        """Take in what was placed elsewhere, or here and then stored; it may have new groups."""
        for member in members:
            known = member.sha256 in self._members
            if not known:
                self._enter(member.sha256, member.bits)
            self._join(member.sha256, member.groups, member.joins)
            if known:
                self._members[member.sha256] = member
            else:
                self._settle(member)

    def gather(self, names: Iterable[str], sides: Iterable[Side]) -> None:
        """Make one cluster of some names, sha256 or groups, that has images on these sides."""
        first, *others = names
        for other in others:
            self._clusters.join(first, other)
        self._clusters.sides(first).update(sides)

    def place(
        self, arrivals: Sequence[Arrival], near: Mapping[str, Sequence[str]] | None = None
    ) -> list[Decision]:
        """Decide for all of a batch at once; the dataset then holds its images.

        Parameters
        ----------
        arrivals : Sequence[Arrival]
        near : mapping, optional
            From each new image to all that are near to it, in the batch too: nearest first, and of
            those that are as near the oldest first. Otherwise they are searched for here.

        Returns
        -------
        list[Decision]
            One for each arrival, in their order; the second of two that are the same is known.
        """
        fresh = {a.sha256: a for a in arrivals if a.sha256 not in self._members}
        for arrival in fresh.values():
            self._enter(arrival.sha256, arrival.fingerprint.bits)
        for arrival in arrivals:
            self._join(arrival.sha256, groups_of(arrival), ())
        joins = {
            sha256: self._join_near(sha256, self._near(arrival) if near is None else near[sha256])
            for sha256, arrival in fresh.items()
        }
        placed = self._decide(sorted(fresh))
        for sha256, (side, _) in placed.items():
            bits = fresh[sha256].fingerprint.bits
            self._settle(Member(sha256, bits, side, joins=joins[sha256]))
        return [self._decision(arrival, placed) for arrival in arrivals]

    def _enter(self, sha256: str, bits: UInt64) -> None:
        self._index.add(bits)
        self._order.append(sha256)

    def _join(self, sha256: str, groups: Iterable[str], near: Iterable[str]) -> None:
        for group in groups:
            self._clusters.join(sha256, group_name(group))
        for other in near:
            self._clusters.join(sha256, other)

    def _near(self, arrival: Arrival) -> list[str]:
        return [self._order[row] for row, _ in self._index.near(arrival.fingerprint)]

    def _join_near(self, sha256: str, near: Iterable[str]) -> tuple[str, ...]:
        """Join the clusters of all that is near; return those that made a difference."""
        return tuple(other for other in near if self._clusters.join(sha256, other))

    def _settle(self, member: Member) -> None:
        self._members[member.sha256] = member
        self._images += 1
        self._valid += member.side == "valid"
        self._clusters.sides(member.sha256).add(member.side)

    def _decide(self, fresh: Sequence[str]) -> dict[str, tuple[Side, Reason]]:
        """Return side and reason of each new image, given in the order of their lots."""
        total = self._images + len(fresh)
        clusters = defaultdict(list)
        for sha256 in fresh:
            clusters[self._clusters.root(sha256)].append(sha256)
        placed: dict[str, tuple[Side, Reason]] = {}
        valid = self._valid
        joining = [c for c in clusters.values() if self._clusters.sides(c[0])]
        drawing = [c for c in clusters.values() if not self._clusters.sides(c[0])]
        for cluster in joining:
            side, *other = sorted(self._clusters.sides(cluster[0]))
            placed |= dict.fromkeys(cluster, (side, "joined both" if other else "joined"))
            valid += len(cluster) * (side == "valid")
        for cluster in drawing:
            side = self._drawn(cluster, valid, total)
            placed |= dict.fromkeys(cluster, (side, "drawn"))
            valid += len(cluster) * (side == "valid")
        return placed

    def _drawn(self, cluster: Sequence[str], valid: int, total: int) -> Side:
        chosen = int(cluster[0][:16], 16) < self._share * 16**16
        fits = valid + len(cluster) <= MOST_SHARE * total
        return "valid" if fits and (chosen or valid < LEAST_SHARE * total) else "train"

    def _decision(self, arrival: Arrival, placed: dict[str, tuple[Side, Reason]]) -> Decision:
        """Write down an arrival's group, and say what became of it."""
        member = self._members[arrival.sha256]
        groups = tuple(dict.fromkeys(member.groups + groups_of(arrival)))
        if groups != member.groups:
            member = self._members[arrival.sha256] = replace(member, groups=groups)
        return Decision(member, placed.pop(arrival.sha256, (None, "known"))[1])


class _Clusters:
    """Disjoint sets of names, and the sides that the images of each are on."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._sides: dict[str, set[Side]] = {}

    def root(self, name: str) -> str:
        """Return the name that stands for the whole cluster."""
        while (parent := self._parent.setdefault(name, name)) != name:
            self._parent[name] = self._parent.setdefault(parent, parent)
            name = parent
        return name

    def sides(self, name: str) -> set[Side]:
        """Return the sides of the cluster's images; add to it in place."""
        return self._sides.setdefault(self.root(name), set())

    def join(self, one: str, other: str) -> bool:
        """Make one cluster of two; return whether they were two."""
        kept, gone = self.root(one), self.root(other)
        if kept == gone:
            return False
        self._parent[gone] = kept
        self._sides.setdefault(kept, set()).update(self._sides.pop(gone, set()))
        return True


def shot_in(name: str) -> str | None:
    """Return the time to the second that a file name tells: a group for what one shot shows.

    For importers whose source cuts several pictures out of one photo, or shoots in bursts.

    >>> shot_in("image-2020-04-22-10-15-03-04-cropped-left-top.jpg")
    '2020-04-22-10-15-03-04'
    >>> shot_in("IMG_20200422_101503.jpg")
    '20200422_101503'
    >>> shot_in("tag-17.jpg")
    """
    found = TIME_IN_NAME.search(name)
    return found[0] if found else None


def groups_of(arrival: Arrival) -> tuple[str, ...]:
    """Return the groups that an arrival is said to be of."""
    return () if arrival.group is None else (arrival.group,)


def group_name(group: str) -> str:
    """Return what a group is called among the names of a cluster, as ``cluster_names_of`` does.

    >>> group_name("tag 7")
    'group tag 7'
    """
    if len(group) > LONGEST_GROUP:
        group = hashlib.md5(group.encode(), usedforsecurity=False).hexdigest()
    return f"group {group}"
