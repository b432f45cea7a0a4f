"""Measure what looking for settled copies of an image adds to a submission.

    python benchmarks/copies.py                      # a dataset of 100,000 images

Over the PostgreSQL of ``make run``: 100,000 settled images of random fingerprints, 1,000 of them
near to the one that is asked about, as a fixed camera's are. S3 is left out.
"""

from __future__ import annotations

import io
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from psycopg2.extras import execute_values

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from benchmarks.ledger import server  # noqa: E402
from benchmarks.placing import times  # noqa: E402
from chalicelib.database import Database  # noqa: E402
from chalicelib.labels.case import ImageOf  # noqa: E402
from chalicelib.labels.copies import Copies, contradicts, reduced  # noqa: E402
from chalicelib.labels.dataset import Dataset  # noqa: E402
from chalicelib.labels.fingerprint import fingerprint_of  # noqa: E402
from chalicelib.storage import ObjectStore  # noqa: E402
from chalicelib.trust.boxes import ClassedBoxes  # noqa: E402
from sagemaker.training.drawn_tags import draw_tag  # noqa: E402

IMAGES, NEAR, TIMES = 100_000, 1_000, 20
SAMPLES = """
INSERT INTO samples (sample_id, model, sha256, extension, width, height, side, bits, source_key,
                     label_id)
OVERRIDING SYSTEM VALUE VALUES %s
"""
LABELS = """
INSERT INTO labels (label_id, sample_id, yolo, boxes, origin) OVERRIDING SYSTEM VALUE
SELECT n, n, '0 0.5 0.5 0.2 0.2', 1, 'import' FROM generate_series(1, %s) n
"""


def fill(database: Database, bits: np.ndarray) -> None:
    """Store settled images with these fingerprints, without the triggers that count them."""
    stored = bits.astype("<u8")
    values = [
        (n, "m", f"{n:064x}", "jpg", 64, 64, "train", stored[n - 1].tobytes(), f"k/{n}", n)
        for n in range(1, len(bits) + 1)
    ]
    with database.transaction() as rows:
        rows.execute("SET LOCAL session_replication_role = replica")
        execute_values(rows, SAMPLES, values, page_size=5_000)
        rows.execute(LABELS, (len(bits),))


def timed(what: str, act: Callable[[], object]) -> None:
    """Print the median and the most of some times, wall and processor."""
    wall, processor = times(act, TIMES)
    median, own = statistics.median(wall), statistics.median(processor)
    print(f"  {what}: {median:.1f} ms, at most {max(wall):.1f}; processor {own:.1f}", flush=True)


def main() -> None:
    """Fill a dataset, measure, print."""
    buffer = io.BytesIO()
    draw_tag(7).image.save(buffer, "JPEG")
    image = ImageOf("k", buffer.getvalue(), "f" * 64)
    asked, rng = fingerprint_of(image.content), np.random.default_rng(0)
    bits = rng.integers(0, 2**62, (IMAGES, 4)).astype(np.uint64)
    flipped = np.uint64(1) << rng.integers(0, 58, (NEAR, 4, 5)).astype(np.uint64)
    bits[:NEAR] = asked.bits ^ np.bitwise_or.reduce(flipped, axis=2)
    with server(durable=True) as url:
        database = Database(url)
        try:
            fill(database, bits)
            measure(database, image)
        finally:
            database.close()


def measure(database: Database, image: ImageOf) -> None:
    """Print what each part costs."""
    dataset = Dataset(database, ObjectStore(None, ""), lambda model: f"models/{model}")
    copies = Copies(database, ObjectStore(None, ""), dataset)

    def look() -> int:
        with database.transaction() as rows:
            return len(copies._settled_near(rows, "m", replace(image)))  # fingerprinted anew

    print(f"{IMAGES:,} images, {NEAR:,} near; settled copies that are compared: {look()}")
    timed("fingerprint, near images and their labels", look)
    timed("fingerprint alone", lambda: fingerprint_of(image.content))
    picture = reduced(image.content)
    corners = np.array([[n, 10, n + 40, 60] for n in range(0, 400, 20)], np.float64)
    boxes = ClassedBoxes(corners, np.zeros(len(corners), np.int64))
    timed("decoding one", lambda: reduced(image.content))
    nothing = ClassedBoxes.none()
    timed("comparing 20 boxes", lambda: contradicts(nothing, picture, boxes, picture, picture.size))


if __name__ == "__main__":
    main()
