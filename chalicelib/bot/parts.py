"""The bot's parts, put together for one process and one token."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.bot.albums import Albums
from chalicelib.bot.conversation import Conversation, House
from chalicelib.bot.deleting import Deleter, Deleting
from chalicelib.bot.jobs import Bot, Jobs, Stores
from chalicelib.bot.table import BotTable
from chalicelib.bot.telegram import Telegram
from chalicelib.errors import ConfigurationError
from chalicelib.predictions.senders import Senders
from chalicelib.quotas import SUBMISSIONS, UPLOADS

if TYPE_CHECKING:
    from chalicelib.deletion.desk import Deletion
    from chalicelib.labels.submitted import Verb
    from chalicelib.secrets import TelegramSecret
    from chalicelib.wiring import Services

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class BotParts:
    """The bot's account and the house's rules; who converses, looks after albums, does the work."""

    account: Bot
    house: House
    conversation: Conversation
    albums: Albums
    jobs: Jobs


def assemble(services: Services, secret: TelegramSecret) -> BotParts:
    """Put the bot together. Its connections are kept as long as its token is the same.

    Raises
    ------
    ConfigurationError
        No bot is registered.
    """
    if not secret.token:
        raise ConfigurationError("there is no bot: `python -m deploy bot` registers one")
    settings = services.settings
    clock = lambda: services.now().timestamp()  # noqa: E731 - the clock that tests hand in
    table = BotTable(services.client("dynamodb"), settings.bot_table, clock)
    bot = Bot(telegram(secret.token, settings.telegram_api), secret.name, table, clock)
    stores = Stores(services.uploads, services.store, services.predictions, settings.max_pixels)
    link = lambda p, u, c: _link(services, p, u, c)  # noqa: E731 - reads the secret when used
    take_quota = lambda user: services.quotas.take(UPLOADS, user)  # noqa: E731 - as tests set it
    senders = Senders(services.store)
    jobs = Jobs(bot, services.catalog, stores, link, take_quota, senders.note)
    albums = Albums(bot, jobs, services.queue(settings.bot_queue))
    house = House(services.report_list, settings.appeal_to, settings.bot_updates_per_minute)
    submit = lambda p, u, v: _submit(services, p, u, v)  # noqa: E731 - loads the database when used
    deleter = Deleter(  # loads the database when used
        lambda user, prediction_id: _delete(services, senders, user, prediction_id),
        lambda user: services.deletions.delete_all(user),  # noqa: PLW0108
    )
    deleting = Deleting(bot, deleter)
    conversation = Conversation(bot, services.catalog, jobs, albums, house, deleting, submit)
    return BotParts(bot, house, conversation, albums, jobs)


@functools.lru_cache(maxsize=2)  # the token before and the one after it was rotated
def telegram(token: str, api: str) -> Telegram:
    """Return the seam to Telegram for a token, with its connections."""
    return Telegram(token, api)


def _submit(services: Services, prediction_id: str, user: str, verb: Verb) -> str:
    services.quotas.take(SUBMISSIONS, user)
    model = services.predictions.read(prediction_id).prediction.model
    return services.submissions.submit(model, prediction_id, user, verb).message


def _delete(services: Services, senders: Senders, user: str, prediction_id: str) -> Deletion:
    deletion = services.deletions.delete(prediction_id)
    senders.forget(user, prediction_id)  # the record of what came through the bot has no such key
    return deletion


def _link(services: Services, prediction_id: str, user: str, chat: int) -> str:
    """Return where a user corrects boxes, with a token for a day: the labelling tool knows them.

    In a group all can follow it: there it speaks for nobody.
    """
    import jwt  # noqa: PLC0415 - no other function needs it

    secret = services.secrets.read()
    if not (secret.telegram.page_url and secret.subjects_key):
        return ""
    page = f"{secret.telegram.page_url}label?prediction={prediction_id}"
    if chat < 0:
        return page
    until = int(services.now().timestamp()) + DAY_SECONDS
    claims = {"sub": user.removeprefix("user:"), "exp": until}
    token = jwt.encode(claims, secret.subjects_key, algorithm="HS256")
    return f"{page}#token={token}"
