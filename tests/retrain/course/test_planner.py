"""Which models are trained, and why not, on a real PostgreSQL with real labels."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.database import Database
from chalicelib.retrain.job import OPEN, Job, State, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.planner import MOST_LOST, Planner
from chalicelib.retrain.plans import Plan
from chalicelib.settings import Settings

Add = Callable[..., None]


@pytest.fixture
def planner(database: Database, jobs: TrainingJobs, settings: Settings) -> Planner:
    return Planner(database, jobs, settings)


@pytest.fixture
def plan(planner: Planner) -> Callable[[], Plan]:
    """Run the planner over the one model that there is."""

    def run() -> Plan:
        [made] = planner.run()
        return made

    return run


@pytest.fixture
def give(add_images: Add) -> Callable[[int, int], None]:
    """Give the model scratch images of both sides."""

    def add(train: int, valid: int) -> None:
        add_images("scratch", "train", train)
        add_images("scratch", "valid", valid)

    return add


def told(plan: Plan) -> tuple[Any, ...]:
    return plan.decision, plan.new_train, plan.new_valid, plan.needs_train, plan.needs_valid


def test_a_live_model_waits_for_new_images_of_both_sides(
    add_model: Add, give: Add, plan: Callable[[], Plan], revision: Callable[[], int]
) -> None:
    give(50, 50)
    add_model(revision=revision())
    give(16, 1)

    made = plan()

    assert told(made) == ("wait", 16, 1, 16, 4)
    assert made.reason == "needs 3 more new validation images"


def test_a_live_model_with_enough_new_images_is_trained_from_its_live_version(
    add_model: Add, give: Add, plan: Callable[[], Plan], jobs: TrainingJobs
) -> None:
    add_model(live=3, revision=0)
    give(16, 4)

    made = plan()

    [job] = jobs.page(None, None, None, 9)
    assert told(made) == ("launch", 16, 4, 16, 4)
    assert (job.model, job.kind, job.base_version, job.epochs) == ("scratch", "fine_tune", 3, 20)
    assert (job.requested_by, job.reason) == ("planner", made.reason)
    assert made.reason == "has at least 16 new training images and 4 new validation images"


def test_a_pending_model_needs_a_whole_dataset(
    add_model: Add, give: Add, plan: Callable[[], Plan], jobs: TrainingJobs
) -> None:
    add_model(live=None)
    give(79, 19)
    assert plan().reason == "needs 1 more training image and 1 more validation image"
    assert jobs.open_ids() == []

    give(1, 1)
    assert told(plan()) == ("launch", 80, 20, 80, 20)
    [job] = jobs.page(None, None, None, 9)
    assert (job.kind, job.base_version, job.epochs) == ("first", None, 100)


def test_a_model_that_came_with_its_weights_has_learnt_nothing_of_its_dataset(
    add_model: Add, give: Add, plan: Callable[[], Plan]
) -> None:
    add_model(revision=None)
    give(16, 4)

    assert plan().decision == "launch"


def test_a_model_in_training_is_left_alone(
    add_model: Add, give: Add, plan: Callable[[], Plan], jobs: TrainingJobs
) -> None:
    add_model(revision=0)
    give(16, 4)
    plan()

    again = plan()

    [job_id] = jobs.open_ids()
    assert (again.decision, again.reason) == ("running", f"job {job_id} is queued")


@pytest.mark.parametrize("end", [State.REJECTED, State.FAILED, State.CANCELLED, State.PROMOTED])
def test_the_same_images_are_not_tried_twice(
    add_model: Add,
    give: Add,
    plan: Callable[[], Plan],
    jobs: TrainingJobs,
    revision: Callable[[], int],
    end: State,
) -> None:
    add_model(revision=0)
    give(16, 4)
    plan()
    over(jobs, revision(), end)

    assert plan().reason == (
        "needs 16 more new training images and 4 more new validation images since the last training"
    )
    give(16, 4)
    assert plan().decision == "launch"


def test_a_first_training_is_tried_again_with_new_images(
    add_model: Add,
    give: Add,
    plan: Callable[[], Plan],
    jobs: TrainingJobs,
    revision: Callable[[], int],
) -> None:
    add_model(live=None)
    give(80, 20)
    plan()
    over(jobs, revision(), State.FAILED)

    give(16, 3)
    assert plan().reason == "needs 1 more new validation image since the last training"
    give(0, 1)
    assert plan().decision == "launch"


def test_a_job_that_was_lost_is_made_again_but_not_for_ever(
    add_model: Add,
    give: Add,
    plan: Callable[[], Plan],
    jobs: TrainingJobs,
    revision: Callable[[], int],
) -> None:
    add_model(revision=0)
    give(16, 4)
    decisions = []
    for _ in range(MOST_LOST + 1):
        decisions.append(plan().decision)
        if jobs.open_ids():
            over(jobs, revision(), State.FAILED, lost=True)

    assert decisions == ["launch"] * MOST_LOST + ["wait"]


def over(jobs: TrainingJobs, revision: int, state: State, lost: bool = False) -> None:
    [job_id] = jobs.open_ids()
    jobs.order(job_id, "a" * 64, revision, Terms("fine_tune", 1, 20, {}))
    jobs.end(job_id, OPEN, state, "so it went", lost=lost)


def test_without_a_launcher_it_is_only_said_what_would_be_done(
    database: Database, jobs: TrainingJobs, add_model: Add, give: Add
) -> None:
    add_model(revision=0)
    give(16, 4)

    [made] = Planner(database, jobs, Settings()).run()

    assert made.decision == "wait"
    assert made.reason.endswith("but no launcher is set up")
    assert jobs.open_ids() == []


def test_two_schedules_at_once_make_one_job(
    database: Database,
    jobs: TrainingJobs,
    settings: Settings,
    add_model: Add,
    add_images: Add,
) -> None:
    models = [f"model-{number}" for number in range(10)]
    for model in models:
        add_model(model, revision=0)
        add_images(model, "train", 16)
        add_images(model, "valid", 4)

    with ThreadPoolExecutor(8) as schedules:
        list(schedules.map(lambda _: Planner(database, jobs, settings).run(), range(8)))

    made = jobs.page(None, None, None, 100)
    assert sorted(job.model for job in made) == models


def test_a_schedule_that_was_slow_makes_no_job_of_what_another_has_done(
    database: Database,
    jobs: TrainingJobs,
    settings: Settings,
    add_model: Add,
    give: Add,
    revision: Callable[[], int],
) -> None:
    """The slow one decides before the quick one's job begins, and acts when that has ended."""
    add_model(revision=0)
    give(16, 4)

    class Slow(TrainingJobs):
        def create_all(self, *args: Any, **given: Any) -> list[Job]:
            Planner(database, jobs, settings).run()
            over(jobs, revision(), State.REJECTED)
            return super().create_all(*args, **given)

    Planner(database, Slow(database), settings).run()

    assert [job.state for job in jobs.page(None, None, None, 9)] == [State.REJECTED]


