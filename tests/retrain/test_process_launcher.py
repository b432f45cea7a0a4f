"""Trainings on this machine, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.launchers import Launch, Status, make
from chalicelib.retrain.launchers.process import ProcessLauncher
from chalicelib.settings import Settings

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
Training = Any
Make = Callable[..., Training]
needs_proc = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="finds the keeper's process in /proc"
)


def test_a_training_runs_to_its_end(training: Make) -> None:
    job = training(epochs=1)

    external_id = job.launch()

    assert external_id == str(job.job.job_id)
    assert job.until_it_has_ended() == Status("ended")
    assert job.starts() == [f"--job {job.job.job_id}"]
    assert job.epochs() == [1]


def test_where_it_worked_is_cleared_and_what_it_said_is_kept(training: Make) -> None:
    job = training()
    job.launch()
    job.until_it_has_ended()
    job.until(lambda: not (job.folder / "work").exists())

    assert (job.folder / "trainer.log").read_text() == "the tag is scratched\n"


def test_a_training_that_is_launched_by_many_at_once_runs_once(training: Make) -> None:
    job = training(epochs=2)

    with ThreadPoolExecutor(8) as threads:
        told = {threads.submit(job.launch).result() for _ in range(8)}
    job.let_go_on(1)

    assert told == {job.external_id}
    assert job.until_it_has_ended() == Status("ended")
    assert len(job.starts()) == 1


def test_launching_one_that_has_ended_starts_nothing(training: Make) -> None:
    job = training()
    job.launch()
    job.until_it_has_ended()

    job.launch()

    assert job.status() == Status("ended")
    assert len(job.starts()) == 1


def test_a_trainer_that_is_killed_ten_times_goes_on_behind_its_checkpoint(training: Make) -> None:
    job = training(epochs=11)
    job.launch()

    for epoch in range(1, 11):
        job.until(lambda epoch=epoch: job.checkpoint() == epoch)
        job.kill_trainer()

    assert job.until_it_has_ended() == Status("ended")
    assert len(job.starts()) == 11
    assert job.epochs() == [*range(1, 12)]


def test_interruptions_are_told(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    job.kill_trainer()

    job.until(lambda: job.status() == Status("running", "interrupted once"))


@needs_proc
def test_a_trainer_whose_keeper_is_killed_is_left_to_work(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    trainer = job.trainer()
    job.until(lambda: job.epochs() == [1])
    os.kill(job.keeper(), signal.SIGKILL)

    assert job.status().state == "running"  # somebody keeps it again, and waits for the trainer
    assert job.trainer() == trainer
    job.let_go_on(1)
    assert job.until_it_has_ended() == Status("ended")
    assert job.epochs() == [1, 2]


@needs_proc
def test_a_training_that_is_killed_with_its_keeper_is_taken_up_by_a_look_at_it(
    training: Make,
) -> None:
    job = training(epochs=2)
    job.launch()
    job.until(lambda: job.epochs() == [1])
    os.kill(job.keeper(), signal.SIGKILL)
    job.kill_trainer()
    job.let_go_on(1)

    assert job.until_it_has_ended() == Status("ended")
    assert len(job.starts()) == 2


@needs_proc
def test_a_trainer_whose_keeper_was_killed_can_be_stopped(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    trainer = job.trainer()
    job.until(lambda: job.epochs() == [1])
    os.kill(job.keeper(), signal.SIGKILL)

    job.launcher.stop(job.external_id)

    assert job.until_it_has_ended().state == "stopped"
    assert not _runs(trainer)


def test_a_training_outlives_whoever_launched_it(training: Make) -> None:
    job = training(epochs=2)
    code = (
        "import os, signal, sys, uuid\n"
        "from pathlib import Path\n"
        "from chalicelib.retrain.launchers import Launch\n"
        "from chalicelib.retrain.launchers.process import ProcessLauncher\n"
        "home, job_id, *command = sys.argv[1:]\n"
        "launcher = ProcessLauncher(Path(home), command, 20)\n"
        "launcher.launch(Launch(uuid.UUID(job_id), 'scratch', 600))\n"
        "os.killpg(os.getpid(), signal.SIGKILL)\n"
    )
    told = [str(job.home), job.external_id, sys.executable, str(job.out / "trainer.py")]
    told += ["2", "plain", str(job.out)]
    launched = subprocess.run(
        [sys.executable, "-c", code, *told], cwd=ROOT, start_new_session=True, check=False
    )
    assert launched.returncode == -signal.SIGKILL

    trainer = job.trainer()
    job.let_go_on(1)

    assert trainer
    assert job.until_it_has_ended() == Status("ended")
    assert len(job.starts()) == 1


def test_a_trainer_that_is_interrupted_too_often_is_given_up(training: Make) -> None:
    job = training(way="never ends", restarts=2)
    job.launch()

    told = job.until_it_has_ended()

    assert told.state == "failed"
    assert "interrupted 3 times" in told.detail
    assert "status 75" in told.detail
    assert len(job.starts()) == 3


def test_a_trainer_that_fails_is_not_started_again(training: Make) -> None:
    job = training(way="fails")
    job.launch()

    told = job.until_it_has_ended()

    assert told.state == "failed"
    assert "no picture can be opened: dataset.zip" in told.detail
    assert len(job.starts()) == 1


def test_a_training_that_is_stopped_is_not_taken_up_again(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    trainer = job.trainer()
    job.until(lambda: bool(job.starts()))

    job.launcher.stop(job.external_id)

    assert job.until_it_has_ended() == Status("stopped", "it was asked to stop")
    assert not _runs(trainer)
    job.launch()
    job.launcher.stop(job.external_id)
    assert job.status().state == "stopped"
    assert len(job.starts()) == 1


def test_a_trainer_that_does_not_listen_is_killed(training: Make) -> None:
    job = training(epochs=2, way="stubborn", patience_seconds=0.1)
    job.launch()
    job.until(lambda: job.epochs() == [1])

    job.launcher.stop(job.external_id)

    assert job.until_it_has_ended().state == "stopped"


def test_a_training_that_takes_too_long_fails(training: Make) -> None:
    job = training(epochs=2, max_seconds=0)
    job.launch()

    assert job.until_it_has_ended() == Status("failed", "it had not ended after 0 s")


def test_what_a_trainer_started_ends_with_it(training: Make) -> None:
    job = training(epochs=2, way="has helpers")
    job.launch()
    job.until(lambda: (job.out / "helper").exists() and (job.out / "helper").read_text() != "")
    helper = int((job.out / "helper").read_text())

    job.launcher.stop(job.external_id)
    job.until_it_has_ended()

    job.until(lambda: not _runs(helper))


def test_a_paused_training_goes_on_when_it_is_resumed(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    trainer = job.trainer()
    job.until(lambda: job.epochs() == [1])

    job.launcher.pause_all(60)
    assert not _runs(trainer)
    job.let_go_on(1)
    job.launcher.resume_all()

    assert job.until_it_has_ended() == Status("ended")
    assert len(job.starts()) == 2


def test_pausing_does_not_undo_a_stop(training: Make) -> None:
    job = training(epochs=2)
    job.launch()
    job.until(lambda: job.epochs() == [1])
    job.launcher.stop(job.external_id)
    job.launcher.pause_all(60)
    job.launcher.resume_all()

    assert job.until_it_has_ended().state == "stopped"
    assert len(job.starts()) == 1


def test_a_job_that_was_never_launched_is_gone(training: Make) -> None:
    job = training()

    assert job.status().state == "gone"
    job.launcher.stop(job.external_id)


def test_without_a_python_that_can_train_it_says_what_to_do(tmp_path: Path) -> None:
    launcher = ProcessLauncher(tmp_path, [str(tmp_path / "no/python"), "run_job.py"], 20)

    with pytest.raises(ConfigurationError, match="make training"):
        launcher.launch(Launch(uuid4(), "scratch", 600))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    launcher = ProcessLauncher(tmp_path / "file", [sys.executable], 20)

    with pytest.raises(ConfigurationError, match="SIGHTLOOP_HOME"):
        launcher.launch(Launch(uuid4(), "scratch", 600))


def test_the_settings_name_the_launcher() -> None:
    made = make(Settings(launcher="process", home="", training_python=""), lambda _: None)

    assert made is not None
    assert made.name == "process"
    assert make(Settings(), lambda _: None) is None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
