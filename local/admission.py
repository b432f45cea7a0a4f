"""How many requests compute at a time, how many wait for that, and memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from types import TracebackType
from typing import Self

from chalicelib.errors import Overloaded

WAIT_SECONDS = 25.0  # API Gateway waits 29
M_ARENA_MAX = -8  # of glibc's malloc.h
ARENAS = 2


class Turns:
    """Bounds the requests that compute and those that wait for it.

    Parameters
    ----------
    at_once : int
        0: as many as there are cores, and at least two: while one is in the network, the next
        picture is decoded.
    most_waiting : int
        Further requests are refused.
    wait_seconds : float, optional
        After which a request that waits is refused.
    """

    def __init__(self, at_once: int, most_waiting: int, wait_seconds: float = WAIT_SECONDS) -> None:
        at_once = at_once or max(2, os.cpu_count() or 1)
        self.wait_seconds = wait_seconds
        self.turns = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + most_waiting)

    def place(self) -> Place:
        """Reserve a place, before the request's body is read.

        Raises
        ------
        Overloaded
            All places are taken.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many pictures wait already: send it again in a moment")
        return Place(self, self._places)


class Place:
    """One request's place among those that compute or wait; left with the block.

    Parameters
    ----------
    turns : Turns
    places : semaphore
        Released when the place is left.
    """

    def __init__(self, turns: Turns, places: threading.BoundedSemaphore) -> None:
        self._turns = turns
        self._places = places
        self._has_turn = False
        self._is_left = False

    def __enter__(self) -> Self:
        """Return the place."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the place."""
        self.leave()

    def wait(self) -> None:
        """Wait for a turn to compute.

        Raises
        ------
        Overloaded
            None is free in time.
        """
        if not self._turns.turns.acquire(timeout=self._turns.wait_seconds):
            raise Overloaded("the pictures before this one took too long: send it again")
        self._has_turn = True

    def leave(self) -> None:
        """End the turn and give the place to others; again, it changes nothing."""
        if self._has_turn:
            self._has_turn = False
            self._turns.turns.release()
        if not self._is_left:
            self._is_left = True
            self._places.release()


def limit_arenas() -> None:
    """Keep malloc to few arenas: each thread has its own otherwise, whose memory stays."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_memory_back() -> None:
    """Return free memory to the operating system."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
