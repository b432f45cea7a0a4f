"""What people send to the bot, and what comes back."""

from __future__ import annotations

import doctest
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from chalicelib.bot import captions, filters, routes, table, telegram, triggers, words
from chalicelib.bot.words import SLOW_DOWN
from chalicelib.catalog.visibility import Visibility
from local.telegram.world import Refused

if TYPE_CHECKING:
    Talk = Any

_chats = itertools.count(1000)


@pytest.fixture
def chat() -> int:
    return next(_chats)


@pytest.fixture
def frozen(talk: Talk) -> Iterator[datetime]:
    """Stop the service's clock."""
    talk.clock.at = datetime.now(UTC).replace(second=0, microsecond=0)
    yield talk.clock.at
    talk.clock.at = None


def pixels(jpeg: bytes) -> filters.Pixels:
    with Image.open(BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


def test_hello_is_answered_with_what_can_be_done(talk: Talk, chat: int) -> None:
    for greeting in ("/start", "hello", "/help@sightloop_bot"):
        talk.world.write(chat, greeting)
    talk.work()

    assert talk.told(chat) == [words.welcome("scratch", "scratch")] * 3


def test_a_photo_is_answered_with_its_boxes(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict scratch")
    talk.work()

    assert talk.told(chat) == ["scratch: 1 (90%)\ndent: 1 (60%)\n(scratch, version 1)"]
    assert (pixels(talk.picture(chat)) != pixels(make_picture())).any()
    names = [button["text"] for button in talk.buttons(chat)]
    assert names == ["The boxes are right", "Nothing here", "Correct them", "Delete the photo"]


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("count", "scratch: 1\ndent: 1"),
        ("count dents", "dents: 1"),
        ("count people", "scratch knows no people: it knows scratch and dent."),
    ],
)
def test_things_are_counted(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], caption: str, told: str
) -> None:
    talk.world.send_photo(chat, make_picture(), caption)
    talk.work()

    assert talk.told(chat) == [told]


