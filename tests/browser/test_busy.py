"""What the pages do while the service is busy: they wait, say so, and send the call again."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.browser

BUSY = {"title": "Temporarily unavailable", "detail": "too many requests wait", "retry": True}


def refuse(
    page: Any, address: str, *, status: int, after: str, times: int | None = None
) -> list[str]:
    """Refuse so many calls; return the keys that these bore, in the order in which they came."""
    keys: list[str] = []

    def answer(route: Route) -> None:
        keys.append(route.request.headers.get("idempotency-key", ""))
        route.fulfill(status=status, json=BUSY, headers={"Retry-After": after})

    page.route(address, answer, **({"times": times} if times else {}))
    return keys


@pytest.mark.parametrize("status", [409, 429, 503])
def test_an_answer_is_sent_again_under_the_same_key(desk: Any, status: int) -> None:
    page = desk()
    keys = refuse(page, "**/submissions", status=status, after="1", times=2)

    with page.expect_response(lambda answer: "/submissions" in answer.url and answer.ok) as taken:
        page.get_by_role("button", name="These boxes are right").click()
        expect(page.locator("#busy")).to_contain_text("The service is busy")
        expect(page.locator("#busy")).to_contain_text("in 1 second")
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#busy")).to_be_empty()
    keys.append(taken.value.request.headers["idempotency-key"])
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    page.forgive(f"status of {status}", times=2)


def test_a_call_that_is_being_answered_is_waited_for_under_the_same_key(desk: Any) -> None:
    """The first try was refused, or its answer was lost; the service may still be at it."""
    page = desk()
    later = refuse(page, "**/submissions", status=409, after="1", times=2)
    first = refuse(page, "**/submissions", status=503, after="1", times=1)

    with page.expect_response(lambda answer: "/submissions" in answer.url and answer.ok) as taken:
        page.get_by_role("button", name="These boxes are right").click()
    expect(page.locator("#outcome")).to_be_visible()
    expect(page.locator("#problem")).to_be_hidden()
    assert (len(first), len(later)) == (1, 2)
    assert {*first, *later} == {taken.value.request.headers["idempotency-key"]}
    page.forgive("503")
    page.forgive("409", times=2)


def test_another_conflict_is_told_at_once(desk: Any) -> None:
    page = desk()
    keys: list[str] = []

    def answer(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        route.fulfill(status=409, json={**BUSY, "title": "Conflict", "retry": False})

    page.route("**/submissions", answer)
    page.get_by_role("button", name="These boxes are right").click()

    expect(page.locator("#problem-title")).to_have_text("Conflict")
    assert len(keys) == 1
    page.forgive("409")


def test_a_list_is_asked_for_again(visit: Any) -> None:
    page = visit("label")
    keys = refuse(page, "**/v1/models?*", status=503, after="1", times=1)
    page.goto(f"{visit.site.url}/label")

    notice = page.locator("#busy")
    expect(notice).to_have_attribute("role", "status")
    expect(notice).to_contain_text("The service is busy")
    assert not Axe().run(page.page).response["violations"]
    expect(page.locator("#next")).to_be_enabled()
    assert keys == [""]
    page.forgive("503")


@pytest.mark.parametrize("status", [409, 503])
def test_the_page_gives_up_after_four_retries(desk: Any, status: int) -> None:
    page = desk()
    page.page.clock.install()
    keys = refuse(page, "**/submissions", status=status, after="30")

    page.get_by_role("button", name="These boxes are right").click()
    for _ in range(4):
        expect(page.locator("#busy")).to_contain_text("in 30 seconds")
        with page.expect_response("**/submissions"):
            page.page.clock.run_for(31_000)
    expect(page.locator("#problem-title")).to_have_text("Temporarily unavailable")
    expect(page.locator("#busy")).to_be_empty()
    assert len(keys) == 5
    page.forgive(str(status), times=5)


@pytest.mark.parametrize("after", ["3600", "", "soon", "-1"])
def test_a_wait_that_is_too_long_or_unknown_is_left_to_the_person(desk: Any, after: str) -> None:
    page = desk()
    keys = refuse(page, "**/submissions", status=429, after=after)

    page.get_by_role("button", name="These boxes are right").click()
    expect(page.locator("#problem-title")).to_have_text("Temporarily unavailable")
    assert len(keys) == 1
    page.forgive("429")


def test_who_leaves_the_photo_waits_no_longer(desk: Any, site: Any) -> None:
    page = desk()
    keys = refuse(page, f"**/predictions/{page.prediction_id}", status=503, after="50")
    page.page.goto(f"{site.url}/label?model=scratch")
    expect(page.locator("#next")).to_be_enabled()
    page.page.evaluate(
        "id => { history.pushState(null, '', `label?prediction=${id}`);"
        " window.dispatchEvent(new PopStateEvent('popstate')); }",
        page.prediction_id,
    )
    expect(page.locator("#busy")).to_contain_text("The service is busy")

    page.page.go_back()
    expect(page.locator("#busy")).to_be_empty()
    expect(page.locator("#problem")).to_be_hidden()
    assert len(keys) == 1
    page.forgive("503")
