"""The course of a training, whoever tells of it, how often, in which order, and whoever dies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest

from chalicelib.errors import (
    ConfigurationError,
    InvalidModel,
    SightloopError,
    StorageUnavailable,
    Unavailable,
)
from chalicelib.retrain.course import ASKED_FOR, Course
from chalicelib.retrain.job import Job, Settled, State
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.keys import order_key, output_key
from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.messages import (
    Due,
    EpochDone,
    Finished,
    Report,
    Started,
    Stopped,
    TrainingOrder,
    parse_report,
)
from chalicelib.wiring import Services

MakeJob = Callable[..., Job]
Then = Literal["ended", "failed", "gone", "running", "stopped"]


class Killed(BaseException):
    """What a process does not survive."""


@dataclass
class Scripted:
    """A launcher that keeps what it was given, as real ones do, and says what it is told to."""

    name: str = "process"
    known: dict[str, Status] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    fault: SightloopError | None = None

    def launch(self, job: Launch) -> str:
        self._raise()
        self.launches.append(job)
        self.known.setdefault(f"pid-{job.job_id}", Status("running"))
        return f"pid-{job.job_id}"

    def status(self, external_id: str) -> Status:
        self._raise()
        return self.known.get(external_id, Status("gone"))

    def stop(self, external_id: str) -> None:
        self._raise()
        self.stopped.append(external_id)
        if self.known.get(external_id, Status("gone")).state == "running":
            self.known[external_id] = Status("stopped")

    def becomes(self, job: Job, state: Then, detail: str = "") -> None:
        self.known[f"pid-{job.job_id}"] = Status(state, detail)

    def _raise(self) -> None:
        if self.fault:
            raise self.fault


@dataclass
class Gate:
    """A gate that promotes, as the real one: what was decided once stays decided."""

    decided: dict[UUID, Settled] = field(default_factory=dict)
    asked: int = 0
    fault: Exception | None = None

    def settle(self, job: Job) -> Settled:
        self.asked += 1
        if self.fault:
            raise self.fault
        made = Settled("promoted", "it is better", len(self.decided) + 2, {"mAP50-95": 0.5})
        return self.decided.setdefault(job.job_id, made)


class Clock:
    """The time, and what was added to it."""

    def __init__(self) -> None:
        self.added = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.added


@dataclass
class Outside:
    """What a course deals with."""

    launcher: Scripted = field(default_factory=Scripted)
    gate: Gate = field(default_factory=Gate)
    clock: Clock = field(default_factory=Clock)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def launcher(outside: Outside) -> Scripted:
    return outside.launcher


@pytest.fixture
def gate(outside: Outside) -> Gate:
    return outside.gate


@pytest.fixture
def clock(outside: Outside) -> Clock:
    return outside.clock


@pytest.fixture
def course(services: Services, launcher: Scripted, gate: Gate, clock: Clock) -> Course:
    parts = services.training.course._parts
    made = replace(parts, launcher=lambda name: launcher, settler=lambda: gate, now=clock)
    return Course(made)


@pytest.fixture
def away(course: Course, make_job: MakeJob) -> Job:
    return course.look(make_job().job_id)


@pytest.fixture
def complete(services: Services) -> Callable[[Job], None]:
    """Have a trainer's output in the store."""

    def put(job: Job) -> None:
        services.store.put(output_key(job.job_id, "metrics.json"), b"{}", "application/json")

    return put


def about(job: Job, kind: type[Any], start: int = 1, **given: Any) -> Any:
    told = {"job_id": job.job_id, "start": start, "at": datetime.now(UTC), **given}
    return kind(**told)


def epoch(job: Job, number: int, start: int = 1) -> EpochDone:
    told = {"epoch": number, "epochs": 2, "losses": {}, "seconds": 1.0, "eta_seconds": 0.0}
    return about(job, EpochDone, start, **told)


def whole(job: Job) -> list[Report]:
    """Return the reports of a training that goes well."""
    started = about(job, Started, epochs=2)
    return [started, epoch(job, 1), epoch(job, 2), about(job, Finished)]


