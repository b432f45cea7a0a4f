"""What each function may do: exactly the calls it makes, on exactly the things it makes them on.

``docs/operations.md`` holds the same as a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalicelib.retrain.launchers.sagemaker import name_prefix
from deploy.resources import DEAD_LETTER_SUFFIX
from deploy.roles import (
    SAGEMAKER,
    Statement,
    allow,
    document,
    erase_objects,
    list_keys,
    read_objects,
    write_objects,
)
from deploy.stages import Stage

MODELS = "models/*"
PREDICTIONS = "predictions/*"
QUARANTINE = "quarantine/*"
PARKED = "parked/*"
PENDING = "pending_models/*"
IMAGES = (QUARANTINE, PARKED, PENDING)
DATASET_FILES = tuple(
    f"{folder}/*/{kind}/*"
    for folder in ("models", "pending_models")
    for kind in ("images", "labels")
)
REPORT_LIST = "trust/report_list.txt"
NETWORK_ACTIONS = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
SENDERS = "senders/*"
DELETIONS = "deletions/*"
UPLOADS = "uploads/*"
IMPORTS = "imports/*"  # in both buckets
EXPORTS = "exports/*"
REQUESTS = "pending_models/*/model.yaml"
DATASETS = "datasets/*"
TRAINING = "training/*"
ORDERS = "training/*/order.json"
PUT_OFF = ("sqs:GetQueueUrl", "sqs:ChangeMessageVisibility")
SERVING = ("models/*/versions/*", "models/*/model.yaml")


def policy(stage: Stage, function: str) -> dict[str, Any]:
    """Return the policy of one function's role."""
    statements = [_write_logs(stage, function), *_OF_FUNCTION[function](stage)]
    if stage.is_in_network(function):
        statements += _be_in_network(stage, function)
    return document(statements)


def _api_handler(stage: Stage) -> list[Statement]:
    settings = stage.settings
    return [
        read_objects(stage, "ReadModels", settings.store_bucket, MODELS),
        read_objects(stage, "ReadResults", settings.store_bucket, PREDICTIONS),
        write_objects(stage, "KeepResults", settings.store_bucket, PREDICTIONS),
        read_objects(stage, "ReadBans", settings.store_bucket, REPORT_LIST),
        read_objects(stage, "ReadDatasets", settings.store_bucket, DATASETS, TRAINING),
        write_objects(stage, "WriteDatasets", settings.store_bucket, DATASETS),
        list_keys(
            stage,
            "ListModels",
            settings.store_bucket,
            MODELS,
            PREDICTIONS,
            REPORT_LIST,
            DATASETS,
            TRAINING,
        ),
        write_objects(stage, "Quarantine", settings.store_bucket, QUARANTINE),
        *_keep_datasets(stage),
        write_objects(stage, "RememberSenders", settings.store_bucket, SENDERS, DELETIONS),
        *_delete_what_people_sent(stage),
        write_objects(stage, "SignUploads", settings.uploads_bucket, UPLOADS, IMPORTS),
        write_objects(stage, "AskForModels", settings.store_bucket, REQUESTS),
        write_objects(stage, "Promote", settings.store_bucket, "models/*/model.yaml"),
        allow(
            "ServeAtLast",
            ["s3:DeleteObject"],
            [stage.bucket_arn(settings.store_bucket, REQUESTS)],
        ),
        read_objects(stage, "LinkExports", settings.store_bucket, EXPORTS),
        _send(stage, "SendJobs", settings.jobs_queue, settings.training_queue, settings.bot_queue),
        _keep_records(stage),
        _keep_limits(stage, "GetItem", "PutItem", "DeleteItem"),
        _read_secret(stage),
        *_detect_elsewhere(stage),
    ]


def _on_upload(stage: Stage) -> list[Statement]:
    return [
        _keep_records(stage),
        _send(stage, "SendToWorkers", stage.settings.identify_queue),
        *_remove_uploads(stage),
    ]


def _on_import(stage: Stage) -> list[Statement]:
    return [
        _send(stage, "SendJobs", stage.settings.jobs_queue),
        _read_secret(stage),
        _discard(stage, IMPORTS),
    ]


