"""How far a contributor is trusted, by what they answered where the right answer is known.

Pure: numbers in, words out. The figures come from ``chalicelib.trust.task_book``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

LEAST_CONTROLS = 5
POOR_ACCURACY = 0.5
LEAST_COMPARED = 10
POOR_AGREEMENT = 0.3
PROVEN_ACCURACY = 0.7  # whose opinion counts against another's
PROVEN_CONTROLS = 3
LEAST_AUDITS = 20  # decided answers, before what somebody sends counts at once: what it costs to
# lie unchecked for a while. In `benchmarks/trust_policy.py` attackers who wait until they are
# trusted leave 7 % of poison with 10, and 2 % with 20.
NEWEST_AUDITS = 20
FALLEN_AFTER = 5  # decided answers, from which lost ones take back what nobody confirmed
MOST_LOST = 1 / 5  # of them: an honest answer loses one in ten or so, by a box overlooked


@dataclass(frozen=True)
class Controls:
    """A contributor's newest answers to control tasks, a hundred at most, taken together.

    Attributes
    ----------
    answers : int
        How many control images.
    accuracy : float | None
        The mean of the images' accuracies; None where there are none.
    boxes, matched, overlooked, misplaced, mislabelled, spurious : int
        Boxes, as ``chalicelib.trust.grading`` counts them.
    """

    answers: int = 0
    accuracy: float | None = None
    boxes: int = 0
    matched: int = 0
    overlooked: int = 0
    misplaced: int = 0
    mislabelled: int = 0
    spurious: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields, and the shares of the settled boxes.

        Examples
        --------
        >>> told = Controls(2, 0.5, boxes=4, matched=2, overlooked=1, misplaced=1).to_json()
        >>> told["overlooked_rate"], told["mislabelled_rate"], told["spurious_rate"]
        (0.25, 0.0, 0.0)
        """
        answered = self.boxes - self.overlooked + self.spurious
        return {
            **asdict(self),
            "overlooked_rate": _share(self.overlooked, self.boxes),
            "misplaced_rate": _share(self.misplaced, self.boxes),
            "mislabelled_rate": _share(self.mislabelled, self.boxes),
            "spurious_rate": _share(self.spurious, answered),
        }


@dataclass(frozen=True)
class Agreements:
    """How far a contributor's newest answers, two hundred at most, agree with others'.

    Attributes
    ----------
    compared : int
        Answers of others on the same images; those of banned people do not count.
    agreement : float | None
        The mean share of boxes in common; None where nothing was compared.
    with_proven : int
        Those by people who proved themselves on control tasks.
    agreement_with_proven : float | None
    """

    compared: int = 0
    agreement: float | None = None
    with_proven: int = 0
    agreement_with_proven: float | None = None


@dataclass(frozen=True)
class Audits:
    """A contributor's newest answers that people agreed or operators decided on, twenty at most.

    Attributes
    ----------
    decided : int
    lost : int
        Those of them that were rejected.
    """

    decided: int = 0
    lost: int = 0

    @property
    def are_enough(self) -> bool:
        """Whether they say something."""
        return self.decided >= LEAST_AUDITS

    @property
    def are_poor(self) -> bool:
        """Whether too many were lost.

        Examples
        --------
        >>> Audits(5, 1).are_poor, Audits(5, 2).are_poor, Audits(10, 2).are_poor
        (False, True, False)
        """
        return self.lost > self.decided * MOST_LOST


@dataclass(frozen=True)
class TrustStanding:
    """What is known of how well a contributor answers.

    Attributes
    ----------
    is_member : bool
        They have a token that an operator gave out. Addresses and Telegram accounts are cheap, so
        the answers of many of them say nothing about somebody else's.
    """

    controls: Controls = Controls()
    agreements: Agreements = Agreements()
    audits: Audits = Audits()
    is_member: bool = True

    @property
    def distrust(self) -> str | None:
        """Why everything they send has to wait for a person, in words for that person.

        Examples
        --------
        >>> TrustStanding(Controls(answers=6, accuracy=0.4)).distrust
        'Their accuracy on 6 control tasks is 0.40, below 0.5.'
        >>> TrustStanding(Controls(answers=4, accuracy=0.0)).distrust is None
        True
        """
        tasks, others = self.controls, self.agreements
        accuracy, enough = tasks.accuracy, tasks.answers >= LEAST_CONTROLS
        if accuracy is not None and enough and accuracy < POOR_ACCURACY:
            return (
                f"Their accuracy on {tasks.answers} control tasks is {accuracy:.2f}, "
                f"below {POOR_ACCURACY}."
            )
        share = others.agreement_with_proven
        if share is not None and others.with_proven >= LEAST_COMPARED and share < POOR_AGREEMENT:
            return (
                f"Their agreement with trusted people on {others.with_proven} answers is "
                f"{share:.2f}, below {POOR_AGREEMENT}."
            )
        return None

    @property
    def is_proven(self) -> bool:
        """Whether their opinion counts for or against somebody else's."""
        accuracy = self.controls.accuracy
        enough = self.controls.answers >= PROVEN_CONTROLS
        good = accuracy is not None and accuracy >= PROVEN_ACCURACY
        return self.is_member and enough and good

    @property
    def is_doubtful(self) -> bool:
        """Whether controls speak against them."""
        accuracy = self.controls.accuracy
        return self.distrust is not None or (accuracy is not None and accuracy < PROVEN_ACCURACY)

    @property
    def is_established(self) -> bool:
        """Whether what they send counts at once: controls prove it, and audits of their own.

        Examples
        --------
        >>> proven = Controls(answers=3, accuracy=0.9)
        >>> TrustStanding(proven).is_established
        False
        >>> TrustStanding(proven, audits=Audits(20, 4)).is_established
        True
        """
        return self.is_proven and self.audits.are_enough and not self.audits.are_poor

    @property
    def has_fallen(self) -> bool:
        """Whether they lost so many audits that what nobody confirmed has to wait again."""
        return self.audits.decided >= FALLEN_AFTER and self.audits.are_poor


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
