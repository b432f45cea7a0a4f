"""Buckets, queues, table and secret: made once, mended later, taken away only on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import boto3
import jwt
import pytest

from chalicelib.errors import ConfigurationError
from chalicelib.secrets import Secret
from deploy.removal import erase, erase_bucket
from deploy.resources import ensure, ensure_log_group, queues
from deploy.secret import OPERATOR, ensure_secret, keep_database_url, mint
from deploy.stages import Stage

Cloud = Any
ClientOf = Callable[[str], Any]


@pytest.fixture
def client(cloud: Cloud, stage: Stage) -> ClientOf:
    return cloud.in_region(stage.region)


@pytest.fixture
def made(client: ClientOf, stage: Stage) -> Stage:
    """A stage whose resources are made."""
    ensure(stage.settings, client)
    return stage


def state(client: ClientOf, stage: Stage) -> dict[str, Any]:
    """Return all that is set of a stage's resources."""
    settings, s3 = stage.settings, client("s3")
    held: dict[str, Any] = {}
    for bucket in (settings.uploads_bucket, settings.store_bucket):
        held[bucket] = {
            "lifecycle": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
            "public": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
            "encrypted": s3.get_bucket_encryption(Bucket=bucket)[
                "ServerSideEncryptionConfiguration"
            ],
            "versions": s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        }
    for name in queues(settings):
        for queue in (name, f"{name}-dlq"):
            held[queue] = attributes(client, queue)
    held["secret"] = secret(client, stage)
    for name in (settings.predictions_table, settings.bot_table):
        table = client("dynamodb").describe_table(TableName=name)["Table"]
        held[name] = {key: table[key] for key in ("KeySchema", "BillingModeSummary", "TableArn")}
    return held


def secret(client: ClientOf, stage: Stage) -> dict[str, Any]:
    held = client("secretsmanager").get_secret_value(SecretId=stage.settings.secret_name)
    return dict(json.loads(held["SecretString"]))


def attributes(client: ClientOf, queue: str) -> dict[str, str]:
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    held = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {name: value for name, value in held.items() if "Timestamp" not in name}


def test_making_them_again_changes_nothing(client: ClientOf, made: Stage) -> None:
    before = state(client, made)

    ensure(made.settings, client)

    assert state(client, made) == before


def test_what_was_changed_by_hand_is_mended(client: ClientOf, made: Stage) -> None:
    before = state(client, made)
    settings, sqs = made.settings, client("sqs")
    url = sqs.get_queue_url(QueueName=settings.identify_queue)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    client("s3").delete_bucket_lifecycle(Bucket=settings.uploads_bucket)
    client("s3").delete_public_access_block(Bucket=settings.store_bucket)

    ensure(settings, client)

    assert state(client, made) == before


def test_uploads_are_gone_after_a_day(client: ClientOf, made: Stage) -> None:
    (rule,) = state(client, made)[made.settings.uploads_bucket]["lifecycle"]

    assert (rule["Expiration"], rule["Status"]) == ({"Days": 1}, "Enabled")
    assert rule["Filter"] == {"Prefix": ""}


def test_pictures_go_when_their_records_do_and_models_stay(client: ClientOf, made: Stage) -> None:
    rules = state(client, made)[made.settings.store_bucket]["lifecycle"]

    expire = {rule["Filter"]["Prefix"]: rule.get("Expiration") for rule in rules}
    assert expire == {
        "predictions/": {"Days": made.settings.prediction_ttl_days},
        "senders/": {"Days": made.settings.prediction_ttl_days},
        "deletions/": None,
        "quarantine/": None,
        "parked/": None,
        "pending_models/": None,
        "models/": None,
        "imports/": {"Days": 7},
        "exports/": {"Days": 7},
        "training/": {"Days": 90},
        "deployments/packages/": {"Days": 7},
    }
    for table in (made.settings.predictions_table, made.settings.bot_table):
        told = client("dynamodb").describe_time_to_live(TableName=table)
        assert told["TimeToLiveDescription"] == {
            "TimeToLiveStatus": "ENABLED",
            "AttributeName": "expires_at",
        }