def _work_jobs(stage: Stage) -> list[Statement]:
    settings = stage.settings
    store = settings.store_bucket
    return [
        _take(stage, settings.jobs_queue),
        _send(stage, "AskForMoreTime", settings.jobs_queue),
        _read_first(stage, IMPORTS),
        list_keys(stage, "TellMissingUploads", settings.uploads_bucket, IMPORTS),
        read_objects(stage, "ReadModels", store, MODELS),
        list_keys(stage, "TellMissingModels", store, MODELS),
        write_objects(stage, "KeepWhatWasChecked", store, IMPORTS),
        write_objects(stage, "WriteExports", store, EXPORTS),
        read_objects(stage, "WeighExports", store, EXPORTS),
        list_keys(stage, "TellMissingExports", store, EXPORTS),
        allow("GiveUpExports", ["s3:AbortMultipartUpload"], [stage.bucket_arn(store, EXPORTS)]),
        read_objects(stage, "ReadDatasets", store, DATASETS),
        list_keys(stage, "TellMissingDatasets", store, DATASETS),
        write_objects(stage, "WriteDatasets", store, DATASETS),
        *_keep_datasets(stage),
        _read_secret(stage),
    ]


def _identify(stage: Stage) -> list[Statement]:
    settings = stage.settings
    return [
        _take(stage, settings.identify_queue, *PUT_OFF),
        _read_first(stage, UPLOADS),
        list_keys(stage, "TellMissingUploads", settings.uploads_bucket, UPLOADS),
        read_objects(stage, "ReadModels", settings.store_bucket, MODELS),
        list_keys(stage, "TellMissingModels", settings.store_bucket, MODELS),
        write_objects(stage, "WriteResults", settings.store_bucket, PREDICTIONS),
        *erase_objects(stage, "EraseResults", settings.store_bucket, PREDICTIONS),
        _keep_records(stage),
        _send(stage, "Announce", settings.results_queue, settings.identify_queue),
        *_detect_elsewhere(stage),
    ]


def _converse(stage: Stage) -> list[Statement]:
    settings = stage.settings
    store = settings.store_bucket
    return [
        _take(stage, settings.bot_queue, *PUT_OFF),
        _send(stage, "LookAgainLater", settings.bot_queue),
        _keep_notes(stage),
        _keep_limits(stage),
        write_objects(stage, "Upload", settings.uploads_bucket, UPLOADS),
        read_objects(stage, "ReadBans", store, REPORT_LIST),
        read_objects(stage, "ReadModels", store, MODELS),
        read_objects(stage, "ReadResults", store, PREDICTIONS),
        list_keys(stage, "ListModels", store, MODELS, PREDICTIONS, REPORT_LIST),
        write_objects(stage, "Quarantine", store, QUARANTINE),
        *_keep_datasets(stage),
        write_objects(stage, "RememberSenders", store, SENDERS, DELETIONS),
        *_delete_what_people_sent(stage),
        _keep_records(stage),
        _read_secret(stage),
        *_detect_elsewhere(stage),
    ]


def _reply(stage: Stage) -> list[Statement]:
    settings = stage.settings
    store = settings.store_bucket
    return [
        _take(stage, settings.results_queue, *PUT_OFF),
        _send(stage, "BringLater", settings.results_queue),
        _keep_notes(stage),
        read_objects(stage, "ReadModels", store, MODELS),
        read_objects(stage, "ReadResults", store, PREDICTIONS),
        list_keys(stage, "TellMissingResults", store, MODELS, PREDICTIONS),
        _read_records(stage),
        _read_secret(stage),
    ]


def _reconcile(stage: Stage) -> list[Statement]:
    settings = stage.settings
    dead_letters = f"{settings.identify_queue}{DEAD_LETTER_SUFFIX}"
    return [
        list_keys(stage, "ListUploads", settings.uploads_bucket, UPLOADS, IMPORTS),
        _keep_records(stage, "dynamodb:BatchGetItem"),
        _send(stage, "SendAgain", settings.identify_queue, settings.results_queue),
        _send(stage, "SendJobs", settings.jobs_queue),
        *_delete_what_people_sent(stage),
        allow(
            "LookAtDeadLetters",
            ["sqs:GetQueueUrl", "sqs:ReceiveMessage"],
            [stage.arn("sqs", dead_letters)],
        ),
        *_follow_bans(stage),
    ]


