"""Labels of banned users: what a ban withdraws, and what comes back when it is lifted.

Submissions are withdrawn by their requests, which operators may have accepted. Labels of a ZIP have
none, and nobody but their sender vouches for them: a ban withdraws all of them. What operators
import is the team's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.callers import OPERATOR
from chalicelib.labels.dataset import relabel_in

if TYPE_CHECKING:
    from psycopg2.extensions import cursor

IMPORTED = f"origin = 'import' AND NOT starts_with(user_address, '{OPERATOR}')"
WITHDRAWN_BY_A_BAN = """
SELECT request_id FROM labels
WHERE user_address = %s AND withdrawn_why = 'banned' AND request_id IS NOT NULL
"""
AT_ODDS = f"""
SELECT user_address FROM labels
WHERE (origin = 'submission' OR {IMPORTED}) AND withdrawn_at IS NULL
  AND user_address = ANY(%(banned)s)
UNION
SELECT user_address FROM labels
WHERE withdrawn_why = 'banned' AND NOT user_address = ANY(%(banned)s)
"""
WITHDRAW_IMPORTED = f"""
UPDATE labels SET withdrawn_at = now(), withdrawn_why = 'banned'
WHERE user_address = %s AND {IMPORTED} AND withdrawn_at IS NULL RETURNING sample_id
"""
RESTORE_IMPORTED = f"""
UPDATE labels SET withdrawn_at = NULL, withdrawn_why = NULL
WHERE user_address = %s AND {IMPORTED} AND withdrawn_why = 'banned' RETURNING sample_id
"""


def users_at_odds_in(rows: cursor, banned: Sequence[str]) -> list[str]:
    """Return banned users with labels in force, and others whose labels a ban withdrew."""
    rows.execute(AT_ODDS, {"banned": [*banned]})
    return [user for (user,) in rows.fetchall()]


def withdrawn_by_a_ban_in(rows: cursor, user_address: str) -> list[int]:
    """Return a user's requests whose labels a ban withdrew."""
    rows.execute(WITHDRAWN_BY_A_BAN, (user_address,))
    return [request_id for (request_id,) in rows.fetchall()]


def withdraw_imported_in(rows: cursor, user_address: str) -> list[int]:
    """Withdraw the labels of a banned user's ZIPs, while their datasets are locked.

    Returns
    -------
    list[int]
        The samples that it was about.
    """
    return _change(rows, WITHDRAW_IMPORTED, user_address)


def restore_imported_in(rows: cursor, user_address: str) -> list[int]:
    """Put back what a ban withdrew of a user's ZIPs, while their datasets are locked.

    Returns
    -------
    list[int]
        The samples that it was about.
    """
    return _change(rows, RESTORE_IMPORTED, user_address)


def _change(rows: cursor, statement: str, user_address: str) -> list[int]:
    rows.execute(statement, (user_address,))
    changed = {sample_id for (sample_id,) in rows.fetchall()}
    relabel_in(rows, changed)
    return sorted(changed)
