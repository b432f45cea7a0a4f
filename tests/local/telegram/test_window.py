"""What the chat window is told and what it may send: every fault is named, none is half done."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from chalicelib.errors import InvalidRequest, MethodNotAllowed, NotFound
from local.telegram.window import Window
from local.telegram.world import World

Json = dict[str, Any]
ANN = 1001


class Chats:
    """A window over a world, asked without a network."""

    def __init__(self) -> None:
        self.updates: list[Json] = []
        self.world = World(deliver=self.updates.append)
        self.window = Window(self.world)

    def get(self, path: str) -> Any:
        return json.loads(self.window.answer("GET", f"/bot/{path}", "", b"").body)

    def post(self, path: str, body: Json) -> Any:
        sent = json.dumps(body).encode()
        answer = self.window.answer("POST", f"/bot/{path}", "application/json", sent)
        return json.loads(answer.body)

    def change(self, message: int, words: str) -> Any:
        """Send other words for a message of Ann's."""
        return self.write(f"{ANN}", path=f"/{message}", text=words)

    def write(self, chat: int | str = ANN, files: Any = (), path: str = "", **fields: str) -> Any:
        """Send the form that the page sends."""
        parts = [(name, (None, value)) for name, value in fields.items()]
        parts += [("files", file) for file in files]
        request = requests.Request("POST", "http://x/", files=parts or [("no", (None, ""))])
        sent = request.prepare()
        kind, body = sent.headers["Content-Type"], sent.body
        assert isinstance(body, bytes)
        address = f"/bot/chats/{chat}/messages{path}"
        return json.loads(self.window.answer("POST", address, kind, body).body)

    def events(self, chat: int = ANN, run: str = "", after: int = 0) -> Json:
        return dict(self.get(f"chats/{chat}/events?run={run}&after={after}"))

    def messages(self, chat: int = ANN) -> list[Json]:
        return list(self.events(chat)["messages"])


@pytest.fixture
def chats() -> Chats:
    return Chats()


@pytest.fixture
def photo(make_picture: Callable[..., bytes]) -> tuple[str, bytes, str]:
    return ("tag.jpg", make_picture(), "image/jpeg")


def test_a_text_is_an_update_and_is_seen(chats: Chats) -> None:
    chats.write(text=" models ", person=str(ANN))

    assert chats.updates[0]["message"]["text"] == "models"
    [seen] = chats.messages()
    assert (seen["text"], seen["from_bot"], seen["person"]) == ("models", False, ANN)


def test_an_album_is_one_group_with_its_caption_under_the_first(chats: Chats, photo: Any) -> None:
    chats.write(text="concat", files=[photo, photo, photo])

    messages = [update["message"] for update in chats.updates]
    assert [message.get("caption") for message in messages] == ["concat", None, None]
    assert len({message["media_group_id"] for message in messages}) == 1
    chats.write(text="concat", files=[photo, photo])
    assert len({update["message"]["media_group_id"] for update in chats.updates}) == 2


def test_one_broken_photo_of_an_album_keeps_all_of_it_back(chats: Chats, photo: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"“notes\.txt”: "):
        chats.write(files=[photo, ("notes.txt", b"no picture", "text/plain")])

    assert chats.updates == []
    assert chats.messages() == []


def test_a_file_is_sent_as_it_is_with_its_name(chats: Chats) -> None:
    chats.write(files=[("ümlaut ☃.txt", b"anything", "text/plain")], as_file="yes")

    document = chats.updates[0]["message"]["document"]
    assert (document["file_name"], document["mime_type"]) == ("ümlaut ☃.txt", "text/plain")
    [seen] = chats.messages()
    file = chats.window.answer("GET", f"/bot/files/{seen['document']['file']}", "", b"")
    assert file.body == b"anything"
    assert file.headers["Content-Disposition"] == "attachment"


def test_a_page_that_somebody_sends_as_a_picture_is_not_shown_as_a_page(chats: Chats) -> None:
    chats.write(files=[("x.jpg", b"<script>alert(1)</script>", "text/html")], as_file="yes")

    [seen] = chats.messages()
    file = chats.window.answer("GET", f"/bot/files/{seen['document']['file']}", "", b"")
    assert file.headers["Content-Type"] == "application/octet-stream"
    assert file.headers["X-Content-Type-Options"] == "nosniff"


def test_a_slender_picture_can_only_be_sent_as_a_file(
    chats: Chats, make_picture: Callable[..., bytes]
) -> None:
    slender = ("long.jpg", make_picture((2100, 100)), "image/jpeg")
    with pytest.raises(InvalidRequest, match="send it as a file"):
        chats.write(files=[slender])
    chats.write(files=[slender], as_file="yes")

    assert len(chats.updates) == 1


def test_a_reply_brings_the_message_that_it_is_one_to(chats: Chats, photo: Any) -> None:
    chats.write(files=[photo])
    first = chats.messages()[0]["id"]
    chats.write(text="blur", reply_to=str(first))

    assert chats.updates[1]["message"]["reply_to_message"]["message_id"] == first
    assert chats.messages()[1]["reply_to"] == first


def test_who_presses_a_button_is_told_what_the_bot_says(chats: Chats) -> None:
    chats.write(text="hello")
    shown = chats.world.call("sendMessage", {"chat_id": ANN, "text": "well?"})
    query = chats.post(f"chats/{ANN}/presses", {"message": shown["message_id"], "data": "right:1"})
    told = {"callback_query_id": query["query"], "text": "Thank you."}
    chats.world.call("answerCallbackQuery", told)

    assert chats.updates[1]["callback_query"]["from"]["id"] == ANN
    assert chats.events()["toasts"] == [{"id": query["query"], "text": "Thank you."}]
    assert chats.events(1002)["toasts"] == []


