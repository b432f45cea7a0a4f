"""For everybody: by keyboard, by ear, on a phone, in the dark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

DROP = """([name, bytes, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  const event = (kind) => new DragEvent(kind, {
    dataTransfer: carried, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event('dragover'));
  const lifted = !document.getElementById('veil').hidden;
  document.body.dispatchEvent(event('drop'));
  return lifted;
}"""
PASTE = """([name, bytes, type]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(bytes)], name, { type }));
  document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: carried, bubbles: true }));
}"""


def carried(photo: Path) -> list[Any]:
    return [photo.name, list(photo.read_bytes()), "image/jpeg"]


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


def focused(page: Any) -> str:
    """Return the id of what has the focus, or its first class; tabs are numbered."""
    return str(
        page.evaluate(
            "((e) => e.id.replace(/-[0-9]+$/, '') || e.classList[0] || e.tagName)"
            "(document.activeElement)"
        )
    )


def tab_to(page: Any, wanted: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    pytest.fail(f"Tab does not lead to {wanted}")


def test_photos_can_be_dropped_anywhere(visit, sample) -> None:
    page = visit()
    expect(page.locator("#model")).to_be_enabled()
    assert page.evaluate(DROP, carried(sample(1))), "the page shows that it would take the photo"
    expect(page.locator("#veil")).to_be_hidden()
    expect(page.boxes().first).to_be_visible()


def test_photos_can_be_pasted(visit, sample) -> None:
    page = visit()
    page.evaluate(PASTE, carried(sample(1)))
    expect(page.boxes().first).to_be_visible()


def test_everything_can_be_done_with_the_keyboard(visit, sample) -> None:
    page = visit()
    expect(page.locator("#model")).to_be_enabled()
    tab_to(page, "choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([sample(3), sample(1)])
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)

    tab_to(page, "box")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("1: scr")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".row").nth(1)).to_have_class("row meant")
    page.keyboard.press("Enter")
    expect(page.locator(".row").nth(1)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.locator(".row").nth(1)).to_have_attribute("aria-pressed", "false")

    tab_to(page, "tab")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#caption")).to_contain_text("tag-1.jpg")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#caption")).to_contain_text("tag-3.jpg")

    shown = page.boxes().count()
    tab_to(page, "confidence")
    page.keyboard.press("Home")
    expect(page.locator("#level")).to_have_text("5\u202f%")
    assert page.boxes().count() > shown
    page.keyboard.press("ArrowRight")
    expect(page.locator("#level")).to_have_text("6\u202f%")

    tab_to(page, "row")
    page.keyboard.press("End")
    expect(page.locator(".box:visible .label").last).to_be_visible()
    with page.expect_download():
        tab_to(page, "save-picture")
        page.keyboard.press("Enter")


def test_a_group_of_boxes_is_one_stop_of_the_tab_key(visit) -> None:
    page = visit()
    page.take_sample(2)
    for group in ("#boxes button", "#list button", "#tabs button"):
        stops = page.locator(group).evaluate_all(
            "all => all.filter(b => b.tabIndex === 0 && b.offsetParent).length"
        )
        assert stops == 1, group


def test_focus_can_be_seen(visit) -> None:
    page = visit()
    page.take_sample(1)
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "((e, style) => [e.tagName, style.outlineStyle, parseFloat(style.outlineWidth)])"
            "(document.activeElement, getComputedStyle(document.activeElement))"
        )
        if outline[0] != "BODY":
            assert outline[1] != "none", outline
            assert outline[2] >= 2, outline
            seen.add(focused(page))
    assert {"model", "zoom-in", "box", "tab", "confidence", "row", "save-json"} <= seen


def test_what_was_found_is_announced(visit, ask, sample) -> None:
    page = visit()
    page.take_sample(1)
    count = len(ask(sample(1))["detections"])
    live = page.get_by_role("status").filter(has_text="scratch")
    expect(live).to_have_text(f"{count} scratches found on tag-1.jpg")
    page.set_confidence(95)
    expect(page.locator("#live")).to_have_text("Nothing above 95\u202f%")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_axe_finds_no_fault(visit, make_picture, sample, scheme, width) -> None:
    page = visit(width=width, color_scheme=scheme)
    expect(page.locator("#facts")).to_contain_text("Measured")
    assert faults(page) == []

    page.take_sample(2)
    page.locator(".row").first.click()
    assert faults(page) == []

    page.get_by_role("button", name="Zoom in").click()
    page.add(make_picture("broken.jpg", keep=0.3), sample(1))
    page.locator("#problem").wait_for()
    assert faults(page) == []
    page.forgive("422")


@pytest.mark.parametrize("width", [320, 375, 768, 960, 1600])
def test_no_width_scrolls_sideways(visit, sample, make_picture, width) -> None:
    page = visit(width=width, height=812)
    aside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(aside) == 0
    name = "a-very-long-name-without-any-space-in-it-" * 4 + ".jpg"
    page.add(make_picture(name), sample(1), sample(2), sample(3), sample(4))
    expect(page.locator('.tab[data-state="done"]')).to_have_count(5)
    assert page.evaluate(aside) == 0
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(aside) == 0


def test_on_a_phone_the_photo_fills_the_width_and_a_tap_chooses(visit) -> None:
    page = visit(width=375, height=812, has_touch=True, is_mobile=True)
    expect(page.locator("#invitation")).to_have_text("Add a photo to look for scratches")
    expect(page.get_by_text("drop them anywhere")).to_be_hidden()
    page.take_sample(2)
    assert page.locator("#photo").bounding_box()["width"] == 375
    bounds = page.boxes().first.bounding_box()
    page.touchscreen.tap(bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2)
    expect(page.locator(".row").first).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".box .label").first).to_be_visible()


@pytest.mark.parametrize(("wish", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_turns_for_those_who_want_it_so(visit, sample, wish, moves) -> None:
    page = visit(reduced_motion=wish)
    page.hold("**/detections?*")
    page.add(sample(1))
    expect(page.locator("#progress")).to_be_visible()
    turning = page.evaluate(
        "document.getAnimations().filter(a => a.effect.getTiming().iterations > 1).length"
    )
    assert bool(turning) == moves


def test_the_default_confidence_is_that_of_the_api(visit, site) -> None:
    page = visit()
    described = json.loads(page.request.get(f"{site.url}/openapi.json").text())
    operation = described["paths"]["/v1/models/{model}/detections"]["post"]
    default = next(p for p in operation["parameters"] if p["name"] == "confidence")
    assert page.locator("#confidence").input_value() == str(default["schema"]["default"] * 100)[:2]
