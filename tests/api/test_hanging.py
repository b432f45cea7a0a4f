"""Services that hang, refuse or send a byte now and then: every call is answered in time."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from app import app
from chalicelib import aws, wiring
from chalicelib.bounded import LIMITS_SECONDS
from chalicelib.retrain.job import Terms
from chalicelib.settings import Settings
from chalicelib.trust.report_list import KEY
from chalicelib.web.routes import documented
from deploy.resources import ensure

Gateway = Any
ADDRESS = "203.0.113.7"  # of the recorded event
SINCE = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
DETECTIONS = "/v1/models/scratch/detections"
API_GATEWAY_SECONDS = 29
FEW_SECONDS = 5.0  # with a machine that is busy with other tests
CALL_SECONDS = 0.1
DRIP = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000
SWEPT = [each for each in documented if each.documented]


class Relay:
    """A TCP relay to a server, which can hang, refuse connections, or drip bytes of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        host = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.url = url.replace(f"{parts.hostname}:{parts.port}", host)
        self.mode = "pass"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        for each in [self._listening, *self._open]:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "refuse":
            return client.close()
        try:
            server = socket.create_connection(self._server)
        except OSError:  # it was stopped: a call that was given up tries once more
            return client.close()
        self._open.append(server)
        threading.Thread(target=self._pump, args=(server, client), daemon=True).start()
        return self._pump(client, server, answers=True)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool = False) -> None:
        try:
            while data := source.recv(65536):
                if self.mode == "pass":
                    sink.sendall(data)
                elif self.mode == "refuse":
                    break
                elif self.mode == "drip" and answers:
                    self._drip(source)
        except OSError:
            pass
        source.close()
        sink.close()

    def _drip(self, client: socket.socket) -> None:
        for byte in DRIP:
            client.sendall(bytes([byte]))
            time.sleep(0.1)


@pytest.fixture(scope="module")
def standin() -> Iterator[str]:
    """The address of a stand-in for AWS that any Host may be sent to, such as the relay's."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def database_url(new_database: Callable[..., str], migrated: str) -> str:
    return new_database(template=migrated)


@pytest.fixture(scope="module")
def prepared(standin: str, database_url: str, make_model: Callable[..., bytes]) -> Iterator[None]:
    """Make the resources, a model, and a ban."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", standin)
        services = wiring.Services(Settings(database_url=database_url))
        ensure(services.settings)
        services.publisher.publish("scratch", make_model(), b"{}")
        services.store.put(KEY, f"192.0.2.9\t{SINCE.isoformat()}\n".encode(), "text/plain")
        services.database.close()
    yield


@pytest.fixture
def relay(standin: str) -> Iterator[Relay]:
    relay = Relay(standin)
    yield relay
    relay.stop()


@pytest.fixture
def database(database_url: str) -> Iterator[Relay]:
    relay = Relay(database_url)
    yield relay
    relay.stop()


