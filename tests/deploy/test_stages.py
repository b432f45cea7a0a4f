"""Stages: what they are called, and what git holds of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chalicelib.errors import ConfigurationError
from chalicelib.settings import Settings
from chalicelib.wiring import Services
from deploy import __main__ as command
from deploy import configure
from deploy.launch import Project, in_account
from deploy.stages import CHANGEABLE, DEFAULTS, FUNCTIONS, Stage, read, with_changes

ROOT = Path(__file__).parent.parent.parent
STAGE = Stage(name="dev")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in which nothing has been configured yet."""
    (tmp_path / "app.py").touch()
    return tmp_path


def configured(project: Path, *arguments: str) -> int:
    return command.main(["configure", "--project", str(project), *arguments])


def test_what_git_holds_is_what_the_template_renders() -> None:
    """Somebody changed a template, or a rendered file by hand: run `python -m deploy configure`."""
    chalice = ROOT / ".chalice"
    rendered = configure.render(read(chalice))

    held = {path.name: path.read_text("utf-8") for path in chalice.iterdir() if path.is_file()}
    assert held == rendered


def test_the_same_stages_give_the_same_bytes() -> None:
    there = {stage.name: stage for stage in DEFAULTS}
    and_back = {stage.name: stage for stage in reversed(DEFAULTS)}

    assert configure.render(there) == configure.render(and_back)


def test_what_is_rendered_is_read_back_the_same(tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in DEFAULTS}
    configure.write(tmp_path, stages)

    assert read(tmp_path) == stages


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    stages = {stage.name: stage for stage in DEFAULTS}
    assert len(configure.write(tmp_path, stages)) == 2 + len(DEFAULTS) * len(FUNCTIONS)

    assert configure.write(tmp_path, stages) == []
    assert "config.json" in configure.write(tmp_path, {"dev": STAGE})


def test_chalice_does_not_make_policies_up() -> None:
    made = configure.config({"dev": STAGE})

    assert made["autogen_policy"] is False
    functions = made["stages"]["dev"]["lambda_functions"]
    assert set(functions) == set(FUNCTIONS)
    for name, function in functions.items():
        assert function["iam_policy_file"] == f"policy-dev-{name}.json"


def test_a_functions_environment_is_the_stages_settings() -> None:
    environment = configure.config({"dev": STAGE})["stages"]["dev"]["environment_variables"]

    assert Settings.from_environment(environment) == STAGE.settings
    assert all(type(value) is str for value in environment.values())


def test_logs_and_metrics_tell_their_stage() -> None:
    stages = configure.config({stage.name: stage for stage in DEFAULTS})["stages"]

    told = [s["environment_variables"]["POWERTOOLS_SERVICE_NAME"] for s in stages.values()]
    assert told == ["sightloop-dev", "sightloop-prod"]


def test_stages_share_nothing() -> None:
    names = [
        set(stage.settings.model_dump(include=_NAMES).values()) | {stage.function("identify")}
        for stage in DEFAULTS
    ]

    assert not set.intersection(*names)


_NAMES = {
    "uploads_bucket",
    "store_bucket",
    "identify_queue",
    "jobs_queue",
    "results_queue",
    "training_queue",
    "bot_queue",
    "bot_table",
    "predictions_table",
    "limits_table",
    "secret_name",
}


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_names_are_of_the_regions_partition(region: str, partition: str) -> None:
    stage = with_changes(STAGE, region=region)

    assert stage.arn("sqs", "q").startswith(f"arn:{partition}:sqs:{region}:")
    assert stage.bucket_arn("b", "k") == f"arn:{partition}:s3:::b/k"


def test_forms_and_links_lead_to_the_buckets_own_region() -> None:
    """S3 redirects from its global name while a bucket is new, and a form does not follow."""
    uploads = Services(STAGE.settings).uploads

    form = uploads.presigned_post("uploads/scratch/1/a.jpg", "image/jpeg", 1000, 60)

    assert form.url == f"https://{uploads.bucket}.s3.eu-central-1.amazonaws.com/"
    assert uploads.origin == form.url.rstrip("/")


def test_the_longest_names_are_still_names_of_buckets() -> None:
    longest = Stage(name="s" * 20, prefix="p" * 20)

    assert max(len(longest.settings.uploads_bucket), len(longest.settings.store_bucket)) <= 63


@pytest.mark.parametrize(
    "name", ["Dev", "dev_1", "1st", "d", "dev-", "a.b", "", "x" * 21, "größe", "../dev"]
)
def test_a_name_that_cannot_be_a_bucket_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert configured(project, "--stage", name) == 1

    told = capsys.readouterr().err
    assert told.startswith(f"deploy: name cannot be {name!r}: 2 to 20 small letters")
    assert not (project / ".chalice").exists()


def test_a_bad_prefix_region_and_account_are_all_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["--prefix", "Acme!", "--region", "Frankfurt", "--account", "12"]

    # The account is looked at with the rest once the rest is right.
    assert configured(project, *wrong) == 1
    told = capsys.readouterr().err
    assert "prefix cannot be 'Acme!': 2 to 20 small letters" in told
    assert "region cannot be 'Frankfurt': it has to be a region of AWS" in told

    assert configured(project, "--account", "12") == 1
    assert "account cannot be '12': it has to be the 12 digits" in capsys.readouterr().err


