"""What becomes of a training that has output: it is kept as a version, judged, promoted or not.

Each step may be done again: a training makes one version, the verdict is written down before it has
an effect, and a version that has served once is not promoted a second time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from chalicelib.catalog.lineage import learnt_revisions
from chalicelib.catalog.promoting import Promoter, Promotion
from chalicelib.catalog.register import Publisher, Trained
from chalicelib.catalog.version_records import Origin, VersionRecords
from chalicelib.database import Database
from chalicelib.errors import Conflict, InvalidModel, ModelUnavailable
from chalicelib.labels.waited import Waited
from chalicelib.observability import logger
from chalicelib.retrain.gate import Terms, Verdict, judge
from chalicelib.retrain.job import Job, Settled
from chalicelib.retrain.keys import output_key
from chalicelib.retrain.measured import Evidence, LiveMetrics, TrainingMetrics
from chalicelib.storage import ObjectStore

GATE = "the gate"
TRIES = 3

HowLong = Callable[[str, int | None, int, datetime], Waited | None]


class Measures(Protocol):
    """Measures a version on the validation images of a training's dataset."""

    def measure(self, job: Job, version: int) -> tuple[LiveMetrics, Evidence] | None:
        """Return what a version is worth there, and how sure it is that the job's is better.

        None where that would take too long.
        """


class Settlement:
    """Judges what trainings brought.

    Parameters
    ----------
    store : ObjectStore
    publisher : Publisher
    database : Database
    terms : Terms
        Of the gate.
    measures : Measures
        Of a version that began to serve while the training ran.
    how_long : callable
        `labels.waited.waited` without the database.
    """

    def __init__(
        self,
        store: ObjectStore,
        publisher: Publisher,
        database: Database,
        terms: Terms,
        measures: Measures,
        how_long: HowLong,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._database = database
        self._records = VersionRecords(database)
        self._terms = terms
        self._measures = measures
        self._how_long = how_long

    @property
    def _promoter(self) -> Promoter:
        return self._publisher.promoter

    def settle(self, job: Job) -> Settled:
        """Decide about a training whose output is in the store; a second call finds the same.

        Raises
        ------
        ObjectNotFound
            There is no output.
        InvalidModel
            It cannot be served, or what it measured cannot be read.
        Unavailable
            A part does not answer, or other versions were promoted all the while: try again.
        """
        metrics = self._store.get(output_key(job.job_id, "metrics.json")).body
        measured = TrainingMetrics.parse(metrics, "metrics.json")
        version = self._publisher.add_version(job.model, self._trained(job, metrics))
        held = self._records.verdict(job.model, version)
        if held and not held["promote"]:
            return _settled(version, held)
        for _ in range(TRIES):
            if self._promoter.has_served(job.model, version):
                return self._served(job, version)
            verdict = self._judge(job, version, measured)
            if verdict and (not verdict.promote or self._promote(job, version, verdict)):
                return _settled(version, vars(verdict))
        raise ModelUnavailable(f"other versions of {job.model!r} were promoted all the while")

    def _trained(self, job: Job, metrics: bytes) -> Trained:
        onnx = self._store.get(output_key(job.job_id, "model.onnx")).body
        origin = Origin(job.job_id, job.dataset_sha256, job.dataset_revision)
        return Trained(onnx, metrics, output_key(job.job_id, "best.pt"), origin)

    def _judge(self, job: Job, version: int, measured: TrainingMetrics) -> Verdict | None:
        """Judge a version beside the one that serves at this moment, and write that down.

        None: it serves itself by now, by another judge's or an operator's will.
        """
        file, _ = self._promoter.serving(job.model)
        serving = file.live_version if file else None
        if serving == version:
            return None
        if serving and (measured.live is None or measured.live.version != serving):
            measured = self._beside(job, measured, serving)
        verdict = judge(measured, self._terms, serving)
        self._records.note_verdict(job.model, version, vars(verdict))
        logger.info("the gate decided", job_id=str(job.job_id), version=version, **vars(verdict))
        return verdict

    def _beside(self, job: Job, measured: TrainingMetrics, serving: int) -> TrainingMetrics:
        """Return the metrics with what serves now in place of what served then, if it can be."""
        try:
            found = self._measures.measure(job, serving)
        except InvalidModel:
            logger.warning("the version that serves cannot be measured", exc_info=True)
            found = None
        if found is None:
            return measured
        live, evidence = found
        return measured.model_copy(update={"live": live, "evidence": evidence})

    def _promote(self, job: Job, version: int, verdict: Verdict) -> bool:
        """Have a version serve, unless another began to since it was judged."""
        over = verdict.figures["live_version"]
        try:
            made = self._promoter.promote(job.model, version, GATE, verdict.reason, over=over)
        except Conflict:
            return False
        self._note_waited(job, made)
        return True

    def _served(self, job: Job, version: int) -> Settled:
        """Finish what an earlier call began, or leave what an operator did."""
        held = self._records.verdict(job.model, version)
        file, _ = self._promoter.serving(job.model)
        if file and file.live_version == version:
            by, why = file.promoted_by or GATE, file.promoted_why or ""
            self._note_waited(job, self._promoter.promote(job.model, version, by, why))
        told = held or {"promote": True, "reason": "an operator promoted it", "figures": {}}
        return _settled(version, told)

    def _note_waited(self, job: Job, made: Promotion) -> None:
        if job.dataset_revision is None:
            return
        before = made.previous
        learnt = learnt_revisions(self._database, {job.model: before}) if before else {}
        told = self._how_long(job.model, learnt.get(job.model), job.dataset_revision, made.at)
        if told:
            self._records.note_waited(job.model, made.version, vars(told))


def _settled(version: int, verdict: dict[str, Any]) -> Settled:
    reason, figures = verdict["reason"], verdict["figures"]
    if verdict["promote"]:
        return Settled("promoted", reason, version, figures)
    return Settled("rejected", reason, version, figures)
