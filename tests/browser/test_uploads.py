"""A photo that is too large for one call goes through the bucket and the queue by itself."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def big(make_picture) -> Any:
    picture = make_picture("big.bmp", sample=2, size=(1500, 1000))
    assert picture.stat().st_size == 4_500_054
    return picture


def test_a_large_photo_is_uploaded_and_answered(visit, big, ask, make_picture) -> None:
    page = visit()
    page.add(big)
    expect(page.locator("#total")).to_be_visible()

    assert page.posts("/detections") == []
    assert len(page.posts("/v1/uploads")) == 1
    expect(page.locator("#round-trip")).to_contain_text("through an upload")
    expect(page.locator("#caption")).to_contain_text("1500 × 1000")
    same = make_picture("same.png", sample=2, size=(1500, 1000))
    expect(page.boxes()).to_have_count(len(ask(same)["detections"]))


def test_it_says_what_it_is_doing(visit, big) -> None:
    page = visit()
    states = iter(["waiting", "queued"])

    def prediction(route: Any) -> None:
        state = next(states, None)
        if state:
            route.fulfill(json={"state": state})
        else:
            route.continue_()

    page.evaluate(
        "window.told = new Set(); new MutationObserver(() => "
        "window.told.add(document.getElementById('progress').textContent))"
        ".observe(document.getElementById('progress'), {childList: true})"
    )
    page.route("**/v1/predictions/*", prediction)
    page.add(big)
    expect(page.locator("#unfound-text")).to_contain_text("too large for one call")
    expect(page.locator("#total")).to_be_visible()
    told = page.evaluate("[...window.told].join(' | ')")
    assert "Asking for a place to upload to" in told
    assert "Uploading 4.5 MB" in told
    assert "Uploaded. In the queue" in told


def test_a_photo_that_the_service_finds_too_large_is_uploaded_too(visit, sample) -> None:
    page = visit()
    told = {"title": "Payload too large", "detail": "too large", "status": 413}
    page.route("**/detections?*", lambda route: route.fulfill(status=413, json=told))
    page.add(sample(1))
    expect(page.boxes().first).to_be_visible()
    expect(page.locator("#round-trip")).to_contain_text("through an upload")
    page.forgive("413")


def test_a_large_photo_that_is_broken_is_told_of(visit, make_picture) -> None:
    page = visit()
    page.add(make_picture("big.bmp", size=(1600, 1100), keep=0.95))
    expect(page.locator("#problem-title")).to_have_text("Truncated image")
    assert len(page.posts("/v1/uploads")) == 1


def test_a_photo_over_the_upload_limit_is_not_sent(visit, big) -> None:
    page = visit()

    def small(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        told["upload"]["max_bytes"] = 1_000_000
        route.fulfill(response=answer, json=told)

    page.route("**/v1/uploads", small)
    page.add(big)
    expect(page.locator("#problem-title")).to_have_text("Too large")
    expect(page.locator("#problem-detail")).to_have_text(
        "This file has 4.5 MB; 1.0 MB is the most that is taken."
    )
    expect(page.locator("#problem-advice")).to_contain_text("Save it smaller")


def test_an_upload_that_is_refused_can_be_tried_again(visit, big, site) -> None:
    page = visit()
    error = "<?xml version='1.0'?><Error><Code>EntityTooLarge</Code></Error>"
    bucket = f"**/{site.bucket}*"
    allowed = {"access-control-allow-origin": "*"}
    page.route(
        bucket,
        lambda route: (
            route.fulfill(status=400, body=error, headers=allowed)
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    page.add(big)
    expect(page.locator("#problem-title")).to_have_text("The upload was refused")
    expect(page.locator("#problem-detail")).to_contain_text("EntityTooLarge")
    page.unroute(bucket)
    page.get_by_role("button", name="Try again").click()
    expect(page.boxes().first).to_be_visible()
    page.forgive("400")


def test_a_storage_that_cannot_be_reached_is_told_from_the_service(visit, big, site) -> None:
    page = visit()
    page.route(f"**/{site.bucket}*", lambda route: route.abort())
    page.add(big)
    expect(page.locator("#problem-title")).to_have_text("The upload failed")
    expect(page.locator("#problem-advice")).to_contain_text("Your photo is still here")
    page.unroute(f"**/{site.bucket}*")
    page.get_by_role("button", name="Try again").click()
    expect(page.boxes().first).to_be_visible()
    page.forgive("ERR_FAILED")
