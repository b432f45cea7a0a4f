"""Deploys Sightloop into an AWS account.

::

    python -m deploy configure --stage dev --prefix acme --region eu-west-1
    python -m deploy configure --stage dev --set prediction_ttl_days=7
    python -m deploy configure --stage dev --subnet subnet-… --security-group sg-…
    python -m deploy up --stage dev              # make deploy STAGE=dev
    python -m deploy up --stage dev --dry-run    # check and build, change nothing on AWS
    python -m deploy resources --stage dev       # only buckets, queues and the table
    python -m deploy token --stage dev --subject alice
    python -m deploy bot --stage dev             # asks for the token that @BotFather gave you
    python -m deploy bot --stage dev --remove
    python -m deploy destroy --stage dev         # keeps buckets, queues and the table
    python -m deploy destroy --stage dev --erase-data dev
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import ConfigurationError, SightloopError
from deploy import launch, telegram
from deploy.cloud import clients
from deploy.launch import Project
from deploy.secret import mint
from deploy.stages import Stage, with_changes

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("deploy").setLevel(logging.INFO)
    given = parser().parse_args(arguments)
    try:
        project = Project(given.project)
        makes = given.command in ("configure", "token")  # whose stage may be `local`
        find = project.stage_or_new if makes else project.stage
        stage = with_changes(find(given.stage), prefix=given.prefix, region=given.region)
        _COMMANDS[given.command](project, stage, given)
    except (SightloopError, ClientError, BotoCoreError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


def _configure(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    unread = [each for each in given.set if "=" not in each]
    if unread:
        raise ConfigurationError(f"say --set NAME=VALUE, not {unread[0]!r}")
    changed = {**stage.changed, **dict(each.split("=", 1) for each in given.set)}
    kept = {name.lower(): value for name, value in changed.items() if value}
    network = {
        "subnet_ids": _given(given.subnet),
        "security_group_ids": _given(given.security_group),
    }
    project.keep(with_changes(stage, account=given.account, changed=kept, **network))


def _given(ids: list[str] | None) -> tuple[str, ...] | None:
    """Return the ids of a network; none of them where an empty one was given."""
    return None if ids is None else tuple(each for each in ids if each)


def _up(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    if given.dry_run:
        ready = launch.prepare(project, stage, clients(stage.region))
        print(f"ready to deploy {ready.name} into {ready.account}, {ready.region}")
        return
    url = launch.deploy(project, stage).rstrip("/")
    print(f"\n{stage.name} is at {url}/\n")
    print(f"  curl {url}/healthz")
    print("  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\")
    print(f"       {url}/v1/models/scratch/detections")
    print("\nThe operator's token:\n")
    print(f"  aws secretsmanager get-secret-value --region {stage.region} \\")
    print(f"       --secret-id {stage.settings.secret_name} --query SecretString --output text")


def _resources(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    client = clients(stage.region)
    launch.make_resources(launch.in_account(stage, launch.account(client)), client)


def _token(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    manager = clients(stage.region)("secretsmanager")
    print(mint(manager, stage.settings.secret_name, given.subject, given.days))


def _bot(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    client = clients(stage.region)
    manager, secret = client("secretsmanager"), stage.settings.secret_name
    api = stage.settings.telegram_api
    if given.remove:
        telegram.remove(manager, secret, api)
        return
    url = given.url or launch.address(project, stage)
    name = telegram.register(manager, secret, _bot_token(given), url.rstrip("/") + "/", api)
    print(f"write to https://t.me/{name}")


def _bot_token(given: argparse.Namespace) -> str:
    """Return the bot's token, which is not to stand in a shell's history."""
    told = given.token_file.read_text(encoding="utf-8") if given.token_file else getpass("token: ")
    if not told.strip():
        raise ConfigurationError("there is no token: @BotFather gives one for each bot")
    return str(told.strip())


def _destroy(project: Project, stage: Stage, given: argparse.Namespace) -> None:
    if given.erase_data not in (None, stage.name):
        raise SystemExit(f"deploy: to erase its data say --erase-data {stage.name}")
    launch.destroy(project, stage, erase_data=given.erase_data is not None)


_COMMANDS = {
    "configure": _configure,
    "up": _up,
    "resources": _resources,
    "token": _token,
    "bot": _bot,
    "destroy": _destroy,
}


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python -m deploy", description="Deploys Sightloop.")
    commands = made.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--stage", default="dev", help="dev, prod or a name of your own")
    common.add_argument("--prefix", help="what the names of all resources begin with")
    common.add_argument("--region", help="such as eu-central-1")
    common.add_argument("--project", type=Path, default=ROOT, help=argparse.SUPPRESS)

    configured = commands.add_parser("configure", parents=[common], help="render .chalice/")
    configured.add_argument("--account", help="12 digits; `up` takes it from the credentials")
    configured.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting such as max_pixels; without a value: its default again",
    )
    for what in ("subnet", "security-group"):
        configured.add_argument(
            f"--{what}",
            metavar="ID",
            action="append",
            help="of the network that the database is in; may be repeated; empty: none",
        )
    up = commands.add_parser("up", parents=[common], help="deploy")
    up.add_argument("--dry-run", action="store_true", help="check and build only")
    commands.add_parser("resources", parents=[common], help="make buckets, queues and the table")
    token = commands.add_parser("token", parents=[common], help="make a user's token")
    token.add_argument("--subject", required=True, help="the user's name: one word")
    token.add_argument("--days", type=float, default=30, help="how long it is good for")
    bot = commands.add_parser("bot", parents=[common], help="register the Telegram bot")
    bot.add_argument("--token-file", type=Path, help="that holds its token; asked for without")
    bot.add_argument("--url", help="of the stage's API; known where it was deployed from here")
    bot.add_argument("--remove", action="store_true", help="have Telegram send no more")
    down = commands.add_parser("destroy", parents=[common], help="take a stage down")
    down.add_argument("--erase-data", metavar="STAGE", help="delete all that people sent, too")
    return made


if __name__ == "__main__":
    sys.exit(main())