def test_a_model_that_is_not_there_is_named(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict rust")
    talk.work()

    assert talk.told(chat) == ["There is no model “rust”. There are: scratch."]


def test_a_filter_is_answered_with_the_picture(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture((80, 60)), "rotate")
    talk.work()

    turned = pixels(talk.picture(chat))
    assert turned.shape == (80, 60, 3)
    expected = filters.rotate(pixels(make_picture((80, 60))), 90)
    assert np.abs(turned.astype(int) - expected).mean() < 3  # what JPEG loses


def test_a_reply_with_a_caption_is_for_the_picture_it_replies_to(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    answer = talk.world.from_bot(chat)[-1]
    talk.world.write(chat, "segment", reply_to_message=answer)
    talk.work()

    assert set(np.unique(pixels(talk.picture(chat)) // 64)) <= {0, 3}


def test_a_wrong_parameter_is_answered_with_the_usage(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "rotate 45")
    talk.work()

    [told] = talk.told(chat)
    assert "rotate [clockwise|anti-clockwise] [90|180|270]" in told


@pytest.mark.parametrize(
    "content",
    [
        {
            "sticker": {
                "file_id": "s",
                "file_unique_id": "s",
                "width": 1,
                "height": 1,
                "is_animated": False,
                "is_video": False,
                "type": "regular",
            }
        },
        {"video": {"file_id": "v", "file_unique_id": "v", "width": 1, "height": 1, "duration": 1}},
        {"document": {"file_id": "d", "file_unique_id": "d", "mime_type": "application/pdf"}},
        {"text": "blur"},
    ],
)
def test_what_is_no_picture_is_answered(talk: Talk, chat: int, content: dict[str, Any]) -> None:
    text = content.pop("text", None)
    talk.world._send(talk.world._incoming(chat, **({"text": text} if text else content)))
    talk.work()

    assert talk.told(chat) == [words.not_a_picture(serves=True)]


def test_other_text_is_answered_with_how_to_begin(talk: Talk, chat: int) -> None:
    talk.world.write(chat, "what a lovely day")
    talk.work()

    assert talk.told(chat) == [words.how_to_begin(serves=True)]


def test_a_picture_sent_as_a_file_is_looked_at(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(kind="PNG"), "Predict", as_document="image/png")
    talk.work()

    assert talk.told(chat)[0].startswith("scratch: 1")


def test_a_file_that_is_no_picture_inside_is_answered_with_why(talk: Talk, chat: int) -> None:
    talk.world.send_photo(chat, b"GIF89a, not", "predict", as_document="image/gif")
    talk.world.send_photo(chat, b"neither", "blur", as_document="image/jpeg")
    talk.work()

    assert len(talk.told(chat)) == 2
    assert all("image" in told for told in talk.told(chat))


def test_a_file_that_telegram_would_not_give_us_is_refused(talk: Talk, chat: int) -> None:
    large = {
        "file_id": "x",
        "file_unique_id": "x",
        "mime_type": "image/png",
        "file_size": 21 * 1024 * 1024,
    }
    talk.world._send(talk.world._incoming(chat, document=large, caption="predict"))
    talk.work()

    assert talk.told(chat) == [words.TOO_LARGE]


def test_an_update_that_comes_twice_is_answered_once(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    update = talk.world.send_photo(chat, make_picture(), "predict")
    talk.waiting += [update, update]
    talk.work()
    talk.deliver(update)
    talk.work()

    assert len(talk.told(chat)) == 1


def test_in_a_group_only_what_is_for_the_bot_is_answered(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.write(-chat, "hello everybody")
    talk.world.write(-chat, "/predict@other_bot scratch")
    talk.world.send_photo(-chat, make_picture())
    talk.world.send_photo(-chat, make_picture(), "/predict@sightloop_bot scratch")
    talk.work()

    assert [told.split(":")[0] for told in talk.told(-chat)] == ["scratch"]


def test_pressing_that_boxes_are_right_is_a_submission(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    right = talk.buttons(chat)[0]["callback_data"]
    answer = talk.world.from_bot(chat)[-1]
    talk.world.press(chat, answer["message_id"], right)
    talk.work()

    assert talk.world.toasts[-1]["text"].startswith("Thank you")
    with talk.services.database.transaction() as rows:
        rows.execute(
            "SELECT prediction_id::text, state FROM requests WHERE user_address = %s",
            (f"user:telegram-{chat}",),
        )
        assert rows.fetchall() == [(right.partition(":")[2], "accepted")]


def test_who_is_banned_is_told_so(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    user = f"user:telegram-{chat}"
    talk.services.ledger.ban(user, "tests", "operator")
    talk.services.ban_follow_up.run()
    talk.services.__dict__.pop("report_list")
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()

    assert talk.told(chat)[0].startswith("You have been shut out since ")


def test_who_is_banned_does_not_slip_in_when_the_refusal_has_to_be_said_again(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.services.ledger.ban(f"user:telegram-{chat}", "tests", "operator")
    talk.services.ban_follow_up.run()
    talk.services.__dict__.pop("report_list")
    talk.deliver(talk.world.send_photo(chat, make_picture(), "predict"))
    talk.waiting.clear()
    [record] = talk.receive("bot")
    call = talk.world.call

    def fails(method: str, given: dict[str, Any]) -> Any:
        talk.world.call = call
        raise Refused(502, "Bad Gateway")

    talk.world.call = fails
    for _ in range(2):
        talk.handle("converse", [record])

    [told] = talk.told(chat)
    assert told.startswith("You have been shut out since ")


def test_who_is_banned_may_not_judge_boxes(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    answer = talk.world.from_bot(chat)[-1]
    talk.services.ledger.ban(f"user:telegram-{chat}", "tests", "operator")
    talk.services.ban_follow_up.run()
    talk.services.__dict__.pop("report_list")
    talk.world.press(chat, answer["message_id"], talk.buttons(chat)[1]["callback_data"])
    talk.work()

    assert talk.world.toasts[-1]["text"].startswith("You have been shut out since ")
    assert talk.services.ledger.of_user(f"user:telegram-{chat}") == []


def test_a_chat_that_asks_too_much_is_told_once_and_served_again_a_minute_later(
    talk: Talk, chat: int, frozen: datetime
) -> None:
    for _ in range(63):
        talk.world.write(chat, "models")
    talk.work()
    known = words.models([("scratch", ("scratch", "dent"), Visibility.PRIVATE)])
    assert "photos are seen by operators only" in known
    assert talk.told(chat) == [*[known] * 60, SLOW_DOWN]

    talk.clock.at = frozen + timedelta(minutes=1)
    talk.world.write(chat, "models")
    talk.work()
    assert len(talk.told(chat)) == 62


def test_another_chat_does_not_suffer_from_it(talk: Talk, chat: int, frozen: datetime) -> None:
    for _ in range(62):
        talk.world.write(chat, "models")
    talk.world.write(chat + 10**6, "hello")
    talk.work()

    assert len(talk.told(chat + 10**6)) == 1


def test_a_webhook_call_without_the_secret_is_refused(talk: Talk, chat: int) -> None:
    update = talk.world.write(chat, "hello")
    talk.waiting.clear()

    assert talk.deliver(update, secret="guessed") == 401
    assert talk.deliver(update, secret="") == 401
    talk.work()
    assert talk.told(chat) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'{"update_id": "1"}'])
def test_what_is_no_update_is_refused(talk: Talk, body: bytes) -> None:
    assert talk.post("/v1/telegram/webhook", body, "known-to-telegram") == 400


def test_a_bot_that_was_blocked_does_not_try_again(talk: Talk, chat: int) -> None:
    talk.world.write(chat, "hello")
    talk.world.blocked.add(chat)
    talk.work()
    talk.world.blocked.remove(chat)

    assert talk.told(chat) == []


def test_every_example_of_the_help_works_as_it_stands(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    shown = talk.examples(chat)
    assert len(shown) == 18
    for caption in shown:
        if not caption.startswith("concat"):  # of an album: test_albums.py
            talk.world.send_photo(chat, make_picture(), caption)
    talk.work()

    answers = talk.world.from_bot(chat)[1:]
    assert len(answers) == 14
    assert all("photo" in answer for answer in answers)


def test_where_no_model_serves_help_shows_what_works_all_the_same(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], without_models: None
) -> None:
    assert talk.examples(chat)[0] == "blur"

    talk.world.write(chat, "models")
    talk.world.send_photo(chat, make_picture(), "predict")
    talk.work()
    assert talk.told(chat)[1:] == [words.NO_MODEL] * 2


def test_where_no_model_serves_nothing_is_offered_that_needs_one(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], without_models: None
) -> None:
    talk.world.write(chat, "/start")
    talk.world.send_photo(chat, make_picture(), "")
    talk.world.write(chat, "what a lovely day")
    talk.world.write(chat, "blur")  # of what?
    talk.world.send_photo(chat, make_picture(), "contour")
    talk.work()

    start, photo, day, blur, _ = said = talk.told(chat)
    assert all("predict" not in each and "count" not in each for each in said)
    assert start.endswith(words.NO_MODEL)
    assert photo.startswith(words.NO_MODEL)
    assert "salt and pepper" in photo
    assert "“contour”" in day
    assert "“contour”" in blur
    assert "photo" in talk.world.from_bot(chat)[-1]


@pytest.fixture
def without_models(talk: Talk) -> Iterator[None]:
    store, key = talk.services.store, "models/scratch/model.yaml"
    held = store.get(key).body
    store.delete(key)
    yield
    store.put(key, held, "application/yaml")


@pytest.fixture
def crowd(talk: Talk, make_model: Callable[..., bytes]) -> Iterator[str]:
    """A second model, which finds two people on every picture."""
    boxes = ((8, 8, 24, 20, 0.9, 0), (30, 30, 60, 50, 0.7, 0))
    talk.services.publisher.publish("crowd", make_model(boxes, ("Person",)), b"{}")
    yield "crowd"
    talk.services.store.delete("models/crowd/model.yaml")


def test_of_several_models_the_first_is_asked_until_another_is_named(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], crowd: str
) -> None:
    for caption in ("predict", "predict scratch", "predict"):
        talk.world.send_photo(chat, make_picture(), caption)
        talk.work()

    first, named, last = talk.told(chat)
    assert first == (
        "Person: 2 (90%, 70%)\n(crowd, version 1)\n"
        "You can also write “predict” and one of: scratch."
    )
    assert named == last
    assert named.endswith("(scratch, version 1)")


def test_people_are_counted_by_the_model_that_knows_people(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], crowd: str
) -> None:
    for caption in ("predict scratch", "count people"):
        talk.world.send_photo(chat, make_picture(), caption)
        talk.work()

    assert talk.told(chat)[-1] == "people: 2"


@pytest.mark.parametrize(
    "said", ["/start abc", "Hello!", "hi there", "HELP", "/Help@Sightloop_Bot"]
)
def test_a_greeting_in_any_form_is_answered(talk: Talk, chat: int, said: str) -> None:
    talk.world.write(chat, said)
    talk.work()

    assert talk.told(chat) == [words.welcome("scratch", "scratch")]


@pytest.mark.parametrize(
    "said",
    [
        "/help@other_bot",
        "count me in",
        "/weather",
        "hello",
        "blur it",
        "models",
        "@sightloop_bot2 hi",
    ],
)
def test_what_people_of_a_group_say_to_each_other_is_theirs(
    talk: Talk, chat: int, said: str
) -> None:
    talk.world.write(-chat, said)
    talk.work()

    assert talk.told(-chat) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/models", "scratch: scratch, dent"),
        ("@Sightloop_bot hello", "Send me a photo"),
        ("@sightloop_bot what now?", "I did not understand"),
        ("/blur", "I can only look at photos"),
    ],
)
def test_what_is_said_to_the_bot_in_a_group_is_answered(
    talk: Talk, chat: int, said: str, told: str
) -> None:
    talk.world.write(-chat, said)
    talk.work()

    [answer] = talk.told(-chat)
    assert told in answer


def test_a_photo_in_a_group_may_name_the_bot_before_the_command(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.world.send_photo(-chat, make_picture((80, 60)), "@sightloop_bot rotate")
    talk.work()

    assert pixels(talk.picture(-chat)).shape == (80, 60, 3)


def test_in_a_group_the_link_to_the_labelling_tool_speaks_for_nobody(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    for each in (chat, -chat):
        talk.world.send_photo(each, make_picture(), "/predict")
    talk.work()

    assert "#token=" in talk.buttons(chat)[2]["url"]
    assert "#token=" not in talk.buttons(-chat)[2]["url"]


def test_a_file_without_a_type_is_known_by_its_name(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    file_id = talk.world._keep(make_picture(kind="PNG"))["file_id"]
    document = {"file_id": file_id, "file_unique_id": "d", "file_name": "part.PNG"}
    talk.world._send(talk.world._incoming(chat, document=document, caption="contour"))
    talk.work()

    assert "photo" in talk.world.from_bot(chat)[-1]


@pytest.mark.parametrize("caption", ["predict", "blur"])
def test_a_photo_that_telegram_refuses_to_hand_out_is_answered(
    talk: Talk, chat: int, make_picture: Callable[..., bytes], caption: str
) -> None:
    gone = talk.world.send_photo(chat, make_picture(), caption)["message"]["photo"][-1]["file_id"]
    large = talk.world.send_photo(chat, make_picture(), caption)["message"]["photo"][-1]["file_id"]
    del talk.world.files[gone]
    talk.world.files[large] = bytes(20_000_001)
    talk.work()

    first, second = talk.told(chat)
    assert first == "Telegram no longer has that file: please send it again."
    assert second == words.TOO_LARGE


def test_an_edited_message_is_answered_anew_only_if_it_says_something_else(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    update = talk.world.send_photo(chat, make_picture(), "blurr")
    same = {"update_id": 1_000_000 + chat, "edited_message": update["message"]}
    mended = {**update["message"], "caption": "blur", "edit_date": 1}
    talk.waiting += [same, {"update_id": 2_000_000 + chat, "edited_message": mended}]
    talk.work()

    asked, blurred = talk.world.from_bot(chat)
    assert asked["text"].startswith("What shall I do")
    assert "photo" in blurred


def test_what_happens_in_a_chat_without_anybody_saying_anything_is_let_be(
    talk: Talk, chat: int
) -> None:
    pinned = talk.world.write(chat, "models")["message"]
    talk.waiting.clear()
    talk.world._send(talk.world._incoming(chat, pinned_message=pinned))
    talk.work()

    assert talk.told(chat) == []


def test_who_fails_half_way_is_followed_by_who_gets_the_message_again(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.deliver(talk.world.send_photo(chat, make_picture(), "blur"))
    talk.waiting.clear()
    [record] = talk.receive("bot")
    call = talk.world.call

    def fails(method: str, given: dict[str, Any]) -> Any:
        if method == "getFile":
            talk.world.call = call
            raise Refused(502, "Bad Gateway")
        return call(method, given)

    talk.world.call = fails
    assert talk.handle("converse", [record])["batchItemFailures"]
    assert talk.told(chat) == [words.PROCESSING]
    assert talk.handle("converse", [record])["batchItemFailures"] == []

    [answer] = talk.world.from_bot(chat)
    assert "photo" in answer


def test_who_dies_before_it_is_noted_leaves_one_answer(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    update = talk.world.send_photo(chat, make_picture(), "blur")
    talk.deliver(update)
    talk.waiting.clear()
    [record] = talk.receive("bot")
    for _ in range(3):
        assert talk.handle("converse", [record])["batchItemFailures"] == []
        talk.services.bot.account.table.note(f"update#{update['update_id']}", {"done": False})

    assert len(talk.world.from_bot(chat)) == 1


def test_a_dead_letter_that_is_sent_back_is_answered_once(talk: Talk, chat: int) -> None:
    """As a message of another id."""
    talk.deliver(talk.world.write(chat, "hello"))
    talk.waiting.clear()
    [record] = talk.receive("bot")
    talk.world.trouble = away
    assert talk.handle("converse", [record])["batchItemFailures"]
    talk.world.trouble = lambda method: None

    for message in ("another", record["messageId"]):
        again = {**record, "messageId": message}
        assert talk.handle("converse", [again])["batchItemFailures"] == []
        assert len(talk.told(chat)) == 1


def away(method: str) -> None:
    raise Refused(502, "Bad Gateway")


def test_a_copy_waits_while_the_first_may_be_at_work_yet(
    talk: Talk, chat: int, frozen: datetime
) -> None:
    update = talk.world.write(chat, "hello")
    talk.deliver(update)
    talk.waiting.clear()
    [record] = talk.receive("bot")
    talk.services.bot.account.table.claim(f"update#{update['update_id']}", "the first")

    assert talk.handle("converse", [record])["batchItemFailures"] == []
    assert talk.told(chat) == []
    talk.clock.at = frozen + timedelta(minutes=6)
    assert talk.handle("converse", [record])["batchItemFailures"] == []
    assert len(talk.told(chat)) == 1


def test_who_cannot_be_answered_for_good_ends_as_a_dead_letter_and_not_in_a_loop(
    talk: Talk, chat: int
) -> None:
    talk.deliver(talk.world.write(chat, "hello"))
    talk.waiting.clear()
    calls: list[str] = []
    call = talk.world.call

    def fails(method: str, given: dict[str, Any]) -> Any:
        calls.append(method)
        raise Refused(500, "Internal Server Error")

    talk.world.call = fails
    while records := talk.receive("bot", at_most_once=False):
        assert talk.handle("converse", records)["batchItemFailures"]
        for record in records:
            talk.services.queue("sightloop-local-bot").postpone(record["receiptHandle"], 0)
    talk.world.call = call

    [dead] = talk.receive("bot-dlq")
    assert f'"id":{chat}' in dead["body"]
    assert len(calls) == talk.services.settings.identify_max_receives


def test_a_prediction_that_failed_is_answered_yet_when_it_succeeds(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.deliver(talk.world.send_photo(chat, make_picture(), "predict"))
    talk.waiting.clear()
    talk.handle("converse", talk.receive("bot"))
    talk._files()
    talk.handle("identify", talk.receive("identify"))
    [result] = talk.receive("results")
    body = json.loads(result["body"])
    problem = {"type": "urn:x", "title": "x", "status": 500, "detail": "given up", "retry": True}
    failed = json.dumps({**body, "state": "failed", "problem": problem})
    talk.handle("reply", [{**result, "body": failed}])
    assert talk.told(chat) == ["Given up."]

    for _ in range(2):
        talk.handle("reply", [result])
    assert talk.told(chat)[0].startswith("scratch: 1")
    assert len(talk.told(chat)) == 1


def test_an_answer_to_who_left_is_let_be(
    talk: Talk, chat: int, make_picture: Callable[..., bytes]
) -> None:
    talk.deliver(talk.world.send_photo(chat, make_picture(), "predict"))
    talk.waiting.clear()
    talk.handle("converse", talk.receive("bot"))
    talk.world.blocked.add(chat)
    talk.work()
    talk.world.blocked.remove(chat)

    assert talk.told(chat) == [words.PROCESSING]


@pytest.mark.parametrize("module", [captions, filters, routes, table, telegram, triggers, words])
def test_examples_in_the_code_are_true(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
