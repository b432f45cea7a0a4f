"""Which predictions a caller with a token sent: one empty object each, named by a digest of them.

It is what a caller's "delete all of mine" goes by. An address is shared by people, so nothing is
remembered of callers without a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime

from chalicelib.callers import has_token
from chalicelib.storage import ObjectStore

PREFIX = "senders/"


class Senders:
    """Remembers what callers with a token sent.

    Parameters
    ----------
    store : ObjectStore
        The store bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def note(self, sender: str, prediction_id: str) -> str:
        """Remember that a caller sent a photo; nothing is kept of one without a token.

        Returns
        -------
        str
            The key of what is kept in the store; empty where nothing is.

        Parameters
        ----------
        sender : str
            As ``caller`` names them.

        Raises
        ------
        StorageUnavailable
        """
        if not has_token(sender):
            return ""
        key = _folder(sender) + prediction_id
        self._store.put(key, b"", "text/plain")
        return key

    def sent_by(self, sender: str, until: datetime) -> Iterator[str]:
        """Yield the ids of a caller's predictions up to a moment, in no particular order."""
        folder = _folder(sender)
        for found in self._store.objects(folder):
            if found.modified <= until:
                yield found.key.removeprefix(folder)

    def forget(self, sender: str, prediction_id: str) -> None:
        """Forget that a caller sent a photo; one that is forgotten already is no error."""
        self._store.erase(_folder(sender) + prediction_id)


def _folder(sender: str) -> str:
    return f"{PREFIX}{hashlib.sha256(sender.encode()).hexdigest()}/"
