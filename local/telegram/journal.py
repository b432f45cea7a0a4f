"""What happened in the chats, in order, for whoever watches one."""

from __future__ import annotations

import threading
import uuid
from typing import Any

Json = dict[str, Any]


class Journal:
    """A list that grows, of one run: a message by its id where it came or changed, or a toast.

    Attributes
    ----------
    run : str
        Of this journal alone: who has read in another begins anew.
    """

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        self._events: list[tuple[int, int | Json]] = []
        self._changed = threading.Condition()
        self._closed = False

    def note(self, chat: int, event: int | Json) -> None:
        """Note what happened in a chat."""
        with self._changed:
            self._events.append((chat, event))
            self._changed.notify_all()

    def after(self, chat: int, read: int, seconds: float) -> tuple[list[int | Json], int]:
        """Wait until something happens in a chat, for so long at most.

        Parameters
        ----------
        read : int
            How far somebody has read.

        Returns
        -------
        events : list
            Oldest first; none where nothing happened.
        int
            How far that is.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._of(chat, read)), seconds)
            return self._of(chat, read), len(self._events)

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _of(self, chat: int, read: int) -> list[int | Json]:
        return [event for where, event in self._events[max(read, 0) :] if where == chat]
