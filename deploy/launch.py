"""The steps of a deployment, each of which may be run again: after a fault, run all of it again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, NoCredentialsError

from chalicelib.errors import ConfigurationError, ModelNotFound
from chalicelib.settings import PREFIX, Settings
from chalicelib.wiring import Services
from deploy import configure, package, removal, resources, triggers
from deploy import migrate as migrations
from deploy import stages as stages_
from deploy.cloud import ClientOf, clients, log
from deploy.stages import Stage

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
        """Return a stage; one that is not known yet has a development stage's defaults."""
        known = self.stages.get(name)
        return known or stages_.with_changes(stages_.DEFAULTS[0], name=name)

    def keep(self, stage: Stage) -> None:
        """Write a stage's configuration and policies."""
        self.stages[stage.name] = stage
        for name in configure.write(self.chalice, self.stages):
            log.info("wrote .chalice/%s", name)

    def deployed(self, stage: Stage) -> dict[str, dict[str, Any]]:
        """Return what Chalice deployed, by its name."""
        file = self.chalice / "deployed" / f"{stage.name}.json"
        if not file.exists():
            return {}
        rows = json.loads(file.read_text(encoding="utf-8"))["resources"]
        return {row["name"]: row for row in rows}


def deploy(project: Project, stage: Stage) -> str:
    """Deploy a stage and return its address.

    Raises
    ------
    ConfigurationError
        A step cannot be done; its sentence says what to do.
    """
    client = clients(stage.region)
    stage = prepare(project, stage, client)
    log.info("buckets, queues and the table of %s", stage.name)
    resources.ensure(stage.settings, client)
    migrate_database()
    run_chalice(project, stage, "deploy")
    triggers.finish(client("lambda"), stage)
    register_models(project, Services(stage.settings))
    return str(project.deployed(stage)["rest_api"]["rest_api_url"])


def prepare(project: Project, stage: Stage, client: ClientOf) -> Stage:
    """Check what can be checked without changing anything on AWS, and build the package."""
    check_machine()
    stage = stages_.with_changes(stage, account=account(client))
    project.keep(stage)
    package.build(project.root)
    return stage


def destroy(project: Project, stage: Stage, erase_data: bool) -> None:
    """Take a stage's functions, roles, triggers and API down, and on demand its data too."""
    client = clients(stage.region)
    if account(client) != stage.account:
        raise ConfigurationError(f"the stage {stage.name} is in the account {stage.account}")
    run_chalice(project, stage, "delete")
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


def migrate_database() -> None:
    """Bring the database up to date, where one is attached by ``SIGHTLOOP_DATABASE_URL``."""
    url = Settings.from_environment(os.environ).database_url
    if url:
        for name in migrations.migrate(url):
            log.info("applied %s", name)


def run_chalice(project: Project, stage: Stage, command: str) -> None:
    """Run ``chalice deploy`` or ``chalice delete`` for a stage.

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
    line = [sys.executable, "-c", CHALICE, command, "--stage", stage.name]
    done = subprocess.run(line, cwd=project.root, env=environment, check=False)
    if done.returncode:
        raise ConfigurationError(
            f"`chalice {command}` failed, for the reason above; mend it and run this again"
        )


def register_models(project: Project, services: Services) -> None:
    """Let the bundled models serve where nothing serves under their names yet.

    A model that has been trained further since is left alone.
    """
    for folder in sorted(path.parent for path in project.root.glob("models/*/model.onnx")):
        try:
            live = services.catalog.require(folder.name)
            log.info("model %s serves version %d", folder.name, live.version)
        except ModelNotFound:
            weights, metrics = folder / "model.onnx", folder / "metrics.json"
            made = services.publisher.publish(
                folder.name, weights.read_bytes(), metrics.read_bytes()
            )
            log.info("registered model %s, version %s", folder.name, made.live_version)
