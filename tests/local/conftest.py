"""The stack as a user starts it: a process of its own, in a data folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from local.home import free_port
from local.standin import ACCESS_KEY
from sagemaker.training.drawn_tags import draw_tag

ROOT = Path(__file__).parents[2]
SECONDS = 120


@dataclass
class RunningStack:
    """A stack that said that it is ready."""

    process: subprocess.Popen[str]
    home: Path
    url: str
    aws_url: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.aws_url,
            region_name="eu-central-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=(self.home / "aws.secret").read_text(encoding="utf-8"),
        )

    def get(self, path: str, **given: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=SECONDS, **given)

    def post(self, path: str, **given: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=SECONDS, **given)

    def upload(self, file_name: str, data: bytes, model: str = "scratch") -> str:
        """Send a picture as the page does with a large one; return the prediction's id."""
        wanted = {"model": model, "file_name": file_name, "content_type": "image/jpeg"}
        offered = self.post("/v1/uploads", json=wanted).json()
        form = offered["upload"]
        sent = requests.post(
            form["url"],
            data=form["fields"],
            files={"file": (file_name, data, "image/jpeg")},
            timeout=SECONDS,
        )
        assert sent.status_code < 300, sent.text
        return str(offered["prediction_id"])

    def answer(self, prediction_id: str) -> dict[str, Any]:
        """Wait until a prediction has its answer."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            told = self.get(f"/v1/predictions/{prediction_id}").json()
            if told.get("state") in {"done", "failed"}:
                return dict(told)
            time.sleep(0.1)
        pytest.fail(f"{prediction_id} is not answered")

    def log(self, name: str) -> list[str]:
        return (self.home / "logs" / f"{name}.log").read_text(encoding="utf-8").splitlines()

    def ports(self) -> list[int]:
        """Return every port on which a server of this stack listens."""
        known = json.loads((self.home / "ports.json").read_text(encoding="utf-8"))
        return [*known.values(), int(self.url.rpartition(":")[2])]

    def stop(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        if self.process.stdout:
            self.process.stdout.close()

    def restart(self, number: int = signal.SIGINT) -> None:
        """Stop the stack and start it again, in the same folder and on the same port."""
        if self.process.poll() is None:
            self.stop(number)
        again = start(self.home, int(self.url.rpartition(":")[2]))
        self.process, self.aws_url = again.process, again.aws_url


def launch(home: Path, port: int | str, folder: Path = ROOT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "local"],
        cwd=folder,
        env={
            **os.environ,
            "SIGHTLOOP_HOME": str(home),
            "PORT": str(port),
            "SIGHTLOOP_REPORT_LIST_TTL_SECONDS": "1",  # tests wait until a ban is known
            "SIGHTLOOP_TRUSTED_CALLERS": "127.0.0.1,::/64,user:contributor",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start(home: Path, port: int | None = None) -> RunningStack:
    port = port or free_port()
    process = launch(home, port)
    said = ""
    assert process.stdout
    for line in process.stdout:
        said += line
        if "Ctrl-C" in line:
            found = re.search(r"--endpoint-url (\S+)", said)
            assert found
            return RunningStack(process, home, f"http://127.0.0.1:{port}", found[1])
    pytest.fail(f"the stack did not start: {said}")


@pytest.fixture
def starting() -> Iterator[Callable[[Path], RunningStack]]:
    """Start stacks that a test may stop or kill; what is left is stopped."""
    started: list[RunningStack] = []

    def begin(home: Path) -> RunningStack:
        started.append(start(home))
        return started[-1]

    yield begin
    for stack in started:
        if stack.process.poll() is None:
            stack.stop()


@pytest.fixture(scope="session")
def stack(make_home: Callable[[str], Path]) -> Iterator[RunningStack]:
    """One stack for all tests that leave it running, be it restarted."""
    running = start(make_home("with a space ü"))
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="module")
def stack_with_endpoint(make_home: Callable[[str], Path]) -> Iterator[RunningStack]:
    """A stack whose detections are made by what runs in a SageMaker endpoint."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SIGHTLOOP_ENDPOINT", "an-endpoint")
        running = start(make_home("with an endpoint"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def refused() -> Callable[[Path, int | str], str]:
    """Start a stack that must not start; return the one thing that it says."""

    def attempt(home: Path, port: int | str) -> str:
        process = launch(home, port)
        said, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        return said

    return attempt


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A photo of a tag with scratches, as a JPEG."""
    written = BytesIO()
    draw_tag(11).image.save(written, "JPEG", quality=92)
    return written.getvalue()
