"""A real browser: another site's page gets nothing from the stack, our own page everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

pytestmark = [pytest.mark.stack, pytest.mark.browser, pytest.mark.timeout(300)]
Stack = Any
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ATTEMPT = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return [answer.status, await answer.text()];
    } catch (error) { return [0, String(error)]; }
}"""
JSON = {"Content-Type": "application/json"}
SECRET_BY_PREFLIGHT = {
    "method": "POST",
    "body": '{"SecretId": "sightloop-local"}',
    "headers": {"X-Amz-Target": "secretsmanager.GetSecretValue"},
}
PLAIN_POST = {"method": "POST", "mode": "no-cors", "body": "{}"}


class ForeignPage(BaseHTTPRequestHandler):
    """An empty page of another site."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ForeignPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://evil.example:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_another_sites_page_reads_and_changes_nothing(
    stack: Stack, browser: Browser, foreign: str
) -> None:
    page = browser.new_page()
    page.goto(foreign)
    before = stack.get("/v1/pending-models").json()

    for url, options in (
        (f"{stack.aws_url}/", SECRET_BY_PREFLIGHT),
        (f"{stack.aws_url}/_ministack/health", {}),
        (f"{stack.aws_url}/sightloop-local-store?list-type=2", {}),
        (f"{stack.url}/v1/models", {}),
        (f"{stack.url}/v1/pending-models", {"method": "POST", "body": "{}", "headers": JSON}),
        (f"{stack.url}/bot/about", {}),
    ):
        assert page.evaluate(ATTEMPT, [url, options]) == [0, "TypeError: Failed to fetch"]
    page.evaluate(ATTEMPT, [f"{stack.aws_url}/_ministack/reset", PLAIN_POST])
    page.evaluate(ATTEMPT, [f"{stack.url}/bot/chats/1001/messages", PLAIN_POST])

    assert " 403 " in stack.log("http")[-1]
    assert stack.get("/v1/models").json()["models"]  # the stand-in kept its data
    assert stack.get("/v1/pending-models").json() == before
    page.close()


@pytest.mark.parametrize("target", ["url", "aws_url"])
def test_a_rebound_name_is_refused(stack: Stack, browser: Browser, target: str) -> None:
    port = urlsplit(getattr(stack, target)).port
    page = browser.new_page()

    answer = page.goto(f"http://evil.example:{port}/")
    assert answer
    assert answer.status == 403
    status, text = page.evaluate(ATTEMPT, ["/v1/models", {}])
    assert status == 403
    assert "scratch" not in text
    status, text = page.evaluate(ATTEMPT, ["/", SECRET_BY_PREFLIGHT])
    assert status == 403
    assert "operators" not in text
    page.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("width", [1440, 375])
def test_our_own_page_detects_keeps_and_shows(
    stack: Stack, browser: Browser, host: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(f"http://{host}:{urlsplit(stack.url).port}/")
    page.locator("#samples a").first.click()
    expect(page.locator(".box:visible").first).to_be_visible(timeout=60_000)

    keep = {"method": "POST", "headers": {"Content-Type": "image/jpeg"}}
    shown = page.evaluate(
        """async (options) => {
            const photo = await (await fetch('samples/tag-1.jpg')).blob();
            const kept = await (await fetch('v1/models/scratch/detections?keep=true',
                {...options, body: photo})).json();
            const told = await (await fetch(`v1/predictions/${kept.prediction_id}`)).json();
            const image = new Image();
            image.src = told.links.image;
            await image.decode();
            const wanted = {model: 'scratch', file_name: 'a.jpg', content_type: 'image/jpeg'};
            const asked = {method: 'POST', body: JSON.stringify(wanted),
                headers: {'Content-Type': 'application/json'}};
            const offer = await (await fetch('v1/uploads', asked)).json();
            const form = new FormData();
            for (const pair of Object.entries(offer.upload.fields)) form.append(...pair);
            form.append('file', photo, 'a.jpg');
            const sent = await fetch(offer.upload.url, {method: 'POST', body: form});
            return [image.src, image.naturalWidth, sent.status];
        }""",
        keep,
    )
    assert shown[0].startswith(f"http://{host}:")
    assert shown[1:] == [450, 204]
    assert complaints == []
    page.close()
