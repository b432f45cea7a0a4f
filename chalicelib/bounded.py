"""Bounded waiting: a call is answered in time although a service that it needs hangs.

A read timeout of a socket starts anew with every byte, and a server that hangs in the middle of a
query sends none. So what has a deadline runs in a thread of its own, and the caller stops waiting.
The thread ends when its sockets time out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue

from chalicelib.errors import OutOfTime, SightloopError

REVALIDATION_SECONDS = 1.5  # a conditional GET takes S3 some tens of milliseconds
PAUSE_SECONDS = 5.0
LIMITS_SECONDS = 6.0  # for the table of limits: `aws.BEFORE_A_CALL`, against an answer that drips


def within[Result](
    seconds: float, call: Callable[[], Result], late: SightloopError | None = None
) -> Result:
    """Return the result of a call that runs in a thread of its own.

    Parameters
    ----------
    seconds : float
        For how long its result is waited for.
    call : callable
        Keeps running in the background where that is not enough.
    late : SightloopError, optional
        Raised in place of OutOfTime.

    Raises
    ------
    OutOfTime
        There is no result yet.
    Exception
        Whatever the call raises.
    """
    results: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            results.put((None, error))

    threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except Empty:
        raise late or OutOfTime(
            f"there was no answer within {seconds:g} s: try again, and look first whether what was "
            "asked for was done all the same"
        ) from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value] # a call that did not raise has returned a Result


class Revalidator:
    """Refreshes values that have a stale copy, so that no caller waits long for a fresh one.

    Parameters
    ----------
    wait_seconds : float, optional
        The most that a caller waits for a refresh. A slower one goes on in the background.
    pause_seconds : float, optional
        For how long nothing is refreshed after a refresh was too slow.
    """

    def __init__(
        self, wait_seconds: float = REVALIDATION_SECONDS, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._paused_until = 0.0
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def refresh(self, key: str, read: Callable[[], object]) -> None:
        """Run a refresh and wait for it a little; return at once where the same one runs already.

        Parameters
        ----------
        key : str
            Names the value: of each, one refresh runs at a time.
        read : callable
            Stores the fresh value. What it raises within the wait is raised here.
        """
        if not self._begin(key):
            return
        try:
            within(self._wait_seconds, lambda: self._run(key, read))
        except OutOfTime:
            self._paused_until = time.monotonic() + self._pause_seconds

    def _begin(self, key: str) -> bool:
        with self._lock:
            if key in self._running or time.monotonic() < self._paused_until:
                return False
            self._running.add(key)
            return True

    def _run(self, key: str, read: Callable[[], object]) -> None:
        try:
            read()
        finally:
            with self._lock:
                self._running.discard(key)
