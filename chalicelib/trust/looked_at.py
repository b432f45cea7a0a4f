"""Which images of submissions an operator may still look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

# Who rejected a submission may think better of it for some days, and accept it after all.
LOOKED_AT = """
SELECT DISTINCT image_sha256 FROM requests
WHERE image_sha256 = ANY(%(images)s)
  AND ((state = 'quarantined' AND reviewed_at IS NULL)
       OR (state = 'rejected' AND reviewed_at > now() - make_interval(days => %(days)s)))
"""


def looked_at_in(rows: cursor, images: Iterable[str], days: int) -> set[str]:
    """Return those images, by sha256, of submissions that wait or were rejected lately.

    Parameters
    ----------
    rows : cursor
        Of the caller's transaction.
    images : Iterable[str]
        sha256 in hexadecimal.
    days : int
        For how long a rejected submission can be accepted after all.
    """
    rows.execute(LOOKED_AT, {"images": list(images), "days": days})
    return {sha256 for (sha256,) in rows.fetchall()}
