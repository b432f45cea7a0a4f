"""Stand-ins for SageMaker's endpoints, for what scales and what finds them: as strict as AWS is.

Moto has no `UpdateEndpoint`, deletes at once, and makes things of one name twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.validate import validate_parameters
from moto import mock_aws

from deploy import endpoint
from deploy.stages import Stage

ARN = "arn:aws:sagemaker:eu-central-1:123456789012"
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
CHARACTERS = {  # as AWS writes them, and as `re` knows them
    r"\p{L}\p{Z}\p{N}": r"\w ",
    r"\p{Print}": r"[ -~]",
    r"\uD800\uDC00-\uDBFF\uDFFF": r"\U00010000-\U0010FFFF",
}
Row = dict[str, Any]


class Refused(Exception):
    """SageMaker's answer is an error."""

    def __init__(self, words: str, code: str = "ValidationException") -> None:
        self.answer = {"Error": {"Code": code, "Message": words}}


@dataclass(frozen=True)
class Status:
    """Of an answer over HTTP."""

    status_code: int


@dataclass
class StandIn:
    """A service behind a real client, so that requests are checked against AWS's model of them."""

    changes: list[str] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)

    service = ""

    def operations(self) -> dict[str, Callable[[Row], Row | None]]:
        """Return what answers each operation."""
        raise NotImplementedError

    def client(self) -> Any:
        made = boto3.client(self.service, region_name="eu-central-1")
        made.meta.events.register(f"before-call.{self.service}", self._answer)
        return made

    def refuse(self, operation: str, words: str, code: str = "ValidationException") -> None:
        """Refuse the next call of an operation."""
        self.faults.setdefault(operation, []).append(Refused(words, code))

    def break_off(self, operation: str, fault: Exception) -> None:
        """Have whoever calls an operation next die of it."""
        self.faults.setdefault(operation, []).append(fault)

    def _answer(self, model: Any, params: Row, **_: Any) -> tuple[Status, Row]:
        asked = json.loads(params["body"])
        _hold_to_patterns(model.input_shape, asked)
        if not model.name.startswith(("Describe", "List", "Get")):
            self.changes.append(model.name)
        try:
            if waiting := self.faults.get(model.name):
                raise waiting.pop(0)
            told: Row = self.operations()[model.name](asked) or {}
        except Refused as refused:
            return Status(400), refused.answer
        if model.output_shape is not None:
            validate_parameters(told, model.output_shape)
        return Status(200), told


