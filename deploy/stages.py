"""A stage: what it is called, where it lives, and how large its functions are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.errors import ConfigurationError
from chalicelib.settings import Settings
from deploy.resources import (
    BOT_TIMEOUT_SECONDS,
    JOB_TIMEOUT_SECONDS,
    REPORT_TIMEOUT_SECONDS,
    WORKER_TIMEOUT_SECONDS,
)

APP = "sightloop"
EXAMPLE_ACCOUNT = "123456789012"
FILE = "stages.json"

OF_A_NAME = "2 to 20 small letters, digits and hyphens are allowed, a letter first"
MAY_BE = {
    "name": OF_A_NAME,
    "prefix": OF_A_NAME,
    "region": "it has to be a region of AWS, such as eu-central-1",
    "account": "it has to be the 12 digits of an AWS account",
}
Subnet = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]
SecurityGroup = Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*[a-z0-9]$", max_length=20)]


class Size(BaseModel):
    """What a function may use. Lambda gives processor in proportion to memory: 1769 MB is one."""

    model_config = ConfigDict(frozen=True)

    memory_mb: int
    timeout_seconds: int
    uses_database: bool = False


# API Gateway waits 29 s for an answer; the others wait as long as the queues allow them.
FUNCTIONS = {
    "api_handler": Size(memory_mb=3008, timeout_seconds=29, uses_database=True),
    "on_upload": Size(memory_mb=512, timeout_seconds=30),
    "identify": Size(memory_mb=3008, timeout_seconds=WORKER_TIMEOUT_SECONDS),
    "on_import": Size(memory_mb=512, timeout_seconds=30, uses_database=True),
    "work_jobs": Size(memory_mb=3008, timeout_seconds=JOB_TIMEOUT_SECONDS, uses_database=True),
    "converse": Size(memory_mb=3008, timeout_seconds=BOT_TIMEOUT_SECONDS, uses_database=True),
    "reply": Size(memory_mb=1769, timeout_seconds=BOT_TIMEOUT_SECONDS),
    "reconcile": Size(memory_mb=512, timeout_seconds=300, uses_database=True),
    "plan": Size(memory_mb=512, timeout_seconds=300, uses_database=True),
    "on_training_report": Size(
        memory_mb=3008, timeout_seconds=REPORT_TIMEOUT_SECONDS, uses_database=True
    ),
    "on_training_event": Size(memory_mb=512, timeout_seconds=30, uses_database=True),
    "update_reported_list": Size(memory_mb=512, timeout_seconds=120, uses_database=True),
}

# A stage's names follow from its own, and a database's address is a secret, not for git.
CHANGEABLE = frozenset(
    {
        "address_block_hours",
        "appeal_to",
        "bot_updates_per_minute",
        "call_seconds",
        "cluster_ca",
        "cluster_name",
        "cluster_namespace",
        "cluster_node_selector",
        "cluster_nodes",
        "cluster_url",
        "cluster_uses_gpus",
        "detector_cache_size",
        "endpoint",
        "endpoint_calls_per_minute",
        "endpoint_image",
        "endpoint_instance",
        "endpoint_instances",
        "endpoint_instances_most",
        "fine_tune_epochs",
        "first_training_epochs",
        "gate_class_tolerance",
        "gate_confidence",
        "gate_floor",
        "gate_margin",
        "identify_max_receives",
        "import_expires_seconds",
        "inference_threads",
        "launcher",
        "live_version_ttl_seconds",
        "max_body_bytes",
        "max_contributor_share",
        "max_images_per_call",
        "max_import_bytes",
        "max_pixels",
        "max_upload_bytes",
        "min_new_training_data",
        "min_new_validation_data",
        "min_training_set_size",
        "min_validation_set_size",
        "prediction_ttl_days",
        "proof",
        "quota_everyone_factor",
        "quota_import_bytes",
        "quota_imports",
        "quota_kept",
        "quota_pending_models",
        "quota_seconds",
        "quota_submissions",
        "quota_tasks",
        "quota_token_factor",
        "quota_uploads",
        "quotas",
        "report_list_ttl_seconds",
        "secret_ttl_seconds",
        "telegram_api",
        "throttle_burst",
        "throttle_calls_per_second",
        "throttle_forms_burst",
        "throttle_forms_per_second",
        "training_batch",
        "training_image",
        "training_imgsz",
        "training_instance",
        "training_kms_key",
        "training_max_seconds",
        "training_processes",
        "training_restarts",
        "training_role",
        "training_spot",
        "training_volume_gb",
        "trusted_callers",
        "upload_expires_seconds",
    }
)


# What the roles of trainers are called, behind the stage, by the launcher that needs one.
ROLES = {"sagemaker": "training", "cluster": "training-pods"}


class Stage(BaseModel):
    """Where a stage lives. All names of its resources follow from this.

    Examples
    --------
    >>> stage = Stage(name="dev", prefix="acme", region="eu-central-1", account="123456789012")
    >>> stage.settings.uploads_bucket
    'acme-dev-uploads-123456789012'
    >>> stage.arn("sqs", stage.settings.identify_queue)
    'arn:aws:sqs:eu-central-1:123456789012:acme-dev-identify'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    prefix: Name = APP
    region: str = Field(default="eu-central-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    account: str = Field(default=EXAMPLE_ACCOUNT, pattern=r"^\d{12}$")
    log_retention_days: int = 30
    worker_concurrency: int = Field(default=5, ge=2, le=1000, description="most workers at a time")
    subnet_ids: tuple[Subnet, ...] = Field(default=(), description="that lead to the database")
    security_group_ids: tuple[SecurityGroup, ...] = Field(default=(), description="that it admits")
    changed: dict[str, str] = Field(default={}, description="settings that are not the defaults")

    @property
    def settings(self) -> Settings:
        """The settings of the stage's functions."""
        of_stage = f"{self.prefix}-{self.name}"
        return Settings.model_validate(
            {
                **self._of_launcher,
                **self._of_image,
                **self.changed,
                "stage": self.name,
                "region": self.region,
                "uploads_bucket": f"{of_stage}-uploads-{self.account}",
                "store_bucket": f"{of_stage}-store-{self.account}",
                "identify_queue": f"{of_stage}-identify",
                "results_queue": f"{of_stage}-results",
                "jobs_queue": f"{of_stage}-jobs",
                "training_queue": f"{of_stage}-training",
                "bot_queue": f"{of_stage}-bot",
                "bot_table": f"{of_stage}-bot",
                "predictions_table": f"{of_stage}-predictions",
                "limits_table": f"{of_stage}-limits",
                "secret_name": of_stage,
            }
        )

    @property
    def training_role(self) -> str | None:
        """What the role of the stage's trainers is called; none: its launcher needs none."""
        launcher = self.changed.get("launcher", "")
        return self.role_of(launcher) if launcher in ROLES else None

    def role_of(self, launcher: str) -> str:
        """Return what the role of trainers is called that a launcher needs.

        Examples
        --------
        >>> Stage(name="dev").role_of("cluster")
        'sightloop-dev-training-pods'
        """
        return f"{APP}-{self.name}-{ROLES[launcher]}"

    @property
    def endpoint(self) -> str:
        """What the stage's own endpoint of SageMaker is called, where it has one."""
        return f"{self.prefix}-{self.name}"

    @property
    def endpoint_role(self) -> str:
        """What the role is called that the endpoint's server has."""
        return f"{APP}-{self.name}-endpoint"

    @property
    def endpoint_log_group(self) -> str:
        """Where the endpoint's server writes to."""
        return f"/aws/sagemaker/Endpoints/{self.endpoint}"

    @property
    def _of_image(self) -> dict[str, str]:
        """The setting that follows from the image of an endpoint: functions ask that one."""
        return {"endpoint": self.endpoint} if self.changed.get("endpoint_image") else {}

    @property
    def _of_launcher(self) -> dict[str, str]:
        """The settings that follow from the launcher, unless another role is named."""
        if self.changed.get("launcher") != "sagemaker":
            return {}
        return {"training_role": self.role_arn(self.role_of("sagemaker"))}

    @property
    def environment(self) -> dict[str, str]:
        """The settings as environment variables; what has its default is left out."""
        given = self.settings.model_dump(mode="json", exclude_unset=True)
        return {f"SIGHTLOOP_{name.upper()}": str(value) for name, value in given.items()}

    def is_in_network(self, function: str) -> bool:
        """Tell whether a function runs in the stage's own network: it needs the database."""
        return bool(self.subnet_ids) and FUNCTIONS[function].uses_database

    @property
    def partition(self) -> str:
        """Which AWS this is: the one of the world, of China, or of the US government."""
        apart = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
        return next((to for start, to in apart.items() if self.region.startswith(start)), "aws")

    def function(self, name: str) -> str:
        """Return the name that Lambda knows a function by; Chalice gives the API's none of its own.

        Examples
        --------
        >>> Stage(name="dev").function("identify"), Stage(name="dev").function("api_handler")
        ('sightloop-dev-identify', 'sightloop-dev')
        """
        of_stage = f"{APP}-{self.name}"
        return of_stage if name == "api_handler" else f"{of_stage}-{name}"

    def log_group(self, function: str) -> str:
        """Return the name of the log group that a function writes to."""
        return f"/aws/lambda/{self.function(function)}"

    def arn(self, service: str, resource: str) -> str:
        """Return the full name of a resource in the stage's region and account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def role_arn(self, name: str) -> str:
        """Return the full name of a role."""
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    @property
    def secret_arn(self) -> str:
        """The full name of the stage's secret, to which AWS adds six characters of its own."""
        return self.arn("secretsmanager", f"secret:{self.settings.secret_name}-??????")

    def bucket_arn(self, bucket: str, keys: str = "") -> str:
        """Return the full name of a bucket, or of keys in it."""
        return f"arn:{self.partition}:s3:::{bucket}" + (f"/{keys}" if keys else "")


DEFAULTS = (
    Stage(name="dev"),
    Stage(name="prod", log_retention_days=90, worker_concurrency=50),
)


def read(chalice: Path) -> dict[str, Stage]:
    """Read the stages of a project, by name.

    Raises
    ------
    ConfigurationError
        The file is not what ``python -m deploy configure`` writes.
    """
    file = chalice / FILE
    if not file.exists():
        return {stage.name: stage for stage in DEFAULTS}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {name: _checked(Stage(name=name, **row)) for name, row in rows.items()}
    except ValidationError as error:
        raise ConfigurationError(f"{file}: {_told(error)}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error


def with_changes(stage: Stage, **changes: Any) -> Stage:
    """Return a stage with some of it replaced; ``None`` keeps what there is.

    Raises
    ------
    ConfigurationError
        A value cannot be; all such are named.
    """
    wanted = {name: value for name, value in changes.items() if value is not None}
    try:
        return _checked(Stage(**{**stage.model_dump(), **wanted}))
    except ValidationError as error:
        raise ConfigurationError(_told(error)) from error


def _checked(stage: Stage) -> Stage:
    """See that a stage's settings are settings, and that none is what the stage itself decides."""
    for name in stage.changed:
        if name not in CHANGEABLE:
            raise ConfigurationError(f"{name} cannot be set: {', '.join(sorted(CHANGEABLE))} can")
    if stage.changed.get("endpoint") and stage.changed.get("endpoint_image"):
        raise ConfigurationError(
            "endpoint and endpoint_image exclude each other: the first names one that you made "
            "elsewhere, of the second the stage has its own made; set either to nothing"
        )
    if bool(stage.subnet_ids) != bool(stage.security_group_ids):
        raise ConfigurationError("a network wants both, --subnet and --security-group, or neither")
    settings = stage.settings  # raises where a value cannot be
    if 0 < settings.endpoint_instances_most <= settings.endpoint_instances:
        raise ConfigurationError(
            f"endpoint_instances_most is {settings.endpoint_instances_most}: it has to be more "
            f"than endpoint_instances, {settings.endpoint_instances}, or 0, which scales nothing"
        )
    return stage


def _told(error: ValidationError) -> str:
    """Say what is wrong with which value, and what it may be."""
    return "; ".join(
        f"{fault['loc'][0]} cannot be {fault['input']!r}: "
        + MAY_BE.get(str(fault["loc"][0]), fault["msg"])
        for fault in error.errors()
    )


def to_json(stages: dict[str, Stage]) -> str:
    """Return the text of the stages' file."""
    rows = {name: stage.model_dump(exclude={"name"}) for name, stage in sorted(stages.items())}
    return json.dumps(rows, indent=2) + "\n"
