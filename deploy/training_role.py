"""The role that trainers have on AWS, and what it may do: read datasets, write what comes out.

It is made for a stage whose launcher is `sagemaker` or `cluster`. A cluster that proves its pods'
identity in another way than EKS may be let in by hand.
"""

from __future__ import annotations

from typing import Any

from chalicelib.retrain.keys import PREFIX
from chalicelib.retrain.launchers.manifest import SERVICE
from deploy import roles
from deploy.roles import Role, Statement, allow, list_keys, read_objects, write_objects
from deploy.stages import ROLES, Stage

POLICY = "train"
READ = ("models/*", "pending_models/*", "parked/*", "datasets/*", f"{PREFIX}*")
WRITTEN = tuple(f"{PREFIX}*/{what}" for what in ("log.txt", "checkpoints/*", "output/*"))
BY_SAGEMAKER = f"{PREFIX}*/sagemaker/*"
CHECKPOINTS = f"{PREFIX}*/checkpoints/*"
KIND = "TrainingJobs"


def ensure(iam: Any, stage: Stage) -> None:
    """Make the role where the stage's launcher needs one, and bring what it may do up to date.

    Raises
    ------
    ConfigurationError
        The stage's settings name no image, or one that is not in ECR.
    """
    name = stage.training_role
    if name is None:
        return
    what = "What trainers of Sightloop may do"
    roles.ensure(iam, stage, Role(name, what, trust(stage), POLICY, policy(stage)))


def remove(iam: Any, stage: Stage) -> None:
    """Delete the roles that a stage's trainers had, whichever launcher they were made for."""
    for launcher in ROLES:
        roles.remove(iam, stage.role_of(launcher))


def trust(stage: Stage) -> dict[str, Any]:
    """Return who may take the role: SageMaker for this account, or pods of one service account."""
    if stage.settings.launcher == "sagemaker":
        return roles.by_sagemaker(stage)
    of_service_account = {
        "aws:RequestTag/kubernetes-namespace": stage.settings.cluster_namespace,
        "aws:RequestTag/kubernetes-service-account": SERVICE,
    }
    return roles.trust("pods.eks.amazonaws.com", of_service_account, "sts:TagSession")


def policy(stage: Stage) -> dict[str, Any]:
    """Return what a trainer may do.

    Raises
    ------
    ConfigurationError
        The stage's settings name no image, or one that is not in ECR.
    """
    statements = _of_trainers(stage)
    if stage.settings.launcher == "sagemaker":
        statements += _of_sagemaker(stage)
    return roles.document(statements)


def _of_trainers(stage: Stage) -> list[Statement]:
    """Return what the trainer itself does, wherever it runs."""
    store = stage.settings.store_bucket
    queue = stage.arn("sqs", stage.settings.training_queue)
    written = [stage.bucket_arn(store, each) for each in WRITTEN]
    return [
        read_objects(stage, "ReadWhatIsTrainedOn", store, *READ),
        list_keys(stage, "TellMissing", store, *READ),
        allow("WriteWhatComesOut", ["s3:PutObject", "s3:AbortMultipartUpload"], written),
        allow("ClearCheckpoints", ["s3:DeleteObject"], [stage.bucket_arn(store, CHECKPOINTS)]),
        allow("Report", ["sqs:GetQueueUrl", "sqs:SendMessage"], [queue]),
    ]


def _of_sagemaker(stage: Stage) -> list[Statement]:
    """Return what SageMaker does in the trainer's name."""
    repository = roles.repository(stage, "training_image")
    statements = [
        write_objects(stage, "WriteOutput", stage.settings.store_bucket, BY_SAGEMAKER),
        *roles.run_on_sagemaker(stage, KIND, f"/aws/sagemaker/{KIND}", repository),
    ]
    if key := stage.settings.training_kms_key:
        encrypt = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
        statements.append(allow("Encrypt", [*encrypt, "kms:CreateGrant"], [key]))
    return statements