@dataclass
class SageMaker(StandIn):
    """SageMaker. `scaling` is what changes its counts by itself."""

    models: dict[str, Row] = field(default_factory=dict)
    configs: dict[str, Row] = field(default_factory=dict)
    endpoints: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    looks_until_gone: int = 2
    lists_nothing: bool = False  # what there is was made only after the listing
    scales: set[str] = field(default_factory=set)  # the endpoints that something else scales
    retained: set[str] = field(default_factory=set)

    service = "sagemaker"

    def operations(self) -> dict[str, Callable[[Row], Row | None]]:
        return {
            "CreateModel": self._create_model,
            "CreateEndpointConfig": self._create_config,
            "CreateEndpoint": self._create_endpoint,
            "UpdateEndpoint": self._update_endpoint,
            "UpdateEndpointWeightsAndCapacities": self._update_count,
            "DescribeEndpoint": self._describe_endpoint,
            "DescribeEndpointConfig": lambda asked: self._describe_config(self._config(asked)),
            "DeleteEndpoint": self._delete_endpoint,
            "DeleteEndpointConfig": self._delete_config,
            "DeleteModel": self._delete_model,
            "ListModels": self._list_models,
            "ListEndpointConfigs": self._list_configs,
            "ListTags": self._list_tags,
        }

    def count(self, name: str) -> int:
        """Return how many machines an endpoint has, or is on its way to."""
        return int(self.endpoints[name]["ProductionVariants"][0]["DesiredInstanceCount"])

    def set_count(self, name: str, count: int) -> None:
        """Change the count as something else than a deployment does."""
        self.endpoints[name]["ProductionVariants"][0]["DesiredInstanceCount"] = count

    def settle(self, name: str, status: str = "InService", why: str = "") -> None:
        """Let what SageMaker is at come to an end."""
        row = self.endpoints[name]
        pending = row.pop("PendingDeploymentSummary", None)
        if status == "InService" and pending and not why:
            row["EndpointConfigName"] = pending["EndpointConfigName"]
            if name not in self.retained:
                row.pop("ProductionVariants", None)
        row["EndpointStatus"] = status
        if status == "InService" and "ProductionVariants" not in row:
            [variant] = self.configs[row["EndpointConfigName"]]["ProductionVariants"]
            counted = {"DesiredInstanceCount": variant["InitialInstanceCount"]}
            row["ProductionVariants"] = [{"VariantName": variant["VariantName"], **counted}]
        if why:
            row["FailureReason"] = why

    def _create_model(self, asked: Row) -> Row:
        name = asked["ModelName"]
        _require(name not in self.models, "Cannot create already existing model")
        self.models[name] = asked
        return {"ModelArn": f"{ARN}:model/{name}"}

    def _create_config(self, asked: Row) -> Row:
        name = asked["EndpointConfigName"]
        _require(name not in self.configs, "Cannot create already existing endpoint configuration")
        for variant in asked["ProductionVariants"]:
            _require(variant["ModelName"] in self.models, "Could not find model")
        self.configs[name] = asked
        return {"EndpointConfigArn": f"{ARN}:endpoint-config/{name}"}

    def _create_endpoint(self, asked: Row) -> Row:
        name, arn = asked["EndpointName"], f"{ARN}:endpoint/{asked['EndpointName']}"
        _require(name not in self.endpoints, "Cannot create already existing endpoint")
        config = self._config(asked)
        self.endpoints[name] = {
            "EndpointName": name,
            "EndpointArn": arn,
            "EndpointConfigName": config,
            "PendingDeploymentSummary": {"EndpointConfigName": config},
            "EndpointStatus": "Creating",
            "CreationTime": 0,
            "LastModifiedTime": 0,
        }
        self.tags[arn] = asked["Tags"]
        return {"EndpointArn": arn}

    def _update_endpoint(self, asked: Row) -> Row:
        row = self._changeable(asked)
        _require(row["EndpointStatus"] != "Failed", "Cannot update a failed endpoint")
        config = self._config(asked)
        is_same_machine = self._machine(row["EndpointConfigName"]) == self._machine(config)
        _require(is_same_machine or row["EndpointName"] not in self.scales, "It scales.")
        keep = asked.get("RetainAllVariantProperties")
        (self.retained.add if keep else self.retained.discard)(row["EndpointName"])
        row["PendingDeploymentSummary"] = {"EndpointConfigName": config}
        row["EndpointStatus"] = "Updating"
        return {"EndpointArn": row["EndpointArn"]}

    def _update_count(self, asked: Row) -> Row:
        row = self._changeable(asked)
        [wanted] = asked["DesiredWeightsAndCapacities"]
        assert wanted["VariantName"] == row["ProductionVariants"][0]["VariantName"]
        self.set_count(row["EndpointName"], wanted["DesiredInstanceCount"])
        row["EndpointStatus"] = "Updating"
        return {"EndpointArn": row["EndpointArn"]}

    def _describe_config(self, name: str) -> Row:
        told = {key: value for key, value in self.configs[name].items() if key != "Tags"}
        return {**told, "EndpointConfigArn": f"{ARN}:endpoint-config/{name}", "CreationTime": 0}

    def _machine(self, config: str) -> str:
        [variant] = self.configs.get(config, {}).get("ProductionVariants", [{}])
        return str(variant.get("InstanceType"))

    def _delete_endpoint(self, asked: Row) -> None:
        assert asked["EndpointName"] not in self.scales, "what scales it is left behind"
        self._changeable(asked)["EndpointStatus"] = "Deleting"

    def _describe_endpoint(self, asked: Row) -> Row:
        if self._found(asked)["EndpointStatus"] == "Deleting":
            self.looks_until_gone -= 1
            if self.looks_until_gone < 0:
                del self.endpoints[asked["EndpointName"]]
        return dict(self._found(asked))

    def _delete_config(self, asked: Row) -> None:
        serving = [row["EndpointConfigName"] for row in self.endpoints.values()]
        name = self._config(asked)
        assert name not in serving, "an endpoint is left without its configuration"
        del self.configs[name]

    def _delete_model(self, asked: Row) -> None:
        _require(asked["ModelName"] in self.models, "Could not find model")
        del self.models[asked["ModelName"]]

    def _list_models(self, asked: Row) -> Row:
        names = self._listed(self.models, asked)
        arn = f"{ARN}:model"
        return {"Models": [{"ModelName": n, "ModelArn": arn, "CreationTime": 0} for n in names]}

    def _list_configs(self, asked: Row) -> Row:
        names = self._listed(self.configs, asked)
        row = {"EndpointConfigArn": f"{ARN}:endpoint-config", "CreationTime": 0}
        return {"EndpointConfigs": [{"EndpointConfigName": name, **row} for name in names]}

    def _list_tags(self, asked: Row) -> Row:
        return {"Tags": self.tags[asked["ResourceArn"]]}

    def _listed(self, made: dict[str, Row], asked: Row) -> list[str]:
        return [n for n in made if asked["NameContains"] in n and not self.lists_nothing]

    def _found(self, asked: Row) -> Row:
        _require(asked["EndpointName"] in self.endpoints, "Could not find endpoint")
        return self.endpoints[asked["EndpointName"]]

    def _config(self, asked: Row) -> str:
        name = str(asked["EndpointConfigName"])
        _require(name in self.configs, "Could not find endpoint configuration")
        return name

    def _changeable(self, asked: Row) -> Row:
        row = self._found(asked)
        status = row["EndpointStatus"]
        _require(status not in CHANGING, f"Cannot change an endpoint in status {status}.")
        return row


