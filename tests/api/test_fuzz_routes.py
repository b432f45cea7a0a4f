"""Damaged pictures through every way in that keeps one: no 5xx, one verdict, nothing left behind.

FUZZ_ROUTES sets how many files of each format are sent, one of each kind undamaged;
``make fuzz-routes`` sends more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from moto import mock_aws
from starlette.testclient import TestClient

from app import app
from benchmarks.fuzz import FORMATS, MAX_PIXELS, check, mutant, original, shares
from chalicelib import wiring
from chalicelib.predictions import State
from chalicelib.predictions.messages import IdentifyMessage
from chalicelib.predictions.model import ArrivedFile
from chalicelib.settings import Settings
from chalicelib.web.operation import Media
from chalicelib.web.routes import documented
from sagemaker.serving.follower import Follower
from sagemaker.serving.server import Server
from tests.api.conftest import make_stack

Gateway = Any
Stack = Any

COUNT = int(os.environ.get("FUZZ_ROUTES", "12"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
DETECTIONS = "/v1/models/scratch/detections"
PENDING = "fuzzed"
pytestmark = pytest.mark.filterwarnings("ignore")  # of Pillow, about damaged files


@pytest.fixture(scope="module")
def stack(
    make_model: Callable[..., bytes],
    new_database: Callable[..., str],
    migrated: str,
) -> Iterator[Stack]:
    """A service that takes pictures of as many pixels as the fuzzing of the core does."""
    with mock_aws():
        url = new_database(template=migrated)
        made = make_stack(live_version_ttl_seconds=0, database_url=url, max_pixels=MAX_PIXELS)
        made.publish(make_model())
        yield made
        made.services.database.close()
    wiring.provide(wiring.Services(Settings()))


class Ways:
    """Every way by which a picture reaches the service; each says whether it was taken."""

    def __init__(self, stack: Stack, gateway: Gateway) -> None:
        self.services = stack.services
        self._post = gateway
        services = stack.services
        follower = Follower(services.inference, services.catalog, most=2)
        server = Server(services.inference, services.catalog, follower, MAX_PIXELS)
        self._endpoint: Any = TestClient(server.app, raise_server_exceptions=False)
        body = json.dumps({"name": PENDING, "classes": ["dent"]}).encode()
        asked = gateway("POST", "/v1/pending-models", body, content_type="application/json")
        assert asked.status == 201

    def raw(self, image: bytes) -> bool:
        """Send the bytes themselves, to be kept."""
        return self._verdict(f"{DETECTIONS}?keep=true", image, "image/jpeg")

    def annotated(self, image: bytes) -> bool:
        """Send the bytes, to be kept and answered as a picture."""
        return self._verdict(f"{DETECTIONS}?keep=true", image, "image/png", accept="image/jpeg")

    def form(self, image: bytes) -> bool:
        """Send a form, to be kept."""
        head = b'Content-Disposition: form-data; name="image"; filename="a.jpg"'
        cut = uuid.uuid4().hex.encode()
        body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (cut, head, image, cut)
        kind = f"multipart/form-data; boundary={cut.decode()}"
        return self._verdict(f"{DETECTIONS}?keep=true", body, kind)

    def base64(self, image: bytes) -> bool:
        """Send JSON, to be kept."""
        body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
        return self._verdict(f"{DETECTIONS}?keep=true", body, "application/json")

    def batch(self, image: bytes) -> bool:
        """Send it between two sound pictures, whose answers it must not change."""
        files = [original("jpeg"), image, original("png")]
        named = [{"name": "a", "data": base64.b64encode(file).decode()} for file in files]
        body = json.dumps({"images": named}).encode()
        answer = self._post("POST", DETECTIONS, body, content_type="application/json")
        assert answer.status == 200, answer.body
        first, second, third = answer.json["results"]
        assert "problem" not in first
        assert "problem" not in third
        assert second.get("problem", {"status": 422})["status"] == 422, second
        return "problem" not in second

    def pending(self, image: bytes) -> bool:
        """Bring it to a model that has no version."""
        return self._verdict(f"/v1/pending-models/{PENDING}/images", image, "image/jpeg", 201)

    def upload(self, image: bytes) -> bool:
        """Use an upload form, and have the worker look at what arrived."""
        form = {"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"}
        body = json.dumps(form).encode()
        offered = self._post("POST", "/v1/uploads", body, content_type="application/json")
        services, table = self.services, self.services.predictions_table
        prediction_id = offered.json["prediction_id"]
        key = table.find(prediction_id).key
        services.uploads.put(key, image, "image/jpeg")
        file = ArrivedFile(key, hashlib.md5(image).hexdigest(), services.now())
        services.intake.receive(file)
        services.worker.identify(IdentifyMessage.of(table.find(prediction_id), file))
        record = table.find(prediction_id)
        assert record.state in {State.DONE, State.FAILED}
        services.uploads.delete(key)
        answer = self._post("GET", f"/v1/predictions/{prediction_id}").json
        assert answer["state"] == record.state
        assert record.state is State.DONE or answer["problem"]["status"] == 422, answer
        return bool(record.state is State.DONE)

    def endpoint(self, image: bytes) -> bool:
        """Ask what runs in a SageMaker endpoint."""
        headers = {"X-Amzn-SageMaker-Custom-Attributes": urlencode({"model": "scratch"})}
        answer = self._endpoint.post("/invocations", content=image, headers=headers)
        assert answer.status_code in {200, 422}, answer.content
        return bool(answer.status_code == 200)

    def _verdict(self, target: str, body: bytes, kind: str, ok: int = 200, **more: str) -> bool:
        before = self.records()
        answer = self._post("POST", target, body, content_type=kind, **more)
        assert answer.status in {ok, 422}, answer.body
        is_taken = bool(answer.status == ok)
        assert self.records() == before + is_taken, "a record too many or too few"
        return is_taken

    def records(self) -> int:
        """Return how many predictions there are."""
        name = self.services.settings.predictions_table
        described = self.services.client("dynamodb").describe_table(TableName=name)
        return int(described["Table"]["ItemCount"])

    def clear(self) -> set[str]:
        """Delete the pictures that are kept; return their keys."""
        keys = set(self.services.store.keys("predictions/"))
        for key in keys:
            self.services.store.delete(key)
        return keys


EVERY = ("raw", "annotated", "form", "base64", "batch", "pending", "upload", "endpoint")


@pytest.fixture(scope="module")
def ways(stack: Stack, gateway: Gateway) -> Ways:
    return Ways(stack, gateway)


@pytest.mark.timeout(0 if COUNT > 20 else 300)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_damaged_picture_has_one_verdict_by_every_way(ways: Ways, file_format: str) -> None:
    for kind, count in shares(file_format, COUNT).items():
        whole, rng = original(kind), random.Random(f"{SEED} {kind} routes")
        for number in range(count):
            damaged = mutant(rng, whole) if number else whole
            is_picture = check(damaged)
            verdicts = {way: getattr(ways, way)(damaged) for way in EVERY if damaged}
            kept = ways.clear()

            assert {*verdicts.values()} <= {is_picture}, (kind, number, verdicts)
            assert kept or not is_picture
            assert is_picture or not kept, (kind, number, kept)


def test_every_route_that_takes_pictures_is_fuzzed() -> None:
    """A new route has to be added to the ways, or here, where it takes no picture's bytes."""
    taking = {
        each.path
        for each in documented
        if isinstance(each.body, Media) and "image/jpeg" in each.body.types
    }
    assert taking == {
        "/v1/models/{model}/detections",
        "/v1/pending-models/{model}/images",
    }
    assert app.routes.keys() >= taking
