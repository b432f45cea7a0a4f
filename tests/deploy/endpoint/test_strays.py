"""Endpoints that a stage leaves behind when it moves: they cost by the hour, so they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import endpoint
from deploy.__main__ import main
from deploy.stages import Stage

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightloop-serving:1"
WITH_IMAGE = {"endpoint_image": IMAGE}
BEFORE = Stage(name="dev", prefix="acme", changed=WITH_IMAGE)
AFTER = Stage(name="dev", prefix="apex", changed=WITH_IMAGE)
DELETE = "aws sagemaker delete-endpoint --region eu-central-1 --endpoint-name acme-dev"
SageMaker = Any  # the stand-ins of conftest.py
Tagging = Any
Up = Callable[[Stage], int]
Client = Callable[[str], Any]


@pytest.fixture(autouse=True)
def warnings_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a command that ran in this process before has had the log tell."""
    caplog.set_level("WARNING", "deploy")


@pytest.fixture
def moved(up: Up, sagemaker: SageMaker) -> SageMaker:
    """A SageMaker that has the stage's endpoint under its old prefix and under its new one."""
    up(BEFORE)
    sagemaker.settle("acme-dev")
    up(AFTER)
    sagemaker.settle("apex-dev")
    sagemaker.changes.clear()
    return sagemaker


def test_an_endpoint_of_the_old_prefix_is_told_with_the_command_that_deletes_it(
    up: Up, moved: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    up(AFTER)

    assert "the endpoint acme-dev was made for dev under another prefix" in caplog.text
    assert DELETE in caplog.text
    assert "endpoint-name apex-dev" not in caplog.text
    assert moved.changes == []


def test_it_is_told_until_it_is_gone_and_keeps_its_role_until_then(
    client: Client, moved: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        caplog.clear()
        endpoint.remove(client, AFTER, lambda _: None)
        assert DELETE in caplog.text
        assert list(moved.endpoints) == ["acme-dev"]
        assert len(client("iam").list_roles()["Roles"]) == 1

    del moved.endpoints["acme-dev"]
    caplog.clear()
    endpoint.remove(client, AFTER, lambda _: None)

    assert caplog.text == ""
    assert client("iam").list_roles()["Roles"] == []


def test_endpoints_of_others_are_none_of_its_business(
    up: Up, sagemaker: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    other = Stage(name="prod", prefix="acme", changed=WITH_IMAGE)
    up(other)
    sagemaker.settle("acme-prod")

    up(AFTER)

    assert "acme-prod" not in caplog.text


@pytest.mark.parametrize("status", ["Deleting", None])
def test_one_that_is_gone_or_going_is_not_told(
    up: Up, moved: SageMaker, caplog: pytest.LogCaptureFixture, status: str | None
) -> None:
    if status:
        moved.settle("acme-dev", status)
    else:
        del moved.endpoints["acme-dev"]  # its tags are found for a while yet

    up(AFTER)

    assert "acme-dev" not in caplog.text


def test_one_that_functions_were_told_to_ask_is_not_told(
    client: Client, moved: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    asks_the_old = Stage(name="dev", prefix="apex", changed={"endpoint": "acme-dev"})

    endpoint.remove(client, asks_the_old, lambda _: None)

    assert "acme-dev was made" not in caplog.text
    assert list(moved.endpoints) == ["acme-dev"]


def test_who_may_not_look_deploys_all_the_same(
    up: Up, moved: SageMaker, tagging: Tagging, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "deploy")
    tagging.refuse("GetResources", "not authorized", "AccessDeniedException")

    up(AFTER)

    assert "is not known: tag:GetResources" in caplog.text


def test_who_may_not_look_closer_is_told_of_what_was_found(
    client: Client, moved: SageMaker, caplog: pytest.LogCaptureFixture
) -> None:
    moved.refuse("DescribeEndpoint", "not authorized", "AccessDeniedException")

    endpoint.strays.tell(client, AFTER)

    assert DELETE in caplog.text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    line = ["configure", "--project", str(tmp_path), "--prefix", "acme"]
    assert main([*line, "--set", f"endpoint_image={IMAGE}"]) == 0
    return tmp_path


@pytest.mark.parametrize("move", [("--prefix", "apex"), ("--region", "eu-west-1")])
def test_a_stage_that_moves_is_told_what_it_leaves(
    project: Path, caplog: pytest.LogCaptureFixture, move: tuple[str, str]
) -> None:
    assert main(["configure", "--project", str(project), *move]) == 0

    assert "the endpoint acme-dev in eu-central-1 does not move along" in caplog.text
    assert DELETE in caplog.text


def test_a_stage_that_stays_is_told_nothing(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["configure", "--project", str(project), "--set", "max_pixels=1000"]) == 0

    assert "move along" not in caplog.text
