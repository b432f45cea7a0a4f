"""The trust policy: whose answers count at once, what waits and for what, and when people agree.

Pure: facts in, decisions out. ``docs/trust.md`` explains it; the figures are measured by
``make drill``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal

from chalicelib.trust.standing import TrustStanding

WaitsFor = Literal["proof", "opinions", "operator"]
# A member has a token; addresses are shared and cheap, and prove nothing.
Kind = Literal["operator", "member", "address"]

LEAD = 2  # votes that an answer needs beyond those against it: the smallest agreement of two
MOST_UNANSWERED = 5  # open tasks; more than an honest person leaves behind by accident
OFTEN_AUDITED = 20  # accepted answers after becoming established
OFTEN_RATE = 1.0  # of those: with a third, small lies about one photo in five left 2 % of poison
USUAL_AUDIT_RATE = 1 / 10

UNPROVEN_CONTROL_RATE = 1 / 2  # six tasks give the three controls that prove somebody
PROBATION_CONTROL_RATE = 1 / 5
DOUBTFUL_CONTROL_RATE = 1 / 2
USUAL_CONTROL_RATE = 1 / 10
USUAL_TASK_RATE = 1 / 10  # of the answers of established people that are followed by a task
WORRYING_SUSPICIOUS = 3


class Rank(IntEnum):
    """How far a contributor is trusted; the higher overwrites unsettled labels of the lower."""

    DISTRUSTED = 0
    PROBATION = 1
    ESTABLISHED = 2
    KNOWN = 3  # of a closed team, where nobody has to prove themselves
    TRUSTED = 4
    OPERATOR = 5


class Cause(StrEnum):
    """Why the policy holds an answer back, or takes it without a label."""

    DISTRUST = "distrust"
    UNPROVEN = "unproven"
    OPINION = "opinion"
    SETTLED = "settled"
    CONTESTED = "contested"
    COPY = "copy"


FOR_REVIEWER = {
    Cause.UNPROVEN: "Its contributor is on probation.",
    Cause.OPINION: "It is an opinion that was asked for; it counts when people agree.",
    Cause.SETTLED: "It differs from a label that is settled: it challenges it.",
    Cause.COPY: "It differs from the settled label of another image that shows the same there.",
    Cause.CONTESTED: "It differs from somebody else's label, who is trusted as much or more.",
}


@dataclass(frozen=True)
class Assessment:
    """What is known of a contributor who answers.

    Attributes
    ----------
    rank : Rank
    is_control : bool
        The image's boxes are settled: the answer is graded and never becomes a label.
    was_asked : bool
        The image was handed out to this contributor as a task.
    distrust : str | None
        Why everything waits for an operator, in words for that operator.
    can_prove : bool
        The contributor is a member, and the model has images that controls can be made of.
    can_settle : bool
        The model has such images, so that members can prove themselves and agree on an image.
    differs_from_copy : bool
        The image is a copy of one that is settled, and the answer says otherwise.
    """

    rank: Rank = Rank.KNOWN
    is_control: bool = False
    was_asked: bool = False
    distrust: str | None = None
    can_prove: bool = True
    can_settle: bool = True
    differs_from_copy: bool = False

    @property
    def is_sealed(self) -> bool:
        """Whether every answer is taken in the same words: none may tell a control by them."""
        return self.was_asked and self.rank < Rank.KNOWN


@dataclass(frozen=True)
class PresentLabel:
    """The label that an image has when an answer about it arrives.

    Attributes
    ----------
    is_settled : bool
        It was imported, an operator made or accepted it, or people agreed on it.
    is_own : bool
        The answering contributor made it.
    author_rank : Rank
    agrees : bool
        The answer says the same.
    """

    is_settled: bool
    is_own: bool
    author_rank: Rank
    agrees: bool


@dataclass(frozen=True)
class Decision:
    """What becomes of an answer.

    Attributes
    ----------
    waits_for : {"proof", "opinions", "operator"}, optional
        None: it is accepted.
    cause : Cause, optional
        Why, where the comparison with the prediction does not say it.
    makes_label : bool
        An accepted answer that only repeats a settled label makes none.
    """

    waits_for: WaitsFor | None = None
    cause: Cause | None = None
    makes_label: bool = True

    @property
    def is_accepted(self) -> bool:
        """Whether it counts at once."""
        return self.waits_for is None


ACCEPT = Decision()
CONFIRM = Decision(makes_label=False)


def rank_of(
    kind: Kind, standing: TrustStanding, unanswered: int, *, is_trusted: bool, proof: bool
) -> Rank:
    """Return how far a contributor is trusted.

    Parameters
    ----------
    kind : {"operator", "member", "address"}
    unanswered : int
        Tasks that were handed out and not answered.
    is_trusted : bool
        Whether the settings name the contributor.
    proof : bool
        Whether people have to prove themselves.

    Examples
    --------
    >>> rank_of("member", TrustStanding(), 0, is_trusted=True, proof=True).name
    'TRUSTED'
    >>> rank_of("address", TrustStanding(), 0, is_trusted=False, proof=True).name
    'PROBATION'
    """
    if kind == "operator":
        return Rank.OPERATOR
    if standing.distrust:
        return Rank.DISTRUSTED
    if is_trusted:
        return Rank.TRUSTED
    if not proof:
        return Rank.KNOWN
    established = standing.is_established and unanswered < MOST_UNANSWERED
    return Rank.ESTABLISHED if kind == "member" and established else Rank.PROBATION


def decide(  # noqa: PLR0911 - one rule a line, in their order
    who: Assessment, label: PresentLabel | None, *, suspicious: bool, surprising: bool
) -> Decision:
    """Return what becomes of an answer.

    Parameters
    ----------
    label : PresentLabel, optional
        None: the image has none.
    suspicious : bool
        The score says that it spoils the prediction.
    surprising : bool
        The second signal does.

    Examples
    --------
    >>> decide(Assessment(Rank.PROBATION), None, suspicious=False, surprising=False).waits_for
    'proof'
    >>> decide(Assessment(Rank.ESTABLISHED), None, suspicious=False, surprising=True).waits_for
    """
    if who.rank is Rank.DISTRUSTED:
        return Decision("operator", Cause.DISTRUST)
    if who.is_sealed:
        return Decision("opinions", Cause.OPINION)
    if label and label.is_settled and who.rank < Rank.OPERATOR:
        return CONFIRM if label.agrees else Decision("operator", Cause.SETTLED)
    if who.differs_from_copy and who.rank < Rank.OPERATOR:
        return Decision("opinions" if who.can_settle else "operator", Cause.COPY)
    if suspicious:
        return Decision("operator" if who.rank >= Rank.TRUSTED else "opinions")
    if who.rank is Rank.KNOWN:
        return Decision("opinions") if surprising else ACCEPT
    if label and not may_replace(who.rank, label):
        return Decision("opinions", Cause.CONTESTED)
    if who.rank is Rank.PROBATION:
        return Decision(_awaited(who), Cause.UNPROVEN)
    return ACCEPT


def may_replace(rank: Rank, label: PresentLabel) -> bool:
    """Return whether what somebody says may become the label of an image that has another.

    Examples
    --------
    >>> of_a_member = PresentLabel(False, False, Rank.ESTABLISHED, False)
    >>> may_replace(Rank.PROBATION, of_a_member), may_replace(Rank.TRUSTED, of_a_member)
    (False, True)
    """
    if rank is Rank.OPERATOR:
        return True
    if label.is_settled or rank is Rank.DISTRUSTED:
        return False
    return rank is Rank.KNOWN or label.is_own or label.agrees or rank > label.author_rank


def is_doubted(rank: Rank, standing: TrustStanding) -> bool:
    """Return whether nothing of somebody's is to count before others have looked at it.

    Examples
    --------
    >>> is_doubted(Rank.DISTRUSTED, TrustStanding()), is_doubted(Rank.PROBATION, TrustStanding())
    (True, False)
    >>> from chalicelib.trust.standing import Audits
    >>> lost_two_of_five = TrustStanding(audits=Audits(5, 2))
    >>> is_doubted(Rank.PROBATION, lost_two_of_five), is_doubted(Rank.KNOWN, lost_two_of_five)
    (True, False)
    """
    return rank is Rank.DISTRUSTED or (rank < Rank.ESTABLISHED and standing.has_fallen)


def _awaited(who: Assessment) -> WaitsFor:
    """Return what an answer on probation waits for; an address proves nothing by itself."""
    if who.can_prove:
        return "proof"
    return "opinions" if who.can_settle else "operator"


@dataclass(frozen=True)
class Voice:
    """What one person said last of an image.

    Attributes
    ----------
    request_id : int
    votes : bool
        A member who proved themselves and whom we asked.
    vouches : bool
        It is counted for itself and against no other: the answer of a member who proved
        themselves, so that one more who agrees makes two.
    """

    request_id: int
    votes: bool = False
    vouches: bool = False


@dataclass(frozen=True)
class Agreed:
    """The answer on which people agree, and who says the same and who does not, by request."""

    winner: int
    supporters: frozenset[int]
    losers: frozenset[int]


def agreed_on(voices: Sequence[Voice], same: Callable[[int, int], bool]) -> Agreed | None:
    """Return the answer that leads by most votes, by two at least; the oldest of equal ones.

    Saying the same is not transitive: several answers that differ can each lead. The largest lead
    wins, so that a further vote never works against the answer that it supports.

    Parameters
    ----------
    voices : Sequence[Voice]
        One a person, oldest first.
    same : callable
        From two requests to whether they say the same.

    Examples
    --------
    >>> same = lambda one, other: (one < 3) == (other < 3)
    >>> agreed_on([Voice(1), Voice(2, votes=True), Voice(3, votes=True)], same)
    >>> agreed_on([Voice(1, vouches=True), Voice(2, votes=True)], same).winner
    1
    """
    # Comparing takes long where there are thousands of boxes, and anybody can send an answer: only
    # votes are compared with, and no further ones once an answer cannot lead any more.
    voters = [voice.request_id for voice in voices if voice.votes]
    if len(voters) + any(voice.vouches for voice in voices) < LEAD:
        return None

    def lead(candidate: Voice) -> int:
        ahead = int(candidate.vouches and not candidate.votes)
        for left, voter in zip(range(len(voters), 0, -1), voters, strict=True):
            if ahead + left < LEAD:
                break
            ahead += 1 if same(candidate.request_id, voter) else -1
        return ahead

    leads = {candidate.request_id: lead(candidate) for candidate in voices}
    winner = max(leads, key=lambda request_id: leads[request_id])
    if leads[winner] < LEAD:
        return None
    every = frozenset(voice.request_id for voice in voices)
    supporters = frozenset(other for other in every if same(winner, other))
    return Agreed(winner, supporters, every - supporters)


def is_contested(
    request_id: int, voices: Sequence[Voice], same: Callable[[int, int], bool]
) -> bool:
    """Return whether somebody whose vote counts says otherwise than a request."""
    return any(v.votes and not same(request_id, v.request_id) for v in voices)


def audit_rate(accepted: int) -> float:
    """Return the share of an established person's answers that others are asked about.

    Parameters
    ----------
    accepted : int
        Answers that were accepted at once and that nobody confirmed yet.
    """
    return OFTEN_RATE if accepted < OFTEN_AUDITED else USUAL_AUDIT_RATE


def control_rate(rank: Rank, suspicious: int, standing: TrustStanding) -> float:
    """Return how likely the next task of a contributor is a control, 0 to 1.

    Neither the number of submissions nor confirmations lower it: only controls and audits do.

    Parameters
    ----------
    suspicious : int
        Suspicious submissions that were not forgiven.

    Examples
    --------
    >>> control_rate(Rank.PROBATION, 0, TrustStanding())
    0.5
    """
    if standing.is_doubtful or suspicious >= WORRYING_SUSPICIOUS:
        return DOUBTFUL_CONTROL_RATE
    if not standing.is_proven:
        return UNPROVEN_CONTROL_RATE
    return PROBATION_CONTROL_RATE if rank < Rank.ESTABLISHED else USUAL_CONTROL_RATE
