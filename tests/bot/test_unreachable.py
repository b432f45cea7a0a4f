"""When Telegram does not take an answer: who is asked again, when, and where that ends."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.bot import words
from chalicelib.bot.triggers import MOST_DELAYS
from local.telegram.world import Refused

if TYPE_CHECKING:
    Talk = Any

Json = dict[str, Any]
WAIT = 7  # seconds
FUNCTIONS = {"bot": "converse", "results": "reply"}

_chats = itertools.count(9000)


@pytest.fixture
def chat() -> int:
    return next(_chats)


@pytest.fixture(autouse=True)
def calm(talk: Talk) -> Iterator[None]:
    yield
    talk.clock.at = None
    is_back(talk)
    talk.world.blocked.clear()
    talk.waiting.clear()


class Queues:
    """The queues under their own rules, but for the time that a failed message is hidden."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._sqs = talk.services.client("sqs")
        self.sent: list[Json] = []
        self.hidden: list[int] = []
        events = self._sqs.meta.events
        events.register("provide-client-params.sqs.SendMessage", self._hear)
        events.register("provide-client-params.sqs.ChangeMessageVisibility", self._show)

    def forget(self) -> None:
        events = self._sqs.meta.events
        events.unregister("provide-client-params.sqs.SendMessage", self._hear)
        events.unregister("provide-client-params.sqs.ChangeMessageVisibility", self._show)
        for queue in FUNCTIONS:
            while self._talk.receive(queue):
                pass

    def _hear(self, params: Json, **_: Any) -> None:
        """Note what is sent; what is put off is brought by hand, and never by the queue."""
        self.sent.append(dict(params))
        if params.get("DelaySeconds"):
            params["DelaySeconds"] = 900

    def _show(self, params: Json, **_: Any) -> None:
        """Note for how long a message is hidden, and show it at once."""
        self.hidden.append(params["VisibilityTimeout"])
        params["VisibilityTimeout"] = 0

    def _url(self, queue: str) -> str:
        return str(self._sqs.get_queue_url(QueueName=f"sightloop-local-{queue}")["QueueUrl"])

    def turn(self, queue: str = "bot") -> tuple[int, int]:
        """Give the function what waits; return how many messages it took, and failed."""
        received = self._sqs.receive_message(
            QueueUrl=self._url(queue),
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            VisibilityTimeout=0,
            WaitTimeSeconds=0,
        ).get("Messages", [])
        answer = self.handle(queue, [record_of(each) for each in received]) if received else {}
        failed = {each["itemIdentifier"] for each in answer.get("batchItemFailures", [])}
        for each in received:
            if each["MessageId"] not in failed:
                handle = each["ReceiptHandle"]
                self._sqs.delete_message(QueueUrl=self._url(queue), ReceiptHandle=handle)
        return len(received), len(failed)

    def handle(self, queue: str, records: list[Json]) -> Json:
        return dict(self._talk.handle(FUNCTIONS[queue], records))

    def put_off(self) -> Json:
        """Return the message that was put off last, as it comes when its time is over."""
        params = self.sent[-1]
        body = {"MessageId": f"later-{len(self.sent)}", "Body": params["MessageBody"]}
        return record_of({**body, "Attributes": {"ApproximateReceiveCount": "1"}})

    def dead(self, queue: str = "bot") -> int:
        told = self._sqs.get_queue_attributes(
            QueueUrl=self._url(f"{queue}-dlq"), AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(told["Attributes"]["ApproximateNumberOfMessages"])


def record_of(message: Json) -> Json:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message.get("ReceiptHandle", ""),
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:bot",
        "awsRegion": "eu-central-1",
    }


@pytest.fixture
def queues(talk: Talk) -> Iterator[Queues]:
    made = Queues(talk)
    yield made
    made.forget()


def arrive(talk: Talk) -> None:
    """Deliver to the webhook what people sent."""
    while talk.waiting:
        assert talk.deliver(talk.waiting.pop(0)) == 200


@pytest.fixture
def send(
    talk: Talk, chat: int, queues: Queues, make_picture: Callable[..., bytes]
) -> Callable[..., Json]:
    """Send a photo with a caption; where a detection is wanted, its result waits if that is said.

    Returns the update.
    """

    def sent(caption: str, until_result: bool = False) -> Json:
        update: Json = talk.world.send_photo(chat, make_picture(), caption)
        arrive(talk)
        if until_result:
            queues.turn()
            while talk._files() + talk._messages("identify"):
                pass
        return update

    return sent


