"""The composition root: what this process is made of, built on first use and kept while warm."""

from __future__ import annotations

import functools
from typing import Any

from chalicelib import aws, settings
from chalicelib.database import Database
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore


class Services:
    """Every client and service of one process; each is made when it is first asked for.

    Parameters
    ----------
    settings : Settings
    clients : mapping of service name to boto3 client, optional
        Handed in by tests in place of those made for the region.
    """

    def __init__(self, settings: Settings, clients: dict[str, Any] | None = None) -> None:
        self.settings = settings
        self._clients = dict(clients or {})

    def client(self, service: str) -> Any:
        """Return this process's boto3 client of one AWS service."""
        if service not in self._clients:
            self._clients[service] = aws.client(service, self.settings.region)
        return self._clients[service]

    @functools.cached_property
    def uploads(self) -> ObjectStore:
        """The bucket that strangers may write to."""
        return ObjectStore(self.client("s3"), self.settings.uploads_bucket)

    @functools.cached_property
    def store(self) -> ObjectStore:
        """The bucket of models, datasets and results."""
        return ObjectStore(self.client("s3"), self.settings.store_bucket)

    @functools.cached_property
    def database(self) -> Database:
        """PostgreSQL."""
        return Database(self.settings.database_url)


_provided: list[Services] = []


def services() -> Services:
    """Return the services of this process."""
    if not _provided:
        provide(Services(settings.load()))
    return _provided[0]


def provide(made: Services) -> None:
    """Make these the services of this process from now on."""
    _provided[:] = [made]
