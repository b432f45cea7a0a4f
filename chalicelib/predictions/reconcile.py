"""The closing net: files whose event or message was lost, and predictions that nobody answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched

from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.predictions.announce import Announcer
from chalicelib.predictions.intake import Intake
from chalicelib.predictions.keys import PREFIX
from chalicelib.predictions.messages import IdentifyMessage, prediction_named_in
from chalicelib.predictions.model import ArrivedFile, Prediction, Problem, State, utc_now
from chalicelib.predictions.table import PredictionTable
from chalicelib.queues import Queue
from chalicelib.storage import ObjectStore

EVENT_IS_LATE = timedelta(minutes=5)
MESSAGE_IS_LATE = timedelta(hours=1)
MOST_REDRIVES = 3
MOST_DRIVEN = 500
MOST_DEAD_LETTERS = 500
DEAD_LETTER_HIDDEN_SECONDS = 60
LOOKED_UP_AT_ONCE = 100


@dataclass(frozen=True)
class Queues:
    """The queue to the workers, and where the messages go that they could not process."""

    identify: Queue
    dead_letters: Queue


@dataclass(frozen=True)
class Reconciled:
    """What a run did."""

    driven: int
    given_up: int


class Reconciler:
    """Drives again what was lost; a run that finds nothing to do changes nothing.

    Parameters
    ----------
    uploads : ObjectStore
    table : PredictionTable
    queues : Queues
    intake : Intake
    announcer : Announcer
    now : callable, optional
    """

    def __init__(
        self,
        uploads: ObjectStore,
        table: PredictionTable,
        queues: Queues,
        intake: Intake,
        announcer: Announcer,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._uploads = uploads
        self._table = table
        self._queues = queues
        self._intake = intake
        self._announcer = announcer
        self._now = now

    def run(self, most: int = MOST_DRIVEN) -> Reconciled:
        """Answer for the dead letters, then drive up to so many late files again."""
        given_up = self._bury_dead_letters()
        driven = 0
        for file, prediction in self._late_files():
            if driven == most:
                logger.warning("more is late than one run may drive; the next goes on", most=most)
                break
            self._drive(file, prediction)
            driven += 1
        metrics.add_metric("UploadsReconciled", MetricUnit.Count, driven)
        metrics.add_metric("DeadLettersAnswered", MetricUnit.Count, given_up)
        return Reconciled(driven, given_up)

    def _bury_dead_letters(self) -> int:
        """Mark the predictions of dead letters as failed; the letters stay for the operator.

        The worker does so itself on the last attempt, unless it died of it.
        """
        count = 0
        peeked = self._queues.dead_letters.peek(MOST_DEAD_LETTERS, DEAD_LETTER_HIDDEN_SECONDS)
        for body in peeked:
            named = prediction_named_in(body)
            held = self._table.find(named) if named else None
            if held and not held.has_answer:
                why = "every attempt ended with the worker: the message is in the dead-letter queue"
                self._announcer.fail(held, Problem.with_us(why))
                count += 1
        return count

    def _late_files(self) -> Iterator[tuple[ArrivedFile, Prediction | None]]:
        """Yield the files that should have an answer by now, with their predictions."""
        for files in batched(self._arrived_files(), LOOKED_UP_AT_ONCE):
            ids = {file.key: self._intake.ids_of(file) for file in files}
            held = self._table.find_all(each for some in ids.values() for each in some)
            for file in files:
                found = (held[each] for each in ids[file.key] if each in held)
                prediction = next((each for each in found if each.key == file.key), None)
                if self._is_late(prediction):
                    yield file, prediction

    def _arrived_files(self) -> Iterator[ArrivedFile]:
        for listed in self._uploads.objects(PREFIX):
            is_folder_marker = listed.key.endswith("/")
            if listed.modified < self._now() - EVENT_IS_LATE and not is_folder_marker:
                yield ArrivedFile(listed.key, listed.etag.strip('"'), listed.modified)

    def _is_late(self, prediction: Prediction | None) -> bool:
        if prediction is None or prediction.state is State.WAITING:
            return True
        settled = prediction.has_answer and prediction.announced
        return not settled and prediction.updated_at < self._now() - MESSAGE_IS_LATE

    def _drive(self, file: ArrivedFile, prediction: Prediction | None) -> None:
        if prediction is None or prediction.state is State.WAITING:
            self._intake.receive(file)
        elif prediction.has_answer:
            self._announcer.announce(prediction)
        elif prediction.redrives >= MOST_REDRIVES:
            why = f"no answer after its message was sent {MOST_REDRIVES + 1} times"
            self._announcer.fail(prediction, Problem.with_us(why))
        else:
            logger.warning("sending a lost message again", prediction_id=prediction.prediction_id)
            first = replace(file, etag=prediction.etag, version=prediction.object_version)
            self._queues.identify.send(IdentifyMessage.of(prediction, first))
            self._table.update(prediction, lambda held: held.redriven(self._now()))
