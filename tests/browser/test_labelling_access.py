"""The labelling tool for everybody: by keyboard alone, by finger, on a phone, in the dark."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PHONE = {"width": 375, "height": 740, "has_touch": True, "device_scale_factor": 2}
TWELVE_MEGAPIXELS = (4000, 3000)


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


def edges(page: Any) -> list[float]:
    return [float(page.locator(f"#{edge}").input_value()) for edge in ("x1", "y1", "x2", "y2")]


def tab_to(page: Any, wanted: str) -> None:
    for _ in range(40):
        page.press("Tab")
        if page.evaluate(f"document.activeElement.matches('{wanted}')"):
            return
    pytest.fail(f"Tab does not lead to {wanted}")


class Hand:
    """Fingers on the screen, as the browser itself sees them."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.devtools = page.context.new_cdp_session(page.page)

    def touch(self, kind: str, *fingers: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        self.devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag one finger from one point of the photo to another."""
        (x, y), (to_x, to_y) = self.page.at(*start), self.page.at(*end)
        self.touch("touchStart", (x, y))
        for step in range(1, 6):
            self.touch("touchMove", (x + (to_x - x) * step / 5, y + (to_y - y) * step / 5))
        self.touch("touchEnd")
        self.page.settle()

    def tap(self, x: float, y: float) -> None:
        """Touch a point of the photo, and let go."""
        self.touch("touchStart", self.page.at(x, y))
        self.touch("touchEnd")
        self.page.settle()

    def pinch(self, x: float, y: float, apart: float, to: float) -> None:
        """Spread two fingers around a point of the photo, or draw them together."""
        x, y = self.page.at(x, y)
        self.touch("touchStart", (x - apart / 2, y))
        self.touch("touchStart", (x - apart / 2, y), (x + apart / 2, y))
        for step in range(1, 9):
            half = (apart + (to - apart) * step / 8) / 2
            self.touch("touchMove", (x - half, y), (x + half, y))
        self.touch("touchEnd")
        self.page.settle()

    def swipe(self, start: tuple[float, float], by: tuple[float, float]) -> None:
        """Move two fingers side by side."""
        x, y = self.page.at(*start)
        self.touch("touchStart", (x, y), (x + 60, y))
        for step in range(1, 6):
            dx, dy = by[0] * step / 5, by[1] * step / 5
            self.touch("touchMove", (x + dx, y + dy), (x + 60 + dx, y + dy))
        self.touch("touchEnd")
        self.page.settle()


def test_everything_can_be_done_with_the_keyboard(desk) -> None:
    page = desk(classes=["scratch", "dent", "stain"])
    before = page.look()
    tab_to(page, ".a9s-annotationlayer")
    page.press("n")
    expect(page.locator("#list .row").first).to_have_attribute("aria-pressed", "true")
    page.press("n", "p", "Delete")
    assert len(page.rows()) == len(before) - 1

    page.press("a")
    made = edges(page)
    page.press("ArrowRight", "ArrowDown", "Shift+ArrowLeft", "Shift+ArrowUp")
    assert edges(page) == [made[0] - 9, made[1] - 9, made[2] - 9, made[3] - 9]
    page.press("Alt+ArrowRight", "Alt+Shift+ArrowDown", "Alt+ArrowLeft", "Alt+ArrowLeft")
    assert edges(page) == [made[0] - 9, made[1] - 9, made[2] - 10, made[3] + 1]
    page.press("2")
    assert "dent" in page.rows()[-1]
    page.press("c")
    page.keyboard.type("sta")
    page.press("Enter")
    assert "stain" in page.rows()[-1]

    page.press("Control+z", "Control+z", "Control+z", "Control+z")
    assert edges(page) == made
    page.press("Control+y", "Control+Shift+z", "Control+y", "Control+y", "z")
    expect(page.locator("#zoom-fit")).not_to_have_text("Fit")
    page.press("-", "0")
    expect(page.locator("#zoom-fit")).to_have_text("Fit")
    page.press("m")
    expect(page.locator("#move")).to_have_attribute("aria-pressed", "true")
    page.press("b", "Escape")
    expect(page.locator("#edges")).to_be_hidden()

    with page.expect_request("**/submissions") as sent:
        page.press("Control+Enter")
    assert sent.value.post_data_json["boxes"][-1]["class_name"] == "stain"
    expect(page.locator("#outcome-title")).to_be_focused()
    page.press("Tab")
    expect(page.get_by_role("button", name="Next photo")).to_be_focused()


def test_nudges_in_a_row_are_one_step_of_undo(desk) -> None:
    page = desk()
    page.press("a")
    made = edges(page)
    page.press(*["ArrowRight"] * 7)
    page.press("Control+z")
    assert edges(page) == made


def test_a_box_of_one_pixel_can_be_made_with_the_keyboard(desk, make_picture) -> None:
    page = desk(make_picture("large.jpg", size=TWELVE_MEGAPIXELS, quality=40), confidence=0.9)
    page.press("a", "z")
    made = edges(page)
    page.press("c", "Escape", "Tab")
    page.locator("#x2").focus()
    page.keyboard.type(str(made[0] + 1))
    page.press("Enter")
    page.locator("#y2").fill(str(made[1] + 1))
    page.press("Enter")
    assert page.sent_edges()[-1] == (made[0], made[1], made[0] + 1, made[1] + 1)


def test_letters_in_a_field_are_no_commands(desk) -> None:
    page = desk(classes=["apple", "banana"])
    before = len(page.rows())
    page.locator("#class").click()
    page.keyboard.type("ba")
    assert page.get_by_role("option").all_inner_texts() == ["banana"]
    assert len(page.rows()) == before


def test_a_box_is_deleted_in_the_list_and_the_focus_stays_there(desk) -> None:
    page = desk()
    count = len(page.rows())
    page.locator("#list .row").first.focus()
    page.press("ArrowDown", "Delete")
    assert len(page.rows()) == count - 1
    assert page.evaluate("document.activeElement.matches('#list .row')")


def test_what_is_done_is_announced(desk) -> None:
    page = desk(classes=["scratch", "dent"])
    page.drag((300, 10), (340, 50))
    live = page.locator("#live")
    expect(live).to_contain_text("scratch, 300, 10 to 340, 50")
    page.press("Control+z")
    expect(live).to_contain_text("Undone: 3 scratches")


def test_boxes_are_drawn_moved_and_resized_by_finger(desk) -> None:
    page = desk(**PHONE)
    hand = Hand(page)
    hand.drag((290, 20), (350, 80))
    left, top, right, bottom = edges(page)
    assert (left, top, right, bottom) == pytest.approx((290, 20, 350, 80), abs=2)
    hand.drag((320, 50), (340, 60))
    assert edges(page) == pytest.approx((310, 30, 370, 90), abs=2)
    hand.drag((edges(page)[2], edges(page)[3]), (400, 120))
    assert edges(page) == pytest.approx((310, 30, 400, 120), abs=3)
    assert page.sent_edges()[-1] == pytest.approx((310, 30, 400, 120), abs=3)


def test_two_fingers_zoom_and_draw_nothing(desk) -> None:
    page = desk(**PHONE)
    before = page.look()
    hand = Hand(page)
    hand.pinch(200, 150, 60, 240)
    expect(page.locator("#zoom-fit")).not_to_have_text("Fit")
    assert page.look() == before
    place = page.at(200, 150)
    hand.swipe((200, 150), (40, 20))
    assert page.at(200, 150) == pytest.approx((place[0] + 40, place[1] + 20), abs=8)
    hand.pinch(200, 150, 240, 20)
    expect(page.locator("#zoom-fit")).to_have_text("Fit")
    assert page.look() == before


def test_one_finger_moves_the_photo_where_that_is_wanted(desk) -> None:
    page = desk(**PHONE)
    hand = Hand(page)
    hand.pinch(200, 150, 60, 240)
    page.get_by_role("button", name="Move", exact=True).click()
    before, place = page.look(), page.at(200, 150)
    hand.drag((200, 150), (230, 170))
    assert page.at(200, 150) != pytest.approx(place, abs=20)
    assert page.look() == before


def test_a_second_finger_takes_back_what_the_first_began(desk) -> None:
    page = desk(**PHONE)
    before = page.look()
    hand = Hand(page)
    x, y = page.at(100, 100)
    hand.touch("touchStart", (x, y))
    hand.touch("touchMove", (x + 50, y + 50))
    hand.touch("touchStart", (x + 50, y + 50), (x + 120, y))
    hand.touch("touchMove", (x + 60, y + 50), (x + 150, y))
    hand.touch("touchEnd")
    page.settle()
    assert page.look() == before


def test_a_box_of_one_pixel_on_twelve_megapixels_on_a_phone(desk, make_picture) -> None:
    picture = make_picture("large.jpg", size=TWELVE_MEGAPIXELS, quality=40)
    page = desk(picture, confidence=0.9, **PHONE)
    hand = Hand(page)
    for _ in range(5):
        hand.pinch(1234.5, 2100.5, 30, 150)
    hand.drag((1234.1, 2100.1), (1234.9, 2100.9))
    assert page.sent_edges()[-1] == (1234, 2100, 1235, 2101)


def test_a_tap_chooses_a_box(desk) -> None:
    page = desk(**PHONE)
    hand = Hand(page)
    hand.drag((290, 20), (350, 80))
    hand.tap(440, 290)
    expect(page.locator("#edges")).to_be_hidden()
    hand.tap(320, 50)
    assert edges(page) == pytest.approx((290, 20, 350, 80), abs=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(375, 740), (1440, 900)], ids=["phone", "desktop"])
def test_axe_finds_no_fault(desk, visit, scheme, size) -> None:
    options = {"color_scheme": scheme, "width": size[0], "height": size[1]}
    start = visit("label", **options)
    expect(start.locator("#next")).to_be_enabled()
    assert faults(start) == []

    page = desk(classes=["scratch", "dent"], **options)
    assert faults(page) == []
    page.drag((300, 10), (340, 50))
    page.locator("#class").click()
    assert faults(page) == []
    page.press("Escape")
    page.get_by_role("button", name="Nothing to see here").click()
    assert faults(page) == []
    page.get_by_role("button", name="Keep the boxes").click()
    page.send("Here are the right ones")
    expect(page.locator("#outcome")).to_be_visible()
    assert faults(page) == []


@pytest.mark.parametrize("width", [320, 375, 768, 1024, 1440])
def test_nothing_is_wider_than_the_window(desk, width) -> None:
    page = desk(width=width, height=700, classes=["a rather long name of a class", "b"])
    page.drag((300, 10), (340, 50))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_focus_can_be_seen(desk) -> None:
    page = desk()
    page.drag((300, 10), (340, 50))
    seen = set()
    for _ in range(30):
        page.press("Tab")
        told = page.evaluate(
            "((e, style) => [e.id || e.classList[0] || e.tagName, style.outlineStyle,"
            " parseFloat(style.outlineWidth)])"
            "(document.activeElement, getComputedStyle(document.activeElement))"
        )
        if told[0] != "BODY":
            assert told[1] != "none" and told[2] >= 2, told
            seen.add(told[0])
    assert {"draw", "undo", "a9s-annotationlayer", "class", "x1", "delete", "row"} <= seen
    assert "correct" in seen


def test_a_target_for_fingers_is_large_enough(desk) -> None:
    page = desk(**PHONE)
    for name in ("Draw", "Undo", "Zoom in", "These boxes are right", "Nothing to see here"):
        box = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert min(box["width"], box["height"]) >= 40, name
