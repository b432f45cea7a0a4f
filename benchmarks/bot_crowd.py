"""The people of the bot's load test: chats that send photos at once, and what each got for its own.

Telegram delivers each update at least once and in no order, so some come twice, at any time and
over another connection, and some after others that were sent later.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from chalicelib.bot.words import PROCESSING
from local.telegram.world import Refused, World

Json = dict[str, Any]
FIRST_CHAT = 100_000
AGAIN_SECONDS = 1.0  # after which Telegram tries an update again that was not taken
CALM = frozenset({"getme", "setwebhook", "deletewebhook"})


@dataclass
class Town(World):
    """Telegram's side, with bad days; it remembers when each photo was answered.

    Attributes
    ----------
    busy_share : float
        Of calls that are answered with 429 and ``retry_after`` of one to three seconds.
    broken_share : float
        Of calls that are answered with 502, and nothing done.
    answered : mapping of (chat, photo's message) to the monotonic times of pictures for it
    calls : how often each method was called, and what was refused
    """

    busy_share: float = 0.0
    broken_share: float = 0.0
    answered: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    calls: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trouble = self._have_a_bad_day

    def call(self, method: str, given: Mapping[str, Any]) -> Any:
        """Do what a method of the Bot API does, or refuse."""
        result = super().call(method, given)
        if isinstance(result, dict) and "photo" in result:
            photo = (result["chat"]["id"], result.get("reply_to_message_id", 0))
            with self._lock:
                self.answered[photo].append(time.monotonic())
        return result

    def _have_a_bad_day(self, method: str) -> None:
        self.calls[method] += 1
        drawn = 1.0 if method.lower() in CALM else self.chance.random()
        if drawn < self.busy_share:
            self.calls["429"] += 1
            seconds = self.chance.randint(1, 3)
            raise Refused(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        if drawn < self.busy_share + self.broken_share:
            self.calls["502"] += 1
            raise Refused(502, "Bad Gateway")


@dataclass(frozen=True)
class Plan:
    """Who sends what.

    Attributes
    ----------
    chats, photos : int
        Photos of all chats together.
    duplicates, reordered : float
        Percent of the updates.
    captions : Sequence[str]
        Taken in turn.
    seed : int
    """

    chats: int = 50
    photos: int = 1000
    duplicates: float = 5.0
    reordered: float = 5.0
    captions: Sequence[str] = ("predict",)
    seed: int = 0


@dataclass(frozen=True)
class Sent:
    """A photo that somebody sent."""

    chat: int
    message: int
    update: Json

    @property
    def key(self) -> tuple[int, int]:
        """Return what the town knows it by."""
        return self.chat, self.message

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"photo {self.message} of chat {self.chat} (update {self.update['update_id']})"


class Crowd:
    """People who send photos.

    Parameters
    ----------
    town : Town
        Has a webhook registered.
    plan : Plan
    drawings : Sequence[PIL.Image.Image]
        What is on the photos; each photo is cut to a size that no other of its chat has.

    Attributes
    ----------
    sent : list of Sent
    begun : mapping of update id to the monotonic time of its first delivery
    posts : list of (seconds, status)
        Of each call of the webhook.
    """

    def __init__(self, town: Town, plan: Plan, drawings: Sequence[Image.Image]) -> None:
        self._town = town
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._given_up = threading.Event()
        self.begun: dict[int, float] = {}
        self.posts: list[tuple[float, int]] = []
        self.sent = list(self._send(drawings))

    def deliver(self) -> None:
        """Let Telegram deliver all updates, those of each chat over a connection of its own.

        What is not taken is tried again until ``wait_until_answered`` has given up.
        """
        lines = self._lines()
        with ThreadPoolExecutor(len(lines)) as pool:
            for done in [pool.submit(self._deliver, line) for line in lines]:
                done.result()

    def answered(self) -> int:
        """Return how many photos have a picture for an answer."""
        return sum(bool(self._town.answered.get(each.key)) for each in self.sent)

    def has_answers(self, count: int) -> bool:
        """Tell whether so many photos have one."""
        return self.answered() >= count

    def wait_until_answered(self, patience: float) -> bool:
        """Wait until each photo has a picture; tell whether it came to that.

        Parameters
        ----------
        patience : float
            Seconds without any answer after which nobody waits on.
        """
        known, since = -1, time.monotonic()
        while (count := self.answered()) < len(self.sent):
            if count != known:
                known, since = count, time.monotonic()
            elif time.monotonic() - since > patience:
                self._given_up.set()
                return False
            time.sleep(0.05)
        return True

    def waits(self) -> list[tuple[float, float]]:
        """Return of each answered photo when it was first delivered, and when it was answered."""
        return [
            (self.begun[each.update["update_id"]], times[0])
            for each in self.sent
            if (times := self._town.answered.get(each.key))
        ]

    def _send(self, drawings: Sequence[Image.Image]) -> Iterator[Sent]:
        captions = itertools.cycle(self._plan.captions)
        for number in range(self._plan.photos):
            chat = FIRST_CHAT + number % self._plan.chats
            photo = _photo(drawings[number % len(drawings)], number // self._plan.chats)
            update = self._town.send_photo(chat, photo, next(captions))
            yield Sent(chat, int(update["message"]["message_id"]), update)

    def _lines(self) -> list[list[Json]]:
        """Return what comes over each connection, in its order."""
        by_chat: dict[int, list[Json]] = defaultdict(list)
        for each in self.sent:
            by_chat[each.chat].append(each.update)
        lines = list(by_chat.values())
        for _ in range(self._count(self._plan.reordered)):
            line = self._chance.choice(lines)
            update = line.pop(self._chance.randrange(len(line)))
            line.insert(self._chance.randint(0, len(line)), update)
        for each in self._chance.sample(self.sent, self._count(self._plan.duplicates)):
            line = self._chance.choice(lines)
            line.insert(self._chance.randint(0, len(line)), each.update)
        return lines

    def _count(self, percent: float) -> int:
        return round(self._plan.photos * percent / 100)

    def _deliver(self, line: Sequence[Json]) -> None:
        hook = Webhook(self._town)
        for update in line:
            self.begun.setdefault(update["update_id"], time.monotonic())
            while not self._is_taken(hook, update):
                if self._given_up.wait(AGAIN_SECONDS):
                    hook.close()
                    return
        hook.close()

    def _is_taken(self, hook: Webhook, update: Json) -> bool:
        status, seconds = hook.post(update)
        self.posts.append((seconds, status))
        return status == 200


class Webhook:
    """A connection from Telegram to the webhook that the bot registered."""

    def __init__(self, town: World) -> None:
        self._address = urlsplit(town.webhook["url"])
        self._secret = town.webhook["secret_token"]
        self._connection = self._connect()

    def post(self, update: Json) -> tuple[int, float]:
        """Send an update; return the status, 0 for none, and how many seconds the answer took."""
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": self._secret,
        }
        begun = time.monotonic()
        try:
            self._connection.request("POST", self._address.path, json.dumps(update), headers)
            answer = self._connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection, status = self._connect(), 0
        return status, time.monotonic() - begun

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=60
        )


@dataclass(frozen=True)
class Verdict:
    """Whether every photo was answered once, by names.

    Attributes
    ----------
    missing : photos without a picture for an answer
    doubled : photos with more than one
    wrong : photos whose answer is the picture of another
    in_words : photos that were answered with words besides, and the words
    left_standing : photos with a “Processing…” that became nothing
    """

    missing: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    in_words: list[str] = field(default_factory=list)
    left_standing: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether each has its answer, and one."""
        return not (self.missing or self.doubled or self.wrong or self.in_words)


def judge(town: World, sent: Sequence[Sent]) -> Verdict:
    """Look at what stands in the chats under each photo."""
    verdict = Verdict()
    told: dict[tuple[int, int], list[Json]] = defaultdict(list)
    for chat in {each.chat for each in sent}:
        for message in town.from_bot(chat):
            told[(chat, message.get("reply_to_message_id", 0))].append(message)
    for each in sent:
        below = told[(each.chat, each.message)]
        pictures = [message for message in below if "photo" in message]
        words = [message["text"] for message in below if "text" in message]
        if len(pictures) != 1:
            (verdict.doubled if pictures else verdict.missing).append(each.name)
        elif _size(pictures[0]) != _size(each.update["message"]):
            verdict.wrong.append(each.name)
        verdict.in_words.extend(f"{each.name}: {text}" for text in words if text != PROCESSING)
        verdict.left_standing.extend(each.name for text in words if text == PROCESSING)
    strays = [m for (_, photo), below in told.items() if not photo for m in below]
    verdict.doubled.extend(f"a picture or word for nobody: {stray}" for stray in strays)
    return verdict


def _size(message: Json) -> list[int]:
    """Return the sides of a message's photo, the shorter first, for some captions turn it."""
    photo = message["photo"][-1]
    return sorted((photo["width"], photo["height"]))


def _photo(drawing: Image.Image, number: int) -> bytes:
    buffer = BytesIO()
    drawing.crop((0, 0, drawing.width - number, drawing.height)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
