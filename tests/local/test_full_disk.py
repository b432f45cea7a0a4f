"""A disk that is full: nothing is acknowledged that is not kept, and what was kept stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.disk import DiskSpace
from local.home import Home, Log, free_port, write_whole
from local.standin import REGION, StandIn, credentials

pytestmark = pytest.mark.stack
TABLE, BUCKET = "predictions", "uploads"
SECONDS = 60
MOST_RESTARTS = 15  # with pauses that double, up to 10 s; without, hundreds a minute


@contextlib.contextmanager
def disk_of(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of a size, where that is allowed."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(home_folder: Path) -> Iterator[Path]:
    """Return a folder on a disk of 3 MB, as large as the stand-in's data."""
    with disk_of(home_folder, "3m") as folder:
        yield folder


@pytest.fixture
def stack_disk(home_folder: Path) -> Iterator[Path]:
    """Return a folder on a disk of 120 MB, of which the whole stack's data takes half."""
    with disk_of(home_folder, "120m") as folder:
        yield folder


@pytest.fixture
def client() -> Callable[[StandIn, str], Any]:
    def make(standin: StandIn, service: str) -> Any:
        keys = {name.lower(): value for name, value in credentials(standin.home).items()}
        config = Config(retries={"total_max_attempts": 1})
        url = standin.url
        return boto3.client(service, endpoint_url=url, region_name=REGION, config=config, **keys)

    return make


def fill(folder: Path) -> Path:
    """Write until nothing more fits."""
    ballast = folder / "ballast"
    for size in (1024 * 1024, 4096):
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(os.urandom(size))
    return ballast


def test_the_console_says_once_that_the_disk_is_full_and_once_that_it_is_not(
    tmp_path: Path,
) -> None:
    free, lines = [10**9, 1000, 1000, 10**9, 10**9], list[str]()
    space = DiskSpace(tmp_path, lambda _: free.pop(0), lines.append)

    for _ in range(5):
        space.look()

    assert [str(tmp_path) in line for line in lines] == [True, True]
    assert ["is full" in line for line in lines] == [True, False]


def test_what_cannot_be_kept_is_not_acknowledged(
    small_disk: Path, client: Callable[[StandIn, str], Any]
) -> None:
    home = Home(small_disk)
    standin = StandIn(home)
    dynamodb, s3 = client(standin, "dynamodb"), client(standin, "s3")
    key = {"AttributeName": "id", "KeyType": "HASH"}
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[key],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    ballast = fill(small_disk)

    items, objects = 0, 0
    with pytest.raises((ClientError, BotoCoreError)):
        for number in range(2000):
            put = {"id": {"S": str(number)}, "text": {"S": "x" * 1000}}
            dynamodb.put_item(TableName=TABLE, Item=put)
            items += 1
    with pytest.raises((ClientError, BotoCoreError)):
        for number in range(50):
            s3.put_object(Bucket=BUCKET, Key=str(number), Body=b"x" * 100_000)
            objects += 1
    standin.stop()  # while the disk is full
    ballast.unlink()

    again = StandIn(home)
    dynamodb, s3 = client(again, "dynamodb"), client(again, "s3")
    for number in range(items):
        assert "Item" in dynamodb.get_item(TableName=TABLE, Key={"id": {"S": str(number)}})
    for number in range(objects):
        assert s3.head_object(Bucket=BUCKET, Key=str(number))["ContentLength"] == 100_000
    again.stop()
    home.close()


def test_a_message_that_nobody_was_told_of_comes_again_at_once(
    small_disk: Path, client: Callable[[StandIn, str], Any]
) -> None:
    home = Home(small_disk)
    standin = StandIn(home)
    sqs = client(standin, "sqs")
    queue = sqs.create_queue(QueueName="work", Attributes={"VisibilityTimeout": "700"})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="upload")
    ballast = fill(small_disk)
    with pytest.raises((ClientError, BotoCoreError)):
        for _ in range(2000):  # the journal has some room left
            sqs.send_message(QueueUrl=queue, MessageBody="x" * 1000)
    for _ in range(3):
        with pytest.raises((ClientError, BotoCoreError)):
            _receive(sqs, queue)
    ballast.unlink()

    bodies = []
    while received := _receive(sqs, queue):
        assert received["Attributes"]["ApproximateReceiveCount"] == "1"
        bodies.append(received["Body"])
    assert bodies[0] == "upload"
    standin.stop()
    home.close()


def test_a_message_that_was_received_before_a_restart_comes_again_at_once(
    home_folder: Path, client: Callable[[StandIn, str], Any]
) -> None:
    home = Home(home_folder)
    standin = StandIn(home)
    sqs = client(standin, "sqs")
    queue = sqs.create_queue(QueueName="work", Attributes={"VisibilityTimeout": "700"})["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="upload")
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=600)
    assert _receive(sqs, queue)["Body"] == "upload"
    standin.stop()

    again = StandIn(home)
    sqs = client(again, "sqs")
    assert _receive(sqs, queue)["Body"] == "upload"
    assert _receive(sqs, queue) == {}  # what is delayed stays delayed
    again.stop()
    home.close()


