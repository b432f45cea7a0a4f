"""What can be saved: the boxes that are shown as JSON, and the photo with them drawn in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

YELLOW = (255, 214, 10)


def saved(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


def pixels_near(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Return x and y of the pixels of a colour, give or take what JPEG does to it."""
    far = np.abs(np.asarray(image.convert("RGB"), int) - colour).sum(axis=2)
    ys, xs = np.nonzero(far < 90)
    return np.stack([xs, ys])


def test_the_json_is_the_answer_of_the_boxes_shown(visit, ask, sample, tmp_path) -> None:
    page = visit()
    page.take_sample(3)
    page.set_confidence(45)
    path = saved(page, "Save JSON", tmp_path)
    told = json.loads(path.read_text())
    wanted = ask(sample(3), confidence=0.45)
    del told["timing_ms"], wanted["timing_ms"]

    assert path.name == "tag-3-boxes.json"
    assert wanted["detections"]
    assert told == {**wanted, "name": "tag-3.jpg", "confidence": 0.45}


def test_the_json_of_all_photos(visit, sample, tmp_path) -> None:
    page = visit()
    page.add(sample(1), sample(4))
    expect(page.locator('.tab[data-state="done"]')).to_have_count(2)
    told = json.loads(saved(page, "JSON of all", tmp_path).read_text())
    assert [result["name"] for result in told["results"]] == ["tag-1.jpg", "tag-4.jpg"]
    assert all(result["detections"] for result in told["results"])


def test_the_picture_has_all_pixels_and_the_boxes_drawn(visit, ask, make_picture, tmp_path) -> None:
    photo = make_picture("large.jpg", sample=4, size=(2250, 1500))
    page = visit()
    page.add(photo)
    expect(page.boxes().first).to_be_visible()
    path = saved(page, "Save picture", tmp_path)
    picture = opened(path)

    assert path.name == "large-boxes.jpg"
    assert (picture.format, picture.size) == ("JPEG", (2250, 1500))
    assert pixels_near(opened(photo), YELLOW).size == 0
    drawn = pixels_near(picture, YELLOW)
    box = ask(photo)["detections"][0]["box"]
    assert drawn[0].min() == pytest.approx(box["x1"], abs=6)
    assert drawn[0].max() == pytest.approx(box["x2"], abs=6)
    assert drawn[1].max() == pytest.approx(box["y2"], abs=6)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photo_is_shown_and_saved_upright(
    visit, make_picture, tmp_path, orientation
) -> None:
    photo = make_picture("turned.jpg", sample=4, orientation=orientation)
    page = visit()
    page.add(photo)
    expect(page.boxes().first).to_be_visible()
    upright = (450, 300) if orientation == 3 else (300, 450)
    expect(page.locator("#caption")).to_contain_text(f"{upright[0]} × {upright[1]}")
    shown = page.locator("#photo").bounding_box()
    assert shown["width"] / shown["height"] == pytest.approx(upright[0] / upright[1], rel=0.01)

    picture = opened(saved(page, "Save picture", tmp_path))
    assert picture.size == upright
    assert picture.getexif().get(0x0112, 1) == 1
    turns = {3: 180, 6: 270, 8: 90}
    wanted = opened(photo).rotate(turns[orientation], expand=True).convert("L")
    unlike = np.abs(np.asarray(picture.convert("L"), int) - np.asarray(wanted, int))
    assert np.median(unlike) < 4


def test_a_png_stays_one(visit, make_picture, tmp_path) -> None:
    page = visit()
    page.add(make_picture("photo.png"))
    expect(page.boxes().first).to_be_visible()
    path = saved(page, "Save picture", tmp_path)
    assert (path.name, opened(path).format) == ("photo-boxes.png", "PNG")


def test_only_what_is_shown_is_drawn(visit, sample, tmp_path) -> None:
    page = visit()
    page.take_sample(1)
    page.set_confidence(95)
    expect(page.boxes()).to_have_count(0)
    assert pixels_near(opened(saved(page, "Save picture", tmp_path)), YELLOW).size == 0
