"""Orders to delete all that a caller sent: one object each in the store, until it is done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from chalicelib.errors import ObjectNotFound
from chalicelib.moment import Moment
from chalicelib.storage import ObjectStore

PREFIX = "deletions/"


class Order(BaseModel):
    """That all is to be deleted that a caller sent up to a moment."""

    model_config = ConfigDict(frozen=True)

    user: str
    ordered_at: Moment

    @property
    def key(self) -> str:
        """Where it is in the store bucket."""
        return f"{PREFIX}{hashlib.sha256(self.user.encode()).hexdigest()}.json"


class Orders:
    """Orders that are not done yet.

    Parameters
    ----------
    store : ObjectStore
        The store bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def place(self, user: str, at: datetime) -> Order:
        """Write an order down before anything is deleted; a later one takes an earlier one in."""
        order = Order(user=user, ordered_at=at)
        self._store.put(order.key, order.model_dump_json().encode(), "application/json")
        return order

    def unfinished(self) -> Iterator[Order]:
        """Yield the orders that are not done."""
        for key in list(self._store.keys(PREFIX)):
            try:
                yield Order.model_validate_json(self._store.get(key).body)
            except ObjectNotFound:
                continue

    def finish(self, order: Order) -> None:
        """Remove an order that is done, unless a later one has taken its place."""
        try:
            found = Order.model_validate_json(self._store.get(order.key).body)
        except ObjectNotFound:
            return
        if found == order:
            self._store.erase(order.key)
