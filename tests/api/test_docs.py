"""docs/api.md says what the code does: every route, every problem, every limit, every example."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chalicelib.errors import SightloopError
from chalicelib.inference.options import Options
from chalicelib.inference.service import BATCH_SECONDS
from chalicelib.labels.submitted import MOST_BOXES
from chalicelib.settings import Settings
from chalicelib.web.problems import InvalidFields, Overloaded
from chalicelib.web.routes import documented

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL)
EXAMPLES = re.findall(r"^```sh\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)


def all_kinds(kind: type[SightloopError] = SightloopError) -> Iterator[type[SightloopError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_kinds(below)


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PROSE, flags=re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table's rows."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_route_is_in_the_guide_and_the_reverse() -> None:
    served = {f"{each.method} {each.path}" for each in documented if each.documented}
    told = set(re.findall(r"\[`((?:GET|POST|PUT|DELETE) /[^`]*)`\]", GUIDE))

    assert told == served


def test_every_kind_of_problem_is_in_the_table_with_its_status() -> None:
    modules = ("chalicelib.errors", "chalicelib.refusals")
    kinds = [each for each in all_kinds() if each.__module__ in modules]
    expected = {
        kind.type_uri().rpartition(":")[2]: kind.status
        for kind in (*kinds, InvalidFields, Overloaded)
    }
    table = [row for row in rows(section("Errors")) if row[1].isdecimal()]

    assert {row[0].strip("`"): int(row[1]) for row in table} == expected
    assert all(row[2] for row in table)


def test_the_limits_are_those_of_the_code() -> None:
    limits = {row[0]: row[1].replace(",", "") for row in rows(section("Limits"))}
    settings = Settings()

    assert limits["body of a call"] == f"{settings.max_body_bytes} bytes"
    assert limits["images in a call"] == str(settings.max_images_per_call)
    assert limits["pixels of an image"] == str(settings.max_pixels)
    assert limits["file of an upload"] == f"{settings.max_upload_bytes} bytes"
    assert limits["boxes of a submission"] == str(MOST_BOXES)
    assert limits["form of an upload"] == f"{settings.upload_expires_seconds} seconds"
    assert limits["result of an upload"] == f"{settings.prediction_ttl_days} days"
    assert f"no time\n  left ({BATCH_SECONDS:.0f} s)" in GUIDE


def test_the_options_are_those_of_the_code() -> None:
    told = {row[0].strip("`"): (row[1], row[2]) for row in rows(section("Detect at once"))}
    fields = Options.model_json_schema()["properties"]

    for name, field in fields.items():
        assert told[name] == (str(field["default"]), f"{field['minimum']} … {field['maximum']}")


def test_every_link_in_the_guide_leads_somewhere() -> None:
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", GUIDE, flags=re.MULTILINE)
    }

    assert set(re.findall(r"\]\(#([^)]*)\)", GUIDE)) <= anchors


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start `make run`'s stack and wait until it says that it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("sightloop")
    process = subprocess.Popen(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env={**os.environ, "SIGHTLOOP_HOME": str(home), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout
        said = list(itertools.takewhile(lambda line: "Ctrl-C" not in line, process.stdout))
        assert process.poll() is None, "".join(said)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.stack
@pytest.mark.timeout(180)
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
def test_every_example_works_as_it_stands(
    url: str, tmp_path: Path, sample: bytes, make_picture: Callable[..., bytes]
) -> None:
    (tmp_path / "photo.jpg").write_bytes(sample)
    (tmp_path / "other.png").write_bytes(make_picture((64, 64), "PNG"))
    script = "".join(EXAMPLES).replace("http://127.0.0.1:8000", url)
    script = re.sub(r"\bcurl\b", "curl --silent --show-error --fail", script)

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, check=False
    )

    assert ran.returncode == 0, ran.stderr.decode()
    assert len(EXAMPLES) >= 10
    assert (tmp_path / "boxes.jpg").read_bytes().startswith(b"\xff\xd8")
    assert b'"state":"' in ran.stdout
