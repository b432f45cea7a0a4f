"""Updates reach the webhook in order, again where it does not take them, and block nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local.telegram.courier import Courier

SECONDS = 20
Json = dict[str, Any]


class Webhook:
    """A webhook that answers as it is told, and then that it has the update."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[tuple[int, str]] = []
        self.taken = threading.Semaphore(0)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.answers.pop(0) if outer.answers else 200
                secret = self.headers["X-Telegram-Bot-Api-Secret-Token"]
                outer.got.append((body["update_id"], secret))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if status == 200:
                    outer.taken.release()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until_taken(self, count: int) -> list[int]:
        """Wait until so many updates were taken; return all that came, in order."""
        for _ in range(count):
            assert self.taken.acquire(timeout=SECONDS)
        return [number for number, _ in self.got]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def send(webhook: Webhook) -> Iterator[Callable[..., Courier]]:
    """Start a courier without patience, and hand updates to it."""
    started: list[Courier] = []

    def begin(*numbers: int, **registered: str) -> Courier:
        known = {"url": webhook.url, "secret_token": "word", **registered}
        started.append(Courier(lambda: known, pauses=(0.0, 0.0)))
        for number in numbers:
            started[-1].take({"update_id": number})
        return started[-1]

    yield begin
    for courier in started:
        courier.stop()


def test_updates_come_in_order_with_the_secret(webhook: Webhook, send: Any) -> None:
    send(1, 2, 3)

    assert webhook.until_taken(3) == [1, 2, 3]
    assert {secret for _, secret in webhook.got} == {"word"}


@pytest.mark.parametrize("status", [401, 500, 503, 302])
def test_what_is_not_taken_comes_again_before_the_next(
    webhook: Webhook, send: Any, status: int
) -> None:
    webhook.answers = [status, status]
    send(1, 2)

    assert webhook.until_taken(2) == [1, 1, 1, 2]


def test_what_is_never_taken_blocks_the_next_no_longer_than_its_attempts(
    webhook: Webhook, send: Any
) -> None:
    webhook.answers = [500, 500, 500]
    send(1, 2)

    assert webhook.until_taken(1) == [1, 1, 1, 2]


def test_where_nobody_listens_it_ends_all_the_same(send: Any) -> None:
    send(1, url="http://127.0.0.1:9/hook").stop()


def test_where_no_webhook_is_registered_nothing_is_sent(webhook: Webhook, send: Any) -> None:
    send(1, url="").stop()

    assert webhook.got == []
