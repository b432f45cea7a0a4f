"""What a trainer tells the service: reports over its queue, and the end of the log in the store.

Reports are for looking on, and the service finds out by itself what it was not told: where the
queue or the store does not answer, that is logged and the training goes on.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chalicelib.errors import ObjectNotFound, SightloopError
from chalicelib.queues import Queue
from chalicelib.retrain.keys import log_key
from chalicelib.retrain.messages import EpochDone, Finished, Started, Stopped
from chalicelib.storage import ObjectStore

Told = Started | EpochDone | Finished | Stopped
LOG_BYTES = 64 * 1024
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONGEST_REASON = 1000
logger = logging.getLogger("trainer")


class LogTail(logging.Handler):
    """Keeps the last lines of the log, of ``LOG_BYTES`` in all."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._lines: deque[bytes] = deque()
        self._bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, without its colours."""
        self.add(COLOURS.sub("", self.format(record)))

    def add(self, text: str) -> None:
        """Keep some lines."""
        for line in text.encode("utf-8", errors="replace").splitlines():
            kept = line[:LOG_BYTES] + b"\n"
            self._lines.append(kept)
            self._bytes += len(kept)
        while self._bytes > LOG_BYTES:
            self._bytes -= len(self._lines.popleft())

    def text(self) -> bytes:
        """Return what is kept, as UTF-8."""
        return b"".join(self._lines)


@dataclass
class Reporter:
    """Reports on one start of a job's trainer.

    Parameters
    ----------
    queue : Queue
    store : ObjectStore
    job_id : UUID
    start : int
    log : LogTail
    now : callable
        The clock, with a time zone.
    """

    queue: Queue
    store: ObjectStore
    job_id: UUID
    start: int
    log: LogTail
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def go_on_with_the_log(self) -> None:
        """Begin with what earlier starts logged."""
        with suppress(ObjectNotFound):
            earlier = self.store.get(log_key(self.job_id)).body.decode("utf-8", errors="replace")
            self.log.add(f"{earlier}--- start {self.start} ---")

    def started(self, epochs: int, epochs_done: int) -> None:
        """Tell that the trainer runs, and how many of its epochs a checkpoint holds."""
        self._send(Started(**self._head(), epochs=epochs, epochs_done=epochs_done))

    def epoch_done(
        self,
        epoch: int,
        epochs: int,
        losses: dict[str, float],
        aps: tuple[float, float],
        seconds: tuple[float, float],
    ) -> EpochDone:
        """Return the report of an epoch, to be told once its checkpoint is safe.

        Parameters
        ----------
        aps : tuple of float
            mAP50 and mAP50-95.
        seconds : tuple of float
            That the epoch took, and until the last one is done.
        """
        told = {"epoch": epoch, "epochs": epochs, "losses": losses}
        told |= {"map50": aps[0], "map50_95": aps[1], "seconds": seconds[0]}
        report = EpochDone.model_validate(self._head() | told | {"eta_seconds": seconds[1]})
        logger.info("%s", _in_words(report))
        return report

    def tell(self, report: Told) -> bool:
        """Send a report, and the log; tell whether it is on its way."""
        try:
            self.store.put(log_key(self.job_id), self.log.text(), "text/plain; charset=utf-8")
            self.queue.send(report)
        except SightloopError as fault:
            logger.warning("the service was not told: %s", fault)
            return False
        return True

    def finished(self) -> None:
        """Tell that all output is in the store."""
        self._send(Finished(**self._head()))

    def stopped(self, failed: bool, reason: str) -> None:
        """Tell that the trainer ends without output."""
        told = {"failed": failed, "reason": reason[:LONGEST_REASON]}
        self._send(Stopped.model_validate(self._head() | told))

    def _head(self) -> dict[str, Any]:
        return {"job_id": self.job_id, "start": self.start, "at": self.now()}

    def _send(self, report: Told) -> None:
        logger.info("%s", _in_words(report))
        self.tell(report)


def _in_words(report: Told) -> str:
    match report:
        case Started():
            return f"start {report.start}: {report.epochs_done} of {report.epochs} epochs are done"
        case EpochDone():
            return (
                f"epoch {report.epoch} of {report.epochs}: mAP50 {report.map50:.4f}, mAP50-95 "
                f"{report.map50_95:.4f}, {report.seconds:.1f} s, {report.eta_seconds:.0f} s to go"
            )
        case Finished():
            return "finished: all output is in the store"
        case Stopped():
            return f"{'failed' if report.failed else 'stopped'}: {report.reason}"
