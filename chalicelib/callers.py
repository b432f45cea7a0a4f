"""How callers are named: ``user:<subject>``, ``operator:<name>``, or a source address.

Users of the Telegram bot are ``user:telegram-<id>``: nobody gave them their name but Telegram.
"""

from __future__ import annotations

USER = "user:"
OPERATOR = "operator:"
TELEGRAM_USER = f"{USER}telegram-"


def is_user(caller: str) -> bool:
    """Tell whether a caller has a token of their own, and is no operator.

    >>> is_user("user:ann"), is_user("operator:olga"), is_user("203.0.113.7")
    (True, False, False)
    """
    return caller.startswith(USER)


def is_operator(caller: str) -> bool:
    """Tell whether a caller has an operator's token."""
    return caller.startswith(OPERATOR)


def is_telegram_user(caller: str) -> bool:
    """Tell whether a caller is known by their Telegram account, in a chat or by the bot's link.

    >>> is_telegram_user("user:telegram-42"), is_telegram_user("user:ann")
    (True, False)
    """
    return caller.startswith(TELEGRAM_USER)


def is_member(caller: str) -> bool:
    """Tell whether a caller has a token that an operator gave out: somebody vouches for them.

    A Telegram account costs a phone number, and the bot's link gives its owner a token by itself.

    >>> is_member("user:ann"), is_member("user:telegram-42"), is_member("operator:olga")
    (True, False, False)
    """
    return is_user(caller) and not is_telegram_user(caller)


def has_token(caller: str) -> bool:
    """Tell whether a caller has any token, so that nobody else bears the name."""
    return is_user(caller) or is_operator(caller)
