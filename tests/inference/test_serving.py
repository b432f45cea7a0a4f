"""What runs in a SageMaker endpoint: answers, faults, and versions that begin to serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from chalicelib.catalog import Catalog
from chalicelib.errors import SightloopError
from chalicelib.inference import Inference
from chalicelib.storage import ObjectStore
from sagemaker.serving.follower import Follower
from sagemaker.serving.server import AT_ONCE, LARGEST_BODY, Server

Clock = Any
WatchedStore = Any
Publish = Callable[..., int]
Break = Callable[[bytes | None], None]
Client = Any  # starlette's TestClient, whose answers have no types without its own client library
TTL_SECONDS = 15


class Held(Inference):
    """Detects only when it is let, and fails when it is told to."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, keep=2, threads=1)
        self.let = threading.Event()
        self.begun = threading.Semaphore(0)
        self.fails: Exception | None = None

    def detect(self, *given: Any) -> Any:
        self.begun.release()
        self.let.wait(60)
        if self.fails:
            raise self.fails
        return super().detect(*given)


@pytest.fixture
def inference(catalog: Catalog, clock: Clock) -> Inference:
    return Inference(catalog, keep=2, threads=1, clock=clock)


@pytest.fixture
def follower(inference: Inference, catalog: Catalog) -> Follower:
    return Follower(inference, catalog, most=2)


@pytest.fixture
def client(inference: Inference, catalog: Catalog, follower: Follower) -> Client:
    return TestClient(Server(inference, catalog, follower, max_pixels=1_000_000).app)


@pytest.fixture
def image(make_picture: Callable[..., bytes]) -> bytes:
    return make_picture()


def ask(client: Client, image: bytes, **attributes: Any) -> Any:
    chosen = urlencode({"model": "scratch", **attributes})
    headers = {"X-Amzn-SageMaker-Custom-Attributes": chosen}
    return client.post("/invocations", content=image, headers=headers)


@contextmanager
def held(catalog: Catalog) -> Iterator[tuple[Held, Client]]:
    """Run a server whose detections wait to be let; beyond those under way it takes none."""
    inference = Held(catalog)
    follower = Follower(inference, catalog, most=2)
    server = Server(inference, catalog, follower, 1_000_000, most_waiting=0)
    with TestClient(server.app, raise_server_exceptions=False) as client:
        yield inference, client
        inference.let.set()


def test_the_answer_is_that_of_the_api_with_the_names_of_all_classes(
    client: Client, publish: Publish, make_picture: Callable[..., bytes]
) -> None:
    publish(0.75)

    told = ask(client, make_picture((128, 64))).json()

    assert list(told.pop("timing_ms")) == ["decode", "preprocess", "inference", "postprocess"]
    assert told == {
        "model": "scratch",
        "version": 1,
        "image": {"width": 128, "height": 64},
        "detections": [
            {
                "class_id": 0,
                "class_name": "scratch",
                "confidence": 0.75,
                "box": {"x1": 16.0, "y1": 16.0, "x2": 48.0, "y2": 40.0},
            }
        ],
        "class_names": ["scratch", "dent"],
    }


def test_attributes_choose_what_is_told(client: Client, publish: Publish, image: bytes) -> None:
    publish(0.75)

    assert ask(client, image, confidence=0.8).json()["detections"] == []


def test_it_answers_at_the_services_options_as_well(
    client: Client, publish: Publish, image: bytes
) -> None:
    publish(0.75)

    both = ask(client, image, confidence=0.8, reference=True).json()
    same = ask(client, image, reference=True).json()

    assert (both["detections"], [box["confidence"] for box in both["reference"]]) == ([], [0.75])
    assert same["reference"] == same["detections"]


def test_it_is_healthy_once_the_models_are_loaded(
    client: Client, follower: Follower, publish: Publish, store: WatchedStore
) -> None:
    publish()
    assert client.get("/ping").status_code == 503

    follower.look()

    assert client.get("/ping").status_code == 200
    assert store.weights_read == ["models/scratch/versions/1/model.onnx"]


def test_a_model_that_cannot_detect_keeps_no_other_from_serving(
    client: Client,
    follower: Follower,
    publish: Publish,
    break_live_version: Break,
    image: bytes,
) -> None:
    publish(name="another")
    publish()
    break_live_version(b"no network")

    follower.look()

    assert client.get("/ping").status_code == 200
    assert ask(client, image, model="another").status_code == 200
    assert ask(client, image).json()["type"] == "urn:sightloop:problem:model-unavailable"


def test_it_is_not_healthy_before_the_store_answers(store: WatchedStore, publish: Publish) -> None:
    publish()
    wrong = ObjectStore(store._s3, "a-bucket-that-is-not-there")
    catalog = Catalog(wrong, 0)
    inference = Inference(catalog, keep=2, threads=1)
    follower = Follower(inference, catalog, most=2)
    client: Client = TestClient(Server(inference, catalog, follower, 1_000_000).app)

    follower.look()

    assert client.get("/ping").status_code == 503