def test_of_checkpoints_that_were_replaced_none_is_kept(client: ClientOf, made: Stage) -> None:
    rules = state(client, made)[made.settings.store_bucket]["lifecycle"]

    [training] = [rule for rule in rules if rule["Filter"] == {"Prefix": "training/"}]
    assert training["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}


def test_an_overwritten_model_can_be_brought_back(client: ClientOf, made: Stage) -> None:
    assert state(client, made)[made.settings.store_bucket]["versions"] == "Enabled"


def test_nothing_is_public(client: ClientOf, made: Stage) -> None:
    for bucket in (made.settings.uploads_bucket, made.settings.store_bucket):
        held = state(client, made)[bucket]
        assert set(held["public"].values()) == {True}
        (rule,) = held["encrypted"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_a_browser_may_send_a_form_to_the_uploads_bucket_only(
    client: ClientOf, made: Stage
) -> None:
    s3 = client("s3")

    (rule,) = s3.get_bucket_cors(Bucket=made.settings.uploads_bucket)["CORSRules"]

    assert rule["AllowedMethods"] == ["POST"]
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket=made.settings.store_bucket)


@pytest.mark.parametrize("queue", ["identify", "results", "bot"])
def test_a_message_that_keeps_failing_is_kept_for_two_weeks(
    client: ClientOf, made: Stage, queue: str
) -> None:
    name = f"{made.prefix}-{made.name}-{queue}"

    redrive = json.loads(attributes(client, name)["RedrivePolicy"])

    assert redrive["maxReceiveCount"] == made.settings.identify_max_receives
    assert redrive["deadLetterTargetArn"] == made.arn("sqs", f"{name}-dlq")
    assert attributes(client, f"{name}-dlq")["MessageRetentionPeriod"] == str(14 * 86_400)


def test_a_table_of_another_shape_is_not_taken_over(client: ClientOf, stage: Stage) -> None:
    client("dynamodb").create_table(
        TableName=stage.settings.predictions_table,
        KeySchema=[{"AttributeName": "other", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "other", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    with pytest.raises(ConfigurationError, match="exists with another key"):
        ensure(stage.settings, client)


def test_somebody_elses_bucket_is_not_taken_over(
    cloud: Cloud, client: ClientOf, stage: Stage
) -> None:
    theirs = client("sts").assume_role(
        RoleArn="arn:aws:iam::999999999999:role/theirs", RoleSessionName="theirs"
    )["Credentials"]
    boto3.client(
        "s3",
        region_name=stage.region,
        endpoint_url=cloud.endpoint,
        aws_access_key_id=theirs["AccessKeyId"],
        aws_secret_access_key=theirs["SecretAccessKey"],
        aws_session_token=theirs["SessionToken"],
    ).create_bucket(
        Bucket=stage.settings.uploads_bucket,
        CreateBucketConfiguration={"LocationConstraint": stage.region},
    )

    with pytest.raises(ConfigurationError, match="belongs to another account"):
        ensure(stage.settings, client)


def test_each_stage_has_a_token_and_a_key_of_its_own(
    client: ClientOf, made: Stage, stage: Stage
) -> None:
    other = stage.model_copy(update={"name": "other"})
    ensure(other.settings, client)

    ours, theirs = secret(client, made), secret(client, other)

    for held in (ours, theirs):
        assert Secret.model_validate(held).operators.keys() == {OPERATOR}
        assert len(held["operators"][OPERATOR]) >= 40
        assert len(held["subjects_key"]) >= 60
        assert held["database_url"] == ""
    assert ours["operators"][OPERATOR] != theirs["operators"][OPERATOR]
    assert ours["subjects_key"] != theirs["subjects_key"]


def test_what_was_put_into_the_secret_stays_when_its_database_changes(
    client: ClientOf, made: Stage
) -> None:
    manager, name = client("secretsmanager"), made.settings.secret_name
    put = {"operators": {"ada": "a-token-of-ada-0123456789"}, "subjects_key": "", "more": 1}
    manager.put_secret_value(SecretId=name, SecretString=json.dumps(put))

    keep_database_url(manager, name, "postgresql://host/db")
    ensure_secret(manager, name)

    assert secret(client, made) == {**put, "database_url": "postgresql://host/db"}


def test_a_secret_that_is_no_json_is_not_written_over(client: ClientOf, made: Stage) -> None:
    manager, name = client("secretsmanager"), made.settings.secret_name
    manager.put_secret_value(SecretId=name, SecretString="by hand")

    with pytest.raises(ConfigurationError, match="not JSON"):
        keep_database_url(manager, name, "postgresql://host/db")


def test_a_deleted_secret_is_said_to_be_deleted(client: ClientOf, made: Stage) -> None:
    manager, name = client("secretsmanager"), made.settings.secret_name
    manager.delete_secret(SecretId=name, RecoveryWindowInDays=7)

    with pytest.raises(ConfigurationError, match="restore-secret"):
        ensure_secret(manager, name)


def test_a_log_group_keeps_its_lines_for_as_long_as_was_said(
    client: ClientOf, stage: Stage
) -> None:
    logs, name = client("logs"), f"/aws/lambda/{stage.prefix}"

    for days in (30, 90):
        ensure_log_group(logs, name, days)

        (group,) = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        assert group["retentionInDays"] == days


def test_erasing_leaves_nothing_however_much_there_was(client: ClientOf, made: Stage) -> None:
    s3, bucket = client("s3"), made.settings.store_bucket
    for number in range(7):  # some of them twice: the bucket keeps versions
        s3.put_object(Bucket=bucket, Key=f"predictions/{number % 5}", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="predictions/1")

    erase_bucket(s3, bucket, at_once=3)

    assert bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}


def test_erasing_a_stage_takes_everything(client: ClientOf, made: Stage) -> None:
    settings = made.settings

    erase(made, client)

    buckets = {each["Name"] for each in client("s3").list_buckets()["Buckets"]}
    assert not buckets & {settings.uploads_bucket, settings.store_bucket}
    tables = client("dynamodb").list_tables()["TableNames"]
    assert not {settings.predictions_table, settings.bot_table} & {*tables}
    with pytest.raises(client("secretsmanager").exceptions.ResourceNotFoundException):
        secret(client, made)
    for queue in queues(settings):
        for name in (queue, f"{queue}-dlq"):
            with pytest.raises(client("sqs").exceptions.QueueDoesNotExist):
                attributes(client, name)


def test_erasing_a_protected_table_and_erasing_twice(client: ClientOf, stage: Stage) -> None:
    protected = stage.model_copy(update={"name": "prod"})
    ensure(protected.settings, client)
    table = protected.settings.predictions_table
    dynamodb = client("dynamodb")
    assert dynamodb.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"]

    erase(protected, client)
    erase(protected, client)

    assert table not in dynamodb.list_tables()["TableNames"]


def test_a_token_that_is_made_by_hand_names_its_user(
    cloud: Cloud, made: Stage, client: ClientOf
) -> None:
    name = made.settings.secret_name

    token = mint(client("secretsmanager"), name, "alice", days=1)

    claims = jwt.decode(token, secret(client, made)["subjects_key"], algorithms=["HS256"])
    assert claims["sub"] == "alice"
    assert 86_000 < claims["exp"] - time.time() <= 86_400


@pytest.mark.parametrize("subject", ["", "\t", "a b", "a\nb", "a%b", "x" * 251])
def test_a_token_for_nobody_is_not_made(made: Stage, client: ClientOf, subject: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be a user"):
        mint(client("secretsmanager"), made.settings.secret_name, subject, days=1)


def test_where_there_is_no_key_no_token_is_made(made: Stage, client: ClientOf) -> None:
    manager, name = client("secretsmanager"), made.settings.secret_name
    manager.put_secret_value(SecretId=name, SecretString="{}")

    with pytest.raises(ConfigurationError, match="no subjects_key"):
        mint(manager, name, "alice", days=1)
    with pytest.raises(ConfigurationError, match="no subjects_key"):
        mint(manager, "no-such-secret", "alice", days=1)