def test_a_queued_job_is_launched_with_its_order(
    services: Services, course: Course, launcher: Scripted, make_job: MakeJob
) -> None:
    job = course.look(make_job().job_id)

    order = TrainingOrder.model_validate_json(services.store.get(order_key(job.job_id)).body)
    assert (job.state, job.external_id) == (State.LAUNCHED, f"pid-{job.job_id}")
    assert [launch.job_id for launch in launcher.launches] == [job.job_id]
    assert order.class_names == ("scratch", "dent")
    assert (order.base_version, order.kind) == (1, "fine_tune")
    assert order.dataset_sha256 == job.dataset_sha256
    version = services.dataset_versions.one("scratch", order.dataset_sha256)
    assert (version.train, version.valid, job.dataset_revision) == (3, 2, version.revision)


def test_a_training_that_goes_well_is_judged_and_promoted(
    course: Course, away: Job, complete: Callable[[Job], None]
) -> None:
    reports = whole(away)
    for report in reports[:3]:
        told = course.receive(report)
        assert told and told.state == State.TRAINING
    complete(away)
    job = course.receive(reports[3])

    assert job
    assert (job.state, job.version, job.outcome) == (State.PROMOTED, 2, "it is better")
    assert (job.epoch, job.verdict) == (2, {"mAP50-95": 0.5})


def test_reports_in_any_order_each_twice_make_one_version(
    course: Course, make_job: MakeJob, gate: Gate, complete: Callable[[Job], None]
) -> None:
    for number, order in enumerate(itertools.permutations(range(4)), 1):
        job = course.look(make_job().job_id)
        complete(job)
        reports = whole(job)

        for each in (*order, *order):
            done = course.receive(reports[each])

        assert done
        assert (done.state, done.version, done.epoch) == (State.PROMOTED, number + 1, 2), order
        assert gate.asked == number


def test_reports_and_looks_at_once_launch_and_judge_once(
    course: Course,
    launcher: Scripted,
    gate: Gate,
    make_job: MakeJob,
    complete: Callable[[Job], None],
) -> None:
    job = make_job()
    complete(job)
    looks = [Due(job_id=job.job_id)] * 6

    with ThreadPoolExecutor(8) as deliveries:
        list(deliveries.map(course.receive, [*looks, *whole(job), *whole(job), *looks]))
    done = course.look(job.job_id)

    assert (done.state, done.version, gate.asked) == (State.PROMOTED, 2, 1)
    assert len(launcher.known) == 1


@pytest.mark.parametrize(
    ("state", "outcome", "lost"),
    [
        ("gone", "process knows nothing of it any more: the machine was lost", True),
        ("failed", "its trainer failed: the machine was lost", False),
        ("ended", "its trainer ended without output: the machine was lost", False),
        ("stopped", "it was stopped from outside: the machine was lost", True),
    ],
)
def test_a_job_of_which_every_report_was_lost_ends(
    course: Course,
    away: Job,
    launcher: Scripted,
    clock: Clock,
    state: Then,
    outcome: str,
    lost: bool,
) -> None:
    launcher.becomes(away, state, "the machine was lost")
    clock.added = timedelta(minutes=30)

    job = course.look(away.job_id)

    assert (job.state, job.outcome, job.lost) == (State.FAILED, outcome, lost)


@pytest.mark.parametrize("state", ["gone", "failed", "ended", "stopped", "running"])
def test_what_has_its_output_is_judged_whatever_its_launcher_says(
    course: Course,
    away: Job,
    launcher: Scripted,
    clock: Clock,
    complete: Callable[[Job], None],
    state: Then,
) -> None:
    complete(away)
    launcher.becomes(away, state)
    clock.added = timedelta(minutes=30)

    assert course.look(away.job_id).state == State.PROMOTED


def test_a_job_that_its_launcher_does_not_know_yet_is_given_a_moment(
    course: Course, away: Job, launcher: Scripted, clock: Clock
) -> None:
    launcher.known.clear()

    assert course.look(away.job_id).state == State.LAUNCHED
    clock.added = timedelta(minutes=3)
    assert course.look(away.job_id).state == State.FAILED


