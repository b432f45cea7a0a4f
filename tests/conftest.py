"""A clean environment for every test: no real AWS account can be reached by accident."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from playwright.sync_api import Browser

    from local.postgres import Postgres
    from local.telegram.server import Server
    from local.telegram.world import World

ROOT = Path(__file__).parent.parent

os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_DEFAULT_REGION="eu-central-1",
    AWS_EC2_METADATA_DISABLED="true",
    POWERTOOLS_METRICS_NAMESPACE="Sightloop",
    POWERTOOLS_SERVICE_NAME="sightloop",
)
for name in [
    key for key in os.environ if key.startswith("SIGHTLOOP_") and key != "SIGHTLOOP_SHARED"
]:
    del os.environ[name]
os.environ["SIGHTLOOP_QUOTAS"] = "false"  # a test's many callers have one address
for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
    os.environ.pop(name, None)


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 20_000
REBOUND = "--host-resolver-rules=MAP evil.example 127.0.0.1"


@pytest.hookimpl(optionalhook=True)  # models are trained where there is no xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return how many run at a time: one more than there are cores, for half of it is waiting."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def moto_answers_one_by_one() -> Iterator[None]:
    """Have moto answer one call at a time: what it keeps is not made for several threads.

    A reader may else meet the closed file of an object that is just being written anew.
    """
    from moto.core.botocore_stubber import BotocoreStubber  # noqa: PLC0415 - after os.environ

    one_by_one, answer = threading.RLock(), BotocoreStubber.process_request

    def process_request(stubber: BotocoreStubber, request: AWSPreparedRequest) -> object:
        with one_by_one:
            return answer(stubber, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BotocoreStubber, "process_request", process_request)
        yield


@pytest.fixture(scope="session", autouse=True)
def moto_knows_its_urls() -> Iterator[None]:
    """Have moto build the table of a service's URLs once, not for every call: a sixth of each."""
    from moto.core.base_backend import BaseBackend  # noqa: PLC0415 - after os.environ

    build, tables = BaseBackend.urls.fget, dict[type, dict[str, object]]()

    def urls(backend: BaseBackend) -> dict[str, object]:
        if type(backend) not in tables:
            tables[type(backend)] = build(backend)
        return tables[type(backend)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseBackend, "urls", property(urls))
        yield


def tiny_model(
    rows: tuple[tuple[float, ...], ...] = ((8, 8, 24, 20, 0.9, 0), (30, 30, 60, 50, 0.6, 1)),
    names: tuple[str, ...] = ("scratch", "dent"),
    *,
    runs: bool = True,
) -> bytes:
    """Return an ONNX detector of 64x64 pixels that finds the same boxes on every picture.

    Each row is x1, y1, x2, y2, confidence, class id. One that does not run fails on any picture.
    """
    import numpy as np  # noqa: PLC0415 - few tests need a model
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    shape = [1, len(rows), 6] if runs else [7]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Add", ["rows", "zero"], ["all"]),
            helper.make_node("Reshape", ["all", "shape"], ["output0"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.array([rows], np.float32), "rows"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
            numpy_helper.from_array(np.array(shape, np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = {"names": str(dict(enumerate(names))), "stride": "32", "imgsz": "[64, 64]"}
    helper.set_model_props(model, {**told, "task": "detect", "end2end": "True"})
    return bytes(model.SerializeToString())


def picture(
    size: tuple[int, int] = (64, 64), kind: str = "JPEG", orientation: int | None = None
) -> bytes:
    """Return a picture's file."""
    from PIL import Image  # noqa: PLC0415

    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    return tiny_model


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture(scope="session")
def make_home() -> Iterator[Callable[[str], Path]]:
    """Make data folders for the one-machine stack and its parts.

    PostgreSQL, which as root runs as another user, can get to these: pytest's own are closed to
    others, and the data would be put elsewhere and stay there.
    """
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="sightloop-test-")))
        made[-1].chmod(0o755)
        (made[-1] / name).mkdir()
        return made[-1] / name

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture
def home_folder(make_home: Callable[[str], Path]) -> Path:
    """Return a data folder for one test."""
    return make_home("home")


@pytest.fixture
def as_in_image(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy what a Dockerfile copies, less what is not sent to the builder, and return where to."""

    def copy(dockerfile: Path) -> Path:
        ignored = dockerfile.with_name("Dockerfile.dockerignore").read_text().splitlines()
        left_out = [ROOT / line for line in ignored[1:] if line[0] not in "!*"]
        assert left_out

        def unsent(folder: str, names: list[str]) -> set[str]:
            return {name for name in names if Path(folder) / name in left_out}

        for source, target in re.findall(r"^COPY (\S+) (\S+)$", dockerfile.read_text(), re.M):
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=unsent)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
        return tmp_path

    return copy


@pytest.fixture(scope="session")
def postgres(make_home: Callable[[str], Path]) -> Iterator[Postgres]:
    """Start the embedded PostgreSQL, once for all tests."""
    from local.home import Home  # noqa: PLC0415 - not installed where models are trained
    from local.postgres import Postgres  # noqa: PLC0415

    home = Home(make_home("postgres"))
    server = Postgres(home)
    _trust_the_machine(server)
    yield server
    server.stop()
    home.close()


def _trust_the_machine(server: Postgres) -> None:
    """Have PostgreSQL not wait for the disk: tests kill processes, which the system outlives."""
    import psycopg2  # noqa: PLC0415

    with closing(psycopg2.connect(server.url)) as held, held.cursor() as told:
        held.autocommit = True
        told.execute("ALTER SYSTEM SET fsync = off")
        told.execute("ALTER SYSTEM SET full_page_writes = off")
        told.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def new_database(postgres: Postgres) -> Callable[..., str]:
    """Make empty databases, or copies of another, and return their URLs."""
    import psycopg2  # noqa: PLC0415

    def make(name: str = "", template: str = "template1") -> str:
        name = name or f"test_{uuid.uuid4().hex}"
        with closing(psycopg2.connect(postgres.url)) as held:
            held.autocommit = True
            held.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"{postgres.url.rpartition('/')[0]}/{name}"

    return make


@pytest.fixture(scope="session")
def migrated(new_database: Callable[..., str]) -> str:
    """Return the name of a database with all our tables, to be copied."""
    from deploy import migrate  # noqa: PLC0415

    migrate.migrate(new_database("migrated"))
    return "migrated"


@pytest.fixture
def serve_telegram() -> Iterator[Callable[[World, str], Server]]:
    """Have stand-ins for Telegram listen during a test, each to the bot of one token."""
    from local.telegram.server import Server  # noqa: PLC0415 - not installed where models train

    with ExitStack() as listening:

        def serve(world: World, token: str) -> Server:
            server = Server(world, token)
            listening.callback(server.stop)
            return server

        yield serve


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium, or Playwright's own; without any, CI fails and others skip.

    evil.example is this machine for it, as DNS rebinding makes it. One for all tests: a process
    runs one Playwright at a time.
    """
    from playwright.sync_api import Error, expect, sync_playwright  # noqa: PLC0415 - few tests

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found, args=[REBOUND])
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no browser: apt install chromium, or playwright install ({error})")
        expect.set_options(timeout=PATIENCE_MS)
        yield started
        started.close()
