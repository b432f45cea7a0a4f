"""Lists of contributors, page by page, in several orders."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chalicelib.database import Database
from chalicelib.errors import InvalidRequest
from chalicelib.trust.records import Decision, is_storable

COLUMNS = """
u.user_address, u.num_accesses, (u.total_score / greatest(u.num_accesses, 1))::float8,
u.suspicious_requests, u.forgiven_requests, u.first_seen_at, u.last_seen_at,
b.reported_at, b.reported_by, b.why
"""
BANS = "LEFT JOIN bans b USING (user_address)"
FROM = f"FROM users u {BANS}"
SOME = f"SELECT {COLUMNS} {FROM} WHERE u.user_address = ANY(%(users)s)"
DECISIONS = """
SELECT decision_id, user_address, decision, decided_by, why, decided_at, request_id FROM decisions
WHERE user_address = %(user_address)s ORDER BY decision_id DESC LIMIT %(limit)s
"""


class Order(StrEnum):
    """In which order contributors are listed."""

    SUSPICIOUS = "suspicious"
    SUBMISSIONS = "submissions"
    SCORE = "score"
    ACCURACY = "accuracy"


def _count(text: str) -> int:
    return _within(int(text), 2**62)


def _share(text: str) -> float:
    return _within(float(text), 1.0)


def _mean(text: str) -> Decimal:
    return _within(Decimal(text), Decimal(1))


def _within[Number: (int, float, Decimal)](number: Number, most: Number) -> Number:
    if not -most <= number <= most:
        raise ValueError(f"{number} is beyond {most}")
    return number


@dataclass(frozen=True)
class _Sorting:
    """By which expression, how it is read back, from which rows, and which end comes first."""

    key: str
    read: Callable[[str], int | float | Decimal]
    rows: str = FROM
    address: str = "u.user_address"
    ascending: bool = False
    only: str = "true"


SORTED = {
    Order.SUSPICIOUS: _Sorting("u.suspicious_requests", _count),
    Order.SUBMISSIONS: _Sorting("u.num_accesses", _count),
    Order.SCORE: _Sorting("(u.total_score / greatest(u.num_accesses, 1))", _mean),
    Order.ACCURACY: _Sorting(
        "s.accuracy",
        _share,
        f"FROM control_standings s JOIN users u USING (user_address) {BANS}",
        "s.user_address",
        ascending=True,
        only="s.controls > 0",
    ),
}


@dataclass(frozen=True)
class Contributor:
    """A contributor's counters, and the ban in force where there is one."""

    user_address: str
    submissions: int
    mean_score: float
    suspicious: int
    forgiven: int
    first_seen_at: datetime
    last_seen_at: datetime
    banned_since: datetime | None
    banned_by: str | None
    banned_why: str | None


@dataclass(frozen=True)
class ContributorPage:
    """Some contributors, and where the next ones begin; None: there are no more."""

    contributors: tuple[Contributor, ...]
    next: str | None


class Contributors:
    """Everybody who ever sent something, or was banned.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, order: Order, after: str | None, limit: int) -> ContributorPage:
        """Return a page, those who want looking at first.

        Parameters
        ----------
        after : str | None
            ``next`` of the page before, in the same order.

        Raises
        ------
        InvalidRequest
            ``after`` is none that we gave out for that order.
        """
        sorting = SORTED[order]
        begin = _read_place(after, order)
        found = self._all(_query(sorting, begin is not None), begin or (), limit + 1)
        people = tuple(Contributor(*row[1:]) for row in found[:limit])
        more = len(found) > limit
        return ContributorPage(people, _place(order, found[limit - 1]) if more else None)

    def of(self, users: Iterable[str]) -> list[Contributor]:
        """Return those of some users of whom anything is known."""
        storable = [user for user in users if is_storable(user)]
        with self._database.transaction() as rows:
            rows.execute(SOME, {"users": storable})
            return [Contributor(*row) for row in rows.fetchall()]

    def decisions(self, user_address: str, limit: int) -> list[Decision]:
        """Return what was decided last about a user and what they sent, newest first."""
        with self._database.transaction() as rows:
            rows.execute(DECISIONS, {"user_address": user_address, "limit": limit})
            return [Decision(*row) for row in rows.fetchall()]

    def _all(self, query: str, begin: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        with self._database.transaction() as rows:
            rows.execute(query, (*begin, limit))
            return list(rows.fetchall())


def _query(sorting: _Sorting, goes_on: bool) -> str:
    """Return the query of a page; all of it is ours but for its values."""
    direction, beyond = ("ASC", ">") if sorting.ascending else ("DESC", "<")
    place = f"({sorting.key}, {sorting.address})"
    begin = f"AND {place} {beyond} (%s, %s)" if goes_on else ""
    return (
        f"SELECT {sorting.key}::text, {COLUMNS} {sorting.rows} WHERE {sorting.only} {begin} "
        f"ORDER BY {sorting.key} {direction}, {sorting.address} {direction} LIMIT %s"
    )


def _place(order: Order, row: tuple[Any, ...]) -> str:
    text = json.dumps([order.value, row[0], row[1]])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_place(after: str | None, order: Order) -> tuple[Any, str] | None:
    if after is None:
        return None
    try:
        text = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        of_order, key, address = json.loads(text)
        if of_order == order and isinstance(address, str) and is_storable(address):
            return SORTED[order].read(key), address
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        pass  # said below, as for what is well-formed and none of ours
    raise InvalidRequest(f"'after' is not the 'next' of a page by {order.value}")
