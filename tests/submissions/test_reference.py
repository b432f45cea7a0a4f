"""What a submission is judged against: never what its caller chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.errors import ModelUnavailable
from chalicelib.inference.options import Options
from chalicelib.labels.submitted import GivenBox
from chalicelib.vision import DetectionOptions

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

Desk = Any
MakeModel = Callable[..., bytes]
GOOD = ((8, 8, 24, 20, 0.9, 0), (30, 30, 60, 50, 0.6, 1))
JUNK = tuple((n % 40, n // 8, n % 40 + 9, n // 8 + 9, 0.01, 0) for n in range(200))
ELSEWHERE = ((1, 1, 9, 9, 0.9, 0),)
EVERYTHING = Options(confidence=0, iou=1, max_detections=1000)
NOTHING = Options(confidence=1)
METRICS = b"""{"per_class": [{"class_id": 0, "class_name": "scratch", "AP50": 0.9},
                             {"class_id": 1, "class_name": "dent", "AP50": 0.8}]}"""


def keep(desk: Desk, options: Options, model: str = "scratch", seed: int = 1) -> str:
    """Keep a detection as the route and the worker do; return the prediction's id."""
    services, data = desk.services, desk.noise(seed)
    look = services.inference.look(model, data, options.for_detector(1_000_000))
    return str(services.keeper.keep(look, data, "a-call", options).prediction_id)


@pytest.fixture
def noisy(desk: Desk, make_model: MakeModel, noise: Callable[[int], bytes]) -> Desk:
    """Return a desk whose model finds 200 junk boxes of low confidence as well."""
    desk.noise = noise
    desk.services.publisher.publish("scratch", make_model(GOOD + JUNK), METRICS)
    return desk


def only_request(desk: Desk) -> Any:
    [request] = desk.services.ledger.of_user("ann")
    return request


def test_nothing_shown_is_not_nothing_there(noisy: Desk) -> None:
    prediction = keep(noisy, NOTHING)
    assert noisy.services.predictions.read(prediction).result["detections"] == []

    submitted = noisy.submit(prediction, answer="empty")

    request = only_request(noisy)
    assert (submitted.state, request.predicted_boxes, request.suspicious) == (
        "quarantined",
        2,
        True,
    )
    assert [box["class_name"] for box in request.detail["predicted"]] == ["scratch", "dent"]
    assert request.detail["shown"] == []


@pytest.mark.parametrize("answer", ["confirmed", "corrected"])
def test_junk_that_was_asked_for_waits(noisy: Desk, answer: str) -> None:
    prediction = keep(noisy, EVERYTHING)
    shown = noisy.services.predictions.read(prediction).result["detections"]
    sent = [GivenBox(**box["box"], class_id=box["class_id"]) for box in shown]
    assert len(shown) == 202

    submitted = noisy.submit(prediction, answer=answer, boxes=sent)

    request = only_request(noisy)
    assert submitted.state == "quarantined"
    assert submitted.counts["added"] == 200
    assert (request.predicted_boxes, request.submitted_boxes) == (2, 202)
    assert len(request.detail["shown"]) == 202


def test_a_confirmation_confirms_what_was_shown(noisy: Desk) -> None:
    submitted = noisy.submit(keep(noisy, Options(max_detections=1)))

    request = only_request(noisy)
    assert [box["class_name"] for box in request.detail["submitted"]] == ["scratch"]
    assert submitted.counts == {"kept": 1, "moved": 0, "relabelled": 0, "removed": 1, "added": 0}


def test_at_the_services_options_both_are_the_same(noisy: Desk) -> None:
    submitted = noisy.submit(keep(noisy, Options()))

    assert submitted.state == "accepted"
    assert "shown" not in only_request(noisy).detail


def test_a_record_from_before_is_detected_again(noisy: Desk) -> None:
    prediction = keep(noisy, NOTHING)
    table = noisy.services.predictions_table
    record = table.find(prediction)
    result = json.loads(record.result)
    assert len(result.pop("reference")) == 2
    older = {"result": json.dumps(result)}
    table.update(record, lambda held: held.model_copy(update=older))

    assert noisy.submit(prediction, answer="empty").state == "quarantined"
    assert only_request(noisy).predicted_boxes == 2


def test_the_live_version_judges_what_an_earlier_one_predicted(
    noisy: Desk, make_model: MakeModel
) -> None:
    prediction = keep(noisy, Options())
    noisy.services.publisher.publish("scratch", make_model(ELSEWHERE), METRICS)

    submitted = noisy.submit(prediction)

    request = only_request(noisy)
    assert (submitted.version, request.detail["predicted_by_version"]) == (2, 3)
    assert request.detail["precision_of_version"] == 3
    assert len(request.detail["predicted"]) == 1
    assert len(request.detail["submitted"]) == 2
    assert noisy.submit(prediction).change == "same"


def test_an_earlier_reference_serves_where_the_live_version_cannot(
    noisy: Desk, make_model: MakeModel
) -> None:
    prediction = keep(noisy, NOTHING)
    services = noisy.services
    services.publisher.publish("scratch", make_model(ELSEWHERE), b"{}")
    services.store.put("models/scratch/versions/3/model.onnx", b"broken", "application/onnx")
    services.inference._warm.clear()

    submitted = noisy.submit(prediction, answer="empty")

    request = only_request(noisy)
    assert submitted.state == "quarantined"
    assert (request.predicted_boxes, request.detail["predicted_by_version"]) == (2, 2)
    assert request.detail["precision_of_version"] == 2


def test_callers_boxes_are_never_judged_against(noisy: Desk) -> None:
    prediction = keep(noisy, NOTHING)
    services = noisy.services
    record = services.predictions_table.find(prediction)
    result = {**json.loads(record.result), "version": 1}
    result.pop("reference")
    older = {"result": json.dumps(result)}
    services.predictions_table.update(record, lambda held: held.model_copy(update=older))
    services.store.put("models/scratch/versions/2/model.onnx", b"broken", "application/onnx")
    services.inference._warm.clear()

    with pytest.raises(ModelUnavailable, match="send them again later"):
        noisy.submit(prediction, answer="empty")

    assert services.ledger.of_user("ann") == []


def test_a_picture_kept_before_the_first_version_is_judged_by_it(
    desk: Desk, make_model: MakeModel, noise: Callable[[int], bytes]
) -> None:
    services = desk.services
    services.pending_models.ask("bolts", ["scratch", "dent"], "ann")
    kept = services.keeper.keep_unseen("bolts", noise(1), "a-call")
    services.publisher.publish("bolts", make_model(), METRICS)

    submitted = desk.submit(kept.prediction_id, answer="empty", model="bolts")

    assert (submitted.state, submitted.version) == ("quarantined", 0)
    assert only_request(desk).suspicious


def test_a_result_too_long_for_a_record_keeps_its_reference(
    desk: Desk, make_model: MakeModel, noise: Callable[[int], bytes]
) -> None:
    names = ("ä" * 60, "dent")
    desk.noise = noise
    many = tuple((*row[:4], 0.01, 0) for row in JUNK * 5)
    desk.services.publisher.publish("wordy", make_model(GOOD + many, names=names), b"{}")

    prediction = keep(desk, EVERYTHING, "wordy")

    assert desk.services.predictions_table.find(prediction).result is None
    view = desk.services.predictions.read(prediction)
    assert (len(view.result["detections"]), len(view.reference)) == (1000, 2)
    assert "reference" not in view.result


def test_the_routes_defaults_are_the_detectors() -> None:
    assert Options().for_detector(80_000_000) == DetectionOptions()
