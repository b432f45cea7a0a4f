"""What one person alone can bring about: no training."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.retrain.jobs import TrainingJobs
from chalicelib.retrain.planner import Planner
from chalicelib.settings import Settings

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
STRANGER = "203.0.113.7"


def noisy_copy(seed: int) -> bytes:
    """Return one photo with noise of its own: other bytes, which look the same."""
    scene = np.random.default_rng(0).integers(0, 255, (8, 8))
    photo = np.asarray(Image.fromarray(scene.astype(np.uint8)).resize((128, 128)), np.int64)
    noise = np.random.default_rng(seed).integers(-3, 4, photo.shape)
    buffer = io.BytesIO()
    Image.fromarray((photo + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture
def planner(desk: Desk) -> Planner:
    database = desk.services.database
    return Planner(database, TrainingJobs(database), Settings(launcher="process"))


def test_copies_of_one_photo_train_nothing(
    desk: Desk, planner: Planner, noise: Callable[[int], bytes]
) -> None:
    for seed in range(1, 25):
        assert desk.submit(desk.predict(noisy_copy(seed)), STRANGER).state == "accepted"
    for seed in range(4):
        assert desk.submit(desk.predict(noise(seed)), STRANGER).state == "accepted"

    [plan] = planner.run()

    assert plan.decision == "wait"
    assert plan.new_train + plan.new_valid <= 5
    assert "near-duplicates and count once" in plan.reason
    assert STRANGER not in plan.reason


def test_as_many_photos_as_somebody_has_train_nothing(
    desk: Desk, planner: Planner, noise: Callable[[int], bytes]
) -> None:
    for seed in range(60):
        desk.submit(desk.predict(noise(seed)), STRANGER)
    [plan] = planner.run()
    assert (plan.decision, plan.new_train, plan.new_valid) == ("wait", 8, 2)

    for seed in range(100, 160):
        desk.submit(desk.predict(noise(seed)), "user:bob")
    assert [plan.decision for plan in planner.run()] == ["launch"]
