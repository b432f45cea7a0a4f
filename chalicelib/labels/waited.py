"""How long corrections waited until a version that had learnt them served."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chalicelib.database import Database

# In the order of the index label_terms_in_force, a side at a time.
WAITED = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), max(seconds)
FROM (
    SELECT greatest(extract(epoch FROM %(at)s - l.created_at), 0)::float8 AS seconds
    FROM label_terms t JOIN labels l USING (label_id)
    WHERE t.model = %(model)s AND t.side IN ('train', 'valid') AND t.ended IS NULL
      AND t.began > %(since)s AND t.began <= %(until)s AND l.origin <> 'import'
) waited
"""


@dataclass(frozen=True)
class Waited:
    """How long corrections waited.

    Attributes
    ----------
    labels : int
        How many corrections; those that were withdrawn or replaced meanwhile are not among them,
        nor are imports.
    median_seconds, longest_seconds : float
    """

    labels: int
    median_seconds: float
    longest_seconds: float


def waited(
    database: Database, model: str, since: int | None, until: int, at: datetime
) -> Waited | None:
    """Tell how long the corrections of some revisions of a dataset waited.

    Parameters
    ----------
    model : str
    since : int or None
        The revision that had been learnt before; None: none had.
    until : int
        The last revision that is learnt now.
    at : datetime
        When what had learnt them began to serve.

    Returns
    -------
    Waited or None
        None where there was no correction among those revisions.

    Raises
    ------
    DatabaseUnavailable
    """
    given = {"model": model, "since": since or 0, "until": until, "at": at}
    with database.transaction() as rows:
        rows.execute(WAITED, given)
        labels, median, longest = rows.fetchone() or (0, None, None)
    return Waited(labels, median, longest) if labels else None