def test_a_promotion_is_followed_before_anybody_asks(
    client: Client,
    follower: Follower,
    publish: Publish,
    clock: Clock,
    store: WatchedStore,
    image: bytes,
) -> None:
    publish()
    follower.look()
    publish(0.8)
    clock.seconds += TTL_SECONDS

    follower.look()

    assert store.weights_read == ["models/scratch/versions/2/model.onnx"]
    assert ask(client, image).json()["version"] == 2
    assert len(store.weights_read) == 1


def test_it_follows_by_itself_while_it_runs(
    inference: Inference, catalog: Catalog, publish: Publish, clock: Clock, image: bytes
) -> None:
    publish()
    follower = Follower(inference, catalog, most=2, pause=0.01)
    with TestClient(Server(inference, catalog, follower, 1_000_000).app) as client:
        _until(lambda: client.get("/ping").status_code == 200)
        publish(0.8)
        clock.seconds += TTL_SECONDS

        _until(lambda: inference.prove("scratch") == 2)

        assert ask(client, image).json()["version"] == 2


def test_a_caller_who_knows_of_a_promotion_need_not_wait(
    client: Client, follower: Follower, publish: Publish, image: bytes
) -> None:
    publish()
    follower.look()
    assert ask(client, image, version=1).json()["version"] == 1

    publish(0.8)

    assert ask(client, image).json()["version"] == 1
    assert ask(client, image, version=2).json()["version"] == 2


def test_a_caller_who_has_not_heard_of_a_promotion_gets_the_new_version(
    client: Client, publish: Publish, image: bytes
) -> None:
    publish()
    publish(0.8)

    assert ask(client, image, version=1).json()["version"] == 2


def test_while_a_new_version_cannot_detect_the_old_one_serves_on(
    client: Client,
    follower: Follower,
    publish: Publish,
    break_live_version: Break,
    clock: Clock,
    image: bytes,
) -> None:
    publish()
    follower.look()
    publish(0.8)
    break_live_version(None)
    clock.seconds += TTL_SECONDS

    follower.look()

    assert ask(client, image, version=2).json()["version"] == 1


@pytest.mark.parametrize(
    ("body", "attributes", "status", "kind"),
    [
        (b"no image", {}, 422, "not-an-image"),
        (b"", {}, 422, "empty-image"),
        (b"x", {"model": "nobody"}, 404, "model-not-found"),
        (b"x", {"confidence": "high"}, 400, "invalid-request"),
        (b"x", {"model": "A b"}, 400, "invalid-request"),
        (bytes(LARGEST_BODY + 1), {}, 413, "payload-too-large"),
    ],
    ids=["no image", "nothing", "unknown model", "bad option", "bad name", "too large"],
)
def test_a_bad_request_is_told_what_is_wrong(
    client: Client,
    publish: Publish,
    body: bytes,
    attributes: dict[str, str],
    status: int,
    kind: str,
) -> None:
    publish()

    answered = ask(client, body, **attributes)

    assert answered.status_code == status
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.json()["type"] == f"urn:sightloop:problem:{kind}"


def test_a_picture_of_too_many_pixels_is_refused(
    client: Client, publish: Publish, make_picture: Callable[..., bytes]
) -> None:
    publish()

    answered = ask(client, make_picture((1024, 1024)))

    assert answered.json()["type"] == "urn:sightloop:problem:too-many-pixels"


def test_a_problem_names_the_request_of_the_caller(client: Client, publish: Publish) -> None:
    publish()

    assert ask(client, b"x", correlation_id="of-the-caller").json()["correlation_id"] == (
        "of-the-caller"
    )


@pytest.mark.parametrize("fails", [RuntimeError("secret"), SightloopError("secret")])
def test_what_failed_inside_is_not_told(
    catalog: Catalog, publish: Publish, image: bytes, fails: Exception
) -> None:
    publish()
    with held(catalog) as (inference, client):
        inference.fails = fails
        inference.let.set()
        answered = ask(client, image)

    assert answered.status_code == 500
    assert "secret" not in answered.text
    assert answered.json()["type"] == "urn:sightloop:problem:internal-error"


def test_more_than_can_wait_are_refused_at_once_and_the_others_are_answered(
    catalog: Catalog, publish: Publish, image: bytes
) -> None:
    publish()
    with held(catalog) as (inference, client), ThreadPoolExecutor() as pool:
        under_way = [pool.submit(ask, client, image) for _ in range(AT_ONCE)]
        for _ in under_way:
            assert inference.begun.acquire(timeout=60)

        refused = ask(client, image)
        inference.let.set()

        assert (refused.status_code, refused.json()["retry"]) == (503, True)
        assert [each.result().status_code for each in under_way] == [200] * AT_ONCE
        assert ask(client, image).status_code == 200


def _until(true: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    for _ in range(600):
        if found := true():
            return found
        threading.Event().wait(0.05)
    pytest.fail("it never was")
