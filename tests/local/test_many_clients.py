"""More people at once than PostgreSQL has connections, each with a connection to the service."""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

CLIENTS = 150
SECONDS = 120


def test_a_hundred_and_fifty_keep_their_connections_and_are_all_answered(stack: Any) -> None:
    address = urlsplit(stack.url)
    together = threading.Barrier(CLIENTS)

    def ask_twice(_: int) -> list[int]:
        held = http.client.HTTPConnection(address.hostname, address.port, timeout=SECONDS)
        try:
            return [ask(held), (together.wait(SECONDS), ask(held))[1]]
        finally:
            held.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = [status for both in pool.map(ask_twice, range(CLIENTS)) for status in both]

    assert statuses == [200] * 2 * CLIENTS


def ask(held: http.client.HTTPConnection) -> int:
    """Ask for what only PostgreSQL knows, and leave the connection open."""
    held.request("GET", "/v1/pending-models")
    answer = held.getresponse()
    assert isinstance(json.loads(answer.read()), dict)
    return answer.status
