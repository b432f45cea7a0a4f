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
Refused = Callable[[Path, int | str], str]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind_and_what_was_sent_survives_a_restart(
    stack: Stack, photo: bytes, number: int
) -> None:
    before = stack.upload("tag.jpg", photo)
    answered = stack.answer(before)
    ports = stack.ports()
    assert all(_is_open(port) for port in ports)
    unseen = stack.upload("tag.jpg", photo)

    stack.stop(number)
    assert stack.process.returncode == (-number if number == signal.SIGKILL else 0)
    _until_all_are_closed(ports)
    assert _processes_of(stack.home) == []

    stack.restart()
    told = stack.get(f"/v1/predictions/{before}").json()
    assert told["result"] == answered["result"]
    assert stack.answer(unseen)["state"] == "done"
    models = stack.get("/v1/models").json()["models"]
    assert [(model["name"], model["live_version"]) for model in models] == [("scratch", 1)]


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
