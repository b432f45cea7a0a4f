"""What a cold start may load. No times are asserted; `benchmarks/cold_start.py` measures them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.stages import Stage

ROOT = Path(__file__).parent.parent.parent
Runtime = Any
Events = Callable[..., dict[str, Any]]

# Each takes tens of milliseconds, and a call that only fetches a page needs none of them.
DETECTING = {"numpy", "PIL", "onnxruntime"}
DATABASE = {"psycopg2"}
BATCHES = {"aws_lambda_powertools.utilities.batch"}
AT_HOME = {"chalice.cli", "chalice.deploy", "chalice.local", "deploy", "local", "pytest", "moto"}
CHATTING = {"telegram", "httpx", "anyio"}
HANDLERS = {  # modules that Lambda imports, and a function of each
    "app": "app",
    "chalicelib.predictions.triggers": "on_upload",
    "chalicelib.trust.triggers": "update_reported_list",
    "chalicelib.bot.triggers": "converse",
}
DISTRIBUTIONS = {
    "_yaml",
    "annotated_types",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "certifi",
    "chalice",
    "dateutil",
    "jmespath",
    "pydantic",
    "pydantic_core",
    "python_multipart",
    "s3transfer",
    "six",
    "typing_extensions",
    "typing_inspection",
    "urllib3",
    "yaml",
}


@pytest.fixture(scope="module", params=HANDLERS)
def loaded(request: pytest.FixtureRequest) -> set[str]:
    """The modules that are loaded before a function is first called."""
    code = f"import json, sys, {request.param}; print(json.dumps(list(sys.modules)))"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_app_loads_nothing_that_only_a_detection_needs(loaded: set[str]) -> None:
    assert not loaded & (DETECTING | DATABASE | BATCHES)


def test_importing_the_app_loads_nothing_that_only_the_bot_needs(loaded: set[str]) -> None:
    assert not loaded & CHATTING


def test_importing_the_app_loads_nothing_that_stays_home(loaded: set[str]) -> None:
    assert not loaded & AT_HOME


@pytest.mark.parametrize("module", HANDLERS)
def test_importing_the_app_loads_these_distributions_and_no_other(
    runtime: Runtime, demo: Stage, module: str
) -> None:
    """Whoever adds one has looked at what it takes: `python benchmarks/cold_start.py`."""
    done = runtime.call(demo, f"{module}.{HANDLERS[module]}")

    from_places = {
        Path(file).relative_to(place).parts[0].removesuffix(".py")
        for name, file in done["files"].items()
        for place in (runtime.task, runtime.libraries)
        if name in done["imported"] and file and Path(file).is_relative_to(place)
    }
    assert from_places - {"app", "chalicelib"} <= DISTRIBUTIONS


def test_a_page_needs_no_detector(runtime: Runtime, demo: Stage, api_event: Events) -> None:
    done = runtime.call(demo, "app.app", api_event("GET", "/"), api_event("GET", "/v1/models"))

    assert [answer["statusCode"] for answer in done["answers"]] == [200, 200]
    assert not set(done["files"]) & (DETECTING | DATABASE)


def test_a_detection_needs_no_database_driver(
    runtime: Runtime, demo: Stage, api_event: Events, photo: bytes
) -> None:
    event = api_event(
        "POST",
        "/v1/models/{model}/detections",
        base64.b64encode(photo).decode(),
        isBase64Encoded=True,
        pathParameters={"model": "scratch"},
        headers={"Content-Type": "image/jpeg"},
    )

    done = runtime.call(demo, "app.app", event)

    assert done["answers"][0]["statusCode"] == 200
    assert set(done["files"]) >= DETECTING
    assert not set(done["files"]) & DATABASE
