"""The one reader of the environment: frozen, typed, validated when it is first asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chalicelib.errors import ConfigurationError

PREFIX = "SIGHTLOOP_"
MEBIBYTE = 1024 * 1024


class Settings(BaseModel):
    """How this process is set up. A field ``x`` is read from ``SIGHTLOOP_X``.

    Names of buckets, queues and tables default to those that ``deploy/resources.py`` makes for
    the stage ``local``; ``.chalice/config.json`` sets them for the others.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    stage: str = Field("local", pattern=r"^[a-z0-9-]+$")
    region: str = "eu-central-1"

    uploads_bucket: str = Field("sightloop-local-uploads", min_length=3, max_length=63)
    store_bucket: str = Field("sightloop-local-store", min_length=3, max_length=63)
    identify_queue: str = Field("sightloop-local-identify", min_length=1, max_length=80)
    results_queue: str = Field("sightloop-local-results", min_length=1, max_length=80)
    jobs_queue: str = Field("sightloop-local-jobs", min_length=1, max_length=80)
    training_queue: str = Field("sightloop-local-training", min_length=1, max_length=80)
    bot_queue: str = Field("sightloop-local-bot", min_length=1, max_length=80)
    bot_table: str = Field("sightloop-local-bot", min_length=3, max_length=255)
    predictions_table: str = Field("sightloop-local-predictions", min_length=3, max_length=255)
    limits_table: str = Field("sightloop-local-limits", min_length=3, max_length=255)
    database_url: str = Field("", description="PostgreSQL; empty: as the secret says")
    secret_name: str = Field("sightloop-local", min_length=1, max_length=512)
    secret_ttl_seconds: float = Field(60.0, ge=0, le=3600)

    call_seconds: float = Field(
        26.0, gt=0, le=28, description="then a call is answered by 503: API Gateway waits for 29"
    )
    max_body_bytes: int = Field(4_500_000, gt=0, description="synchronous call, after base64")
    max_upload_bytes: int = Field(50 * MEBIBYTE, gt=0)
    max_import_bytes: int = Field(5 * 1024 * MEBIBYTE, gt=0, le=5 * 1024 * MEBIBYTE)
    max_pixels: int = Field(80_000_000, gt=0, le=170_000_000)
    max_images_per_call: int = Field(16, gt=0)
    upload_expires_seconds: int = Field(600, gt=0, le=86_400)
    import_expires_seconds: int = Field(3600, gt=0, le=86_400)
    identify_max_receives: int = Field(5, gt=0, description="then a message is a dead letter")
    prediction_ttl_days: int = Field(30, gt=0)

    min_training_set_size: int = Field(80, gt=0, description="for a first training")
    min_validation_set_size: int = Field(20, gt=0, description="for a first training")

    min_new_training_data: int = Field(16, gt=0, description="since the live version")
    min_new_validation_data: int = Field(4, gt=0, description="since the live version")

    max_contributor_share: float = Field(
        0.5, gt=0, le=1, description="of a training's threshold that one contributor may fill"
    )

    launcher: Literal["", "process", "sagemaker", "cluster"] = Field(
        "",
        description="where trainings run; empty: nowhere, the planner only says what it would do",
    )
    first_training_epochs: int = Field(100, gt=0, le=10_000)
    fine_tune_epochs: int = Field(20, gt=0, le=10_000)
    training_batch: int = Field(16, gt=0, le=1024)
    training_imgsz: int = Field(640, ge=32, le=4096, multiple_of=32, description="pixels")
    training_max_seconds: int = Field(6 * 3600, ge=60, le=5 * 86_400)
    training_python: str = Field(
        ".venv-training/bin/python", description="trains on this machine; below the checkout"
    )
    training_restarts: int = Field(
        20, ge=0, le=1000, description="after interruptions on this machine"
    )
    training_processes: int = Field(
        1, ge=1, le=64, description="on each machine of SageMaker or a cluster: one for each GPU"
    )
    training_image: str = Field("", description="of the trainer, on SageMaker and on a cluster")
    training_role: str = Field("", description="that SageMaker trains as")
    training_instance: str = Field("ml.g4dn.xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")
    training_volume_gb: int = Field(50, ge=1, le=16_384)
    training_spot: bool = True
    training_kms_key: str = Field("", description="for SageMaker's volumes and output; optional")
    cluster_name: str = Field("", description="of EKS, or for which its authenticator takes tokens")
    cluster_url: str = Field("", description="of the Kubernetes API; empty: EKS knows it")
    cluster_ca: str = Field("", description="who signed for it: PEM in base64; empty: EKS knows")
    cluster_namespace: str = Field("sightloop", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    cluster_nodes: int = Field(1, ge=1, le=64, description="on which a training runs at most")
    cluster_uses_gpus: bool = True
    cluster_node_selector: str = Field("", description="key=value, more behind commas")
    home: str = Field(".sightloop", description="what `make run` keeps; below the checkout")
    allowed_hosts: str = Field(
        "", description="names by which browsers may use `make run` beside localhost, by commas"
    )
    detections_at_once: int = Field(
        0, ge=0, le=256, description="of `make run`; 0: as many as there are cores, at least 2"
    )
    detections_waiting: int = Field(
        32, ge=0, le=10_000, description="of `make run`; further ones are refused with 503"
    )
    gate_margin: float = Field(0.0, ge=0, le=1, description="of mAP50-95, to be better by")
    gate_class_tolerance: float = Field(
        0.05, ge=0, le=1, description="of AP50-95, that no class may fall by more than"
    )
    gate_confidence: float = Field(
        0.95, gt=0, lt=1, description="with which a new version has to be better than the live one"
    )
    gate_floor: float = Field(
        0.1, ge=0, le=1, description="of mAP50-95, that a model's first version needs"
    )
    report_list_ttl_seconds: float = Field(10.0, ge=0, le=20)
    appeal_to: str = Field(
        "write to whoever runs this service, and name your address or token's subject",
        min_length=1,
        max_length=500,
        description="how a banned user can have the ban looked at again, in words",
    )

    address_block_hours: int = Field(
        24,
        ge=0,
        le=720,
        description="no writes without a token from where a banned token was used; 0: no address",
    )

    proof: Literal["required", "none"] = Field(
        "required",
        description="whether people prove themselves before what they send counts; none: for a "
        "closed team whose callers are all known",
    )
    trusted_callers: str = Field(
        "",
        max_length=10_000,
        description="who need not: names such as user:ann or addresses, behind commas",
    )
    quotas: bool = Field(True, description="false: no caller is limited, except by throttling")
    quota_seconds: int = Field(600, ge=1, le=86_400, description="in which a used quota refills")
    quota_uploads: int = Field(60, gt=0, description="forms of one address")
    quota_imports: int = Field(6, gt=0, description="forms of one address")
    quota_import_bytes: int = Field(
        20 * 1024 * MEBIBYTE, gt=0, description="of one address's import forms, in a day"
    )
    quota_pending_models: int = Field(5, gt=0, description="of one address")
    quota_kept: int = Field(120, gt=0, description="pictures of one address kept in a call")
    quota_tasks: int = Field(120, gt=0, description="of one address")
    quota_submissions: int = Field(240, gt=0, description="of one address")
    quota_token_factor: int = Field(
        5, ge=1, le=10_000, description="times the quota of an address: that of a user's token"
    )
    quota_everyone_factor: int = Field(
        20, ge=1, le=100_000, description="times the quota of one caller: that of all together"
    )
    throttle_calls_per_second: float = Field(50.0, gt=0, le=10_000, description="of a stage's API")
    throttle_burst: int = Field(100, gt=0, le=5_000, description="calls at once")
    throttle_forms_per_second: float = Field(
        5.0, gt=0, le=10_000, description="of each route that gives out upload forms"
    )
    throttle_forms_burst: int = Field(20, gt=0, le=5_000, description="calls at once")

    bot_updates_per_minute: int = Field(60, gt=0, description="of one chat; more are put off")
    telegram_api: str = Field("https://api.telegram.org", pattern=r"^https?://")

    live_version_ttl_seconds: float = Field(15.0, ge=0, le=30)
    detector_cache_size: int = Field(4, gt=0, description="detectors kept warm per process")
    inference_threads: int = Field(0, ge=0, description="0: as many as there are cores")

    endpoint: str = Field(
        "",
        pattern=r"^([a-zA-Z0-9](-*[a-zA-Z0-9])*)?$",
        max_length=63,
        description="of SageMaker, that detects; empty: each process detects by itself",
    )
    endpoint_image: str = Field("", description="of the server, in ECR")
    endpoint_instance: str = Field("ml.c6i.xlarge", pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")
    endpoint_instances: int = Field(1, ge=1, le=100)
    endpoint_instances_most: int = Field(
        0, ge=0, le=100, description="it scales up to so many; 0: it does not scale"
    )
    endpoint_calls_per_minute: int = Field(
        600, ge=1, le=100_000, description="of one machine, by which it scales"
    )

    @property
    def trusted(self) -> tuple[str, ...]:
        """The trusted callers, one by one."""
        return tuple(name.strip() for name in self.trusted_callers.split(",") if name.strip())

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings out of a mapping such as ``os.environ``.

        Raises
        ------
        ConfigurationError
            A variable does not hold what it should; all such variables are named.
        """
        given = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in environ.items()
            if key.startswith(PREFIX)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = "; ".join(
                f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}"
                for fault in error.errors()
            )
            raise ConfigurationError(f"bad settings: {faults}") from error


@functools.cache
def load() -> Settings:
    """Return the settings of this process, read once."""
    return Settings.from_environment(os.environ)
