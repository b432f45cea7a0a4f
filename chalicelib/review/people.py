"""Contributors as an operator sees them: counters, trust, and what was made of their work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.catalog.lineage import TrainedVersion, trained_versions
from chalicelib.database import Database
from chalicelib.errors import NotFound
from chalicelib.labels.pool import Pool
from chalicelib.trust.contributors import Contributor, Contributors, Order
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.records import Decision, Recorded
from chalicelib.trust.standing import TrustStanding
from chalicelib.trust.task_book import TaskBook

NEWEST_DECISIONS = 50


@dataclass(frozen=True)
class Person:
    """A contributor, and how well they answer."""

    contributor: Contributor
    standing: TrustStanding


@dataclass(frozen=True)
class TrainedOn:
    """A version of a model, and how many of somebody's labels its dataset had."""

    version: TrainedVersion
    training: int
    validation: int


@dataclass(frozen=True)
class Portrait:
    """All that is known of one contributor.

    Attributes
    ----------
    person : Person
    submissions : list[Recorded]
        A page of them, newest first.
    next : int | None
        The id below which the next page begins.
    decisions : list[Decision]
        About them and what they sent, newest first, fifty at most.
    versions : list[TrainedOn]
        Every version whose dataset had a label of theirs.
    """

    person: Person
    submissions: list[Recorded]
    next: int | None
    decisions: list[Decision]
    versions: list[TrainedOn]


class People:
    """Contributors, by what several capabilities know of them.

    Parameters
    ----------
    database : Database
        Of the model versions.
    contributors : Contributors
    book : TaskBook
    ledger : Ledger
    pool : Pool
    """

    def __init__(
        self,
        database: Database,
        contributors: Contributors,
        book: TaskBook,
        ledger: Ledger,
        pool: Pool,
    ) -> None:
        self._database = database
        self._contributors = contributors
        self._book = book
        self._ledger = ledger
        self._pool = pool

    def page(self, order: str, after: str | None, limit: int) -> tuple[list[Person], str | None]:
        """Return a page of contributors, by a value of ``Order``, and where the next begins.

        Raises
        ------
        InvalidRequest
            ``after`` is none that we gave out for that order.
        """
        found = self._contributors.page(Order(order), after, limit)
        return self._with_standings(found.contributors), found.next

    def of(self, users: Iterable[str]) -> dict[str, Person]:
        """Return contributors by their addresses; those of whom nothing is known are left out."""
        found = self._with_standings(self._contributors.of(users))
        return {person.contributor.user_address: person for person in found}

    def portrait(self, user_address: str, before: int, limit: int) -> Portrait:
        """Return one contributor, with a page of what they sent.

        Raises
        ------
        NotFound
            Nothing is known of them.
        """
        person = self.of([user_address]).get(user_address)
        if person is None:
            raise NotFound(f"nobody by the name {user_address!r} ever sent anything")
        sent = self._ledger.of_user(user_address, before, limit + 1)
        return Portrait(
            person,
            sent[:limit],
            sent[limit - 1].request_id if len(sent) > limit else None,
            self._contributors.decisions(user_address, NEWEST_DECISIONS),
            self._trained_on(user_address),
        )

    def _trained_on(self, user_address: str) -> list[TrainedOn]:
        """Return the versions that a user's labels went into, by model."""
        versions = trained_versions(self._database)
        revisions = [(each.model, each.dataset_revision) for each in versions]
        used = {
            (each.model, each.revision): each
            for each in self._pool.used_in(user_address, sorted(set(revisions)))
        }
        return [
            TrainedOn(version, used[key].training, used[key].validation)
            for version, key in zip(versions, revisions, strict=True)
            if key in used
        ]

    def _with_standings(self, contributors: Iterable[Contributor]) -> list[Person]:
        people = list(contributors)
        standings = self._book.standings([each.user_address for each in people])
        return [Person(each, standings[each.user_address]) for each in people]
