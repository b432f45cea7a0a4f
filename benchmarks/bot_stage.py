"""The stage of the bot's load test: the service in processes that can be killed, over stand-ins.

The queues, buckets and tables are those of ``make run``; HTTP is served by its server, in a process
of its own; each worker is a process that takes from all of the bot's queues. Telegram is the
stand-in, in the process of whoever measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from chalicelib.settings import Settings
from chalicelib.wiring import Services
from deploy import resources, telegram
from local.dispatcher import S3_EVENTS_QUEUE
from local.home import ROOT, Home, free_port
from local.standin import REGION, StandIn, credentials

CLIENTS = ("s3", "sqs", "dynamodb", "secretsmanager")
START_SECONDS = 120
END_SECONDS = 30
WAITING = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(frozen=True)
class Model:
    """What finds something on the photos."""

    onnx: bytes
    metrics: bytes


class Process:
    """One process of the service.

    Parameters
    ----------
    home : Home
        Its log is kept there.
    name : str
    command : list[str]
        For ``benchmarks.bot_process``.
    environment : mapping

    Raises
    ------
    RuntimeError
        It did not begin.
    """

    def __init__(
        self, home: Home, name: str, command: list[str], environment: Mapping[str, str]
    ) -> None:
        with home.log(name) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.bot_process", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log.fileno(),
                cwd=ROOT,
                env=dict(environment),
            )
        late = threading.Timer(START_SECONDS, self._process.kill)
        late.start()
        assert self._process.stdout
        said = self._process.stdout.readline()
        late.cancel()
        if said != b"ready\n":
            raise RuntimeError(f"{name} did not begin: see {home.path / 'logs' / name}.log")

    def kill(self) -> None:
        """Kill it with SIGKILL, whatever it does."""
        self._process.kill()
        self._end()

    def stop(self) -> None:
        """Let it end what it does."""
        if self._process.stdin and self._process.poll() is None:
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                pipe.close()


class Stage:
    """The running service.

    Parameters
    ----------
    folder : Path
        Empty; data and logs go there.
    telegram_url : str
        Of the stand-in.
    token : str
        The bot's there.
    model : Model
    workers : int
    hidden_seconds : int
        For how long a message that somebody took is hidden: when its worker is killed, it comes
        again after that. On AWS it is six times the function's time.
    """

    def __init__(
        self,
        folder: Path,
        telegram_url: str,
        token: str,
        model: Model,
        *,
        workers: int = 2,
        hidden_seconds: int = 30,
    ) -> None:
        self._home = Home(folder)
        self._standin = StandIn(self._home)
        self.settings = Settings.model_validate({"telegram_api": telegram_url})
        keys = credentials(self._home)
        self._clients = {name: _client(name, self._standin.url, keys) for name in CLIENTS}
        resources.ensure(self.settings, self._clients.__getitem__)
        self._hide(hidden_seconds)
        services = Services(self.settings, self._clients)
        services.publisher.publish("scratch", model.onnx, model.metrics)
        self._environment = _environment(self._standin.url, telegram_url) | keys
        port = free_port()
        self._http = Process(self._home, "http", ["serve", str(port)], self._environment)
        telegram.register(
            self._clients["secretsmanager"],
            self.settings.secret_name,
            token,
            f"http://127.0.0.1:{port}/",
            telegram_url,
        )
        self._begun = 0
        self._workers = [self._worker() for _ in range(workers)]

    def kill_a_worker(self, when: Callable[[], bool], patience: float) -> bool:
        """Kill a worker with SIGKILL while messages are worked on; start another in its place.

        Parameters
        ----------
        when : callable
            Tells whether it is time.
        patience : float
            Seconds after which nobody waits for that time any more.

        Returns
        -------
        bool
            Whether one was killed.
        """
        until = time.monotonic() + patience
        while not (when() and self._in_flight()):
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        self._workers.pop(0).kill()
        self._workers.append(self._worker())
        return True

    def depths(self) -> dict[str, int]:
        """Return how many messages are in each queue: waiting, put off, or being worked on."""
        named = {
            "bot": self.settings.bot_queue,
            "uploads": S3_EVENTS_QUEUE,
            "identify": self.settings.identify_queue,
            "results": self.settings.results_queue,
        }
        return {name: self._depth(queue) for name, queue in named.items()}

    def wait_until_empty(self, patience: float) -> bool:
        """Wait until no message waits anywhere; tell whether it came to that in so many seconds."""
        until = time.monotonic() + patience
        while any(self.depths().values()):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def dead_letters(self) -> int:
        """Return how many messages ended in the dead-letter queues."""
        settings = self.settings
        queues = (settings.bot_queue, settings.identify_queue, settings.results_queue)
        return sum(self._depth(f"{queue}{resources.DEAD_LETTER_SUFFIX}") for queue in queues)

    def stop(self) -> None:
        """Stop everything."""
        for process in (*self._workers, self._http):
            process.stop()
        for client in self._clients.values():
            client.close()
        self._standin.stop()
        self._home.close()

    def _in_flight(self) -> bool:
        """Tell whether a worker has taken a message."""
        queues = (self.settings.bot_queue, self.settings.identify_queue)
        return any(self._told(queue)[WAITING[1]] for queue in queues)

    def _worker(self) -> Process:
        self._begun += 1
        return Process(self._home, f"worker-{self._begun}", ["work"], self._environment)

    def _depth(self, queue: str) -> int:
        return sum(self._told(queue).values())

    def _told(self, queue: str) -> dict[str, int]:
        sqs = self._clients["sqs"]
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {name: int(told.get(name, 0)) for name in WAITING}

    def _hide(self, seconds: int) -> None:
        sqs = self._clients["sqs"]
        queues = [*resources.queues(self.settings)]
        for queue in (*queues, sqs.create_queue(QueueName=S3_EVENTS_QUEUE)["QueueUrl"]):
            url = queue if "/" in queue else sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})


class Depths:
    """Looks at the queues every second, until it is stopped.

    Attributes
    ----------
    seen : list of (seconds since the beginning, depth by queue)
    """

    def __init__(self, stage: Stage, every: float = 1.0) -> None:
        self.seen: list[tuple[float, dict[str, int]]] = []
        self._stage = stage
        self._every = every
        self._stopped = threading.Event()
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.seen.append((time.monotonic() - self._begun, self._stage.depths()))
            if self._stopped.wait(self._every):
                return


def _client(service: str, url: str, keys: dict[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"mode": "standard", "total_max_attempts": 4}),
    )


def _environment(aws_url: str, telegram_url: str) -> dict[str, str]:
    """Return what a Lambda's environment would hold, and nothing of a real account."""
    others = ("SIGHTLOOP_", "AWS_", "POWERTOOLS_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {
        **inherited,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "load",
        "SIGHTLOOP_STAGE": "local",
        "SIGHTLOOP_REGION": REGION,
        "SIGHTLOOP_TELEGRAM_API": telegram_url,
        "SIGHTLOOP_INFERENCE_THREADS": "1",  # the workers are the parallel ones
        "SIGHTLOOP_BOT_UPDATES_PER_MINUTE": "100000",
    }
