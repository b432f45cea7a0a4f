"""What follows from a ban or its lifting, once the database has announced it."""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.errors import Unavailable
from chalicelib.trust.ledger import Ledger
from chalicelib.trust.report_list import ReportListWriter

LOOKS = 25
LOOK_AGAIN_SECONDS = 0.2


class BanFollowUp:
    """Brings the report list, and the labels of those concerned, to what the bans are.

    Parameters
    ----------
    ledger : Ledger
    report_list : ReportListWriter
    settle : callable
        Takes back the labels of banned users, and puts those of others back; safe to repeat.
    wait : callable, optional
        Waits so many seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        report_list: ReportListWriter,
        settle: Callable[[], object],
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._ledger = ledger
        self._report_list = report_list
        self._settle = settle
        self._wait = wait

    def run(self, decision_id: int | None = None) -> int:
        """Rewrite the list, then settle labels; return how many are banned.

        Doing it again changes nothing.

        Parameters
        ----------
        decision_id : int, optional
            What was announced, which may be before it can be seen; none: whatever there is.

        Raises
        ------
        Unavailable
            The decision cannot be seen yet; or the database or S3 does not answer. To be repeated.
        """
        if decision_id is not None:
            self._wait_for(decision_id)
        banned = self._report_list.rebuild()
        self._settle()
        return banned

    def _wait_for(self, decision_id: int) -> None:
        for _ in range(LOOKS):
            if self._ledger.has_decided(decision_id):
                return
            self._wait(LOOK_AGAIN_SECONDS)
        raise Unavailable(f"decision {decision_id} is announced and cannot be seen")