def _plan(stage: Stage) -> list[Statement]:
    return [_send(stage, "HaveLookedAt", stage.settings.training_queue), _read_secret(stage)]


def _on_training_report(stage: Stage) -> list[Statement]:
    settings, store = stage.settings, stage.settings.store_bucket
    return [
        _take(stage, settings.training_queue),
        _send(stage, "LookAgain", settings.training_queue),
        _read_secret(stage),
        read_objects(stage, "ReadModels", store, MODELS, DATASETS, TRAINING),
        list_keys(stage, "TellMissingModels", store, MODELS, DATASETS, TRAINING),
        write_objects(stage, "Order", store, DATASETS, ORDERS),
        write_objects(stage, "Promote", store, *SERVING),
        allow("ServeAtLast", ["s3:DeleteObject"], [stage.bucket_arn(store, REQUESTS)]),
        *_keep_datasets(stage),
        *launching(stage),
    ]


def launching(stage: Stage) -> list[Statement]:
    """Let a function have models trained, look at how that goes, and stop it.

    Where the stage's settings name no launcher, that is nothing.
    """
    settings = stage.settings
    if settings.launcher == "sagemaker":
        return _train_on_sagemaker(stage)
    if settings.launcher == "cluster" and not (settings.cluster_url and settings.cluster_ca):
        cluster = stage.arn("eks", f"cluster/{settings.cluster_name}")
        return [allow("FindCluster", ["eks:DescribeCluster"], [cluster])]
    return []


def _train_on_sagemaker(stage: Stage) -> list[Statement]:
    jobs = stage.arn("sagemaker", f"training-job/{name_prefix(stage.settings)}*")
    actions = ("CreateTrainingJob", "AddTags", "DescribeTrainingJob", "StopTrainingJob")
    hand_over = allow("HandRoleOver", ["iam:PassRole"], [stage.settings.training_role])
    to = {"StringEquals": {"iam:PassedToService": SAGEMAKER}}
    return [
        allow("Train", [f"sagemaker:{action}" for action in actions], [jobs]),
        {**hand_over, "Condition": to},
    ]


def _detect_elsewhere(stage: Stage) -> list[Statement]:
    """Let a function have the stage's endpoint detect, where it names one."""
    name = stage.settings.endpoint
    if not name:
        return []
    spellings = sorted({name, name.lower()})  # SageMaker writes small letters, but takes any
    endpoints = [stage.arn("sagemaker", f"endpoint/{each}") for each in spellings]
    return [allow("DetectElsewhere", ["sagemaker:InvokeEndpoint"], endpoints)]


def _keep_datasets(stage: Stage) -> list[Statement]:
    """Let a function make the files of datasets, and take them out again."""
    store = stage.settings.store_bucket
    return [
        read_objects(stage, "ReadImages", store, *IMAGES, IMPORTS),
        list_keys(stage, "TellMissingImages", store, *IMAGES),
        write_objects(stage, "MakeDatasets", store, *DATASET_FILES, PARKED),
        allow(
            "ClearDatasets",
            ["s3:DeleteObject"],
            [stage.bucket_arn(store, keys) for keys in (*DATASET_FILES, PARKED)],
        ),
    ]


def _delete_what_people_sent(stage: Stage) -> list[Statement]:
    """Let a function delete photos with all that came of them, and find what was left undone."""
    store, folders = stage.settings.store_bucket, (PREDICTIONS, QUARANTINE, PARKED, *DATASET_FILES)
    return [
        *erase_objects(stage, "EraseSent", store, *folders, SENDERS, DELETIONS),
        read_objects(stage, "ReadDeletions", store, DELETIONS),
        list_keys(stage, "ListSent", store, SENDERS, DELETIONS),
        *_remove_uploads(stage),
    ]


def _remove_uploads(stage: Stage) -> list[Statement]:
    """Let a function delete uploads, whose bucket keeps versions."""
    return erase_objects(stage, "RemoveUploads", stage.settings.uploads_bucket, UPLOADS)