@dataclass
class AutoScaling(StandIn):
    """Application Auto Scaling, of SageMaker's endpoints."""

    sagemaker: SageMaker = field(default_factory=SageMaker)
    targets: dict[str, Row] = field(default_factory=dict)
    policies: dict[str, Row] = field(default_factory=dict)

    service = "application-autoscaling"

    def operations(self) -> dict[str, Callable[[Row], Row | None]]:
        return {
            "RegisterScalableTarget": self._register,
            "PutScalingPolicy": self._put_policy,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": self._describe_targets,
            "DescribeScalingPolicies": self._describe_policies,
        }

    def bounds(self, name: str) -> tuple[int, int]:
        """Return between what an endpoint scales."""
        target = self.targets[f"endpoint/{name}/variant/live"]
        return target["MinCapacity"], target["MaxCapacity"]

    def _register(self, asked: Row) -> Row:
        _, name, _, variant = asked["ResourceId"].split("/")
        row = self.sagemaker.endpoints.get(name, {})
        _require(row.get("EndpointStatus") == "InService", f"{name} is not in service.")
        assert variant == row["ProductionVariants"][0]["VariantName"]
        told = {"RoleARN": "arn:aws:iam::123456789012:role/x", "CreationTime": 0}
        self.targets[asked["ResourceId"]] = {**asked, **told}
        self.sagemaker.scales.add(name)
        within = max(asked["MinCapacity"], min(self.sagemaker.count(name), asked["MaxCapacity"]))
        self.sagemaker.set_count(name, within)
        return {}

    def _put_policy(self, asked: Row) -> Row:
        self._known(asked)
        arn = "arn:aws:autoscaling:eu-central-1:123456789012:scalingPolicy:x"
        self.policies[asked["ResourceId"]] = {**asked, "PolicyARN": arn, "CreationTime": 0}
        return {"PolicyARN": arn}

    def _deregister(self, asked: Row) -> None:
        self._known(asked)
        del self.targets[asked["ResourceId"]]
        self.policies.pop(asked["ResourceId"], None)
        self.sagemaker.scales.discard(asked["ResourceId"].split("/")[1])

    def _describe_targets(self, asked: Row) -> Row:
        return {
            "ScalableTargets": [self.targets[i] for i in asked["ResourceIds"] if i in self.targets]
        }

    def _describe_policies(self, asked: Row) -> Row:
        held = self.policies.get(asked["ResourceId"])
        found = held and held["PolicyName"] in asked["PolicyNames"]
        return {"ScalingPolicies": [held] if found else []}

    def _known(self, asked: Row) -> None:
        if asked["ResourceId"] not in self.targets:
            raise Refused("No scalable target registered", "ObjectNotFoundException")


