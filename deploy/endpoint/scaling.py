"""How many machines the stage's endpoint has: as many as its calls want, between two bounds.

Application Auto Scaling follows how many calls each machine gets in a minute. What it keeps, a
target with a policy and the alarms of that, belongs to the endpoint's name rather than to the
endpoint: it has to be there before this can be made, and goes before the endpoint goes.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from deploy.cloud import FORBIDDEN, code_of, log
from deploy.stages import Stage

VARIANT = "live"
SERVICE = "sagemaker"
COUNT = "sagemaker:variant:DesiredInstanceCount"
CALLS = "SageMakerVariantInvocationsPerInstance"
POLICY = "calls-of-each-machine"


class Scaling:
    """Of a stage's endpoint.

    Parameters
    ----------
    autoscaling : client of Application Auto Scaling
    stage : Stage
    """

    def __init__(self, autoscaling: Any, stage: Stage) -> None:
        self._autoscaling = autoscaling
        self._endpoint = stage.endpoint
        self._settings = stage.settings
        self._id = f"endpoint/{stage.endpoint}/variant/{VARIANT}"

    @property
    def is_wanted(self) -> bool:
        """Whether the stage's settings want it."""
        return self._settings.endpoint_instances_most > 0

    def start(self) -> None:
        """Have the endpoint, which is in service, scale as the settings say."""
        bounds = {
            "MinCapacity": self._settings.endpoint_instances,
            "MaxCapacity": self._settings.endpoint_instances_most,
        }
        wanted = {
            "TargetValue": float(self._settings.endpoint_calls_per_minute),
            "PredefinedMetricSpecification": {"PredefinedMetricType": CALLS},
        }
        if _holds(self._target(), bounds) and _holds(self._policy(), wanted):
            return
        self._autoscaling.register_scalable_target(**self._named(), **bounds)
        self._autoscaling.put_scaling_policy(
            PolicyName=POLICY,
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=wanted,
            **self._named(),
        )
        log.info("endpoint %s scales: %s to %s machines", self._endpoint, *bounds.values())

    def stop(self) -> None:
        """Have it scale no more, however many machines there are then.

        A deployer who never had it scale may not be allowed to look whether it does.
        """
        try:
            target = self._target()
        except ClientError as error:
            if self.is_wanted or code_of(error) not in FORBIDDEN:
                raise
            log.info("whether endpoint %s scales is not known: %s", self._endpoint, error)
            return
        if target is None:
            return
        try:
            self._autoscaling.deregister_scalable_target(**self._named())
            log.info("endpoint %s scales no more", self._endpoint)
        except ClientError as error:
            if code_of(error) != "ObjectNotFoundException":  # somebody else was quicker
                raise

    def _named(self) -> dict[str, str]:
        return {"ServiceNamespace": SERVICE, "ResourceId": self._id, "ScalableDimension": COUNT}

    def _target(self) -> dict[str, Any] | None:
        """Return the bounds that it has; nothing where it does not scale."""
        found = self._autoscaling.describe_scalable_targets(
            ServiceNamespace=SERVICE, ResourceIds=[self._id], ScalableDimension=COUNT
        )["ScalableTargets"]
        return dict(found[0]) if found else None

    def _policy(self) -> dict[str, Any] | None:
        """Return by what it scales; nothing where there is no policy."""
        found = self._autoscaling.describe_scaling_policies(PolicyNames=[POLICY], **self._named())
        policies = found["ScalingPolicies"]
        return dict(policies[0]["TargetTrackingScalingPolicyConfiguration"]) if policies else None


def _holds(held: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    """Tell whether AWS holds what is wanted, whatever it holds besides."""
    return held is not None and all(held.get(name) == value for name, value in wanted.items())
