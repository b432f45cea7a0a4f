"""Starting, stopping, dying and starting again."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.home import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
Starting = Callable[[Path], Stack]
Refused = Callable[[Path, int | str], str]


def test_what_was_uploaded_and_detected_survives_a_restart(
    starting: Starting, home_folder: Path, photo: bytes
) -> None:
    first = starting(home_folder)
    prediction = first.upload("tag.jpg", photo)
    answered = first.answer(prediction)
    first.stop()

    again = starting(home_folder)
    told = again.get(f"/v1/predictions/{prediction}").json()
    assert told["result"] == answered["result"]
    models = again.get("/v1/models").json()["models"]
    assert [(model["name"], model["live_version"]) for model in models] == [("scratch", 1)]


def test_an_upload_that_no_worker_saw_before_the_kill_is_answered_after_it(
    starting: Starting, home_folder: Path, photo: bytes
) -> None:
    first = starting(home_folder)
    prediction = first.upload("tag.jpg", photo)
    first.stop(signal.SIGKILL)
    _until_all_are_closed(first.ports())

    again = starting(home_folder)
    assert again.answer(prediction)["state"] == "done"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(starting: Starting, home_folder: Path, number: int) -> None:
    stack = starting(home_folder)
    ports = stack.ports()
    assert all(_is_open(port) for port in ports)

    stack.stop(number)

    _until_all_are_closed(ports)
    assert _processes_of(home_folder) == []


def test_stopping_by_a_person_is_a_success(starting: Starting, home_folder: Path) -> None:
    stack = starting(home_folder)
    stack.stop()

    assert stack.process.returncode == 0


def test_a_used_port_is_told_in_one_line(stack: Stack, refused: Refused, home_folder: Path) -> None:
    said = refused(home_folder, stack.url.rpartition(":")[2])

    assert said.count("\n") == 1
    assert "is in use" in said


def test_a_second_stack_in_the_same_folder_is_told_in_one_line(
    stack: Stack, refused: Refused
) -> None:
    said = refused(stack.home, free_port())

    assert said.splitlines()[-1].startswith(f"sightloop: another stack runs in {stack.home}")
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody may write")
def test_an_unwritable_folder_is_told_in_one_line(refused: Refused) -> None:
    said = refused(Path("/proc/sightloop"), free_port())

    assert said.splitlines()[-1].startswith("sightloop: cannot write to /proc/sightloop")
    assert "Traceback" not in said


def test_a_port_that_is_none_is_told_in_one_line(refused: Refused, home_folder: Path) -> None:
    assert refused(home_folder, "eight") == "sightloop: PORT is 'eight', not a port\n"


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until_all_are_closed(ports: list[int]) -> None:
    deadline = time.monotonic() + 60
    while any(_is_open(port) for port in ports):
        assert time.monotonic() < deadline, f"still open: {[p for p in ports if _is_open(p)]}"
        time.sleep(0.05)


def _processes_of(home: Path) -> list[str]:
    """Return the command lines of processes that were told of a data folder, where /proc is."""
    deadline = time.monotonic() + 30
    while (found := _told_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _told_of(home: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended, or is another user's
        if str(home).encode() in told:
            found.append((process / "cmdline").read_text())
    return found
