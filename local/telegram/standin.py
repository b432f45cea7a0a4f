"""The stand-in for Telegram as the stack runs it: the Bot API, the courier, the chat window."""

from __future__ import annotations

from typing import Any

from deploy import telegram
from local.telegram.courier import Courier
from local.telegram.server import Server
from local.telegram.window import Window
from local.telegram.world import BOT_ID, World


class ChatStandIn:
    """Telegram on one machine: it begins without a message, and forgets all when it stops.

    Parameters
    ----------
    port : int
        Of the Bot API on 127.0.0.1.
    password : str
        That makes the bot's token.
    """

    def __init__(self, port: int, password: str) -> None:
        self._token = f"{BOT_ID}:{password}"
        self.world = World()
        self._courier = Courier(lambda: self.world.webhook)
        self.world.deliver = self._courier.take
        self._server = Server(self.world, self._token, port)
        self.window = Window(self.world)

    @property
    def url(self) -> str:
        """What ``SIGHTLOOP_TELEGRAM_API`` has to be."""
        return self._server.url

    def register(self, manager: Any, secret_name: str, url: str) -> None:
        """Register the bot for a service, as `python -m deploy bot` does with the real Telegram.

        Parameters
        ----------
        manager : botocore Secrets Manager client
        secret_name : str
        url : str
            Of the service, which ends in ``/``.
        """
        telegram.register(manager, secret_name, self._token, url, self.url)

    def stop(self) -> None:
        """Deliver and answer no more."""
        self.world.journal.close()
        self._courier.stop()
        self._server.stop()
