"""The course of the stage's endpoint: made, changed, and taken away.

A change makes a model and a configuration beside those that serve, and SageMaker puts machines
of the new configuration in the place of the old ones, which serve until then. What no longer serves
is deleted by a later deployment, once the endpoint is in service with the present configuration.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.errors import ConfigurationError
from deploy import roles
from deploy.cloud import ClientOf, code_of, log
from deploy.endpoint import strays
from deploy.endpoint.parts import config, model
from deploy.endpoint.scaling import VARIANT, Scaling
from deploy.stages import Stage

CHANGING = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})
BEYOND_REPAIR = frozenset({"Failed", "OutOfService"})
REFUSED = frozenset(
    {
        "ConcurrentUpdateException",
        "ResourceInUse",
        "ResourceLimitExceeded",
        "ValidationException",
    }
)
PAUSE_SECONDS = 10
ROLE_ATTEMPTS = 12  # IAM tells the rest of AWS of a role within a minute or so
DELETION_ATTEMPTS = 60
AGAIN = "run this again in some minutes"


def ensure(client: ClientOf, stage: Stage, pause: Callable[[float], None] = time.sleep) -> None:
    """Make the endpoint or change it, and where the stage has no image take it away.

    Its role is there: see ``ensure_role``.
    SageMaker takes its minutes; nobody waits here, except for what was deleted to be gone.

    Raises
    ------
    ConfigurationError
        SageMaker is busy with it, or refuses; all that was done is found by the next deployment.
    """
    if not stage.settings.endpoint_image:
        remove(client, stage, pause)
        return
    with _refusals_told(stage):
        _Endpoint(client, stage, pause).ensure()
    strays.tell(client, stage)


def remove(client: ClientOf, stage: Stage, pause: Callable[[float], None] = time.sleep) -> None:
    """Delete the endpoint with its models, configurations and role; nothing where there is no role.

    The role is made first and goes last: SageMaker needs it until the endpoint is gone, and so do
    endpoints that the stage left behind.

    Raises
    ------
    ConfigurationError
        SageMaker is busy with the endpoint.
    """
    is_theirs = stage.changed.get("endpoint") == stage.endpoint  # so they say
    if is_theirs or not roles.exists(client("iam"), stage.endpoint_role):
        return
    with _refusals_told(stage):
        _Endpoint(client, stage, pause).remove()
    if not strays.tell(client, stage):
        roles.remove(client("iam"), stage.endpoint_role)


class _Endpoint:
    """A stage's endpoint, as SageMaker has it."""

    def __init__(self, client: ClientOf, stage: Stage, pause: Callable[[float], None]) -> None:
        self._sagemaker = client("sagemaker")
        self._scaling = Scaling(client("application-autoscaling"), stage)
        self._stage = stage
        self._pause = pause
        self._name = stage.endpoint
        self._model = model(stage)
        self._config = config(stage)

    def ensure(self) -> None:
        """Bring it to the present configuration."""
        now = self._look()
        if now is None:
            self._create()
            return
        if not self._is_ours(now):
            raise ConfigurationError(
                f"there is an endpoint {self._name} that is not this stage's, for it lacks its "
                "tags: delete it, or `configure` another prefix or stage"
            )
        status = str(now["EndpointStatus"])
        if status in BEYOND_REPAIR:
            log.warning("endpoint %s is %s: %s", self._name, status, _reason(now))
            self._delete()
            self._create()
        elif _aim(now) == self._config["EndpointConfigName"] and status in {"InService", *CHANGING}:
            self._leave(now, status)
        elif status in CHANGING or status == "Deleting":
            raise ConfigurationError(
                f"the endpoint {self._name} is {status} and takes no change now; all else is "
                f"deployed: {AGAIN}"
            )
        else:
            self._update(now)

    def remove(self) -> None:
        """Delete it and all that belongs to it."""
        now = self._look()
        if now is None:
            self._scaling.stop()  # somebody else deleted it, and left that
        elif self._is_ours(now):
            self._delete(is_going=now["EndpointStatus"] == "Deleting")
        self._sweep()

    def _look(self) -> dict[str, Any] | None:
        """Return what SageMaker says of the endpoint; nothing where there is none."""
        try:
            return dict(self._sagemaker.describe_endpoint(EndpointName=self._name))
        except ClientError as error:
            if code_of(error) != "ValidationException":
                raise
            return None

    def _is_ours(self, now: dict[str, Any]) -> bool:
        """Tell the stage's endpoint from somebody else's that happens to have the name."""
        told = self._sagemaker.list_tags(ResourceArn=now["EndpointArn"])["Tags"]
        return all(tag in told for tag in roles.tags(self._stage))

    def _create(self) -> None:
        self._make_parts()
        self._sagemaker.create_endpoint(
            EndpointName=self._name,
            EndpointConfigName=self._config["EndpointConfigName"],
            Tags=roles.tags(self._stage),
        )
        log.info("making endpoint %s, which takes 5 to 10 minutes", self._name)
        self._say_how_to_look()

    def _update(self, now: dict[str, Any]) -> None:
        if now.get("FailureReason"):
            log.warning("the last change of endpoint %s failed: %s", self._name, _reason(now))
        self._make_parts()
        is_same_machine = self._machine(now) == self._stage.settings.endpoint_instance
        if not (self._scaling.is_wanted and is_same_machine):
            self._scaling.stop()  # SageMaker gives what scales no machines of another kind
        self._sagemaker.update_endpoint(
            EndpointName=self._name,
            EndpointConfigName=self._config["EndpointConfigName"],
            RetainAllVariantProperties=self._scaling.is_wanted,  # how many there are just now
        )
        log.info("changing endpoint %s; as it was it serves for some minutes more", self._name)
        self._say_how_to_look()

    def _leave(self, now: dict[str, Any], status: str) -> None:
        """Leave it as it is; what served before goes once the present configuration serves."""
        if status == "InService":
            self._make_parts()  # SageMaker wants them when it looks after the machines
            self._sweep(self._config["EndpointConfigName"], self._model["ModelName"])
            self._count_machines(now)
            return
        log.info("endpoint %s is %s", self._name, status)
        self._say_how_to_look()

    def _count_machines(self, now: dict[str, Any]) -> None:
        """Have calls decide how many machines there are, or the settings alone."""
        if self._scaling.is_wanted:
            self._scaling.start()
            return
        self._scaling.stop()
        wanted = self._stage.settings.endpoint_instances
        [variant] = now["ProductionVariants"]
        if variant["DesiredInstanceCount"] == wanted:
            return
        self._sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=self._name,
            DesiredWeightsAndCapacities=[{"VariantName": VARIANT, "DesiredInstanceCount": wanted}],
        )
        was = variant["DesiredInstanceCount"]
        log.info("endpoint %s: from %s machines to %s", self._name, was, wanted)

    def _machine(self, now: dict[str, Any]) -> str:
        """Return the kind of machine that it runs on; nothing where nobody knows any more."""
        try:
            told = self._sagemaker.describe_endpoint_config(
                EndpointConfigName=now["EndpointConfigName"]
            )
        except ClientError as error:
            if code_of(error) != "ValidationException":
                raise
            return ""  # somebody deleted its configuration
        return str(told["ProductionVariants"][0]["InstanceType"])

    def _say_how_to_look(self) -> None:
        if self._scaling.is_wanted:
            log.info("how it scales is set when it is in service and this is run again")
        log.info(
            "until it is InService, functions detect by themselves; to look:\n  "
            "aws sagemaker describe-endpoint --region %s --endpoint-name %s",
            self._stage.region,
            self._name,
        )

    def _make_parts(self) -> None:
        """Make the model and the configuration, unless they are there."""
        if self._model["ModelName"] not in self._models():
            self._create_model()
        if self._config["EndpointConfigName"] not in self._configs():
            with _already_there():
                self._sagemaker.create_endpoint_config(**self._config)

    def _create_model(self) -> None:
        """Make the model; SageMaker may not know yet of a role that was made just now."""
        for attempt in range(ROLE_ATTEMPTS):
            try:
                with _already_there():
                    self._sagemaker.create_model(**self._model)
                return
            except ClientError as error:
                is_last = attempt == ROLE_ATTEMPTS - 1
                if is_last or self._model["ExecutionRoleArn"] not in _words(error):
                    raise
                log.info("SageMaker cannot take the role %s yet", self._stage.endpoint_role)
                self._pause(PAUSE_SECONDS)

    def _delete(self, *, is_going: bool = False) -> None:
        """Delete the endpoint, and wait until it is gone: only then is its name free."""
        if not is_going:
            self._scaling.stop()
            self._sagemaker.delete_endpoint(EndpointName=self._name)
            log.info("deleting endpoint %s", self._name)
        for _ in range(DELETION_ATTEMPTS):
            if self._look() is None:
                return
            self._pause(PAUSE_SECONDS)
        raise ConfigurationError(f"the endpoint {self._name} is not gone yet: {AGAIN}")

    def _sweep(self, *but: str) -> None:
        """Delete configurations and models of the endpoint, except for some."""
        for name in self._configs() - {*but}:
            with _gone_already():
                self._sagemaker.delete_endpoint_config(EndpointConfigName=name)
                log.info("deleted endpoint configuration %s", name)
        for name in self._models() - {*but}:
            with _gone_already():
                self._sagemaker.delete_model(ModelName=name)
                log.info("deleted SageMaker model %s", name)

    def _models(self) -> set[str]:
        return self._listed("list_models", "Models", "ModelName")

    def _configs(self) -> set[str]:
        return self._listed("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName")

    def _listed(self, operation: str, member: str, key: str) -> set[str]:
        """Return the names of what there is and was made for this endpoint."""
        pages = self._sagemaker.get_paginator(operation).paginate(NameContains=self._name)
        names = (str(row[key]) for page in pages for row in page[member])
        return {name for name in names if re.fullmatch(f"{self._name}-[0-9a-f]{{12}}", name)}


def _aim(now: dict[str, Any]) -> str:
    """Return the configuration that an endpoint has, or is on its way to."""
    pending = now.get("PendingDeploymentSummary") or now
    return str(pending["EndpointConfigName"])


def _reason(now: dict[str, Any]) -> str:
    return str(now.get("FailureReason") or "SageMaker gives no reason")


def _words(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


@contextmanager
def _already_there() -> Iterator[None]:
    """Let somebody else have been quicker: what is of one name is the same."""
    try:
        yield
    except ClientError as error:
        if "already existing" not in _words(error):
            raise


@contextmanager
def _gone_already() -> Iterator[None]:
    """Let somebody else have deleted it first."""
    try:
        yield
    except ClientError as error:
        if code_of(error) != "ValidationException":
            raise


@contextmanager
def _refusals_told(stage: Stage) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) not in REFUSED:
            raise
        raise ConfigurationError(
            f"AWS refuses this of the endpoint {stage.endpoint}: {_words(error)} "
            f"Mend that, or where it is being changed {AGAIN}"
        ) from error
