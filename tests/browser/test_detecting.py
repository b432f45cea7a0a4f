"""A photo goes in, boxes come out: on the photo, in the list, and above a confidence."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def centre(box: Any) -> tuple[float, float]:
    bounds = box.bounding_box()
    return bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_sample_shows_the_boxes_that_the_api_gives(visit, ask, sample, number) -> None:
    page = visit()
    page.take_sample(number)
    wanted = ask(sample(number))["detections"]

    expect(page.boxes()).to_have_count(len(wanted))
    expect(page.locator(".row:visible")).to_have_count(len(wanted))
    expect(page.locator("#total")).to_contain_text(f"{len(wanted)} scratch")
    expect(page.locator(".tab .badge")).to_have_text(str(len(wanted)))


def test_boxes_lie_where_the_api_says(visit, ask, sample) -> None:
    page = visit()
    page.take_sample(2)
    photo = page.locator("#photo").bounding_box()
    scale = photo["width"] / 450
    for box, detection in zip(page.boxes().all(), ask(sample(2))["detections"], strict=True):
        shown, wanted = box.bounding_box(), detection["box"]
        assert shown["x"] - photo["x"] == pytest.approx(wanted["x1"] * scale, abs=1)
        assert shown["y"] - photo["y"] == pytest.approx(wanted["y1"] * scale, abs=1)
        assert shown["width"] == pytest.approx((wanted["x2"] - wanted["x1"]) * scale, abs=1)
        assert shown["height"] == pytest.approx((wanted["y2"] - wanted["y1"]) * scale, abs=1)


def test_the_slider_filters_as_the_api_would_and_asks_nobody(visit, ask, sample) -> None:
    page = visit()
    page.take_sample(3)
    asked = len(page.asked)
    counts = []
    for percent in (5, 15, 25, 45, 60, 95):
        page.set_confidence(percent)
        wanted = ask(sample(3), confidence=percent / 100)["detections"]
        expect(page.boxes()).to_have_count(len(wanted))
        expect(page.locator("#level")).to_have_text(f"{percent}\u202f%")
        counts.append(len(wanted))
    assert len(page.asked) == asked
    assert len(set(counts)) > 2, "the sample has boxes of many confidences"
    expect(page.locator("#nothing")).to_contain_text("Lower the confidence")

    page.get_by_role("button", name="Back to 25").click()
    expect(page.boxes()).to_have_count(counts[2])


def test_pointing_at_a_box_shows_its_class_and_confidence_and_its_row(visit, ask, sample) -> None:
    page = visit()
    page.take_sample(4)
    found = ask(sample(4))["detections"][0]
    label = page.locator(".box .label").first
    expect(label).to_be_hidden()

    page.mouse.move(*centre(page.boxes().first))
    expect(label).to_be_visible()
    expect(label).to_have_text(f"scratch {int(found['confidence'] * 100 + 0.5)}\u202f%")
    expect(page.locator(".row").first).to_have_class("row meant")

    page.mouse.move(5, 5)
    expect(label).to_be_hidden()


def test_pointing_at_a_row_shows_its_box(visit) -> None:
    page = visit()
    page.take_sample(2)
    page.locator(".row").nth(2).hover()
    expect(page.locator(".box .label").nth(2)).to_be_visible()
    expect(page.locator(".box .label").nth(0)).to_be_hidden()


def test_a_click_chooses_a_box_until_the_next(visit) -> None:
    page = visit()
    page.take_sample(4)
    page.mouse.click(*centre(page.boxes().first))
    page.mouse.move(5, 5)
    expect(page.locator(".row").first).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".box .label").first).to_be_visible()

    page.keyboard.press("Escape")
    page.locator("#photo").click(position={"x": 3, "y": 3}, force=True)
    expect(page.locator(".row").first).to_have_attribute("aria-pressed", "false")


def test_several_photos_are_looked_at_in_order(visit, ask, sample) -> None:
    page = visit()
    numbers = [3, 1, 4, 2, 1]
    page.add(*(sample(number) for number in numbers))
    expect(page.locator('.tab[data-state="done"]')).to_have_count(len(numbers))

    counts = [len(ask(sample(number))["detections"]) for number in numbers]
    told = [f"{count} box{'es' * (count != 1)}" for count in counts]
    names = [sample(number).name for number in numbers]
    assert page.tabs() == [f"{name}: {text}" for name, text in zip(names, told, strict=True)]
    expect(page.locator("#caption")).to_contain_text("tag-3.jpg")

    page.locator(".tab").nth(2).click()
    expect(page.locator("#caption")).to_contain_text("tag-4.jpg")
    expect(page.boxes()).to_have_count(counts[2])
    assert len(page.posts()) == len(numbers), "looking at another photo asks nobody"


def test_no_more_than_two_photos_are_sent_at_a_time(visit, sample) -> None:
    page = visit()
    held = page.hold("**/detections?*")
    page.add(*(sample(number) for number in (1, 2, 3)))
    expect(page.locator('.tab[data-state="working"]')).to_have_count(2)
    expect(page.locator('.tab[data-state="queued"]')).to_have_count(1)
    page.until_held(held, 2)

    held[1].continue_()
    expect(page.locator('.tab[data-state="queued"]')).to_have_count(0)
    page.until_held(held, 3)
    held[0].continue_()
    held[2].continue_()
    expect(page.locator('.tab[data-state="done"]')).to_have_count(3)


def test_a_photo_can_be_taken_out(visit, sample) -> None:
    page = visit()
    page.add(sample(1), sample(2))
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)
    page.get_by_role("button", name="Remove this photo").click()
    expect(page.locator("#caption")).to_contain_text("tag-2.jpg")
    page.keyboard.press("Delete")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#choose")).to_be_focused()


def test_all_photos_can_be_taken_out_at_once(visit, sample) -> None:
    page = visit("#tag-1")
    expect(page.get_by_role("button", name="Remove all")).to_be_hidden()
    page.add(sample(2), sample(3))
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#unfound-title")).to_have_text("Nothing looked at yet")
    assert "#" not in page.url


def test_the_models_are_those_of_the_api(visit) -> None:
    page = visit()
    expect(page.locator("#model option")).to_have_text(["scratch"])
    expect(page.locator("#invitation")).to_have_text("Drop a photo to look for scratches")
    expect(page.locator("#about-text")).to_contain_text("version 1")
    expect(page.locator("#facts")).to_contain_text("Average precision")


def test_another_model_looks_at_the_same_photos(visit) -> None:
    page = visit(models={"scratch": ["scratch"], "dents": ["dent", "burr"]})
    page.take_sample(1)
    with page.expect_request("**/v1/models/dents/detections?*"):
        page.locator("#model").select_option("dents")
    expect(page.locator("#problem-title")).to_have_text("Model not found")
    assert page.url.endswith("?model=dents#tag-1")
    page.forgive("404", times=2)  # the model's own address, and its detections

    page.locator("#model").select_option("scratch")
    expect(page.boxes().first).to_be_visible()


def test_an_address_names_model_and_sample(visit) -> None:
    page = visit("?model=scratch#tag-3")
    expect(page.locator("#total")).to_be_visible()
    expect(page.locator("#caption")).to_have_text("tag-3.jpg, 450 × 300")


def test_the_page_works_below_a_path_as_on_aws(visit, ask, sample) -> None:
    page = visit(below="api")
    page.take_sample(1)
    expect(page.boxes()).to_have_count(len(ask(sample(1))["detections"]))
    expect(page.locator("#facts")).to_contain_text("Measured")
    expect(page.locator("#curl")).to_contain_text("/api/v1/models/scratch/detections")
    paths = [urlsplit(request.url).path for request in page.asked]
    assert [path for path in paths if not path.startswith("/api/")] == []


def test_classes_are_counted_and_three_hundred_boxes_shown(visit, sample) -> None:
    page = visit()
    names = ["scratch", "dent", "box"]
    page.answer_with(
        [
            {
                "class_id": index % 3,
                "class_name": names[index % 3],
                "confidence": 0.9 - index / 1000,
                "box": {"x1": index, "y1": index / 2, "x2": index + 40, "y2": index / 2 + 30},
            }
            for index in range(300)
        ]
    )
    page.add(sample(1))
    expect(page.boxes()).to_have_count(300)
    expect(page.locator("#total")).to_have_text("100 scratches, 100 dents and 100 boxes")
    expect(page.locator("#counts li")).to_have_text(["scratch100", "dent100", "box100"])
    colours = page.locator(".box").evaluate_all(
        "boxes => boxes.slice(0, 3).map(box => getComputedStyle(box).borderColor)"
    )
    assert len(set(colours)) == 3


def test_a_small_box_inside_a_large_one_can_be_pointed_at(visit, sample) -> None:
    page = visit()
    page.answer_with(
        [
            {
                "class_id": 0,
                "class_name": "scratch",
                "confidence": confidence,
                "box": {"x1": x1, "y1": x1, "x2": x2, "y2": x2},
            }
            for confidence, x1, x2 in ((0.9, 20, 280), (0.8, 140, 160))
        ]
    )
    page.add(sample(1))
    page.mouse.move(*centre(page.boxes().nth(1)))
    expect(page.locator(".row").nth(1)).to_have_class("row meant")
    bounds = page.boxes().first.bounding_box()
    page.mouse.move(bounds["x"] + 9, bounds["y"] + 30)
    expect(page.locator(".row").nth(0)).to_have_class("row meant")


def test_zoom_keeps_boxes_on_what_they_mark_and_brings_chosen_ones_into_view(visit) -> None:
    page = visit()
    page.take_sample(2)
    before = page.locator("#photo").bounding_box()["width"]
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    photo = page.locator("#photo").bounding_box()
    assert photo["width"] == pytest.approx(before * 4, rel=0.01)
    assert page.locator(".box").first.evaluate("b => getComputedStyle(b).borderWidth") == "2px"

    page.locator(".row").nth(1).focus()
    expect(page.locator(".box").nth(1)).to_be_in_viewport()
    page.locator("#zoom-fit").click()
    assert page.locator("#photo").bounding_box()["width"] == pytest.approx(before, rel=0.01)
