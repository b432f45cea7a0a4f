"""Who works on imports and exports: slice after slice, until it is done or the time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalicelib.database import Database
from chalicelib.errors import SightloopError
from chalicelib.labels.dataset import Dataset
from chalicelib.labels.datasets.versions import DatasetVersions
from chalicelib.labels.transfers.cutter import Cutter
from chalicelib.labels.transfers.exporter import Exporter
from chalicelib.labels.transfers.importer import Buckets, ClassNamesOf, Importer, Rules
from chalicelib.labels.transfers.records import JobMessage, Kind, State, Transfer
from chalicelib.labels.transfers.table import LostLease, Transfers
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.queues import Queue

MOST_ATTEMPTS = 5
LEAST_SECONDS = 120.0  # that a slice may need
LONG_STEPS = {State.PLACING: 600.0, State.BUILDING: 800.0}
RETRY_SECONDS = 30

Step = Callable[[Transfer], Transfer]


def worker_over(
    database: Database,
    buckets: Buckets,
    dataset: Dataset,
    class_names_of: ClassNamesOf,
    jobs: Queue,
    rules: Rules,
) -> TransferWorker:
    """Return a worker for all kinds of transfers; the parameters are those of their workers."""
    table = Transfers(database)
    importer = Importer(table, database, buckets, dataset, class_names_of, rules)
    exporter = Exporter(table, database, buckets.store, class_names_of)
    cutter = Cutter(table, DatasetVersions(database, buckets.store), class_names_of)
    steps = {Kind.IMPORT: importer.step, Kind.EXPORT: exporter.step, Kind.CUT: cutter.step}
    return TransferWorker(table, jobs, steps)


class TransferWorker:
    """Works on one transfer at a time; working on it twice leaves what once would have left.

    Parameters
    ----------
    table : Transfers
    jobs : Queue
    steps : mapping
        What does the next slice of each kind of transfer.
    """

    def __init__(self, table: Transfers, jobs: Queue, steps: Mapping[Kind, Step]) -> None:
        self._table = table
        self._jobs = jobs
        self._steps = steps

    def work(self, message: JobMessage, seconds_left: Callable[[], float]) -> Transfer | None:
        """Get a transfer on, and ask for more time where it is not over.

        Parameters
        ----------
        message : JobMessage
        seconds_left : callable
            How long this process has.

        Returns
        -------
        Transfer or None
            As it is now; None where there is nothing to do, or somebody else is at it: theirs is
            another message, which comes again should they die.
        """
        held = self._table.take(message.id)
        if held is None:
            logger.info("nothing to do, or somebody is at it", transfer=message.id)
            return None
        try:
            if held.attempts > MOST_ATTEMPTS:
                return self._give_up(held, "every attempt ended with the process that made it")
            return self._go_on(held, seconds_left)
        except LostLease:
            logger.warning("somebody else took it over", transfer=held.transfer_id)
            return None

    def _go_on(self, held: Transfer, seconds_left: Callable[[], float]) -> Transfer:
        while not held.is_over and seconds_left() > LONG_STEPS.get(held.state, LEAST_SECONDS):
            before = held
            try:
                held = self._steps[held.kind](held)
            except LostLease:
                raise
            except Exception as error:  # noqa: BLE001 - the process's edge: each is an attempt
                return self._failed(held, error)
            if _how_far(held) == _how_far(before):
                return self._stuck(held)
        if not held.is_over:
            return self._later(held, 0)
        metrics.add_metric("TransfersDone", MetricUnit.Count, int(held.state is State.DONE))
        logger.info("transfer over", transfer=held.transfer_id, state=held.state)
        return held

    def _failed(self, held: Transfer, error: Exception) -> Transfer:
        """Try again, unless that cannot help or was done often enough."""
        logger.exception("a slice failed", transfer=held.transfer_id, attempts=held.attempts)
        if isinstance(error, SightloopError) and not error.retry and error.status < 500:
            return self._give_up(held, error.detail)
        if held.attempts >= MOST_ATTEMPTS:
            reason = error.detail if isinstance(error, SightloopError) else type(error).__name__
            return self._give_up(held, f"given up after {MOST_ATTEMPTS} attempts: {reason}")
        return self._later(held, RETRY_SECONDS)

    def _stuck(self, held: Transfer) -> Transfer:
        """Wait for whoever else may be at the same; some time there has to be something new."""
        if held.attempts < MOST_ATTEMPTS:
            return self._later(held, RETRY_SECONDS)
        return self._give_up(held, f"it does not get on while {held.state}")

    def _later(self, held: Transfer, delay_seconds: int) -> Transfer:
        """Let go, then ask for another process: who dies in between is asked for again."""
        self._table.release(held)
        self._jobs.send(JobMessage(kind=held.kind, id=held.transfer_id), delay_seconds)
        return held

    def _give_up(self, held: Transfer, problem: str) -> Transfer:
        metrics.add_metric("TransfersFailed", MetricUnit.Count, 1)
        return self._table.save(held, state=State.FAILED, problem=problem)


def _how_far(held: Transfer) -> tuple[object, ...]:
    return held.state, held.done, held.total, held.found