def _receive(sqs: Any, queue: str) -> dict[str, Any]:
    answer = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], WaitTimeSeconds=0)
    messages = answer.get("Messages", [])
    return dict(messages[0]) if messages else {}


def exhaust_log(stack: Any) -> None:
    """Have PostgreSQL write to its log until it finds no room for another file, and panics."""
    deadline = time.monotonic() + SECONDS
    with contextlib.suppress(psycopg2.OperationalError), connected(stack) as rows:
        while time.monotonic() < deadline:
            rows.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000000))")
    while not any("PANIC" in line for line in stack.log("postgres")):
        assert time.monotonic() < deadline, "PostgreSQL did not panic"
        time.sleep(0.1)


@contextlib.contextmanager
def connected(stack: Any) -> Iterator[Any]:
    """Yield a cursor that commits each statement."""
    port = json.loads((stack.home / "ports.json").read_text())["postgres"]
    password = (stack.home / "postgres.secret").read_text()
    url = f"postgresql://sightloop:{password}@127.0.0.1:{port}/sightloop"
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as rows:
            yield rows


def submit(stack: Any, photo: bytes) -> int:
    """Keep a photo and confirm its boxes; return the submission's id."""
    jpeg = {"Content-Type": "image/jpeg"}
    kept = stack.post("/v1/models/scratch/detections?keep=true", data=photo, headers=jpeg)
    answer = {"prediction_id": kept.json()["prediction_id"], "answer": "confirmed"}
    sent = stack.post("/v1/models/scratch/submissions", json=answer)
    assert sent.status_code == 201, sent.text
    return int(sent.json()["submission_id"])


def until_answered(stack: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while stack.get("/v1/training-jobs").status_code != 200:
        assert time.monotonic() < deadline, "the database does not come back"
        time.sleep(0.1)


@pytest.mark.timeout(300)
def test_a_database_that_panics_on_a_full_disk_comes_back_with_all_that_was_acknowledged(
    stack_disk: Path,
    starting: Callable[[Path], Any],
    refused: Callable[[Path, int | str], str],
    photo: bytes,
) -> None:
    stack = starting(stack_disk)
    submissions, uploads = [submit(stack, photo)], [stack.upload("tag.jpg", photo)]

    ballast = fill(stack_disk)
    exhaust_log(stack)
    wanted = {"name": "dents", "classes": ["dent"]}
    problem = stack.post("/v1/pending-models", json=wanted)
    assert (problem.status_code, problem.headers["Retry-After"]) == (503, "2")
    assert "disk" in problem.json()["detail"]
    assert "make room" in problem.json()["detail"]
    assert stack.get("/").status_code == stack.get("/healthz").status_code == 200

    ballast.unlink()
    until_answered(stack)  # by itself, once there is room
    submissions.append(submit(stack, photo + b"again"))
    uploads.append(stack.upload("tag.jpg", photo))

    fill(stack_disk)
    stack.process.send_signal(signal.SIGINT)
    said, _ = stack.process.communicate(timeout=SECONDS)
    assert stack.process.returncode == 0
    assert "Traceback" not in said
    assert 1 <= said.count("postgres has ended") <= MOST_RESTARTS

    said = refused(stack_disk, free_port())
    assert said.splitlines()[-1].startswith(f"sightloop: the disk of {stack_disk} is full")
    assert "Traceback" not in said

    ballast.unlink()
    again = starting(stack_disk)
    assert [again.answer(each)["state"] for each in uploads] == ["done"] * len(uploads)
    with connected(again) as rows:
        rows.execute("SELECT request_id FROM sightloop.requests")
        assert {number for (number,) in rows} >= set(submissions)


def test_a_line_that_the_disk_does_not_take_is_left_out(small_disk: Path) -> None:
    log = Log(small_disk / "http.log")
    log.write("before\n")
    ballast = fill(small_disk)
    for _ in range(100):
        log.write("x" * 1000)  # raises nothing
    ballast.unlink()
    log.write("after\n")
    log.close()

    lines = (small_disk / "http.log").read_text(encoding="utf-8")
    assert lines.startswith("before\n")
    assert lines.endswith("after\n")


def test_ports_and_passwords_survive_a_full_disk(small_disk: Path) -> None:
    home = Home(small_disk)
    port, secret = home.port("aws"), home.secret("aws")
    ballast = fill(small_disk)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        for name in ("aws", *(f"service-{number}" for number in range(400))):  # over a page
            with contextlib.suppress(OSError):
                home.port(name)
    with pytest.raises(OSError, match="No space left"):
        write_whole(small_disk / "large.secret", "x" * 10_000)
    ballast.unlink()

    assert home.secret("aws") == secret
    assert home.port("aws") > 0
    assert not (small_disk / "large.secret").exists()
    home.close()
