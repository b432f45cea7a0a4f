"""How callers are named: ``user:<subject>``, ``operator:<name>``, or a source address."""

from __future__ import annotations

USER = "user:"
OPERATOR = "operator:"


def is_user(caller: str) -> bool:
    """Tell whether a caller has a token of their own, and is no operator.

    >>> is_user("user:ann"), is_user("operator:olga"), is_user("203.0.113.7")
    (True, False, False)
    """
    return caller.startswith(USER)


def is_operator(caller: str) -> bool:
    """Tell whether a caller has an operator's token."""
    return caller.startswith(OPERATOR)


def has_token(caller: str) -> bool:
    """Tell whether a caller has any token, so that nobody else bears the name."""
    return is_user(caller) or is_operator(caller)
