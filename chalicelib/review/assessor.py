"""What is known of a contributor, when they send an answer: the `Assessor` of submissions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from chalicelib.callers import is_member, is_operator
from chalicelib.trust.boxes import ClassedBoxes
from chalicelib.trust.grading import agreements, grade
from chalicelib.trust.opinions import Opinions
from chalicelib.trust.policy import Assessment, Kind, Rank, rank_of
from chalicelib.trust.standing import TrustStanding
from chalicelib.trust.task_book import Task, TaskBook, standings_in, unanswered_in

if TYPE_CHECKING:
    from psycopg2.extensions import cursor


class Assessor:
    """Grades answers to control tasks, compares answers on the same image, and ranks people.

    Safe to repeat: the same answer again leaves what it left.

    Parameters
    ----------
    book : TaskBook
    opinions : Opinions
    trusted : Sequence[str], optional
        Callers that need not prove themselves.
    proof : bool
        Whether the others have to.
    """

    def __init__(
        self,
        book: TaskBook,
        opinions: Opinions,
        trusted: Sequence[str] = (),
        *,
        proof: bool = True,
    ) -> None:
        self._book = book
        self._opinions = opinions
        self._trusted = frozenset(trusted)
        self._proof = proof

    def assess(
        self,
        user_address: str,
        model: str,
        prediction_id: str,
        submitted: ClassedBoxes,
        *,
        is_shared: bool = True,
    ) -> Assessment:
        """Take note of an answer that is about to be recorded.

        Parameters
        ----------
        submitted : ClassedBoxes
            In pixels of the upright original.
        is_shared : bool
            Others than operators may be shown the photo, so that they can agree about it.

        Raises
        ------
        DatabaseUnavailable
        """
        task = self._book.find(prediction_id)
        was_asked = task is not None and task.user_address == user_address
        if task and task.settled is not None:
            if was_asked:
                self._book.grade(task, grade(submitted, task.settled))
        else:
            self._compare(user_address, model, prediction_id, task, submitted)
        standing, rank = self.known(user_address)
        can_prove = self._proof and self._book.can_prove(model)
        has_voters = self._proof and not can_prove and self._book.has_voters()
        return Assessment(
            rank,
            task is not None and task.is_control,
            was_asked,
            standing.distrust,
            (can_prove or has_voters) and is_member(user_address),
            can_prove or (has_voters and is_shared),
        )

    def known(self, user_address: str) -> tuple[TrustStanding, Rank]:
        """Return how well a user answers, and how far they are trusted."""
        with self._book.transaction() as rows:
            standings, ranks = self.known_in(rows, [user_address])
        return standings[user_address], ranks[user_address]

    def known_in(
        self, rows: cursor, users: Collection[str]
    ) -> tuple[dict[str, TrustStanding], dict[str, Rank]]:
        """Return the same for several users, in the caller's transaction."""
        standings = standings_in(rows, sorted(users))
        unanswered = unanswered_in(rows, sorted(users))
        ranks = {
            user: rank_of(
                _kind(user),
                standing,
                unanswered.get(user, 0),
                is_trusted=user in self._trusted,
                proof=self._proof,
            )
            for user, standing in standings.items()
        }
        return standings, ranks

    def _compare(
        self,
        user_address: str,
        model: str,
        prediction_id: str,
        task: Task | None,
        submitted: ClassedBoxes,
    ) -> None:
        """Compare with what others said of the image, as far as one of the two was asked.

        At most 50 answers are compared, and no further ones after ``grading.MOST_PAIRS`` pairs of
        boxes: members' answers come before others', which have no vote.
        """
        asked = task is not None and task.user_address == user_address
        if task:
            image: str | None = task.image_sha256
        else:
            image = self._opinions.image_of(prediction_id, user_address)
        if image is None:
            return
        others = self._opinions.of_others(user_address, model, image, asked_only=not asked)
        members = {user for user in others if is_member(user)}
        self._book.agree(user_address, model, image, agreements(submitted, others, members))
        if task and asked:
            self._book.answered(task)


def _kind(user: str) -> Kind:
    if is_operator(user):
        return "operator"
    return "member" if is_member(user) else "address"
