"""The page of models: what there is, asking for a new one, a ZIP on its way, an export."""

from __future__ import annotations

import io
import os
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from chalicelib.catalog import Catalog, Publisher
from chalicelib.database import Database
from chalicelib.settings import Settings
from chalicelib.storage import ObjectStore

pytestmark = pytest.mark.browser

Visit = Any
LABEL = "0 0.5 0.5 0.25 0.5\n"


def photo(seed: int) -> bytes:
    grain = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).resize((160, 120)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def name() -> str:
    return f"tags-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Write a ZIP of so many labelled photos; some lack their label."""

    def write(count: int, without: int = 0) -> Path:
        path = tmp_path / f"{count}-{without}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(count):
                archive.writestr(f"images/{number:03}.jpg", photo(number))
                if number >= without:
                    archive.writestr(f"labels/{number:03}.txt", LABEL)
        return path

    return write


def fill(
    page: Visit, name: str, classes: str = "dent\nscratch\n", pack: Path | None = None
) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Classes, one a line").fill(classes)
    if pack:
        page.get_by_label("Images with labels").set_input_files(pack)
    page.get_by_role("button", name="Ask for this model").click()


def card(page: Visit, name: str) -> Any:
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))


def look(page: Visit, name: str) -> None:
    """Leave a picture for whoever asked for one."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/models-{name}.png", full_page=True)


def faults(page: Visit) -> list[tuple[str, str]]:
    found = Axe().run(page.page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]


def test_models_are_shown_with_their_classes_and_how_good_they_are(visit: Any) -> None:
    page = visit("models")

    scratch = card(page, "scratch")
    expect(scratch.locator(".classes")).to_contain_text("AP 9")
    expect(scratch).to_contain_text("Version 1, trained on")
    assert "label?model=scratch" in str(scratch.get_by_text("Contribute").get_attribute("href"))
    expect(scratch.get_by_role("button", name="Export")).to_have_count(0)


def test_a_model_that_is_asked_for_waits_for_images(visit: Any, name: str) -> None:
    page = visit("models")

    fill(page, name)

    expect(page.locator("#asked")).to_have_text(f"{name} now waits for images.")
    waiting = card(page, name)
    expect(waiting).to_contain_text("Images for training0 of 80")
    expect(waiting.locator(".classes li")).to_have_text(["dent", "scratch"])
    expect(page.get_by_label("Name")).to_have_value("")


def test_a_zip_goes_with_it_and_its_images_are_counted(
    visit: Any, name: str, pack: Callable[..., Path]
) -> None:
    page = visit("models")

    fill(page, name, pack=pack(30))

    expect(page.locator("#asked")).to_contain_text("Done:")
    counts = card(page, name).locator(".toward span").all_inner_texts()
    assert sum(int(text.split(" of ")[0]) for text in counts) == 30


def test_what_is_wrong_with_a_zip_is_listed_by_name_and_nothing_is_taken(
    visit: Any, name: str, pack: Callable[..., Path]
) -> None:
    page = visit("models")

    fill(page, name, pack=pack(6, without=2))

    expect(page.locator("#asked")).to_contain_text("Nothing was taken: 2 faults")
    expect(page.locator(".faults li").first).to_contain_text("images/000.jpg")
    expect(page.locator(".faults li")).to_have_count(2)
    expect(card(page, name)).to_contain_text("Images for training0 of 80")

    page.get_by_label("Images with labels").set_input_files(pack(7))
    page.get_by_role("button", name="Ask for this model").click()
    expect(page.locator("#asked")).to_contain_text("Done:")


def test_a_name_that_is_taken_is_told(visit: Any) -> None:
    page = visit("models")

    fill(page, "scratch")

    expect(page.get_by_role("alert")).to_contain_text("the name 'scratch' is taken")
    expect(page.get_by_label("Name")).to_have_value("scratch")
    page.forgive("409")


def test_operators_save_a_dataset(
    visit: Any, site: Any, name: str, pack: Callable[..., Path]
) -> None:
    page = visit(f"models#token={site.operator}")
    fill(page, name, pack=pack(5))
    expect(page.locator("#asked")).to_contain_text("Done:")

    card(page, name).get_by_label("Format").select_option("coco")
    card(page, name).get_by_role("button", name="Export").click()

    saved = card(page, name).get_by_role("link", name="Save the ZIP")
    expect(saved).to_be_visible()
    answer = page.request.get(str(saved.get_attribute("href")))
    with zipfile.ZipFile(io.BytesIO(answer.body())) as archive:
        assert sum(each.startswith("images/") for each in archive.namelist()) == 5


@pytest.fixture
def live(site: Any, make_model: Callable[..., bytes]) -> Iterator[str]:
    """Publish a model of its own for one test: it has learnt from none of its images."""
    s3 = boto3.client("s3", region_name="eu-central-1", endpoint_url=site.aws)
    store = ObjectStore(s3, Settings().store_bucket)
    name = f"zz-{uuid.uuid4().hex[:8]}"
    publisher = Publisher(store, Catalog(store, 0), Database(site.database))
    publisher.publish(name, make_model(((8, 8, 24, 20, 0.9, 0),), names=("dent",)), b"{}")
    yield name
    store.delete(f"models/{name}/model.yaml")


def test_a_live_model_shows_how_far_it_is_from_its_next_training(visit: Any, live: str) -> None:
    page = visit("models")

    expect(card(page, live)).to_contain_text("New images for training0 of 16")
    expect(card(page, live)).to_contain_text("New images for validation0 of 4")
    expect(card(page, live).get_by_role("button", name="Import")).to_have_count(0)
    training = card(page, live).get_by_role("link", name=f"Training of {live}")
    expect(training).to_have_attribute("href", f"training?model={live}")


def test_operators_import_a_zip_into_a_live_model_and_see_how_far_it_is(
    visit: Any, site: Any, live: str, pack: Callable[..., Path]
) -> None:
    page = visit(f"models#token={site.operator}")
    of_live = card(page, live)
    start = of_live.get_by_role("button", name=f"Import into {live}")

    start.click()
    expect(of_live.locator(".told").first).to_have_text("Choose a ZIP first.")

    of_live.get_by_label(f"ZIP for {live}").set_input_files(pack(6, without=1))
    start.click()
    expect(of_live.locator(".faults li")).to_have_count(1)
    expect(of_live).to_contain_text("New images for training0 of 16")

    of_live.get_by_label(f"ZIP for {live}").set_input_files(pack(30))
    start.click()
    expect(of_live).to_contain_text("Done:")
    expect(start).to_be_enabled()
    expect(of_live).to_contain_text("Its dataset now:")
    counts = of_live.locator(".toward span").all_inner_texts()
    assert sum(int(text.split(" of ")[0]) for text in counts) == 30
    look(page, "imported")


def test_operators_import_a_zip_into_a_model_that_waits(
    visit: Any, site: Any, name: str, pack: Callable[..., Path]
) -> None:
    page = visit(f"models#token={site.operator}")
    fill(page, name)

    card(page, name).get_by_label(f"ZIP for {name}").set_input_files(pack(5))
    start = card(page, name).get_by_role("button", name=f"Import into {name}")
    start.click()

    expect(card(page, name)).to_contain_text("Done:")
    expect(start).to_be_enabled()
    counts = card(page, name).locator(".toward span").all_inner_texts()
    assert sum(int(text.split(" of ")[0]) for text in counts) == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_axe_finds_no_fault_and_nothing_scrolls_sideways(
    visit: Any, site: Any, name: str, pack: Callable[..., Path], scheme: str, width: int
) -> None:
    page = visit(f"models#token={site.operator}", width=width, color_scheme=scheme)
    fill(
        page, name, "a class with a name of very many words that goes on\ndent", pack(4, without=3)
    )
    expect(page.locator(".faults li")).to_have_count(3)
    card(page, "scratch").wait_for()

    look(page, f"{width}-{scheme}")
    assert faults(page) == []
    aside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(aside) == 0


@pytest.fixture
def many(visit: Any) -> Callable[..., Visit]:
    """Open the page where 60 models serve and 130 wait."""

    def open_page(**options: Any) -> Visit:
        page = visit("trust", **options)
        live = [f"part-{number:03}" for number in range(60)]
        waiting = [f"wish-{number:03}" for number in range(130)]
        page.route("**/v1/models?*", lambda route: route.fulfill(json=page_of(live, route)))
        page.route("**/v1/models/part-*", lambda route: route.fulfill(json=shown(route)))
        page.route(
            "**/v1/pending-models",
            lambda route: route.fulfill(json={"models": [waits(each) for each in waiting]}),
        )
        page.goto(f"{visit.site.url}/models")
        expect(page.locator("#live .card").first).to_be_visible()
        return page

    return open_page


def page_of(names: list[str], route: Any) -> dict[str, Any]:
    """Return a page of models as the API does."""
    asked = dict(parse_qsl(urlsplit(route.request.url).query))
    after, letters = asked.get("after", ""), asked.get("containing", "")
    behind = [each for each in names if each > after and letters in each]
    page = behind[: int(asked["limit"])]
    more = page[-1] if len(page) < len(behind) else None
    return {"models": [{"name": name, "live_version": 1} for name in page], "next": more}


def shown(route: Any) -> dict[str, Any]:
    name = route.request.url.rpartition("/")[2]
    told = {"name": name, "class_names": ["scratch"], "live_version": 1, "versions": []}
    told["visibility"] = "private"
    return {**told, "training_set_size": 1, "validation_set_size": 1}


def waits(name: str) -> dict[str, Any]:
    least = {"min_training_set_size": 80, "min_validation_set_size": 20, "has_enough": False}
    return {
        "name": name,
        "class_names": ["scratch"],
        "training_set_size": 0,
        "validation_set_size": 0,
        "visibility": "private",
        **least,
    }


def names(page: Visit, which: str) -> list[str]:
    return list(page.locator(f"#{which} h3").all_inner_texts())


def test_many_models_come_in_pages(many: Callable[..., Visit]) -> None:
    page = many()
    expect(page.locator("#live .card")).to_have_count(24)
    expect(page.locator("#pending .card")).to_have_count(100)

    further = page.get_by_role("button", name="Show more that serve")
    further.click()
    expect(page.locator("#live .card")).to_have_count(48)
    further.click()
    expect(page.locator("#live .card")).to_have_count(60)
    expect(further).to_be_hidden()
    expect(card(page, "part-048").get_by_text("Contribute")).to_be_focused()
    page.get_by_role("button", name="Show more that wait").click()
    expect(page.locator("#pending .card")).to_have_count(130)
    assert names(page, "live") == [f"part-{number:03}" for number in range(60)]
    assert names(page, "pending") == [f"wish-{number:03}" for number in range(130)]
    asked = [each for each in page.asked if "/v1/models/" in each.url]
    assert len(asked) == 60, "each is asked for once, when its card is shown"


def test_a_model_is_found_by_letters_of_its_name(many: Callable[..., Visit]) -> None:
    page = many()
    letters = page.get_by_label("Find a model")

    letters.fill("T-05")
    expect(page.locator("#live .card")).to_have_count(10)
    expect(page.locator("#no-pending")).to_have_text("None with “t-05” in its name.")
    letters.fill("wish-129")
    expect(page.locator("#pending .card")).to_have_count(1)
    expect(page.locator("#no-live")).to_have_text("None with “wish-129” in its name.")
    look(page, "looked-for")
    assert faults(page) == []
    letters.fill("")
    expect(page.locator("#live .card")).to_have_count(24)
    expect(page.locator("#no-live")).to_be_hidden()


def test_a_model_that_is_asked_for_is_shown_whatever_is_looked_for(
    many: Callable[..., Visit],
) -> None:
    page = many()
    page.get_by_label("Find a model").fill("part-05")
    expect(page.locator("#live .card")).to_have_count(10)
    page.route(
        "**/v1/pending-models",
        lambda route: route.fulfill(json={"models": [waits("aardvarks")]}),
    )

    fill(page, "aardvarks")

    expect(page.locator("#asked")).to_have_text("aardvarks now waits for images.")
    expect(card(page, "aardvarks")).to_be_visible()
    expect(page.get_by_label("Find a model")).to_have_value("")
    expect(page.locator("#live .card")).to_have_count(24)


def test_few_models_need_no_looking_for(visit: Any) -> None:
    page = visit("models")
    expect(card(page, "scratch")).to_be_visible()
    expect(page.get_by_label("Find a model")).to_be_hidden()
    expect(page.get_by_role("button", name="Show more that serve")).to_be_hidden()
