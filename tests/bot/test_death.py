"""Whoever answers may be killed at any moment; the answer comes once all the same.

Death is an exception that nobody catches: what it leaves behind is in the stand-ins alone, as with
a process that is killed, and the queue brings the message again. (`test_load.py` kills processes.)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from chalicelib.bot import words
from chalicelib.bot.messages import AlbumDue

if TYPE_CHECKING:
    Talk = Any

Json = dict[str, Any]
MOST_MOMENTS = 80
_chats = itertools.count(20_000)
_ids = itertools.count()


class Death(BaseException):
    """SIGKILL."""


class Reaper:
    """Counts the moments at which something outside has just changed, and kills at one."""

    def __init__(self, talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment, self.fatal, self.last, self._works = 0, 0, "", False
        for name in ("s3", "sqs", "dynamodb"):
            events = talk.services.client(name).meta.events
            events.register(f"after-call.{name}", self._after_aws, unique_id=f"reaper-{id(self)}")
            self._forget = (*getattr(self, "_forget", ()), (events, name))
        self._asked: list[str] = []
        self._world, talk.world.trouble = talk.world, self._asked.append
        account = talk.services.bot.account.telegram
        self._do = account._do
        monkeypatch.setattr(account, "_do", self._after_telegram)
        self.late = timedelta(0)
        now = talk.services.now
        monkeypatch.setattr(talk.services, "now", lambda: now() + self.late)

    def forget(self) -> None:
        self._world.trouble = lambda method: None
        for events, name in self._forget:
            events.unregister(f"after-call.{name}", unique_id=f"reaper-{id(self)}")

    def survives(self, work: Callable[[], Json]) -> bool:
        """Do work; tell whether it came to its end, and without failures."""
        self._works = True
        try:
            return work()["batchItemFailures"] == []
        except Death:
            return False
        finally:
            self._works = False
            self.late += timedelta(minutes=6)  # the queue hides what was taken

    def _after_aws(self, model: Any, **_: Any) -> None:
        self._pass(model.name)

    def _after_telegram(self, call: Callable[..., Any]) -> Any:
        done = self._do(call)
        self._pass(self._asked[-1])
        return done

    def _pass(self, name: str) -> None:
        self.moment += self._works
        if self._works and self.moment == self.fatal:
            self.last = name
            raise Death


@pytest.fixture(autouse=True)
def nothing_comes_by_itself(talk: Talk) -> Iterator[None]:
    """Have what is put off never come: the tests make the messages that it would be."""
    sqs, event = talk.services.client("sqs"), "provide-client-params.sqs.SendMessage"
    while talk.receive("bot"):
        pass

    def put_off(params: Json, **_: Any) -> None:
        if params.get("DelaySeconds"):
            params["DelaySeconds"] = 900

    sqs.meta.events.register(event, put_off)
    yield
    sqs.meta.events.unregister(event, put_off)


@pytest.fixture
def reaper(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reaper]:
    made = Reaper(talk, monkeypatch)
    yield made
    made.forget()
    talk.waiting.clear()


def finish(talk: Talk, queue: str, reaper: Reaper) -> None:
    """Work on what a queue holds, each message until somebody survives it."""
    function = {"bot": "converse", "results": "reply"}[queue]
    while records := talk.receive(queue):
        for record in records:
            for _ in range(4):
                if reaper.survives(lambda one=record: talk.handle(function, [one])):
                    break
            else:
                pytest.fail("it fails again and again")


def left_standing(talk: Talk, chat: int) -> int:
    return talk.told(chat).count(words.PROCESSING)


def pictures(talk: Talk, chat: int) -> list[Json]:
    return [message for message in talk.world.from_bot(chat) if "photo" in message]


@pytest.mark.parametrize("caption", ["predict", "blur"])
def test_a_photo_is_answered_once_whenever_its_worker_is_killed(
    talk: Talk, reaper: Reaper, make_picture: Callable[..., bytes], caption: str
) -> None:
    moments: Counter[str] = Counter()
    for _ in range(3):
        moments += kill_at_each_moment(talk, reaper, make_picture, caption)
        if moments["sendMessage"] and moments["editMessageMedia"]:
            break  # else something cached was read anew meanwhile, and no kill fell on these
    assert moments["sendMessage"] and moments["editMessageMedia"]
    assert moments["UpdateItem"] >= 5


def kill_at_each_moment(
    talk: Talk, reaper: Reaper, make_picture: Callable[..., bytes], caption: str
) -> Counter[str]:
    """Send photos and kill the worker of each one call later; return after which calls it was."""
    moments: Counter[str] = Counter()
    for fatal in range(1, MOST_MOMENTS):
        chat = next(_chats)
        talk.world.send_photo(chat, make_picture(), caption)
        assert talk.deliver(talk.waiting.pop()) == 200
        reaper.moment, reaper.fatal, reaper.last = 0, fatal, ""
        finish(talk, "bot", reaper)
        while talk._files() + talk._messages("identify"):
            pass
        finish(talk, "results", reaper)

        [answer] = pictures(talk, chat)
        assert answer["reply_to_message_id"] == talk.world.chats[chat][0]["message_id"]
        orphans = 1 if reaper.last == "sendMessage" else 0  # nobody knows what was sent
        assert left_standing(talk, chat) == orphans, reaper.last
        if not reaper.last:
            break
        moments[reaper.last] += 1
    assert not reaper.last
    return moments


def squares(count: int) -> list[bytes]:
    files = []
    for number in range(count):
        buffer = BytesIO()
        Image.new("RGB", (32, 32), (20 * number,) * 3).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def record(body: str, message: str = "") -> Json:
    return {
        "messageId": message or f"made-{next(_ids)}",
        "receiptHandle": "",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:bot",
        "awsRegion": "eu-central-1",
    }


def arrived_album(talk: Talk, chat: int, arrived: int, photos: int = 3) -> Callable[[], Json]:
    """Let photos of an album come; return who makes messages to look after it."""
    updates = talk.world.send_album(chat, squares(photos), "concat")
    talk.waiting.clear()
    for update in updates[:arrived]:
        assert talk.deliver(update) == 200
    records = talk.receive("bot")
    assert talk.handle("converse", records)["batchItemFailures"] == []
    due = AlbumDue(chat=chat, group=updates[0]["message"]["media_group_id"])
    return lambda: record(due.model_dump_json())


@pytest.mark.parametrize("arrived", [3, 2, 1])
def test_an_album_is_answered_once_whenever_who_closes_it_is_killed(
    talk: Talk, reaper: Reaper, arrived: int
) -> None:
    for fatal in range(1, MOST_MOMENTS):
        chat = next(_chats)
        due = arrived_album(talk, chat, arrived)
        reaper.late += timedelta(minutes=1)
        reaper.moment, reaper.fatal, reaper.last = 0, fatal, ""
        one, other = due(), due()
        survived = reaper.survives(lambda one=one: talk.handle("converse", [one]))
        reaper.fatal = 0
        assert reaper.survives(lambda other=other: talk.handle("converse", [other]))
        if not survived:
            assert reaper.survives(lambda one=one: talk.handle("converse", [one]))

        told = [each for each in talk.told(chat) if each != words.PROCESSING]
        if arrived > 1:
            assert told == [f"{arrived} photos, joined."]
            assert left_standing(talk, chat) == (reaper.last == "sendMessage")
        else:  # words cannot be turned into themselves: who dies behind them says them again
            assert told == [words.ONE_PHOTO] * (2 if reaper.last == "sendMessage" else 1)
        if not reaper.last:
            break
    assert not reaper.last


def test_a_message_that_another_is_given_meanwhile_is_answered_once(
    talk: Talk, make_picture: Callable[..., bytes]
) -> None:
    chat = next(_chats)
    talk.world.send_photo(chat, make_picture(), "blur")
    assert talk.deliver(talk.waiting.pop()) == 200
    [one] = talk.receive("bot")
    call, meanwhile = talk.world.call, []

    def slow(method: str, given: Json) -> Any:
        if method == "sendMessage":
            talk.world.call = call
            meanwhile.append(talk.handle("converse", [one]))
        return call(method, given)

    talk.world.call = slow
    assert talk.handle("converse", [one])["batchItemFailures"] == []
    assert meanwhile == [{"batchItemFailures": []}]  # put off
    assert talk.handle("converse", [one])["batchItemFailures"] == []
    assert len(talk.world.from_bot(chat)) == len(pictures(talk, chat)) == 1


def test_a_photo_that_comes_while_its_album_is_answered_is_joined(
    talk: Talk, reaper: Reaper
) -> None:
    chat = next(_chats)
    updates = talk.world.send_album(chat, squares(3), "concat")
    talk.waiting.clear()
    for update in updates[:2]:
        talk.deliver(update)
    talk.handle("converse", talk.receive("bot"))
    reaper.late += timedelta(minutes=1)
    due = AlbumDue(chat=chat, group=updates[0]["message"]["media_group_id"]).model_dump_json()
    reaper.fatal, closing = 4, record(due)  # it is claimed and read, and nothing is sent
    assert not reaper.survives(lambda: talk.handle("converse", [closing]))
    talk.deliver(updates[2])
    talk.deliver(updates[1])
    talk.handle("converse", talk.receive("bot"))
    assert talk.told(chat) == []

    reaper.late += timedelta(minutes=1)
    assert reaper.survives(lambda: talk.handle("converse", [closing]))
    assert talk.told(chat) == ["3 photos, joined."]
