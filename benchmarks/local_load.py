"""Memory and latency of `make run` under many connections: one command, its own data folder.

    .venv/bin/python benchmarks/local_load.py
    .venv/bin/python benchmarks/local_load.py --connections 10 --seconds 10 --rest 5

Every connection sends the same photo again and again and retries after ``Retry-After`` where it is
refused with 503; one more connection asks for `/v1/models` every 100 ms. Linux only: memory is
read from /proc.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from local.home import free_port  # noqa: E402

PHOTO = ROOT / "chalicelib/web/static/samples/tag-1.jpg"
DETECTIONS = "/v1/models/scratch/detections"
START_SECONDS = 120
ANSWER_SECONDS = 120
PROBE_SECONDS = 0.1


@dataclass
class Tally:
    """Durations of answered requests in seconds, and how many were refused."""

    detections: list[float] = field(default_factory=list)
    light: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0


class Load:
    """Keeps connections busy until a deadline.

    Parameters
    ----------
    port : int
    seconds : float
    """

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._until = time.monotonic() + seconds
        self._photo = PHOTO.read_bytes()
        self.tally = Tally()

    def run(self, connections: int) -> None:
        """Send with this many connections, and a light one beside them."""
        threads = [threading.Thread(target=self._detect) for _ in range(connections)]
        threads.append(threading.Thread(target=self._probe))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _detect(self) -> None:
        connection = self._connection()
        while (started := time.monotonic()) < self._until:
            try:
                connection.request("POST", DETECTIONS, self._photo, {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                self.tally.failed += 1
                connection.close()
                continue
            if response.status == 200:
                self.tally.detections.append(time.monotonic() - started)
            elif response.status == 503:
                self.tally.refused += 1
                time.sleep(float(response.headers.get("Retry-After", "1")))
            else:
                self.tally.failed += 1

    def _probe(self) -> None:
        connection = self._connection()
        while (started := time.monotonic()) < self._until:
            connection.request("GET", "/v1/models")
            connection.getresponse().read()
            self.tally.light.append(time.monotonic() - started)
            time.sleep(PROBE_SECONDS)

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)


def resident_mib(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


class Peak(threading.Thread):
    """Samples the resident memory of a process until it is stopped."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._stopped = threading.Event()
        self.mib = 0.0

    def run(self) -> None:
        """Sample five times a second."""
        while not self._stopped.wait(0.2):
            self.mib = max(self.mib, resident_mib(self._process))

    def stop(self) -> float:
        """Stop sampling; return the largest sample in MiB."""
        self._stopped.set()
        self.join()
        return self.mib


def start(home: str, port: int) -> subprocess.Popen[str]:
    """Start the stack, and wait until it is ready."""
    environment = {**os.environ, "SIGHTLOOP_HOME": home, "PORT": str(port)}
    command = [sys.executable, "-m", "local"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout
    for line in process.stdout:
        if "Ctrl-C" in line:
            return process
    raise SystemExit("the stack did not start")


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of durations, in the unit of the values."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


def measure(port: int, process: int, arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the rows of the table: a name and a figure each."""
    rows = [("memory at the start", f"{resident_mib(process):.0f} MiB")]
    Load(port, 3).run(1)
    rows.append(("memory after one connection", f"{resident_mib(process):.0f} MiB"))
    peak = Peak(process)
    peak.start()
    load = Load(port, arguments.seconds)
    load.run(arguments.connections)
    rows.append((f"memory, peak, {arguments.connections} connections", f"{peak.stop():.0f} MiB"))
    time.sleep(arguments.rest)
    rows.append((f"memory {arguments.rest:g} s after", f"{resident_mib(process):.0f} MiB"))
    tally = load.tally
    for name, values in (("detection", tally.detections), ("GET /v1/models", tally.light)):
        p50, p99 = percentile(values, 50), percentile(values, 99)
        rows.append((f"{name}, p50 / p99", f"{p50:.2f} / {p99:.2f} s"))
    rows.append(("detections a second", f"{len(tally.detections) / arguments.seconds:.1f}"))
    rows.append(("refused with 503 / failed", f"{tally.refused} / {tally.failed}"))
    return rows


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30, help="of load")
    parser.add_argument("--rest", type=float, default=60, help="seconds before the last sample")
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        process = start(home, port)
        try:
            rows = measure(port, process.pid, arguments)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)
    print("| | |", "| --- | ---: |", sep="\n")
    for name, figure in rows:
        print(f"| {name} | {figure} |")


if __name__ == "__main__":
    main()
