"""Registers the Telegram bot: its token goes into the stage's secret, its webhook to Telegram."""

from __future__ import annotations

import secrets
from typing import Any

from chalicelib.bot.telegram import Telegram
from chalicelib.errors import ConfigurationError
from deploy.cloud import log
from deploy.secret import held, keep

WEBHOOK = "v1/telegram/webhook"


def register(manager: Any, secret_name: str, token: str, url: str, api: str) -> str:
    """Let Telegram send a bot's updates to a stage; done again, it takes another secret word.

    The secret is written first, so nothing that Telegram sends afterwards is refused for good:
    functions take it within ``secret_ttl_seconds``, and until then Telegram sends again.

    Parameters
    ----------
    manager : botocore Secrets Manager client
    secret_name : str
    token : str
        As @BotFather gave it.
    url : str
        Of the stage's API, which ends in ``/``.
    api : str
        Where the Bot API is.

    Returns
    -------
    str
        The bot's user name.

    Raises
    ------
    ConfigurationError
        There is no secret, or Telegram does not know the token.
    TelegramUnavailable, TelegramRefused
        The webhook was not registered: run it again.
    """
    known = _secret(manager, secret_name)
    telegram = Telegram(token, api)
    name = telegram.me()
    word = secrets.token_urlsafe(32)
    bot = {"token": token, "webhook_secret": word, "name": name, "page_url": url}
    keep(manager, secret_name, {**known, "telegram": bot})
    telegram.set_webhook(f"{url}{WEBHOOK}", word)
    telegram.close()
    log.info("@%s sends its updates to %s%s", name, url, WEBHOOK)
    return name


def remove(manager: Any, secret_name: str, api: str) -> None:
    """Have Telegram send no more, and forget the token; nothing where no bot is registered."""
    known = _secret(manager, secret_name)
    token = (known.get("telegram") or {}).get("token")
    if not token:
        log.info("no bot is registered")
        return
    telegram = Telegram(token, api)
    telegram.delete_webhook()
    telegram.close()
    keep(manager, secret_name, {**known, "telegram": {}})
    log.info("the bot is no longer registered")


def _secret(manager: Any, name: str) -> dict[str, Any]:
    known = held(manager, name)
    if known is None:
        raise ConfigurationError(f"there is no secret {name}: deploy the stage first")
    return known
