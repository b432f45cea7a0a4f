"""Where imports and exports are asked for, where ZIPs come in, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.errors import NotFound
from chalicelib.labels.transfers.records import (
    UPLOADS,
    ZIP,
    JobMessage,
    Kind,
    State,
    Transfer,
    export_key,
    id_in,
    upload_key,
)
from chalicelib.labels.transfers.table import Transfers
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.queues import Queue
from chalicelib.storage import ObjectStore, PresignedPost

LINK_SECONDS = 3600
ZIP_IS_KEPT = timedelta(days=1)
LATE = timedelta(minutes=5)
MOST_LATE = 100
NO_ZIP_CAME = "no ZIP came while its form was good: ask for another import"


@dataclass(frozen=True)
class FormTerms:
    """How large a ZIP may be, and for how long the form to send it with is good.

    Attributes
    ----------
    max_bytes, seconds : int
    """

    max_bytes: int
    seconds: int


@dataclass(frozen=True)
class ImportTicket:
    """An import that waits for its ZIP, and the form to send that with."""

    transfer: Transfer
    form: PresignedPost
    max_bytes: int
    expires_at: datetime


class TransferDesk:
    """Takes requests for imports and exports, and ZIPs that arrive.

    Parameters
    ----------
    table : Transfers
    uploads, store : ObjectStore
    jobs : Queue
    terms : FormTerms
    now : callable, optional
    """

    def __init__(
        self,
        table: Transfers,
        uploads: ObjectStore,
        store: ObjectStore,
        jobs: Queue,
        terms: FormTerms,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._table, self._jobs = table, jobs
        self._uploads, self._store = uploads, store
        self._terms, self._now = terms, now

    def offer_import(
        self, model: str, user: str, asked: Mapping[str, Any], max_bytes: int | None = None
    ) -> ImportTicket:
        """Make an import that waits for its ZIP, and the form to send that with.

        Parameters
        ----------
        model, user : str
        asked : mapping
            What the caller chose.
        max_bytes : int, optional
            Of the ZIP; as the terms say where it is not given.
        """
        made = self._table.create(
            Kind.IMPORT, model, user, asked, lambda import_id: upload_key(model, import_id)
        )
        assert made.key
        terms, most = self._terms, max_bytes or self._terms.max_bytes
        form = self._uploads.presigned_post(made.key, ZIP, most, terms.seconds)
        expires = self._now() + timedelta(seconds=terms.seconds)
        return ImportTicket(made, form, most, expires)

    def ask_for_export(self, model: str, user: str, asked: Mapping[str, Any]) -> Transfer:
        """Make an export that waits for a worker."""
        return self._ask(Kind.EXPORT, model, user, asked)

    def ask_for_cut(self, model: str, user: str) -> Transfer:
        """Have a version of a dataset written down by a worker."""
        return self._ask(Kind.CUT, model, user, {})

    def _ask(self, kind: Kind, model: str, user: str, asked: Mapping[str, Any]) -> Transfer:
        made = self._table.create(kind, model, user, asked)
        self._send(made)
        return made

    def receive(self, key: str, etag: str, version: str = "") -> Transfer | None:
        """Set to work on a ZIP that arrived; done twice, nothing more happens.

        A second ZIP under the key of a form changes nothing and is deleted.

        Parameters
        ----------
        key, etag : str
        version : str
            S3's; empty where the bucket keeps no versions.

        Returns
        -------
        Transfer or None
            None where no import awaited it.
        """
        import_id = id_in(key)
        etag = etag.strip('"')
        held = self._table.arrive(import_id, key, etag, version) if import_id else None
        if held is None:
            logger.warning("a ZIP that no import awaited", key=key)
        elif not held.is_of(etag, version):
            self._delete_second(held, key, version)
        elif not held.is_over:
            self._send(held)
        return held

    def _delete_second(self, held: Transfer, key: str, version: str) -> None:
        if held.object_version and not version:
            return  # found in a listing, which names no version: its own event deletes it
        self._uploads.delete(key, version)
        metrics.add_metric("UploadsDiscarded", MetricUnit.Count, 1)
        logger.warning("a second ZIP was deleted", transfer=held.transfer_id)

    def find(self, transfer_id: str, kind: Kind) -> Transfer:
        """Return a transfer as it stands.

        Raises
        ------
        NotFound
            There is none with that id.
        """
        return self._table.find(transfer_id, kind)

    def link(self, export: Transfer) -> str | None:
        """Return a link to an export's ZIP that is good for an hour, once it is done."""
        if export.state is not State.DONE:
            return None
        return self._store.presigned_get(export_key(export), LINK_SECONDS)

    def drive(self) -> int:
        """Send again what nobody works on, take in ZIPs whose event was lost; return how many."""
        driven = 0
        for file in self._uploads.objects(UPLOADS):
            if file.modified < self._now() - LATE and self._is_awaited(file.key):
                self.receive(file.key, file.etag)
                driven += 1
        waits = timedelta(seconds=self._terms.seconds) + ZIP_IS_KEPT
        self._table.expire(waits.total_seconds(), NO_ZIP_CAME)
        for late in self._table.late(LATE.total_seconds(), MOST_LATE):
            logger.warning("sending a transfer again", transfer=late.transfer_id)
            self._send(late)
            driven += 1
        metrics.add_metric("TransfersReconciled", MetricUnit.Count, driven)
        return driven

    def _is_awaited(self, key: str) -> bool:
        import_id = id_in(key)
        try:
            held = self._table.find(import_id or "", Kind.IMPORT)
        except NotFound:
            return False
        return held.state is State.WAITING and held.key == key

    def _send(self, transfer: Transfer) -> None:
        self._jobs.send(JobMessage(kind=transfer.kind, id=transfer.transfer_id))
