"""The zip that Lambda gets: what is in it, that it fits, and that it runs on its own."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chalicelib.errors import ConfigurationError
from deploy.package import build, check, is_dropped, required, shrink
from deploy.secret import held, keep
from deploy.stages import Stage
from local.telegram.server import Server
from local.telegram.world import World

ROOT = Path(__file__).parent.parent.parent
MEBIBYTE = 1024 * 1024
LARGEST_ZIP = 52_428_800  # bytes that Lambda takes directly
Cloud = Any
Runtime = Any
Events = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def names(package: Path) -> set[str]:
    with zipfile.ZipFile(package) as made:
        return set(made.namelist())


def test_the_zip_fits_with_room_to_spare(package: Path) -> None:
    assert package.stat().st_size <= LARGEST_ZIP - 3 * MEBIBYTE


def test_it_unzips_to_less_than_lambda_takes(package: Path) -> None:
    with zipfile.ZipFile(package) as made:
        assert sum(entry.file_size for entry in made.infolist()) < 250 * MEBIBYTE


def test_it_holds_all_of_the_app(names: set[str]) -> None:
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "chalicelib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {"app.py", *ours} <= names
    assert "chalicelib/web/static/samples/tag-1.jpg" in ours


def test_it_holds_every_requirement(names: set[str]) -> None:
    found = {
        name.split("-")[0].lower().replace("_", "-") for name in names if ".dist-info/" in name
    }

    assert set(required(ROOT / "requirements.txt")) <= found
    assert {"onnxruntime", "numpy", "pillow", "psycopg2-binary"} <= found


@pytest.mark.parametrize(
    "stays_home",
    ["boto3", "botocore", "tests", "torch", "ultralytics", "models", "deploy", "local", "sql"],
)
def test_it_holds_nothing_that_stays_home(names: set[str], stays_home: str) -> None:
    assert not [name for name in names if name.split("/")[0] == stays_home]


def test_it_holds_no_weights_no_tests_and_no_secrets(names: set[str]) -> None:
    unwanted = re.compile(r"\.(onnx|pt)$|(^|/)tests?/|(^|/)\.env|\.pem$")

    assert {name for name in names if unwanted.search(name)} == {"certifi/cacert.pem"}


def test_every_module_comes_with_its_bytecode(names: set[str]) -> None:
    """Lambda cannot write any, and would compile all of them at every cold start."""
    modules = {name for name in names if re.fullmatch(r"(app|chalicelib/.*)\.py", name)}

    for name in modules:
        folder, _, file = name.rpartition("/")
        compiled = f"__pycache__/{file.removesuffix('.py')}.cpython-312.pyc"
        assert (f"{folder}/{compiled}" if folder else compiled) in names


def _detection(
    api_event: Events, image: bytes, content_type: str = "image/jpeg", **headers: str
) -> dict[str, Any]:
    """Return a detection's event: API Gateway sends binary bodies in base64."""
    return api_event(
        "POST",
        "/v1/models/{model}/detections",
        base64.b64encode(image).decode(),
        isBase64Encoded=True,
        pathParameters={"model": "scratch"},
        headers={"Content-Type": content_type, **headers},
    )


def test_it_answers_a_detection_on_its_own(
    runtime: Runtime, demo: Stage, api_event: Events, photo: bytes
) -> None:
    done = runtime.call(demo, "app.app", _detection(api_event, photo))

    (answer,) = done["answers"]
    found = json.loads(_body(answer))
    assert answer["statusCode"] == 200
    assert (found["model"], found["version"]) == ("scratch", 1)
    assert found["image"] == dict(zip(("width", "height"), _size(photo), strict=True))
    assert found["detections"]
    assert {each["class_name"] for each in found["detections"]} == {"scratch"}


def test_it_answers_with_the_annotated_picture(
    runtime: Runtime, demo: Stage, api_event: Events, photo: bytes
) -> None:
    event = _detection(api_event, photo, Accept="image/jpeg")

    (answer,) = runtime.call(demo, "app.app", event)["answers"]

    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is True
    assert _size(_body(answer)) == _size(photo)


