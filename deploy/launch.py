"""The steps of a deployment, each of which may be run again: after a fault, run all of it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from botocore.exceptions import ClientError, NoCredentialsError

from chalicelib.errors import ConfigurationError
from chalicelib.settings import PREFIX, Settings
from chalicelib.wiring import Services
from deploy import (
    bundled,
    configure,
    database,
    endpoint,
    gateway,
    package,
    removal,
    resources,
    training_role,
    triggers,
)
from deploy import stages as stages_
from deploy.cloud import ClientOf, clients, log
from deploy.record import Record
from deploy.secret import keep_database_url
from deploy.stages import FUNCTIONS, Stage

PYTHON = (3, 12)
CHALICE = "import sys; from chalice.cli import main; sys.exit(main())"


class Project:
    """The folder that is deployed.

    Parameters
    ----------
    root : Path
        Where ``app.py`` is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.chalice = root / ".chalice"
        self.stages = stages_.read(self.chalice)

    def stage(self, name: str) -> Stage:
        """Return a stage.

        Raises
        ------
        ConfigurationError
            There is none of that name.
        """
        if name not in self.stages:
            raise ConfigurationError(
                f"there is no stage {name!r}: {', '.join(sorted(self.stages))} there are, and "
                f"`python -m deploy configure --stage {name}` makes another"
            )
        return self.stages[name]

    def stage_or_new(self, name: str) -> Stage:
        """Return a stage; one that is not known yet has a development stage's defaults."""
        known = self.stages.get(name)
        return known or stages_.with_changes(stages_.DEFAULTS[0], name=name)

    def keep(self, stage: Stage) -> None:
        """Write a stage's configuration and policies; tell what a stage that moves leaves."""
        endpoint.tell_of_move(self.stages.get(stage.name, stage), stage)
        self.stages[stage.name] = stage
        for name in configure.write(self.chalice, self.stages):
            log.info("wrote .chalice/%s", name)


def deploy(project: Project, stage: Stage) -> str:
    """Deploy a stage and return its address.

    Raises
    ------
    ConfigurationError
        A step cannot be done; its sentence says what to do.
    """
    client = clients(stage.region)
    stage = prepare(project, stage, client)
    make_resources(stage, client)
    database_url = Settings.from_environment(os.environ).database_url
    if database_url:
        function = f"function:{stage.function('update_reported_list')}"
        database.prepare(database_url, stage.arn("lambda", function))
        keep_database_url(client("secretsmanager"), stage.settings.secret_name, database_url)
    with_database = stage.settings.model_copy(update={"database_url": database_url})
    bundled.register(Services(with_database, {"s3": client("s3")}), project.root / "models")
    record = Record(project.chalice, stage, client("s3"))
    record.fetch()
    record.adopt_triggers(client("lambda"))
    in_bucket = (stage.settings.store_bucket, stage.region)
    run_chalice(project, stage, "-m", "deploy.chalice_deploy", stage.name, *in_bucket)
    record.keep()
    triggers.finish(client("lambda"), stage)
    api = record.resources()["rest_api"]
    url = str(api["rest_api_url"])
    api_stage = url.rstrip("/").rpartition("/")[2]
    gateway.finish(client("apigateway"), str(api["rest_api_id"]), api_stage, stage.settings)
    endpoint.ensure(client, stage)  # last: SageMaker may be busy, and functions do without
    return url


def address(project: Project, stage: Stage) -> str:
    """Return where a stage's API is, with a slash at its end.

    Raises
    ------
    ConfigurationError
        It is not deployed.
    """
    record = Record(project.chalice, stage, clients(stage.region)("s3"))
    record.fetch()
    api = record.resources().get("rest_api")
    if api is None:
        raise ConfigurationError(f"{stage.name} is not deployed: make deploy STAGE={stage.name}")
    return str(api["rest_api_url"])


def make_resources(stage: Stage, client: ClientOf) -> None:
    """Make a stage's buckets, queues, table and secret, log groups, and what SageMaker runs as."""
    training_role.ensure(client("iam"), stage)
    endpoint.ensure_role(client("iam"), stage)
    log.info("buckets, queues, table and secret of %s", stage.name)
    resources.ensure(stage.settings, client)
    groups = [stage.log_group(function) for function in FUNCTIONS]
    if stage.settings.endpoint_image:
        groups.append(stage.endpoint_log_group)
    for group in groups:
        resources.ensure_log_group(client("logs"), group, stage.log_retention_days)


def prepare(project: Project, stage: Stage, client: ClientOf) -> Stage:
    """Check what can be checked without changing anything on AWS, and build the package."""
    check_machine()
    stage = in_account(stage, account(client))
    project.keep(stage)
    package.build(project.root)
    return stage


def destroy(project: Project, stage: Stage, erase_data: bool) -> None:
    """Take a stage's functions, roles, triggers, API and endpoint down, on demand its data too."""
    client = clients(stage.region)
    stage = in_account(stage, account(client))
    record = Record(project.chalice, stage, client("s3"))
    record.fetch()
    if record.resources():
        run_chalice(project, stage, "-c", CHALICE, "delete", "--stage", stage.name)
        if not erase_data:
            record.keep()
    else:
        log.info("nothing is deployed in %s", stage.name)
    training_role.remove(client("iam"), stage)
    endpoint.remove(client, stage)
    if erase_data:
        removal.erase(stage, client)


def check_machine() -> None:
    """See that this Python is the one that Lambda runs, on a system that can build for it."""
    if sys.version_info[:2] != PYTHON:
        raise ConfigurationError(f"Python 3.12 is needed; this is {platform.python_version()}")
    if sys.platform not in ("linux", "darwin"):
        raise ConfigurationError(f"deploy from Linux or macOS, not from {sys.platform}")


def account(client: ClientOf) -> str:
    """Return the account that the credentials are of."""
    try:
        return str(client("sts").get_caller_identity()["Account"])
    except NoCredentialsError as error:
        raise ConfigurationError(
            "no AWS credentials: run `aws configure`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
        ) from error
    except ClientError as error:
        raise ConfigurationError(f"AWS refuses these credentials: {error}") from error


def in_account(stage: Stage, account: str) -> Stage:
    """Return a stage as it is in an account; one that is in another already does not move.

    Raises
    ------
    ConfigurationError
        It is in another.
    """
    if stage.account not in (stages_.EXAMPLE_ACCOUNT, account):
        raise ConfigurationError(
            f"the stage {stage.name} is in the account {stage.account}, and these credentials are "
            f"of {account}: choose others, or `configure` a stage of another name"
        )
    return stages_.with_changes(stage, account=account)


def run_chalice(project: Project, stage: Stage, *arguments: str) -> None:
    """Run Chalice for a stage, in a Python of its own.

    Our own settings are kept from it, for the stage's have to apply; and it must not leave
    bytecode between the sources, which would make it build another package.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = {
        **inherited,
        "AWS_DEFAULT_REGION": stage.region,
        "AWS_REGION": stage.region,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    line = [sys.executable, *arguments]
    if subprocess.run(line, cwd=project.root, env=environment, check=False).returncode:
        raise ConfigurationError("Chalice failed, for the reason above; mend it and run this again")
