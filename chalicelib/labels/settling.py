"""Settling images by agreement, and releasing what waited for its sender to be established.

Each image and each release is one transaction under the lock of the image, and follows from rows
alone: whoever repeats it, or finishes it for somebody who was killed, gets the same.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from chalicelib.database import Database
from chalicelib.errors import Conflict, SightloopError
from chalicelib.labels.present import Present, present_in
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.trust import votes
from chalicelib.trust.policy import (
    FOR_REVIEWER,
    Agreed,
    Cause,
    Rank,
    Voice,
    agreed_on,
    audit_rate,
    is_contested,
    is_doubted,
)
from chalicelib.trust.records import BY_AGREEMENT

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

    from chalicelib.labels.dataset import Dataset, NewLabel
    from chalicelib.labels.relabelling import Relabelling
    from chalicelib.trust.boxes import ClassedBoxes
    from chalicelib.trust.ledger import Ledger
    from chalicelib.trust.standing import TrustStanding
    from chalicelib.trust.votes import Comparisons, Said

RELEASED_AT_ONCE = 50  # of one contributor in one call; the next call goes on
IMAGES_A_RUN = 1_000  # that one reconciliation looks at; five minutes are for all that it does
USERS_A_RUN = 500
IMAGES_AT_ONCE = 20  # that are settled when somebody's earlier opinions begin to count
TRIES = 3  # where an image changes between reading its file and locking it
MOST_OPINIONS = 5  # without agreement, then an operator decides
AGREED = "people agree"
OUTVOTED = "people agree on something else"
BY_AN_OPERATOR = "its image is settled by an operator"
TIED = {"cause": "contested", "text": "People were asked and do not agree."}
LOST = {"cause": "audits", "text": "Its contributor lost too many audits since."}


class Ranks(Protocol):
    """Who ranks contributors."""

    def known(self, user_address: str) -> tuple[TrustStanding, Rank]:
        """Return how well a user answers, and how far they are trusted."""

    def known_in(
        self, rows: cursor, users: Collection[str]
    ) -> tuple[dict[str, TrustStanding], dict[str, Rank]]:
        """Return the same for several users, in the caller's transaction."""


@dataclass(frozen=True)
class _Image:
    """What is known of an image, while it is locked."""

    said: Sequence[Said]
    voices: Sequence[Voice]
    present: Present | None
    comparisons: Comparisons

    def same(self, one: int, other: int) -> bool:
        """Return whether two requests say the same."""
        return self.comparisons.same(self._boxes[one], self._boxes[other])

    @functools.cached_property
    def _boxes(self) -> dict[int, ClassedBoxes]:
        return {each.request_id: each.boxes for each in self.said}

    @property
    def waiting(self) -> list[Said]:
        """What is undecided."""
        return [each for each in self.said if each.waits]

    def agreed(self) -> Agreed | None:
        """Return what people agree on; None while they do not, or an operator has decided."""
        if not self.waiting or (self.present and self.present.is_of_an_operator):
            return None
        return agreed_on(self.voices, self.same)


@dataclass(frozen=True)
class _Prepared:
    """The label of the answer that people agree on, made before its image is locked.

    ``label`` is None where the request has one already.
    """

    request_id: int
    updated_at: datetime
    label: NewLabel | None