def _follow_bans(stage: Stage) -> list[Statement]:
    """Let a function rewrite the report list, and move the labels of those concerned."""
    store = stage.settings.store_bucket
    return [
        _read_secret(stage),
        read_objects(stage, "ReadReportList", store, REPORT_LIST),
        list_keys(stage, "TellMissingReportList", store, REPORT_LIST),
        write_objects(stage, "WriteReportList", store, REPORT_LIST),
        read_objects(stage, "ReadModels", store, MODELS),
        read_objects(stage, "ReadResults", store, PREDICTIONS),
        list_keys(stage, "TellMissingModels", store, MODELS, PREDICTIONS),
        *_keep_datasets(stage),
    ]


_OF_FUNCTION: dict[str, Callable[[Stage], list[Statement]]] = {
    "api_handler": _api_handler,
    "on_upload": _on_upload,
    "identify": _identify,
    "on_import": _on_import,
    "work_jobs": _work_jobs,
    "converse": _converse,
    "reply": _reply,
    "reconcile": _reconcile,
    "plan": _plan,
    "on_training_report": _on_training_report,
    "on_training_event": _plan,
    "update_reported_list": _follow_bans,
}


def _write_logs(stage: Stage, function: str) -> Statement:
    """Let a function write to its log group, whose streams Lambda names as it goes."""
    group = stage.arn("logs", f"log-group:{stage.log_group(function)}:*")
    return allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [group])


def _be_in_network(stage: Stage, function: str) -> list[Statement]:
    """Let Lambda put a function into a network, and keep the function itself from doing the same.

    AWS has no narrower way: it asks for these on everything, and says so of its own policy for
    it, `AWSLambdaVPCAccessExecutionRole`.
    """
    arn = stage.arn("lambda", f"function:{stage.function(function)}")
    by_itself = {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
    refused = {**allow("NotByItself", NETWORK_ACTIONS, ["*"]), "Effect": "Deny"}
    return [
        allow("BeInNetwork", NETWORK_ACTIONS, ["*"]),
        {**refused, "Condition": by_itself},
    ]


def _keep_records(stage: Stage, *more: str) -> Statement:
    table = stage.arn("dynamodb", f"table/{stage.settings.predictions_table}")
    return allow("KeepRecords", ["dynamodb:GetItem", "dynamodb:PutItem", *more], [table])


def _read_first(stage: Stage, keys: str) -> Statement:
    """Let a function read uploads, and of each the version that came first."""
    arn = stage.bucket_arn(stage.settings.uploads_bucket, keys)
    return allow("ReadUploads", ["s3:GetObject", "s3:GetObjectVersion"], [arn])


def _discard(stage: Stage, keys: str) -> Statement:
    """Let a function delete files that came second."""
    arn = stage.bucket_arn(stage.settings.uploads_bucket, keys)
    return allow("DiscardSecondFiles", ["s3:DeleteObjectVersion"], [arn])


def _keep_limits(stage: Stage, *more: str) -> Statement:
    """Let a function count what callers take of their quotas, and do more in the same table."""
    table = stage.arn("dynamodb", f"table/{stage.settings.limits_table}")
    return allow("KeepLimits", [f"dynamodb:{each}" for each in ("UpdateItem", *more)], [table])


def _read_records(stage: Stage) -> Statement:
    table = stage.arn("dynamodb", f"table/{stage.settings.predictions_table}")
    return allow("ReadRecords", ["dynamodb:GetItem"], [table])


def _keep_notes(stage: Stage) -> Statement:
    table = stage.arn("dynamodb", f"table/{stage.settings.bot_table}")
    return allow("KeepNotes", ["dynamodb:GetItem", "dynamodb:UpdateItem"], [table])


def _read_secret(stage: Stage) -> Statement:
    return allow("ReadSecret", ["secretsmanager:GetSecretValue"], [stage.secret_arn])


def _take(stage: Stage, queue: str, *more: str) -> Statement:
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", *more]
    return allow("TakeMessages", actions, [stage.arn("sqs", queue)])


def _send(stage: Stage, sid: str, *queues: str) -> Statement:
    arns = [stage.arn("sqs", queue) for queue in queues]
    return allow(sid, ["sqs:GetQueueUrl", "sqs:SendMessage"], arns)
