"""The ways to the labelling tool and on from it: from a detection, a task, a photo of one's own."""

from __future__ import annotations

import hashlib
import uuid
from urllib.parse import unquote, urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

PATHS = Config(s3={"addressing_style": "path"})
NO_TASK = {
    "type": "urn:sightloop:problem:no-task",
    "title": "No task",
    "status": 404,
    "detail": "no photo waits",
    "correlation_id": "c-1",
}


def offer(page, *ids: str) -> None:
    """Have these photos wait for a person, one after another, and then none."""
    waiting = list(ids)

    def answer(route) -> None:
        if not waiting:
            return route.fulfill(status=404, json=NO_TASK)
        task = {"prediction_id": waiting.pop(0), "model": "scratch"}
        return route.fulfill(status=201, json=task)

    page.route("**/v1/models/scratch/tasks", answer)


def test_a_detection_is_corrected_with_the_boxes_that_were_shown(visit, ask, sample) -> None:
    page = visit()
    page.add(sample(1))
    expect(page.locator("#total")).to_be_visible()
    page.set_confidence(80)
    shown = page.locator("#list .row:visible").count()
    assert 0 < shown < len(ask(sample(1), confidence=0.05)["detections"])
    assert "kept" in page.locator("#mend-note").inner_text()
    page.get_by_role("button", name="Correct these boxes").click()
    page.wait_for_url("**/label?prediction=*")
    expect(page.locator("#list .row")).to_have_count(shown)
    assert page.locator("#photo").evaluate("photo => photo.naturalWidth") == 450


def test_a_photo_that_is_too_large_for_one_call_is_corrected_as_well(visit, make_picture) -> None:
    page = visit()
    page.add(make_picture("large.bmp", size=(2400, 1600)))
    expect(page.locator("#total")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Correct these boxes").click()
    page.wait_for_url("**/label?prediction=*", timeout=60_000)
    expect(page.locator("#caption")).to_have_text("large.bmp, 2400 × 1600")


def test_nothing_is_kept_before_a_person_asks_to_correct(visit) -> None:
    page = visit()
    page.take_sample(1)
    assert not any("keep" in request.url for request in page.posts())


def test_a_photo_that_cannot_be_kept_is_told(visit) -> None:
    page = visit()
    page.take_sample(1)
    page.route("**/detections?*keep=true*", lambda route: route.abort())
    page.get_by_role("button", name="Correct these boxes").click()
    expect(page.locator("#mend-note")).to_contain_text("No answer")
    expect(page.get_by_role("button", name="Correct these boxes")).to_be_enabled()
    page.forgive("ERR_FAILED")


def test_a_photo_of_ones_own_is_brought(visit, ask, sample) -> None:
    page = visit("label")
    expect(page.locator("#choose")).to_be_enabled()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Bring a photo").click()
    chooser.value.set_files(sample(2))
    expect(page.locator("#list .row")).to_have_count(len(ask(sample(2))["detections"]))


def test_a_photo_that_waits_is_given_and_then_the_next(visit, keep, sample) -> None:
    first, second = keep(sample(1)), keep(sample(4))
    page = visit("label")
    offer(page, first, second)
    page.get_by_role("button", name="Give me a photo").click()
    page.wait_for_url(f"**/label?prediction={first}*")
    page.get_by_role("button", name="These boxes are right").click()
    page.get_by_role("button", name="Next photo").click()
    page.wait_for_url(f"**/label?prediction={second}*")
    expect(page.get_by_role("button", name="These boxes are right")).to_be_visible()
    page.get_by_role("button", name="These boxes are right").click()
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator("#start-text")).to_contain_text("Bring one of your own")
    page.forgive("404")


def test_where_no_photo_waits_one_is_told_so(visit) -> None:
    page = visit("label")
    offer(page)
    page.get_by_role("button", name="Give me a photo").click()
    expect(page.locator("#start-text")).to_have_text(
        "No photo waits for a person just now. Bring one of your own."
    )
    expect(page.get_by_role("button", name="Bring a photo")).to_be_focused()
    page.forgive("404")


