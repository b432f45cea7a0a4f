"""Measures how long a promotion takes to reach the processes that serve.

    python benchmarks/promotion.py              # 12 promotions and 12 rollbacks, some six minutes
    python benchmarks/promotion.py --times 2    # a quick look

It starts the one-machine stack in a folder of its own, and beside it a second process that serves
the same API, and what runs in a SageMaker endpoint. Four readers ask all the time, so that all is
warm: detections of the stack, of the second process and of the endpoint, and uploads, which the
stack's queue worker answers. Versions take turns by the API's `promote` and `rollback`, asked for
at random moments, in one half of the stack and in the other of the second process: whichever is
asked knows at once, the others have to find out. Nobody tells the endpoint which version to use.

What is told are seconds from asking for the change until the first answer of the new version came.
Each version has to be fetched and loaded anew. The exit status is 1 where it took more than 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib import aws  # noqa: E402
from chalicelib.inference.endpoint import Asked, Endpoint  # noqa: E402
from local.demo.client import JSON, Api  # noqa: E402
from local.endpoint import EndpointStandIn  # noqa: E402
from local.home import Home, free_port, is_free, listen  # noqa: E402
from local.stack import Stack  # noqa: E402
from local.standin import REGION  # noqa: E402

MODEL = "scratch"
BUNDLED = ROOT / "models" / MODEL
PHOTO = ROOT / "chalicelib/web/static/samples/tag-1.jpg"
PROMISED_SECONDS = 30.0
LONGEST_SECONDS = 120.0
AGE_SECONDS = 15.0  # for which a process believes what it knows of a model
PAUSE_SECONDS = 0.1
STACK, SECOND, WORKER = "HTTP, the stack", "HTTP, a second process", "queue worker of the stack"
ENDPOINT, ENDPOINT_NAME = "SageMaker endpoint", "an-endpoint"
SAME_PROCESS = {(STACK, STACK), (WORKER, STACK), (SECOND, SECOND)}

Ask = Callable[[], int]
Took = dict[tuple[str, bool], list[float]]


@dataclass
class Reader:
    """Asks which version answers, again and again, in a thread of its own.

    Attributes
    ----------
    name : str
    ask : callable
        Returns the version that answered.
    version : int
        That answered last; 0: none yet.
    since : float
        When it answered first, in monotonic seconds.
    answers : int
    """

    name: str
    ask: Ask
    version: int = 0
    since: float = 0.0
    answers: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until stopped."""
        while not self.stopped.wait(PAUSE_SECONDS):
            answered = self.ask()
            self.answers += 1
            if answered != self.version:
                self.version, self.since = answered, time.monotonic()

    def wait_for(self, version: int) -> float:
        """Wait until a version answers, and return when it first did.

        Raises
        ------
        RuntimeError
            It does not.
        """
        deadline = time.monotonic() + LONGEST_SECONDS
        while self.version != version:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: version {version} never answered")
            time.sleep(0.01)
        return self.since


