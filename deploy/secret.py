"""Makes the secret of a stage, with a random token for its operator; what is in it stays."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from chalicelib.trust.records import is_address
from deploy.cloud import code_of, log

OPERATOR = "operator"
DELETED = frozenset({"InvalidRequestException"})


def ensure_secret(manager: Any, name: str) -> None:
    """Make the secret where there is none: one operator, and a key that signs users' tokens.

    Parameters
    ----------
    manager : botocore Secrets Manager client
    name : str

    Raises
    ------
    ConfigurationError
        It was deleted, and its name is not free yet.
    """
    if held(manager, name) is not None:
        return
    made = {
        "operators": {OPERATOR: secrets.token_urlsafe(32)},
        "subjects_key": secrets.token_urlsafe(48),
        "database_url": "",
        "telegram": {},
    }
    try:
        manager.create_secret(
            Name=name,
            Description="Sightloop: operators' tokens, the key of users' tokens, the database",
            SecretString=json.dumps(made),
        )
        log.info("made secret %s", name)
    except manager.exceptions.ResourceExistsException:
        log.info("secret %s was made by somebody else meanwhile", name)


def keep_database_url(manager: Any, name: str, database_url: str) -> None:
    """Write down in the secret which database the functions use."""
    known = held(manager, name) or {}
    if known.get("database_url") != database_url:
        keep(manager, name, {**known, "database_url": database_url})
        log.info("the secret %s names the database", name)


def mint(manager: Any, name: str, subject: str, days: float) -> str:
    """Return a token that lets its bearer call as ``user:<subject>`` for so many days.

    Raises
    ------
    ConfigurationError
        There is no secret, or no key in it; or the subject cannot name a user.
    """
    known = held(manager, name)
    if not known or not known.get("subjects_key"):
        raise ConfigurationError(f"the secret {name} holds no subjects_key to sign tokens with")
    if not subject or not is_address(f"user:{subject}") or "%" in subject:
        raise ConfigurationError(f"{subject!r} cannot be a user: one word, 250 characters, no %")
    expires = datetime.now(UTC) + timedelta(days=days)
    return jwt.encode({"sub": subject, "exp": expires}, known["subjects_key"], algorithm="HS256")


def erase_secret(manager: Any, name: str) -> None:
    """Delete the secret at once; one that is gone already is no error."""
    try:
        manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        log.info("deleted secret %s", name)
    except manager.exceptions.ResourceNotFoundException:
        log.debug("no secret %s", name)


def keep(manager: Any, name: str, content: dict[str, Any]) -> None:
    """Write what the secret holds from now on."""
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(content))


def held(manager: Any, name: str) -> dict[str, Any] | None:
    """Return what the secret holds, or None where there is none.

    Raises
    ------
    ConfigurationError
        It was deleted and can be brought back, or it is not JSON.
    """
    try:
        text = manager.get_secret_value(SecretId=name)["SecretString"]
    except manager.exceptions.ResourceNotFoundException:
        return None
    except ClientError as error:
        if code_of(error) not in DELETED:
            raise
        raise ConfigurationError(
            f"the secret {name} was deleted: bring it back with `aws secretsmanager "
            f"restore-secret --secret-id {name}`, or delete it for good"
        ) from error
    try:
        return dict(json.loads(text))
    except ValueError:
        raise ConfigurationError(f"the secret {name} holds something that is not JSON") from None
