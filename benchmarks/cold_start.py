"""Measures a cold start: importing the app from the package, and the first detection after it.

    python benchmarks/cold_start.py          # medians of 10 fresh processes
    python benchmarks/cold_start.py -n 30

The package is the one that `python -m deploy up` uploads, unpacked, beside the boto3 that Lambda
brings along; nothing else can be imported. Next to it the same without the bytecode that our build
puts in, as Chalice alone packages it, and the checkout as a developer has it. A first detection
fetches the model from a store on this machine; what S3 takes, and what Lambda takes before it
starts Python, comes on top. Where to look next: the packages in which an import spends its time.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.settings import Settings  # noqa: E402
from chalicelib.wiring import Services  # noqa: E402
from deploy import package  # noqa: E402

PROBE = Path(__file__).with_name("cold_start_probe.py")
PHOTO = ROOT / "chalicelib/web/static/samples/tag-1.jpg"
API = "app.app"
HANDLERS = (API, *(f"chalicelib.predictions.triggers.{n}" for n in ("on_upload", "identify")))
LAMBDA_BRINGS = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
MOST_SHOWN = 12
TIMED_IMPORTS = 5


@dataclass(frozen=True)
class Measured:
    """Medians of several cold starts, in milliseconds and MiB."""

    import_ms: float
    first_ms: float
    second_ms: float
    processor_ms: float
    peak_mib: float

    @classmethod
    def of(cls, runs: list[dict[str, Any]]) -> Measured:
        """Take the medians; processor time is that of the import and the first call."""
        steps = [statistics.median(step) for step in zip(*(r["ms"] for r in runs), strict=True)]
        busy = statistics.median(sum(r["processor_ms"][:2]) for r in runs)
        peak = statistics.median(r["peak_mib"] for r in runs)
        first, second = steps[1:] or (0.0, 0.0)  # nothing may be called
        return cls(steps[0], first, second, busy, peak)


@dataclass(frozen=True)
class Place:
    """Where a process finds its modules."""

    name: str
    folders: tuple[Path, ...]
    isolated: bool = True

    def start(self, handler: str, events: list[Any], *options: str) -> tuple[dict[str, Any], str]:
        """Run one cold start; return what the probe measured and what Python told."""
        isolated = ("-I", "-S", "-B") if self.isolated else ()  # Lambda's disk takes no bytecode
        folders = map(str, self.folders)
        line = [sys.executable, *isolated, *options, str(PROBE), handler, *folders]
        usual = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        told = json.dumps(events)
        done = subprocess.run(
            line, input=told, env=usual, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    def share_of_imports(self, handler: str) -> dict[str, int]:
        """Return the microseconds that an import spends in each package itself."""
        _, told = self.start(handler, [], "-X", "importtime")
        spent: Counter[str] = Counter()
        for microseconds, module in IMPORT_LINE.findall(told):
            top = module.split(".")[0]
            spent["standard library" if top in sys.stdlib_module_names else top] += int(
                microseconds
            )
        return spent


def measure(
    starts: Mapping[str, tuple[Place, str]], events: list[Any], times: int
) -> dict[str, Measured]:
    """Return the medians of so many cold starts of each, taken in turn so that none has it easier.

    The first of each, which warms the disk's cache, does not count.
    """
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in starts}
    for _ in range(times + 1):
        for name, (place, handler) in starts.items():
            run, _ = place.start(handler, events)
            if set(run["statuses"]) - {200}:
                raise SystemExit(f"{name}: answers {run['statuses']}")
            runs[name].append(run)
    return {name: Measured.of(some[1:]) for name, some in runs.items()}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measures a cold start.")
    parser.add_argument("-n", type=int, default=10, help="how many processes for each median")
    times = parser.parse_args().n
    built = package.build(ROOT)
    print(built.summary)
    with tempfile.TemporaryDirectory() as folder, store():
        places = prepare(built.path, Path(folder))
        table(places, times)
        imports(places[0])


@contextmanager
def store() -> Iterator[None]:
    """Serve the bundled model from a stand-in for S3, as far as the environment tells."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="none",
        AWS_SECRET_ACCESS_KEY="none",
        POWERTOOLS_LOG_LEVEL="CRITICAL",
        POWERTOOLS_METRICS_DISABLED="true",
    )
    settings = Settings.from_environment({})
    services = Services(settings)
    where = {"LocationConstraint": settings.region}
    services.client("s3").create_bucket(
        Bucket=settings.store_bucket, CreateBucketConfiguration=where
    )
    bundled = ROOT / "models/scratch"
    onnx, metrics = (bundled / name for name in ("model.onnx", "metrics.json"))
    services.publisher.publish("scratch", onnx.read_bytes(), metrics.read_bytes())
    try:
        yield
    finally:
        server.stop()


