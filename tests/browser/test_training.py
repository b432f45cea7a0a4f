"""The page of trainings, with answers told here; test_training_service.py has the real ones."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.browser

RUNNING = "11111111-1111-4111-8111-111111111111"
REJECTED = "22222222-2222-4222-8222-222222222222"
TOKEN = "let-me-in"
EARLIER = "2026-11-20T10:00:00Z"
LOSSES = {"box": 2.0, "cls": 3.1, "dfl": 1.2}


def job(**other: Any) -> dict[str, Any]:
    return {
        "job_id": RUNNING,
        "model": "tags",
        "kind": "fine_tune",
        "state": "training",
        "launcher": "process",
        "base_version": 2,
        "dataset_sha256": "a" * 64,
        "hyperparameters": {"epochs": "20", "batch": "16", "imgsz": "640"},
        "requested_by": "planner",
        "reason": "has at least 16 new training images and 4 new validation images",
        "epoch": 7,
        "epochs": 20,
        "eta_seconds": 412.0,
        "starts": 2,
        "version": None,
        "outcome": None,
        "verdict": None,
        "cancel_requested": False,
        "created_at": "2026-11-21T13:00:00Z",
        "launched_at": "2026-11-21T13:00:04Z",
        "ended_at": None,
        "trouble": None,
        "mAP50": 0.61,
        "mAP50-95": 0.33,
        **other,
    }


def rejected() -> dict[str, Any]:
    return job(
        job_id=REJECTED,
        state="rejected",
        epoch=20,
        version=3,
        ended_at=EARLIER,
        outcome="the class <b>dent</b> fell from 0.41 to 0.29",
        verdict={
            "live_version": 2,
            "images": 32,
            "margin": 0.0,
            "class_tolerance": 0.05,
            "groups": 30,
            "confidence": 0.9,
            "gain": {"low": -0.0042, "high": 0.0401},
            "mAP50-95": {"new": 0.330, "live": 0.312},
            "mAP50": {"new": 0.6, "live": 0.55},
            "classes": [
                {"class_id": 0, "class_name": "scratch", "new": 0.4, "live": 0.2, "boxes": 30},
                {"class_id": 1, "class_name": "dent", "new": 0.29, "live": 0.41, "boxes": 7},
                {"class_id": 2, "class_name": "stain", "new": None, "live": None, "boxes": 0},
            ],
            "not_measured": ["stain"],
            "parity": {"largest_difference": 0.000123, "mAP50": 0.6, "mAP50-95": 0.33},
        },
    )


def losses(epoch: int) -> dict[str, float]:
    return {
        f"{side}/{name}_loss": top * math.exp(-epoch / 9)
        for side in ("train", "val")
        for name, top in LOSSES.items()
    }


def epochs(count: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "times": 2 if epoch == 4 else 1,
            "start": 1,
            "losses": losses(epoch),
            "mAP50": 0.7 * epoch / 20,
            "mAP50-95": 0.4 * epoch / 20,
            "seconds": 31.4,
            "reached_at": EARLIER,
        }
        for epoch in range(1, count + 1)
    ]


def plan(model: str, decision: str, reason: str, **other: int) -> dict[str, Any]:
    counts = {"new_train": 90, "new_valid": 8, "needs_train": 80, "needs_valid": 20, **other}
    return {
        "model": model,
        "decision": decision,
        "reason": reason,
        "considered_at": EARLIER,
        **counts,
    }


def figures(ap50: float) -> list[dict[str, Any]]:
    return [
        {"class_id": 0, "class_name": "scratch", "ap50": ap50, "ap50_95": ap50 / 2},
        {"class_id": 1, "class_name": "dent", "ap50": None, "ap50_95": None},
    ]


def version(number: int, **other: Any) -> dict[str, Any]:
    return {
        "version": number,
        "live": number == 2,
        "job_id": REJECTED if number == 3 else None,
        "dataset_sha256": "a" * 64,
        "created_at": EARLIER,
        "promoted_at": None,
        "training_set_size": 150 + number,
        "validation_set_size": 32,
        "map50": 0.5 + number / 20,
        "map50_95": 0.3 + number / 40,
        "ms_per_image": 61.2,
        "bytes": 12_300_000,
        "classes": figures(0.5 + number / 20),
        "correction_to_serving": None,
        **other,
    }


def box(class_id: int, left: float, confidence: float | None = None) -> dict[str, Any]:
    edges = {"x1": left, "y1": 50, "x2": left + 100, "y2": 130}
    name = ("scratch", "dent")[class_id]
    return {"class_id": class_id, "class_name": name, "confidence": confidence, "box": edges}


def curves(best: float) -> dict[str, list[float]]:
    """Return curves whose F1 is highest at a confidence."""
    confidence = [n / 100 for n in range(101)]
    return {
        "confidence": confidence,
        "precision": [0.5 + each / 2 for each in confidence],
        "recall": [1 - each for each in confidence],
        "f1": [0.8 - abs(each - best) / 2 for each in confidence],
    }


MEASURED = {"labels": 23, "median_seconds": 2520.0, "longest_seconds": 90_000.0}
FELL = {"promote": False, "reason": "the class 'dent' fell"}
HISTORY = {
    "model": "tags",
    "class_names": ["scratch", "dent"],
    "live_version": 2,
    "versions": [version(3, gate=FELL), version(2, correction_to_serving=MEASURED), version(1)],
    "promotions": [
        {"version": 2, "previous": 1, "at": EARLIER, "by": "gate", "why": "better by 0.03"},
        {"version": 1, "previous": None, "at": EARLIER, "by": "operator:ann", "why": None},
    ],
}
NOTHING: dict[str, Any] = {"versions": [], "promotions": []}
NO_MODEL = {"title": "Model not found", "detail": "there is no model 'nobodys'"}
COMPARISON = {
    "model": "tags",
    "class_names": ["scratch", "dent"],
    "a": {**version(1), "precision": 0.8, "recall": 0.7, "f1": 0.75},
    "b": {**version(2), "precision": 0.85, "recall": 0.69, "f1": 0.76},
    "curves": {"a": curves(0.3), "b": curves(0.5), "same_images": True},
    "images_compared": 32,
    "images": [
        {
            "sha256": "b" * 64,
            "width": 450,
            "height": 300,
            "url": "samples/tag-1.jpg",
            "truth": [box(0, 60), box(1, 300)],
            "a": [box(0, 200, 0.9)],
            "b": [box(0, 65, 0.9), box(0, 70, 0.4), box(1, 300, 0.8)],
            "difference": 0.5,
        }
    ],
}


@dataclass
class Service:
    """What the API answers now; `down` has it fail."""

    jobs: list[dict[str, Any]] = field(default_factory=lambda: [job(), rejected()])
    plans: list[dict[str, Any]] = field(
        default_factory=lambda: [
            plan("tags", "running", "job 1111 is training", new_train=18, needs_train=16),
            plan("cars", "wait", "needs 12 more validation images"),
        ]
    )
    launcher: str = "process"
    log: str = "epoch 1\n" * 60
    down: dict[str, Any] | None = None
    refused: dict[str, Any] | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[tuple[str, Any]] = field(default_factory=list)

    def answer(self, route: Route) -> None:
        """Answer as the routes do."""
        request = route.request
        path = request.url.split("/v1/", 1)[1]
        if request.method == "POST":
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            self.sent.append((path, request.post_data_json))
            told = self.refused or self.acted(path)
        else:
            self.asked.append(path)
            told = self.down or self.told(path)
        route.fulfill(status=told.get("status", 200), json=told)

    def acted(self, path: str) -> dict[str, Any]:
        """Do what was asked for."""
        if path.endswith("/cancel"):
            self.jobs[0] = job(cancel_requested=True)
            return self.jobs[0]
        if path.endswith("/training-jobs"):
            self.jobs.insert(0, job(job_id=REJECTED.replace("2", "3"), state="queued", epoch=0))
            return self.jobs[0]
        return {"model": "tags", "live_version": 3 if "promote" in path else 1, "previous": 2}

    def page_of_plans(self, path: str) -> dict[str, Any]:
        """Return the plans that are asked for."""
        asked = dict(parse_qsl(path.partition("?")[2]))
        limit = int(asked.get("limit", 20))
        behind = [
            each
            for each in sorted(self.plans, key=lambda each: str(each["model"]))
            if each["model"] > asked.get("after", "")
            and each["model"] == asked.get("model", each["model"])
        ]
        page = behind[:limit]
        more = page[-1]["model"] if len(page) == limit else None
        return {"plans": page, "next": more, "every_minutes": 30, "launcher": self.launcher}

    def told(self, path: str) -> dict[str, Any]:
        """Return what a GET answers."""
        if found := re.match(r"training-jobs/(.+)", path):
            each = next(each for each in self.jobs if each["job_id"] == found[1])
            return {**each, "history": epochs(each["epoch"]), "log": self.log}
        answers = {
            r"training-jobs\?": {"jobs": self.jobs, "next": None},
            r"training-plans\?": self.page_of_plans(path),
            r"models/tags/versions": HISTORY,
            r"models/tags/comparison": COMPARISON,
            r"models/nobodys/versions": {"status": 404, **NO_MODEL},
            r"models/\w+/versions": {**HISTORY, "live_version": None, **NOTHING},
            r"pending-models": {"models": [{"name": "cars"}]},
            r"models(\?|$)": {"models": [{"name": "tags"}, {"name": "zebras"}]},
        }
        return next(told for pattern, told in answers.items() if re.match(pattern, path))


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def opened(visit: Any, service: Service) -> Callable[..., Any]:
    """Open the page, as an operator or as anybody, with a clock that the test turns."""

    def open_page(address: str = "", *, operator: bool = False, **options: Any) -> Any:
        page = visit("trust", **options)
        page.clock.install()
        page.route("**/v1/**", service.answer)
        if operator:
            page.evaluate(f"sessionStorage.setItem('sightloop-operator', {json.dumps(TOKEN)})")
        page.goto(f"{visit.site.url}/training{address}")
        return page

    return open_page


def turn(page: Any, seconds: float) -> None:
    page.clock.run_for(seconds * 1000)


def settle(page: Any) -> None:
    """Wait until what the page asked for so far was answered: answers come in their order."""
    page.evaluate("async () => { await (await fetch('v1/models')).json(); }")


def hide(page: Any, hidden: bool) -> None:
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        hidden,
    )


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [f"{fault['id']}: {node['html']}" for fault in found for node in fault["nodes"]]


def look(page: Any, name: str) -> None:
    """Keep a picture where `TEST_PICTURES` names a folder."""
    if folder := os.environ.get("TEST_PICTURES"):
        page.screenshot(path=f"{folder}/training-{name}.png", full_page=True)


def test_the_newest_job_is_shown_with_its_curves_and_its_log(opened: Any) -> None:
    page = opened()

    expect(page.locator("#job h2")).to_contain_text("Fine-tune of tags")
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20, about 7 min to go")
    expect(page.locator(".far")).to_contain_text("interrupted once")
    expect(page.locator("#job")).to_contain_text("has at least 16 new training images")
    titles = page.locator(".chart strong").all_inner_texts()
    assert titles == ["Average precision", "Box loss", "Class loss", "Edge loss (DFL)"]
    expect(page.locator(".chart").first).to_contain_text("mAP50-95 0.140")
    expect(page.locator("#job .facts").first).to_contain_text("imgsz640")
    log = page.locator(".log pre")
    expect(log).to_contain_text("epoch 1")
    assert log.evaluate(
        "pre => pre.scrollTop > 0 && pre.scrollTop + pre.clientHeight + 2 >= pre.scrollHeight"
    )


def test_curves_are_drawn_where_the_figures_are(opened: Any) -> None:
    page = opened()
    area = page.locator(".plot-area").first.bounding_box()
    curve = page.locator(".chart").first.locator(".curve.second").bounding_box()

    assert curve["width"] == pytest.approx(area["width"] * 6 / 19, abs=3)
    assert curve["y"] - area["y"] == pytest.approx(area["height"] * (1 - 0.245 / 0.25), abs=3)


def test_pointing_at_an_epoch_tells_its_figures_in_every_chart(opened: Any) -> None:
    page = opened()
    area = page.locator(".plot-area").first.bounding_box()
    page.mouse.move(area["x"] + area["width"] * 3 / 19, area["y"] + 40)

    expect(page.locator(".which").nth(0)).to_have_text("epoch 4")
    expect(page.locator(".which").nth(3)).to_have_text("epoch 4")
    expect(page.locator(".chart").first).to_contain_text("mAP50-95 0.080")
    page.mouse.move(area["x"], area["y"] - 300)
    expect(page.locator(".which").nth(0)).to_have_text("")
    expect(page.locator(".chart").first).to_contain_text("mAP50-95 0.140")


def test_every_epoch_can_be_read_in_figures(opened: Any) -> None:
    page = opened()
    page.get_by_text("Every epoch in figures").click()

    expect(page.locator("details tbody tr")).to_have_count(7)
    expect(page.locator("details tbody tr").nth(3)).to_contain_text("4 2 times")


def test_progress_comes_in_while_one_looks_and_leaves_the_rest_alone(
    opened: Any, service: Service
) -> None:
    page = opened(operator=True)
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    page.get_by_role("button", name="Cancel …").focus()
    page.locator(".log pre").evaluate("pre => { pre.scrollTop = 0; pre.kept = true; }")

    service.jobs[0] = job(epoch=8, eta_seconds=380.0)
    service.log += "epoch 8"
    turn(page, 20)

    expect(page.locator(".far")).to_contain_text("Epoch 8 of 20, about 6 min to go")
    expect(page.locator("#job-list li").first).to_contain_text("epoch 8 of 20")
    expect(page.get_by_role("button", name="Cancel …")).to_be_focused()
    expect(page.locator(".log pre")).to_contain_text("epoch 8")
    assert page.locator(".log pre").evaluate("pre => pre.kept && pre.scrollTop === 0")


def test_the_end_of_a_job_is_told(opened: Any, service: Service) -> None:
    page = opened()
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    service.jobs[0] = job(
        state="promoted", epoch=20, version=3, ended_at=EARLIER, outcome="better by 0.02"
    )
    turn(page, 20)

    expect(page.locator(".outcome")).to_contain_text("Promoted. Version 3. better by 0.02")
    expect(page.locator("#live")).to_have_text("Fine-tune of tags: promoted.")


def test_it_asks_less_and_less_often_while_nothing_changes(opened: Any, service: Service) -> None:
    page = opened()
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    counts = []
    for _ in range(3):
        service.asked.clear()
        for _ in range(60):
            turn(page, 1)
            settle(page)
        counts.append(sum(path.startswith("training-jobs/") for path in service.asked))

    assert counts[0] >= counts[1] >= counts[2] >= 2
    assert counts[0] <= 30
    assert counts[2] <= 5


def test_nothing_is_asked_while_the_page_is_not_seen(opened: Any, service: Service) -> None:
    page = opened()
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    hide(page, hidden=True)
    settle(page)
    service.asked.clear()
    turn(page, 600)
    assert service.asked == []

    service.jobs[0] = job(epoch=9)
    hide(page, hidden=False)
    expect(page.locator(".far")).to_contain_text("Epoch 9 of 20")


def test_a_service_that_fails_is_asked_again_and_what_is_shown_stays(
    opened: Any, service: Service
) -> None:
    page = opened()
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    service.down = {"status": 503, "title": "Not now", "detail": "the database does not answer"}
    turn(page, 20)
    expect(page.locator("#problem")).to_have_text("Not now. The database does not answer.")
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")

    service.down = None
    turn(page, 120)
    expect(page.locator("#problem")).to_be_hidden()
    page.forgive("503", times=3)  # jobs, plans and models


def test_without_a_database_it_says_so_and_lists_the_models(opened: Any, service: Service) -> None:
    whole = service.told
    missing = {"status": 503, "title": "No database", "detail": "this deployment detects only"}
    service.told = lambda path: missing if path.startswith("training") else whole(path)  # type: ignore[method-assign]
    page = opened()

    expect(page.locator("#problem")).to_have_text("No database. This deployment detects only.")
    expect(page.locator("#plan-list .entry-title").first).to_have_text("cars")
    page.forgive("503", times=4)  # whatever is asked of training


def test_where_training_is_not_set_up_the_plans_are_told(opened: Any, service: Service) -> None:
    service.launcher, service.jobs = "", []
    page = opened()

    expect(page.locator("#idle")).to_contain_text("No training is set up here")
    page.get_by_role("tab", name="Jobs").click()
    expect(page.locator("#jobs-none")).to_contain_text("Nothing was trained yet")
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#plan-list")).to_contain_text("needs 12 more validation images")


def test_a_model_tells_what_its_next_training_waits_for(opened: Any) -> None:
    page = opened("?model=cars")

    expect(page.locator("#model")).to_contain_text("needs 12 more validation images")
    expect(page.locator("#model")).to_contain_text("Images for validation8 of 20")
    expect(page.locator("#model")).to_contain_text("it waits for its first training")


def test_what_the_gate_rejected_of_a_model_that_waits_can_be_promoted(
    opened: Any, service: Service
) -> None:
    whole = service.told
    young = {**HISTORY, "live_version": None, "versions": [version(1)], "promotions": []}
    service.told = lambda path: young if "cars/versions" in path else whole(path)  # type: ignore[method-assign]
    page = opened("?model=cars", operator=True)

    expect(page.locator("#model .case-head")).to_contain_text("No version serves yet")
    page.get_by_role("button", name="Promote version 1").click()
    page.get_by_role("dialog").get_by_role("button", name="Promote version 1").click()
    expect(page.locator("#told")).to_contain_text("Version 1 of cars serves now")
    assert service.sent == [("models/cars/versions/1/promote", {"why": ""})]


def test_a_model_that_there_is_not_is_told_and_not_offered(opened: Any) -> None:
    page = opened("?model=nobodys", operator=True)

    expect(page.locator("#problem")).to_have_text("Model not found. There is no model 'nobodys'.")
    expect(page.locator("#model")).to_be_hidden()
    page.forgive("404")


def test_of_many_models_a_hundred_are_listed_and_more_on_demand(
    opened: Any, service: Service
) -> None:
    service.plans = [plan(f"m{n:03}", "wait", f"needs {n} more images") for n in range(230)]
    page = opened("?model=m229")

    listed = page.locator("#plan-list li")
    expect(page.locator("#model")).to_contain_text("needs 229 more images")
    expect(listed).to_have_count(100)
    page.get_by_role("button", name="Show more").click()
    expect(listed).to_have_count(200)
    expect(page.locator("#plan-list")).to_contain_text("needs 197 more images")
    page.get_by_role("button", name="Show more").click()
    expect(listed).to_have_count(233)  # with three that nobody has looked at yet
    expect(page.locator("#plans-more")).to_be_hidden()
    service.plans[229]["reason"] = "needs nothing more"
    turn(page, 120)
    expect(page.locator("#plan-list")).to_contain_text("needs nothing more")


def test_a_model_shows_its_versions_and_how_fast_corrections_serve(opened: Any) -> None:
    page = opened("?model=tags")

    expect(page.locator(".speed")).to_contain_text("42 min")
    expect(page.locator(".speed")).to_contain_text("the slowest 25 h")
    expect(page.locator("#model tbody tr").first).to_contain_text("3rejected0.375")
    expect(page.get_by_title("the class 'dent' fell")).to_be_visible()
    expect(page.locator("#model tbody tr").nth(1)).to_contain_text("2serves0.350")
    expect(page.locator(".decisions li").first).to_contain_text("Version 2 after version 1 by gate")
    page.get_by_role("button", name="a training").click()
    expect(page.locator("#job h2")).to_contain_text("rejected")
    expect(page.locator(".outcome")).to_contain_text("the class <b>dent</b> fell")
    page.get_by_text("What the gate measured").click()
    rows = page.locator(".outcome tbody tr")
    expect(rows.nth(0)).to_have_text("mAP50-950.3120.330+0.018")
    expect(rows.nth(3)).to_have_text("dent0.4100.290−0.1207")
    expect(rows.nth(4)).to_have_text("stainnot measurednot measured–0")
    expect(page.locator(".outcome .facts")).to_contain_text("0.00012")
    told = "−0.004 to +0.040, with a confidence of 0.9"
    expect(page.locator(".outcome .facts")).to_contain_text(told)
    assert page.url.endswith(f"?job={REJECTED}")
    page.go_back()
    expect(page.locator("#model h2")).to_have_text("tags")


def test_what_is_opened_again_is_one_step_back(opened: Any) -> None:
    page = opened("?model=tags")
    page.locator("#plan-list button").first.click()
    expect(page.locator("#model h2")).to_have_text("cars")
    page.locator("#plan-list button").first.click()
    page.go_back()

    expect(page.locator("#model h2")).to_have_text("tags")


def test_two_versions_are_compared_in_figures_and_on_images(opened: Any) -> None:
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Compare").click()

    rows = page.locator(".comparison tbody tr")
    expect(rows.nth(0)).to_have_text("mAP50-950.3250.350+0.025")
    expect(rows.nth(3)).to_have_text("Recall0.7000.690−0.010")
    expect(rows.filter(has_text="dent")).to_contain_text("not measured")
    told = page.locator(".plate figcaption").all_inner_texts()
    assert told == ["Version 1 found 0 of 2, 1 wrong", "Version 2 found 2 of 2, 1 wrong"]
    drawn = {
        kind: page.locator(f".plate rect.mark.{kind}").count()
        for kind in ("right", "wrong", "missed")
    }
    assert drawn == {"right": 2, "wrong": 2, "missed": 2}
    plate = page.locator(".plate").nth(1)
    photo, dent = (
        plate.locator("img").bounding_box(),
        plate.locator("rect.mark.right").nth(1).bounding_box(),
    )
    assert dent["x"] - photo["x"] == pytest.approx(300 * photo["width"] / 450, abs=3)


def test_two_versions_are_compared_by_confidence(opened: Any) -> None:
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Compare").click()

    drawn = page.locator(".curves .chart")
    expect(drawn).to_have_count(3)
    titles = page.locator(".curves .chart strong").all_inner_texts()
    assert titles == ["Precision", "Recall", "F1"]
    expect(page.locator(".curves")).to_contain_text("measured on the same validation images")
    expect(drawn.nth(0)).to_contain_text("at 0.25")
    expect(drawn.nth(2)).to_contain_text("Version 1 0.775Version 2 0.675")
    words = drawn.nth(2).locator("svg").get_attribute("aria-label")
    assert words == (
        "F1 by confidence: Version 1 has 0.800 at 0.30, where its F1 is highest; "
        "Version 2 has 0.800 at 0.50, where its F1 is highest"
    )
    area = drawn.nth(0).locator(".plot-area")
    area.scroll_into_view_if_needed()
    place = area.bounding_box()
    dot = drawn.nth(2).locator(".newest.second").bounding_box()
    assert dot["x"] - place["x"] == pytest.approx(
        drawn.nth(2).locator(".plot-area").bounding_box()["x"] - place["x"] + place["width"] / 2,
        abs=6,
    )
    page.mouse.move(place["x"] + place["width"] * 0.6, place["y"] + 40)
    expect(drawn.nth(1)).to_contain_text("at 0.60")
    expect(drawn.nth(1)).to_contain_text("Version 1 0.400")

    page.get_by_text("The curves in figures").click()
    rows = page.locator(".curves tbody tr")
    expect(rows).to_have_count(21)
    expect(rows.nth(6)).to_have_text("0.300.6500.6500.7000.7000.8000.700")


@pytest.mark.parametrize("missing", [("a",), ("b",), ("a", "b")])
def test_a_version_whose_curves_were_not_measured_is_named(
    opened: Any, service: Service, missing: tuple[str, ...]
) -> None:
    told = {**COMPARISON["curves"], **dict.fromkeys(missing), "same_images": False}
    whole = service.told
    service.told = lambda path: (  # type: ignore[method-assign]
        {**COMPARISON, "curves": told} if "comparison" in path else whole(path)
    )
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Compare").click()

    number = {"a": 1, "b": 2}[missing[0]]
    said = f"Version {number} was not measured so" if len(missing) == 1 else "Of neither"
    expect(page.locator(".curves")).to_contain_text(said)
    expect(page.locator(".curves .curve")).to_have_count(3 * (2 - len(missing)))


def test_a_comparison_that_fails_says_why(opened: Any, service: Service) -> None:
    whole = service.told
    gone = {"status": 404, "title": "Not found", "detail": "version 1 has no weights any more"}
    service.told = lambda path: gone if "comparison" in path else whole(path)  # type: ignore[method-assign]
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Compare").click()

    expect(page.locator("#model")).to_contain_text("Version 1 has no weights any more.")
    page.forgive("404")


def test_who_is_no_operator_sees_no_buttons(opened: Any) -> None:
    page = opened()
    expect(page.locator("#job h2")).to_be_visible()
    assert page.get_by_role("button", name=re.compile("…$")).count() == 0
    page.get_by_role("tab", name="Models").click()
    page.locator("#plan-list").get_by_text("tags").click()
    expect(page.locator("#model tbody tr")).to_have_count(3)
    assert page.get_by_role("button", name=re.compile("…$|Promote|Compare")).count() == 0


def test_an_operator_cancels_after_a_question(opened: Any, service: Service) -> None:
    page = opened()
    page.get_by_role("button", name="I am an operator").click()
    page.get_by_label("Your operator's token").fill(TOKEN)
    page.get_by_role("button", name="Use it").click()
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Not now").click()
    assert service.sent == []

    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#job h2")).to_contain_text("being cancelled")
    assert [path for path, _ in service.sent] == [f"training-jobs/{RUNNING}/cancel"]
    expect(page.get_by_role("button", name="Cancel …")).to_have_count(0)


def test_an_operator_has_a_model_trained_now(opened: Any, service: Service) -> None:
    service.jobs = [rejected()]
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Train it now …").click()
    expect(page.get_by_role("dialog")).to_contain_text("It serves only if it is better")
    page.get_by_role("button", name="Train it", exact=True).click()

    expect(page.locator("#job h2")).to_contain_text("waits to be launched")
    assert [path for path, _ in service.sent] == ["models/tags/training-jobs"]


def test_what_the_service_refuses_is_told_in_the_question(opened: Any, service: Service) -> None:
    service.jobs = [rejected()]
    service.refused = {"status": 409, "title": "Conflict", "detail": "a training of tags runs"}
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Train it now …").click()
    page.get_by_role("button", name="Train it", exact=True).click()

    expect(page.locator("#sure-problem")).to_have_text("Conflict. A training of tags runs.")
    page.forgive("409")


def test_a_token_that_is_not_good_is_asked_for_anew(opened: Any, service: Service) -> None:
    service.refused = {"status": 401, "title": "Unauthorized", "detail": "the token is not good"}
    page = opened(operator=True)
    page.get_by_role("button", name="Cancel …").click()
    page.get_by_role("button", name="Cancel it").click()

    expect(page.locator("#pass-why")).to_have_text("Unauthorized. The token is not good.")
    expect(page.locator("#sure")).to_be_hidden()
    page.forgive("401")


def test_an_operator_promotes_and_rolls_back_with_a_reason(opened: Any, service: Service) -> None:
    page = opened("?model=tags", operator=True)
    page.get_by_role("button", name="Promote version 3").click()
    page.get_by_label("Why").fill("looks right on our photos")
    page.get_by_role("dialog").get_by_role("button", name="Promote version 3").click()
    expect(page.locator("#told")).to_contain_text("Version 3 of tags serves now")
    page.get_by_role("button", name="Roll back …").click()
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator("#told")).to_contain_text("Version 1 of tags serves again")

    assert service.sent == [
        ("models/tags/versions/3/promote", {"why": "looks right on our photos", "over": 2}),
        ("models/tags/rollback", {"why": "", "over": 2}),
    ]


def test_jobs_of_one_model_are_picked(opened: Any, service: Service) -> None:
    page = opened()
    expect(page.locator("#job-list li")).to_have_count(2)
    page.locator("#of-model").select_option("zebras")
    page.wait_for_load_state("networkidle")

    assert any("model=zebras" in path for path in service.asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_everybody_can_read_it(opened: Any, scheme: str, width: int) -> None:
    page = opened(operator=True, width=width, color_scheme=scheme)
    expect(page.locator(".far")).to_contain_text("Epoch 7 of 20")
    page.get_by_text("Every epoch in figures").click()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look(page, f"job-{scheme}-{width}")

    page.get_by_role("button", name="The model tags and its versions").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".plate")).to_have_count(2)
    page.get_by_text("The curves in figures").click()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look(page, f"model-{scheme}-{width}")

    page.get_by_role("button", name="Roll back …").click()
    assert faults(page) == []
