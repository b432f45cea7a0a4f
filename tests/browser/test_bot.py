"""The chat with the bot on the local page, as somebody uses it who has no Telegram account."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

_people = itertools.count(50_001)
PHONE = {"width": 375, "height": 740, "has_touch": True, "device_scale_factor": 2}
DROP = """([names, bytes]) => {
  const carried = new DataTransfer();
  for (const name of names) {
    carried.items.add(new File([Uint8Array.from(bytes)], name, { type: 'image/jpeg' }));
  }
  const event = (kind) => new DragEvent(kind, {
    dataTransfer: carried, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event('dragover'));
  const lifted = !document.getElementById('veil').hidden;
  document.body.dispatchEvent(event('drop'));
  return lifted;
}"""
PASTE = """([names, bytes]) => {
  const carried = new DataTransfer();
  carried.items.add(new File([Uint8Array.from(bytes)], names[0], { type: 'image/jpeg' }));
  document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: carried, bubbles: true }));
}"""


class Chat:
    """The page, with a chat open."""

    def __init__(self, visit: Any) -> None:
        self.visit = visit
        self.page = visit.page

    def __getattr__(self, name: str) -> Any:
        return getattr(self.visit, name)

    def send(self, text: str, *files: Path) -> None:
        """Write and send, with files where there are any."""
        if files:
            self.page.locator("#files").set_input_files(files)
        self.page.locator("#said").fill(text)
        self.page.get_by_role("button", name="Send", exact=True).click()
        expect(self.page.locator("#said")).to_have_value("")

    def answers(self) -> Any:
        """Return the bot's messages."""
        return self.page.locator(".from-bot")

    def answer(self, text: str | re.Pattern[str], nth: int = 0) -> Any:
        """Wait for one of the bot's messages to say something; return it."""
        shown = self.answers().nth(nth)
        expect(shown).to_contain_text(text)
        return shown


@pytest.fixture
def chat(visit: Any) -> Callable[..., Chat]:
    """Open the chat as somebody who never wrote to the bot, or as somebody who did."""

    def open_chat(person: int | None = None, **options: Any) -> Chat:
        page = visit(f"bot?chat={person or next(_people)}", **options)
        expect(page.locator("#firsts button").first).to_be_attached()
        return Chat(page)

    return open_chat


def faults(page: Any) -> list[str]:
    found = Axe().run(page.page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


def size_of(page: Any, bubble: Any) -> list[int]:
    image = bubble.locator("img")
    expect(image).to_have_js_property("complete", value=True)
    return list(image.evaluate("i => [i.naturalWidth, i.naturalHeight]"))


def test_a_first_visitor_gets_from_a_sample_to_boxes_by_three_clicks(chat) -> None:
    page = chat()
    expect(page.get_by_role("heading", name="Send the bot a photo")).to_be_visible()
    page.get_by_role("button", name="Take sample 1").click()
    page.locator("#firsts").get_by_role("button", name="predict").click()
    page.get_by_role("button", name="Send", exact=True).click()

    answer = page.answer(re.compile(r"scratch: \d"))
    expect(answer).to_contain_text("edited")
    assert size_of(page, answer) == [450, 300]
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.answers()).to_have_count(1)
    expect(page.locator("#said")).to_be_focused()


def test_the_answer_comes_in_place_of_the_word_that_it_is_worked_on(chat, sample) -> None:
    page = chat()
    page.evaluate(
        """() => { window.said = [];
        new MutationObserver(() => window.said.push(
          document.querySelector('.from-bot .text')?.textContent))
        .observe(document.getElementById('messages'), { childList: true, subtree: true }); }"""
    )
    page.send("blur 8", sample(1))
    answer = page.answer("edited")
    assert "Processing, please wait…" in page.evaluate("window.said")
    assert size_of(page, answer) == [450, 300]


@pytest.mark.parametrize(
    ("caption", "size"),
    [
        ("Contour", [450, 300]),
        ("rotate", [300, 450]),
        ("rotate 180 anti-clockwise", [450, 300]),
        ("salt and pepper 0.2", [450, 300]),
        ("SEGMENT", [450, 300]),
        ("/blur@sightloop_bot 4", [450, 300]),
    ],
)
def test_every_filter_is_answered_by_a_picture(chat, sample, caption, size) -> None:
    page = chat()
    page.send(caption, sample(2))
    assert size_of(page, page.answer("edited")) == size


