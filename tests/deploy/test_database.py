"""A stage with a database: migrated, named in the secret, told whom to call, and reachable."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from chalicelib.database import Database
from chalicelib.errors import ConfigurationError, DatabaseUnavailable
from chalicelib.trust.ledger import Ledger
from deploy import __main__ as command
from deploy import configure, database
from deploy.policies import NETWORK_ACTIONS, policy
from deploy.stages import DEFAULTS, FUNCTIONS, read, with_changes

pytestmark = pytest.mark.timeout(300)
Cloud = Any
Checkout = Any
Runtime = Any

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:sightloop-dev-update_reported_list"
SUBNETS = ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1")
GROUPS = ("sg-0123456789abcdef0",)
USING_DATABASE = {name for name, size in FUNCTIONS.items() if size.uses_database}

# What RDS's extension has, as far as our trigger calls it.
FAKE_EXTENSION = """
CREATE SCHEMA aws_lambda;
CREATE TABLE aws_lambda.calls (function_name text, payload jsonb, invocation_type text);
CREATE FUNCTION aws_lambda.invoke(
    function_name text, payload jsonb, region text DEFAULT NULL,
    invocation_type text DEFAULT 'RequestResponse') RETURNS integer LANGUAGE sql AS $$
    INSERT INTO aws_lambda.calls VALUES (function_name, payload, invocation_type) RETURNING 202
$$
"""


def ask(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as held, held, held.cursor() as rows:
        for statement in statements:
            rows.execute(statement)
        return list(rows.fetchall()) if rows.description else []


@pytest.fixture
def rds(new_database: Callable[..., str]) -> str:
    """Return the URL of a database whose user is no superuser, as nobody is on RDS."""
    url = new_database()
    name = url.rpartition("/")[2]
    ask(
        url,
        f"CREATE ROLE {name}_master LOGIN PASSWORD 'secret' NOSUPERUSER",
        f"ALTER DATABASE {name} OWNER TO {name}_master",
    )
    credentials = url.partition("://")[2].partition("@")[0]
    return url.replace(credentials, f"{name}_master:secret")


def test_a_user_who_is_no_superuser_can_prepare_it_and_prepare_it_again(rds: str) -> None:
    for arn in ("another", ARN):
        database.prepare(rds, arn)

    assert ask(rds, "SELECT * FROM sightloop.called_functions") == [("bans changed", ARN)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):  # why it is a table
        name = rds.rpartition("/")[2]
        ask(rds, f"ALTER DATABASE {name} SET sightloop.update_reported_list = 'x'")


def test_a_ban_calls_the_function_that_the_deployment_named(rds: str) -> None:
    database.prepare(rds, ARN)
    ask(rds, FAKE_EXTENSION)

    held = Database(rds)
    Ledger(held).ban("vandal", "ada", "spam")
    (decision,) = Ledger(held).decisions("vandal")
    held.close()

    assert ask(rds, "SELECT * FROM aws_lambda.calls") == [
        (ARN, {"decision_id": decision.decision_id}, "Event")
    ]


def test_where_the_extension_is_not_offered_the_rest_is_done(
    rds: str, caplog: pytest.LogCaptureFixture
) -> None:
    database.prepare(rds, ARN)

    assert "does not offer aws_lambda" in caplog.text


def test_an_extension_that_may_not_be_installed_stops_nothing(
    rds: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`file_fdw` stands for it here: offered, and for superusers only."""
    with closing(psycopg2.connect(rds)) as held:
        assert not database.install_extension(held, "file_fdw")
        assert database.install_extension(held, "plpgsql")

    assert "permission denied" in caplog.text


