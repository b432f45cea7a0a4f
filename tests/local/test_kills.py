"""A server of the stack is killed: it comes back, and nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in /proc"),
]
Stack = Any
UPLOADS = 60
BACK_WITHIN_SECONDS = 60
NAMES = {"aws": b"local.aws", "postgres": b"/postgres\0", "trainers": b"local.trainers"}


def pids(parent: int) -> dict[int, bytes]:
    """Return the children of a process, and their command lines."""
    listed = Path(f"/proc/{parent}/task").glob("*/children")
    numbers = [int(pid) for each in listed for pid in each.read_text().split()]
    return {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in numbers}


def guard(stack: Stack, name: str) -> int:
    """Return the process that guards a server of the stack, once it runs."""
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while time.monotonic() < deadline:
        for pid, command in pids(stack.process.pid).items():
            if NAMES[name] in command and pids(pid):
                return pid
        time.sleep(0.05)
    pytest.fail(f"{name} does not run")


def kill(stack: Stack, name: str, what: str) -> None:
    of_guard = guard(stack, name)
    os.kill(of_guard if what == "guard" else next(iter(pids(of_guard))), signal.SIGKILL)


def until_answered(get: Callable[[], requests.Response]) -> None:
    """Ask until the answer is 200 again; in between it is 503, which says when to come back."""
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while (answer := get()).status_code != 200:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2"), answer.text
        assert time.monotonic() < deadline, "it does not come back"
        time.sleep(0.1)


def upload(stack: Stack, photo: bytes) -> str:
    """Send a picture, again and again until it is acknowledged; return the prediction's id."""
    wanted = {"model": "scratch", "file_name": "tag.jpg", "content_type": "image/jpeg"}
    deadline = time.monotonic() + BACK_WITHIN_SECONDS
    while time.monotonic() < deadline:
        offered = stack.post("/v1/uploads", json=wanted)
        assert offered.status_code in {201, 503}, offered.text
        if offered.status_code == 201:
            form = offered.json()["upload"]
            files = {"file": ("tag.jpg", photo, "image/jpeg")}
            try:
                sent = requests.post(form["url"], data=form["fields"], files=files, timeout=30)
                if sent.ok:
                    return str(offered.json()["prediction_id"])
            except requests.ConnectionError:
                pass  # killed just now
        time.sleep(0.1)
    pytest.fail("no upload is acknowledged")


def test_no_upload_that_was_acknowledged_is_lost(stack: Stack, photo: bytes) -> None:
    acknowledged = threading.Semaphore(0)

    def one(_: int) -> str:
        prediction_id = upload(stack, photo)
        acknowledged.release()
        return prediction_id

    with ThreadPoolExecutor(4) as senders:
        sent = senders.map(one, range(UPLOADS))
        for _ in range(3):  # at once after so many, whatever is on its way
            for _ in range(UPLOADS // 3):
                assert acknowledged.acquire(timeout=BACK_WITHIN_SECONDS)
            kill(stack, "aws", "server")
        ids = list(sent)

    states = [stack.answer(each)["state"] for each in ids]
    assert states == ["done"] * UPLOADS


@pytest.mark.parametrize("what", ["server", "guard"])
def test_a_killed_database_comes_back_twice(stack: Stack, what: str) -> None:
    for _ in range(2):
        until_answered(lambda: stack.get("/v1/training-jobs"))
        kill(stack, "postgres", what)
        time.sleep(0.2)
        until_answered(lambda: stack.get("/v1/training-jobs"))

    stack.restart()
    until_answered(lambda: stack.get("/v1/training-jobs"))


@pytest.mark.parametrize("what", ["server", "guard"])
def test_a_killed_stand_in_comes_back_twice(stack: Stack, photo: bytes, what: str) -> None:
    for _ in range(2):
        prediction = upload(stack, photo)
        kill(stack, "aws", what)
        time.sleep(0.2)
        until_answered(lambda prediction=prediction: stack.get(f"/v1/predictions/{prediction}"))
        assert stack.answer(prediction)["state"] == "done"


def test_killed_trainers_come_back(stack: Stack) -> None:
    for _ in range(2):
        before = guard(stack, "trainers")
        kill(stack, "trainers", "server")
        deadline = time.monotonic() + BACK_WITHIN_SECONDS
        while before in pids(stack.process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert guard(stack, "trainers") != before