@dataclass
class Tagging(StandIn):
    """Finds SageMaker's endpoints by their tags, also some that were deleted lately."""

    sagemaker: SageMaker = field(default_factory=SageMaker)

    service = "resourcegroupstaggingapi"

    def operations(self) -> dict[str, Callable[[Row], Row | None]]:
        return {"GetResources": self._get}

    def _get(self, asked: Row) -> Row:
        assert asked["ResourceTypeFilters"] == ["sagemaker:endpoint"]
        wanted = [{"Key": f["Key"], "Value": v} for f in asked["TagFilters"] for v in f["Values"]]
        found = [
            {"ResourceARN": arn, "Tags": tags}
            for arn, tags in self.sagemaker.tags.items()
            if all(tag in tags for tag in wanted)
        ]
        return {"ResourceTagMappingList": found}


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise Refused(words)


def _hold_to_patterns(shape: Any, asked: Any) -> None:
    """Hold texts to AWS's patterns, lengths and choices, which a client does not look at."""
    if shape.type_name == "structure":
        for key, value in asked.items():
            _hold_to_patterns(shape.members[key], value)
    elif shape.type_name == "list":
        for value in asked:
            _hold_to_patterns(shape.member, value)
    elif shape.type_name == "string":
        may_be = shape.metadata.get("pattern", ".*")
        for theirs, ours in CHARACTERS.items():
            may_be = may_be.replace(theirs, ours)
        assert re.fullmatch(may_be, asked), (shape.name, asked)
        assert len(asked) <= shape.metadata.get("max", len(asked)), (shape.name, asked)
        assert asked in (shape.enum or [asked]), (shape.name, asked)


@pytest.fixture
def sagemaker() -> SageMaker:
    return SageMaker()


@pytest.fixture
def autoscaling(sagemaker: SageMaker) -> AutoScaling:
    return AutoScaling(sagemaker=sagemaker)


@pytest.fixture
def tagging(sagemaker: SageMaker) -> Tagging:
    return Tagging(sagemaker=sagemaker)


@pytest.fixture
def client(
    sagemaker: SageMaker, autoscaling: AutoScaling, tagging: Tagging
) -> Iterator[Callable[[str], Any]]:
    """Moto's IAM, and these."""
    with mock_aws():
        made = {each.service: each.client() for each in (sagemaker, autoscaling, tagging)}
        yield {"iam": boto3.client("iam"), **made}.__getitem__


@pytest.fixture
def up(client: Callable[[str], Any]) -> Callable[[Stage], int]:
    """What `up` does with the endpoint, without waiting; returns how often it would have."""

    def ensured(stage: Stage) -> int:
        pauses: list[float] = []
        endpoint.ensure_role(client("iam"), stage)
        endpoint.ensure(client, stage, pauses.append)
        return len(pauses)

    return ensured
