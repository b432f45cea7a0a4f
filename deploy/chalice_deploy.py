"""Runs ``chalice deploy`` with the package uploaded once: Lambda takes it from a bucket.

    python -m deploy.chalice_deploy STAGE BUCKET REGION

Chalice alone sends the whole package, 45 MiB of it, along with every function that it makes or
updates.
"""

from __future__ import annotations

import hashlib
import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

from chalice.cli.factory import CLIFactory
from chalice.utils import UI

from chalicelib import aws
from chalicelib.storage import ObjectStore
from deploy.resources import PACKAGES


class Packages:
    """The packages in a stage's store bucket, which has each once, however many functions run it.

    Parameters
    ----------
    store : ObjectStore
        In the functions' region.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def place(self, package: bytes) -> dict[str, str]:
        """Return where Lambda finds a package, which is uploaded if it is not there yet."""
        key = f"{PACKAGES}{hashlib.sha256(package).hexdigest()}.zip"
        if not self._store.has(key):
            self._store.put_file(key, BytesIO(package), "application/zip")
        return {"S3Bucket": self._store.bucket, "S3Key": key}

    def in_place_of_zip(self, params: dict[str, Any], **_: object) -> dict[str, Any]:
        """Return what Lambda is asked instead; botocore calls this with what Chalice asks."""
        if "Code" in params:  # of CreateFunction
            return {**params, "Code": self.in_place_of_zip(params["Code"])}
        rest = {name: given for name, given in params.items() if name != "ZipFile"}
        return {**rest, **self.place(params["ZipFile"])}


def deploy(project: Path, stage: str, packages: Packages) -> None:
    """Do what the command ``chalice deploy`` does."""
    factory = CLIFactory(str(project), environ=os.environ)  # which gets the stage's settings
    config = factory.create_config_obj(stage)
    session = factory.create_botocore_session()
    for call in ("CreateFunction", "UpdateFunctionCode"):
        session.register(f"provide-client-params.lambda.{call}", packages.in_place_of_zip)
    ui = UI()
    deployed = factory.create_default_deployer(session, config, ui).deploy(config, stage)
    factory.create_deployment_reporter(ui).display_report(deployed)


if __name__ == "__main__":
    _, stage, bucket, region = sys.argv
    deploy(
        Path.cwd(), stage, Packages(ObjectStore(aws.client("s3", region, background=True), bucket))
    )
