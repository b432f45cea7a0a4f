"""A team that torchrun starts: one training, divided among its members, and the loss of one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
pytest.importorskip("ultralytics", reason="training needs ultralytics: requirements-training.txt")

import psutil

pytestmark = pytest.mark.training
NewJob = Callable[..., Any]
TWO = ("--standalone", "--nproc-per-node", "2", "--max-restarts", "2")


def _losses(job: Any) -> list[float]:
    rows = csv.DictReader(job.output("results.csv").decode().splitlines(), skipinitialspace=True)
    return [float(row["val/cls_loss"]) for row in rows]


def _member(torchrun: int, rank: int) -> psutil.Process:
    """Return the process of a team that has a rank."""
    members = psutil.Process(torchrun).children()
    return next(each for each in members if each.environ().get("RANK") == str(rank))


def test_two_processes_learn_what_one_does(new_job: NewJob) -> None:
    given = {"train": 32, "valid": 8, "epochs": "2", "batch": "8", "imgsz": "160", "mosaic": "0"}
    alone, together = new_job(**given), new_job(**given)
    alone.run()

    assert together.run(*TWO) == 0, together.said()[-4000:]

    assert _losses(together) == pytest.approx(_losses(alone), rel=0.1)
    kinds = [report.kind for report in together.reports()]
    assert kinds == ["started", *["epoch"] * 2, "finished"], "one of the team speaks for all"


def test_each_of_a_team_sees_its_share_of_a_batch(new_job: NewJob) -> None:
    job = new_job(train=16, epochs="1", batch="8")

    job.run(*TWO)

    assert "2/2" in job.said(), "16 images are 2 batches of 8, of which each has 4 images"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_team_that_loses_a_member_goes_on_with_a_new_one(new_job: NewJob, rank: int) -> None:
    job = new_job(epochs="6")
    torchrun = job.start(*TWO)
    job.wait_for_epoch(2, torchrun)

    _member(torchrun.pid, rank).kill()

    assert torchrun.wait() == 0, job.said()
    epochs = [report.epoch for report in job.reports() if report.kind == "epoch"]
    assert sorted(set(epochs)) == [1, 2, 3, 4, 5, 6]
    assert len(epochs) <= 7, "at most one epoch is repeated"
    assert job.state()["start"] == 2


def test_a_team_told_to_end_says_that_it_may_be_started_again(new_job: NewJob) -> None:
    job = new_job(epochs="100")
    torchrun = job.start(*TWO)
    job.wait_for_epoch(1, torchrun)
    members = psutil.Process(torchrun.pid).children()

    torchrun.terminate()
    torchrun.wait()

    last = job.reports()[-1]
    assert (last.kind, last.failed) == ("stopped", False)
    assert not any(Path(f"/proc/{member.pid}").exists() for member in members)
