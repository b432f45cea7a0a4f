"""Pages of other sites may not use the servers of this machine; programs and our own pages may."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from email.message import Message
from io import StringIO

import pytest
from chalice.config import Config

from chalicelib.errors import Forbidden
from chalicelib.web.middleware import App
from local.home import listen
from local.origins import Origins
from local.server import Limits, Server
from local.telegram.server import Server as TelegramServer
from local.telegram.world import World

PORT = 8000
Headers = dict[str, str]
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def passes(method: str, host: str, headers: Headers | None = None, names: str = "") -> bool:
    message = Message()
    message["Host"] = host
    for name, value in (headers or {}).items():
        message[name] = value
    try:
        Origins(PORT, names).check(method, message)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"]
)
def test_this_machine_is_known_by_its_own_names(host: str) -> None:
    assert passes("POST", host, {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost",
        "localhost:8001",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example:8000",
        "127.0.0.2:8000",
        "0.0.0.0:8000",
        "localhost:8000@evil.example",
        "localhost:8000,evil.example",
        "",
    ],
)
def test_another_name_is_refused_as_dns_rebinding_brings_it(host: str) -> None:
    assert not passes("GET", host)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost:8000.evil.example"},
        {"Origin": "file://"},
        {"Origin": "chrome-extension://localhost:8000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this machine
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        LINK | {"Sec-Fetch-Dest": "iframe"},
        LINK | {"Origin": "https://evil.example"},
    ],
)
def test_a_request_of_another_site_is_refused(method: str, headers: Headers) -> None:
    assert not passes(method, "localhost:8000", headers)


def test_a_link_leads_to_our_pages_and_changes_nothing() -> None:
    assert passes("GET", "localhost:8000", LINK)
    assert not passes("POST", "localhost:8000", LINK)  # a form without an Origin


def test_a_setting_adds_names() -> None:
    names = "192.168.1.5, photos.example:443"

    assert passes("POST", "192.168.1.5:8000", {"Origin": "http://192.168.1.5:8000"}, names)
    assert passes("POST", "photos.example:443", {"Origin": "https://photos.example:443"}, names)
    assert not passes("GET", "photos.example:8000", names=names)
    assert not passes("GET", "192.168.1.6:8000", names=names)


@pytest.fixture
def port() -> Iterator[int]:
    app, listening = App("site"), listen(0)

    @app.route("/thing", methods=["GET", "POST"], content_types=["text/plain"])
    def thing() -> dict[str, bool]:
        return {"secret": True}

    limits = Limits(allowed_hosts="192.168.1.5")
    server = Server(app, Config.create(), listening, StringIO(), limits=limits)
    yield int(listening.getsockname()[1])
    server.stop()


def ask(port: int, method: str, path: str, headers: Headers) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, b"x" if method == "POST" else None, headers)
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_server_refuses_with_a_problem_and_no_cors_header(
    port: int, method: str, headers: Headers
) -> None:
    response = ask(port, method, "/thing", {"Content-Type": "text/plain"} | headers)

    assert response.status == 403
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert json.loads(response.body)["type"] == "urn:sightloop:problem:forbidden"  # type: ignore[attr-defined]


def test_the_server_answers_programs_its_own_pages_and_added_names(port: int) -> None:
    own = f"localhost:{port}"
    for headers in (
        {},
        {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"},
        {"Host": f"192.168.1.5:{port}"},
    ):
        plain = {"Content-Type": "text/plain"} | headers
        assert ask(port, "POST", "/thing", plain).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_stand_in_for_telegram_answers_no_browser(headers: Headers) -> None:
    server = TelegramServer(World(), "1:token")
    port = int(server.url.rpartition(":")[2])
    try:
        assert ask(port, "GET", "/bot1:token/getMe", {}).status == 200
        assert ask(port, "GET", "/bot1:token/getMe", headers).status == 403
    finally:
        server.stop()
