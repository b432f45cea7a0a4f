"""Measure what a process that starts does to place its first image: read fingerprints, compare.

    python benchmarks/placing.py                     # datasets of 100,000 and a million images

Over the PostgreSQL of ``make run``, with packed blocks of random fingerprints. Processor time is of
this process alone, without the database's, and says more than wall time where the machine is busy.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.database import Database  # noqa: E402
from chalicelib.labels.fingerprint import fingerprint  # noqa: E402
from chalicelib.labels.kept import BLOCK, Kept, KeptFingerprints  # noqa: E402
from deploy.migrate import migrate  # noqa: E402
from local.home import Home  # noqa: E402
from local.postgres import Postgres  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

SIZES = (100_000, 1_000_000)
TIMES = 5
ADD = "INSERT INTO fingerprint_blocks (model, last_id, sample_ids, bits) VALUES (%s, %s, %s, %s)"


def fill(database: Database, model: str, images: int) -> None:
    """Pack random fingerprints."""
    rng = np.random.default_rng(0)
    with database.transaction() as rows:
        for first in range(0, images, BLOCK):
            ids = np.arange(first + 1, first + BLOCK + 1).astype(">i8").tobytes()
            bits = (rng.integers(0, 2**63, (BLOCK, 4), np.uint64) * 2).astype("<u8").tobytes()
            rows.execute(ADD, (model, first + BLOCK, ids, bits))


def times(act: Callable[[], object], count: int) -> tuple[list[float], list[float]]:
    """Return how many milliseconds each of some calls took, by the clock and of the processor."""
    wall, processor = [], []
    for _ in range(count):
        begun, spent = time.perf_counter(), time.process_time()
        act()
        wall.append((time.perf_counter() - begun) * 1000)
        processor.append((time.process_time() - spent) * 1000)
    return wall, processor


def timed(what: str, act: Callable[[], object]) -> None:
    """Print the least of some times, for wall and processor."""
    wall, processor = times(act, TIMES)
    print(f"  {what}: {min(wall):.0f} ms, {min(processor):.0f} ms of them processor", flush=True)


def read(database: Database, model: str) -> Kept:
    """Read a dataset's fingerprints as a process does that knows none."""
    with database.transaction() as rows:
        return KeptFingerprints().read(rows, model)


def main() -> None:
    """Fill, measure, print."""
    asked = fingerprint(draw_tag(7).image)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "home")
        home.path.chmod(0o755)
        postgres = Postgres(home)
        database = Database(postgres.url)
        try:
            migrate(postgres.url)
            for images in SIZES:
                model = f"m{images}"
                fill(database, model, images)
                kept = read(database, model)
                print(f"{len(kept):,} images")
                timed("read", partial(read, database, model))
                timed("compare", partial(kept.near, asked, 0, kept.last_id))
        finally:
            database.close()
            postgres.stop()
            home.close()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
