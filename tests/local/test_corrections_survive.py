"""The stand-in for AWS is killed while people submit; afterwards files, rows and counters agree."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests

from sagemaker.training.drawn_tags import draw_tag
from tests.local.conftest import start

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the process in /proc"),
]
Stack = Any
STORE = "sightloop-local-store"
PHOTOS = 16
AT_ONCE = 4
SETTLED_SECONDS = 60


def photo(seed: int) -> bytes:
    written = BytesIO()
    draw_tag(seed).image.save(written, "JPEG", quality=90)
    return written.getvalue()


def standin(stack: Stack) -> int:
    """Return the process of the stand-in that this stack started."""
    told = f"GATEWAY_PORT={stack.aws_url.rpartition(':')[2]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            is_one = command[1:3] == [b"-m", b"local.aws"]  # not the guard that watches it
            if is_one and told in (process / "environ").read_bytes():
                return int(process.name)
        except OSError:
            continue
    raise LookupError("no stand-in")


def rows(stack: Stack, query: str) -> list[tuple[Any, ...]]:
    port = json.loads((stack.home / "ports.json").read_text())["postgres"]
    password = (stack.home / "postgres.secret").read_text()
    url = f"postgresql://sightloop:{password}@127.0.0.1:{port}/sightloop"
    with closing(psycopg2.connect(url)) as held, held, held.cursor() as asked:
        asked.execute(f"SET search_path = sightloop; {query}")
        return list(asked.fetchall())


def wanted_files(stack: Stack) -> dict[str, str]:
    """Return what the rows ask for: text of labels, SHA-256 of images."""
    files = {}
    for side, sha256, yolo in rows(
        stack, "SELECT side, sha256, yolo FROM samples JOIN labels USING (label_id)"
    ):
        files[f"models/scratch/labels/{side}/{sha256}.txt"] = yolo
        files[f"models/scratch/images/{side}/{sha256}.jpg"] = sha256
    return files


def files_there(stack: Stack) -> dict[str, str]:
    s3, found = stack.client("s3"), {}
    for kind in ("images", "labels"):
        listed = s3.list_objects_v2(Bucket=STORE, Prefix=f"models/scratch/{kind}/")
        for each in listed.get("Contents", []):
            body = s3.get_object(Bucket=STORE, Key=each["Key"])["Body"].read()
            found[each["Key"]] = (
                body.decode() if kind == "labels" else hashlib.sha256(body).hexdigest()
            )
    return found


@pytest.fixture(scope="module")
def stack(make_home: Callable[[str], Path]) -> Iterator[Stack]:
    """Start a stack whose rows are all of this file."""
    running = start(make_home("corrections"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.mark.parametrize("answers", [1, 6])
def test_a_stand_in_that_is_killed_costs_no_agreement(stack: Stack, answers: int) -> None:
    """It dies while the next answers are on their way."""
    kept = [
        stack.post(
            "/v1/models/scratch/detections?keep=true",
            data=photo(answers * PHOTOS + seed),
            headers={"Content-Type": "image/jpeg"},
        ).json()["prediction_id"]
        for seed in range(PHOTOS)
    ]
    accepted: list[int] = []
    enough = threading.Event()

    def submit(prediction_id: str) -> int:
        body = {"prediction_id": prediction_id, "answer": "confirmed"}
        try:
            told = stack.post("/v1/models/scratch/submissions", json=body)
        except requests.RequestException:
            return 0
        if told.status_code == 201:
            accepted.append(told.json()["submission_id"])
        if len(accepted) >= answers:
            enough.set()
        return told.status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        under_way = [pool.submit(submit, each) for each in kept]
        assert enough.wait(60)
        os.kill(standin(stack), signal.SIGKILL)
        unanswered = sum(not each.done() for each in under_way)
        statuses = {each.result() for each in under_way}

    stack.restart()
    deadline = time.monotonic() + SETTLED_SECONDS
    while rows(stack, "SELECT 1 FROM samples WHERE NOT published"):
        assert time.monotonic() < deadline, "the files were not brought to what the rows say"
        time.sleep(0.2)
    assert statuses <= {0, 201, 503}
    assert unanswered, "it was killed too late"  # some may be answered once it is back
    assert files_there(stack) == wanted_files(stack)
    recorded = {number for (number,) in rows(stack, "SELECT request_id FROM requests")}
    assert set(accepted) <= recorded
    assert rows(stack, "SELECT sum(num_accesses)::int FROM users") == [(len(recorded),)]
    assert rows(stack, "SELECT count(*)::int FROM labels WHERE withdrawn_at IS NULL") == [
        (len(recorded),)
    ]
