"""What goes wrong is said in words, with what to do about it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

BUSY = {
    "title": "Temporarily unavailable",
    "detail": "a part of the service does not answer: try again in a moment",
    "status": 503,
    "retry": True,
    "correlation_id": "the-correlation-id",
}


def test_a_truncated_photo_is_told_of_and_the_others_stay(visit, sample, make_picture) -> None:
    page = visit()
    page.add(sample(1), make_picture("broken.jpg", keep=0.4), sample(2))
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)
    expect(page.locator('.tab[data-state="failed"]')).to_have_count(1)
    page.locator(".tab").nth(1).click()

    problem = page.locator("#problem")
    expect(problem.get_by_role("heading")).to_have_text("Truncated image")
    expect(problem).to_contain_text("breaks off or is corrupt")
    expect(problem).to_contain_text("save it again as JPEG or PNG")
    expect(problem).to_contain_text("Reference ")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.forgive("422")

    page.get_by_role("button", name="Remove it").click()
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)
    expect(page.boxes().first).to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("report.pdf", b"%PDF-1.7\n...", "This is a PDF document"),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "This is a HEIC photo"),
        ("dance.gif", b"GIF89a......", "This is a GIF"),
        ("notes.jpg", b"not a picture at all", "This file is none that is known here"),
        ("empty.png", b"", "This file is empty"),
    ],
)
def test_what_is_no_photo_is_not_even_sent(visit, tmp_path: Path, name, content, told) -> None:
    page = visit()
    file = tmp_path / name
    file.write_bytes(content)
    page.add(file)
    expect(page.locator("#problem-title")).to_have_text("Not a photo")
    expect(page.locator("#problem-detail")).to_contain_text(told)
    expect(page.locator("#problem-advice")).not_to_be_empty()
    expect(page.locator("#live")).to_contain_text(f"{name}: Not a photo. {told}")
    assert page.posts() == []


def test_a_photo_is_known_by_its_bytes_and_not_by_its_name(visit, make_picture) -> None:
    page = visit()
    photo = make_picture("photo.webp").rename(make_picture("x.jpg").with_name("photo.dat"))
    page.add(photo)
    expect(page.boxes().first).to_be_visible()
    assert page.posts()[0].headers["content-type"] == "image/webp"


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.bmp"])
def test_every_format_that_is_promised_works(visit, make_picture, name) -> None:
    page = visit()
    page.add(make_picture(name))
    expect(page.boxes().first).to_be_visible()
    assert page.locator("#photo").evaluate("photo => photo.naturalWidth") == 450


def test_a_busy_service_can_be_tried_again(visit, sample) -> None:
    page = visit()
    page.route(
        "**/detections?*",
        lambda route: route.fulfill(
            status=503, json=BUSY, headers={"content-type": "application/problem+json"}
        ),
        times=1,
    )
    page.add(sample(1))
    problem = page.locator("#problem")
    expect(problem.get_by_role("heading")).to_have_text("Temporarily unavailable")
    expect(problem).to_contain_text("A part of the service does not answer")
    expect(problem).to_contain_text("Your photo is still here")
    expect(problem).to_contain_text("the-correlation-id")
    page.forgive("503")

    page.get_by_role("button", name="Try again").click()
    expect(problem).to_be_hidden()
    expect(page.boxes().first).to_be_visible()


def test_a_gateway_that_fails_in_its_own_words_can_be_tried_again(visit, sample) -> None:
    page = visit()
    told = {"message": "Endpoint request timed out"}
    page.route("**/detections?*", lambda route: route.fulfill(status=504, json=told), times=1)
    page.add(sample(1))
    expect(page.locator("#problem-title")).to_have_text("The service is busy")
    page.get_by_role("button", name="Try again").click()
    expect(page.boxes().first).to_be_visible()
    page.forgive("504")


def test_a_network_that_is_gone_loses_no_photo(visit, sample) -> None:
    page = visit()
    page.route("**/detections?*", lambda route: route.abort())
    page.add(sample(1), sample(2))
    expect(page.locator('.tab[data-state="failed"]')).to_have_count(2)
    expect(page.locator("#problem-title")).to_have_text("No answer")
    page.unroute("**/detections?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.boxes().first).to_be_visible()
    page.locator(".tab").nth(1).click()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)
    page.forgive("ERR_FAILED", times=2)


def test_photos_wait_until_there_is_a_model(visit, sample) -> None:
    page = visit(models={})
    expect(page.locator("#about-text")).to_contain_text("No model detects yet")
    page.add(sample(1))
    expect(page.locator("#progress")).to_be_visible()
    assert page.posts() == []

    page.unroute(f"{page.url}v1/models?*")
    page.locator("#reload").click()
    expect(page.boxes().first).to_be_visible()


def test_a_service_that_does_not_answer_can_be_asked_again(visit) -> None:
    page = visit()
    page.route("**/v1/models?*", lambda route: route.abort(), times=1)
    page.reload()
    expect(page.locator("#about-text")).to_contain_text("The service could not be reached")
    expect(page.locator("#model")).to_be_disabled()
    page.locator("#reload").click()
    expect(page.locator("#model")).to_be_enabled()
    page.forgive("ERR_FAILED")


def test_a_photo_without_scratches_says_so(visit, sample) -> None:
    page = visit()
    page.answer_with([])
    page.add(sample(1))
    expect(page.locator("#total")).to_have_text("Nothing found")
    expect(page.locator("#nothing")).to_contain_text("sees nothing of its kind")
    expect(page.locator("#live")).to_have_text("Nothing found on tag-1.jpg")