def test_no_job_runs_for_ever(course: Course, away: Job, launcher: Scripted, clock: Clock) -> None:
    clock.added = timedelta(hours=12, minutes=1)

    job = course.look(away.job_id)

    assert (job.state, launcher.stopped) == (State.FAILED, [job.external_id])
    assert job.outcome == "it was stopped: it has taken more than 12:00:00"


@pytest.mark.parametrize("fault", [Unavailable("no answer"), ConfigurationError("no such role")])
def test_a_launcher_that_cannot_tell_is_asked_again_but_not_for_ever(
    course: Course, away: Job, launcher: Scripted, clock: Clock, fault: SightloopError
) -> None:
    launcher.fault = fault
    if fault.retry:
        with pytest.raises(Unavailable):
            course.look(away.job_id)
    else:
        assert course.look(away.job_id).trouble == "no such role"
    clock.added = timedelta(hours=13)

    job = course.look(away.job_id)

    assert (job.state, job.lost) == (State.FAILED, True)
    assert job.outcome == f"nobody can tell what became of it: {fault.detail}"


@pytest.mark.parametrize("fault", [Unavailable("no answer"), ConfigurationError("no such role")])
def test_what_cannot_be_launched_waits_and_says_why_but_not_for_ever(
    course: Course,
    make_job: MakeJob,
    jobs: TrainingJobs,
    launcher: Scripted,
    clock: Clock,
    fault: SightloopError,
) -> None:
    job, launcher.fault = make_job(), fault
    if fault.retry:
        with pytest.raises(Unavailable):
            course.look(job.job_id)
    else:
        course.look(job.job_id)
    assert jobs.get(job.job_id).trouble == fault.detail

    launcher.fault = None
    assert course.look(job.job_id).trouble is None
    jobs.end(job.job_id, list(State), State.FAILED, "next")
    other, launcher.fault, clock.added = make_job(), fault, timedelta(days=2)
    ended = course.look(other.job_id)
    assert (ended.state, ended.lost) == (State.FAILED, True)
    assert ended.outcome == f"it could not be launched: {fault.detail}"


def test_a_dataset_without_images_to_measure_on_is_not_trained_and_not_tried_again(
    services: Services, course: Course, make_job: MakeJob, launcher: Scripted
) -> None:
    with services.database.transaction() as rows:
        rows.execute("UPDATE samples SET label_id = NULL WHERE side = 'valid'")

    job = course.look(make_job().job_id)

    assert (job.state, job.lost, launcher.launches) == (State.FAILED, False, [])
    assert "3 images to train on and 0 to measure on" in str(job.outcome)
    assert job.dataset_revision == services.dataset_versions.revision("scratch")


def test_a_job_starts_from_the_version_that_serves_when_it_is_launched(
    services: Services, course: Course, make_job: MakeJob, make_model: Callable[..., bytes]
) -> None:
    job = make_job()
    services.publisher.publish("scratch", make_model(((1, 1, 9, 9, 0.5, 0),)), b"{}")

    assert course.look(job.job_id).base_version == 2


def test_a_queued_job_that_is_cancelled_is_never_launched(
    services: Services, course: Course, make_job: MakeJob, launcher: Scripted
) -> None:
    job = make_job()
    services.training.desk.cancel(job.job_id)

    done = course.look(job.job_id)

    assert (done.state, done.outcome, launcher.launches) == (State.CANCELLED, ASKED_FOR, [])
    assert done.dataset_revision == services.dataset_versions.revision("scratch")


@pytest.mark.parametrize("reported", [[], [Started], [Started, EpochDone]])
def test_a_job_that_is_cancelled_has_its_trainer_stopped(
    services: Services, course: Course, away: Job, launcher: Scripted, reported: list[type]
) -> None:
    for report in whole(away)[: len(reported)]:
        course.receive(report)
    services.training.desk.cancel(away.job_id)

    course.look(away.job_id)
    assert launcher.stopped == [away.external_id]
    job = course.look(away.job_id)

    assert (job.state, job.outcome, job.lost) == (State.CANCELLED, ASKED_FOR, False)


