"""The bot on one machine: a stand-in for Telegram starts, talks, and stops with the stack."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from PIL import Image

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
Stack = Any
Json = dict[str, Any]
Starting = Callable[[Path], Stack]
SECONDS = 60


class Chat:
    """One person's chat with the bot of a stack, as the page has it."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.stack = stack
        self.path = f"/bot/chats/{number}"
        self.run, self.until = "", 0
        self.messages: dict[int, Json] = {}
        self.toasts: list[Json] = []

    def send(self, text: str, *photos: bytes, **fields: str) -> None:
        said = {name: (None, value) for name, value in {"text": text, **fields}.items()}
        files = [("files", (f"{n}.jpg", photo, "image/jpeg")) for n, photo in enumerate(photos)]
        answer = self.stack.post(f"{self.path}/messages", files=[*said.items(), *files])
        assert answer.status_code == 200, answer.text

    def press(self, message: Json, label: str) -> None:
        [data] = [b["data"] for b in message["buttons"] if b["text"] == label]
        pressed = {"message": message["id"], "data": data}
        assert self.stack.post(f"{self.path}/presses", json=pressed).status_code == 200

    def read(self) -> None:
        """Take in what happened since it was read last, or happens in a while."""
        told = self.stack.get(
            f"{self.path}/events", params={"run": self.run, "after": self.until}
        ).json()
        self.run, self.until = told["run"], told["until"]
        self.messages |= {message["id"]: message for message in told["messages"]}
        self.toasts += told["toasts"]

    def until_told(self, text: str) -> Json:
        """Wait until the bot says something; return that message."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            self.read()
            for message in self.messages.values():
                if message["from_bot"] and text in message["text"]:
                    return message
        pytest.fail(f"not told {text!r}: {[m['text'] for m in self.messages.values()]}")

    def picture(self, message: Json) -> Image.Image:
        file = self.stack.get(f"/bot/files/{message['photo']['file']}")
        assert file.headers["Content-Type"] == "image/jpeg"
        return Image.open(BytesIO(file.content))


def test_a_photo_is_answered_in_the_chat_and_the_answer_can_be_confirmed(
    stack: Stack, photo: bytes
) -> None:
    chat = Chat(stack, 9001)
    chat.send("predict", photo)
    answer = chat.until_told("scratch: ")
    with chat.picture(answer) as shown, Image.open(BytesIO(photo)) as sent:
        assert shown.size == sent.size
    assert answer["edited"]

    chat.press(answer, "The boxes are right")
    while not chat.toasts:
        chat.read()
    assert chat.toasts[0]["text"].startswith("Thank you")


def test_the_link_below_the_answer_is_of_this_stack_and_good(stack: Stack, photo: bytes) -> None:
    chat = Chat(stack, 9002)
    chat.send("predict", photo)
    [address] = [b["url"] for b in chat.until_told("scratch: ")["buttons"] if b["url"]]
    parts = urlsplit(address)
    assert address.startswith(f"{stack.url}/label?prediction=")

    prediction = parse_qs(parts.query)["prediction"][0]
    token = parse_qs(parts.fragment)["token"][0]
    sent = stack.post(
        "/v1/models/scratch/submissions",
        json={"prediction_id": prediction, "answer": "empty"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert sent.status_code == 201, sent.text
    logs = "".join("\n".join(stack.log(name)) for name in ("app", "http"))
    assert token.rpartition(".")[2] not in logs


def test_an_album_is_joined(stack: Stack, photo: bytes) -> None:
    chat = Chat(stack, 9003)
    chat.send("concat vertical", photo, photo)
    answer = chat.until_told("2 photos, joined")
    with chat.picture(answer) as shown, Image.open(BytesIO(photo)) as sent:
        assert shown.size == (sent.width, 2 * sent.height)


def test_the_bots_api_is_closed_to_who_has_no_token(stack: Stack) -> None:
    known = json.loads((stack.home / "ports.json").read_text(encoding="utf-8"))
    guessed = f"http://127.0.0.1:{known['telegram']}/bot7000000001:guess/getMe"
    answer = requests.get(guessed, timeout=SECONDS)

    assert answer.status_code == 401


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_after_a_restart_the_bot_answers_anew(stack: Stack, photo: bytes, number: int) -> None:
    chat = Chat(stack, 9004)
    chat.send("concat", photo, photo)
    chat.until_told("2 photos, joined")
    stack.restart(number)

    again = Chat(stack, 9004)
    again.read()
    assert again.messages == {}
    again.send("concat", photo, photo)
    again.until_told("2 photos, joined")
    again.send("models")
    again.until_told("scratch")


def test_what_cannot_be_sent_is_a_problem_document(stack: Stack) -> None:
    answer = stack.post("/bot/chats/9005/messages", files={"text": (None, " ")})

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "nothing to send" in answer.json()["detail"]
    assert stack.get("/bot/nowhere").status_code == 404
    assert stack.get("/botany").status_code == 404
