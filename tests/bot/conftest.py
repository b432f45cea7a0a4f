"""A conversation from end to end: a stand-in for Telegram, the whole app over stand-ins for AWS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from chalice.local import LambdaContext
from moto import mock_aws

from app import app
from chalicelib import wiring
from chalicelib.bot import parts
from chalicelib.settings import Settings
from deploy.resources import ensure
from local.telegram.server import Server
from local.telegram.world import World

TOKEN = "7000000001:stand-in"
SECRET = "known-to-telegram"
Json = dict[str, Any]


@dataclass
class Clock:
    """The service's clock, which a test may set."""

    at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC)


@dataclass
class Talk:
    """Chats with the bot; what people send waits until the service is let work."""

    world: World
    services: wiring.Services
    clock: Clock
    waiting: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.deliver = self.waiting.append

    def told(self, chat: int) -> list[str]:
        """Return what the bot's messages in a chat say, oldest first."""
        return [m.get("text") or m.get("caption", "") for m in self.world.from_bot(chat)]

    def picture(self, chat: int) -> bytes:
        """Return the last picture that the bot sent to a chat."""
        shown = [m for m in self.world.from_bot(chat) if "photo" in m]
        return self.world.files[shown[-1]["photo"][-1]["file_id"]]

    def buttons(self, chat: int) -> list[Json]:
        """Return the buttons under the bot's last message in a chat."""
        markup = self.world.from_bot(chat)[-1].get("reply_markup") or {"inline_keyboard": []}
        return [button for row in markup["inline_keyboard"] for button in row]

    def examples(self, chat: int) -> list[str]:
        """Ask for help; return the captions that it shows."""
        self.world.write(chat, "/help")
        self.work()
        shown = [line for line in self.told(chat)[-1].splitlines() if line.startswith("• ")]
        return [caption for line in shown for caption in line.partition(": ")[2].split(", ")]

    def deliver(self, update: Json, secret: str = SECRET) -> int:
        """Send an update to the webhook; return the status."""
        return self.post("/v1/telegram/webhook", json.dumps(update).encode(), secret)

    def post(self, path: str, body: bytes, secret: str) -> int:
        from chalice.test import Client  # noqa: PLC0415 - a client a call, as Lambda has events

        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": secret,
        }
        return int(Client(app).http.request("POST", path, headers=headers, body=body).status_code)

    def work(self) -> None:
        """Deliver what people sent, and let the service work until nothing waits."""
        while self.waiting:
            assert self.deliver(self.waiting.pop(0)) == 200
        while (
            self._files()
            + self._messages("identify")
            + self._messages("bot")
            + self._messages("results")
        ):
            pass

    def receive(self, queue: str, at_most_once: bool = True) -> list[Json]:
        """Take the messages of a queue as Lambda is given them; as a rule, each once."""
        sqs = self.services.client("sqs")
        url = sqs.get_queue_url(QueueName=f"sightloop-local-{queue}")["QueueUrl"]
        taken = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], WaitTimeSeconds=0
        ).get("Messages", [])
        for message in taken if at_most_once else ():
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:eu-central-1:123456789012:{queue}",
                "awsRegion": "eu-central-1",
            }
            for message in taken
        ]

    def handle(self, function: str, records: list[Json]) -> Json:
        """Call a function with messages; return its answer."""
        context = LambdaContext(function, 3008, 120_000)
        return dict(app.handler_map[function]({"Records": records}, context) or {})

    def _messages(self, queue: str) -> int:
        function = {"bot": "converse", "results": "reply"}.get(queue, queue)
        records = self.receive(queue)
        if records:
            assert self.handle(function, records).get("batchItemFailures", []) == []
        return len(records)

    def _files(self) -> int:
        """Tell of the files that lie in the uploads bucket, as S3 does."""
        s3, bucket = self.services.client("s3"), self.services.settings.uploads_bucket
        held = s3.list_objects_v2(Bucket=bucket, Prefix="uploads/").get("Contents", [])
        new = [each for each in held if (each["Key"], each["ETag"]) not in self._seen]
        for each in new:
            self._seen.add((each["Key"], each["ETag"]))
            told = {
                "bucket": {"name": bucket},
                "object": {"key": each["Key"], "eTag": each["ETag"]},
            }
            record = {"eventTime": "2026-11-21T12:00:00.000Z", "s3": told}
            app.handler_map["on_upload"]({"Records": [record]}, LambdaContext("on_upload", 512))
        return len(new)

    _seen: set[tuple[str, str]] = field(default_factory=set)


@pytest.fixture(scope="module")
def talk(
    make_model: Callable[..., bytes], new_database: Callable[..., str], migrated: str
) -> Iterator[Talk]:
    """The bot, where the model `scratch` finds a scratch and a dent on every picture."""
    world = World()
    server = Server(world, TOKEN)
    with mock_aws():
        url = new_database(template=migrated)
        settings = Settings(
            live_version_ttl_seconds=0,
            report_list_ttl_seconds=0,
            database_url=url,
            telegram_api=server.url,
            proof="none",
        )
        names = ("s3", "sqs", "dynamodb", "secretsmanager")
        clients = {name: boto3.client(name, region_name=settings.region) for name in names}
        ensure(settings, clients.__getitem__)
        for bucket in (settings.uploads_bucket, settings.store_bucket):
            clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
        _register(clients["secretsmanager"], settings.secret_name)
        clock = Clock()
        services = wiring.Services(settings, clients, clock)
        wiring.provide(services)
        services.publisher.publish("scratch", make_model(), b"{}")
        yield Talk(world, services, clock)
        parts.telegram(TOKEN, server.url).close()
        services.database.close()
    wiring.provide(wiring.Services(Settings()))
    server.stop()


def _register(manager: Any, name: str) -> None:
    held = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
    held["telegram"] = {
        "token": TOKEN,
        "webhook_secret": SECRET,
        "name": "sightloop_bot",
        "page_url": "https://sightloop.example/api/",
    }
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(held))
