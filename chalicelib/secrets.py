"""The seam to Secrets Manager: one JSON secret of the stage, kept for a while, never logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from chalicelib.aws import translated
from chalicelib.bounded import Revalidator
from chalicelib.errors import ConfigurationError, SecretsUnavailable, SightloopError
from chalicelib.observability import logger

RETRY_SECONDS = 5.0
FIRST_READ_SECONDS = 10.0
RESERVED = "sightloop"  # signs what nobody decided: a ban by the eleventh suspicious request
OperatorName = Annotated[str, Field(pattern=r"^[^\s:]{1,64}$")]
OperatorToken = Annotated[str, Field(min_length=16, max_length=1024)]


class TelegramSecret(BaseModel):
    """The bot, as `python -m deploy bot` registered it; without a token there is none.

    Attributes
    ----------
    token : str
        The bot's, from @BotFather.
    webhook_secret : str
        What Telegram sends with every update.
    name : str
        The bot's user name, without @.
    page_url : str
        Where people find the service's pages, with a slash at the end; empty: nowhere.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    token: str = Field(default="", repr=False)
    webhook_secret: str = Field(default="", repr=False, pattern=r"^[A-Za-z0-9_-]{0,256}$")
    name: str = ""
    page_url: str = ""


class Secret(BaseModel):
    """What nobody but the service may know. Its text shows none of it.

    Attributes
    ----------
    operators : mapping
        Each operator's name to their token.
    subjects_key : str
        Signs the tokens of users (HS256); empty: there are none.
    database_url : str
        PostgreSQL; empty where no database is attached.
    telegram : TelegramSecret
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    operators: Mapping[OperatorName, OperatorToken] = Field({}, repr=False)
    subjects_key: str = Field("", repr=False)
    database_url: str = Field("", repr=False)
    telegram: TelegramSecret = Field(default_factory=TelegramSecret, repr=False)

    @field_validator("operators")
    @classmethod
    def _are_told_apart(cls, operators: Mapping[str, str]) -> Mapping[str, str]:
        if RESERVED in operators or len(set(operators.values())) < len(operators):
            raise ValueError(f"each operator has a token of their own, and is not {RESERVED!r}")
        return operators

    @field_validator("subjects_key")
    @classmethod
    def _is_long_enough(cls, key: str) -> str:
        if key and len(key.encode()) < 32:
            raise ValueError("it has at least 32 bytes, or is empty")
        return key


class Secrets:
    """The secret, read when it is first asked for and again after a while, so that it may change.

    Parameters
    ----------
    client : botocore Secrets Manager client
    name : str
        Of the secret.
    ttl_seconds : float
        For how long it is taken as true.
    clock : callable, optional
        Monotonic seconds.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        ttl_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._name = name
        self._ttl = ttl_seconds
        self._clock = clock
        self._known: Secret | None = None
        self._fault: SightloopError | None = None
        self._ask_at = clock()
        self._lock = threading.Lock()
        self._revalidator = Revalidator()

    @property
    def known(self) -> Secret | None:
        """The secret as it was read last, ``None`` before that; nothing is asked for."""
        return self._known

    def read(self) -> Secret:
        """Return the secret; where it cannot be read, as it was known last.

        After a failure nobody is asked for a few seconds.

        Raises
        ------
        SecretsUnavailable
            It was never read, and Secrets Manager does not answer.
        ConfigurationError
            It was never read, and does not exist, or is not what it should be.
        """
        # One thread asks; the others go on with what is known, or wait where nothing is.
        if self._clock() >= self._ask_at:
            if self._known is None:
                self._first()
            else:
                self._revalidator.refresh(self._name, self._ask)
        if self._known is not None:
            return self._known
        raise self._fault or SecretsUnavailable("the secret was not read")

    def _first(self) -> None:
        """Read the secret for the first time; of several callers one reads, the others wait."""
        if not self._lock.acquire(timeout=FIRST_READ_SECONDS):
            return
        try:
            if self._known is None and self._clock() >= self._ask_at:
                self._ask()
        finally:
            self._lock.release()

    def _ask(self) -> None:
        try:
            self._known, self._fault = self._fetch(), None
            self._ask_at = self._clock() + self._ttl
        except SightloopError as error:
            self._fault, self._ask_at = error, self._clock() + RETRY_SECONDS
            known = self._known is not None
            logger.error("the secret cannot be read", why=error.detail, last_known_is_used=known)

    def _fetch(self) -> Secret:
        with translated(SecretsUnavailable, f"reading the secret {self._name}"):
            text = str(self._client.get_secret_value(SecretId=self._name)["SecretString"])
        try:
            return Secret.model_validate_json(text)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            # Not where exactly: an operator's name is in the path.
            told = "; ".join(sorted({f"{(*each['loc'], '')[0]}: {each['type']}" for each in found}))
            raise ConfigurationError(f"the secret {self._name} cannot be used: {told}") from None
