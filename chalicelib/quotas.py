"""How much each caller may ask for: token buckets in DynamoDB, one small item for each.

A bucket is one number, the moment at which it will be full again (the generic cell rate
algorithm): a call moves that moment on by its share of the refill period, and is refused where it
would lie more than one period ahead. Each step is one conditional ``UpdateItem``, so that calls of
several processes at once never take more than there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.aws import translated
from chalicelib.bounded import LIMITS_SECONDS, within
from chalicelib.callers import is_operator, is_telegram_user, is_user
from chalicelib.errors import ConfigurationError, DatabaseUnavailable, PayloadTooLarge
from chalicelib.observability import MetricUnit, logger, metrics
from chalicelib.refusals import TooManyRequests
from chalicelib.settings import Settings

KEY = "entry"
EXPIRES = "expires_at"
DAY_SECONDS = 86_400
CONTENDED_AFTER = 8
MEMBERS = "users"  # who were given a token by an operator
# Both name the moment `full_at`; the first is for a bucket in use, the second for a full one.
TAKE_MORE = ("full_at > :now AND full_at <= :latest", "SET full_at = full_at + :cost, #e = :e")
TAKE_FIRST = (
    "attribute_not_exists(full_at) OR full_at <= :now",
    "SET full_at = :first, #e = :e",
)


@dataclass(frozen=True)
class Kind:
    """What is counted.

    Attributes
    ----------
    name : str
        The setting ``quota_<name>`` says how much of it one address may have.
    is_required : bool
        Whether a call is refused (503) where the table does not answer: so it is for what is
        handed out to be filled by strangers. Everything else goes on unchecked.
    period_seconds : int or None
        In which a used quota refills; None: as the setting ``quota_seconds`` says.
    """

    name: str
    is_required: bool = True
    period_seconds: int | None = None


UPLOADS = Kind("uploads")
IMPORTS = Kind("imports")
IMPORT_BYTES = Kind("import_bytes", period_seconds=DAY_SECONDS)
PENDING_MODELS = Kind("pending_models")
KEPT = Kind("kept", is_required=False)
TASKS = Kind("tasks", is_required=False)
SUBMISSIONS = Kind("submissions", is_required=False)
KINDS = (UPLOADS, IMPORTS, IMPORT_BYTES, PENDING_MODELS, KEPT, TASKS, SUBMISSIONS)


@dataclass(frozen=True)
class Bucket:
    """One quota of one caller, or of all callers of a class together.

    Attributes
    ----------
    entry : str
        Key of its item.
    capacity : int
        Units that a full bucket holds, and that it regains in a period.
    period_seconds : float
    """

    entry: str
    capacity: int
    period_seconds: float

    def cost_seconds(self, amount: int) -> float:
        """Return in how many seconds the bucket regains an amount."""
        return amount * self.period_seconds / self.capacity


class Quotas:
    """Takes what calls cost from the buckets of their callers.

    Parameters
    ----------
    dynamodb : botocore DynamoDB client
    settings : Settings
    now : callable
        The clock.
    """

    def __init__(self, dynamodb: Any, settings: Settings, now: Callable[[], datetime]) -> None:
        self._dynamodb = dynamodb
        self._settings = settings
        self._now = now

    def take(self, kind: Kind, caller: str, amount: int = 1) -> None:
        """Take an amount from a caller's bucket and from that of all callers of its class.

        Operators are not limited.

        Raises
        ------
        TooManyRequests
            One of the buckets does not hold so much; nothing was taken then.
        PayloadTooLarge
            The caller's would not if it were full.
        DatabaseUnavailable
            The table does not answer, and this kind needs it.
        """
        if not self._settings.quotas or is_operator(caller):
            return
        own, everyones = self.buckets(kind, caller)
        if amount > own.capacity:
            raise PayloadTooLarge(f"at most {own.capacity} of {_words(kind)} are given at once")
        try:
            within(
                LIMITS_SECONDS,
                lambda: self._take_both(kind, own, everyones, amount),
                DatabaseUnavailable(f"{own.entry}: no answer within {LIMITS_SECONDS:g} s"),
            )
        except (DatabaseUnavailable, ConfigurationError):
            if kind.is_required:
                raise
            logger.warning("a quota was not checked", quota=kind.name, exc_info=True)
            metrics.add_metric("QuotasUnchecked", MetricUnit.Count, 1)

    def buckets(self, kind: Kind, caller: str) -> tuple[Bucket, Bucket]:
        """Return the bucket of a caller and that of all callers of its class."""
        everyone = _class_of(caller)
        factor = self._settings.quota_token_factor if everyone == MEMBERS else 1
        capacity = factor * int(getattr(self._settings, f"quota_{kind.name}"))
        period = kind.period_seconds or self._settings.quota_seconds
        prefix = f"quota/{kind.name}"
        return (
            Bucket(f"{prefix}/caller/{caller}", capacity, period),
            Bucket(
                f"{prefix}/all/{everyone}", capacity * self._settings.quota_everyone_factor, period
            ),
        )

    def _take_both(self, kind: Kind, own: Bucket, everyones: Bucket, amount: int) -> None:
        """Take from the caller's bucket first: one who has nothing left costs others nothing."""
        wait_seconds = self._take(own, amount)
        if wait_seconds:
            raise _refusal(kind, "your", own, wait_seconds)
        wait_seconds = self._take(everyones, amount)
        if wait_seconds:
            self._give_back(own, amount)
            raise _refusal(kind, "the service's", everyones, wait_seconds)

    def _take(self, bucket: Bucket, amount: int) -> float:
        """Take an amount; return 0, or the seconds after which the bucket will hold so much."""
        cost = bucket.cost_seconds(amount)
        for _ in range(CONTENDED_AFTER):
            now = self._now().timestamp()
            latest = now + bucket.period_seconds - cost
            moments = {":now": now, ":latest": latest, ":cost": cost, ":e": now + 2 * DAY_SECONDS}
            full_at = self._update(bucket, TAKE_MORE, moments)
            if full_at is None:
                return 0
            if full_at > latest:
                return full_at - latest
            moments[":first"] = now + cost
            if full_at <= now and self._update(bucket, TAKE_FIRST, moments) is None:
                return 0
        raise DatabaseUnavailable(f"the bucket {bucket.entry} is contended")

    def _update(
        self, bucket: Bucket, step: tuple[str, str], moments: Mapping[str, float]
    ) -> float | None:
        """Change a bucket under a condition; return None, or what it holds where that fails."""
        condition, update = step
        used = {name for name in moments if name in condition + update}
        with translated(DatabaseUnavailable, f"taking from {bucket.entry}"):
            try:
                self._dynamodb.update_item(
                    TableName=self._settings.limits_table,
                    Key={KEY: {"S": bucket.entry}},
                    ConditionExpression=condition,
                    UpdateExpression=update,
                    ExpressionAttributeNames={"#e": EXPIRES},
                    ExpressionAttributeValues={n: _number(n, moments[n]) for n in sorted(used)},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
                item = error.response.get("Item") or {}
                return float(item.get("full_at", {"N": "0"})["N"])
        return None

    def _give_back(self, bucket: Bucket, amount: int) -> None:
        with translated(DatabaseUnavailable, f"giving back to {bucket.entry}"):
            self._dynamodb.update_item(
                TableName=self._settings.limits_table,
                Key={KEY: {"S": bucket.entry}},
                UpdateExpression="ADD full_at :cost",
                ExpressionAttributeValues={":cost": _number("", -bucket.cost_seconds(amount))},
            )


def _class_of(caller: str) -> str:
    """Return the class of callers whose bucket a caller shares.

    A Telegram account costs a phone number and nobody vouches for it: so it has the quota of an
    address, and a bucket that takes nothing from members or from addresses.
    """
    if is_telegram_user(caller):
        return "telegram"
    return MEMBERS if is_user(caller) else "addresses"


def _number(name: str, seconds: float) -> dict[str, str]:
    """Return seconds as DynamoDB takes them; a time to live has to be whole."""
    return {"N": str(int(seconds)) if name == ":e" else f"{seconds:.6f}"}


def _words(kind: Kind) -> str:
    return kind.name.replace("_", " ")


def _refusal(kind: Kind, whose: str, bucket: Bucket, wait_seconds: float) -> TooManyRequests:
    metrics.add_metric("QuotaRefusals", MetricUnit.Count, 1)
    retry_after = max(1, math.ceil(wait_seconds))
    return TooManyRequests(
        f"{whose} quota of {bucket.capacity} {_words(kind)} in {bucket.period_seconds:.0f} s is "
        f"used up: try again in {retry_after} s",
        retry_after,
    )