def test_it_serves_the_page_health_and_description(
    runtime: Runtime, demo: Stage, api_event: Events
) -> None:
    ask = [api_event("GET", path) for path in ("/", "/healthz", "/openapi.json", "/v1/models")]

    page, health, described, models = runtime.call(demo, "app.app", *ask)["answers"]

    assert (page["statusCode"], page["headers"]["Content-Type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    assert json.loads(_body(health)) == {"status": "ok", "model": "scratch", "version": 1}
    assert json.loads(_body(described))["openapi"] == "3.1.0"
    assert json.loads(_body(models))["models"][0]["name"] == "scratch"


def test_what_it_cannot_read_is_a_problem_of_the_caller(
    runtime: Runtime, demo: Stage, api_event: Events, photo: bytes
) -> None:
    truncated = _detection(api_event, photo[:500])
    unknown = _detection(api_event, photo)
    unknown["pathParameters"] = {"model": "nope"}

    answers = runtime.call(demo, "app.app", truncated, unknown)["answers"]

    assert [answer["statusCode"] for answer in answers] == [422, 404]
    assert answers[0]["headers"]["Content-Type"] == "application/problem+json"


def test_the_triggers_run_from_it_too(runtime: Runtime, demo: Stage) -> None:
    event = {
        "version": "0",
        "id": "cdc73f9d-aea9-11e3-9d5a-835b769c0d9c",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": demo.account,
        "time": "2026-11-21T00:00:00Z",
        "region": demo.region,
        "resources": [demo.arn("events", "rule/sightloop-demo-reconcile-event")],
        "detail": {},
    }

    done = runtime.call(demo, "chalicelib.predictions.triggers.reconcile", event)

    assert done["answers"] == [{"driven": 0, "given_up": 0, "deletions": 0}]


@dataclass(frozen=True)
class Chat:
    """A chat with the bot."""

    world: World
    updates: list[dict[str, Any]]
    token: str
    url: str


@pytest.fixture
def chat(serve_telegram: Callable[[World, str], Server]) -> Chat:
    updates: list[dict[str, Any]] = []
    world, token = World(deliver=updates.append), "7000000001:stand-in"
    return Chat(world, updates, token, serve_telegram(world, token).url)


def test_the_bot_answers_from_it(runtime: Runtime, demo: Stage, cloud: Cloud, chat: Chat) -> None:
    manager, name = cloud.client("secretsmanager"), demo.settings.secret_name
    bot = {"token": chat.token, "webhook_secret": "a", "name": "sightloop_bot"}
    keep(manager, name, {**(held(manager, name) or {}), "telegram": bot})
    stage = demo.model_copy(update={"changed": {"telegram_api": chat.url}})
    chat.world.send_photo(
        42, (ROOT / "chalicelib/web/static/samples/tag-1.jpg").read_bytes(), "blur"
    )
    body = json.dumps({"kind": "update", "update": chat.updates[0]})
    record = {"messageId": "1", "receiptHandle": "1", "body": body, "eventSource": "aws:sqs"}
    record["attributes"] = {"ApproximateReceiveCount": "1"}

    done = runtime.call(stage, "chalicelib.bot.triggers.converse", {"Records": [record]})

    assert done["answers"] == [{"batchItemFailures": []}]
    [answer] = chat.world.from_bot(42)
    assert "photo" in answer


def test_all_that_it_imports_is_in_it_or_in_the_runtime(
    runtime: Runtime, demo: Stage, api_event: Events, photo: bytes
) -> None:
    files = runtime.call(demo, "app.app", _detection(api_event, photo))["files"]

    places = {str(runtime.task), str(runtime.libraries), sys.base_prefix}
    lost = [file for file in files.values() if file and not file.startswith(tuple(places))]
    assert [file for file in lost if not file.endswith("lambda_runtime.py")] == []
    assert files["numpy"].startswith(str(runtime.task))
    assert files["boto3"].startswith(str(runtime.libraries))


def _body(answer: dict[str, Any]) -> bytes:
    body = str(answer["body"])
    return base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()


def _size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.size


# What is checked before anything is uploaded


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small package and what it is required to hold."""

    def write(**files: bytes) -> Path:
        made = tmp_path / "package.zip"
        with zipfile.ZipFile(made, "w") as archive:
            for name, body in files.items():
                archive.writestr(name.replace("__", "/"), body)
        (tmp_path / "requirements.txt").write_text("numpy>=2  # arrays\n")
        return made

    return write


def test_a_package_that_lacks_a_requirement_is_refused(pack: Callable[..., Path]) -> None:
    made = pack(app=b"")

    with pytest.raises(ConfigurationError, match="numpy is missing"):
        check(made, made.with_name("requirements.txt"))


def test_a_package_for_another_machine_is_refused(pack: Callable[..., Path]) -> None:
    arm = b"\x7fELF" + bytes(14) + b"\xb7\x00"
    made = pack(**{"numpy-2.5.dist-info__METADATA": b"", "numpy__core.so": arm})

    with pytest.raises(ConfigurationError, match=r"numpy/core\.so is not for Linux on x86-64"):
        check(made, made.with_name("requirements.txt"))


def test_a_package_for_another_python_is_refused(pack: Callable[..., Path]) -> None:
    intel = b"\x7fELF" + bytes(14) + b"\x3e\x00"
    name = "numpy__core.cpython-311-x86_64-linux-gnu.so"
    made = pack(**{"numpy-2.5.dist-info__METADATA": b"", name: intel})

    with pytest.raises(ConfigurationError, match="cpython-311"):
        check(made, made.with_name("requirements.txt"))


def test_a_package_over_lambdas_limit_is_refused(pack: Callable[..., Path]) -> None:
    made = pack(**{"numpy-2.5.dist-info__METADATA": b"", "weights": bytes(LARGEST_ZIP)})

    with pytest.raises(ConfigurationError, match="too large"):
        check(made, made.with_name("requirements.txt"))


def test_a_small_package_passes(pack: Callable[..., Path]) -> None:
    made = pack(**{"numpy-2.5.dist-info__METADATA": b"1234"})

    found = check(made, made.with_name("requirements.txt"))

    assert (found.zipped_bytes, found.unzipped_bytes) == (made.stat().st_size, 4)


def test_shrinking_drops_what_no_lambda_imports_and_compiles_the_rest(
    pack: Callable[..., Path],
) -> None:
    made = pack(**{"numpy__x.py": b"a = 1", "numpy__tests__test_x.py": b"", "sympy__y.py": b""})

    shrink(made)

    with zipfile.ZipFile(made) as small:
        assert set(small.namelist()) == {"numpy/x.py", "numpy/__pycache__/x.cpython-312.pyc"}


def test_shrinking_twice_is_shrinking_once(pack: Callable[..., Path]) -> None:
    made = pack(app=b"a = 1")
    shrink(made)
    once = made.read_bytes()

    shrink(made)

    assert made.read_bytes() == once


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("numpy/_core/tests/test_x.py", True),
        ("onnxruntime/capi/libonnxruntime.so.1.26.0", True),
        ("onnxruntime/capi/onnxruntime_pybind11_state.cpython-312-x86_64-linux-gnu.so", False),
        ("chalicelib/web/static/index.html", False),
        ("numpy.libs/libscipy_openblas64_-4b78795a.so", False),
    ],
)
def test_what_is_dropped(name: str, dropped: bool) -> None:
    assert is_dropped(name) is dropped


def test_a_requirement_that_nobody_offers_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    (tmp_path / "app.py").touch()
    (tmp_path / "chalicelib").mkdir()
    (tmp_path / "requirements.txt").write_text("nobody-offers-this==1\n")

    with pytest.raises(ConfigurationError, match=r"PyPI reachable.*nobody-offers-this"):
        build(tmp_path)


def test_requirements_for_other_machines_are_not_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        'Foo_Bar>=1 # why\n\nonly-mac>=1; sys_platform == "darwin"\n'
        'x; sys_platform != "darwin" or platform_machine != "x86_64"\n'
    )

    assert list(required(file)) == ["foo-bar", "x"]
