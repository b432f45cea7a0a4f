"""The secret: read once, read again after a while, and never shown."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from chalicelib.errors import ConfigurationError, SecretsUnavailable
from chalicelib.observability import logger
from chalicelib.secrets import RETRY_SECONDS, Secret, Secrets

NAME = "sightloop-test"
TOKEN = "a-token-of-ada-0123456789"
TTL = 60.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Unreachable:
    """A client whose service does not answer; it counts how often it was asked."""

    asked = 0

    def get_secret_value(self, SecretId: str) -> Any:  # noqa: N803 - botocore's name
        self.asked += 1
        raise EndpointConnectionError(endpoint_url="https://secretsmanager")


@pytest.fixture
def manager() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-central-1")
        client.create_secret(Name=NAME, SecretString=json.dumps({"operators": {"ada": TOKEN}}))
        yield client


def change(manager: Any, **fields: Any) -> None:
    manager.put_secret_value(SecretId=NAME, SecretString=json.dumps(fields))


def test_it_holds_operators_a_key_and_a_database(manager: Any) -> None:
    change(manager, operators={"ada": TOKEN}, subjects_key="k" * 32, database_url="postgresql://x")

    secret = Secrets(manager, NAME, TTL).read()

    assert secret.operators == {"ada": TOKEN}
    assert secret.subjects_key == "k" * 32
    assert secret.database_url == "postgresql://x"


def test_a_rotated_token_counts_once_the_old_one_was_kept_long_enough(manager: Any) -> None:
    clock = Clock()
    secrets = Secrets(manager, NAME, TTL, clock)
    secrets.read()
    change(manager, operators={"ada": "another-token-of-hers"})

    clock.now += TTL - 1
    assert secrets.read().operators["ada"] == TOKEN
    clock.now += 1
    assert secrets.read().operators["ada"] == "another-token-of-hers"


def test_what_was_known_last_is_used_while_nobody_answers(manager: Any) -> None:
    clock = Clock()
    secrets = Secrets(manager, NAME, TTL, clock)
    secrets.read()
    silent = secrets._client = Unreachable()

    clock.now += TTL
    assert secrets.read().operators == {"ada": TOKEN}
    clock.now += RETRY_SECONDS / 2
    assert secrets.read().operators == {"ada": TOKEN}
    assert silent.asked == 1


def test_one_that_becomes_unusable_does_not_replace_a_good_one(manager: Any) -> None:
    clock = Clock()
    secrets = Secrets(manager, NAME, TTL, clock)
    secrets.read()
    manager.put_secret_value(SecretId=NAME, SecretString="not JSON")

    clock.now += TTL
    assert secrets.read().operators == {"ada": TOKEN}


def test_nobody_is_asked_again_at_once_after_a_failure() -> None:
    clock, silent = Clock(), Unreachable()
    secrets = Secrets(silent, NAME, TTL, clock)

    for _ in range(3):
        with pytest.raises(SecretsUnavailable):
            secrets.read()
    assert silent.asked == 1
    clock.now += RETRY_SECONDS
    with pytest.raises(SecretsUnavailable):
        secrets.read()
    assert silent.asked == 2


def test_one_that_does_not_exist_is_a_fault_of_the_configuration(manager: Any) -> None:
    with pytest.raises(ConfigurationError, match="sightloop-missing"):
        Secrets(manager, "sightloop-missing", TTL).read()


@pytest.mark.parametrize(
    "fields",
    [
        {"operators": {"ada": "short"}},
        {"operators": {"a da": TOKEN}},
        {"operators": {"": TOKEN}},
        {"operators": {"a:b": TOKEN}},
        {"operators": {"sightloop": TOKEN}},
        {"operators": {"ada": TOKEN, "bob": TOKEN}},
        {"operators": [TOKEN]},
        {"subjects_key": "too short to sign with"},
        {"database_url": None},
    ],
)
def test_one_that_cannot_be_used_says_which_field_and_shows_nothing(
    manager: Any, fields: dict[str, Any]
) -> None:
    change(manager, **fields)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)
    logger.addHandler(handler)

    with pytest.raises(ConfigurationError) as refused:
        Secrets(manager, NAME, TTL).read()

    logger._logger.removeHandler(handler)
    assert f"{next(iter(fields))}: " in refused.value.detail
    assert "cannot be read" in written.getvalue()
    for told in (refused.value.detail, written.getvalue()):
        assert TOKEN not in told
        assert "too short to sign with" not in told


def test_its_text_shows_nothing() -> None:
    secret = Secret(operators={"ada": TOKEN}, subjects_key="k" * 32, database_url="postgresql://pw")

    for text in (str(secret), repr(secret)):
        assert TOKEN not in text
        assert "kkk" not in text
        assert "pw" not in text
