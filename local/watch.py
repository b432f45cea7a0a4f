"""Looks again and again: on one machine nobody announces that a trainer has ended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from chalicelib.errors import SightloopError

SECONDS = 10.0

log = logging.getLogger("sightloop.local")


class Watch:
    """Calls something every few seconds, in a thread of its own, until it is stopped.

    Parameters
    ----------
    look : callable
        A fault of it is logged, and the next call comes all the same.
    seconds : float, optional
        Between the end of a call and the next.
    """

    def __init__(self, look: Callable[[], object], seconds: float = SECONDS) -> None:
        self._look = look
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the call that is running end, and make no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._look()
            except SightloopError as error:
                log.warning("%s", error.detail)
