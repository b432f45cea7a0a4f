"""The labelling tool, with the mouse."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

TWELVE_MEGAPIXELS = (4000, 3000)
CLASSES = ["scratch", "dent", "Delle", "deep dent", "stain", "Ölfleck", "hole"]


def edges(page) -> list[float]:
    """Return the edges of the chosen box, as its fields show them."""
    return [float(page.locator(f"#{edge}").input_value()) for edge in ("x1", "y1", "x2", "y2")]


def test_the_predicted_boxes_are_there_to_begin_with(desk, ask, sample) -> None:
    found = ask(sample(1))["detections"]
    page = desk(sample(1))
    assert len(page.rows()) == len(found)
    assert all("as found" in row for row in page.rows())
    expect(page.locator("#frame .a9s-annotation[data-id]")).to_have_count(len(found))
    expect(page.get_by_role("button", name="These boxes are right")).to_be_enabled()
    expect(page.get_by_role("button", name="Here are the right ones")).to_be_hidden()


def test_boxes_that_are_right_are_confirmed_without_sending_any(desk) -> None:
    page = desk()
    sent = page.send("These boxes are right")
    assert sent == {"prediction_id": page.prediction_id, "answer": "confirmed", "boxes": []}


def test_a_drag_draws_a_box_on_whole_pixels(desk, ask, sample) -> None:
    found = ask(sample(1))["detections"]
    page = desk(sample(1))
    page.drag((301, 11), (340, 52))
    expect(page.locator("#list .row").last).to_have_attribute("aria-pressed", "true")
    assert "new" in page.rows()[-1]
    sent = page.sent_edges()
    assert sent[-1] == (301, 11, 340, 52)
    kept = [each["box"] for each in found]
    assert sent[:-1] == [(box["x1"], box["y1"], box["x2"], box["y2"]) for box in kept], (
        "what nobody touched is sent to the last digit"
    )


def test_a_drag_from_any_corner_and_over_the_edge_stays_in_the_photo(desk) -> None:
    page = desk()
    page.drag((20, 40), (-30, -30))
    assert page.sent_edges()[-1] == (0, 0, 20, 40)


def test_a_box_is_moved_by_dragging_it(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.drag((320, 30), (330, 60))
    assert edges(page) == [310, 40, 350, 80]
    assert page.sent_edges()[-1] == (310, 40, 350, 80)


def test_a_box_that_is_moved_keeps_its_size_at_the_edge_of_the_photo(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.drag((320, 30), (449, 1))
    assert edges(page) == [410, 0, 450, 40]


def test_a_predicted_box_that_is_moved_keeps_its_fractions(desk, ask, sample) -> None:
    box = ask(sample(4))["detections"][0]["box"]
    page = desk(sample(4))
    middle = (box["x1"] + box["x2"]) / 2, (box["y1"] + box["y2"]) / 2
    page.locator("#list .row").first.click()
    page.drag(middle, (middle[0] + 7, middle[1] + 3))
    sent = page.sent_edges()[0]
    assert sent == pytest.approx(
        (box["x1"] + 7, box["y1"] + 3, box["x2"] + 7, box["y2"] + 3), abs=1e-9
    )


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ((340, 50), (365, 71), [300, 10, 365, 71]),
        ((300, 10), (280, 5), [280, 5, 340, 50]),
        ((340, 30), (390, 35), [300, 10, 390, 50]),
        ((320, 50), (325, 90), [300, 10, 340, 90]),
        ((340, 50), (290, 0), [290, 0, 300, 10]),
    ],
    ids=["corner", "opposite corner", "edge", "lower edge", "turned inside out"],
)
def test_a_box_is_resized_by_its_corners_and_edges(desk, start, end, wanted) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.drag(start, end)
    assert edges(page) == wanted


def test_a_box_of_one_pixel_on_a_photo_of_twelve_megapixels(desk, make_picture) -> None:
    page = desk(make_picture("large.jpg", size=TWELVE_MEGAPIXELS, quality=40), confidence=0.9)
    page.zoom_to(3211.5, 1077.5)
    page.drag((3211.05, 1077.05), (3211.95, 1077.95))
    assert page.sent_edges()[-1] == (3211, 1077, 3212, 1078)


def test_boxes_can_be_drawn_anywhere_on_a_large_photo_to_the_pixel(desk, make_picture) -> None:
    page = desk(make_picture("large.jpg", size=TWELVE_MEGAPIXELS, quality=40), confidence=0.9)
    page.zoom_to(3990, 2990)
    page.drag((3981, 2984), (4000, 3000))
    page.press("0")
    page.zoom_to(0.2, 0.2)
    page.drag((0.2, 0.2), (13, 9))
    assert page.sent_edges()[-2:] == [(3981, 2984, 4000, 3000), (0, 0, 13, 9)]


def test_a_box_of_one_pixel_can_be_chosen_from_afar(desk, make_picture) -> None:
    page = desk(make_picture("large.jpg", size=TWELVE_MEGAPIXELS, quality=40), confidence=0.9)
    page.zoom_to(2000.5, 1500.5)
    page.drag((2000.05, 1500.05), (2000.95, 1500.95))
    page.press("Escape", "0")
    expect(page.locator("#edges")).to_be_hidden()
    page.click(2003, 1502)
    assert edges(page) == [2000, 1500, 2001, 1501]


def test_a_click_takes_the_smallest_box_and_draws_none(desk) -> None:
    page = desk()
    page.drag((200, 5), (400, 150))
    page.drag((430, 250), (449, 290))
    page.press("Escape")
    page.drag((250, 50), (300, 100))
    before = len(page.rows())
    page.click(275, 75)
    assert edges(page) == [250, 50, 300, 100]
    page.click(390, 10)
    assert edges(page) == [200, 5, 400, 150]
    assert len(page.rows()) == before


def test_a_drag_is_taken_back_with_escape(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    before = page.look()
    for start in [(20, 20), (320, 30), (340, 50)]:
        page.mouse.move(*page.at(*start))
        page.mouse.down()
        page.mouse.move(*page.at(start[0] + 30, start[1] + 30), steps=3)
        page.press("Escape")
        page.mouse.move(*page.at(start[0] + 40, start[1] + 10), steps=3)
        page.mouse.up()
        page.settle()
        assert page.look() == before


def test_there_is_no_limit_to_the_number_of_boxes(desk) -> None:
    page = desk()
    before = len(page.rows())
    for number in range(60):
        x, y = 5 + number % 20 * 22, 5 + number // 20 * 90
        page.press("Escape")
        page.drag((x, y), (x + 12, y + 14))
    assert len(page.rows()) == before + 60
    assert len(page.sent_edges()) == before + 60


def test_a_box_is_deleted_and_comes_back(desk) -> None:
    page = desk()
    before = page.rows()
    page.locator("#list .row").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    assert len(page.rows()) == len(before) - 1
    page.get_by_role("button", name="Undo").click()
    assert page.rows() == before
    expect(page.get_by_role("button", name="These boxes are right")).to_be_visible()


def test_every_step_is_undone_and_redone(desk) -> None:
    page = desk(classes=CLASSES)
    page.drag((300, 10), (340, 50))
    page.drag((320, 30), (330, 60))
    page.drag((350, 80), (360, 90))
    page.locator("#class").fill("stain")
    page.press("Enter")
    steps = [page.look()]
    for _ in range(4):
        page.get_by_role("button", name="Undo").click()
        assert page.look() not in steps
        steps.append(page.look())
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    for step in reversed(steps[:-1]):
        page.get_by_role("button", name="Redo").click()
        assert page.look() == step
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()


def test_a_new_step_ends_what_could_be_redone(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.get_by_role("button", name="Undo").click()
    page.drag((20, 10), (40, 50))
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("d", ["dent", "Delle", "deep dent"]),
        ("DENT", ["dent", "deep dent"]),
        ("öl", ["Ölfleck"]),
        ("t", ["scratch", "dent", "deep dent", "stain"]),
    ],
)
def test_typing_narrows_the_classes(desk, typed, offered) -> None:
    page = desk(classes=CLASSES)
    page.locator("#class").fill(typed)
    assert page.get_by_role("option").all_inner_texts() == offered


def test_letters_that_no_class_has_are_told(desk) -> None:
    page = desk(classes=CLASSES)
    page.locator("#class").fill("zebra")
    expect(page.locator("#class-note")).to_have_text("No class of this model has these letters.")
    page.press("Escape")
    expect(page.locator("#class")).to_have_value("scratch")


def test_the_class_of_a_box_is_changed_and_that_of_those_to_come(desk) -> None:
    page = desk(classes=CLASSES)
    page.locator("#list .row").first.click()
    page.locator("#class").click()
    page.get_by_role("option", name="hole").click()
    assert "hole" in page.rows()[0]
    assert "other class" in page.rows()[0]
    page.press("Escape")
    page.drag((300, 10), (340, 50))
    sent = page.send("Here are the right ones")["boxes"]
    assert [(box["class_id"], box["class_name"]) for box in (sent[0], sent[-1])] == [
        (6, "hole")
    ] * 2


def test_a_thousand_classes_are_no_trouble(desk) -> None:
    page = desk(classes=[f"part {number}" for number in range(1000)])
    page.drag((300, 10), (340, 50))
    page.locator("#class").click()
    expect(page.get_by_role("option")).to_have_count(60)
    expect(page.locator("#class-note")).to_have_text("940 more: type some letters.")
    page.locator("#class").fill("part 987")
    page.press("Enter")
    assert page.send("Here are the right ones")["boxes"][-1]["class_id"] == 987


def test_edges_can_be_typed(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    page.locator("#x2").fill("350.5")
    page.locator("#y1").fill("999")
    page.press("Tab")
    assert page.sent_edges()[-1] == (300, 50, 350.5, 300), "in order, and within the photo"


def test_the_wheel_zooms_to_where_the_pointer_is(desk) -> None:
    page = desk()
    before = page.at(100, 200)
    page.mouse.move(*before)
    page.mouse.wheel(0, -500)
    expect(page.locator("#zoom-fit")).not_to_have_text("Fit")
    assert page.at(100, 200) == pytest.approx(before, abs=1.5)


def test_the_photo_is_moved_by_a_drag_where_that_is_wanted(desk) -> None:
    page = desk()
    before = len(page.rows())
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Move", exact=True).click()
    start = page.at(200, 150)
    page.drag((200, 150), (230, 170))
    moved = page.at(200, 150)
    assert moved != pytest.approx(start, abs=20)
    page.get_by_role("button", name="Draw").click()
    page.drag((200, 150), (190, 140), button="middle")
    assert page.at(200, 150) != pytest.approx(moved, abs=20)
    assert len(page.rows()) == before


def test_what_was_drawn_over_a_zoomed_photo_lies_where_it_was_drawn(desk) -> None:
    page = desk()
    for _ in range(5):
        page.get_by_role("button", name="Zoom in").click()
    page.drag((220, 140), (233, 155))
    assert edges(page) == [220, 140, 233, 155]
    page.press("0")
    expect(page.locator("#zoom-fit")).to_have_text("Fit")
    assert edges(page) == [220, 140, 233, 155]


def test_that_nothing_is_there_is_asked_twice_where_there_are_boxes(desk) -> None:
    page = desk()
    page.get_by_role("button", name="Nothing to see here").click()
    page.get_by_role("button", name="Keep the boxes").click()
    assert page.posts("submissions") == []
    page.get_by_role("button", name="Nothing to see here").click()
    assert page.send("Nothing is there")["answer"] == "empty"
    expect(page.locator("#list .row")).to_have_count(0)


def test_that_nothing_is_there_is_sent_at_once_where_no_box_is(desk) -> None:
    page = desk()
    while page.rows():
        page.locator("#list .row").first.click()
        page.press("Delete")
    sent = page.send("Nothing to see here")
    assert (sent["answer"], sent["boxes"]) == ("empty", [])