def main() -> int:
    """Measure and print; return the exit status."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(int(sys.argv[2]))
    wanted = arguments()
    random.seed(wanted.seed)
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as (stack, ports):
        versions = published(2)
        token = stack.operator_token
        readers = [
            Reader(STACK, detections(Api(ports[STACK], token))),
            Reader(SECOND, detections(Api(ports[SECOND], token))),
            Reader(WORKER, uploads(Api(ports[STACK], token))),
            Reader(ENDPOINT, invocations()),
        ]
        with asking(readers):
            took = measured(
                readers, {name: Api(ports[name], token) for name in ports}, versions, wanted.times
            )
    return told(took, readers)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=12, help="promotions, and as many rollbacks")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of change")
    return parser.parse_args()


@contextmanager
def running(home: Path) -> Iterator[tuple[Stack, dict[str, int]]]:
    """Start the stack and what is beside it; yield the stack, and the APIs' ports by name."""
    ports = {STACK: free_port(), SECOND: free_port()}
    os.environ["SIGHTLOOP_LAUNCHER"] = ""
    with ExitStack() as running:
        stack = Stack(home, ports[STACK])
        running.callback(stack.stop)
        beside = Home(home / "endpoint")
        running.callback(beside.close)
        endpoint = EndpointStandIn(beside, ENDPOINT_NAME)
        running.callback(endpoint.stop)
        os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = endpoint.url
        command = [sys.executable, __file__, "--serve", str(ports[SECOND])]
        second = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        running.callback(second.wait)
        if second.stdin:
            running.callback(second.stdin.close)
        wait_for_port(ports[SECOND], second)
        yield stack, ports


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens on a port.

    Raises
    ------
    RuntimeError
        It has ended.
    """
    while is_free(port):
        if server.poll() is not None:
            raise RuntimeError("the second process does not start")
        time.sleep(0.05)


def serve(port: int) -> int:
    """Be the second process: serve the app until standard input ends."""
    from chalice.cli.factory import CLIFactory  # noqa: PLC0415 - the stack has to be set first

    from local.server import Server  # noqa: PLC0415

    config = CLIFactory(str(ROOT), environ=os.environ).create_config_obj(chalice_stage_name="local")
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        server = Server(config.chalice_app, config, listen(port), log)
        sys.stdin.read()
        server.stop()
    return 0


def published(number: int) -> list[int]:
    """Publish the bundled weights under so many more names; return all versions, newest last."""
    from chalicelib.wiring import services  # noqa: PLC0415 - the stack sets the environment

    metrics = (BUNDLED / "metrics.json").read_bytes()
    for copy in range(number):
        network = onnx.load(BUNDLED / "model.onnx")
        network.metadata_props.add(key="copy", value=str(copy))
        services().publisher.publish(MODEL, network.SerializeToString(), metrics)
    live = services().catalog.require(MODEL).version
    return list(range(live - number, live + 1))


def detections(api: Api) -> Ask:
    """Return what detects, and says which version did."""
    photo, path = PHOTO.read_bytes(), f"/v1/models/{MODEL}/detections"

    def ask() -> int:
        return int(answer(api.post(path, photo, "image/jpeg"))["version"])

    return ask


def uploads(api: Api) -> Ask:
    """Return what uploads a photo, waits for the worker, and says which version it used."""
    from chalicelib.wiring import services  # noqa: PLC0415 - the stack sets the environment

    photo, bucket = PHOTO.read_bytes(), services().uploads
    wish = {"model": MODEL, "file_name": "tag.jpg", "content_type": "image/jpeg"}

    def ask() -> int:
        offer = answer(api.post("/v1/uploads", json.dumps(wish).encode(), JSON))
        bucket.put(offer["upload"]["fields"]["key"], photo, "image/jpeg")
        path = f"/v1/predictions/{offer['prediction_id']}"
        while (found := api.get(path))["state"] != "done":
            if found["state"] == "failed":
                raise RuntimeError(f"an upload failed: {found['problem']}")
            time.sleep(0.05)
        return int(found["version"])

    return ask


def invocations() -> Ask:
    """Return what has the endpoint detect, by whatever version it takes for live."""
    photo, asked = PHOTO.read_bytes(), Asked(model=MODEL)
    endpoint = Endpoint(aws.client("sagemaker-runtime", REGION), ENDPOINT_NAME)
    return lambda: endpoint.ask(photo, asked).version


def answer(told: tuple[int, Any]) -> dict[str, Any]:
    """Return an answer that is none of a failure.

    Raises
    ------
    RuntimeError
    """
    status, found = told
    if status >= 300:
        raise RuntimeError(f"{status}: {found}")
    return dict(found)


@contextmanager
def asking(readers: list[Reader]) -> Iterator[None]:
    """Let readers ask while the block runs."""
    threads = [threading.Thread(target=reader.run, daemon=True) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.stopped.set()
        for thread in threads:
            thread.join()


def measured(readers: list[Reader], apis: dict[str, Api], versions: list[int], times: int) -> Took:
    """Promote and roll back; return the seconds, by reader and whether its process was asked.

    Parameters
    ----------
    versions : list of int
        The last one serves. Promoted are the first two in turns, and rolled back to the last.
    """
    *others, serving = versions
    took: Took = defaultdict(list)
    for reader in readers:
        reader.wait_for(serving)
    for number in range(times):
        asked = (STACK, SECOND)[number % 2]
        other = others[number // 2 % len(others)]
        for path, wanted in (
            (f"/v1/models/{MODEL}/versions/{other}/promote", other),
            (f"/v1/models/{MODEL}/rollback", serving),
        ):
            time.sleep(random.uniform(0, AGE_SECONDS))
            begun = time.monotonic()
            made = answer(apis[asked].post(path, b"{}", JSON))
            assert made["live_version"] == wanted, made
            seconds = {reader.name: reader.wait_for(wanted) - begun for reader in readers}
            for name, value in seconds.items():
                took[name, (name, asked) in SAME_PROCESS].append(value)
            shown = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
            print(f"version {wanted}, asked of {asked}: {shown}", flush=True)
    return took


def told(took: Took, readers: list[Reader]) -> int:
    """Print the table; return 1 where a change took longer than was promised."""
    print("\n| reader | its process was asked | changes | min, s | median, s | max, s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for (name, same), values in sorted(took.items()):
        figures = f"{min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f}"
        print(f"| {name} | {'yes' if same else 'no'} | {len(values)} | {figures} |")
    print(f"\nanswers: {', '.join(f'{each.name} {each.answers}' for each in readers)}")
    return int(max(map(max, took.values())) > PROMISED_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
