"""A trainer for tests of launchers: it counts epochs instead of training."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from chalicelib.retrain.launchers import Launch, Status
from chalicelib.retrain.launchers.process import ProcessLauncher

SECONDS = 60
TRAINER = """
import fcntl, os, signal, sys, time
from pathlib import Path

epochs, way, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
alone = open(out / "alone", "w")
fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # two at a time: this raises
with open(out / "starts", "a") as starts:
    starts.write(" ".join(sys.argv[4:]) + "\\n")
print("the tag is scratched", flush=True)
if way == "fails":
    sys.exit("no picture can be opened: dataset.zip")
if way == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if way == "has helpers" and not os.fork():
    (out / "helper").write_text(str(os.getpid()))
    time.sleep(600)
checkpoint = out / "checkpoint"
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
while done < epochs:
    with open(out / "epochs", "a") as trained:
        trained.write(f"{done + 1}\\n")
    (out / "next").write_text(str(done + 1))
    os.replace(out / "next", checkpoint)
    done += 1
    while done < epochs and not (out / f"go {done}").exists():
        time.sleep(0.005)
sys.exit(75 if way == "never ends" else 0)
"""


@dataclass
class Training:
    """A job on this machine, and what its trainer leaves for a test to see."""

    launcher: ProcessLauncher
    job: Launch
    home: Path
    out: Path

    @property
    def external_id(self) -> str:
        return str(self.job.job_id)

    @property
    def folder(self) -> Path:
        return self.home / "training" / self.external_id

    def launch(self) -> str:
        return self.launcher.launch(self.job)

    def status(self) -> Status:
        return self.launcher.status(self.external_id)

    def starts(self) -> list[str]:
        return _lines(self.out / "starts")

    def epochs(self) -> list[int]:
        return [int(line) for line in _lines(self.out / "epochs")]

    def checkpoint(self) -> int:
        file = self.out / "checkpoint"
        return int(file.read_text()) if file.exists() else 0

    def let_go_on(self, epoch: int) -> None:
        """Let the trainer go on behind an epoch."""
        (self.out / f"go {epoch}").touch()

    def until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < deadline, f"{self.status()}, {self.said()}"
            time.sleep(0.01)

    def until_it_has_ended(self) -> Status:
        self.until(lambda: self.status().state != "running")
        return self.status()

    def said(self) -> str:
        logs = [self.folder / "trainer.log", self.folder / "keeper.log"]
        return "\n".join(log.read_text() for log in logs if log.exists())

    def trainer(self) -> int:
        """Wait until a trainer runs, and return its process."""
        self.until(lambda: self._state().get("pid", 0) != 0)
        return int(self._state()["pid"])

    def kill_trainer(self) -> None:
        os.kill(self.trainer(), signal.SIGKILL)

    def keeper(self) -> int:
        """Return the process that keeps this training."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                told = (process / "cmdline").read_bytes().split(b"\0")
                if str(self.folder).encode() in told and b"-m" in told:
                    return int(process.name)
        raise AssertionError("nobody keeps it")

    def _state(self) -> dict[str, int]:
        file = self.folder / "state.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    """Make jobs whose trainer runs so many epochs, in a way of its own."""
    made: list[Training] = []

    def make(
        epochs: int = 1,
        way: str = "plain",
        restarts: int = 20,
        max_seconds: int = 600,
        patience_seconds: float = 15.0,
    ) -> Training:
        job_id: UUID = uuid4()
        out = tmp_path / str(job_id)
        out.mkdir()
        script = out / "trainer.py"
        script.write_text(TRAINER)
        command = [sys.executable, str(script), str(epochs), way, str(out)]
        launcher = ProcessLauncher(tmp_path / "home", command, restarts, patience_seconds)
        job = Launch(job_id, "scratch", max_seconds)
        made.append(Training(launcher, job, tmp_path / "home", out))
        return made[-1]

    yield make
    for each in made:
        each.launcher.stop(each.external_id)
    for each in made:
        if (each.folder / "job.json").exists():
            each.until_it_has_ended()
