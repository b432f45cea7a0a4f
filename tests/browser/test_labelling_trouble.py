"""The labelling tool when something goes wrong: nothing that somebody drew is lost."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

BANNED = {
    "type": "urn:sightloop:problem:banned",
    "title": "Banned",
    "status": 403,
    "detail": "you are banned since 2026-11-21 10:00 UTC: write to the operators to appeal",
    "correlation_id": "c-1",
}


def refuse(page, status: int, **problem) -> None:
    """Have every answer refused from now on."""
    told = {"title": "No", "detail": "no", "correlation_id": "c-2", **problem, "status": status}
    page.route("**/submissions", lambda route: route.fulfill(status=status, json=told))


def test_what_was_drawn_survives_a_reload(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.locator("#list .row").first.click()
    page.press("Delete")
    before = page.look()
    page.reload()
    assert page.look() == before
    page.drag((20, 20), (60, 60))
    assert len(page.rows()) == len(before) + 1, "and can be gone on with"


def test_drafts_of_two_photos_are_kept_apart(desk, keep, sample, site) -> None:
    page = desk(sample(1))
    page.drag((300, 10), (340, 50))
    before = page.look()
    other = keep(sample(2))
    page.goto(f"{site.url}/label?prediction={other}")
    page.locator("#work").wait_for()
    assert all("as found" in row for row in page.rows())
    page.goto(f"{site.url}/label?prediction={page.prediction_id}")
    page.locator("#work").wait_for()
    assert page.look() == before


def test_a_draft_that_was_undone_is_no_draft(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.press("Control+z")
    page.reload()
    expect(page.get_by_role("button", name="These boxes are right")).to_be_visible()
    assert page.evaluate("localStorage.length") == 0


def test_without_a_place_for_drafts_one_can_label_and_is_told(visit, keep, sample) -> None:
    page = visit("label")
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full'); };")
    page.goto(f"{visit.site.url}/label?prediction={keep(sample(1))}")
    page.locator("#work").wait_for()
    page.press("#frame svg", "a")
    expect(page.locator("#draft-note")).to_contain_text("This browser keeps no drafts")


def test_an_answer_that_does_not_get_through_is_sent_again(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    before = page.look()
    page.route("**/submissions", lambda route: route.abort("internetdisconnected"), times=1)
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.locator("#problem-title")).to_have_text("No answer")
    expect(page.locator("#problem-advice")).to_contain_text("kept in this browser")
    assert page.look() == before
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#outcome")).to_be_visible()
    page.forgive("ERR_INTERNET_DISCONNECTED")


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failure_of_the_service_loses_nothing(desk, status) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    before = page.look()
    page.route("**/submissions", lambda route: route.fulfill(status=status, body="<html>"))
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.forgive(f"status of {status}")
    page.reload()
    assert page.look() == before


def test_the_banned_are_told_since_when_and_how_to_appeal(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.route("**/submissions", lambda route: route.fulfill(status=403, json=BANNED))
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.locator("#problem-detail")).to_have_text(
        "You are banned since 2026-11-21 10:00 UTC: write to the operators to appeal."
    )
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.forgive("403")


def test_who_is_no_longer_signed_in_is_told_and_loses_nothing(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    before = page.look()
    refuse(page, 401, title="Unauthorized", detail="the token is not valid any more")
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.locator("#problem-advice")).to_contain_text("Sign in again")
    assert page.look() == before
    page.forgive("401")


def test_boxes_at_fault_are_marked_until_they_are_mended(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.drag((20, 20), (60, 60))
    count = len(page.rows())
    faults = [{"where": f"body.boxes.{count - 2}.box", "what": "it has no area"}]
    refuse(page, 422, title="Invalid boxes", detail="one box cannot be used", faults=faults)
    page.get_by_role("button", name="Here are the right ones").click()
    row = page.locator("#list .row").nth(count - 2)
    expect(row).to_contain_text("at fault")
    expect(row).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#list .row-fault")).to_have_text("it has no area")
    page.get_by_role("button", name="Back to the boxes").click()
    expect(page.locator("#problem")).to_be_hidden()
    page.press("ArrowRight")
    expect(page.locator("#list .row-fault")).to_have_count(0)
    page.forgive("422")


def test_a_photo_that_is_gone_is_told_and_another_can_be_taken(visit) -> None:
    page = visit(f"label?prediction={uuid.uuid4()}")
    expect(page.locator("#problem-advice")).to_contain_text("kept for a time only")
    page.forgive("404")
    page.get_by_role("button", name="Another photo").click()
    expect(page.get_by_role("button", name="Bring a photo")).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()


def test_a_photo_that_is_gone_when_the_answer_comes_is_told(desk) -> None:
    page = desk()
    refuse(page, 404, title="Prediction not found", detail="there is no such prediction")
    page.get_by_role("button", name="These boxes are right").click()
    expect(page.locator("#problem-advice")).to_contain_text("Take another one")
    page.forgive("404")


def test_a_link_that_ran_out_is_fetched_anew(desk) -> None:
    page = desk()
    page.route("**/image.jpg*", lambda route: route.abort(), times=1)
    page.reload()
    assert page.locator("#photo").evaluate("photo => photo.naturalWidth") == 450
    page.forgive("ERR_FAILED")


def test_an_answer_is_sent_once_however_often_the_button_is_pressed(desk) -> None:
    page = desk()
    held = page.hold("**/submissions")
    page.get_by_role("button", name="These boxes are right").dblclick()
    page.press("Control+Enter")
    page.until_held(held, 1)
    expect(page.get_by_role("button", name="These boxes are right")).to_be_disabled()
    assert len(page.posts("submissions")) == 1


def test_what_became_of_an_answer_is_told_and_stays_told(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.send("Here are the right ones")
    expect(page.locator("#outcome-text")).not_to_be_empty()
    told = page.locator("#outcome-text").inner_text()
    boxes = page.look()
    page.reload()
    expect(page.locator("#outcome-text")).to_have_text(told)
    assert page.look() == boxes
    page.get_by_role("button", name="Change my answer").click()
    expect(page.get_by_role("button", name="Here are the right ones")).to_be_enabled()


def test_a_file_that_is_no_photo_is_told(visit, tmp_path) -> None:
    page = visit("label")
    expect(page.locator("#choose")).to_be_enabled()
    (tmp_path / "notes.txt").write_text("no photo")
    page.add(tmp_path / "notes.txt")
    expect(page.locator("#problem-title")).to_have_text("Not a photo")
    page.get_by_role("button", name="Another photo").click()
    expect(page.locator("#choose")).to_be_enabled()


def test_without_the_service_the_start_can_be_tried_again(visit) -> None:
    page = visit("label")
    expect(page.locator("#choose")).to_be_enabled()
    page.route("**/v1/models?*", lambda route: route.abort())
    page.page.reload()
    expect(page.locator("#problem-title")).to_have_text("No answer")
    page.unroute("**/v1/models?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#choose")).to_be_enabled()
    page.forgive("ERR_FAILED")
