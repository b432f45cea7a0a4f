"""The page that shows what a model is trained on; the API's answers are of its own shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pydantic import BaseModel

from chalicelib.labels.datasets.facts import Facts, SideFacts
from chalicelib.labels.datasets.shown import (
    ClusterPage,
    DatasetAnswer,
    HistoryAnswer,
    ImagePage,
    VersionAnswer,
    VersionList,
)

pytestmark = pytest.mark.browser

NAMES = ["scratch", "dent", "a stain that has a long name of many words"]
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
IMAGE = "a" * 64
TOKEN = "sessionStorage.setItem('sightloop-operator', 'let-me-in')"


def side(images: int) -> SideFacts:
    return SideFacts(
        images=images,
        empty=images // 20,
        images_of={0: images // 2, 1: images // 3, 2: 3},
        boxes_of={0: images, 1: images // 2, 2: 4},
        boxes_by_size={"small": images // 2, "medium": images, "large": 9},
        boxes_by_share=(0, 3, images // 3, images // 2, images, 50, 9, 0),
        images_by_origin={"import": images // 2, "submission": images // 2},
        labels={"import": images},
        withdrawn={"banned": 7, "replaced": 2},
    )


FACTS = Facts(4711, NOW, side(1240), side(310), 31, 84, 5)


def image(number: int, where: str, **other: Any) -> dict[str, Any]:
    return {
        "sha256": f"{number:064x}",
        "side": where,
        "width": 450,
        "height": 300,
        "boxes": 1,
        "origin": "submission",
        "labelled_at": NOW.isoformat(),
        "leaking": False,
        "visibility": "public",
        "released_at": None,
        "released_by": None,
        "links": {"self": "x", "image": f"samples/tag-{number % 4 + 1}.jpg"},
        **other,
    }


def label(number: int, **other: Any) -> dict[str, Any]:
    box = {"x1": 60 * number, "y1": 50, "x2": 60 * number + 90, "y2": 140}
    return {
        "label_id": number,
        "origin": "submission",
        "user": "user:ann",
        "submission_id": number,
        "import_id": None,
        "created_at": NOW.isoformat(),
        "current": False,
        "withdrawn_at": None,
        "withdrawn_why": None,
        "terms": [],
        "boxes": [{"class_id": 1, "class_name": "dent", "box": box}],
        **other,
    }


def version(sha256: str) -> VersionAnswer:
    told = {"model": "tags", "sha256": sha256, "revision": 9, "training": 1240, "validation": 310}
    more = {"leaking": 5, "boxes": 1900, "bytes": 5000, "created_at": NOW}
    return VersionAnswer.model_validate(
        {**told, **more, "links": {"self": "x", "manifest": "static/icon.svg"}}
    )


def answers() -> dict[str, Any]:
    """Return what the API answers, by the end of the path."""
    pages = [image(n, "valid" if n % 5 == 0 else "train") for n in range(8)]
    history = [
        label(3, current=True),
        label(2, withdrawn_why="banned", withdrawn_at=NOW.isoformat(), user="user:<b>eve</b>"),
        label(1, boxes=[], origin="import", user=None),
    ]
    cluster = {"cluster_id": 1, "training": 2, "validation": 1, "images": pages[:3]}
    return {
        r"/dataset$": DatasetAnswer.of("tags", NAMES, FACTS),
        r"/dataset/images\?": ImagePage.model_validate({"images": pages, "next": None}),
        r"/dataset/images/": HistoryAnswer.model_validate(image(1, "train", labels=history)),
        r"/dataset/clusters": ClusterPage.model_validate({"clusters": [cluster], "next": None}),
        r"/datasets$": VersionList(versions=[version("b" * 64)]),
    }


@pytest.fixture
def opened(visit: Any) -> Callable[..., Any]:
    """Open the page of a model whose dataset is told above, as an operator or as anybody."""

    def open_page(*, operator: bool = False, **options: Any) -> Any:
        page = visit("trust", **options)
        page.route("**/v1/models?*", lambda route: route.fulfill(json=models("tags", "scratch")))
        page.route("**/v1/pending-models", lambda route: route.fulfill(json=models("pending")))
        for end, told in answers().items():
            page.route(re.compile(rf"/v1/models/\w+{end}"), fulfilling(told))
        if operator:
            page.evaluate(TOKEN)
        page.goto(f"{visit.site.url}/dataset?model=tags")
        expect(page.locator("#title")).to_have_text("What tags is trained on")
        return page

    return open_page


def fulfilling(told: BaseModel) -> Callable[[Any], None]:
    body = told.model_dump_json()
    return lambda route: route.fulfill(body=body, content_type="application/json")


def models(*names: str) -> dict[str, Any]:
    return {"models": [{"name": name, "class_names": NAMES} for name in names]}


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [f"{fault['id']}: {node['html']}" for fault in found for node in fault["nodes"]]


def test_anybody_sees_what_a_model_is_trained_on(opened: Any) -> None:
    page = opened()

    expect(page.locator(".totals dd").first).to_contain_text("1,550")
    classes = page.locator(".plot", has_text="Boxes by class")
    expect(classes.locator("li").first).to_contain_text(
        "scratch1,550, 1240 for training and 310 for validation"
    )
    expect(page.locator(".plot", has_text="Near-duplicates")).to_contain_text("31 groups")
    expect(page.locator(".warning")).to_contain_text("5 validation images")
    expect(page.get_by_text("Taken back: 14 by a ban and 4 for a newer one.")).to_be_visible()
    expect(page.locator("#for-operators")).to_be_visible()
    expect(page.locator("#shown-to-operators")).to_be_hidden()
    assert not [request for request in page.asked if "/images" in request.url]


def test_bars_are_as_long_as_their_counts(opened: Any) -> None:
    page = opened()
    rows = page.locator(".plot", has_text="Boxes by class").locator("li")
    longest, half = (
        sum(bar.bounding_box()["width"] for bar in rows.nth(n).locator("i").all()) for n in (0, 1)
    )

    assert abs(half / longest - 0.5) < 0.02


def test_another_model_is_picked_and_named_in_the_address(opened: Any) -> None:
    page = opened()
    page.locator("#model").select_option("pending")

    expect(page.locator("#title")).to_have_text("What pending is trained on")
    assert page.url.endswith("dataset?model=pending")


def test_an_operator_looks_at_images_and_their_history(opened: Any) -> None:
    page = opened(operator=True)
    expect(page.locator(".shot")).to_have_count(8)
    page.locator(".shot").first.click()

    expect(page.locator("#history-title")).to_contain_text("training")
    expect(page.locator(".past button")).to_have_count(3)
    expect(page.locator(".plate rect")).to_have_attribute("x", "180")
    banned = page.get_by_role("button", name="user:<b>eve</b>")
    expect(banned).to_contain_text("taken back: its author was banned")
    banned.click()
    expect(page.locator(".plate rect")).to_have_attribute("x", "120")
    page.get_by_role("button", name="import").click()
    expect(page.locator(".plate rect")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#history")).to_be_hidden()


def test_an_operator_asks_for_a_side_and_a_class(opened: Any) -> None:
    page = opened(operator=True)
    with page.expect_request(re.compile("side=valid")):
        page.locator("#side").select_option("valid")
    with page.expect_request(re.compile("side=valid&class=1")) as asked:
        page.locator("#class").select_option("dent")
    assert asked.value.headers["authorization"] == "Bearer let-me-in"


def test_an_operator_sees_what_looks_alike(opened: Any) -> None:
    page = opened(operator=True)
    with page.expect_request(re.compile("clusters.*leaking=true")):
        page.locator("#what").select_option("leaking")

    expect(page.locator(".together")).to_contain_text("3 images: 2 for training, 1 for validation")
    expect(page.locator(".together .shot")).to_have_count(3)
    expect(page.locator("#side")).to_be_hidden()


def test_an_operator_writes_down_a_version(opened: Any) -> None:
    page = opened(operator=True)
    expect(page.locator("#named code")).to_have_text("b" * 64)
    page.route(
        re.compile("/datasets$"),
        lambda route: (
            route.fulfill(
                status=201,
                body=version("c" * 64).model_dump_json(),
                content_type="application/json",
            )
            if route.request.method == "POST"
            else route.fallback()
        ),
    )
    page.get_by_role("button", name="Write down a version").click()

    expect(page.locator("#cut-told")).to_have_text(f"It is called {'c' * 64}.")


def test_a_large_version_is_waited_for(opened: Any) -> None:
    page = opened(operator=True)
    page.clock.install()
    told = {"cut_id": "6f0c1a52", "state": "queued", "problem": None}
    answers = iter([{**told, "state": "building"}, {**told, "state": "done", "sha256": "c" * 64}])
    page.route(
        re.compile("/datasets$"),
        lambda route: (
            route.fulfill(status=202, json=told)
            if route.request.method == "POST"
            else route.fallback()
        ),
    )
    page.route("**/v1/cuts/6f0c1a52", lambda route: route.fulfill(json=next(answers)))
    page.get_by_role("button", name="Write down a version").click()
    said = page.locator("#cut-told")

    expect(said).to_have_text("Waiting for a worker …")
    page.clock.run_for(2000)
    expect(said).to_have_text("Writing …")
    page.clock.run_for(2000)
    expect(said).to_have_text(f"It is called {'c' * 64}.")


def test_a_token_that_is_not_good_is_told(opened: Any, visit: Any) -> None:
    page = opened(operator=True)
    refused = {"title": "Unauthorized", "detail": "the token is not good", "status": 401}
    page.route("**/dataset/images?*", lambda route: route.fulfill(status=401, json=refused))
    page.locator("#side").select_option("train")

    expect(page.locator("#problem")).to_have_text("Unauthorized. the token is not good")
    page.forgive("401")


def test_the_page_works_on_the_real_service(visit: Any) -> None:
    page = visit("dataset")

    expect(page.locator("#title")).to_have_text("What scratch is trained on")
    expect(page.locator(".plot")).to_have_count(6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_everybody_can_read_it(opened: Any, scheme: str, width: int) -> None:
    page = opened(operator=True, width=width, color_scheme=scheme)
    expect(page.locator(".shot")).to_have_count(8)
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.locator(".shot").first.click()
    expect(page.locator("#history")).to_be_visible()
    assert faults(page) == []
