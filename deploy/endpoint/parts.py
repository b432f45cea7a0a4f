"""What the stage's endpoint is made of: the role of its server, a model, and a configuration.

SageMaker changes neither models nor configurations. Each is therefore named by a hash of what it
is: whatever is there already is right, and a change makes others beside it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from deploy import roles
from deploy.endpoint.scaling import VARIANT
from deploy.roles import Role, list_keys, read_objects
from deploy.stages import Stage

KIND = "Endpoints"
MODELS = "models/*"
TOLD = frozenset(  # of the settings, to the server
    {
        "SIGHTLOOP_STAGE",
        "SIGHTLOOP_REGION",
        "SIGHTLOOP_STORE_BUCKET",
        "SIGHTLOOP_MAX_PIXELS",
        "SIGHTLOOP_INFERENCE_THREADS",
        "SIGHTLOOP_DETECTOR_CACHE_SIZE",
        "SIGHTLOOP_LIVE_VERSION_TTL_SECONDS",
    }
)
STARTS_WITHIN_SECONDS = 300
Request = dict[str, Any]


def ensure_role(iam: Any, stage: Stage) -> None:
    """Make the server's role where the stage has an image of it, or bring it up to date.

    That is long before ``ensure`` needs it: IAM tells the rest of AWS of a role in its own time.

    Raises
    ------
    ConfigurationError
        The image is not one in ECR.
    """
    if stage.settings.endpoint_image:
        roles.ensure(iam, stage, role(stage))


def role(stage: Stage) -> Role:
    """Return the server's role: it reads models, and SageMaker runs it.

    Raises
    ------
    ConfigurationError
        The image is not one in ECR.
    """
    repository = roles.repository(stage, "endpoint_image")
    store = stage.settings.store_bucket
    statements = [
        read_objects(stage, "ReadModels", store, MODELS),
        list_keys(stage, "ListModels", store, MODELS),
        *roles.run_on_sagemaker(stage, KIND, stage.endpoint_log_group, repository),
    ]
    what = "What the server of Sightloop's endpoint may do"
    trust = roles.by_sagemaker(stage)
    return Role(stage.endpoint_role, what, trust, "serve", roles.document(statements))


def model(stage: Stage) -> Request:
    """Return what `create_model` is asked. No weights belong to it: the server fetches them."""
    told = {name: value for name, value in stage.environment.items() if name in TOLD}
    asked = {
        "PrimaryContainer": {"Image": stage.settings.endpoint_image, "Environment": told},
        "ExecutionRoleArn": stage.role_arn(stage.endpoint_role),
        "EnableNetworkIsolation": False,  # it reads the store bucket
        "Tags": roles.tags(stage),
    }
    return {"ModelName": _name_of(stage, asked), **asked}


def config(stage: Stage) -> Request:
    """Return what `create_endpoint_config` is asked."""
    variant = {
        "VariantName": VARIANT,
        "ModelName": model(stage)["ModelName"],
        "InstanceType": stage.settings.endpoint_instance,
        "InitialInstanceCount": stage.settings.endpoint_instances,
        "ContainerStartupHealthCheckTimeoutInSeconds": STARTS_WITHIN_SECONDS,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }
    asked = {"ProductionVariants": [variant], "Tags": roles.tags(stage)}
    return {"EndpointConfigName": _name_of(stage, asked), **asked}


def _name_of(stage: Stage, asked: Request) -> str:
    held = json.dumps(asked, sort_keys=True).encode()
    return f"{stage.endpoint}-{hashlib.sha256(held).hexdigest()[:12]}"
