"""A stand-in for SageMaker's endpoints, as strict as SageMaker where that matters here.

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
CHARACTERS = r"\p{L}\p{Z}\p{N}"  # which `re` does not know
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
class SageMaker:
    """SageMaker behind a real client, so that requests are checked against AWS's model of them."""

    models: dict[str, Row] = field(default_factory=dict)
    configs: dict[str, Row] = field(default_factory=dict)
    endpoints: dict[str, Row] = field(default_factory=dict)
    tags: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    looks_until_gone: int = 2
    lists_nothing: bool = False  # what there is was made only after the listing

    def client(self) -> Any:
        made = boto3.client("sagemaker", region_name="eu-central-1")
        made.meta.events.register("before-call.sagemaker", self._answer)
        return made

    def refuse(self, operation: str, words: str, code: str = "ValidationException") -> None:
        """Refuse the next call of an operation."""
        self.faults.setdefault(operation, []).append(Refused(words, code))

    def break_off(self, operation: str, fault: Exception) -> None:
        """Have whoever calls an operation next die of it."""
        self.faults.setdefault(operation, []).append(fault)

    def settle(self, name: str, status: str = "InService", why: str = "") -> None:
        """Let what SageMaker is at come to an end."""
        row = self.endpoints[name]
        pending = row.pop("PendingDeploymentSummary", None)
        if status == "InService" and pending and not why:
            row["EndpointConfigName"] = pending["EndpointConfigName"]
        row["EndpointStatus"] = status
        if why:
            row["FailureReason"] = why

    def _answer(self, model: Any, params: Row, **_: Any) -> tuple[Status, Row]:
        asked = json.loads(params["body"])
        _hold_to_patterns(model.input_shape, asked)
        if not model.name.startswith(("Describe", "List")):
            self.changes.append(model.name)
        try:
            if waiting := self.faults.get(model.name):
                raise waiting.pop(0)
            told: Row = _OPERATIONS[model.name](self, asked) or {}
        except Refused as refused:
            return Status(400), refused.answer
        if model.output_shape is not None:
            validate_parameters(told, model.output_shape)
        return Status(200), told

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
        row["PendingDeploymentSummary"] = {"EndpointConfigName": self._config(asked)}
        row["EndpointStatus"] = "Updating"
        return {"EndpointArn": row["EndpointArn"]}

    def _delete_endpoint(self, asked: Row) -> None:
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


_OPERATIONS: dict[str, Callable[[SageMaker, Row], Row | None]] = {
    "CreateModel": SageMaker._create_model,
    "CreateEndpointConfig": SageMaker._create_config,
    "CreateEndpoint": SageMaker._create_endpoint,
    "UpdateEndpoint": SageMaker._update_endpoint,
    "DescribeEndpoint": SageMaker._describe_endpoint,
    "DeleteEndpoint": SageMaker._delete_endpoint,
    "DeleteEndpointConfig": SageMaker._delete_config,
    "DeleteModel": SageMaker._delete_model,
    "ListModels": SageMaker._list_models,
    "ListEndpointConfigs": SageMaker._list_configs,
    "ListTags": SageMaker._list_tags,
}


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
        may_be = shape.metadata.get("pattern", ".*").replace(CHARACTERS, r"\w ")
        assert re.fullmatch(may_be, asked), (shape.name, asked)
        assert len(asked) <= shape.metadata.get("max", len(asked)), (shape.name, asked)
        assert asked in (shape.enum or [asked]), (shape.name, asked)


@pytest.fixture
def sagemaker() -> SageMaker:
    return SageMaker()


@pytest.fixture
def client(sagemaker: SageMaker) -> Iterator[Callable[[str], Any]]:
    """Moto's IAM, and this SageMaker."""
    with mock_aws():
        clients = {"iam": boto3.client("iam"), "sagemaker": sagemaker.client()}
        yield clients.__getitem__


@pytest.fixture
def up(client: Callable[[str], Any]) -> Callable[[Stage], int]:
    """What `up` does with the endpoint, without waiting; returns how often it would have."""

    def ensured(stage: Stage) -> int:
        pauses: list[float] = []
        endpoint.ensure(client, stage, pauses.append)
        return len(pauses)

    return ensured
