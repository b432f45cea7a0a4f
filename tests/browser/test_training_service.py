"""The page of trainings on the real service: rows in the database, files in the store bucket."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from playwright.sync_api import expect

from chalicelib.catalog import Catalog, Publisher
from chalicelib.database import Database
from chalicelib.retrain.job import OPEN, Job, Settled, State, Terms
from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.keys import log_key
from chalicelib.retrain.messages import EpochDone, Started
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore

pytestmark = pytest.mark.browser

NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
LOSSES = {f"{side}/{name}_loss": 1.5 for side in ("train", "val") for name in ("box", "cls", "dfl")}


@pytest.fixture
def store(site: Any) -> ObjectStore:
    s3 = boto3.client("s3", region_name="eu-central-1", endpoint_url=site.aws)
    return ObjectStore(s3, Settings().store_bucket)


@pytest.fixture
def database(site: Any) -> Iterator[Database]:
    database = Database(site.database)
    yield database
    database.close()


@pytest.fixture
def jobs(database: Database) -> Iterator[TrainingJobs]:
    """The rows of jobs; those that a test leaves open are ended."""
    jobs = TrainingJobs(database)
    yield jobs
    for job_id in jobs.open_ids():
        jobs.end(job_id, OPEN, State.FAILED, "the test is over")


@pytest.fixture
def publisher(store: ObjectStore, database: Database) -> Publisher:
    return Publisher(store, Catalog(store, 0), database)


@pytest.fixture
def model(
    store: ObjectStore, publisher: Publisher, make_model: Callable[..., bytes]
) -> Iterator[str]:
    """Publish a model of its own for one test, which asks for it before the page that shows it."""
    name = f"zz-{uuid.uuid4().hex[:8]}"
    publisher.publish(name, make_model(((8, 8, 24, 20, 0.9, 0),), names=("dent",)), b"{}")
    yield name
    store.delete(f"models/{name}/model.yaml")


@pytest.fixture
def train(jobs: TrainingJobs, model: str) -> Callable[..., Job]:
    """Have a training reach an epoch, as its trainer reports it."""

    def train(epoch: int = 3, epochs: int = 20) -> Job:
        terms = Terms("fine_tune", 1, epochs, {"epochs": str(epochs), "batch": "16"})
        made = jobs.create(model, terms, "process", "planner", "has 16 new training images")
        assert made
        jobs.order(made.job_id, "ab" * 32, 7, terms)
        jobs.launched(made.job_id, "4711")
        jobs.started(Started(job_id=made.job_id, start=1, at=NOW, epochs=epochs))
        for done in range(1, epoch + 1):
            reach(jobs, made, done)
        return made

    return train


def reach(jobs: TrainingJobs, job: Job, epoch: int) -> None:
    jobs.reached(
        EpochDone(
            job_id=job.job_id,
            start=1,
            at=NOW,
            epoch=epoch,
            epochs=20,
            losses=LOSSES,
            map50=0.05 * epoch,
            map50_95=0.02 * epoch,
            seconds=30,
            eta_seconds=60.0 * (20 - epoch),
        )
    )


def test_a_training_is_followed_as_it_goes(
    visit: Any, train: Any, jobs: TrainingJobs, store: ObjectStore
) -> None:
    job = train(epoch=3)
    store.put(log_key(job.job_id), "épreuve 3 <b>done</b>".encode(), "text/plain; charset=utf-8")
    page = visit(f"training?job={job.job_id}")

    expect(page.locator("#job h2")).to_contain_text(f"Fine-tune of {job.model}")
    expect(page.locator(".far")).to_contain_text("Epoch 3 of 20, about 17 min to go")
    expect(page.locator(".chart")).to_have_count(4)
    expect(page.locator(".chart").first).to_contain_text("mAP50-95 0.060")
    expect(page.locator(".log pre")).to_have_text("épreuve 3 <b>done</b>")

    reach(jobs, job, 4)
    expect(page.locator(".far")).to_contain_text("Epoch 4 of 20, about 16 min to go")
    expect(page.locator(".chart").first).to_contain_text("mAP50-95 0.080")
    jobs.finishing(job.job_id)
    expect(page.locator("#job h2")).to_contain_text("being judged")
    jobs.settled(job.job_id, Settled("rejected", "the class 'dent' fell", 2, {"images": 4}))
    expect(page.locator(".outcome")).to_contain_text("Rejected. Version 2. the class 'dent' fell")


def test_an_operator_cancels_a_training(
    visit: Any, site: Any, train: Any, jobs: TrainingJobs
) -> None:
    job = train()
    page = visit(f"training?job={job.job_id}#token={site.operator}")
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel it").click()

    expect(page.locator("#told")).to_contain_text("it is being cancelled")
    assert "token" not in page.url
    assert jobs.get(job.job_id).cancel_requested


def test_of_two_operators_who_roll_back_the_second_sees_what_the_first_did(
    model: str, visit: Any, site: Any, publisher: Publisher, make_model: Callable[..., bytes]
) -> None:
    for confidence in (0.8, 0.7):
        onnx = make_model(((8, 8, 24, 20, confidence, 0),), names=("dent",))
        publisher.publish(model, onnx, b"{}")
    page = visit(f"training?model={model}#token={site.operator}")
    page.get_by_role("button", name="Roll back …").click()
    publisher.promoter.rollback(model, "operator:ben", "misses dents")
    page.get_by_role("button", name="Roll back", exact=True).click()

    expect(page.locator("#sure-problem")).to_contain_text("serves by now, not 3")
    expect(page.locator("#model .case-head")).to_contain_text("Version 2 serves")
    page.forgive("409")


def test_why_nothing_can_be_trained_now_is_told(model: str, visit: Any, site: Any) -> None:
    page = visit(f"training?model={model}#token={site.operator}")
    page.get_by_role("button", name="Train it now …").click()
    page.get_by_role("button", name="Train it", exact=True).click()

    expect(page.locator("#sure-problem")).to_contain_text("SIGHTLOOP_LAUNCHER")
    page.forgive("409")


def test_a_wrong_token_is_told(visit: Any, train: Any) -> None:
    job = train()
    page = visit(f"training?job={job.job_id}#token=not-the-right-one")
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel it").click()

    expect(page.locator("#pass-why")).to_contain_text("Unauthorized")
    page.forgive("401")


def test_a_training_that_there_is_not_is_told(visit: Any) -> None:
    page = visit(f"training?job={uuid.uuid4()}")

    expect(page.locator("#problem")).to_contain_text("there is no training job", ignore_case=True)
    page.forgive("404")


def test_without_training_set_up_the_page_says_so(model: str, visit: Any) -> None:
    page = visit("training")

    expect(page.locator("#idle")).to_contain_text("No training is set up here")
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#plan-list")).to_contain_text(model)