def test_a_trainer_that_was_told_to_stop_says_that_it_did(
    services: Services, course: Course, away: Job
) -> None:
    services.training.desk.cancel(away.job_id)

    job = course.receive(about(away, Stopped, failed=False, reason="asked to"))

    assert job and job.state == State.CANCELLED


def test_what_is_cancelled_is_not_promoted_though_it_has_finished(
    services: Services, course: Course, away: Job, gate: Gate, complete: Callable[[Job], None]
) -> None:
    services.training.desk.cancel(away.job_id)
    complete(away)
    for report in whole(away):
        course.receive(report)
    course.look(away.job_id)

    assert course.look(away.job_id).state == State.CANCELLED
    assert gate.asked == 0


def test_a_cancelled_job_whose_launcher_cannot_be_set_up_is_cancelled_all_the_same(
    services: Services, course: Course, make_job: MakeJob, launcher: Scripted
) -> None:
    job, launcher.fault = make_job(), ConfigurationError("no such role")
    course.look(job.job_id)
    services.training.desk.cancel(job.job_id)

    assert course.look(job.job_id).state == State.CANCELLED


def test_an_interruption_ends_nothing(course: Course, away: Job) -> None:
    course.receive(about(away, Started, epochs=2))

    job = course.receive(about(away, Stopped, failed=False, reason="the machine is taken back"))

    assert job and job.state == State.TRAINING


def test_a_trainer_that_fails_says_why(course: Course, away: Job) -> None:
    job = course.receive(about(away, Stopped, failed=True, reason="out of memory"))

    assert job
    assert (job.state, job.outcome, job.lost) == (State.FAILED, "out of memory", False)


def test_a_late_word_of_an_earlier_start_ends_nothing(course: Course, away: Job) -> None:
    course.receive(about(away, Started, 2, epochs=2, epochs_done=1))

    job = course.receive(about(away, Stopped, 1, failed=True, reason="killed"))

    assert job and job.state == State.TRAINING


def test_a_trainer_that_goes_on_after_its_job_is_over_is_stopped(
    course: Course, away: Job, jobs: TrainingJobs, launcher: Scripted
) -> None:
    late = epoch(away, 1)
    jobs.end(away.job_id, [State.LAUNCHED], State.FAILED, "given up")
    course.receive(late)
    assert launcher.stopped == []

    course.receive(epoch(away, 2))
    assert launcher.stopped == [away.external_id]


def test_a_report_of_a_job_whose_launch_was_not_written_down_finds_it(
    course: Course, make_job: MakeJob, launcher: Scripted
) -> None:
    job = course.receive(about(make_job(), Started, epochs=2))

    assert job and (job.state, len(launcher.known)) == (State.TRAINING, 1)


def test_reports_of_nobodys_training_are_let_go(course: Course, away: Job) -> None:
    stray = replace(away, job_id=uuid4())

    assert [course.receive(report) for report in whole(stray)] == [None] * 4


def test_what_cannot_be_judged_now_is_judged_later(
    course: Course, away: Job, gate: Gate, jobs: TrainingJobs, complete: Callable[[Job], None]
) -> None:
    complete(away)
    gate.fault = StorageUnavailable("S3 does not answer")
    with pytest.raises(StorageUnavailable):
        course.receive(about(away, Finished))
    held = jobs.get(away.job_id)
    assert (held.state, held.trouble) == (State.FINISHING, "S3 does not answer")

    gate.fault = None
    assert course.look(away.job_id).state == State.PROMOTED


@pytest.mark.parametrize(
    ("fault", "days", "lost"),
    [(InvalidModel("not an ONNX file"), 0, False), (StorageUnavailable("no answer"), 2, True)],
)
def test_what_can_never_be_judged_has_failed(
    course: Course,
    away: Job,
    outside: Outside,
    complete: Callable[[Job], None],
    fault: SightloopError,
    days: int,
    lost: bool,
) -> None:
    complete(away)
    outside.gate.fault = fault
    outside.clock.added = timedelta(days=days)

    job = course.receive(about(away, Finished))

    assert job
    assert (job.state, job.lost) == (State.FAILED, lost)
    assert job.outcome == f"it could not be judged: {fault.detail}"