def test_an_edited_message_comes_again_where_it_was_read(chats: Chats) -> None:
    chats.write(text="hello")
    shown = chats.world.call("sendMessage", {"chat_id": ANN, "text": "wait"})
    read = chats.events()
    edit = {"chat_id": ANN, "message_id": shown["message_id"], "text": "done"}
    chats.world.call("editMessageText", edit)

    news = chats.events(run=read["run"], after=read["until"])
    assert [(m["text"], m["edited"]) for m in news["messages"]] == [("done", True)]
    assert [m["text"] for m in chats.messages()] == ["hello", "done"]


def test_who_waits_for_news_has_them_as_they_happen(chats: Chats) -> None:
    read = chats.events()
    news: list[Json] = []
    waiting = threading.Thread(target=lambda: news.append(chats.events(ANN, read["run"], 0)))
    waiting.start()
    chats.write(chat=1002, text="of another chat")
    chats.write(text="hello")
    waiting.join(20)

    assert [m["text"] for m in news[0]["messages"]] == ["hello"]


def test_when_it_is_closed_nobody_waits(chats: Chats) -> None:
    read = chats.events()
    waiting = threading.Thread(target=lambda: chats.events(ANN, read["run"], 0))
    waiting.start()
    chats.world.journal.close()
    waiting.join(20)

    assert not waiting.is_alive()


def test_who_read_of_another_run_begins_anew(chats: Chats) -> None:
    chats.write(text="hello")

    assert len(chats.events(run="another", after=99)["messages"]) == 1


def test_words_can_be_changed_by_who_wrote_them(chats: Chats, photo: Any) -> None:
    chats.write(text="blur", files=[photo])
    [message] = chats.messages()
    chats.change(message["id"], "contour")

    edited = chats.updates[1]["edited_message"]
    assert (edited["caption"], "text" in edited) == ("contour", False)
    assert edited["message_id"] == message["id"]
    [seen] = chats.messages()
    assert (seen["text"], seen["edited"]) == ("contour", True)
    chats.change(message["id"], "")
    assert chats.messages()[0]["text"] == ""


def test_words_of_the_bot_or_none_are_not_changed(chats: Chats) -> None:
    chats.write(text="hello")
    shown = chats.world.call("sendMessage", {"chat_id": ANN, "text": "well?"})
    for message, words in [(shown["message_id"], "x"), (chats.messages()[0]["id"], ""), (5, "x")]:
        with pytest.raises(InvalidRequest):
            chats.change(message, words)
    assert len(chats.updates) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "  "}, "nothing to send"),
        ({"text": "x" * 4097}, "4096 at most"),
        ({"text": "x", "reply_to": "17"}, "not found"),
        ({"text": "x", "reply_to": "one"}, "not a number"),
    ],
)
def test_what_cannot_be_sent_is_told(chats: Chats, fields: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        chats.write(**fields)
    assert chats.updates == []


def test_a_caption_is_shorter_than_a_text(chats: Chats, photo: Any) -> None:
    with pytest.raises(InvalidRequest, match="1024 at most"):
        chats.write(text="x" * 1025, files=[photo])


def test_an_album_has_ten_photos(chats: Chats, photo: Any) -> None:
    with pytest.raises(InvalidRequest, match="10 photos at most"):
        chats.write(files=[photo] * 11)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"message": "x", "data": 1}',
        b'{"message": Infinity, "data": 1}',
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_a_press_that_is_none_is_told(chats: Chats, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        chats.window.answer("POST", f"/bot/chats/{ANN}/presses", "application/json", body)


@pytest.mark.parametrize("name", [b'; name="\xff\xfe"', b""])
def test_a_form_of_odd_fields_is_told(chats: Chats, name: bytes) -> None:
    part = b"--x\r\nContent-Disposition: form-data" + name + b"\r\n\r\n\xff\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"

    with pytest.raises(InvalidRequest):
        chats.window.answer("POST", f"/bot/chats/{ANN}/messages", kind, part)


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "application/json"])
def test_a_message_that_is_no_form_is_told(chats: Chats, kind: str) -> None:
    with pytest.raises(InvalidRequest):
        chats.window.answer("POST", f"/bot/chats/{ANN}/messages", kind, b"--x\r\nnonsense")


@pytest.mark.parametrize("chat", ["0", "-5", "nobody", "99999999999999999"])
def test_a_chat_that_there_is_not_is_told(chats: Chats, chat: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        chats.write(chat=chat, text="hello")


@pytest.mark.parametrize(
    "path", ["nothing", "window.py", "../world.py", "..%2fworld.py", "files/../../world.py", "x.js"]
)
def test_nothing_else_is_handed_out(chats: Chats, path: str) -> None:
    with pytest.raises(NotFound):
        chats.window.answer("GET", f"/bot/{path}", "", b"")


def test_another_method_is_told(chats: Chats) -> None:
    with pytest.raises(MethodNotAllowed):
        chats.window.answer("DELETE", "/bot/about", "", b"")


def test_in_a_group_somebody_speaks(chats: Chats) -> None:
    with pytest.raises(InvalidRequest):
        chats.write(chat=-1100, text="/help")
    chats.write(chat=-1100, text="/help", person="1002")

    message = chats.updates[0]["message"]
    assert (message["chat"]["type"], message["from"]["id"]) == ("group", 1002)
