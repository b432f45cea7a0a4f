"""Registers the Telegram bot: its token goes into the stage's secret, its webhook to Telegram."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

from chalicelib.bot.telegram import Telegram
from chalicelib.errors import ConfigurationError, SightloopError
from deploy.cloud import log
from deploy.secret import held, keep

WEBHOOK = "v1/telegram/webhook"


def register(manager: Any, secret_name: str, token: str, url: str, api: str) -> str:
    """Let Telegram send a bot's updates to a stage; done again, it takes another secret word.

    The secret is written first, so nothing that Telegram sends afterwards is refused for good:
    functions take it within ``secret_ttl_seconds``, and until then Telegram sends again. Where
    Telegram does not take the webhook, what was registered before is registered yet.

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
    word = secrets.token_urlsafe(32)
    with closing(Telegram(token, api)) as telegram:
        name = telegram.me()
        bot = {"token": token, "webhook_secret": word, "name": name, "page_url": url}
        keep(manager, secret_name, {**known, "telegram": bot})
        try:
            telegram.set_webhook(f"{url}{WEBHOOK}", word)
        except SightloopError:
            keep(manager, secret_name, known)
            raise
    _retire(known, token, api)
    log.info("@%s sends its updates to %s%s", name, url, WEBHOOK)
    return name


def remove(manager: Any, secret_name: str, api: str) -> None:
    """Have Telegram send no more, and forget the token; nothing where no bot is registered.

    Raises
    ------
    TelegramUnavailable
        Telegram was not told, and nothing is forgotten: run it again.
    """
    known = _secret(manager, secret_name)
    if not _token(known):
        log.info("no bot is registered")
        return
    _retire(known, "", api)
    keep(manager, secret_name, {**known, "telegram": {}})
    log.info("the bot is no longer registered")


def _retire(known: dict[str, Any], successor: str, api: str) -> None:
    """Take away the webhook of the bot that was registered before, unless it is the same."""
    token = _token(known)
    if not token or token == successor:
        return
    with closing(Telegram(token, api)) as telegram:
        try:
            telegram.delete_webhook()
        except ConfigurationError:
            log.info("Telegram no longer knows the token that was registered before")


def _token(known: dict[str, Any]) -> str:
    return str((known.get("telegram") or {}).get("token") or "")


def _secret(manager: Any, name: str) -> dict[str, Any]:
    known = held(manager, name)
    if known is None:
        raise ConfigurationError(f"there is no secret {name}: deploy the stage first")
    return known