def prepare(built: Path, folder: Path) -> list[Place]:
    """Unpack the package, with its bytecode and without, beside what Lambda brings along."""
    task, plain, libraries = (folder / name for name in ("task", "plain", "libraries"))
    with zipfile.ZipFile(built) as made:
        made.extractall(task)
    shutil.copytree(task, plain, ignore=shutil.ignore_patterns("__pycache__"))
    libraries.mkdir()
    for name in LAMBDA_BRINGS:
        (libraries / name).symlink_to(Path(boto3.__file__).parent.parent / name)
    return [
        Place("package", (task, libraries)),
        Place("package without bytecode", (plain, libraries)),
        Place("checkout", (ROOT,), isolated=False),
    ]


def table(places: list[Place], times: int) -> None:
    """Print what each step takes from each place."""
    events = [event(PHOTO.read_bytes())] * 2
    heads = ("import ms", "first detection", "second", "processor ms", "peak MiB")
    print(f"\n{API}: medians of {times} fresh processes\n")
    print(f"{'':26}" + "".join(f"{head:>17}" for head in heads))
    for name, found in measure({p.name: (p, API) for p in places}, events, times).items():
        steps = (found.import_ms, found.first_ms, found.second_ms)
        row = (*steps, found.processor_ms, found.peak_mib)
        print(f"{name:26}" + "".join(f"{each:>17.0f}" for each in row))
    print("\nimporting what each function needs, from the package\n")
    for name, found in measure({each: (places[0], each) for each in HANDLERS}, [], times).items():
        told = f"{found.import_ms:5.0f} ms ({found.processor_ms:.0f} of the processor)"
        print(f"{name:42}{told}, {found.peak_mib:.0f} MiB")


def imports(place: Place) -> None:
    """Print in which packages an import spends its time; Python's own timing slows it a little."""
    runs = [place.share_of_imports(API) for _ in range(TIMED_IMPORTS)]
    least = {name: min(run[name] for run in runs) / 1000 for name in runs[0]}
    print(f"\nimport app from the {place.name}: milliseconds in each distribution's own modules,")
    print(f"the least of {TIMED_IMPORTS} times; in all {sum(least.values()):.0f}\n")
    for name in sorted(least, key=lambda each: -least[each])[:MOST_SHOWN]:
        print(f"{name:26}{least[name]:>6.1f}")


def event(photo: bytes) -> dict[str, Any]:
    """Return a detection's request as API Gateway hands it over."""
    told = {"content-type": "image/jpeg", "accept": "application/json"}
    return {
        "resource": "/v1/models/{model}/detections",
        "path": "/v1/models/scratch/detections",
        "httpMethod": "POST",
        "headers": told,
        "multiValueHeaders": {name: [value] for name, value in told.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"model": "scratch"},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/v1/models/{model}/detections",
            "path": "/api/v1/models/scratch/detections",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        "body": base64.b64encode(photo).decode(),
        "isBase64Encoded": True,
    }


if __name__ == "__main__":
    main()
