"""`python -m deploy up` and `destroy`, run as a user runs them, against a stand-in for AWS."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from app import app
from chalicelib.settings import Settings
from deploy.gateway import REFUSALS
from deploy.policies import policy
from deploy.stages import Stage

ROOT = Path(__file__).parent.parent.parent
Cloud = Any
Checkout = Any

FUNCTIONS = {  # memory in MB, timeout in seconds, what Lambda calls
    "api_handler": (3008, 29, "app.app"),
    "on_upload": (512, 30, "chalicelib.predictions.triggers.on_upload"),
    "on_import": (512, 30, "chalicelib.labels.transfers.triggers.on_import"),
    "work_jobs": (3008, 900, "chalicelib.labels.transfers.triggers.work_jobs"),
    "identify": (3008, 120, "chalicelib.predictions.triggers.identify"),
    "converse": (3008, 60, "chalicelib.bot.triggers.converse"),
    "reply": (1769, 60, "chalicelib.bot.triggers.reply"),
    "reconcile": (512, 300, "chalicelib.predictions.triggers.reconcile"),
    "plan": (512, 300, "chalicelib.retrain.triggers.plan"),
    "on_training_report": (3008, 900, "chalicelib.retrain.triggers.on_training_report"),
    "on_training_event": (512, 30, "chalicelib.retrain.triggers.on_training_event"),
    "update_reported_list": (512, 120, "chalicelib.trust.triggers.update_reported_list"),
}
SERVER = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/sightloop-serving:1"
EVERYTHING = {
    "training",
    "uploads",
    "store",
    "identify",
    "results",
    "jobs",
    "bot",
    "table",
    "notes",
    "secret",
    "logs",
}


def test_up_says_where_the_service_is(deployed: Checkout, demo: Stage) -> None:
    url = deployed.recorded(demo)["rest_api"]["rest_api_url"]

    assert f"demo is at {url}" in deployed.said["up"]
    assert f"curl {url}healthz" in deployed.said["up"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_its_memory_timeout_and_settings(
    cloud: Cloud, demo: Stage, name: str
) -> None:
    made = cloud.client("lambda").get_function_configuration(FunctionName=demo.function(name))

    assert (made["MemorySize"], made["Timeout"], made["Handler"]) == FUNCTIONS[name]
    assert made["Runtime"] == "python3.12"
    assert made["Architectures"] == ["x86_64"]
    told = Settings.from_environment(made["Environment"]["Variables"])
    assert told == demo.settings
    assert told.uploads_bucket == "acme-demo-uploads-123456789012"
    assert told.region == "eu-west-1"


def test_all_functions_run_the_package_that_was_uploaded_once(
    cloud: Cloud, demo: Stage, package: Path
) -> None:
    s3, lambda_ = cloud.client("s3"), cloud.client("lambda")
    bucket = demo.settings.store_bucket

    (held,) = s3.list_objects_v2(Bucket=bucket, Prefix="deployments/packages/")["Contents"]

    uploaded = hashlib.sha256(package.read_bytes())
    assert held["Key"] == f"deployments/packages/{uploaded.hexdigest()}.zip"
    assert held["Size"] == package.stat().st_size
    made = [lambda_.get_function(FunctionName=demo.function(name)) for name in FUNCTIONS]
    run = {each["Configuration"]["CodeSha256"] for each in made}
    assert run == {base64.b64encode(uploaded.digest()).decode()}
    assert all(each["Code"]["Location"].endswith(held["Key"]) for each in made)


def test_nothing_but_these_functions_is_deployed(cloud: Cloud, demo: Stage) -> None:
    made = cloud.client("lambda").list_functions()["Functions"]

    of_demo = {each["FunctionName"] for each in made if "-demo" in each["FunctionName"]}
    assert of_demo == {demo.function(name) for name in FUNCTIONS}


def test_the_queue_calls_the_worker_which_names_what_failed(cloud: Cloud, demo: Stage) -> None:
    queue = demo.arn("sqs", demo.settings.identify_queue)

    (made,) = cloud.client("lambda").list_event_source_mappings(EventSourceArn=queue)[
        "EventSourceMappings"
    ]

    assert made["FunctionArn"] == demo.arn("lambda", f"function:{demo.function('identify')}")
    assert made["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert made["BatchSize"] == 4
    assert made["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert made["State"] == "Enabled"


def test_a_message_stays_hidden_six_times_as_long_as_a_worker_may_take(
    cloud: Cloud, demo: Stage
) -> None:
    sqs = cloud.client("sqs")
    url = sqs.get_queue_url(QueueName=demo.settings.identify_queue)["QueueUrl"]
    held = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]

    assert int(held["VisibilityTimeout"]) == 6 * FUNCTIONS["identify"][1]
    assert json.loads(held["RedrivePolicy"]) == {
        "deadLetterTargetArn": demo.arn("sqs", f"{demo.settings.identify_queue}-dlq"),
        "maxReceiveCount": 5,
    }


@pytest.mark.parametrize(("prefix", "name"), [("uploads/", "on_upload"), ("imports/", "on_import")])
def test_a_new_file_calls_the_function_that_awaits_it(
    cloud: Cloud, demo: Stage, prefix: str, name: str
) -> None:
    bucket = demo.settings.uploads_bucket

    told = cloud.client("s3").get_bucket_notification_configuration(Bucket=bucket)

    function = demo.arn("lambda", f"function:{demo.function(name)}")
    calls = told["LambdaFunctionConfigurations"]
    (call,) = (each for each in calls if each["LambdaFunctionArn"] == function)
    assert len(calls) == 2
    assert call["Events"] == ["s3:ObjectCreated:*"]
    assert call["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": prefix}]
    (may,) = _may_call(cloud, demo, name)
    assert may["Principal"] == {"Service": "s3.amazonaws.com"}
    assert may["Condition"]["ArnLike"]["AWS:SourceArn"] == f"arn:aws:s3:::{bucket}"


@pytest.mark.parametrize("name", ["reconcile", "plan"])
def test_what_is_looked_after_is_so_every_half_hour(cloud: Cloud, demo: Stage, name: str) -> None:
    events = cloud.client("events")
    function = demo.arn("lambda", f"function:{demo.function(name)}")

    (rule,) = events.list_rule_names_by_target(TargetArn=function)["RuleNames"]

    made = events.describe_rule(Name=rule)
    assert (made["ScheduleExpression"], made["State"]) == ("rate(30 minutes)", "ENABLED")
    (may,) = _may_call(cloud, demo, name)
    assert may["Condition"]["ArnLike"]["AWS:SourceArn"] == made["Arn"]


def test_sagemaker_tells_of_its_training_jobs(cloud: Cloud, demo: Stage) -> None:
    events = cloud.client("events")
    function = demo.arn("lambda", f"function:{demo.function('on_training_event')}")

    (rule,) = events.list_rule_names_by_target(TargetArn=function)["RuleNames"]

    made = events.describe_rule(Name=rule)
    assert json.loads(made["EventPattern"]) == {
        "source": ["aws.sagemaker"],
        "detail-type": ["SageMaker Training Job State Change"],
    }
    (may,) = _may_call(cloud, demo, "on_training_event")
    assert may["Condition"]["ArnLike"]["AWS:SourceArn"] == made["Arn"]


def test_reports_of_trainers_come_one_at_a_time(cloud: Cloud, demo: Stage) -> None:
    queue = demo.arn("sqs", demo.settings.training_queue)

    (made,) = cloud.client("lambda").list_event_source_mappings(EventSourceArn=queue)[
        "EventSourceMappings"
    ]

    function = demo.function("on_training_report")
    assert made["FunctionArn"] == demo.arn("lambda", f"function:{function}")
    assert (made["BatchSize"], made["State"]) == (1, "Enabled")


def _may_call(cloud: Cloud, stage: Stage, function: str) -> list[dict[str, Any]]:
    """Return the statements that say who may call a function."""
    told = cloud.client("lambda").get_policy(FunctionName=stage.function(function))
    return list(json.loads(told["Policy"])["Statement"])


def test_the_api_has_every_route_of_the_app(cloud: Cloud, deployed: Checkout, demo: Stage) -> None:
    api = deployed.recorded(demo)["rest_api"]["rest_api_id"]

    made = cloud.client("apigateway").get_resources(restApiId=api, limit=500)["items"]

    routed = {each["path"]: set(each.get("resourceMethods", {})) for each in made}
    wanted = {path: {*methods, "OPTIONS"} for path, methods in app.routes.items()}
    assert {path: methods for path, methods in routed.items() if methods} == wanted
    assert routed["/v1/models/{model}/detections"] == {"POST", "OPTIONS"}


def test_the_api_decodes_binary_bodies_and_calls_the_handler(cloud: Cloud, demo: Stage) -> None:
    with urllib.request.urlopen(f"{cloud.endpoint}/imports") as answer:
        imported = next(each for each in json.load(answer) if demo.region in json.dumps(each))

    swagger = imported["swagger"]
    assert swagger["x-amazon-apigateway-binary-media-types"] == ["*/*"]
    assert imported["query"]["endpointConfigurationTypes"] == ["REGIONAL"]
    calls = swagger["paths"]["/v1/models/{model}/detections"]["post"]
    uri = calls["x-amazon-apigateway-integration"]["uri"]
    assert demo.arn("lambda", f"function:{demo.function('api_handler')}/") in uri


def test_the_api_refuses_in_problem_documents(
    cloud: Cloud, deployed: Checkout, demo: Stage
) -> None:
    api = deployed.recorded(demo)["rest_api"]["rest_api_id"]

    told = cloud.client("apigateway").get_gateway_responses(restApiId=api)["items"]

    ours = {each["responseType"]: each["statusCode"] for each in told if each["responseTemplates"]}
    assert set(REFUSALS) <= set(ours)
    assert ours["REQUEST_TOO_LARGE"] == "413"


def test_the_api_is_throttled(cloud: Cloud, deployed: Checkout, demo: Stage) -> None:
    api = deployed.recorded(demo)["rest_api"]["rest_api_id"]

    [stage] = cloud.client("apigateway").get_stages(restApiId=api)["item"]

    told = stage["methodSettings"]
    limits = told["*/*"]["throttlingRateLimit"], told["*/*"]["throttlingBurstLimit"]
    assert limits == (demo.settings.throttle_calls_per_second, demo.settings.throttle_burst)
    assert told["~1v1~1uploads/POST"]["throttlingRateLimit"] == 5


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_a_role_with_its_own_policy_and_no_other(
    cloud: Cloud, demo: Stage, name: str
) -> None:
    made = cloud.client("lambda").get_function_configuration(FunctionName=demo.function(name))
    role = made["Role"].split("/")[-1]
    iam = cloud.client("iam")

    (inline,) = iam.list_role_policies(RoleName=role)["PolicyNames"]

    held = iam.get_role_policy(RoleName=role, PolicyName=inline)["PolicyDocument"]
    assert held == policy(demo, name)
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    assert role == f"sightloop-demo-{name}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_may_write_to_the_log_group_that_lambda_gives_it(
    cloud: Cloud, demo: Stage, name: str
) -> None:
    written_to = f"/aws/lambda/{demo.function(name)}"

    made = cloud.client("logs").describe_log_groups(logGroupNamePrefix=written_to)["logGroups"]

    group = next(each for each in made if each["logGroupName"] == written_to)
    assert group["retentionInDays"] == 30
    logs = policy(demo, name)["Statement"][0]
    assert logs["Resource"] == [group["arn"]]


def test_the_bundled_model_serves_from_the_store_bucket(cloud: Cloud, demo: Stage) -> None:
    s3, bucket = cloud.client("s3"), demo.settings.store_bucket
    held = s3.get_object(Bucket=bucket, Key="models/scratch/model.yaml")["Body"].read().decode()

    assert "live_version: 1" in held
    size = s3.head_object(Bucket=bucket, Key="models/scratch/versions/1/model.onnx")
    assert size["ContentLength"] == (ROOT / "models/scratch/model.onnx").stat().st_size


def test_up_again_changes_nothing(cloud: Cloud, deployed: Checkout, demo: Stage) -> None:
    before = _state(cloud, demo)
    recorded = deployed.recorded(demo)

    said = deployed.must("up", "--stage", "demo")

    assert "Reusing existing deployment package" in said
    assert not re.findall(r"^(made|wrote|registered|Creating (?!deployment package)).*", said, re.M)
    assert _state(cloud, demo) == before
    assert deployed.recorded(demo) == recorded


def test_up_from_another_checkout_finds_what_is_deployed(
    cloud: Cloud, deployed: Checkout, demo: Stage, tmp_path: Path
) -> None:
    other = deployed.copy(tmp_path / "elsewhere")
    before = _state(cloud, demo)

    other.must("up", "--stage", "demo")

    assert _state(cloud, demo) == before
    assert other.recorded(demo) == deployed.recorded(demo)


@pytest.fixture
def brief(deployed: Checkout, demo: Stage) -> Stage:
    """A stage that may be broken and taken down; deployed again where it was. It has an endpoint.

    That is on a machine that the stand-in for AWS knows.
    """
    served = ["--set", f"endpoint_image={SERVER}", "--set", "endpoint_instance=ml.c5.xlarge"]
    deployed.must("configure", "--stage", "brief", "--region", demo.region, *served)
    stage = deployed.stage("brief")
    if not deployed.recorded(stage):
        deployed.must("up", "--stage", "brief")
    return stage


def test_a_deployment_that_broke_off_is_taken_up_again(
    cloud: Cloud, deployed: Checkout, brief: Stage
) -> None:
    """Chalice notes nothing of a deployment that breaks off, not even the trigger it made."""
    (deployed.root / ".chalice/deployed/brief.json").unlink()
    bucket = brief.settings.store_bucket
    cloud.client("s3").delete_object(Bucket=bucket, Key="deployments/brief.json")
    before = _state(cloud, brief)["mappings"]

    said = deployed.must("up", "--stage", "brief")

    assert "taking over the trigger" in said
    assert _state(cloud, brief)["mappings"] == before


def _state(cloud: Cloud, stage: Stage) -> dict[str, Any]:
    """Return what there is of a stage, without times."""
    lambda_, s3 = cloud.client("lambda"), cloud.client("s3")
    names = {stage.function(name) for name in FUNCTIONS}
    functions = [f for f in lambda_.list_functions()["Functions"] if f["FunctionName"] in names]
    mappings = lambda_.list_event_source_mappings()["EventSourceMappings"]
    told = ("FunctionArn", "Role", "CodeSha256", "MemorySize", "Timeout", "Environment")
    mapped = ("UUID", "FunctionArn", "BatchSize", "FunctionResponseTypes", "ScalingConfig")
    worker = f":{stage.function('identify')}"
    triggers = [each for each in mappings if each["FunctionArn"].endswith(worker)]
    notified = s3.get_bucket_notification_configuration(Bucket=stage.settings.uploads_bucket)
    stored = s3.list_objects_v2(Bucket=stage.settings.store_bucket, Prefix="models/")["Contents"]
    return {
        "functions": sorted(json.dumps({k: f[k] for k in told}) for f in functions),
        "mappings": [{name: each[name] for name in mapped} for each in triggers],
        "notified": [n["LambdaFunctionArn"] for n in notified["LambdaFunctionConfigurations"]],
        "apis": sorted(a["id"] for a in cloud.client("apigateway").get_rest_apis()["items"]),
        "stored": {each["Key"]: each["ETag"] for each in stored},
    }


def test_destroy_takes_the_functions_down_and_leaves_what_people_sent(
    cloud: Cloud, deployed: Checkout, brief: Stage
) -> None:
    api = deployed.recorded(brief)["rest_api"]["rest_api_id"]
    s3, settings = cloud.client("s3"), brief.settings
    s3.put_object(Bucket=settings.store_bucket, Key="predictions/1/image.jpg", Body=b"theirs")
    erase_it = deployed.deploy("destroy", "--stage", "brief", "--erase-data", "demo")
    assert erase_it.returncode != 0
    assert "--erase-data brief" in erase_it.stdout
    assert _hosted(cloud) == [1, 1, 1]

    deployed.must("destroy", "--stage", "brief")

    names = [f["FunctionName"] for f in cloud.client("lambda").list_functions()["Functions"]]
    assert not [name for name in names if name.startswith("sightloop-brief")]
    roles = [role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]]
    assert not [name for name in roles if name.startswith("sightloop-brief")]
    assert _hosted(cloud) == [0, 0, 0]
    rules = [rule["Name"] for rule in cloud.client("events").list_rules()["Rules"]]
    assert not [name for name in rules if name.startswith("sightloop-brief")]
    queue = brief.arn("sqs", settings.identify_queue)
    listed = cloud.client("lambda").list_event_source_mappings(EventSourceArn=queue)
    assert listed["EventSourceMappings"] == []
    apis = [each["id"] for each in cloud.client("apigateway").get_rest_apis()["items"]]
    assert api not in apis
    told = s3.get_bucket_notification_configuration(Bucket=settings.uploads_bucket)
    assert "LambdaFunctionConfigurations" not in told
    kept = s3.get_object(Bucket=settings.store_bucket, Key="predictions/1/image.jpg")
    assert kept["Body"].read() == b"theirs"
    assert _exist(cloud, brief) == EVERYTHING

    assert "nothing is deployed" in deployed.must("destroy", "--stage", "brief")
    deployed.must("destroy", "--stage", "brief", "--erase-data", "brief")

    assert _exist(cloud, brief) == set()


def _hosted(cloud: Cloud) -> list[int]:
    """Return how many endpoints, configurations of them and models there are on SageMaker."""
    sagemaker = cloud.client("sagemaker")
    return [
        len(sagemaker.list_endpoints()["Endpoints"]),
        len(sagemaker.list_endpoint_configs()["EndpointConfigs"]),
        len(sagemaker.list_models()["Models"]),
    ]


def _exist(cloud: Cloud, stage: Stage) -> set[str]:
    """Return which of a stage's resources there are."""
    settings = stage.settings
    buckets = {each["Name"] for each in cloud.client("s3").list_buckets()["Buckets"]}
    urls = cloud.client("sqs").list_queues().get("QueueUrls", [])
    queues = {url.rpartition("/")[2] for url in urls}
    tables = cloud.client("dynamodb").list_tables()["TableNames"]
    held = cloud.client("secretsmanager").list_secrets()["SecretList"]
    secrets = {each["Name"] for each in held}
    groups = [
        group
        for service in ("lambda", "sagemaker/Endpoints")
        for group in cloud.client("logs").describe_log_groups(
            logGroupNamePrefix=f"/aws/{service}/sightloop-{stage.name}"
        )["logGroups"]
    ]
    return {
        name
        for name, there in {
            "uploads": settings.uploads_bucket in buckets,
            "store": settings.store_bucket in buckets,
            "identify": queues & {settings.identify_queue, f"{settings.identify_queue}-dlq"},
            "jobs": queues & {settings.jobs_queue, f"{settings.jobs_queue}-dlq"},
            "training": queues & {settings.training_queue, f"{settings.training_queue}-dlq"},
            "results": queues & {settings.results_queue, f"{settings.results_queue}-dlq"},
            "bot": queues & {settings.bot_queue, f"{settings.bot_queue}-dlq"},
            "table": settings.predictions_table in tables,
            "notes": settings.bot_table in tables,
            "secret": settings.secret_name in secrets,
            "logs": groups,
        }.items()
        if there
    }