def test_pressing_that_boxes_are_right_is_answered(chat, sample) -> None:
    page = chat()
    page.send("predict scratch", sample(1))
    page.answer("scratch:")
    page.get_by_role("button", name="The boxes are right").click()

    toast = page.get_by_role("alert").filter(has_text="Thank you")
    expect(toast).to_be_visible()
    page.get_by_role("button", name="OK").click()
    expect(page.locator("#toast")).to_be_hidden()
    expect(page.locator("#said")).to_be_focused()


def test_nothing_here_is_an_answer_too(chat, sample) -> None:
    page = chat()
    page.send("predict", sample(3))
    page.answer("scratch:")
    page.get_by_role("button", name="Nothing here").click()
    expect(page.locator("#toast-text")).not_to_be_empty()


def test_correct_them_leads_into_the_labelling_tool(chat, sample) -> None:
    page = chat(50_777)
    page.send("predict", sample(1))
    page.answer("scratch:")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Correct them").click()
    tool = opened.value
    expect(tool.locator("#signed")).to_contain_text("Telegram user 50777")
    expect(tool.locator("#list .row").first).to_be_visible()
    assert tool.evaluate("document.referrer + location.hash + String(opener)") == "null"


def test_an_album_is_joined_as_its_caption_says(chat, sample) -> None:
    page = chat()
    page.send("concat vertical bottom-to-top", sample(1), sample(2), sample(3))
    expect(page.locator(".from-person")).to_have_count(1)
    expect(page.locator(".from-person img")).to_have_count(3)
    answer = page.answer("3 photos, joined")
    assert size_of(page, answer) == [450, 900]
    expect(answer.locator(".foot")).to_be_in_viewport()
    expect(page.locator("#newer")).to_be_hidden()


def test_who_reads_further_up_is_not_torn_away(chat) -> None:
    page = chat()
    for n in range(3):
        page.send("/help")
        page.answer("Hello!", nth=n)
    page.locator("#log").evaluate(
        "log => new Promise((seen) => {"
        "  log.addEventListener('scroll', seen, { once: true }); log.scrollTop = 0; })"
    )
    page.evaluate(
        "fetch(`bot/chats/${new URLSearchParams(location.search).get('chat')}/messages`, { "
        "method: 'POST', body: (() => { const form = new FormData(); "
        "form.append('text', 'models'); return form; })() })"
    )
    page.answer("scratch", nth=3)
    expect(page.locator(".from-person").first).to_be_in_viewport()
    page.get_by_role("button", name="New messages").click()
    expect(page.answers().last).to_be_in_viewport()


def test_a_picture_sent_as_a_file_is_looked_at_in_its_own_size(chat, make_picture) -> None:
    page = chat()
    page.locator("#files").set_input_files([make_picture("ümlaut ☃.png", size=(3000, 2000))])
    page.get_by_label("Send as file").check()
    page.send("rotate")
    expect(page.locator(".from-person .file")).to_contain_text("ümlaut ☃.png")
    assert size_of(page, page.answer("edited")) == [2000, 3000]
    expect(page.get_by_label("Send as file")).not_to_be_checked()


def test_a_photo_is_made_smaller_as_telegrams_apps_do(chat, make_picture) -> None:
    page = chat()
    page.send("rotate 180", make_picture("large.jpg", size=(4000, 3000), orientation=6))
    assert size_of(page, page.answer("edited")) == [1920, 2560]


def test_replying_to_a_picture_of_the_bot_works_on_that_picture(chat, sample) -> None:
    page = chat()
    page.send("rotate", sample(1))
    page.answer("edited")
    page.get_by_role("button", name=re.compile("Reply to Bot")).click()
    expect(page.locator("#replying")).to_contain_text("Replying to Bot")
    page.keyboard.press("Escape")
    expect(page.locator("#replying")).to_be_hidden()

    page.get_by_role("button", name=re.compile("Reply to Bot")).click()
    page.send("rotate")
    expect(page.locator(".from-person").last.locator(".quote")).to_contain_text("Bot: photo")
    assert size_of(page, page.answer("edited", nth=1)) == [450, 300]


