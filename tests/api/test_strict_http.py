"""The one-machine server refuses requests that two parsers could read differently."""

from __future__ import annotations

import io
import json
import random
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from chalice.config import Config

from chalicelib.web.middleware import App
from local import handler
from local.admission import Turns
from local.home import listen
from local.listening import Listening
from local.server import LARGEST_BODY, Limits, Server

HOST = b"Host: localhost:PORT\r\n"
POST = b"POST /echo HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
AFTER = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def echo_app(go_on: threading.Event) -> App:
    app = App("echo")

    @app.route("/echo", methods=["POST"], content_types=["*/*"])
    def echo() -> dict[str, int]:
        return {"bytes": len(app.current_request.raw_body)}

    @app.route("/smuggled")
    def smuggled() -> dict[str, bool]:
        return {"smuggled": True}

    @app.route("/slow/detections", methods=["POST"], content_types=["*/*"])
    def slow() -> dict[str, str]:
        go_on.wait(20)
        return {}

    return app


@pytest.fixture
def go_on() -> threading.Event:
    """Return what a request for a slow detection waits for."""
    return threading.Event()


@pytest.fixture
def port(go_on: threading.Event) -> Iterator[int]:
    listening = listen(0)
    limits = Limits(turns=Turns(1, 1))
    app = echo_app(go_on)
    server = Server(app, Config.create(), listening, io.StringIO(), limits=limits)
    yield int(listening.getsockname()[1])
    server.stop()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes, with the port in place of PORT; return all that comes back."""
    with connect(port) as connection:
        connection.sendall(request.replace(b"PORT", str(port).encode()))
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


REFUSED = {
    "negative chunk": CHUNKED + b"-1\r\n" + AFTER,
    "signed chunk": CHUNKED + b"+5\r\nhello\r\n" + AFTER,
    "0x chunk": CHUNKED + b"0x5\r\nhello\r\n" + AFTER,
    "underscore in chunk": CHUNKED + b"1_0\r\n" + b"x" * 16 + b"\r\n" + AFTER,
    "space before chunk": CHUNKED + b" 5\r\nhello\r\n" + AFTER,
    "space after chunk": CHUNKED + b"5 \r\nhello\r\n" + AFTER,
    "empty chunk line": CHUNKED + b"\r\n" + AFTER,
    "chunk line with bare LF": CHUNKED + b"5\nhello\r\n" + AFTER,
    "endless chunk size": CHUNKED + b"f" * 5000 + b"\r\n" + AFTER,
    "nine digits": CHUNKED + b"000000005\r\nhello\r\n" + AFTER,
    "endless extension": CHUNKED + b"5;" + b"x" * 5000 + b"\r\nhello\r\n" + AFTER,
    "chunk without its end": CHUNKED + b"5\r\nhelloXX" + AFTER,
    "chunk that breaks off": CHUNKED + b"5\r\nhel",
    "body that breaks off": POST + b"Content-Length: 10\r\n\r\nhello",
    "malformed trailer": CHUNKED + b"0\r\nnot a header\r\n\r\n",
    "folded trailer": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
    "endless trailers": CHUNKED + b"0\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + AFTER,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths in one": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -5\r\n\r\n",
    "signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "arabic length": POST + "Content-Length: ٥\r\n\r\nhello".encode(),
    "endless length": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + AFTER,
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + AFTER,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + AFTER,
    "vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + AFTER,
    "chunks over 1.0": CHUNKED.replace(b"1.1", b"1.0") + AFTER,
    "space before the colon": POST + b"Content-Length : 5\r\n\r\nhello",
    "folded header": POST + b"X: y\r\n Content-Length: 5\r\n\r\nhello",
    "bare LF": b"GET /smuggled HTTP/1.1\n" + HOST.replace(b"\r", b"") + b"\n",
    "bare LF in a header": POST + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "bare CR in a header": POST + b"X: y\rContent-Length: 5\r\n\r\n",
    "NUL in a header": POST + b"X: y\x00\r\n\r\n",
    "no name": POST + b": y\r\n\r\n",
    "two hosts": b"GET /smuggled HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no host": b"GET /smuggled HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /smuggled\r\n\r\n",
    "absolute target": b"GET http://evil.example/smuggled HTTP/1.1\r\n" + HOST + b"\r\n",
    "head that breaks off": b"GET /smuggled HTTP/1.1\r\n" + HOST,
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
def test_an_ambiguous_request_is_refused_and_its_connection_closed(
    port: int, request_bytes: bytes
) -> None:
    answer = exchange(port, request_bytes)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400


@pytest.mark.parametrize(
    "request_bytes",
    [
        CHUNKED + b"5;name=value\r\nhello\r\n0\r\nTrailer: yes\r\n\r\n",
        CHUNKED + b"2\r\nhe\r\n00003\r\nllo\r\n0\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\nhello",
        POST + b"content-length:5\r\nExpect: 100-continue\r\n\r\nhello",
    ],
)
def test_a_plain_body_is_read_and_the_next_request_answered(
    port: int, request_bytes: bytes
) -> None:
    answer = exchange(port, request_bytes + b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")

    assert b'{"bytes":5}' in answer
    assert b'{"smuggled":true}' in answer


@pytest.mark.parametrize("size", [b"7fffffff", b"ffffffff", b"00a00001"])
def test_a_chunk_over_the_limit_is_refused_before_it_is_read(port: int, size: bytes) -> None:
    assert exchange(port, CHUNKED + size + b"\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_refused_upload_is_told_why_although_it_was_not_read(port: int) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % (LARGEST_BODY + 1)

    assert exchange(port, head + bytes(LARGEST_BODY + 1)).startswith(b"HTTP/1.1 413 ")


def test_mutated_requests_never_reach_a_route_twice_nor_break_the_server(
    port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(11)
    seeds = [*REFUSED.values(), CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"]
    small = [seed for seed in seeds if len(seed) < 2000]
    for _ in range(400):
        mutated = bytearray(dice.choice(small))
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(mutated))
            mutated[place : place + dice.randint(0, 2)] = dice.choice(
                [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"-", b"0", b"\x00", b":", b"\xff"]
            )
        statuses = [
            int(part[:3]) for part in exchange(port, bytes(mutated)).split(b"HTTP/1.1 ")[1:]
        ]
        assert all(status < 500 for status in statuses), bytes(mutated)
        assert 400 not in statuses[:-1], bytes(mutated)  # a refusal is the last answer
    assert exchange(port, POST + b"Content-Length: 0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("limit", "begun"),
    [
        ("FIRST_SECONDS", b""),
        ("HEAD_SECONDS", b"GET /smuggled HTTP/1.1\r\nHo"),
        ("BODY_SECONDS", POST + b"Content-Length: 5\r\n\r\nhe"),
    ],
)
def test_whoever_sends_too_slowly_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch, limit: str, begun: bytes
) -> None:
    monkeypatch.setattr(handler, limit, 0.3)
    with connect(port) as connection:
        connection.sendall(begun.replace(b"PORT", str(port).encode()))
        assert connection.recv(1) == b""  # the deadline is ours: this waits for 20 s at most


def test_a_byte_now_and_then_does_not_prolong_a_deadline(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "HEAD_SECONDS", 0.5)
    began = time.monotonic()
    with connect(port) as connection, pytest.raises(ConnectionError):
        while time.monotonic() < began + 20:
            connection.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() < began + 10


def test_further_connections_than_the_limit_are_refused(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listening, "most_connections", 2)
    with connect(port) as first, connect(port) as second:
        request = b"GET /smuggled HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port
        for connection in (first, second):
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        refusal = exchange(port, b"")
        assert refusal.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in refusal
        assert json.loads(refusal.partition(b"\r\n\r\n")[2])["title"] == "Overloaded"


def test_what_computes_waits_up_to_a_limit_and_is_refused_beyond(
    port: int, go_on: threading.Event
) -> None:
    request = b"POST /slow/detections HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 0\r\n\r\n"
    connections = [connect(port) for _ in range(6)]
    for connection in connections:
        connection.sendall(request % port)
    refused: set[socket.socket] = set()
    while len(refused) < 4:  # one computes and one waits, as long as the first is held up
        ready, _, _ = select.select(set(connections) - refused, [], [], 20)
        assert ready
        refused.update(ready)
    light = exchange(port, b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    go_on.set()
    answers = {connection: connection.recv(65536) for connection in connections}
    for connection in connections:
        connection.close()

    assert light.startswith(b"HTTP/1.1 200 ")
    for connection, answer in answers.items():
        assert answer.startswith(b"HTTP/1.1 503 " if connection in refused else b"HTTP/1.1 200 ")
        assert (b"\r\nRetry-After: " in answer) is (connection in refused)
    assert exchange(port, request % port).startswith(b"HTTP/1.1 200 ")