def test_a_database_that_does_not_answer_is_said_to_be_that(rds: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        database.prepare(rds.replace("127.0.0.1:", "127.0.0.1:1"), ARN)


# In a network of one's own.

STAGE = with_changes(DEFAULTS[0], subnet_ids=SUBNETS, security_group_ids=GROUPS)


def configured(project: Path, *arguments: str) -> int:
    return command.main(["configure", "--project", str(project), *arguments])


def test_a_network_is_configured_kept_and_taken_away_again(tmp_path: Path) -> None:
    (tmp_path / "app.py").touch()
    subnets = [part for each in SUBNETS for part in ("--subnet", each)]

    assert configured(tmp_path, *subnets, "--security-group", GROUPS[0]) == 0
    assert configured(tmp_path, "--set", "max_pixels=1000") == 0
    kept = read(tmp_path / ".chalice")["dev"]
    assert (kept.subnet_ids, kept.security_group_ids) == (SUBNETS, GROUPS)

    assert configured(tmp_path, "--subnet", "", "--security-group", "") == 0
    assert read(tmp_path / ".chalice")["dev"].subnet_ids == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--subnet", SUBNETS[0]),
        ("--security-group", GROUPS[0]),
        ("--subnet", "mine", "--security-group", GROUPS[0]),
        ("--subnet", SUBNETS[0], "--security-group", SUBNETS[0]),
    ],
)
def test_half_a_network_or_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "app.py").touch()

    assert configured(tmp_path, *arguments) == 1
    assert "deploy: " in capsys.readouterr().err
    with pytest.raises(ConfigurationError):
        with_changes(DEFAULTS[0], subnet_ids=SUBNETS)


def test_only_what_uses_the_database_is_put_into_its_network() -> None:
    made = configure.config({"dev": STAGE})["stages"]["dev"]["lambda_functions"]

    assert {name for name, each in made.items() if "subnet_ids" in each} == USING_DATABASE
    for name in USING_DATABASE:
        assert made[name]["subnet_ids"] == [*SUBNETS]
        assert made[name]["security_group_ids"] == [*GROUPS]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_is_in_a_network_may_be_put_there_and_cannot_put_itself(function: str) -> None:
    usual = policy(DEFAULTS[0], function)["Statement"]
    more = policy(STAGE, function)["Statement"][len(usual) :]

    if function not in USING_DATABASE:
        assert more == []
        return
    allowed, refused = more
    assert (allowed["Effect"], refused["Effect"]) == ("Allow", "Deny")
    assert allowed["Action"] == refused["Action"] == [*NETWORK_ACTIONS]
    arn = STAGE.arn("lambda", f"function:{STAGE.function(function)}")
    assert refused["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": arn}}


def test_a_stage_with_a_database_is_deployed_into_its_network_and_bans_reach_the_list(
    cloud: Cloud, deployed: Checkout, runtime: Runtime, rds: str
) -> None:
    ec2 = cloud.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    network = ["--subnet", subnet["SubnetId"], "--security-group", group]
    deployed.must("configure", "--stage", "private", "--region", "eu-west-1", *network)
    stage = deployed.stage("private")

    done = deployed.deploy("up", "--stage", "private", SIGHTLOOP_DATABASE_URL=rds)

    assert done.returncode == 0, done.stdout
    for name in FUNCTIONS:
        made = cloud.client("lambda").get_function_configuration(FunctionName=stage.function(name))
        subnets = made.get("VpcConfig", {}).get("SubnetIds", [])
        assert subnets == ([subnet["SubnetId"]] if name in USING_DATABASE else [])
        assert "DATABASE" not in json.dumps(made["Environment"])
    function = cloud.client("lambda").get_function_configuration(
        FunctionName=stage.function("update_reported_list")
    )
    named = ask(rds, "SELECT function_name FROM sightloop.called_functions")
    assert named == [(function["FunctionArn"],)]

    held = Database(rds)
    Ledger(held).ban("vandal", "ada", "spam")
    held.close()
    answer = runtime.call(stage, "chalicelib.trust.triggers.update_reported_list", {})
    assert answer["answers"] == [{"banned": 1}]
    listed = cloud.client("s3").get_object(
        Bucket=stage.settings.store_bucket, Key="trust/report_list.txt"
    )
    assert listed["Body"].read().startswith(b"vandal\t")

    deployed.must("up", "--stage", "private")
    secret = cloud.client("secretsmanager").get_secret_value(SecretId=stage.settings.secret_name)
    assert json.loads(secret["SecretString"])["database_url"] == rds
