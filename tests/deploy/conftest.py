"""A stand-in for AWS as a server of its own, and Sightloop deployed into it once."""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from deploy.record import Record, Resources
from deploy.stages import Stage, read

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
REGION = "eu-west-1"
RUNTIME_BRINGS = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what waits for a deployment, so that it can be left out: `-m "not deployment"`."""
    for item in items:
        if "deployed" in getattr(item, "fixturenames", ()):
            item.add_marker("deployment")


@dataclass(frozen=True)
class Cloud:
    """The stand-in for AWS."""

    endpoint: str

    def client(self, service: str, region: str = REGION) -> Any:
        return _client(service, region, self.endpoint)

    def in_region(self, region: str) -> Callable[[str], Any]:
        return functools.partial(self.client, region=region)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("SIGHTLOOP_")},
            "AWS_ENDPOINT_URL": self.endpoint,
        }


@functools.cache
def _client(service: str, region: str, endpoint: str) -> Any:
    return boto3.client(service, region_name=region, endpoint_url=endpoint)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    line = [sys.executable, str(HERE / "stand_in.py")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            yield Cloud(f"http://127.0.0.1:{int(server.stdout.readline())}")
        finally:
            server.terminate()


_numbers = itertools.count(1)


@pytest.fixture
def stage() -> Stage:
    """A stage whose resources no other test has."""
    return Stage(name="test", prefix=f"t{next(_numbers)}", region=REGION)


@dataclass
class Checkout:
    """A fresh clone of the project, from which a user deploys."""

    root: Path
    cloud: Cloud
    said: dict[str, str] = field(default_factory=dict)

    def deploy(
        self, *arguments: str, without: tuple[str, ...] = (), **changed: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m deploy …` as a user does, in an environment that may be changed."""
        environment = {**self.cloud.environment, **changed}
        line = [sys.executable, "-m", "deploy", *arguments]
        return subprocess.run(
            line,
            cwd=self.root,
            env={name: value for name, value in environment.items() if name not in without},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def must(self, *arguments: str) -> str:
        done = self.deploy(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def copy(self, to: Path) -> Checkout:
        """Clone it again, with the package that was built, which would be built the same."""
        other = Checkout(clone(self.root, to), self.cloud)
        built = ".chalice/deployments"
        shutil.copytree(self.root / built, other.root / built)
        return other

    def stage(self, name: str) -> Stage:
        return read(self.root / ".chalice")[name]

    def recorded(self, stage: Stage) -> Resources:
        return Record(self.root / ".chalice", stage, None).resources()


def clone(of: Path, to: Path) -> Path:
    """Copy what git has of a project into a folder."""
    litter = shutil.ignore_patterns("__pycache__", "deployed", "deployments")
    for name in ("chalicelib", "deploy", "models", "sql", ".chalice"):
        shutil.copytree(of / name, to / name, ignore=litter)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(of / name, to / name)
    return to


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Checkout:
    return Checkout(clone(ROOT, tmp_path_factory.mktemp("project") / "sightloop"), cloud)


@pytest.fixture(scope="session")
def deployed(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The checkout, after a user made a stage `demo` of their own and deployed it."""
    of_before = checkout.root / ".chalice/deployments/0123-python3.12.zip"
    of_before.parent.mkdir()
    of_before.touch()
    checkout.must("configure", "--stage", "demo", "--prefix", "acme", "--region", REGION)
    with built_by_the_first(checkout, tmp_path_factory.getbasetemp()):
        checkout.said["up"] = checkout.must("up", "--stage", "demo")
    return checkout


@contextmanager
def built_by_the_first(checkout: Checkout, temporary: Path) -> Iterator[None]:
    """Have one of the processes that test at the same time build the package, for all of them."""
    of_all = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    built, own = of_all / "built", checkout.root / ".chalice/deployments"
    with (of_all / "building").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built.exists():
            lock.close()
            shutil.copytree(built, own, dirs_exist_ok=True)
        yield
        if not built.exists():
            shutil.copytree(own, built)


@pytest.fixture(scope="session")
def demo(deployed: Checkout) -> Stage:
    """The stage that is deployed."""
    return deployed.stage("demo")


@pytest.fixture(scope="session")
def package(deployed: Checkout) -> Path:
    """The zip that was deployed; those of earlier versions are gone."""
    (made,) = (deployed.root / ".chalice" / "deployments").glob("*.zip")
    return made


@dataclass(frozen=True)
class Runtime:
    """The package as Lambda unpacks it, and the boto3 that Lambda brings along."""

    task: Path
    libraries: Path
    cloud: Cloud

    def call(self, stage: Stage, handler: str, *events: dict[str, Any]) -> dict[str, Any]:
        """Call a function in a process that finds nothing but what Lambda would find."""
        line = [sys.executable, "-I", "-S", str(HERE / "lambda_runtime.py")]
        environment = {**self.cloud.environment, **stage.environment, "AWS_REGION": stage.region}
        done = subprocess.run(
            [*line, str(self.task), str(self.libraries), handler],
            input=json.dumps(events),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="session")
def runtime(package: Path, cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    task, libraries = tmp_path_factory.mktemp("task"), tmp_path_factory.mktemp("runtime")
    with zipfile.ZipFile(package) as made:
        made.extractall(task)
    installed = Path(boto3.__file__).parent.parent
    for name in RUNTIME_BRINGS:
        (libraries / name).symlink_to(installed / name)
    return Runtime(task, libraries, cloud)


@pytest.fixture(scope="session")
def photo() -> bytes:
    return (ROOT / "chalicelib/web/static/samples/tag-1.jpg").read_bytes()


@pytest.fixture(scope="session")
def api_event() -> Callable[..., dict[str, Any]]:
    """Makes events as API Gateway sends them."""
    recorded = json.loads((HERE / "events" / "api_gateway.json").read_text())

    def event(
        method: str, resource: str, body: str | None = None, **changed: Any
    ) -> dict[str, Any]:
        path = resource.format(**changed.get("pathParameters") or {})
        context = {**recorded["requestContext"], "httpMethod": method, "resourcePath": resource}
        context["path"] = f"/api{path}"
        told = {"resource": resource, "path": path, "httpMethod": method, "body": body}
        headers = {**recorded["headers"], **changed.pop("headers", {})}
        multi = {name: [value] for name, value in headers.items()}
        return {
            **recorded,
            **told,
            "headers": headers,
            "multiValueHeaders": multi,
            "requestContext": context,
            **changed,
        }

    return event
