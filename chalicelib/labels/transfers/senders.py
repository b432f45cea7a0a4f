"""Whose ZIPs are taken: nobody's who is banned, and nobody's whose answers are doubted.

A form is good for an hour and a ZIP is worked on for longer, so it is looked up again with each
slice and in the transaction that places the images, and not only when the form is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chalicelib.callers import is_operator
from chalicelib.database import Database
from chalicelib.errors import Banned, Forbidden
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.policy import is_doubted

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

    from chalicelib.labels.settling import Ranks

DOUBTED = (
    "a ZIP of yours is taken by way of an operator only, for too many of your answers did not "
    "hold when they were checked: ask an operator to look at it and to import it, or send its "
    "images one at a time, which wait for a person. Nothing of the ZIP is in the dataset"
)


class ImportSenders:
    """Knows whose ZIPs may be placed; operators' always.

    Parameters
    ----------
    database : Database
    ledger : Ledger
    ranks : Ranks
    withdraw : callable
        Takes back what a banned user has in datasets; safe to repeat.
    appeal : str
        How to have a ban lifted.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        ranks: Ranks,
        withdraw: Callable[[str], object],
        appeal: str,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._ranks = ranks
        self._withdraw = withdraw
        self._appeal = appeal

    def check(self, user: str) -> None:
        """Refuse a ZIP of somebody who is banned or doubted.

        Raises
        ------
        Banned
        Forbidden
            An operator has to import it.
        DatabaseUnavailable
        """
        with self._database.transaction() as rows:
            self.check_in(rows, user)

    def check_in(self, rows: cursor, user: str) -> None:
        """Do so in the caller's transaction."""
        if is_operator(user):
            return
        since = self._ledger.banned_since_in(rows, user)
        if since:
            raise Banned(user, since, self._appeal)
        standings, ranks = self._ranks.known_in(rows, [user])
        if is_doubted(ranks[user], standings[user]):
            raise Forbidden(DOUBTED)

    def follow_ban(self, user: str) -> None:
        """Withdraw what was placed while its sender was being banned.

        To be called after the labels were placed. A ban that is newer than that finds them itself.
        """
        if not is_operator(user) and self._ledger.is_banned(user):
            self._withdraw(user)
