"""Corrections over HTTP, from the detection to the label."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

Gateway = Any
Stack = Any

ADDRESS = "203.0.113.7"  # of the recorded event
pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def detected(gateway: Gateway, sample: bytes) -> Any:
    target = "/v1/models/scratch/detections?keep=true"
    return gateway("POST", target, sample, content_type="image/jpeg").json


def submit(gateway: Gateway, model: str = "scratch", **body: Any) -> Any:
    sent = json.dumps(body).encode()
    target = f"/v1/models/{model}/submissions"
    return gateway("POST", target, sent, content_type="application/json")


def test_a_confirmation_becomes_a_label(gateway: Gateway, stack: Stack, sample: bytes) -> None:
    target = "/v1/models/scratch/detections?keep=true"
    found = gateway("POST", target, sample, content_type="image/jpeg").json
    told = submit(gateway, prediction_id=found["prediction_id"], answer="confirmed")

    assert told.status == 201, told.body
    assert told.json == {
        "submission_id": told.json["submission_id"],
        "prediction_id": found["prediction_id"],
        "model": "scratch",
        "version": 1,
        "state": "accepted",
        "message": "Thank you. Your boxes are accepted.",
        "score": 0.0,
        "changes": {"kept": 2, "moved": 0, "relabelled": 0, "removed": 0, "added": 0},
        "change": "new",
        "waits_for": None,
        "task": None,
    }
    again = submit(gateway, prediction_id=found["prediction_id"], answer="confirmed")
    assert (again.status, again.json["change"]) == (200, "same")
    labels = list(stack.services.store.keys("models/scratch/labels/"))
    assert len(labels) == 1
    assert len(stack.services.store.get(labels[0]).body.splitlines()) == 2


def test_who_was_banned_a_moment_ago_is_told_since_when_and_how_to_appeal(
    gateway: Gateway, stack: Stack, detected: Any
) -> None:
    """The list that is asked on the way in does not name them yet; the database does."""
    ledger = stack.services.ledger
    ledger.ban(ADDRESS, "olga", "a test")
    try:
        told = submit(gateway, prediction_id=detected["prediction_id"], answer="confirmed")
    finally:
        ledger.lift(ADDRESS, "olga", "it is over")

    assert told.status == 403, told.body
    assert datetime.fromisoformat(told.json["since"])
    assert told.json["appeal"] == stack.services.settings.appeal_to
    assert ADDRESS in told.json["detail"]