def test_an_edited_caption_is_answered_anew(chat, sample) -> None:
    page = chat()
    page.send("rotat", sample(1))
    page.answer("What shall I do with it?")
    page.get_by_role("button", name="Edit photo: rotat").click()
    expect(page.locator("#replying")).to_contain_text("Editing photo: rotat")
    expect(page.locator("#said")).to_have_value("rotat")
    page.send("rotate")
    expect(page.locator(".from-person .text")).to_have_text("rotate")
    assert size_of(page, page.answer("edited", nth=1)) == [300, 450]


def test_editing_the_caption_of_an_album_leaves_its_photos(chat, sample) -> None:
    page = chat()
    page.send("concat", sample(1), sample(2), sample(3))
    page.answer("3 photos, joined")
    page.get_by_role("button", name="Edit photo: concat").click()
    page.send("concat vertical")
    expect(page.locator(".from-person .text")).to_have_text("concat vertical")
    expect(page.locator(".from-person img")).to_have_count(3)
    assert size_of(page, page.answer("3 photos, joined", nth=1)) == [450, 900]


def test_an_edit_can_be_left(chat) -> None:
    page = chat()
    page.send("models")
    page.answer("scratch")
    page.get_by_role("button", name="Edit models").click()
    page.get_by_role("button", name="Leave it").click()
    expect(page.locator("#said")).to_have_value("")
    expect(page.locator("#replying")).to_be_hidden()


def test_words_alone_are_answered(chat) -> None:
    page = chat()
    page.send("/start")
    page.answer("Hello!")
    page.send("models")
    page.answer("scratch", nth=1)
    page.send("<b>what</b> a *lovely* day ☃")
    expect(page.locator(".from-person").last).to_contain_text("<b>what</b> a *lovely* day ☃")
    page.answer("Send a photo with a caption", nth=2)


def test_a_wrong_parameter_is_answered_by_the_right_usage(chat, sample) -> None:
    page = chat()
    page.send("rotate 45", sample(1))
    page.answer("rotate [clockwise|anti-clockwise] [90|180|270]")


def test_photos_come_by_drop_and_by_paste_and_can_be_left_out_again(chat, sample) -> None:
    page = chat()
    photo = list(sample(1).read_bytes())
    assert page.evaluate(DROP, [["one.jpg", "two.jpg"], photo]), "the page shows that it takes it"
    expect(page.locator("#files-chosen li")).to_have_count(2)
    page.evaluate(PASTE, [["three.jpg"], photo])
    expect(page.locator("#files-chosen li")).to_have_count(3)
    page.get_by_role("button", name="Leave two.jpg out").click()
    expect(page.locator("#files-chosen img")).to_have_count(2)
    page.send("concat")
    page.answer("2 photos, joined")


def test_two_people_have_chats_of_their_own_and_a_group_together(chat, sample) -> None:
    page = chat(1001)
    page.send("one's secret")
    page.answer("/help")
    page.get_by_role("radio", name="Ben").check()
    expect(page.locator("#messages")).not_to_contain_text("secret")

    page.get_by_role("radio", name="Group").check()
    page.locator("#speaker").select_option("Cleo")
    page.send("/rotate@sightloop_bot", sample(1))
    expect(page.locator(".from-person").last.locator(".who")).to_have_text("Cleo")
    expect(page.answers().last).to_contain_text("edited")
    page.get_by_role("radio", name="Ann").check()
    expect(page.locator("#messages")).to_contain_text("secret")
    assert "chat=1001" in page.url


def test_what_is_said_in_one_window_is_seen_in_another(chat) -> None:
    one, other = chat(50_888), chat(50_888)
    one.send("models")
    other.answer("scratch")
    other.reload()
    other.answer("scratch")
    expect(other.locator(".from-person")).to_have_text(re.compile("models"))


def test_what_cannot_be_sent_is_told_and_nothing_is_lost(chat, make_picture, tmp_path) -> None:
    page = chat()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("#fault")).to_have_text("Write something, or add a photo.")

    page.locator("#files").set_input_files([make_picture("broken.jpg", keep=0.3)])
    page.locator("#said").fill("predict")
    page.keyboard.press("Enter")
    expect(page.locator("#fault")).to_contain_text("broken.jpg")
    expect(page.locator("#fault")).to_contain_text("as a file")
    expect(page.locator("#said")).to_have_value("predict")
    expect(page.locator("#files-chosen li")).to_have_count(1)
    page.get_by_label("Send as file").check()
    page.get_by_role("button", name="Send", exact=True).click()
    page.answer("image")
    page.forgive("400")

    large = tmp_path / "large.bin"
    large.write_bytes(bytes(20_000_001))
    page.locator("#files").set_input_files([large])
    expect(page.locator("#fault")).to_contain_text("20.0 MB at most")


