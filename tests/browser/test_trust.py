"""The page for operators: deciding what waits, and looking at who sent it."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from axe_playwright_python.sync_playwright import Axe
from botocore.config import Config
from playwright.sync_api import expect

from chalicelib.settings import Settings
from chalicelib.trust import ClassedBoxes, judge
from chalicelib.trust.grading import Agreement, Grade
from chalicelib.trust.ledger import Request
from chalicelib.trust.task_book import Task, TaskBook
from chalicelib.wiring import Services

pytestmark = pytest.mark.browser

FOUND = ClassedBoxes([[30, 40, 130, 120], [200, 60, 300, 200], [320, 200, 420, 280]], [0, 0, 0])
CHANGED = ClassedBoxes([[30, 40, 130, 120], [250, 80, 350, 220], [10, 200, 60, 260]], [0, 0, 0])
SIDES = ("x1", "y1", "x2", "y2")
SIZE = {"width": 450, "height": 300}


def detections(boxes: ClassedBoxes) -> list[dict[str, Any]]:
    return [
        {
            "class_id": 0,
            "class_name": "scratch",
            "confidence": 1.0,
            "box": dict(zip(SIDES, row, strict=True)),
        }
        for row in boxes.xyxy.tolist()
    ]


@pytest.fixture(scope="module")
def behind(site: Any) -> Iterator[Services]:
    """What the served app runs on, from this process."""
    config = Config(s3={"addressing_style": "path"})
    clients = {
        name: boto3.client(name, "eu-central-1", endpoint_url=site.aws, config=config)
        for name in ("s3", "sqs", "dynamodb", "secretsmanager")
    }
    services = Services(Settings(database_url=site.database), clients)
    yield services
    services.database.close()


@pytest.fixture
def send(behind: Services, sample: Callable[[int], Any]) -> Callable[..., int]:
    """Have somebody send boxes for a sample that wait for a decision; return their number."""

    def send(user: str = "user:eve", submitted: ClassedBoxes = CHANGED, number: int = 1) -> int:
        data = sample(number).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"quarantine/{sha256}.jpg"
        behind.store.put(key, data, "image/jpeg")
        judged = judge(FOUND, submitted, [0.9], ["scratch"])
        detail = {
            "answer": "corrected",
            "image": {**SIZE, "sha256": sha256, "key": key},
            "predicted": detections(FOUND),
            "submitted": detections(submitted),
            **judged.to_json(),
        }
        request = Request(
            user,
            str(uuid.uuid4()),
            "scratch",
            1,
            judged.scored.score,
            len(FOUND),
            len(submitted),
            "quarantined",
            detail,
        )
        return behind.ledger.record(request).request_id

    return send


@pytest.fixture(autouse=True)
def nothing_waits(behind: Services) -> None:
    """Begin each test with an empty queue."""
    with behind.database.transaction() as rows:
        rows.execute(
            """UPDATE requests SET state = 'rejected', reviewed_at = now(), reviewed_by = 'before'
               WHERE state = 'quarantined'"""
        )


@pytest.fixture
def operate(visit: Any, site: Any) -> Callable[..., Any]:
    """Open the page as an operator does, by the link that `make run` prints."""

    def operate(**options: Any) -> Any:
        page = visit(f"trust#token={site.operator}", **options)
        expect(page.locator("#work")).to_be_visible()
        return page

    return operate


def state_of(behind: Services, number: int) -> tuple[str, str | None]:
    with behind.database.transaction() as rows:
        rows.execute("SELECT state, reviewed_by FROM requests WHERE request_id = %s", (number,))
        [found] = rows.fetchall()
    return found


def entries(page: Any) -> list[str]:
    return [each.inner_text() for each in page.locator("#cases .entry-title").all()]


def test_the_page_asks_for_a_token_once(visit: Any, site: Any, send: Any) -> None:
    number = send()
    page = visit("trust")
    page.get_by_label("Your operator's token").fill("not a token")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert").first).to_contain_text("token")

    page.get_by_label("Your operator's token").fill("wrong-token-of-some-length")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#refused")).to_contain_text("Unauthorized")
    page.forgive("401")

    page.get_by_label("Your operator's token").fill(site.operator)
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#case")).to_contain_text(f"Submission {number}")
    page.reload()
    expect(page.locator("#case")).to_contain_text(f"Submission {number}")

    page.get_by_role("button", name="Forget my token").click()
    expect(page.locator("#gate")).to_be_visible()
    page.reload()
    expect(page.locator("#gate")).to_be_visible()


def test_the_link_brings_the_token_and_does_not_keep_it(operate: Any) -> None:
    page = operate()
    assert "token" not in page.url
    expect(page.locator("#cases-none")).to_contain_text("Nothing waits")


def test_both_sides_are_shown_with_what_was_changed(operate: Any, send: Any) -> None:
    send("<b>user:eve</b>")
    page = operate()

    expect(page.locator(".plate img")).to_have_count(2)
    for image in page.locator(".plate img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 450
    kinds = ["kept", "moved", "removed", "added"]
    shown = {kind: page.locator(f".drawing rect.mark.{kind}").count() for kind in kinds}
    assert shown == {"kept": 2, "moved": 2, "removed": 1, "added": 1}
    told = page.locator(".changes").inner_text()
    assert "scratch removed, bottom right, 100 × 80 px" in told
    assert "scratch added, bottom left, 50 × 60 px" in told
    assert "scratch moved" in told
    expect(page.locator("#case")).to_contain_text("1 box kept as predicted")
    expect(page.locator("#case")).to_contain_text("the chance that the model errs as often")
    expect(page.locator("#case th[scope=row]").first).to_have_text("scratch")
    expect(page.locator(".case-head")).to_contain_text("<b>user:eve</b>")


def test_a_box_is_drawn_where_it_is(operate: Any, send: Any) -> None:
    send()
    page = operate()
    photo = page.locator(".plate img").first.bounding_box()
    kept = page.locator(".plate").first.locator("rect.mark.kept").bounding_box()
    scale = photo["width"] / 450
    assert kept["x"] - photo["x"] == pytest.approx(30 * scale, abs=3)
    assert kept["width"] == pytest.approx(100 * scale, abs=5)


@pytest.mark.parametrize(("key", "state"), [("a", "accepted"), ("r", "rejected")])
def test_a_key_decides_and_the_next_one_comes(
    operate: Any, send: Any, behind: Services, key: str, state: str
) -> None:
    first, second = send(), send("user:finn")
    page = operate()
    expect(page.locator("#case")).to_contain_text(f"Submission {first}")
    page.keyboard.press(key)

    expect(page.locator("#case")).to_contain_text(f"Submission {second}")
    expect(page.locator("#told")).to_contain_text(f"Submission {first} {state}")
    assert state_of(behind, first) == (state, "operator")
    assert state_of(behind, second) == ("quarantined", None)


def test_a_decision_can_be_taken_the_other_way(operate: Any, send: Any, behind: Services) -> None:
    number = send()
    page = operate()
    page.get_by_label("Why", exact=True).fill("they are right")
    page.get_by_role("button", name="Accept a").click()
    expect(page.locator("#told")).to_contain_text("accepted")
    page.keyboard.press("u")
    expect(page.locator("#told")).to_contain_text("rejected")

    assert state_of(behind, number) == ("rejected", "operator")
    whys = [each.why for each in behind.ledger.decisions("user:eve") if each.request_id == number]
    assert whys == ["they are right", "decided the other way"]


def test_typing_a_reason_decides_nothing(operate: Any, send: Any, behind: Services) -> None:
    number = send()
    page = operate()
    page.get_by_label("Why", exact=True).click()
    page.keyboard.type("bar ajukx")
    assert state_of(behind, number) == ("quarantined", None)
    expect(page.locator("#case")).to_contain_text(f"Submission {number}")


def test_several_are_selected_and_decided_at_once(
    operate: Any, send: Any, behind: Services
) -> None:
    numbers = [send(f"user:{each}") for each in range(4)]
    page = operate()
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#bulk-count")).to_have_text("2 selected")
    page.get_by_role("button", name="Reject them").click()

    expect(page.locator("#told")).to_contain_text("2 submissions rejected")
    states = [state_of(behind, number)[0] for number in numbers]
    assert states == ["rejected", "quarantined", "rejected", "quarantined"]
    expect(page.locator("#cases li")).to_have_count(2)
    page.locator("#all").check()
    page.locator("#bulk-accept").click()
    expect(page.locator("#cases-none")).to_be_visible()
    expect(page.locator("#pick-one")).to_be_visible()


def test_what_was_sent_anew_is_not_decided_and_shown_again(
    operate: Any, send: Any, behind: Services
) -> None:
    first, second = send(), send("user:finn")
    page = operate()
    with behind.database.transaction() as rows:
        rows.execute(
            "UPDATE requests SET updated_at = clock_timestamp() WHERE request_id = %s", (first,)
        )
    page.keyboard.press("a")
    expect(page.locator("#told")).to_contain_text("look at it again")
    assert state_of(behind, first) == ("quarantined", None)

    expect(page.locator("#cases")).to_have_attribute("aria-busy", "false")
    page.keyboard.press("a")
    expect(page.locator("#told")).to_contain_text(f"Submission {first} accepted")
    expect(page.locator("#case")).to_contain_text(f"Submission {second}")


def test_the_queue_goes_on(operate: Any, send: Any) -> None:
    numbers = [send(f"user:{each}") for each in range(23)]
    page = operate()
    expect(page.locator("#cases li")).to_have_count(20)
    page.locator("#cases-more").click()
    expect(page.locator("#cases li")).to_have_count(23)
    assert entries(page)[-1].startswith(str(numbers[-1]))
    expect(page.locator("#cases-more")).to_be_hidden()


def test_somebody_is_banned_with_a_reason_and_the_ban_lifted(
    operate: Any, send: Any, behind: Services
) -> None:
    user = "2001:db8:1:2::/64"
    send(user)
    page = operate()
    page.keyboard.press("b")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Ban {user}?")
    dialog.get_by_role("button", name="Ban").click()
    assert not behind.ledger.is_banned(user)
    dialog.get_by_label("Why").fill("random boxes")
    dialog.get_by_role("button", name="Ban").click()
    expect(page.locator("#told")).to_contain_text("banned")
    assert behind.ledger.is_banned(user)

    page.locator(".case-head .link").click()
    expect(page.locator("#portrait")).to_contain_text("random boxes")
    page.get_by_role("button", name="Lift the ban …").click()
    page.get_by_role("dialog").get_by_label("Why").fill("a mistake")
    page.get_by_role("dialog").get_by_role("button", name="Lift the ban").click()
    expect(page.locator("#portrait")).to_contain_text("ban lifted")
    assert not behind.ledger.is_banned(user)


def test_a_contributor_is_shown_with_how_they_answer(
    operate: Any, send: Any, behind: Services
) -> None:
    user = f"user:{uuid.uuid4()}"
    number = send(user)
    book = TaskBook(behind.database)
    for part in range(5):
        task = Task(str(uuid.uuid4()), user, "scratch", f"{part:064x}", "control", FOUND, 1)
        book.hand_out(task)
        book.grade(task, Grade(4, 1, 2, 1, 0, 1))
    book.agree(user, "scratch", "ab" * 32, {"user:finn": Agreement(1, 4)})
    page = operate()
    page.get_by_role("tab", name="People").click()
    page.get_by_label("Find a contributor").fill(user)
    page.get_by_role("button", name="Find").click()

    portrait = page.locator("#portrait")
    expect(portrait).to_contain_text("Their accuracy on 5 control tasks is 0.20, below 0.5.")
    expect(portrait).to_contain_text("20\u202f% (5 images)")
    expect(portrait).to_contain_text("50\u202f% overlooked, 25\u202f% badly placed")
    expect(portrait).to_contain_text("25\u202f% (1 answer)")
    expect(portrait).to_contain_text(str(number))
    expect(portrait).not_to_contain_text("null")
    page.locator("#order").select_option("accuracy")
    expect(page.locator("#persons .entry-title").first).to_contain_text("user:")


def test_versions_that_learnt_from_somebody_are_linked(operate: Any, send: Any) -> None:
    send("user:finn")
    page = operate()
    learnt = {"model": "scratch", "version": 7, "training_labels": 3, "validation_labels": 1}

    def with_versions(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "versions": [learnt]})

    page.route("**/v1/contributors/*", with_versions)
    page.locator(".case-head .link").click()

    link = page.locator("#portrait").get_by_role("link", name="scratch 7")
    expect(link).to_have_attribute("href", "training?model=scratch")


def test_everything_can_be_reached_with_the_keyboard(operate: Any, send: Any) -> None:
    send()
    page = operate()
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "((e) => e.id || e.classList[0] || e.dataset.of || e.type)(document.activeElement)"
            )
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        tag = page.evaluate("document.activeElement.tagName")
        assert outline != "none" or tag == "BODY"
    wanted = {"tab-queue", "refresh", "all", "checkbox", "entry", "why", "accept", "reject", "ban"}
    assert wanted <= seen


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_axe_finds_no_fault(operate: Any, visit: Any, send: Any, scheme: str, width: int) -> None:
    gate = visit("trust", width=width, color_scheme=scheme)
    expect(gate.locator("#gate")).to_be_visible()
    assert faults(gate) == []

    for number in range(1, 4):
        send(f"user:{number}", number=number)
    page = operate(width=width, color_scheme=scheme)
    page.keyboard.press("x")
    expect(page.locator("#bulk")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("r")
    expect(page.locator("#told")).to_be_visible()
    page.keyboard.press("b")
    assert faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="People").click()
    page.locator("#persons .entry").first.click()
    expect(page.locator("#portrait")).to_be_visible()
    assert faults(page) == []


@pytest.mark.parametrize("width", [320, 375, 768, 960, 1440])
def test_no_width_scrolls_sideways(operate: Any, send: Any, width: int) -> None:
    send("user:" + "a-very-long-name-without-any-space-" * 6)
    page = operate(width=width, height=812)
    aside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    expect(page.locator("#case img").first).to_be_visible()
    assert page.evaluate(aside) == 0
    page.keyboard.press("x")
    assert page.evaluate(aside) == 0
    page.locator(".case-head .link").click()
    expect(page.locator("#portrait")).to_be_visible()
    assert page.evaluate(aside) == 0


def test_it_is_shown_what_it_waits_for_and_what_the_contributor_saw(
    operate: Any, send: Any
) -> None:
    send()
    page = operate()
    seen = detections(ClassedBoxes([[30, 40, 130, 120]], [0]))

    def answer(route: Any) -> None:
        told = route.fetch().json()
        extra = {"shown": seen, "waits_for": "opinions", "frees": 3.0}
        told["waiting"] = [{**item, **extra} for item in told["waiting"]]
        route.fulfill(json=told)

    expect(page.locator(".waits-for")).to_contain_text("For an operator only")
    expect(page.locator(".waits-for")).to_contain_text("this answer alone")
    page.route("**/v1/review?*", answer)
    page.locator("#refresh").click()
    expect(page.locator(".waits-for")).to_contain_text("other people who agree")
    expect(page.locator(".waits-for")).to_contain_text("2 other waiting answers")
    button = page.get_by_role("button", name="Show what the contributor saw")
    expect(page.locator(".plate:visible").first).to_contain_text("Predicted 3 boxes")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".plate:visible")).to_have_count(2)
    expect(page.locator(".plate:visible").first).to_contain_text("Seen by the contributor 1 box")
    assert page.locator(".plate:visible").first.locator("rect.mark.shown").count() == 1
    assert not Axe().run(page.page).response["violations"]
    button.click()
    expect(page.locator(".plate:visible").first).to_contain_text("Predicted 3 boxes")