def test_without_credentials_it_says_where_they_come_from(checkout: Checkout) -> None:
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

    done = checkout.deploy("up", "--stage", "dev", without=keys, HOME="/nonexistent")

    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("deploy: no AWS credentials: run `aws configure`")


def test_where_aws_does_not_answer_it_says_so_in_a_line(checkout: Checkout) -> None:
    nowhere = "http://127.0.0.1:9/"

    done = checkout.deploy("up", "--stage", "dev", AWS_ENDPOINT_URL=nowhere)

    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert f'Could not connect to the endpoint URL: "{nowhere}"' in done.stdout


def test_the_resources_can_be_made_on_their_own(cloud: Cloud, checkout: Checkout) -> None:
    checkout.must("configure", "--stage", "bare", "--region", "eu-west-1")

    said = checkout.must("resources", "--stage", "bare")

    bare = checkout.stage("bare")
    assert f"made queue {bare.settings.identify_queue}-dlq" in said
    assert _exist(cloud, bare) == EVERYTHING


def test_a_stage_that_nobody_made_is_refused(checkout: Checkout) -> None:
    done = checkout.deploy("up", "--stage", "prdo")

    assert done.returncode == 1
    assert "deploy: there is no stage 'prdo': " in done.stdout
    assert "Traceback" not in done.stdout


def test_a_stage_does_not_move_to_another_account(checkout: Checkout) -> None:
    checkout.must("configure", "--stage", "theirs", "--account", "999999999999")

    done = checkout.deploy("up", "--stage", "theirs")

    assert done.returncode == 1
    assert "theirs is in the account 999999999999" in done.stdout
