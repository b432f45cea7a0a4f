"""Measure an import from the ZIP to the last published file, and an export of the same dataset.

    python benchmarks/imports.py                  # 10,000 images of 160x120
    python benchmarks/imports.py --count 1000 --size 450x300

Over the real database and the stand-in for AWS of the one-machine stack, in a process of its own
folder; the worker runs as Lambda would run it, and each phase is timed. Memory is the worker's peak
(on Linux) beyond what it had before. A stand-in is no S3: its requests take the same processor.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import sys
import tempfile
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.labels.transfers.records import JobMessage, State, Transfer  # noqa: E402
from local.home import Home  # noqa: E402
from local.postgres import Postgres  # noqa: E402
from local.standin import REGION, StandIn, credentials  # noqa: E402

ME = "192.0.2.1"
LABEL = "0 0.5 0.5 0.25 0.5\n0 0.2 0.3 0.1 0.1\n"


def pack(path: Path, count: int, size: tuple[int, int]) -> None:
    """Write a ZIP of ``count`` labelled images, all of which look different."""
    dice = np.random.default_rng(1)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            grain = Image.fromarray(dice.integers(0, 255, (12, 16, 3), np.uint8))
            buffer = io.BytesIO()
            grain.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG")
            archive.writestr(f"images/{number:06}.jpg", buffer.getvalue())
            archive.writestr(f"labels/{number:06}.txt", LABEL)


def services(postgres: Postgres, standin: StandIn, home: Home) -> Any:
    """Make the services over a new database and the stand-in."""
    os.environ |= credentials(home)
    os.environ |= {"AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": standin.url}
    from chalicelib.settings import Settings  # noqa: PLC0415 - reads the environment
    from chalicelib.wiring import Services  # noqa: PLC0415
    from deploy import migrate, resources  # noqa: PLC0415

    settings = Settings.model_validate({"database_url": postgres.url})
    resources.ensure(settings)
    migrate.migrate(settings.database_url)
    return Services(settings)


def work(made: Any, held: Transfer) -> dict[str, float]:
    """Work on a transfer to its end; return how long it was in each state."""
    took: dict[str, float] = {}
    worker, table = made.transfer_worker, made.transfers
    step = worker._steps[held.kind]

    def timed(at: Transfer) -> Transfer:
        began = time.perf_counter()
        after: Transfer = step(at)
        took[at.state] = took.get(at.state, 0.0) + time.perf_counter() - began
        return after

    worker._steps = {**worker._steps, held.kind: timed}
    worker.work(JobMessage(kind=held.kind, id=held.transfer_id), lambda: 900.0)
    over = table.find(held.transfer_id, held.kind)
    if over.state is not State.DONE:
        raise SystemExit(f"it ended {over.state}: {over.problem} {over.found}")
    return took


def peak() -> float:
    """Return the most memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--size", default="160x120")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    folder = Path(tempfile.mkdtemp(prefix="sightloop-imports-"))
    folder.chmod(0o755)
    archive = folder / "archive.zip"
    pack(archive, given.count, (width, height))
    home = Home(folder / "home")
    postgres, standin = Postgres(home), StandIn(home)
    try:
        measure(services(postgres, standin, home), archive, given.count)
    finally:
        standin.stop()
        postgres.stop()
        home.close()
        shutil.rmtree(folder)


def measure(made: Any, archive: Path, count: int) -> None:
    """Import the archive, export the dataset, and print how long each phase took."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    made.pending_models.ask(name, ("scratch",), ME)
    held = made.transfers.offer_import(name, ME, {}).transfer
    made.uploads.put(held.key, archive.read_bytes(), "application/zip")
    made.transfers.receive(held.key, made.uploads.get(held.key).etag)
    before = peak()
    took = {f"import: {state}": seconds for state, seconds in work(made, held).items()}
    after_import = peak() - before
    export = made.transfers.ask_for_export(name, ME, {"format": "coco", "images": "included"})
    took |= {f"export: {state}": seconds for state, seconds in work(made, export).items()}
    print(f"{count:,} images, a ZIP of {archive.stat().st_size / 2**20:.0f} MiB")
    for state, seconds in took.items():
        print(f"  {state:22} {seconds:8.1f} s {count / max(seconds, 1e-9):10.0f} images/s")
    print(f"  peak of the import      +{after_import:.0f} MiB, then +{peak() - before:.0f} MiB")


if __name__ == "__main__":
    main()
