"""Measures what runs in a SageMaker endpoint, side by side with the recipe that is usual for one.

    make lint training && .venv/bin/python benchmarks/endpoint.py      # some three minutes
    .venv/bin/python benchmarks/endpoint.py --seconds 5 --clients 1,8

The two targets install what it takes: a stand-in for S3, and ultralytics. Ours is
`sagemaker/serving/server.py` over that stand-in with the bundled model. The usual recipe is a
server that holds ultralytics' YOLO with the same ONNX file, a lock around `predict`, which is not
made for several at a time, and the boxes as JSON. Both take POST /invocations over loopback from
the same clients, each with a connection of its own that sends the next photo when it has the last
one's answer. They take turns, in rounds of seconds; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.inference.endpoint import Asked  # noqa: E402
from chalicelib.settings import Settings  # noqa: E402
from chalicelib.wiring import Services  # noqa: E402
from deploy import bundled  # noqa: E402
from local.home import HOST, free_port  # noqa: E402
from sagemaker.serving.server import ATTRIBUTES  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

SERVER = ROOT / "sagemaker/serving/server.py"
RECIPE = Path(__file__).with_name("endpoint_recipe.py")
MODEL = ROOT / "models/scratch/model.onnx"
SIZES = {"450x300": (450, 300), "12 MP": (4000, 3000)}
OURS, USUAL = "ours", "usual recipe"
START_SECONDS = 120
ROUNDS = 5


@dataclass
class Measured:
    """What one server did in all rounds.

    Attributes
    ----------
    seconds : list of float
        Of each answer.
    rates : list of float
        Answers a second, by round, whose end is that of the last answer.
    """

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def main() -> int:
    """Measure and print; return the exit status."""
    wanted = arguments()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # of the stand-in
    with ExitStack() as running:
        ports = {OURS: running.enter_context(ours())}
        if wanted.training_python.exists():
            ports[USUAL] = running.enter_context(usual(wanted.training_python))
        else:
            print(f"without the usual recipe: there is no {wanted.training_python}")
        columns = "answers a second | p50, ms | p99, ms"
        print(f"| photo | clients | server | {columns} | times the usual recipe |")
        print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
        for name, size in SIZES.items():
            for clients in wanted.clients:
                tell(name, clients, measure(ports, photo(size), clients, wanted.seconds))
    return 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round of one server")
    parser.add_argument(
        "--clients",
        type=lambda text: [int(each) for each in text.split(",")],
        default=[1, 2, 8],
        help="at a time, separated by commas",
    )
    parser.add_argument("--training-python", type=Path, default=ROOT / ".venv-training/bin/python")
    return parser.parse_args()


@contextmanager
def ours() -> Iterator[int]:
    """Run our server over a stand-in for S3 with the bundled model; yield its port."""
    s3 = ThreadedMotoServer(port=0, verbose=False)
    s3.start()
    settings = Settings.from_environment({})
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL": f"http://{HOST}:{s3.get_host_and_port()[1]}",
        "POWERTOOLS_LOG_LEVEL": "WARNING",
    }
    boto3.client("s3", region_name=settings.region).create_bucket(
        Bucket=settings.store_bucket,
        CreateBucketConfiguration={"LocationConstraint": settings.region},
    )
    bundled.register(Services(settings), ROOT / "models")
    try:
        with server([sys.executable, str(SERVER), "--host", HOST]) as port:
            yield port
    finally:
        s3.stop()


@contextmanager
def usual(python: Path) -> Iterator[int]:
    """Run the usual recipe; yield its port."""
    with server([str(python), str(RECIPE), "--model", str(MODEL)]) as port:
        yield port


@contextmanager
def server(command: list[str]) -> Iterator[int]:
    """Run a server until the block ends; yield its port once it is healthy."""
    port = free_port()
    process = subprocess.Popen([*command, "--port", str(port)])
    try:
        deadline = time.monotonic() + START_SECONDS
        while not healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} does not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def healthy(port: int) -> bool:
    """Ask a server for its health."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def photo(size: tuple[int, int]) -> bytes:
    """Return a drawn tag as a JPEG."""
    written = BytesIO()
    draw_tag(11).image.resize(size, Image.Resampling.BICUBIC).save(written, "JPEG", quality=90)
    return written.getvalue()


def measure(
    ports: dict[str, int], image: bytes, clients: int, seconds: float
) -> dict[str, Measured]:
    """Let servers take turns; the first turn of each is not counted."""
    measured = {name: Measured() for name in ports}
    for number in range(ROUNDS + 1):
        for name, port in ports.items():
            begun = time.monotonic()
            answers = load(port, image, clients, begun + seconds)
            if number:
                measured[name].seconds += answers
                measured[name].rates.append(len(answers) / (time.monotonic() - begun))
    return measured


def load(port: int, image: bytes, clients: int, until: float) -> list[float]:
    """Have so many clients ask until a moment; return the seconds of each answer."""
    took: list[float] = []
    threads = [
        threading.Thread(target=ask, args=(port, image, until, took)) for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def ask(port: int, image: bytes, until: float, took: list[float]) -> None:
    """Ask over one connection until a moment; note the seconds of each answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    headers = {ATTRIBUTES: Asked(model="scratch").to_header(), "Content-Type": "image/jpeg"}
    while (begun := time.monotonic()) < until:
        connection.request("POST", "/invocations", image, headers)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {told[:500]!r}")
        took.append(time.monotonic() - begun)
    connection.close()


def tell(name: str, clients: int, measured: dict[str, Measured]) -> None:
    """Print a row for each server."""
    for server_name, found in measured.items():
        rate, p50 = statistics.median(found.rates), statistics.median(found.seconds)
        p99 = sorted(found.seconds)[int(0.99 * len(found.seconds))]
        ratio = "–"
        if server_name == OURS and USUAL in measured:
            pairs = zip(found.rates, measured[USUAL].rates, strict=True)
            ratio = f"{statistics.median(a / b for a, b in pairs):.2f}"
        figures = f"{rate:.1f} | {p50 * 1000:.0f} | {p99 * 1000:.0f} | {ratio}"
        print(f"| {name} | {clients} | {server_name} | {figures} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
