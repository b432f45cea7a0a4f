"""How many requests compute at a time, how many wait for that, and memory that is given back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections import deque
from types import TracebackType
from typing import Self

from chalicelib.web.problems import Overloaded

WAIT_SECONDS = 25.0  # API Gateway waits 29
M_ARENA_MAX = -8  # of glibc's malloc.h
ARENAS = 2


class Turns:
    """Bounds the requests that compute and those that wait for it; who waited longest is next.

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
        self._free = at_once or max(2, os.cpu_count() or 1)
        self._places = self._free + most_waiting
        self._wait_seconds = wait_seconds
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def place(self) -> Place:
        """Reserve a place, before the request's body is read.

        Raises
        ------
        Overloaded
            All places are taken.
        """
        with self._lock:
            if not self._places:
                raise Overloaded("too many pictures wait already: send it again in a moment")
            self._places -= 1
        return Place(self)

    def begin(self) -> None:
        """Wait for a turn to compute.

        Raises
        ------
        Overloaded
            None is free in time.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return
            ready = threading.Event()
            self._waiting.append(ready)
        if ready.wait(self._wait_seconds):
            return
        with self._lock:
            if not ready.is_set():
                self._waiting.remove(ready)
                raise Overloaded("the pictures before this one took too long: send it again")

    def end(self) -> None:
        """Pass the turn on."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def give_up_place(self) -> None:
        """Let another request have the place."""
        with self._lock:
            self._places += 1


class Place:
    """One request's place among those that compute or wait; left with the block.

    Parameters
    ----------
    turns : Turns
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
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
        self._turns.begin()
        self._has_turn = True

    def leave(self) -> None:
        """End the turn and give up the place; again, it changes nothing."""
        if self._has_turn:
            self._has_turn = False
            self._turns.end()
        if not self._is_left:
            self._is_left = True
            self._turns.give_up_place()


def limit_arenas() -> None:
    """Keep malloc to few arenas: each thread has its own otherwise, whose memory stays."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)


def give_memory_back() -> None:
    """Return free memory to the operating system."""
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