def test_what_was_decided_is_kept_and_goes_with_its_model(
    database: Database, planner: Planner, add_model: Add
) -> None:
    for name in ("a", "b"):
        add_model(name, revision=0)
    made = planner.run()
    assert [(plan.model, plan.reason) for plan in planner.plans()] == [
        (plan.model, plan.reason) for plan in made
    ]

    with database.transaction() as rows:
        rows.execute("DELETE FROM models WHERE name = 'a'")
    planner.run()

    assert [plan.model for plan in planner.plans()] == ["b"]


def test_a_plan_tells_of_a_training_that_began_since(
    add_model: Add, plan: Callable[[], Plan], planner: Planner, make_job: Callable[..., Job]
) -> None:
    add_model()
    assert plan().decision == "wait"
    job = make_job()

    [shown] = planner.plans()
    assert (shown.decision, shown.reason) == ("running", f"job {job.job_id} is queued")


def test_a_plan_of_a_training_that_has_ended_since_says_so(
    add_model: Add,
    plan: Callable[[], Plan],
    planner: Planner,
    make_job: Callable[..., Job],
    jobs: TrainingJobs,
) -> None:
    add_model()
    job = make_job()
    assert plan().decision == "running"
    jobs.end(job.job_id, OPEN, State.FAILED, "the trainer failed")

    [shown] = planner.plans()
    assert shown.decision == "wait"
    assert shown.reason == "a training has ended since: it is looked at anew within 30 minutes"
    again = plan()
    assert [each.reason for each in planner.plans()] == [again.reason]


def test_without_models_there_is_nothing_to_plan(planner: Planner) -> None:
    assert planner.run() == []
    assert planner.plans() == []


def test_a_plan_says_which_images_do_not_count_and_not_whose_they_are(
    add_model: Add, plan: Callable[[], Plan], database: Database, add_images: Add
) -> None:
    add_model(revision=0)
    add_images("scratch", "train", 28)
    add_images("scratch", "valid", 4)
    with database.transaction() as rows:
        rows.execute("UPDATE labels SET user_address = '203.0.113.7'")
        rows.execute(
            """UPDATE samples SET joins = ARRAY[repeat('a', 64)]
               WHERE sample_id IN (SELECT sample_id FROM samples WHERE side = 'train' LIMIT 5)"""
        )

    made = plan()

    assert told(made) == ("wait", 8, 2, 16, 4)
    assert made.reason == (
        "needs 8 more new training images and 2 more new validation images; "
        "4 of 28 new training images are near-duplicates and count once; "
        "16 new training images are beyond what one contributor may bring, which is 8 of 16; "
        "2 new validation images are beyond what one contributor may bring, which is 2 of 4"
    )


def test_a_setting_lets_one_contributor_fill_it_all(
    database: Database, jobs: TrainingJobs, add_model: Add, give: Add
) -> None:
    add_model(revision=0)
    give(16, 4)
    with database.transaction() as rows:
        rows.execute("UPDATE labels SET user_address = '127.0.0.1'")

    alone = Settings(launcher="process", max_contributor_share=1)
    assert [made.decision for made in Planner(database, jobs, Settings()).run()] == ["wait"]
    assert [made.decision for made in Planner(database, jobs, alone).run()] == ["launch"]
