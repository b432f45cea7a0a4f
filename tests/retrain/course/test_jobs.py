"""The rows of training jobs: one at a time, forward only, each report once, in whatever order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.errors import Conflict, TrainingJobNotFound
from chalicelib.retrain.job import AWAY, OPEN, Job, Settled, State, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.messages import EpochDone, Started

MakeJob = Callable[..., Job]
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def away(jobs: TrainingJobs, make_job: MakeJob) -> Job:
    """Return a job that was launched."""
    return jobs.launched(make_job().job_id, "pid-7")


def epoch(job: Job, number: int, start: int = 1, **given: Any) -> EpochDone:
    told = {"losses": {"train/box_loss": 1.5}, "map50": 0.5, "map50_95": 0.25, **given}
    return EpochDone(
        job_id=job.job_id,
        start=start,
        at=AT + timedelta(minutes=number),
        epoch=number,
        epochs=20,
        seconds=3.0,
        eta_seconds=60.0 * (20 - number),
        **told,
    )


def started(job: Job, start: int = 1, done: int = 0) -> Started:
    return Started(job_id=job.job_id, start=start, at=AT, epochs=20, epochs_done=done)


def test_a_job_begins_queued_with_its_terms(jobs: TrainingJobs, make_job: MakeJob) -> None:
    job = make_job()

    assert jobs.get(job.job_id) == job
    assert (job.state, job.kind, job.base_version) == (State.QUEUED, "fine_tune", 1)
    assert job.hyperparameters == {"epochs": "20", "batch": "16", "imgsz": "640"}


def test_a_model_has_one_job_at_a_time(jobs: TrainingJobs, make_job: MakeJob) -> None:
    job = make_job()

    assert jobs.create("scratch", Terms("first", None, 1, {}), "process", "ann", "now") is None
    jobs.end(job.job_id, OPEN, State.FAILED, "no memory")
    assert jobs.create("scratch", Terms("first", None, 1, {}), "process", "ann", "now")


def test_of_twenty_who_want_a_job_at_once_one_makes_it(jobs: TrainingJobs) -> None:
    def create(by: int) -> Job | None:
        return jobs.create("scratch", Terms("first", None, 1, {}), "process", str(by), "now")

    with ThreadPoolExecutor(20) as people:
        made = [job for job in people.map(create, range(20)) if job]

    assert len(made) == 1


def test_who_began_to_look_before_a_job_was_made_makes_no_second(
    jobs: TrainingJobs, make_job: MakeJob
) -> None:
    job = jobs.end(make_job().job_id, OPEN, State.REJECTED, "worse")
    late = job.created_at - timedelta(seconds=1)

    assert jobs.create("scratch", Terms("first", None, 1, {}), "p", "b", "r", since=late) is None
    assert jobs.create("scratch", Terms("first", None, 1, {}), "p", "b", "r", since=job.ended_at)


def test_what_was_ordered_first_holds(jobs: TrainingJobs, make_job: MakeJob) -> None:
    job, again = make_job(), Terms("fine_tune", 2, 5, {"epochs": "5"})

    jobs.order(job.job_id, "a" * 64, 7, again)
    held = jobs.order(job.job_id, "b" * 64, 8, Terms("first", None, 9, {}))

    assert (held.dataset_sha256, held.dataset_revision) == ("a" * 64, 7)
    assert (held.base_version, held.epochs, held.hyperparameters) == (2, 5, {"epochs": "5"})


def test_nothing_is_ordered_of_a_job_that_is_to_be_cancelled(
    jobs: TrainingJobs, make_job: MakeJob
) -> None:
    job = jobs.cancel(make_job().job_id)

    assert jobs.order(job.job_id, "a" * 64, 7, Terms("first", None, 1, {})).dataset_sha256 is None


def test_the_first_report_says_that_it_trains(jobs: TrainingJobs, away: Job) -> None:
    assert jobs.started(started(away)).state == State.TRAINING
    reached = jobs.reached(epoch(away, 1))

    assert (reached.epoch, reached.epochs, reached.eta_seconds) == (1, 20, 1140.0)
    assert reached.last["mAP50-95"] == 0.25


def test_reports_in_any_order_and_twice_come_to_the_same(
    jobs: TrainingJobs, make_job: MakeJob
) -> None:
    def told(order: tuple[int, ...]) -> tuple[Any, ...]:
        job = jobs.launched(make_job().job_id, "pid-7")
        sent = [started(job), epoch(job, 1), epoch(job, 2), started(job, 2, 1), epoch(job, 2, 2)]
        for number in (*order, *order):
            report = sent[number]
            jobs.started(report) if isinstance(report, Started) else jobs.reached(report)
        done = jobs.get(job.job_id)
        jobs.end(job.job_id, OPEN, State.CANCELLED, "next")
        history = [(row.epoch, row.times, row.start) for row in jobs.epochs(job.job_id)]
        return done.state, done.epoch, done.starts, done.eta_seconds, history

    courses = {repr(told(order)) for order in itertools.permutations(range(5))}

    expected = (State.TRAINING, 2, 2, 1080.0, [(1, 1, 1), (2, 2, 2)])
    assert courses == {repr(expected)}


def test_reports_at_once_are_all_counted(jobs: TrainingJobs, away: Job) -> None:
    sent = [epoch(away, number, start) for number in range(1, 6) for start in (1, 2)] * 3

    with ThreadPoolExecutor(10) as deliveries:
        list(deliveries.map(jobs.reached, sent))

    assert [(row.epoch, row.times) for row in jobs.epochs(away.job_id)] == [
        (number, 2) for number in range(1, 6)
    ]


def test_a_late_report_takes_no_job_back(jobs: TrainingJobs, away: Job) -> None:
    jobs.finishing(away.job_id)
    jobs.settled(away.job_id, Settled("promoted", "better", 2, {"mAP50-95": 0.4}))

    jobs.started(started(away))
    job = jobs.reached(epoch(away, 20))

    assert (job.state, job.version, job.verdict) == (State.PROMOTED, 2, {"mAP50-95": 0.4})
    assert (job.epoch, job.eta_seconds) == (20, None)


def test_a_training_that_diverged_is_reported_all_the_same(jobs: TrainingJobs, away: Job) -> None:
    diverged = epoch(away, 1, losses={"train/box_loss": math.nan}, map50=math.inf)
    jobs.reached(EpochDone.model_validate_json(diverged.model_dump_json()))
    jobs.reached(diverged.model_copy(update={"epoch": 2, "eta_seconds": math.inf}))

    for row in jobs.epochs(away.job_id):
        assert row.metrics["losses"] == {"train/box_loss": None}
        assert row.metrics["mAP50"] is None


@pytest.mark.parametrize("state", list(State)[4:])
def test_what_is_over_stays_as_it_ended(jobs: TrainingJobs, away: Job, state: State) -> None:
    ended = jobs.end(away.job_id, AWAY, state, "because")

    jobs.launched(away.job_id, "another")
    jobs.finishing(away.job_id)
    jobs.end(away.job_id, OPEN, State.FAILED, "no")
    jobs.note_trouble(away.job_id, "late")

    assert jobs.get(away.job_id) == ended
    assert ended.ended_at
    assert jobs.lease(away.job_id, 60) is None
    assert jobs.open_ids() == []


def test_one_at_a_time_judges_a_job(jobs: TrainingJobs, away: Job) -> None:
    jobs.finishing(away.job_id)

    with ThreadPoolExecutor(8) as judges:
        held = [job for job in judges.map(lambda _: jobs.lease(away.job_id, 60), range(8)) if job]

    assert len(held) == 1
    jobs.release(held[0], "S3 does not answer")
    assert jobs.get(away.job_id).trouble == "S3 does not answer"
    assert jobs.lease(away.job_id, 60)


def test_a_judge_who_died_is_followed_by_another(jobs: TrainingJobs, away: Job) -> None:
    jobs.finishing(away.job_id)

    dead = jobs.lease(away.job_id, seconds=-1)
    other = jobs.lease(away.job_id, 60)
    assert dead and other
    jobs.release(dead, "too late to let go of what is another's")

    assert jobs.lease(away.job_id, 60) is None


def test_a_job_can_be_cancelled_until_it_is_judged(jobs: TrainingJobs, make_job: MakeJob) -> None:
    job = make_job()
    assert jobs.cancel(job.job_id).cancel_requested
    assert jobs.cancel(job.job_id).cancel_requested
    jobs.end(job.job_id, OPEN, State.CANCELLED, "asked for")
    assert jobs.cancel(job.job_id).state == State.CANCELLED

    other = make_job()
    jobs.launched(other.job_id, "pid-8")
    jobs.finishing(other.job_id)
    with pytest.raises(Conflict, match="the gate is judging"):
        jobs.cancel(other.job_id)
    jobs.settled(other.job_id, Settled("rejected", "worse", None, {}))
    with pytest.raises(Conflict, match="it was rejected"):
        jobs.cancel(other.job_id)


def test_what_is_to_be_cancelled_is_not_judged(jobs: TrainingJobs, away: Job) -> None:
    jobs.cancel(away.job_id)

    assert jobs.finishing(away.job_id).state == State.LAUNCHED


def test_words_that_postgresql_cannot_keep_are_kept_as_well_as_can_be(
    jobs: TrainingJobs, away: Job
) -> None:
    assert jobs.end(away.job_id, AWAY, State.FAILED, "no\x00" + "x" * 9_000).outcome == (
        "no\ufffd" + "x" * 1_997
    )
    assert jobs.end(away.job_id, AWAY, State.FAILED, "") == jobs.get(away.job_id)


def test_pages_hold_every_job_once_newest_first(jobs: TrainingJobs, make_job: MakeJob) -> None:
    made = [make_job(f"m{number}").job_id for number in range(5)]

    first = jobs.page(None, None, None, 3)
    rest = jobs.page(None, None, first[-1].job_id, 3)

    assert [job.job_id for job in (*first, *rest)] == made[::-1]
    assert [job.model for job in jobs.page("m2", "queued", None, 9)] == ["m2"]
    assert jobs.page(None, "training", None, 9) == []


def test_a_job_that_is_not_there_is_not_found(jobs: TrainingJobs, away: Job) -> None:
    unknown = uuid4()
    stray = epoch(away, 1).model_copy(update={"job_id": unknown})

    for ask in (
        lambda: jobs.get(unknown),
        lambda: jobs.page(None, None, unknown, 1),
        lambda: jobs.cancel(unknown),
        lambda: jobs.reached(stray),
    ):
        with pytest.raises(TrainingJobNotFound):
            ask()


def test_jobs_are_found_by_what_their_launcher_calls_them(jobs: TrainingJobs, away: Job) -> None:
    assert jobs.called("pid-7") == [away.job_id]
    assert jobs.called("pid-8") == []