def test_a_configured_stage_is_kept_with_the_others(project: Path) -> None:
    assert configured(project, "--stage", "trial", "--prefix", "acme") == 0

    kept = read(project / ".chalice")
    assert set(kept) == {"dev", "prod", "trial"}
    assert kept["trial"].settings.store_bucket == "acme-trial-store-123456789012"
    policy = (project / ".chalice/policy-trial-identify.json").read_text()
    assert "acme-trial-identify" in policy


def test_configuring_a_stage_again_keeps_what_is_not_named(project: Path) -> None:
    configured(project, "--stage", "trial", "--prefix", "acme")

    configured(project, "--stage", "trial", "--region", "us-east-1")

    kept = read(project / ".chalice")["trial"]
    assert (kept.prefix, kept.region) == ("acme", "us-east-1")


def test_a_setting_of_a_stage_reaches_its_functions(project: Path) -> None:
    configured(project, "--set", "max_pixels=1000", "--set", "prediction_ttl_days=7")
    configured(project, "--set", "max_pixels=2000", "--set", "prediction_ttl_days=")

    kept = read(project / ".chalice")["dev"]
    assert kept.changed == {"max_pixels": "2000"}
    assert kept.settings.max_pixels == 2000
    assert kept.settings.prediction_ttl_days == STAGE.settings.prediction_ttl_days
    environment = configure.config({"dev": kept})["stages"]["dev"]["environment_variables"]
    assert environment["SIGHTLOOP_MAX_PIXELS"] == "2000"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("max_pixels=many", "max_pixels cannot be 'many': "),
        ("max_pixels=-1", "max_pixels cannot be '-1': "),
        ("colour=red", "colour cannot be set: address_block_hours, appeal_to, "),
        ("store_bucket=mine", "store_bucket cannot be set: "),
        ("database_url=postgresql://me:secret@host/db", "database_url cannot be set: "),
        ("max_pixels", "say --set NAME=VALUE, not 'max_pixels'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], given: str, told: str
) -> None:
    assert configured(project, "--set", given) == 1

    assert told in capsys.readouterr().err
    assert not (project / ".chalice").exists()


def test_every_setting_is_either_the_stages_own_or_can_be_changed() -> None:
    own = _NAMES | {"stage", "region", "database_url"}
    of_one_machine = {
        "allowed_hosts",
        "detections_at_once",
        "detections_waiting",
        "home",
        "training_python",
    }

    assert set(Settings.model_fields) == CHANGEABLE | own | of_one_machine
    assert not CHANGEABLE & (own | of_one_machine)


def test_functions_ask_the_endpoint_that_a_stage_has_made(project: Path) -> None:
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
    configured(project, "--prefix", "acme", "--set", f"endpoint_image={image}")

    environment = configure.config(read(project / ".chalice"))["stages"]["dev"]
    told = environment["environment_variables"]
    assert told["SIGHTLOOP_ENDPOINT"] == "acme-dev"
    assert Settings.from_environment(told).endpoint_image == image


def test_functions_may_ask_an_endpoint_that_somebody_made_elsewhere(project: Path) -> None:
    configured(project, "--set", "endpoint=By-Hand")

    kept = read(project / ".chalice")["dev"]
    assert kept.environment["SIGHTLOOP_ENDPOINT"] == "By-Hand"


def test_an_endpoint_is_either_the_stages_own_or_somebody_elses(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert configured(project, "--set", "endpoint=mine", "--set", "endpoint_image=an/image:1") == 1

    assert "endpoint and endpoint_image exclude each other" in capsys.readouterr().err
    assert not (project / ".chalice").exists()


@pytest.mark.parametrize("names", [("s" * 20, "p" * 20), ("a--b", "c--d"), ("dev", "sightloop")])
def test_an_endpoint_s_name_is_one_that_sagemaker_takes(names: tuple[str, str]) -> None:
    stage = Stage(name=names[0], prefix=names[1], changed={"endpoint_image": "an/image:1"})

    pattern = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"  # of CreateEndpoint
    assert re.fullmatch(pattern, stage.settings.endpoint)


@pytest.mark.parametrize("name", ["-a", "a-", "a_b", "a" * 64, "größe"])
def test_a_name_that_no_endpoint_can_have_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert configured(project, "--set", f"endpoint={name}") == 1

    assert f"endpoint cannot be {name!r}" in capsys.readouterr().err


def test_a_misspelt_stage_is_refused(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no stage 'prdo': dev, prod there are"):
        Project(project).stage("prdo")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"dev": 1}', '{"dev": {"region": "here"}}', '{"dev": {"colour": "red"}}']
)
def test_a_spoilt_file_of_stages_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "stages.json").write_text(text)

    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "stages.json"))):
        read(tmp_path)


def test_a_stage_is_bound_to_the_account_it_is_first_deployed_to() -> None:
    bound = in_account(STAGE, "210987654321")

    assert bound.account == "210987654321"
    assert in_account(bound, "210987654321") == bound
    with pytest.raises(ConfigurationError, match="dev is in the account 210987654321"):
        in_account(bound, "333333333333")


def test_files_are_json_that_ends_with_a_line(tmp_path: Path) -> None:
    for text in configure.render({"dev": STAGE}).values():
        assert text.endswith("}\n")
        json.loads(text)
