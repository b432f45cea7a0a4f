"""What came of a run of the poisoning drill, as one row of a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from local.demo.course import A_MINUTE, Course, Person, Sent
from local.demo.records import trust_of

HEADER = (
    ("scenario", "---"),
    ("AP", "---:"),
    ("model", "---"),
    ("honest + hostile", "---:"),
    ("photos, honest + hostile", "---:"),
    ("poison at worst", "---:"),
    ("at the end", "---:"),
    ("honest banned", "---:"),
    ("honest count at once", "---:"),
    ("within a minute", "---:"),
    ("at the end", "---:"),
    ("of those without a mistake", "---:"),
    ("held back", "---:"),
    ("controls, tasks per accepted", "---:"),
    ("hostile banned", "---:"),
    ("distrusted", "---:"),
    ("proven", "---:"),
    ("lies ever in force", "---:"),
)


@dataclass(frozen=True)
class Figures:
    """One run in figures; shares are 0 to 1.

    Attributes
    ----------
    average_precision : float
        Measured, at IoU 0.5.
    poison_worst, poison_end : float
        Of the images that people brought and that have a label in force, those whose label an
        attacker sent and which is wrong at IoU 0.5; looked at every 25 submissions.
    honest_at_once, honest_within_a_minute, honest_at_end : float
        Of honest corrections of photos of their own, those that the label in force says as well: at
        once, within as many answers as a free machine takes in a minute, and at the end.
    right_within_a_minute, right_at_end : float
        The same of those that have every box and no other: honest people make mistakes, and
        others outvote these.
    honest_held_back : float
        Of the same, those that were answered as quarantined.
    controls_per_accepted, tasks_per_accepted : float
        Answered by honest people, for each correction of theirs that counts at the end.
    lies, lies_ever_in_force : int
        Wrong submissions of attackers but for controls; images that ever had one as label.
    score_auc : float or None
        How well the score tells hostile submissions from honest ones: area under the ROC curve.
    """

    scenario: str
    model_is: str
    average_precision: float
    honest: int
    hostile: int
    honest_photos: int
    hostile_photos: int
    images: int
    poison_worst: float
    poison_end: float
    honest_banned: int
    honest_distrusted: int
    honest_proven: int
    honest_at_once: float
    honest_within_a_minute: float
    honest_at_end: float
    right_within_a_minute: float
    right_at_end: float
    honest_held_back: float
    controls_per_accepted: float
    tasks_per_accepted: float
    hostile_banned: int
    hostile_distrusted: int
    hostile_proven: int
    lies: int
    lies_ever_in_force: int
    score_auc: float | None
    seconds: float
    notes: Mapping[str, object]

    def to_json(self) -> dict[str, Any]:
        """Return all of them."""
        return asdict(self)

    def row(self) -> str:
        """Return them as a row below ``HEADER``."""
        cells = (
            self.scenario,
            f"{self.average_precision:.2f}",
            self.model_is,
            f"{self.honest} + {self.hostile}",
            f"{self.honest_photos} + {self.hostile_photos}",
            f"{self.poison_worst:.1%}",
            f"{self.poison_end:.1%}",
            self.honest_banned,
            f"{self.honest_at_once:.0%}",
            f"{self.honest_within_a_minute:.1%}",
            f"{self.honest_at_end:.1%}",
            f"{self.right_within_a_minute:.1%}, {self.right_at_end:.1%}",
            f"{self.honest_held_back:.0%}",
            f"{self.controls_per_accepted:.2f}, {self.tasks_per_accepted:.2f}",
            self.hostile_banned,
            self.hostile_distrusted,
            self.hostile_proven,
            f"{self.lies_ever_in_force} of {self.lies}",
        )
        return _row(cells)


@dataclass(frozen=True)
class Known:
    """What the service thinks of people, by their names, at the end."""

    banned: frozenset[str]
    distrusted: frozenset[str]
    proven: frozenset[str]

    @classmethod
    def by(cls, course: Course, people: Sequence[Person]) -> Known:
        """Ask the service, as an operator does."""
        trust = {person.user: trust_of(course.service.operator, person.user) for person in people}
        return cls(
            frozenset(course.service.records.banned()),
            frozenset(user for user, each in trust.items() if each.get("distrust")),
            frozenset(user for user, each in trust.items() if each.get("is_proven")),
        )

    def counts(self, people: Sequence[Person]) -> tuple[int, int, int]:
        """Return how many of some people are banned, distrusted, proven."""
        users = {person.user for person in people}
        return len(users & self.banned), len(users & self.distrusted), len(users & self.proven)


@dataclass(frozen=True)
class Occasion:
    """Which scenario was run with which model."""

    scenario: str
    model_is: str
    average_precision: float
    seconds: float
    notes: Mapping[str, object]


def figures(course: Course, people: Sequence[Person], known: Known, of: Occasion) -> Figures:
    """Return a run in figures."""
    honest = [person for person in people if not person.is_hostile]
    hostile = [person for person in people if person.is_hostile]
    theirs = [sent for sent in course.sent if sent.person.is_hostile and sent.kind != "control"]
    ours = [sent for sent in course.sent if not sent.person.is_hostile]
    own = [sent for sent in ours if sent.kind == "own"]
    right = [sent for sent in own if not sent.was_wrong]
    at_end = [sent for sent in own if course.is_in_force(sent)]
    honest_banned, honest_distrusted, honest_proven = known.counts(honest)
    hostile_banned, hostile_distrusted, hostile_proven = known.counts(hostile)
    asked = [sent for sent in ours if sent.kind != "own"]
    return Figures(
        **vars(of),
        honest=len(honest),
        hostile=len(hostile),
        honest_photos=len(own),
        hostile_photos=sum(sent.kind == "own" for sent in theirs),
        images=course.poison[-1].images,
        poison_worst=max(each.share for each in course.poison),
        poison_end=course.poison[-1].share,
        honest_banned=honest_banned,
        honest_distrusted=honest_distrusted,
        honest_proven=honest_proven,
        honest_at_once=_share(own, [sent.counts_at_once for sent in own]),
        honest_within_a_minute=_share(own, [_within_a_minute(sent) for sent in own]),
        honest_at_end=len(at_end) / max(len(own), 1),
        right_within_a_minute=_share(right, [_within_a_minute(sent) for sent in right]),
        right_at_end=_share(right, [course.is_in_force(sent) for sent in right]),
        honest_held_back=_share(own, [sent.state == "quarantined" for sent in own]),
        controls_per_accepted=sum(s.kind == "control" for s in asked) / max(len(at_end), 1),
        tasks_per_accepted=len(asked) / max(len(at_end), 1),
        hostile_banned=hostile_banned,
        hostile_distrusted=hostile_distrusted,
        hostile_proven=hostile_proven,
        lies=sum(sent.was_wrong for sent in theirs),
        lies_ever_in_force=len(course.poisoned_ever),
        score_auc=auc(course.sent),
    )


def table(runs: Sequence[Figures]) -> str:
    """Return runs as a table in Markdown."""
    titles, rules = zip(*HEADER, strict=True)
    return "\n".join([_row(titles), _row(rules), *(run.row() for run in runs)])


def auc(sent: Sequence[Sent]) -> float | None:
    """Return how well the score tells hostile submissions from honest ones; None if one is missing.

    The area under the ROC curve.
    """
    scored = [each for each in sent if each.state != "refused"]
    hostile = np.array([each.score for each in scored if each.person.is_hostile])
    others = np.array([each.score for each in scored if not each.person.is_hostile])
    if not len(hostile) or not len(others):
        return None
    above = (hostile[:, None] > others[None]).mean()
    return float(above + (hostile[:, None] == others[None]).mean() / 2)


def _within_a_minute(sent: Sent) -> bool:
    return sent.counted_after is not None and sent.counted_after <= A_MINUTE


def _share(of: Sequence[Sent], which: Sequence[bool]) -> float:
    return sum(which) / max(len(of), 1)


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
