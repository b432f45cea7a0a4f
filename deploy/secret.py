"""Makes the secret of a stage, with a random token for its operator; what is in it stays."""

from __future__ import annotations

import json
import secrets
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
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
    if _held(manager, name) is not None:
        return
    made = {
        "operators": {OPERATOR: secrets.token_urlsafe(32)},
        "subjects_key": secrets.token_urlsafe(48),
        "database_url": "",
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
    held = _held(manager, name) or {}
    if held.get("database_url") != database_url:
        manager.put_secret_value(
            SecretId=name, SecretString=json.dumps({**held, "database_url": database_url})
        )
        log.info("the secret %s names the database", name)


def erase_secret(manager: Any, name: str) -> None:
    """Delete the secret at once; one that is gone already is no error."""
    try:
        manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        log.info("deleted secret %s", name)
    except manager.exceptions.ResourceNotFoundException:
        log.debug("no secret %s", name)


def _held(manager: Any, name: str) -> dict[str, Any] | None:
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