class Settling:
    """Settles images, releases what waited, and takes back what lost its credit.

    Parameters
    ----------
    database : Database
    ledger : Ledger
    dataset : Dataset
    relabelling : Relabelling
    ranks : Ranks
    chance : random.Random
        One that cannot be foretold, such as ``random.SystemRandom``.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        dataset: Dataset,
        relabelling: Relabelling,
        ranks: Ranks,
        chance: random.Random,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._dataset = dataset
        self._relabelling = relabelling
        self._ranks = ranks
        self._chance = chance

    def follow(self, model: str, image_sha256: str, user: str) -> None:
        """Do all that follows from a user's answer about an image; safe to repeat."""
        concerned = {user, *self._settle(model, image_sha256)}
        with self._database.transaction() as rows:
            earlier = votes.undecided_of(rows, user, IMAGES_AT_ONCE)
        for other_model, other_image in earlier:
            concerned |= self._settle(other_model, other_image)
        for each in sorted(concerned):
            self.follow_standing(each)

    def follow_standing(self, user: str) -> None:
        """Release what waited for a user to be established; take back what lost its credit."""
        standing, rank = self._ranks.known(user)
        if rank >= Rank.ESTABLISHED:
            self._release(user)
        elif is_doubted(rank, standing):
            if rank is not Rank.DISTRUSTED:
                self._take_back(user)
            self._reopen(user)

    def reconcile(self, most: int) -> int:
        """Finish what was left undone, however long ago.

        Parameters
        ----------
        most : int
            Images that are looked at, a thousand at most; the next call goes on.

        Returns
        -------
        int
            Images that were looked at.
        """
        with self._database.transaction() as rows:
            images = votes.undecided(rows, min(most, IMAGES_A_RUN))
        for model, image_sha256 in images:
            self._settle(model, image_sha256)
        with self._database.transaction() as rows:
            users = votes.unfollowed(rows, min(most, USERS_A_RUN))
        for user in users:
            self.follow_standing(user)
        return len(images)

    def settle_by_operator(self, model: str, image_sha256: str) -> None:
        """Decide about opinions on an image that an operator decided about."""
        for each in sorted(self._settle(model, image_sha256)):
            self.follow_standing(each)

    # ---- one image

    def _settle(self, model: str, image_sha256: str) -> set[str]:
        """Settle an image if people agree; return whose answers were decided about."""
        comparisons = votes.Comparisons()  # they take longest, and are needed again under the lock
        for _ in range(TRIES):
            prepared = self._prepared(model, image_sha256, comparisons)
            try:
                return self._settle_once(model, image_sha256, prepared, comparisons)
            except _ChangedMeanwhile:
                continue
        logger.info("an image changes too often to be settled now", sha256=image_sha256)
        return set()

    def _prepared(
        self, model: str, image_sha256: str, comparisons: Comparisons
    ) -> _Prepared | None:
        """Do what takes long before the image is locked: make the label of what is agreed on."""
        with self._database.transaction() as rows:
            agreed = self._image_in(rows, model, image_sha256, comparisons).agreed()
        if agreed is None:
            return None
        try:
            winner = self._ledger.get(agreed.winner)
            label = self._relabelling.label_again(winner)
        except SightloopError:
            logger.warning("what people agree on cannot be a label", exc_info=True)
            return None
        return _Prepared(winner.request_id, winner.updated_at, label)

    def _settle_once(
        self,
        model: str,
        image_sha256: str,
        prepared: _Prepared | None,
        comparisons: Comparisons,
    ) -> set[str]:
        samples: list[int] = []
        with self._database.transaction() as rows:
            votes.lock_image(rows, image_sha256)
            image = self._image_in(rows, model, image_sha256, comparisons)
            agreed = image.agreed()
            if agreed and prepared is None:
                return set()
            if agreed and prepared:
                decided, samples = self._agree_in(rows, image, agreed, prepared)
            elif image.present and image.present.is_of_an_operator:
                decided = self._follow_operator_in(rows, image)
            else:
                decided = []
                self._put_off_in(rows, image)
        self._relabelling.publish(samples)
        return {each.user_address for each in decided}

    def _image_in(
        self, rows: cursor, model: str, image_sha256: str, comparisons: Comparisons | None = None
    ) -> _Image:
        said = votes.said_in(rows, model, image_sha256)
        standings, ranks = self._ranks.known_in(rows, {each.user_address for each in said})
        voices = votes.voices_of(said, ranks, standings)
        present = present_in(rows, model, image_sha256)
        return _Image(said, voices, present, comparisons or votes.Comparisons())

    def _agree_in(
        self, rows: cursor, image: _Image, agreed: Agreed, prepared: _Prepared
    ) -> tuple[list[Said], list[int]]:
        """Accept what people agree on with what says the same; reject the rest.

        Raises
        ------
        _ChangedMeanwhile
            It is another answer, or was sent anew, since its label was made.
        """
        winner = votes.recorded_in(rows, agreed.winner)
        if (winner.request_id, winner.updated_at) != (prepared.request_id, prepared.updated_at):
            raise _ChangedMeanwhile
        open_ = [each for each in image.said if not each.is_of_an_operator]
        kept = [each for each in open_ if image.same(agreed.winner, each.request_id)]
        lost = [each for each in open_ if each not in kept]
        fresh_kept = [each.request_id for each in kept if not _is_decided(each, "accepted")]
        fresh_lost = [each.request_id for each in lost if not _is_decided(each, "rejected")]
        votes.decide_in(rows, fresh_kept, "accepted", BY_AGREEMENT, AGREED)
        votes.decide_in(rows, fresh_lost, "rejected", BY_AGREEMENT, OUTVOTED)
        samples = self._dataset.withdraw(rows, fresh_lost, "rejected")
        if not self._has_label(rows, kept):
            samples += self._relabelling.put_in(rows, winner, prepared.label)
        metrics.add_metric("ImagesSettled", MetricUnit.Count, 1)
        logger.info("people agree on an image", submission=agreed.winner, lost=len(lost))
        return [*kept, *lost], samples

    def _has_label(self, rows: cursor, kept: Iterable[Said]) -> bool:
        labels = self._dataset.labels_of(rows, [each.request_id for each in kept])
        return any(label.withdrawn_why is None for label in labels.values())

    def _follow_operator_in(self, rows: cursor, image: _Image) -> list[Said]:
        """Decide about opinions that we asked for by what an operator settled meanwhile."""
        asked = [each for each in image.waiting if each.was_asked]
        right = self._settled_boxes(rows, image)
        if right is None:
            return []
        kept = [each for each in asked if right(each)]
        lost = [each for each in asked if each not in kept]
        for some, state in ((kept, "accepted"), (lost, "rejected")):
            requests = [each.request_id for each in some]
            votes.decide_in(rows, requests, state, BY_AGREEMENT, BY_AN_OPERATOR)
        return asked

    def _settled_boxes(self, rows: cursor, image: _Image) -> Callable[[Said], bool] | None:
        """Return what tells whether an answer says what is settled."""
        if image.present is None or not image.waiting:
            return None
        shown = votes.recorded_in(rows, image.waiting[0].request_id).detail["image"]
        right = image.present.boxes((shown["width"], shown["height"]))
        return lambda each: image.comparisons.same(each.boxes, right)

    def _put_off_in(self, rows: cursor, image: _Image) -> None:
        """Keep contested answers from being released; hand what stays a tie to an operator."""
        contested = [
            each.request_id
            for each in image.waiting
            if is_contested(each.request_id, image.voices, image.same)
        ]
        if sum(voice.votes for voice in image.voices) >= MOST_OPINIONS:
            votes.put_off_in(rows, contested, "operator", TIED)
            return
        unproven = {each.request_id for each in image.waiting if each.waits_for == "proof"}
        reason = {"cause": Cause.CONTESTED.value, "text": FOR_REVIEWER[Cause.CONTESTED]}
        votes.put_off_in(rows, sorted(unproven & {*contested}), "opinions", reason)

    # ---- one contributor

    def _release(self, user: str) -> None:
        """Accept what waited only for a user to be established."""
        with self._database.transaction() as rows:
            waiting = votes.unproven_in(rows, user, RELEASED_AT_ONCE)
        for request_id in waiting:
            try:
                self._release_one(user, request_id)
            except Conflict:
                logger.warning("a submission cannot be released", exc_info=True)

    def _release_one(self, user: str, request_id: int) -> None:
        held = self._ledger.get(request_id)
        made, sha256 = self._relabelling.label_again(held), held.detail["image"]["sha256"]
        with self._database.transaction() as rows:
            votes.lock_image(rows, sha256)
            image = self._image_in(rows, held.model, sha256)
            if self._ledger.banned_since_in(rows, user):
                return
            if self._ranks.known_in(rows, [user])[1][user] < Rank.ESTABLISHED:
                return
            if image.present or is_contested(request_id, image.voices, image.same):
                self._contest_in(rows, image, request_id)
                return
            audit = self._chance.random() < audit_rate(votes.unconfirmed_in(rows, user))
            if votes.recorded_in(rows, request_id).updated_at != held.updated_at:
                return  # it was sent anew since its label was made
            if not votes.release_in(rows, request_id, audit=audit):
                return
            samples = self._relabelling.put_in(rows, held, made)
        self._relabelling.publish(samples)

    def _contest_in(self, rows: cursor, image: _Image, request_id: int) -> None:
        """Have a submission wait for others, for its image has a label by now or is contested."""
        settled = bool(image.present and image.present.is_settled)
        cause = Cause.SETTLED if settled else Cause.CONTESTED
        reason = {"cause": cause.value, "text": FOR_REVIEWER[cause]}
        votes.put_off_in(rows, [request_id], "operator" if settled else "opinions", reason)

    def _take_back(self, user: str) -> None:
        """Have what a user sent and nobody confirmed wait again."""
        with self._database.transaction() as rows:
            doubted = self._ledger.doubt_in(rows, user, LOST, "opinions")
            if not doubted:
                return
            self._dataset.lock_of_user(rows, user)
            samples = self._dataset.withdraw(rows, doubted, "doubted")
        logger.info("answers wait again", user=user, requests=len(doubted))
        self._relabelling.publish(samples)

    def _reopen(self, user: str) -> None:
        """Ask anew about images that people agree on by a user's word alone, which is lost."""
        with self._database.transaction() as rows:
            images = votes.agreed_with(rows, user, IMAGES_AT_ONCE)
        for model, image_sha256 in images:
            with self._database.transaction() as rows:
                votes.lock_image(rows, image_sha256)
                samples = self._reopen_in(rows, self._image_in(rows, model, image_sha256))
            self._relabelling.publish(samples)
            if samples:
                self._settle(model, image_sha256)

    def _reopen_in(self, rows: cursor, image: _Image) -> list[int]:
        """Take back a label that the voices which count by now would not have made."""
        if image.present is None or image.present.is_of_an_operator:
            return []
        agreed = agreed_on(image.voices, image.same)
        accepted = [each.request_id for each in image.said if each.state == "accepted"]
        if agreed and any(image.same(agreed.winner, each) for each in accepted):
            return []
        decided = [e.request_id for e in image.said if e.reviewed_by == BY_AGREEMENT]
        votes.reopen_in(rows, decided)
        logger.info("people are asked anew about an image", requests=len(decided))
        return self._dataset.withdraw(rows, decided, "doubted")


class _ChangedMeanwhile(Exception):
    """Something else was said of an image after its label was made."""


def _is_decided(said: Said, state: str) -> bool:
    return said.is_reviewed and said.state == state
