"""What the one-machine server refuses by itself, before the app is asked."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.config import Config

from app import app
from local.demo.client import Api
from local.home import listen
from local.server import Server

Stack = Any


@pytest.fixture(scope="module")
def port(stack: Stack) -> Iterator[int]:
    listening = listen(0)
    server = Server(app, Config.create(), listening, io.StringIO())
    yield int(listening.getsockname()[1])
    server.stop()


def ask(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, with the port in place of PORT; return what comes back until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request.replace(b"PORT", str(port).encode()))
        connection.shutdown(socket.SHUT_WR)
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answered.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get"])
def test_a_method_that_nobody_serves_is_named_and_the_others_are_told(
    port: int, method: str
) -> None:
    status, headers, body = ask(
        port, f"{method} /v1/models HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n".encode()
    )

    assert status == 405
    assert headers["content-type"] == "application/problem+json"
    assert set(headers["allow"].split(", ")) == {"get", "head"}
    assert json.loads(body)["type"] == "urn:sightloop:problem:method-not-allowed"


@pytest.mark.parametrize(
    "request_line",
    [
        b"nonsense\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["no request", "no such version", "long path", "many headers", "long header"],
)
def test_what_is_no_http_is_a_problem(port: int, request_line: bytes) -> None:
    status, headers, body = ask(port, request_line)

    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["correlation_id"] == headers["x-correlation-id"]


def test_two_requests_at_once_are_not_taken_for_each_other() -> None:
    both_are_here = threading.Barrier(2, timeout=30)
    meeting = Chalice("meeting", configure_logs=False)

    @meeting.route("/{name}")
    def tell(name: str) -> dict[str, str]:
        both_are_here.wait()
        return {name: meeting.current_request.uri_params["name"]}

    listening = listen(0)
    server = Server(meeting, Config.create(), listening, io.StringIO())
    port = int(listening.getsockname()[1])
    requests = [
        f"GET /{name} HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n".encode() for name in ("a", "b")
    ]
    with ThreadPoolExecutor(2) as people:
        answers = list(people.map(lambda request: ask(port, request), requests))
    server.stop()

    assert [json.loads(body) for _, _, body in answers] == [{"a": "a"}, {"b": "b"}]


def test_who_leaves_before_the_answer_is_no_news(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    at_once = struct.pack("ii", 1, 0)  # closing resets the connection
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as leaving:
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            head = f"GET /openapi.json HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"
            leaving.sendall(head.encode() * 3)
    assert ask(port, b"GET / HTTP/1.1\r\nHost: localhost:PORT\r\n\r\n")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_caller_is_known_by_the_address_that_the_connection_comes_from() -> None:
    meeting = Chalice("meeting", configure_logs=False)

    @meeting.route("/")
    def tell() -> dict[str, str]:
        return {"address": meeting.current_request.context["identity"]["sourceIp"]}

    listening = listen(0)
    server = Server(meeting, Config.create(), listening, io.StringIO())
    try:
        for address in ("127.0.0.1", "127.9.8.7"):
            told = Api(listening.getsockname()[1], "", address).get("/")
            assert told == {"address": address}
    finally:
        server.stop()