def test_going_back_leads_to_the_photo_before(visit, keep, sample, site) -> None:
    first, second = keep(sample(1)), keep(sample(4))
    page = visit(f"label?prediction={first}")
    offer(page, second)
    expect(page.locator("#caption")).to_have_text("photo, 450 × 300")
    count = page.locator("#list .row").count()
    page.evaluate(f"history.pushState(null, '', 'label?prediction={second}')")
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.locator("#list .row")).not_to_have_count(count)
    page.go_back()
    expect(page.locator("#list .row")).to_have_count(count)


def test_only_the_tool_loads_what_the_tool_needs(visit) -> None:
    page = visit()
    expect(page.locator("#model")).to_be_enabled()
    assert not any("vendor" in request.url for request in page.asked)
    tool = visit("label")
    expect(tool.locator("#choose")).to_be_enabled()
    assert any("vendor/annotorious.js" in request.url for request in tool.asked)


def test_the_tool_works_below_a_path(visit) -> None:
    page = visit("label", below="api")
    expect(page.locator("#choose")).to_be_enabled()
    page.get_by_role("link", name="Detect").click()
    page.wait_for_url("**/api/")
    page.get_by_role("link", name="Label").click()
    page.wait_for_url("**/api/label")
    expect(page.locator("#choose")).to_be_enabled()


def test_an_answer_becomes_a_label_of_the_dataset(desk, make_picture) -> None:
    picture = make_picture("mine.jpg", sample=2, size=(460, 310))
    page = desk(picture)
    count = len(page.rows())
    page.drag((300, 10), (346, 41))
    page.send("Here are the right ones")
    expect(page.locator("#outcome-changes")).to_contain_text("1 added")

    shown_from = urlsplit(page.locator("#photo").get_attribute("src"))
    s3 = boto3.client("s3", endpoint_url=f"http://{shown_from.netloc}", config=PATHS)
    bucket = shown_from.path.split("/")[1]
    bare = s3.get_object(Bucket=bucket, Key=unquote(shown_from.path.split("/", 2)[2]))["Body"]
    sha256 = hashlib.sha256(bare.read()).hexdigest()
    kept = s3.list_objects_v2(Bucket=bucket, Prefix="models/scratch/labels/")["Contents"]
    [key] = [each["Key"] for each in kept if sha256 in each["Key"]]
    label = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    drawn = [float(number) for number in label[-1].split()]
    assert len(label) == count + 1
    assert drawn == pytest.approx([0, 323 / 460, 25.5 / 310, 46 / 460, 31 / 310], abs=1e-6)


def test_another_answer_takes_the_place_of_the_first(desk, make_picture) -> None:
    page = desk(make_picture("mine.jpg", sample=4, size=(470, 310)))
    page.send("These boxes are right")
    page.get_by_role("button", name="Change my answer").click()
    page.drag((300, 10), (346, 41))
    page.send("Here are the right ones")
    expect(page.locator("#outcome-changes")).to_contain_text("takes the place of your earlier")


def test_a_large_photo_for_a_model_that_is_to_come_goes_through_the_bucket(
    visit, site, make_picture
) -> None:
    name = f"tags-{uuid.uuid4().hex[:8]}"
    wanted = {"name": name, "classes": ["dent"]}
    requests.post(f"{site.url}/v1/pending-models", json=wanted, timeout=30).raise_for_status()
    page = visit(f"label?model={name}")
    expect(page.locator("#model")).to_have_value(name)
    photo = make_picture("large.bmp", sample=3, size=(1600, 1100))
    assert photo.stat().st_size > 4_500_000
    page.add(photo)

    expect(page.locator("#nothing")).to_be_visible()
    assert page.posts(f"/v1/pending-models/{name}/uploads")
    assert not page.posts("/images")
    page.get_by_role("button", name="Nothing to see here").click()
    expect(page.locator("#outcome-title")).to_have_text("Taken")
    shown = requests.get(f"{site.url}/v1/pending-models/{name}", timeout=30).json()
    assert shown["training_set_size"] + shown["validation_set_size"] == 1


def test_a_large_file_that_is_no_photo_after_all_is_told_in_words(visit, site, tmp_path) -> None:
    name = f"tags-{uuid.uuid4().hex[:8]}"
    wanted = {"name": name, "classes": ["dent"]}
    requests.post(f"{site.url}/v1/pending-models", json=wanted, timeout=30).raise_for_status()
    page = visit(f"label?model={name}")
    expect(page.locator("#model")).to_have_value(name)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0" + bytes(5_000_000))
    page.add(broken)

    expect(page.get_by_role("alert")).to_contain_text("no JPEG, PNG")
    page.get_by_role("button", name="Another photo").click()
    expect(page.locator("#choose")).to_be_visible()


