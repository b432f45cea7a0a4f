"""Compares what ordinary JPEGs cost in two checkouts of this repository, turn by turn.

    git worktree add --detach ../before <commit>
    python benchmarks/ordinary.py --before ../before --photos FOLDER

Photos of the folder are scaled to 640 and to 4,000 pixels and have EXIF. One process for each
checkout decodes each photo, and detects in it, on one thread; which process is first alternates.
Counted is processor time, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIDES = (4000, 640)
QUALITY = 88
# Runs in either checkout: answers a path with the milliseconds of decoding and of detecting.
WORKER = """
import sys, time
from pathlib import Path
from chalicelib.vision import Detector, decode_image
detector = Detector(Path(sys.argv[1]), threads=1)
for line in sys.stdin:
    data = Path(line.strip()).read_bytes()
    started = time.process_time()
    decode_image(data)
    decoded = time.process_time()
    detector.detect(data)
    print((decoded - started) * 1000, (time.process_time() - decoded) * 1000, flush=True)
"""


class Worker:
    """A process that measures with one checkout.

    Parameters
    ----------
    checkout, model : Path
    """

    def __init__(self, checkout: Path, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(model)],
            cwd=checkout, env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def measure(self, photo: Path) -> tuple[float, float]:
        """Return the milliseconds of processor time of decoding and of detecting."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{photo}\n")
        self._process.stdin.flush()
        decode, detect = map(float, self._process.stdout.readline().split())
        return decode, detect

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def prepare(source: Path, target: Path, side: int) -> None:
    """Write a photo whose longest side has so many pixels, with EXIF as a camera writes it."""
    photo = Image.open(source).convert("RGB")
    scale = side / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    exif = Image.Exif()
    exif.update({0x010F: "a maker", 0x0110: "a camera", 0x0112: 1, 0x0132: "2026:12:01 00:00:00"})
    buffer = io.BytesIO()
    photo.resize(size).save(buffer, "JPEG", quality=QUALITY, exif=exif)
    target.write_bytes(buffer.getvalue())


def compare(before: Path, photos: list[Path], model: Path) -> None:
    """Print medians in both checkouts and the median ratio of a photo's times."""
    workers = [Worker(before, model), Worker(ROOT, model)]
    for worker, photo in itertools.product(workers, photos[:3]):
        worker.measure(photo)  # what is done once is done here
    rows = []
    for number, photo in enumerate(photos):
        times = {place: workers[place].measure(photo) for place in ((0, 1), (1, 0))[number % 2]}
        rows.append((times[0], times[1]))
    for worker in workers:
        worker.stop()
    for stage, name in enumerate(("decode", "detect")):
        first, second = ([row[place][stage] for row in rows] for place in (0, 1))
        ratios = statistics.quantiles(
            [new / old for old, new in zip(first, second, strict=True)], n=4
        )
        total = sum(second) / sum(first)
        print(
            f"  {name}: {statistics.median(first):.1f} -> {statistics.median(second):.1f} ms, "
            f"ratio {ratios[1]:.3f} (quartiles {ratios[0]:.3f}, {ratios[2]:.3f}; sums {total:.3f})",
            flush=True,
        )


def main() -> None:
    """Compare at both sizes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--count", type=int, default=100, help="photos of each size")
    options = parser.parse_args()
    sources = sorted(options.photos.rglob("*.jpg"))[: options.count]
    model = ROOT / "models/scratch/model.onnx"
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            print(f"{len(sources)} JPEGs, longest side {side}", flush=True)
            photos = [Path(folder) / f"{side}-{n}.jpg" for n in range(len(sources))]
            for source, target in zip(sources, photos, strict=True):
                prepare(source, target, side)
            compare(options.before.resolve(), photos, model)


if __name__ == "__main__":
    main()