def is_back(talk: Talk) -> None:
    """Have Telegram take everything again."""
    talk.world.trouble = lambda method: None


def kinds(talk: Talk, chat: int) -> list[str]:
    """Return of each message of the bot's whether it is a photo or a text."""
    return ["photo" if "photo" in each else "text" for each in talk.world.from_bot(chat)]


def busy(method: str = "", wait: int = WAIT) -> Callable[[str], None]:
    """Return a day on which Telegram wants us to wait, whenever a method is called."""

    def trouble(called: str) -> None:
        if method.lower() in called.lower():
            raise Refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait)

    return trouble


def broken(method: str = "") -> Callable[[str], None]:
    """Return a day on which Telegram breaks down, whenever a method is called."""

    def trouble(called: str) -> None:
        if method.lower() in called.lower():
            raise Refused(502, "Bad Gateway")

    return trouble


@pytest.mark.parametrize("caption", ["predict", "blur", "nonsense"])
def test_a_blocked_bot_ends_quietly(
    talk: Talk, chat: int, queues: Queues, make_picture: Callable[..., bytes], caption: str
) -> None:
    talk.world.send_photo(chat, make_picture(), caption)
    talk.world.blocked.add(chat)
    arrive(talk)

    assert queues.turn() == (1, 0)
    assert queues.turn() == (0, 0)
    assert talk.told(chat) == []


def test_a_bot_that_is_blocked_before_the_answer_ends_quietly(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    send("predict", until_result=True)
    talk.world.blocked.add(chat)

    assert queues.turn("results") == (1, 0)
    assert queues.turn("results") == (0, 0)
    assert talk.told(chat) == [words.PROCESSING]


@pytest.mark.parametrize("method", ["sendMessage", "getFile", "editMessageMedia"])
def test_who_is_told_to_wait_waits_as_long_and_loses_no_attempt(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json], method: str
) -> None:
    send("blur")
    talk.world.trouble = busy(method)

    assert queues.turn() == (1, 0)
    attempts = talk.services.settings.identify_max_receives
    for _ in range(2 * attempts):  # more than the queue bears
        assert queues.sent[-1]["DelaySeconds"] == WAIT
        assert queues.handle("bot", [queues.put_off()])["batchItemFailures"] == []
    is_back(talk)
    assert queues.handle("bot", [queues.put_off()])["batchItemFailures"] == []

    assert kinds(talk, chat) == ["photo"]