def test_an_answer_for_a_model_that_got_its_version_meanwhile_goes_there(
    visit, site, make_picture
) -> None:
    name = f"tags-{uuid.uuid4().hex[:8]}"
    wanted = {"name": name, "classes": ["dent"]}
    requests.post(f"{site.url}/v1/pending-models", json=wanted, timeout=30).raise_for_status()
    page = visit(f"label?model={name}")
    expect(page.locator("#model")).to_have_value(name)
    page.add(make_picture("small.jpg", sample=3, size=(160, 110)))
    expect(page.locator("#nothing")).to_be_visible()
    gone = {"type": "urn:sightloop:problem:model-not-found", "title": "No", "detail": "It serves"}
    page.route(
        f"**/v1/pending-models/{name}/submissions",
        lambda route: route.fulfill(status=404, json=gone),
    )
    page.get_by_role("button", name="Nothing to see here").click()
    expect(page.locator("#outcome-title")).to_be_visible()
    assert page.posts(f"/v1/models/{name}/submissions")
    page.forgive("404")


def test_a_model_that_is_to_come_gets_its_photos_by_the_same_tool(visit, site, sample) -> None:
    name = f"tags-{uuid.uuid4().hex[:8]}"
    wanted = {"name": name, "classes": ["small dent", "large dent", "Ölfleck"]}
    asked = requests.post(f"{site.url}/v1/pending-models", json=wanted, timeout=30)
    assert asked.status_code == 201, asked.text
    page = visit(f"label?model={name}")
    expect(page.locator("#model")).to_have_value(name)
    page.add(sample(2))
    expect(page.locator("#nothing")).to_be_visible()
    assert "still to be trained" in page.locator("#where").inner_text()

    frame = page.locator("#frame").bounding_box()
    page.locator("#class").fill("öl")
    page.press("#class", "Enter")
    page.mouse.move(frame["x"] + 50, frame["y"] + 40)
    page.mouse.down()
    page.mouse.move(frame["x"] + 150, frame["y"] + 90, steps=4)
    page.mouse.up()
    expect(page.locator("#list .row")).to_have_count(1)
    page.get_by_role("button", name="Here are the right ones").click()
    expect(page.locator("#outcome-title")).to_have_text("Taken")

    shown = requests.get(f"{site.url}/v1/pending-models/{name}", timeout=30).json()
    assert shown["training_set_size"] + shown["validation_set_size"] == 1
    page.get_by_role("button", name="Next photo").click()
    expect(page.locator("#start-text")).to_contain_text("Bring one of your own")
    expect(page.locator("#model")).to_have_value(name)
    page.forgive("401")


@pytest.mark.parametrize(
    ("waits_for", "words"),
    [("proof", "check a few photos"), ("opinions", "other people"), ("operator", "an operator")],
)
def test_it_is_said_what_an_answer_waits_for(desk, waits_for, words) -> None:
    page = desk()
    taken = {"state": "quarantined", "message": "Thank you.", "changes": {}, "change": "new"}
    answer = {**taken, "waits_for": waits_for, "task": None}
    page.route("**/submissions", lambda route: route.fulfill(status=201, json=answer))
    page.send("These boxes are right")

    expect(page.locator("#outcome-waits")).to_contain_text(words)
    expect(page.get_by_role("button", name="Check this photo next")).to_be_hidden()


def test_the_photo_that_is_offered_is_opened(desk, keep, sample) -> None:
    page = desk()
    task = {"prediction_id": keep(sample(2)), "model": "scratch"}
    taken = {"state": "quarantined", "message": "Thank you.", "changes": {}, "change": "new"}
    answer = {**taken, "waits_for": "proof", "task": task}
    page.route("**/submissions", lambda route: route.fulfill(status=201, json=answer))
    page.send("These boxes are right")

    expect(page.locator("#outcome-waits")).to_contain_text("counts sooner")
    page.get_by_role("button", name="Check this photo next").click()
    expect(page.locator("#answers")).to_be_visible()
    assert task["prediction_id"] in page.url
    page.page.go_back()
    expect(page.get_by_role("button", name="Check this photo next")).to_be_visible()
