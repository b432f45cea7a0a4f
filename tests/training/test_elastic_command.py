"""The command that a cluster's pods are given, run here: machines come, are lost, and come back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import pytest

from chalicelib.retrain.launchers import Launch
from chalicelib.retrain.launchers.command import ENTRY_POINT, LAST_CALL_SECONDS, RENDEZVOUS_PORT
from chalicelib.retrain.launchers.manifest import render
from chalicelib.settings import Settings

pytestmark = [pytest.mark.training, pytest.mark.timeout(400)]
ROOT = Path(__file__).parents[2]
SECONDS = 180
TRAINER = """
import os, pathlib, sys, time
from datetime import timedelta
from torch import distributed, ones

out = pathlib.Path(__file__).parent
distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
with open(out / "teams", "a") as teams:
    teams.write(f"{distributed.get_world_size()}\\n")
while True:
    done = ones(1) * (out / "finish").exists()
    distributed.all_reduce(done)
    if done.item() == distributed.get_world_size():
        break
    time.sleep(0.02)
distributed.destroy_process_group()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Start pods of one job of two machines, by their index, as processes of this one."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    settings = Settings(training_image="a/b:1", cluster_nodes=2, cluster_uses_gpus=False)
    job = render(settings, Launch(UUID(int=9), "scratch", 600))
    shell, flag, line = job["spec"]["template"]["spec"]["containers"][0]["command"]
    first = f"training-{UUID(int=9)}-0.sightloop-training.sightloop.svc:{RENDEZVOUS_PORT}"
    assert first in line
    line = line.replace(first, f"localhost:{_free_port()}")
    line = line.replace(ENTRY_POINT, str(tmp_path / "trainer.py"))
    line = line.replace(f"last_call_timeout={LAST_CALL_SECONDS}", "last_call_timeout=3")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    started: list[subprocess.Popen[bytes]] = []

    def start(index: int) -> subprocess.Popen[bytes]:
        told = {**os.environ, "PATH": path, "JOB_COMPLETION_INDEX": str(index)}
        with (tmp_path / f"pod-{index}.log").open("ab") as log:
            command = [shell, flag, line]
            started.append(
                subprocess.Popen(command, env=told, stdout=log, stderr=log, start_new_session=True)
            )
        return started[-1]

    yield start
    for each in started:
        _lose(each)


def _lose(pod: subprocess.Popen[bytes]) -> None:
    """End a pod as the loss of its machine does, its trainers included."""
    children = Path(f"/proc/{pod.pid}/task/{pod.pid}/children")
    trainers = children.read_text().split() if children.exists() else []
    for pid in (str(pod.pid), *trainers):
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    pod.wait()


def _until(tmp_path: Path, teams: list[str]) -> None:
    """Wait until teams of these sizes have met, one after the other."""
    deadline = time.monotonic() + SECONDS
    while _met(tmp_path) != teams:
        logs = "\n".join(log.read_text()[-1500:] for log in tmp_path.glob("pod-*.log"))
        assert time.monotonic() < deadline, f"{_met(tmp_path)}\n{logs}"
        time.sleep(0.1)


def _met(tmp_path: Path) -> list[str]:
    """Return the sizes of the teams that met; each member notes it, of which one is kept."""
    noted = (tmp_path / "teams").read_text().split() if (tmp_path / "teams").exists() else []
    sizes = []
    while noted:
        sizes.append(noted[0])
        del noted[: int(noted[0])]
    return sizes


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: requirements-training.txt")
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds trainers in /proc")
def test_a_training_goes_on_without_a_machine_and_with_it_again(
    tmp_path: Path, pod: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    first, second = pod(0), pod(1)
    _until(tmp_path, ["2"])

    _lose(second)
    _until(tmp_path, ["2", "1"])

    again = pod(1)
    _until(tmp_path, ["2", "1", "2"])

    (tmp_path / "finish").touch()
    assert first.wait(SECONDS) == 0
    assert again.wait(SECONDS) == 0
