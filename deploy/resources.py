"""Makes the buckets, queues, table and secret of one stage; running it again changes nothing.

On AWS and on one machine alike::

    from deploy.resources import ensure
    ensure(settings)

What exists already is brought to the state described here, so a change of this file reaches a
running stage with the next deployment.
"""

from __future__ import annotations

import json
import time
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from chalicelib.retrain.keys import PREFIX as TRAININGS
from chalicelib.settings import Settings
from deploy.cloud import ClientOf, clients, code_of, is_aws, log, tolerated_on_stand_ins
from deploy.secret import ensure_secret

WORKER_TIMEOUT_SECONDS = 120
JOB_TIMEOUT_SECONDS = 900  # no function may take longer
BOT_TIMEOUT_SECONDS = 60
REPORT_TIMEOUT_SECONDS = 900  # it cuts datasets, and has the gate judge
DAY_SECONDS = 24 * 60 * 60
LONG_POLL_SECONDS = 10  # below the 20 s after which our clients give up on an answer
BACKUPS_BEGIN_SECONDS = 60
DEAD_LETTER_SUFFIX = "-dlq"
PACKAGES = "deployments/packages/"  # what Lambda is given, which keeps a copy of its own
KEY = "prediction_id"
BOT_KEY = "note"
LIMITS_KEY = "entry"
EXPIRES = "expires_at"


def ensure(settings: Settings, client: ClientOf | None = None) -> None:
    """Bring the stage's buckets, queues, table and secret to the state that Sightloop needs.

    Parameters
    ----------
    settings : Settings
        Names and limits of the stage.
    client : callable, optional
        From a service's name to a boto3 client; made for the settings' region where not given.

    Raises
    ------
    ConfigurationError
        A name is taken by somebody else, or by something of another shape.
    """
    client = client or clients(settings.region)
    ensure_uploads_bucket(client("s3"), settings)
    ensure_store_bucket(client("s3"), settings)
    for queue, visibility_seconds in queues(settings).items():
        ensure_queue(client("sqs"), queue, visibility_seconds, settings.identify_max_receives)
    protected = settings.stage == "prod"
    ensure_table(client("dynamodb"), settings.predictions_table, KEY, protected=protected)
    ensure_table(client("dynamodb"), settings.bot_table, BOT_KEY, protected=protected)
    ensure_table(client("dynamodb"), settings.limits_table, LIMITS_KEY, protected=protected)
    ensure_secret(client("secretsmanager"), settings.secret_name)


def queues(settings: Settings) -> dict[str, int]:
    """Return for how many seconds each of a stage's queues hides what somebody works on."""
    return {
        settings.identify_queue: 6 * WORKER_TIMEOUT_SECONDS,
        settings.results_queue: 6 * BOT_TIMEOUT_SECONDS,
        settings.bot_queue: 6 * BOT_TIMEOUT_SECONDS,
        settings.training_queue: REPORT_TIMEOUT_SECONDS + 60,
        settings.jobs_queue: JOB_TIMEOUT_SECONDS + 60,  # nobody waits for a batch: it is of one
    }


def ensure_uploads_bucket(s3: Any, settings: Settings) -> None:
    """Make the bucket that strangers may write to; whatever is in it is gone after two days.

    It keeps versions, so that a file that is sent to a key again cannot take the place of the one
    that a worker is about to read.
    """
    bucket = settings.uploads_bucket
    _ensure_bucket(s3, bucket, settings.region)
    with tolerated_on_stand_ins(s3, "keep old versions of objects"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rules = [_rule("uploads-expire", "", Expiration={"Days": 1}, **_old_versions(1))]
    _put_lifecycle(s3, bucket, rules)
    # Any origin may send the form: what lets it in is the form's signature, not where it is from.
    form = {
        "AllowedMethods": ["POST"],
        "AllowedOrigins": ["*"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
    with tolerated_on_stand_ins(s3, "allow uploads from a browser (CORS)"):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [form]})


def ensure_store_bucket(s3: Any, settings: Settings) -> None:
    """Make the bucket of models, datasets and results.

    It keeps old versions for 30 days, so that an overwritten ``model.yaml`` or a deleted model can
    be brought back; of photos outside of datasets for a day. Deleting a photo erases them at once.
    Results go when their records do, what trainings leave after three months; of a checkpoint,
    which each epoch of a training writes anew, no old version is kept.
    """
    bucket = settings.store_bucket
    _ensure_bucket(s3, bucket, settings.region)
    with tolerated_on_stand_ins(s3, "keep old versions of objects"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for_a_week = {"Expiration": {"Days": 7}}
    for_a_season = {"Expiration": {"Days": 90}}
    results = {"Expiration": {"Days": settings.prediction_ttl_days}}
    rules = [
        _rule("predictions-expire", "predictions/", **results, **_old_versions(1)),
        _rule("senders-expire", "senders/", **results, **_old_versions(1)),
        _rule("deletions-keep-no-versions", "deletions/", **_old_versions(1)),
        _rule("quarantine-keeps-no-versions", "quarantine/", **_old_versions(1)),
        _rule("parked-keeps-no-versions", "parked/", **_old_versions(1)),
        _rule("pending-keep-old-versions", "pending_models/", **_old_versions(30)),
        _rule("models-keep-old-versions", "models/", **_old_versions(30)),
        _rule("imports-expire", "imports/", **for_a_week, **_old_versions(1)),
        _rule("exports-expire", "exports/", **for_a_week, **_old_versions(1)),
        _rule("trainings-expire", TRAININGS, **for_a_season, **_old_versions(1)),
        _rule("packages-expire", PACKAGES, **for_a_week, **_old_versions(1)),
    ]
    _put_lifecycle(s3, bucket, rules)


def _ensure_bucket(s3: Any, bucket: str, region: str) -> None:
    _create_bucket(s3, bucket, region)
    with tolerated_on_stand_ins(s3, "block public access"):
        s3.put_public_access_block(
            Bucket=bucket,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )
    with tolerated_on_stand_ins(s3, "encrypt buckets"):
        by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        s3.put_bucket_encryption(
            Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_default]}
        )
    if is_aws(s3):  # a stand-in speaks plain HTTP, which this would shut out
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_only_over_tls(bucket, region)))


