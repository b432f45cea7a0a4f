"""Brings updates to the webhook one after another, again where it does not take them."""

from __future__ import annotations

import json
import logging
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)  # seconds before each further attempt
ANSWER_SECONDS = 30.0
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

log = logging.getLogger("sightloop.local")


class Courier:
    """Delivers in a thread of its own. An update that nobody takes in half a minute is dropped.

    Parameters
    ----------
    webhook : callable
        Returns where updates go now, as the bot registered it: ``url`` and ``secret_token``.
    pauses : sequence of float, optional
        Seconds between attempts.
    """

    def __init__(self, webhook: Callable[[], Json], pauses: tuple[float, ...] = PAUSES) -> None:
        self._webhook = webhook
        self._pauses = pauses
        self._waiting: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self, update: Json) -> None:
        """Deliver an update after those that were handed in before it."""
        self._waiting.put(update)

    def stop(self) -> None:
        """Deliver no more."""
        self._stopped.set()
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (update := self._waiting.get()) is not None and not self._stopped.is_set():
            if not self._deliver(update):
                log.warning("update %s was not taken and is dropped", update["update_id"])

    def _deliver(self, update: Json) -> bool:
        for pause in self._pauses:
            if self._post(update):
                return True
            if self._stopped.wait(pause):
                return False
        return self._post(update)

    def _post(self, update: Json) -> bool:
        """Make one attempt; tell whether the webhook answered that it has the update."""
        webhook = self._webhook()
        if not webhook["url"]:
            return False
        headers = {
            "Content-Type": "application/json",
            "X-Telegram-Bot-Api-Secret-Token": webhook["secret_token"],
        }
        request = urllib.request.Request(webhook["url"], json.dumps(update).encode(), headers)
        try:
            with DIRECTLY.open(request, timeout=ANSWER_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            log.warning("the webhook does not take update %s: %s", update["update_id"], error)
            return False
