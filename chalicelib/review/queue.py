"""What waits for an operator, with all that helps to decide, and the deciding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from chalicelib.errors import SightloopError
from chalicelib.review.decision import Decision, Verdict
from chalicelib.review.people import People, Person
from chalicelib.storage import ObjectStore
from chalicelib.trust.opinions import PEERS_WANTED, Opinions, PeerOpinion
from chalicelib.trust.records import Recorded
from chalicelib.trust.standing import TrustStanding
from chalicelib.trust.task_book import TaskBook
from chalicelib.trust.waiting import QueueOrder, Waiting, WaitingSubmissions

LINKS_LAST_SECONDS = 3600
STATE: Mapping[Verdict, Literal["accepted", "rejected"]] = {
    "accept": "accepted",
    "reject": "rejected",
}


class Decider(Protocol):
    """Who accepts and rejects submissions, with all that follows from it."""

    def review(
        self,
        request_id: int,
        seen: datetime,
        state: Literal["accepted", "rejected"],
        by: str,
        why: str,
    ) -> Recorded:
        """Decide about a submission as it was when the operator looked at it."""

    def release(self, request_id: int, by: str) -> None:
        """Release the image of an accepted submission as a control image."""

    def places_of(self, request_ids: Sequence[int]) -> dict[int, str]:
        """Return where the images of these are now, of those that are or were in a dataset."""


@dataclass(frozen=True)
class Decided:
    """What became of a decision: the submission as it is now, or why it could not be."""

    submission_id: int
    outcome: Recorded | SightloopError


@dataclass(frozen=True)
class TrustedOpinion:
    """What somebody else's answer on the same image says, and whether they proved themselves."""

    opinion: PeerOpinion
    is_proven: bool

    @property
    def speaks_for_it(self) -> bool:
        """Whether it counts towards a proposal to accept."""
        return self.is_proven and self.opinion.agrees


@dataclass(frozen=True)
class Case:
    """One submission that waits.

    Attributes
    ----------
    submission : Recorded
    frees : float
        How many waiting answers one decision settles, as ``trust.waiting`` counts.
    image_url : str | None
        A link to the image, good for an hour.
    contributor : Person
    opinions : tuple[TrustedOpinion, ...]
    """

    submission: Recorded
    frees: float
    image_url: str | None
    contributor: Person
    opinions: tuple[TrustedOpinion, ...]

    @property
    def proposal(self) -> Verdict | None:
        """``"accept"`` where two independent people who proved themselves say the same."""
        speaking = sum(opinion.speaks_for_it for opinion in self.opinions)
        return "accept" if speaking >= PEERS_WANTED else None


class Review:
    """The queue of quarantined submissions.

    Parameters
    ----------
    waiting : WaitingSubmissions
    opinions : Opinions
    book : TaskBook
    people : People
    store : ObjectStore
    decider : Decider
    """

    def __init__(
        self,
        waiting: WaitingSubmissions,
        opinions: Opinions,
        book: TaskBook,
        people: People,
        store: ObjectStore,
        decider: Decider,
    ) -> None:
        self._waiting = waiting
        self._opinions = opinions
        self._book = book
        self._people = people
        self._store = store
        self._decider = decider

    def page(self, order: str, after: str | None, limit: int) -> tuple[list[Case], str | None]:
        """Return what waits, and after which the next page begins; None: there is no more.

        Raises
        ------
        InvalidRequest
            ``after`` is none that we gave out for that order.
        """
        waiting, more = self._waiting.page(QueueOrder(order), after, limit)
        return self._cases(waiting), more

    def decide(self, decisions: Iterable[Decision], operator: str) -> list[Decided]:
        """Decide about several submissions, each by itself: one that cannot be stops no other."""
        return [self._decide(each, operator) for each in decisions]

    def decide_one(self, decision: Decision, operator: str) -> Recorded:
        """Decide about one.

        Raises
        ------
        NotFound
            There is no such submission.
        Conflict
            Its contributor sent something else since the operator looked.
        InvalidRequest
            It does not say why.
        """
        state = STATE[decision.decision]
        decided = self._decider.review(
            decision.submission_id, decision.seen, state, operator, decision.why
        )
        if decision.release:
            self._decider.release(decision.submission_id, f"operator:{operator}")
        return decided

    def _decide(self, decision: Decision, operator: str) -> Decided:
        try:
            return Decided(decision.submission_id, self.decide_one(decision, operator))
        except SightloopError as error:
            return Decided(decision.submission_id, error)

    def _cases(self, page: Sequence[Waiting]) -> list[Case]:
        waiting = [each.submission for each in page]
        people = self._people.of({each.user_address for each in waiting})
        opinions = self._opinions.on(waiting)
        peers = {peer.peer_address for some in opinions.values() for peer in some}
        standings = self._book.standings(sorted(peers))
        places = self._decider.places_of([each.request_id for each in waiting])
        return [
            Case(
                each.submission,
                each.frees,
                self._link(places.get(each.submission.request_id) or _key(each.submission)),
                people[each.submission.user_address],
                _trusted(opinions[each.submission.request_id], standings),
            )
            for each in page
        ]

    def _link(self, key: str | None) -> str | None:
        return self._store.presigned_get(key, LINKS_LAST_SECONDS) if key else None


def _key(submission: Recorded) -> str | None:
    key = submission.detail.get("image", {}).get("key")
    return str(key) if key else None


def _trusted(
    opinions: Sequence[PeerOpinion], standings: Mapping[str, TrustStanding]
) -> tuple[TrustedOpinion, ...]:
    return tuple(TrustedOpinion(each, standings[each.peer_address].is_proven) for each in opinions)
