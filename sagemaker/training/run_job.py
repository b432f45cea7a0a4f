"""Train what a job's order says, from the store bucket and back into it: what every launcher runs.

    python sagemaker/training/run_job.py --job 7b0e…
    torchrun --nproc-per-node 2 --max-restarts 3 sagemaker/training/run_job.py --job 7b0e…

The order names a dataset version, the version to start from and hyperparameters; bucket, queue and
region are those of the settings (``SIGHTLOOP_*``). After every epoch the checkpoint goes into the
bucket, so that whoever runs this again for the same job, here or elsewhere, goes on behind that
epoch as if nothing had happened. Files go below ``--work``, the current folder unless given.

Exit status 0: the output is in the store. 75: another start may fare better, as after SIGTERM or
where the store does not answer. Any other: none would. A SageMaker container finds the reason in
``/opt/ml/output/failure``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

if not __package__:  # run as a script: the repository's root is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from chalicelib import settings
from chalicelib.aws import client
from chalicelib.catalog.model import version_key
from chalicelib.errors import SightloopError, Unavailable
from chalicelib.queues import Queue
from chalicelib.retrain.keys import order_key, output_key
from chalicelib.retrain.launchers import START_AGAIN
from chalicelib.retrain.messages import TrainingOrder
from chalicelib.storage import ObjectStore
from sagemaker.training import team as teams
from sagemaker.training.checkpoints import Checkpoints, Superseded
from sagemaker.training.fetch_dataset import fetch
from sagemaker.training.hyperparameters import Hyperparameters
from sagemaker.training.reporter import LogTail, Reporter
from sagemaker.training.team import Team

if TYPE_CHECKING:
    from sagemaker.training.train import Places
    from sagemaker.training.trainer import Epoch

FAILURE = Path("/opt/ml/output/failure")
# A training sends nothing to others and installs nothing by itself.
ULTRALYTICS = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
# Of a model that has learnt: it keeps more of what it knows at a lower rate.
FINE_TUNING = {"lr0": "0.0005", "warmup_epochs": "1"}
OUTPUT = {
    "best.pt": "application/octet-stream",
    "model.onnx": "application/octet-stream",
    "results.csv": "text/csv",
    "metrics.json": "application/json",  # the last: where it is, all are
}
logger = logging.getLogger("trainer")


class Interrupted(BaseException):
    """The process was asked to end; no handler of exceptions is to hold that up."""


@dataclass(frozen=True)
class Job:
    """An order, and where what it needs is, was and will be.

    Attributes
    ----------
    order : TrainingOrder
    store : ObjectStore
    work : Path
        Its folder on this machine.
    """

    order: TrainingOrder
    store: ObjectStore
    work: Path

    @property
    def hyperparameters(self) -> Hyperparameters:
        """What is ordered, and what suits the kind of training where that says nothing.

        Raises
        ------
        ValueError
            There is none of that name, or a value does not fit.
        """
        suits = FINE_TUNING if self.order.kind == "fine_tune" else {}
        return Hyperparameters.from_strings({**suits, **self.order.hyperparameters})

    def places(self) -> Places:
        """Return where on this machine the training reads and writes."""
        from sagemaker.training.train import Places  # noqa: PLC0415 - seconds, with torch

        out = self.work / "out"
        weights = self.work / "start.pt" if self.order.base_version else None
        return Places(self.work / "dataset/data.yaml", weights, self.work / "run", out, out)

    def has_output(self) -> bool:
        """Tell whether an earlier start has done all there is to do."""
        return self.store.has(output_key(self.order.job_id, "metrics.json"))


@dataclass
class Course:
    """What the leader does beside training: keeps checkpoints and tells how far it is."""

    checkpoints: Checkpoints
    reporter: Reporter
    resumable: Path
    _took: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._untold = list(self.checkpoints.state.reports)

    def after_epoch(self, epoch: Epoch) -> None:
        """Store the checkpoint, then tell of the epoch: of no other before it is safe."""
        self._took.append(epoch.seconds)
        seconds = epoch.seconds, (epoch.of - epoch.number) * sum(self._took) / len(self._took)
        aps = epoch.map50, epoch.map50_95
        told = self.reporter.epoch_done(epoch.number, epoch.of, epoch.losses, aps, seconds)
        self._untold.append(told)
        try:
            self.checkpoints.keep(self.resumable, epoch.number, self._untold)
        except Unavailable as fault:
            logger.warning("the checkpoint is not stored: %s", fault)
            return
        self.tell()

    def tell(self) -> None:
        """Tell of all that is safe and was not told, also by a start before that was killed.

        The service counts an epoch once for each start that trained it, however often it is told.
        """
        while self._untold and self.reporter.tell(self._untold[0]):
            self._untold.pop(0)


def run(job: Job, team: Team, queue: Queue) -> None:
    """Do all that is left of a job; all of a team have to call it.

    Raises
    ------
    SightloopError
        ``retry`` of its class tells whether another start may fare better.
    ValueError, FileNotFoundError
        The order cannot be carried out.
    Superseded
        Another start has taken over.
    """
    with _log_kept() as log:
        checkpoints = _begin(job, team)
        start = checkpoints.state.start
        reporter = Reporter(queue, job.store, job.order.job_id, start, log)
        try:
            if not team.share(team.leads and job.has_output()):
                _train(job, team, checkpoints, reporter)
            if team.leads:
                reporter.finished()
        except BaseException as fault:
            if team.leads and not isinstance(fault, Superseded):
                if not isinstance(fault, Interrupted | KeyboardInterrupt):
                    log.add("".join(traceback.format_exception(fault)))
                reporter.stopped(not may_fare_better(fault, team), in_words(fault))
            raise


def _begin(job: Job, team: Team) -> Checkpoints:
    """Take the job over, once for the whole team."""
    state = None
    if team.leads:
        state = Checkpoints.begin(job.store, job.order.job_id).state
    shared = team.share(state)
    assert shared is not None, "the leader has begun"
    return Checkpoints(job.store, job.order.job_id, shared)


def _train(job: Job, team: Team, checkpoints: Checkpoints, reporter: Reporter) -> None:
    chosen = job.hyperparameters
    if team.leads:
        reporter.go_on_with_the_log()
        reporter.started(chosen.epochs, checkpoints.state.epochs_done)
    from sagemaker.training import train  # noqa: PLC0415 - seconds, with torch

    places = job.places()
    if team.leads_its_machine:
        _fetch(job, places, checkpoints)
    team.meet()
    course = Course(checkpoints, reporter, places.resumable)
    if team.leads:
        course.tell()
    train.fit(chosen, places, team, course.after_epoch)
    if team.leads:
        if team.size == 1:
            measure(job)
        else:
            _measure_alone(job)
        _upload(job, places)
        course.tell()
        checkpoints.clear()


def _fetch(job: Job, places: Places, checkpoints: Checkpoints) -> None:
    """Bring to this machine what it trains on and from."""
    order, folder = job.order, places.data.parent
    for left in folder.glob("labels/*.cache"):  # by ultralytics, in an earlier start
        left.unlink()
    made = fetch(job.store, order.model, order.dataset_sha256, folder)
    logger.info("%d images to train, %d to validate", made.train, made.valid)
    places.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoints.fetch(places.resumable)
    if places.weights and order.base_version and not places.weights.exists():
        from sagemaker.training import start_weights  # noqa: PLC0415 - seconds, with torch

        photos = sorted((folder / "images/train").iterdir())
        start_weights.fetch(job.store, order.model, order.base_version, photos, places.weights)


def measure(job: Job) -> None:
    """Export what came out, and write down how good it is, and the live version beside it."""
    from sagemaker.training import train  # noqa: PLC0415 - seconds, with torch
    from sagemaker.training.evaluate import evaluate, photos_of  # noqa: PLC0415

    chosen, places, order = job.hyperparameters, job.places(), job.order
    exported = train.export(places.best, chosen)
    live = None
    if order.base_version:
        key = version_key(order.model, order.base_version, "model.onnx")
        live = order.base_version, job.store.get(key).body
    photos = photos_of(places.data, order.class_names)
    metrics = evaluate(exported, places.best, live, photos) | train.about(chosen, places)
    written = json.dumps(metrics, indent=2, allow_nan=False)
    (places.out / "metrics.json").write_text(f"{written}\n", encoding="utf-8")


def _measure_alone(job: Job) -> None:
    """Measure in a process that is of no team: in one, ultralytics would wait for the others."""
    alone = {name: value for name, value in os.environ.items() if name not in teams.VARIABLES}
    work = str(job.work.parent.resolve())
    command = [__file__, "--job", str(job.order.job_id), "--work", work, "--measure"]
    done = subprocess.run([sys.executable, *command], env=alone, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring ended with status {done.returncode}")


def _upload(job: Job, places: Places) -> None:
    for name, media_type in OUTPUT.items():
        with (places.out / name).open("rb") as file:
            job.store.put_file(output_key(job.order.job_id, name), file, media_type)


def may_fare_better(fault: BaseException, team: Team) -> bool:
    """Tell whether another start may, where one ended with a fault.

    In a team a member that is lost shows as any error of the runtime at the others.
    """
    if isinstance(fault, SightloopError):
        return fault.retry
    if isinstance(fault, RuntimeError) and team.size > 1:
        return True
    passing = Interrupted, KeyboardInterrupt, Superseded, OSError, MemoryError
    return isinstance(fault, passing) and not isinstance(fault, FileNotFoundError)


def in_words(fault: BaseException) -> str:
    """Return a fault as an operator should read it."""
    if isinstance(fault, SightloopError | ValueError | Interrupted | Superseded):
        return str(fault)
    return f"{type(fault).__name__}: {fault}"


@contextmanager
def _log_kept() -> Iterator[LogTail]:
    """Keep the end of what is logged inside the block, by us and by ultralytics."""
    log = LogTail()
    loggers = [logging.getLogger(name) for name in ("trainer", "ultralytics")]
    for each in loggers:
        each.addHandler(log)
    try:
        yield log
    finally:
        for each in loggers:
            each.removeHandler(log)


def _end(number: int, _: Any) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise Interrupted(f"it was told to end by {signal.Signals(number).name}")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--job", type=UUID, required=True, help="the job's id")
    parser.add_argument("--work", type=Path, default=Path.cwd(), help="folder to work in")
    parser.add_argument("--measure", action="store_true", help="only what was trained there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run a job and return the exit status."""
    given = _arguments(argv)
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("trainer").setLevel(logging.INFO)
    for name, value in ULTRALYTICS.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _end)
    team = teams.of_environment()
    try:
        with teams.joined(team):
            loaded = settings.load()
            store = ObjectStore(client("s3", loaded.region, background=True), loaded.store_bucket)
            queue = Queue(client("sqs", loaded.region, background=True), loaded.training_queue)
            order = TrainingOrder.model_validate_json(store.get(order_key(given.job)).body)
            job = Job(order, store, given.work / str(given.job))
            if given.measure:
                measure(job)
            else:
                run(job, team, queue)
    except (Interrupted, KeyboardInterrupt) as asked:
        logger.info("%s", in_words(asked))
        return START_AGAIN
    except Exception as fault:  # the process's edge: whoever launched it looks at its status
        logger.exception("the trainer ends")
        if FAILURE.parent.is_dir():
            FAILURE.write_text(in_words(fault), encoding="utf-8")
        return START_AGAIN if may_fare_better(fault, team) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
