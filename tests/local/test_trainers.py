"""Trainings on this machine go on with the stack, and pause when it ends."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.launchers.process import ProcessLauncher

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
SECONDS = 60
TRAINER = f"""#!{sys.executable}
import os, pathlib, sys, time

out = pathlib.Path(__file__).parent
with (out / "starts").open("a") as starts:
    starts.write(os.environ.get("AWS_ENDPOINT_URL", "") + "\\n")
while not (out / "finish").exists():
    time.sleep(0.01)
"""


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """A program that trains until it is told to finish, and notes how it was started."""
    program = tmp_path / "trainer"
    program.write_text(TRAINER)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_training_pauses_when_the_stack_ends_and_goes_on_with_the_next(
    stack: Stack, trainer: Path, number: int
) -> None:
    launcher = ProcessLauncher(stack.home, [str(trainer)], 20)
    job = launcher.launch(Launch(uuid4(), "scratch", 600))
    state = stack.home / "training" / job / "state.json"
    _until(lambda: len(_starts(trainer)) == 1)

    stack.stop(number)
    _until(lambda: state.exists() and json.loads(state.read_text())["pid"] == 0)

    stack.restart()
    _until(lambda: len(_starts(trainer)) == 2)
    (trainer.parent / "finish").touch()
    _until(lambda: launcher.status(job) == Status("ended"))
    assert _starts(trainer)[1] == stack.aws_url


def _starts(trainer: Path) -> list[str]:
    file = trainer.parent / "starts"
    return file.read_text().splitlines() if file.exists() else []


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)
