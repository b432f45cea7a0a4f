"""The labelling tool by a link from the chat: answers count as the Telegram user's."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TOKEN_KEPT = "sessionStorage.getItem('sightloop-signed')"


def made_up(**claims: Any) -> str:
    """Return a token that says something of itself, and that nobody signed."""
    told = json.dumps(claims, ensure_ascii=False).encode()
    body = base64.urlsafe_b64encode(told).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{body}.c2lnbmF0dXJl"


@pytest.fixture
def from_chat(site: Any, sample: Any) -> Any:
    """Have the bot look at a photo; return the address of “Correct them”."""

    def link(chat: int) -> str:
        form = {"text": (None, "predict"), "files": ("tag.jpg", sample(1).read_bytes())}
        before = read(site, chat)
        sent = requests.post(f"{site.url}/bot/chats/{chat}/messages", files=form, timeout=60)
        assert sent.status_code == 200, sent.text
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = read(site, chat, before)
            for message in told["messages"]:
                for button in message["buttons"]:
                    if button["url"]:
                        return str(button["url"])
        pytest.fail("the bot does not answer")

    return link


def read(site: Any, chat: int, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what happened in a chat after something that was read before."""
    run, after = (before["run"], before["until"]) if before else ("", 0)
    address = f"{site.url}/bot/chats/{chat}/events"
    answer = requests.get(address, {"run": run, "after": after}, timeout=60)
    return dict(answer.json())


def users_of(site: Any, prediction: str) -> list[str]:
    """Return by whose names a prediction was answered, as operators see it."""
    headers = {"Authorization": f"Bearer {site.operator}"}
    users = []
    for user in (f"user:telegram-{chat}" for chat in (1001, 1002, 1003)):
        told = requests.get(f"{site.url}/v1/contributors/{user}", headers=headers, timeout=60)
        if told.status_code == 200 and prediction in told.text:
            users.append(user)
    return users


def test_an_answer_by_the_link_is_the_telegram_users(visit, site, from_chat) -> None:
    page = visit()
    page.goto(from_chat(1001))
    page.locator("#work").wait_for()
    expect(page.locator("#signed")).to_contain_text("Telegram user 1001")
    assert "#" not in page.url

    with page.expect_response("**/submissions") as sent:
        page.get_by_role("button", name="These boxes are right").click()
    assert sent.value.status == 201
    token = page.evaluate(TOKEN_KEPT)
    assert sent.value.request.headers["authorization"] == f"Bearer {token}"
    page.locator("#outcome").wait_for()
    prediction = page.url.partition("prediction=")[2]
    assert users_of(site, prediction) == ["user:telegram-1001"]


def test_the_token_is_in_no_address_and_goes_to_nobody_else(visit, from_chat) -> None:
    page = visit()
    page.goto(from_chat(1002))
    page.locator("#work").wait_for()
    page.get_by_role("button", name="These boxes are right").click()
    page.locator("#outcome").wait_for()

    signature = page.evaluate(TOKEN_KEPT).rpartition(".")[2]
    assert not any(signature in request.url.partition("#")[0] for request in page.asked)
    bare = [r for r in page.asked if "/submissions" not in r.url]
    assert all("authorization" not in request.headers for request in bare)
    assert all(signature not in request.headers.get("referer", "") for request in page.asked)
    page.go_back()
    assert signature not in page.url


def test_the_name_is_kept_over_a_reload_and_forgotten_on_demand(visit, from_chat) -> None:
    page = visit()
    page.goto(from_chat(1001))
    page.locator("#work").wait_for()
    page.reload()
    expect(page.locator("#signed")).to_contain_text("Telegram user 1001")

    page.get_by_role("button", name="Send as a visitor instead").click()
    expect(page.locator("#signed")).to_be_hidden()
    page.locator("#work").wait_for()
    with page.expect_response("**/submissions") as sent:
        page.get_by_role("button", name="These boxes are right").click()
    assert "authorization" not in sent.value.request.headers


def test_another_link_in_the_same_tab_is_another_name(visit, from_chat) -> None:
    page = visit()
    page.goto(from_chat(1001))
    page.locator("#work").wait_for()
    page.goto(page.url + "#token=" + made_up(sub="telegram-77", exp=4_000_000_000))
    expect(page.locator("#signed")).to_contain_text("Telegram user 77")
    assert "#" not in page.url


@pytest.mark.parametrize("name", ["Jürgen", "明子", "??>>~~"])
def test_a_name_is_shown_as_it_is_written(desk, name) -> None:
    page = desk()
    page.goto(page.url + "#token=" + made_up(sub=name, exp=4_000_000_000))

    expect(page.locator("#signed")).to_contain_text(f"counts as that of {name},")


def test_a_link_that_ran_out_says_so_before_anything_is_drawn(desk) -> None:
    page = desk()
    page.goto(page.url + "#token=" + made_up(sub="telegram-42", exp=1_700_000_000))
    expect(page.locator("#signed")).to_contain_text("has run out")
    expect(page.locator("#signed")).to_contain_text("reply to the photo in the chat with “predict”")
    assert page.evaluate(TOKEN_KEPT) is None
    with page.expect_response("**/submissions") as sent:
        page.get_by_role("button", name="These boxes are right").click()
    assert sent.value.status == 201, "as a visitor"


def test_a_token_that_the_service_refuses_loses_nothing(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    before = page.look()
    page.goto(page.url + "#token=" + made_up(sub="telegram-42", exp=4_000_000_000))
    page.locator("#work").wait_for()
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.locator("#problem-advice")).to_contain_text("reply to the photo in the chat")
    assert page.look() == before
    assert Axe().run(page.page).response["violations"] == []

    with page.expect_response("**/submissions") as sent:
        page.get_by_role("button", name="Go on as a visitor").click()
    assert sent.value.status == 201
    expect(page.locator("#outcome")).to_be_visible()
    page.forgive("status of 401")


@pytest.mark.parametrize(
    "token", ["", "%00", "nonsense", "ü" * 10, "a" * 5000, "..", "e30.bnVsbA.x"]
)
def test_nonsense_in_the_address_breaks_nothing(desk, token) -> None:
    page = desk()
    page.goto(page.url + "#token=" + token)
    expect(page.locator("#work")).to_be_visible()
    page.reload()
    expect(page.locator("#work")).to_be_visible()
    assert "token" not in page.url
