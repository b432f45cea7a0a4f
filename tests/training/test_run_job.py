"""The one entry point of all launchers: from an order in the store bucket to output in it."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch: requirements-training.txt")
pytest.importorskip("ultralytics", reason="training needs ultralytics: requirements-training.txt")

import onnxruntime
import torch

from sagemaker.training.checkpoints import Checkpoints
from sagemaker.training.reporter import LogTail, Reporter
from sagemaker.training.run_job import Course
from sagemaker.training.trainer import Epoch

pytestmark = pytest.mark.training
NewJob = Callable[..., Any]
KILLS = int(os.environ.get("TRAINING_KILLS", "3"))  # ten take some minutes
BUNDLE = Path(__file__).parents[2] / "models/scratch"


def _weights(job: Any) -> dict[str, torch.Tensor]:
    loaded = torch.load(io.BytesIO(job.output("best.pt")), weights_only=False)
    return dict(loaded["model"].state_dict())


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _epochs(job: Any) -> list[int]:
    rows = csv.DictReader(job.output("results.csv").decode().splitlines(), skipinitialspace=True)
    return [int(row["epoch"]) for row in rows]


def test_a_job_ends_with_all_its_output_in_the_store(new_job: NewJob) -> None:
    job = new_job()

    assert job.run() == 0, job.said()[-4000:]

    metrics = json.loads(job.output("metrics.json"))
    assert (metrics["training_set_size"], metrics["validation_set_size"]) == (8, 4)
    assert 0 <= metrics["mAP50-95"] <= metrics["mAP50"] <= 1
    assert _epochs(job) == [1, 2, 3]
    onnxruntime.InferenceSession(job.output("model.onnx"))
    assert _weights(job)


def test_a_job_reports_its_start_each_epoch_and_its_end(new_job: NewJob) -> None:
    job = new_job()
    job.run()

    reports = job.reports()

    assert [report.kind for report in reports] == ["started", *["epoch"] * 3, "finished"]
    assert {report.start for report in reports} == {1}
    started, first, *_, last, _ = reports
    assert (started.epochs, started.epochs_done) == (3, 0)
    assert [report.epoch for report in reports[1:4]] == [1, 2, 3]
    assert {"train/box_loss", "train/cls_loss", "val/box_loss"} <= set(first.losses)
    assert first.eta_seconds > last.eta_seconds == 0
    assert b"epoch 3 of 3" in job.store.get(f"training/{job.job_id}/log.txt").body


def test_the_same_seed_and_data_give_the_same_weights(new_job: NewJob) -> None:
    one, other = new_job(), new_job()
    one.run()
    other.run()

    assert _same(_weights(one), _weights(other))


def test_another_seed_gives_other_weights(new_job: NewJob) -> None:
    one, other = new_job(epochs="1"), new_job(epochs="1", seed="1")
    one.run()
    other.run()

    assert not _same(_weights(one), _weights(other))


def test_killed_at_random_moments_it_ends_as_if_it_had_never_been(
    new_job: NewJob, tmp_path: Path
) -> None:
    epochs = KILLS + 3
    whole, killed = new_job(epochs=str(epochs)), new_job(epochs=str(epochs))
    whole.run()
    chance = random.Random(5)
    for _ in range(KILLS):
        process = killed.start()
        killed.wait_for_epoch(killed.state().get("epochs_done", 0) + chance.randint(0, 1), process)
        with pytest.raises(killed.timeout):
            process.wait(chance.uniform(0, 0.5))
        process.kill()
        process.wait()

    assert killed.run() == 0, killed.said()[-4000:]

    assert _epochs(killed) == list(range(1, epochs + 1))
    assert _same(_weights(whole), _weights(killed))
    told = {(report.start, report.epoch) for report in killed.reports() if report.kind == "epoch"}
    assert sorted(epoch for _, epoch in told) == _epochs(killed), "told of once it is safe, by one"
    assert json.loads(killed.output("metrics.json"))["parity"]["mAP50-95"] is not None


def test_killed_between_a_checkpoint_and_its_report_the_next_start_tells_of_it(
    new_job: NewJob, tmp_path: Path
) -> None:
    class Killed(BaseException):
        """What a process does not survive."""

    class Dying(Reporter):
        def tell(self, report: Any) -> bool:
            raise Killed

    job, file = new_job(), tmp_path / "resumable.pt"
    file.write_bytes(b"weights")

    def course(reporter: type[Reporter]) -> Course:
        taken = Checkpoints.begin(job.store, job.job_id)
        start = taken.state.start
        return Course(taken, reporter(job.queue, job.store, job.job_id, start, LogTail()), file)

    with pytest.raises(Killed):
        course(Dying).after_epoch(Epoch(1, 3, {"train/box_loss": 1.5}, 0.5, 0.25, 2.0))
    assert job.reports() == []

    course(Reporter).tell()

    [told] = job.reports()
    assert (told.kind, told.start, told.epoch, told.epochs) == ("epoch", 1, 1, 3)
    assert (told.losses, told.map50, told.map50_95) == ({"train/box_loss": 1.5}, 0.5, 0.25)
    assert (told.seconds, told.eta_seconds) == (2.0, 4.0)


def test_epochs_that_the_queue_did_not_take_are_told_by_the_start_after_a_kill(
    new_job: NewJob,
) -> None:
    job = new_job(epochs="8")
    queue = job.environment["SIGHTLOOP_TRAINING_QUEUE"]
    job.environment["SIGHTLOOP_TRAINING_QUEUE"] = "nobody-made-this-one"
    process = job.start()
    job.wait_for_epoch(2, process)
    process.kill()
    process.wait()
    assert job.reports() == []
    job.environment["SIGHTLOOP_TRAINING_QUEUE"] = queue

    assert job.run() == 0, job.said()[-4000:]

    told = {report.epoch: report for report in job.reports() if report.kind == "epoch"}
    assert sorted(told) == list(range(1, 9))
    assert {told[epoch].start for epoch in (1, 2)} == {1}
    assert told[1].losses
    assert "the service was not told" in job.said()


def test_it_goes_on_where_another_machine_was(new_job: NewJob, tmp_path: Path) -> None:
    job = new_job(epochs="4")
    process = job.start()
    job.wait_for_epoch(2, process)
    process.kill()
    process.wait()
    job.work = tmp_path / "another machine"

    assert job.run() == 0, job.said()[-4000:]

    assert _epochs(job) == [1, 2, 3, 4]
    assert "Resuming training" in job.said()


def test_told_to_end_it_says_that_it_may_be_started_again(new_job: NewJob) -> None:
    job = new_job(epochs="50")
    process = job.start()
    job.wait_for_epoch(1, process)

    process.send_signal(signal.SIGTERM)

    assert process.wait() == 75
    last = job.reports()[-1]
    assert (last.kind, last.failed) == ("stopped", False)
    assert "SIGTERM" in last.reason
    log = job.store.get(f"training/{job.job_id}/log.txt").body.decode()
    assert log.rstrip().endswith("stopped: it was told to end by SIGTERM")
    assert "Traceback" not in log


def test_done_already_it_says_so_and_trains_no_more(new_job: NewJob) -> None:
    job = new_job(epochs="1")
    job.run()
    output, job.work = job.output("metrics.json"), job.work / "again"

    assert job.run() == 0

    assert job.output("metrics.json") == output
    assert [report.kind for report in job.reports()][-2:] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": "3"}, "unknown hyperparameters ['epoch']"),
        ({"epochs": "many"}, "epochs must be int, got 'many'"),
    ],
)
def test_an_order_that_cannot_be_carried_out_fails_for_good(
    new_job: NewJob, changes: dict[str, str], reason: str
) -> None:
    job = new_job(**changes)

    assert job.run() == 1

    [told] = job.reports()
    assert (told.kind, told.failed) == ("stopped", True)
    assert told.reason.startswith(reason)
    assert not job.has_output()


def test_an_image_that_is_gone_fails_for_good(new_job: NewJob) -> None:
    job = new_job()
    gone = next(key for key in job.store.keys("models/") if "/images/train/" in key)
    folders = [key for key in job.store.keys("models/") if "/images/" in key]
    for key in folders:
        job.store.delete(key)

    assert job.run() == 1

    last = job.reports()[-1]
    assert (last.kind, last.failed) == ("stopped", True)
    assert "the image is gone" in last.reason
    assert gone


def test_a_fine_tune_starts_from_the_bundled_model_though_it_is_an_onnx_file(
    new_job: NewJob,
) -> None:
    job = new_job(
        base={"model.onnx": (BUNDLE / "model.onnx").read_bytes()}, epochs="1", imgsz="160"
    )

    assert job.run() == 0, job.said()[-4000:]

    assert "Transferred 355/355 items from pretrained weights" in job.said()


def test_an_earlier_start_that_lives_on_gives_way_to_a_later_one(new_job: NewJob) -> None:
    job = new_job(epochs="200")
    earlier = job.start()
    job.wait_for_epoch(1, earlier)
    job.work = job.work / "later"
    later = job.start()

    assert earlier.wait() == 75

    assert later.poll() is None
    assert job.state()["start"] == 2
    later.kill()
    later.wait()
