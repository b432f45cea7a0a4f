"""A worker that is killed loses nothing: the next one finishes what it began."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from chalicelib import wiring
from chalicelib.predictions import State, Upload
from chalicelib.predictions.keys import annotated_key, image_key
from chalicelib.predictions.model import ArrivedFile
from chalicelib.settings import Settings
from deploy.resources import ensure
from local.home import free_port
from tests.forks import Forks

_workers: list[Forks] = []
NO_MESSAGE = 3

MOMENTS = {
    "before anything, the record read": "dynamodb.GetItem:1",
    "after the download": "s3.GetObject:1",
    "after the detection, the original stored": "s3.PutObject:1",
    "after the annotated picture": "s3.PutObject:2",
    "after the record": "dynamodb.PutItem:1",
    "after the results message": "sqs.SendMessage:1",
    "after all, but for the acknowledgement": "dynamodb.PutItem:2",
}


@pytest.fixture(scope="module", params=["moto", "ministack"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both stand-ins for AWS: the one of the tests, and the one that runs on one machine."""
    port = free_port()
    serve = {"moto": moto, "ministack": ministack}[request.param]
    with serve(port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def moto(port: int) -> Iterator[None]:
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield
    server.stop()


@contextmanager
def ministack(port: int) -> Iterator[None]:
    told = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SFTP_ENABLED": "0"}
    server = subprocess.Popen(
        [sys.executable, "-m", "ministack"],
        env={**os.environ, **told, "IOT_MTLS_ENABLED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_it_answers(f"http://127.0.0.1:{port}/_ministack/health", server)
        yield
    finally:
        server.terminate()
        server.wait(timeout=30)


def until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail("the stand-in ended before it answered")


@pytest.fixture
def stage(
    endpoint: str, request: pytest.FixtureRequest, make_model: Callable[..., bytes]
) -> Iterator[wiring.Services]:
    """A stage of its own, over HTTP, so that another process can work on it."""
    name = f"death-{abs(hash(request.node.name)) % 10**8}"
    settings = Settings(
        stage=name,
        uploads_bucket=f"{name}-uploads",
        store_bucket=f"{name}-store",
        identify_queue=f"{name}-identify",
        results_queue=f"{name}-results",
        predictions_table=f"{name}-predictions",
    )
    clients = {
        each: boto3.client(each, region_name=settings.region, endpoint_url=endpoint)
        for each in ("s3", "sqs", "dynamodb", "secretsmanager")
    }
    ensure(settings, clients.__getitem__)
    services = wiring.Services(settings, clients)
    services.publisher.publish("scratch", make_model(), b"{}")
    yield services
    for client in clients.values():
        client.close()


def upload(stage: wiring.Services, picture: bytes) -> str:
    """Upload a picture and deliver its event; return its prediction's id."""
    ticket = stage.upload_desk.offer(Upload("scratch", "tag.jpg", "image/jpeg"), "a-request")
    stage.uploads.put(ticket.prediction.key, picture, "image/jpeg")
    etag = hashlib.md5(picture, usedforsecurity=False).hexdigest()
    stage.intake.receive(ArrivedFile(ticket.prediction.key, etag, stage.now()))
    return ticket.prediction.prediction_id


@pytest.fixture(scope="module", autouse=True)
def forks() -> Iterator[None]:
    """Let `run_worker` fork a process that has imported what a worker needs."""
    with Forks("tests.predictions.mortal_worker") as workers:
        _workers.append(workers)
        yield
        _workers.clear()


def run_worker(stage: wiring.Services, endpoint: str, when: str) -> int:
    """Run one worker process to its end, whichever that is; return its exit status."""
    told = {
        f"SIGHTLOOP_{name.upper()}": str(value)
        for name, value in stage.settings.model_dump().items()
    }
    ended = _workers[0].run(when, environment={**told, "AWS_ENDPOINT_URL": endpoint})
    assert ended.returncode in (0, NO_MESSAGE, -signal.SIGKILL), ended.stderr
    return ended.returncode


def results(stage: wiring.Services) -> list[dict[str, Any]]:
    sqs = stage.client("sqs")
    url = sqs.get_queue_url(QueueName=stage.settings.results_queue)["QueueUrl"]
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
    return [json.loads(each["Body"]) for each in received.get("Messages", [])]


@pytest.mark.parametrize("when", MOMENTS.values(), ids=MOMENTS)
def test_a_worker_killed_half_way_loses_nothing(
    stage: wiring.Services, endpoint: str, when: str, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = upload(stage, make_picture())

    assert run_worker(stage, endpoint, when) == -signal.SIGKILL
    assert run_worker(stage, endpoint, "never") == 0

    held = stage.predictions_table.find(prediction_id)
    assert held is not None
    assert (held.state, held.version, held.announced) == (State.DONE, 1, True)
    assert {each["message_id"] for each in results(stage)} == {f"{prediction_id}:done"}
    for key in (image_key(prediction_id), annotated_key(prediction_id)):
        assert stage.store.size(key) > 0
    scanned = stage.client("dynamodb").scan(TableName=stage.settings.predictions_table)
    assert scanned["Count"] == 1


def test_a_worker_killed_again_and_again_is_answered_for(
    stage: wiring.Services, endpoint: str, make_picture: Callable[..., bytes]
) -> None:
    prediction_id = upload(stage, make_picture())

    deaths = 0
    while run_worker(stage, endpoint, "s3.GetObject:1") != NO_MESSAGE:
        deaths += 1
    stage.reconciler.run()

    held = stage.predictions_table.find(prediction_id)
    assert deaths == stage.settings.identify_max_receives
    assert held is not None
    assert held.state is State.FAILED
    assert "dead-letter queue" in held.problem.detail
    assert [each["message_id"] for each in results(stage)] == [f"{prediction_id}:failed"]