@pytest.fixture
def provide(
    prepared: None, relay: Relay, database: Relay, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., wiring.Services]]:
    """Have the app use services behind the relays; nothing is known of them yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)

    def provide(**settings: Any) -> wiring.Services:
        told = {"live_version_ttl_seconds": 0, "report_list_ttl_seconds": 0, "launcher": "process"}
        services = wiring.Services(Settings(database_url=database.url, **{**told, **settings}))
        wiring.provide(services)
        return services

    yield provide
    wiring.provide(wiring.Services(Settings()))


@pytest.fixture
def gateway() -> Gateway:
    from tests.api.conftest import Gateway as OfApi  # noqa: PLC0415 - a fixture hides its name

    return OfApi(app)


@pytest.mark.parametrize("mode", ["hang", "refuse", "drip"])
def test_what_is_known_serves_on_within_seconds(
    provide: Callable[..., wiring.Services],
    relay: Relay,
    gateway: Gateway,
    make_picture: Callable[..., bytes],
    mode: str,
) -> None:
    provide(secret_ttl_seconds=0)
    calls = [
        ("POST", DETECTIONS, make_picture()),
        ("GET", "/v1/models", b""),
        ("GET", "/v1/models/scratch", b""),
        ("GET", "/healthz", b""),
    ]
    for method, path, body in calls:
        assert gateway(method, path, body, content_type="image/jpeg").status == 200
    relay.mode = mode

    for method, path, body in calls * 2:
        started = time.monotonic()
        assert gateway(method, path, body, content_type="image/jpeg").status == 200
        assert time.monotonic() - started < FEW_SECONDS


@pytest.mark.parametrize("mode", ["hang", "refuse", "drip"])
def test_who_is_banned_stays_banned(
    provide: Callable[..., wiring.Services], relay: Relay, mode: str
) -> None:
    bans = provide().report_list
    assert bans.banned_since("192.0.2.9") == SINCE
    relay.mode = mode

    started = time.monotonic()
    assert bans.banned_since("192.0.2.9") == SINCE
    assert time.monotonic() - started < FEW_SECONDS


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_job_is_shown_without_its_log(
    provide: Callable[..., wiring.Services], relay: Relay, gateway: Gateway, mode: str
) -> None:
    services = provide()
    terms = Terms.of(1, services.settings)
    job = services.training.jobs.create(f"of-{mode}", terms, "process", "planner", "enough")
    assert job
    assert gateway("GET", f"/v1/training-jobs/{job.job_id}").json["log_available"] is True
    relay.mode = mode

    started = time.monotonic()
    answer = gateway("GET", f"/v1/training-jobs/{job.job_id}")

    assert time.monotonic() - started < FEW_SECONDS
    assert (answer.status, answer.json["log"], answer.json["log_available"]) == (200, "", False)


@pytest.mark.parametrize("operation", SWEPT, ids=lambda each: f"{each.method} {each.path}")
@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_every_route_is_answered_in_time(
    provide: Callable[..., wiring.Services],
    relay: Relay,
    database: Relay,
    gateway: Gateway,
    make_picture: Callable[..., bytes],
    operation: Any,
    mode: str,
) -> None:
    provide(call_seconds=CALL_SECONDS)
    relay.mode = database.mode = mode
    path = re.sub(r"{\w+}", "scratch", operation.path)
    kind = "image/jpeg" if path.endswith("detections") else "application/json"
    body = make_picture() if path.endswith("detections") else b"{}"

    started = time.monotonic()
    answer = gateway(
        operation.method, path, body, content_type=kind, authorization="Bearer " + "x" * 32
    )

    assert time.monotonic() - started < FEW_SECONDS
    if answer.status >= 500:
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert answer.type == "application/problem+json"


def test_a_database_that_hangs_is_waited_for_no_longer(
    provide: Callable[..., wiring.Services], database: Relay, gateway: Gateway
) -> None:
    provide()
    assert gateway("GET", "/v1/training-jobs").status == 200
    provide(call_seconds=CALL_SECONDS)
    database.mode = "hang"

    answer = gateway("GET", "/v1/training-jobs")

    assert (answer.status, answer.json["type"].rpartition(":")[2]) == (503, "out-of-time")


@pytest.mark.parametrize("service", ["s3", "sqs", "dynamodb", "secretsmanager", "sagemaker"])
def test_a_service_that_hangs_is_given_up_before_a_call_is(service: str) -> None:
    config: Config = aws.client(service, "eu-central-1").meta.config
    attempts = config.retries["total_max_attempts"]
    pauses = sum(2**number for number in range(attempts - 1))  # seconds at most, before each retry

    assert attempts * config.read_timeout + pauses < Settings().call_seconds < API_GATEWAY_SECONDS


def test_the_table_of_limits_is_waited_for_a_few_seconds() -> None:
    config: Config = aws.client("dynamodb", "eu-central-1", before_a_call=True).meta.config
    attempts = config.retries["total_max_attempts"]

    assert attempts * config.read_timeout + (attempts - 1) <= LIMITS_SECONDS
    assert attempts * config.connect_timeout + (attempts - 1) <= LIMITS_SECONDS
    assert Settings().call_seconds / 4 > LIMITS_SECONDS