def _create_bucket(s3: Any, bucket: str, region: str) -> None:
    where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=bucket, **({} if region == "us-east-1" else where))
        log.info("made bucket %s", bucket)
    except ClientError as error:
        if code_of(error) == "BucketAlreadyExists":
            raise ConfigurationError(
                f"the bucket name {bucket} belongs to another account: choose another PREFIX"
            ) from error
        if code_of(error) != "BucketAlreadyOwnedByYou":
            raise


def _only_over_tls(bucket: str, region: str) -> dict[str, Any]:
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    arn = f"arn:{partition}:s3:::{bucket}"
    refused = {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {"Version": "2012-10-17", "Statement": [refused]}


def _rule(name: str, prefix: str, **then: Any) -> dict[str, Any]:
    broken_off = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **then, **broken_off}


def _old_versions(days: int) -> dict[str, Any]:
    return {"NoncurrentVersionExpiration": {"NoncurrentDays": days}}


def _put_lifecycle(s3: Any, bucket: str, rules: list[dict[str, Any]]) -> None:
    with tolerated_on_stand_ins(s3, "let objects expire"):
        s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": rules}
        )


def ensure_queue(sqs: Any, name: str, visibility_seconds: int, max_receives: int) -> None:
    """Make a queue, and the dead-letter queue to which a message goes after too many attempts."""
    dead_letters = f"{name}{DEAD_LETTER_SUFFIX}"
    encrypted = {"SqsManagedSseEnabled": "true"}
    kept_longest = {**encrypted, "MessageRetentionPeriod": str(14 * DAY_SECONDS)}
    url = _ensure_queue(sqs, dead_letters, kept_longest)
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    redrive = {
        "deadLetterTargetArn": found["Attributes"]["QueueArn"],
        "maxReceiveCount": str(max_receives),
    }
    attributes = {
        **encrypted,
        "ReceiveMessageWaitTimeSeconds": str(LONG_POLL_SECONDS),
        "VisibilityTimeout": str(visibility_seconds),
        "MessageRetentionPeriod": str(4 * DAY_SECONDS),
        "RedrivePolicy": json.dumps(redrive),
    }
    _ensure_queue(sqs, name, attributes)


def _ensure_queue(sqs: Any, name: str, attributes: dict[str, str]) -> str:
    try:
        url = str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except sqs.exceptions.QueueDoesNotExist:
        url = str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
        log.info("made queue %s", name)
        return url
    sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return url


def ensure_table(dynamodb: Any, name: str, key: str, *, protected: bool) -> None:
    """Make a table: paid by use, records expire, 35 days of points to restore.

    Parameters
    ----------
    key : str
        The attribute by which its records are known.
    protected : bool
        Whether it can be deleted only by who says so first.
    """
    key_schema = [{"AttributeName": key, "KeyType": "HASH"}]
    try:
        found = dynamodb.describe_table(TableName=name)["Table"]["KeySchema"]
    except dynamodb.exceptions.ResourceNotFoundException:
        _create_table(dynamodb, name, key_schema, protected=protected)
    else:
        if found != key_schema:
            raise ConfigurationError(f"the table {name} exists with another key: {found}")
    _expire_records(dynamodb, name)
    with tolerated_on_stand_ins(dynamodb, "restore a table to a point in time"):
        _keep_points_to_restore(dynamodb, name)


def _create_table(
    dynamodb: Any, name: str, key_schema: list[dict[str, str]], *, protected: bool
) -> None:
    [key] = key_schema
    dynamodb.create_table(
        TableName=name,
        KeySchema=key_schema,
        AttributeDefinitions=[{"AttributeName": key["AttributeName"], "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=protected,
    )
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    log.info("made table %s", name)


def _keep_points_to_restore(dynamodb: Any, table: str) -> None:
    """Turn point-in-time recovery on; a table made just now may need a moment before it can be."""
    for attempt in range(BACKUPS_BEGIN_SECONDS):
        try:
            dynamodb.update_continuous_backups(
                TableName=table,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
            )
        except dynamodb.exceptions.ContinuousBackupsUnavailableException:
            if attempt == BACKUPS_BEGIN_SECONDS - 1:
                raise
            time.sleep(1)
        else:
            return


def _expire_records(dynamodb: Any, table: str) -> None:
    with tolerated_on_stand_ins(dynamodb, "let records expire"):
        found = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if found.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            dynamodb.update_time_to_live(
                TableName=table,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
            )


def ensure_log_group(logs: Any, name: str, days: int) -> None:
    """Make a log group, whose lines go after so many days.

    Chalice could make its functions', but it names the API's wrong, and lets lines stay for good
    when a stage is taken down.
    """
    try:
        logs.create_log_group(logGroupName=name)
    except logs.exceptions.ResourceAlreadyExistsException:
        log.debug("log group %s is there", name)
    logs.put_retention_policy(logGroupName=name, retentionInDays=days)