def test_every_file_that_is_too_large_is_left_out(chat, sample, tmp_path) -> None:
    page = chat()
    large = [tmp_path / name for name in ("one.bin", "two.bin")]
    for path in large:
        path.write_bytes(bytes(20_000_001))
    page.locator("#files").set_input_files([large[0], *[sample(1)] * 11, large[1]])

    expect(page.locator("#files-chosen li")).to_have_count(10)
    for told in ("one.bin", "two.bin", "20.0 MB at most", "10 photos at most"):
        expect(page.locator("#fault")).to_contain_text(told)


def test_what_is_written_while_something_is_sent_stays(chat, sample) -> None:
    page = chat()
    page.send("well")
    page.answer("I did not understand")
    sending = page.hold("**/messages")
    page.locator("#files").set_input_files([sample(1)])
    page.locator("#said").fill("blur")
    page.get_by_role("button", name="Send", exact=True).click()
    page.until_held(sending, 1)
    page.locator("#files").set_input_files([sample(2)])
    page.locator(".from-bot").get_by_role("button", name=re.compile("Reply to")).click()
    page.locator("#said").fill("the next")
    sending[0].continue_()

    page.answer("", nth=1)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    expect(page.locator("#said")).to_have_value("the next")
    expect(page.locator("#files-chosen li")).to_have_count(1)
    expect(page.locator("#replying-to")).to_contain_text("Bot")


def test_the_caption_of_a_file_can_be_taken_away(chat, make_picture) -> None:
    page = chat()
    page.locator("#files").set_input_files([make_picture("tag.png")])
    page.get_by_label("Send as file").check()
    page.locator("#said").fill("blur")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator(".from-person").get_by_role("button", name="Edit").click()
    page.send("")

    page.answer("What shall I do with it?", nth=1)


def test_a_button_that_is_pressed_twice_at_once_is_pressed_once(chat, sample) -> None:
    page = chat()
    page.send("predict", sample(1))
    page.answer("scratch:")
    pressing = page.hold("**/presses")
    page.get_by_role("button", name="The boxes are right").dblclick()
    page.until_held(pressing, 1)
    pressing[0].continue_()

    expect(page.locator("#toast")).to_be_visible()
    assert len(page.posts("/presses")) == 1


def test_an_album_of_eleven_is_ten(chat, sample) -> None:
    page = chat()
    page.evaluate(DROP, [[f"{n}.jpg" for n in range(11)], list(sample(1).read_bytes())])
    expect(page.locator("#files-chosen li")).to_have_count(10)
    expect(page.locator("#fault")).to_contain_text("10 photos at most")


def test_who_sees_nothing_hears_what_the_bot_says(chat, sample) -> None:
    page = chat()
    page.send("predict", sample(1))
    expect(page.locator("#live")).to_contain_text(re.compile(r"Bot, a picture: scratch: \d"))


def test_all_can_be_done_with_the_keyboard(chat) -> None:
    page = chat()
    page.locator("#said").focus()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.locator(".from-person .text")).to_have_text("one\ntwo")
    page.answer("/help")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"attach", "log", "link reply"} <= reached
    page.get_by_role("radio", name="Ann").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Ben")).to_be_checked()


def test_a_stand_in_that_is_gone_is_told_until_it_is_back(chat) -> None:
    page = chat(50_999)
    page.send("models")
    page.answer("scratch")
    page.route("**/events?*", lambda route: route.abort("connectionrefused"))
    page.reload()
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
    page.unroute("**/events?*")
    expect(page.locator("#trouble")).to_be_hidden()
    page.answer("scratch")
    page.forgive("ERR_CONNECTION_REFUSED")


def test_trouble_with_one_chat_is_over_in_another(chat) -> None:
    page = chat(50_998)
    page.route("**/chats/50998/events?*", lambda route: route.abort("connectionrefused"))
    page.reload()
    expect(page.locator("#trouble")).to_be_visible()
    page.get_by_role("radio", name="Ann").check()

    expect(page.locator("#trouble")).to_be_hidden()
    page.forgive("ERR_CONNECTION_REFUSED")


