"""Refusing what is submitted to a prediction that was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.errors import PredictionNotFound

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

SHARE = "SELECT lock_prediction(%s, false)"
IS_DELETED = "SELECT EXISTS (SELECT FROM deletions WHERE prediction_id = %s)"


def refuse_deleted_in(rows: cursor, prediction_id: str) -> None:
    """Refuse a prediction that was deleted; one that was not stays so until the transaction ends.

    To be called first in a transaction that records a submission.

    Raises
    ------
    PredictionNotFound
    """
    rows.execute(SHARE, (prediction_id,))
    rows.execute(IS_DELETED, (prediction_id,))
    [(is_deleted,)] = rows.fetchall()
    if is_deleted:
        raise PredictionNotFound(f"prediction {prediction_id!r} was deleted")