def test_what_kills_whoever_judges_it_ends_after_two_days(
    course: Course, away: Job, outside: Outside, jobs: TrainingJobs, complete: Callable[[Job], None]
) -> None:
    complete(away)
    jobs.finishing(away.job_id)
    assert jobs.lease(away.job_id, -1)  # and then was killed
    outside.gate.fault = StorageUnavailable("only where it is asked")
    outside.clock.added = timedelta(days=2, minutes=1)

    job = course.look(away.job_id)

    assert (job.state, job.lost) == (State.FAILED, True)
    assert "broke off, for two days" in str(job.outcome)


class Mortal:
    """Passes calls on, and dies before or after one of them."""

    def __init__(self, of: Any, deaths: Iterator[bool]) -> None:
        self._of, self._deaths = of, deaths

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not callable(found):
            return found

        def call(*args: Any, **given: Any) -> Any:
            self._die()
            done = found(*args, **given)
            self._die()
            return done

        return call

    def _die(self) -> None:
        if next(self._deaths):
            raise Killed


@pytest.mark.parametrize("cancelled", [False, True])
def test_whoever_dies_between_any_two_steps_is_followed(
    services: Services,
    course: Course,
    make_job: MakeJob,
    complete: Callable[[Job], None],
    jobs: TrainingJobs,
    outside: Outside,
    cancelled: bool,
) -> None:
    """The process dies at every moment there is, one after the other; the next look goes on."""
    launcher, gate, deaths = outside.launcher, outside.gate, 0
    for moment in itertools.count():
        job = make_job()
        died = live_and_die(course, job, complete, services, moment, cancelled)
        deaths += died
        for _ in range(3):
            course.look(job.job_id)
        done = jobs.get(job.job_id)
        assert done.is_over, (moment, done)
        assert done.state in ((State.CANCELLED,) if cancelled else (State.PROMOTED,)), moment
        assert len({launch.job_id for launch in launcher.launches}) == len(launcher.known)
        left = [each for each in launcher.known.values() if each.state == "running"]
        assert not cancelled or not left, moment
        if not died:
            break

    assert deaths > 20
    assert cancelled or len(gate.decided) == deaths + 1


def live_and_die(
    course: Course,
    job: Job,
    complete: Callable[[Job], None],
    services: Services,
    moment: int,
    cancelled: bool,
) -> bool:
    """Bring a job from queue to end in a process that dies at that moment; tell whether it did."""
    deaths = itertools.chain(itertools.repeat(False, moment), [True], itertools.repeat(False))
    parts = course._parts
    launcher, gate = Mortal(parts.launcher(""), deaths), Mortal(parts.settler(), deaths)
    mortal = replace(
        parts,
        jobs=Mortal(parts.jobs, deaths),
        store=Mortal(parts.store, deaths),
        orders=replace(
            parts.orders,
            jobs=Mortal(parts.jobs, deaths),
            store=Mortal(parts.store, deaths),
            versions=Mortal(parts.orders.versions, deaths),
        ),
        launcher=lambda name: launcher,
        settler=lambda: gate,
    )
    process = Course(mortal, lease_seconds=-1)  # until the next look, its lease has run out
    try:
        process.look(job.job_id)
        if cancelled:
            services.training.desk.cancel(job.job_id)
        else:
            complete(job)
        process.look(job.job_id)
        process.look(job.job_id)
    except Killed:
        if cancelled:
            services.training.desk.cancel(job.job_id)
        else:
            complete(job)
        return True
    return False


def test_everything_open_is_looked_at_by_the_schedule(
    services: Services, make_job: MakeJob
) -> None:
    made = {make_job(f"m{number}").job_id for number in range(3)}
    sqs, queue = services.client("sqs"), services.settings.training_queue

    assert services.training.desk.drive() == 3

    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    told = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    assert {parse_report(message["Body"]).job_id for message in told["Messages"]} == made
