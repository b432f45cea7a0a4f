"""One judges at a time, and when that one is killed another does, soon."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from chalicelib.database import Database
from chalicelib.errors import DatabaseUnavailable, StorageUnavailable
from chalicelib.retrain.course import Course
from chalicelib.retrain.job import Job, Settled, State
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.lease import Lease
from chalicelib.wiring import Services

JUDGING = Path(__file__).with_name("judging.py")
LEASE_SECONDS, BEAT_SECONDS = 4.0, 0.2
PATIENCE_SECONDS = 60.0

MakeJob = Callable[..., Job]


@dataclass
class Gate:
    """A gate that promotes."""

    asked: int = 0

    def settle(self, job: Job) -> Settled:
        self.asked += 1
        return Settled("promoted", "it is better", 2, {})


@dataclass
class Reminders:
    """Who is to look at which job, after how many seconds."""

    left: list[tuple[UUID, int]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def __call__(self, job_id: UUID, seconds: int) -> None:
        self.left.append((job_id, seconds))
        if len(self.left) > 1:
            self.came.set()


@pytest.fixture
def trained(jobs: TrainingJobs, make_job: MakeJob) -> Job:
    job = make_job()
    jobs.launched(job.job_id, "4711")
    return jobs.finishing(job.job_id)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def course(services: Services, gate: Gate) -> Course:
    return Course(replace(services.training.course._parts, settler=lambda: gate))


@contextmanager
def another_judges(database: Database, job: Job) -> Iterator[subprocess.Popen[str]]:
    """Have another process judge a job as long as the block runs."""
    told = [database.require(), str(job.job_id), str(LEASE_SECONDS), str(BEAT_SECONDS)]
    with subprocess.Popen(
        [sys.executable, JUDGING, *told], stdout=subprocess.PIPE, text=True
    ) as judge:
        try:
            assert judge.stdout
            assert judge.stdout.readline() == "judging\n"
            yield judge
        finally:
            judge.kill()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_past(database: Database, moment: datetime) -> bool:
    with database.transaction() as rows:
        rows.execute("SELECT now() > %s", (moment,))
        [[past]] = rows.fetchall()
    return bool(past)


def test_a_judge_that_lives_is_left_alone_however_long_it_takes(
    database: Database, jobs: TrainingJobs, course: Course, gate: Gate, trained: Job
) -> None:
    with another_judges(database, trained):
        first = jobs.get(trained.job_id).leased_until
        assert first
        wait_until(lambda: is_past(database, first))

        assert course.look(trained.job_id).state == State.FINISHING

    assert gate.asked == 0


def test_when_a_judge_is_killed_another_takes_its_place(
    database: Database, course: Course, gate: Gate, trained: Job
) -> None:
    with another_judges(database, trained) as judge:
        judge.kill()
        judge.wait()

        wait_until(lambda: course.look(trained.job_id).state == State.PROMOTED)

    assert gate.asked == 1


def test_who_judges_leaves_a_reminder_for_when_it_is_killed(
    jobs: TrainingJobs, trained: Job
) -> None:
    held, remind = jobs.lease(trained.job_id, 60), Reminders()
    assert held
    with Lease(jobs, held, remind, seconds=60, beat_seconds=0.01):
        assert remind.left, "before it begins"
        assert remind.came.wait(PATIENCE_SECONDS), "and with each renewal"

    assert set(remind.left) == {(trained.job_id, 62)}


def test_a_database_that_does_not_answer_for_a_moment_costs_no_lease(
    database: Database, trained: Job
) -> None:
    class Shaky(TrainingJobs):
        refusals = 3

        def renew(self, held: Job, seconds: float) -> Job | None:
            if self.refusals:
                self.refusals -= 1
                raise DatabaseUnavailable("it does not answer")
            return super().renew(held, seconds)

    jobs, remind = Shaky(database), Reminders()
    held = jobs.lease(trained.job_id, 60)
    assert held
    with Lease(jobs, held, remind, seconds=60, beat_seconds=0.01) as lease:
        assert remind.came.wait(PATIENCE_SECONDS)

    assert lease.held.leased_until
    assert held.leased_until
    assert lease.held.leased_until > held.leased_until


def test_who_lost_its_lease_takes_nothing_from_who_has_it(jobs: TrainingJobs, trained: Job) -> None:
    late = jobs.lease(trained.job_id, -1)
    other = jobs.lease(trained.job_id, 60)
    assert late
    assert other

    assert jobs.renew(late, 600) is None
    Lease(jobs, late, Reminders()).give_back("S3 does not answer")

    assert jobs.get(trained.job_id).leased_until == other.leased_until


def test_what_could_not_be_judged_now_can_be_at_once(
    services: Services, jobs: TrainingJobs, course: Course, trained: Job
) -> None:
    class Waiting:
        def settle(self, job: Job) -> Settled:
            raise StorageUnavailable("S3 does not answer")

    waits = Course(replace(course._parts, settler=Waiting))
    with pytest.raises(StorageUnavailable):
        waits.look(trained.job_id)
    assert jobs.get(trained.job_id).trouble == "S3 does not answer"

    assert course.look(trained.job_id).state == State.PROMOTED