def test_an_answer_that_has_to_wait_is_brought_as_late(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    send("predict", until_result=True)
    talk.world.trouble = busy()

    assert queues.turn("results") == (1, 0)
    assert queues.sent[-1]["DelaySeconds"] == WAIT
    assert queues.sent[-1]["QueueUrl"].endswith("-results")
    is_back(talk)
    assert queues.handle("results", [queues.put_off()])["batchItemFailures"] == []

    assert [told.split(":")[0] for told in talk.told(chat)] == ["scratch"]


def test_an_update_that_was_put_off_and_came_twice_is_answered_once(
    talk: Talk, chat: int, queues: Queues
) -> None:
    update = talk.world.write(chat, "hello")
    arrive(talk)
    talk.world.trouble = busy()
    queues.turn()
    later = queues.put_off()
    is_back(talk)
    talk.deliver(update)

    assert queues.turn() == (1, 0)
    queues.handle("bot", [later])
    queues.handle("bot", [later])
    assert len(talk.told(chat)) == 1


def test_a_wait_longer_than_the_queue_knows_is_begun_all_the_same(
    talk: Talk, chat: int, queues: Queues
) -> None:
    talk.world.write(chat, "hello")
    arrive(talk)
    talk.world.trouble = busy(wait=5000)

    assert queues.turn() == (1, 0)
    assert queues.sent[-1]["DelaySeconds"] == 900


def test_waiting_does_not_go_on_for_ever(talk: Talk, chat: int, queues: Queues) -> None:
    talk.world.write(chat, "hello")
    arrive(talk)
    talk.world.trouble = busy()
    queues.turn()
    work = hashlib.sha256(queues.sent[-1]["MessageBody"].encode()).hexdigest()
    talk.services.bot.account.table.add(f"delays#{work}", MOST_DELAYS)

    later = queues.put_off()
    failed = queues.handle("bot", [later])["batchItemFailures"]
    assert failed == [{"itemIdentifier": later["messageId"]}]


@pytest.mark.parametrize(("caption", "queue"), [("blur", "bot"), ("predict", "results")])
def test_a_broken_telegram_is_asked_as_often_as_the_queue_says_and_no_more(
    talk: Talk,
    chat: int,
    queues: Queues,
    send: Callable[..., Json],
    caption: str,
    queue: str,
) -> None:
    dead = queues.dead(queue)
    send(caption, until_result=queue == "results")
    talk.world.trouble = broken("editMessageMedia")

    attempts = talk.services.settings.identify_max_receives
    assert [queues.turn(queue) for _ in range(attempts)] == [(1, 1)] * attempts
    assert queues.turn(queue) == (0, 0)
    assert queues.dead(queue) == dead + 1
    assert queues.hidden == [5, 30, 180, 900]
    assert talk.told(chat) == [words.GAVE_UP]


@pytest.mark.parametrize(
    ("caption", "told"), [("concat", [words.GAVE_UP]), ("blur", [words.PROCESSING])]
)
def test_who_waits_in_vain_for_an_album_is_told_where_one_answer_was_to_come(
    talk: Talk,
    chat: int,
    queues: Queues,
    make_picture: Callable[..., bytes],
    caption: str,
    told: list[str],
) -> None:
    talk.world.send_album(chat, [make_picture()] * 2, caption)
    arrive(talk)
    assert queues.turn() == (2, 0)
    due = queues.put_off()
    due["attributes"]["ApproximateReceiveCount"] = "5"
    talk.clock.at = datetime.now(UTC) + timedelta(minutes=1)
    talk.world.trouble = broken("editMessageMedia")

    assert queues.handle("bot", [due])["batchItemFailures"]
    assert talk.told(chat) == told


def test_a_telegram_that_is_back_in_time_answers_once(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    send("blur")
    for method in ("sendMessage", "getFile", "editMessageMedia"):
        talk.world.trouble = broken(method)
        assert queues.turn() == (1, 1)
    is_back(talk)

    assert queues.turn() == (1, 0)
    assert kinds(talk, chat) == ["photo"]


def test_what_was_let_in_is_finished_though_its_chat_asked_too_much_since(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    send("blur")
    talk.world.trouble = broken("editMessageMedia")
    assert queues.turn() == (1, 1)
    is_back(talk)
    minute = int(talk.services.now().timestamp() // 60)
    for each in (minute, minute + 1):
        talk.services.bot.account.table.add(f"rate#{chat}#{each}", 1000)

    assert queues.turn() == (1, 0)
    assert kinds(talk, chat) == ["photo"]


def test_an_edited_caption_that_failed_is_answered_when_it_comes_again(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    update = send("rotate 45")
    assert queues.turn() == (1, 0)
    mended = {**update["message"], "caption": "rotate 90", "edit_date": 1}
    edited = {"update_id": update["update_id"] + 10**6, "edited_message": mended}
    assert talk.deliver(edited) == 200
    talk.world.trouble = broken()
    assert queues.turn() == (1, 1)
    is_back(talk)

    assert queues.turn() == (1, 0)
    assert kinds(talk, chat) == ["text", "photo"]


def test_a_telegram_that_is_gone_altogether_is_asked_no_more_often(
    talk: Talk, chat: int, queues: Queues, send: Callable[..., Json]
) -> None:
    send("predict")
    talk.world.trouble = broken()
    attempts = talk.services.settings.identify_max_receives

    assert [queues.turn() for _ in range(attempts)] == [(1, 1)] * attempts
    assert queues.turn() == (0, 0)
    assert talk.told(chat) == []


@pytest.mark.parametrize(
    "poison",
    [
        {"message": "nonsense"},
        {"message": {"message_id": 1, "date": 1, "chat": {"id": "x"}}},
        {"callback_query": {"id": 1}},
    ],
)
def test_a_poisoned_update_does_not_hold_up_others(
    talk: Talk, chat: int, queues: Queues, poison: Json
) -> None:
    dead = queues.dead()
    assert talk.deliver({"update_id": 10**9 + chat, **poison}) == 200
    talk.world.write(chat, "hello")
    arrive(talk)

    assert queues.turn() == (2, 1)
    assert len(talk.told(chat)) == 1
    attempts = talk.services.settings.identify_max_receives
    assert [queues.turn() for _ in range(attempts - 1)] == [(1, 1)] * (attempts - 1)
    assert queues.turn() == (0, 0)
    assert queues.dead() == dead + 1
