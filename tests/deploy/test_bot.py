"""`python -m deploy bot`: the token goes into the secret, the webhook to Telegram."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chalicelib.secrets import Secret
from deploy import __main__ as command
from deploy.resources import ensure
from deploy.stages import Stage
from local.telegram.server import Server
from local.telegram.world import Refused, World

TOKEN = "7000000001:nobody-is-to-read-this"
URL = "https://sightloop.example/api"
Cloud = Any
Run = Callable[..., int]


@pytest.fixture
def world() -> World:
    return World(bot_name="acme_bot")


@pytest.fixture
def run(
    cloud: Cloud,
    stage: Stage,
    world: World,
    serve_telegram: Callable[[World, str], Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Call the command as a user does, for a stage whose secret is made."""
    ensure(stage.settings, cloud.in_region(stage.region))
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.endpoint)
    (tmp_path / "app.py").touch()
    where = ["--project", str(tmp_path), "--prefix", stage.prefix, "--region", stage.region]
    chosen = ["--set", f"telegram_api={serve_telegram(world, TOKEN).url}"]
    assert command.main(["configure", "--stage", stage.name, *where, *chosen]) == 0

    def bot(*arguments: str, token: str = TOKEN) -> int:
        (tmp_path / "token").write_text(f"{token}\n")
        given = [] if "--remove" in arguments else ["--token-file", str(tmp_path / "token")]
        line = ["bot", "--stage", stage.name, *where, *given]
        return command.main([*line, *arguments])

    return bot


@pytest.fixture
def secret(cloud: Cloud, stage: Stage) -> Callable[[], Secret]:
    def read() -> Secret:
        manager = cloud.client("secretsmanager", stage.region)
        held = manager.get_secret_value(SecretId=stage.settings.secret_name)["SecretString"]
        return Secret.model_validate(json.loads(held))

    return read


def test_registering_tells_telegram_where_to_send_and_the_secret_what_to_expect(
    run: Run, secret: Callable[[], Secret], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    before = secret()
    assert run("--url", URL) == 0

    kept = secret()
    assert kept.telegram.token == TOKEN
    assert (kept.telegram.name, kept.telegram.page_url) == ("acme_bot", f"{URL}/")
    assert world.webhook["url"] == f"{URL}/v1/telegram/webhook"
    assert world.webhook["secret_token"] == kept.telegram.webhook_secret
    assert len(kept.telegram.webhook_secret) >= 40
    assert kept.operators == before.operators
    said = "".join(capsys.readouterr())
    assert "https://t.me/acme_bot" in said
    assert TOKEN not in said
    assert kept.telegram.webhook_secret not in said


def test_registering_again_changes_the_word(
    run: Run, secret: Callable[[], Secret], world: World
) -> None:
    run("--url", URL)
    first = secret().telegram.webhook_secret
    run("--url", URL)

    assert secret().telegram.webhook_secret == world.webhook["secret_token"] != first


@pytest.mark.parametrize("token", ["7000000001:another", "no token at all", ""])
def test_a_token_that_telegram_does_not_know_changes_nothing(
    run: Run, secret: Callable[[], Secret], capsys: pytest.CaptureFixture[str], token: str
) -> None:
    assert run("--url", URL, token=token) == 1

    assert secret().telegram.token == ""
    told = capsys.readouterr().err
    assert told.startswith("deploy: ")
    assert not token or token not in told


def test_where_telegram_does_not_take_the_webhook_all_stays_as_it_was(
    run: Run, secret: Callable[[], Secret], world: World
) -> None:
    run("--url", URL)
    before, call = secret(), world.call

    def refuse(method: str, given: dict[str, Any]) -> Any:
        if method == "setWebhook":
            raise Refused(400, "Bad Request: bad webhook: an HTTPS URL must be provided")
        return call(method, given)

    world.call = refuse
    assert run("--url", "http://sightloop.example/") == 1
    assert secret() == before


def test_without_an_address_the_stage_has_to_be_deployed(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    assert "is not deployed" in capsys.readouterr().err


def test_removing_takes_the_webhook_away_and_forgets_the_token(
    run: Run, secret: Callable[[], Secret], world: World
) -> None:
    run("--url", URL)
    assert [run("--remove"), run("--remove")] == [0, 0]

    assert world.webhook["url"] == ""
    assert secret().telegram.token == ""
    assert secret().telegram.webhook_secret == ""


def test_a_token_that_was_revoked_is_forgotten_all_the_same(
    run: Run, secret: Callable[[], Secret], cloud: Cloud, stage: Stage
) -> None:
    run("--url", URL)
    manager, name = cloud.client("secretsmanager", stage.region), stage.settings.secret_name
    held = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])
    held["telegram"]["token"] = "7000000001:revoked"
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(held))

    assert run("--remove") == 0
    assert secret().telegram.token == ""


def test_without_a_secret_it_says_what_to_do(
    run: Run, cloud: Cloud, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = cloud.client("secretsmanager", stage.region)
    manager.delete_secret(SecretId=stage.settings.secret_name, ForceDeleteWithoutRecovery=True)

    assert run("--url", URL) == 1
    assert "deploy the stage first" in capsys.readouterr().err