@pytest.mark.parametrize("wanted", [2**52, -5, "x", "1e400"])
def test_a_chat_that_cannot_be_is_the_first(visit, wanted) -> None:
    page = visit(f"bot?chat={wanted}")

    expect(page.get_by_role("radio", name="Ann")).to_be_checked()
    expect(page.locator("#empty")).to_be_attached()
    expect(page.locator("#trouble")).to_be_hidden()
    assert "chat=1001" in page.url


def test_a_stand_in_that_was_started_anew_has_forgotten_the_chat(chat) -> None:
    page = chat()
    page.send("models")
    page.answer("scratch")
    anew = {"run": "another", "until": 0, "messages": [], "toasts": []}
    page.route("**/events?*", lambda route: route.fulfill(json=anew), times=2)
    page.send("hello")
    expect(page.locator("#live")).to_contain_text("started anew")
    page.answer("scratch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [{"width": 1440}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_fault(chat, sample, scheme, options) -> None:
    page = chat(color_scheme=scheme, **options)
    assert faults(page) == []
    page.send("predict", sample(1))
    page.answer("scratch:")
    page.get_by_role("button", name="The boxes are right").click()
    expect(page.locator("#toast")).to_be_visible()
    page.get_by_role("button", name=re.compile("Reply to Bot")).click()
    page.locator("#files").set_input_files([sample(1), sample(2)])
    assert faults(page) == []


@pytest.mark.parametrize("width", [320, 375, 768, 960, 1600])
def test_no_width_scrolls_sideways_and_send_is_in_reach(chat, sample, width) -> None:
    page = chat(width=width, height=740)
    page.send("a-very-long-word-without-any-space-" * 20, sample(1), sample(2))
    expect(page.locator(".from-person")).to_be_visible()
    page.locator("#files").set_input_files([sample(1)] * 6)
    aside = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(aside) == 0
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_in_viewport(ratio=1)


def test_on_a_phone_enter_begins_a_line_and_the_camera_is_offered(chat) -> None:
    page = chat(is_mobile=True, **PHONE)
    page.locator("#said").fill("one")
    page.locator("#said").press("Enter")
    expect(page.locator("#said")).to_have_value("one\n")
    with page.expect_file_chooser() as asked:
        page.get_by_role("button", name="Take a photo").click()
    assert asked.value.element.get_attribute("capture") == "environment"


def test_the_other_pages_lead_to_the_chat(visit) -> None:
    page = visit("models")
    page.get_by_role("link", name="Bot", exact=True).click()
    expect(page.get_by_role("link", name="Bot", exact=True)).to_have_attribute(
        "aria-current", "page"
    )
    page.locator("#people label").first.wait_for()


def test_the_chat_is_found_with_a_slash_at_the_end(visit) -> None:
    page = visit("bot/")
    expect(page.locator("#people label").first).to_be_visible()
    page.locator("#people label").first.click()


def test_where_no_model_serves_only_what_works_is_offered_until_one_does(visit) -> None:
    page = visit(f"bot?chat={next(_people)}", models={})
    page.clock.install()
    page.reload()
    expect(page.locator("#no-model")).to_contain_text("No model serves yet")
    offered = page.locator("#captions button, #firsts button")
    expect(offered.filter(has_text="contour").first).to_be_attached()
    expect(offered.filter(has_text=re.compile("predict|count"))).to_have_count(0)
    expect(page.locator("#captions")).not_to_contain_text("find what is on it")
    assert faults(page) == []

    page.unroute(f"{page.url.partition('/bot')[0]}/v1/models?*")
    page.clock.run_for(10_000)
    expect(page.locator("#no-model")).to_be_hidden()
    expect(page.locator("#captions").get_by_role("button", name="predict scratch")).to_be_visible()
    expect(page.locator("#firsts").get_by_role("button", name="predict")).to_be_visible()


def test_a_service_that_does_not_answer_is_not_taken_for_one_without_models(visit) -> None:
    page = visit(f"bot?chat={next(_people)}")
    page.route("**/v1/models?*", lambda route: route.abort())
    page.reload()
    expect(page.locator("#firsts").get_by_role("button", name="predict")).to_be_visible()
    expect(
        page.locator("#captions").get_by_role("button", name="predict", exact=True)
    ).to_be_visible()
    expect(page.locator("#no-model")).to_be_hidden()
    page.forgive("ERR_FAILED")
