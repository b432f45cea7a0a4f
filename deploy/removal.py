"""Takes a stage down: the functions always, what people sent only on demand."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy.cloud import ClientOf, code_of, log
from deploy.resources import DEAD_LETTER_SUFFIX, queues
from deploy.secret import erase_secret
from deploy.stages import FUNCTIONS, Stage

MOST_AT_ONCE = 1000  # that S3 lists, and deletes, in one call
GONE = frozenset({"404", "NoSuchBucket", "ResourceNotFoundException"})


def erase(stage: Stage, client: ClientOf) -> None:
    """Delete a stage's buckets with all that is in them, its queues, table, secret and logs."""
    settings = stage.settings
    for bucket in (settings.uploads_bucket, settings.store_bucket):
        erase_bucket(client("s3"), bucket)
    for queue in queues(settings):
        for name in (queue, f"{queue}{DEAD_LETTER_SUFFIX}"):
            erase_queue(client("sqs"), name)
    for table in (settings.predictions_table, settings.bot_table, settings.limits_table):
        erase_table(client("dynamodb"), table)
    erase_secret(client("secretsmanager"), settings.secret_name)
    for function in FUNCTIONS:
        erase_logs(client("logs"), stage.log_group(function))
    erase_logs(client("logs"), stage.endpoint_log_group)


def erase_bucket(s3: Any, bucket: str, at_once: int = MOST_AT_ONCE) -> None:
    """Delete a bucket and every version of every object in it."""
    try:
        while keys := _some_versions(s3, bucket, at_once):
            done = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            for fault in done.get("Errors", []):
                raise ConfigurationError(f"{bucket}/{fault['Key']} stays: {fault['Message']}")
        s3.delete_bucket(Bucket=bucket)
        log.info("deleted bucket %s", bucket)
    except ClientError as error:
        _only_if_gone(error)


def _some_versions(s3: Any, bucket: str, most: int) -> list[dict[str, str]]:
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=most)
    found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]


def erase_queue(sqs: Any, queue: str) -> None:
    """Delete a queue and the messages in it."""
    try:
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])
        log.info("deleted queue %s", queue)
    except sqs.exceptions.QueueDoesNotExist:
        return


def erase_table(dynamodb: Any, table: str) -> None:
    """Delete a table, protected or not."""
    try:
        held = dynamodb.describe_table(TableName=table)["Table"]
        if held.get("DeletionProtectionEnabled"):
            dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
            dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
        dynamodb.delete_table(TableName=table)
        log.info("deleted table %s", table)
    except ClientError as error:
        _only_if_gone(error)


def erase_logs(logs: Any, group: str) -> None:
    """Delete a log group."""
    try:
        logs.delete_log_group(logGroupName=group)
    except ClientError as error:
        _only_if_gone(error)


def _only_if_gone(error: ClientError) -> None:
    if code_of(error) not in GONE:
        raise error
