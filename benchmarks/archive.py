"""Measure the import of a ZIP of images: how fast it is read, and in how much memory.

    python benchmarks/archive.py                   # 10,000 images of 450x300
    python benchmarks/archive.py --count 500 --size 4000x3000

The archive is written to a temporary file first. `directory` is what opening it costs, `check`
reads and decodes everything, `images` gives it again, `images alone` in a process that did not
check. Memory is the peak of the process (on Linux) beyond what it had before the archive was
opened. `reads` is what a file in S3 would be asked for without a buffer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.labels.archive import Archive  # noqa: E402

LABEL = "0 0.5 0.5 0.25 0.5\n0 0.2 0.3 0.1 0.1\n"
DIFFERENT = 16  # pictures; a number behind the last byte of each makes them all different images


class Counted:
    """A file that counts how often and how much it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file, self.reads, self.bytes = file, 0, 0

    def read(self, size: int = -1) -> bytes:
        """Read, and count it."""
        content = self._file.read(size)
        self.reads, self.bytes = self.reads + 1, self.bytes + len(content)
        return content


def write(path: Path, count: int, size: tuple[int, int]) -> None:
    """Write an archive of ``count`` images with labels."""
    pictures = [_jpeg(seed, size) for seed in range(DIFFERENT)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.yaml", "names: [scratch]\n")
        for number in range(count):
            content = pictures[number % DIFFERENT] + number.to_bytes(4)
            archive.writestr(f"train/images/{number:06}.jpg", content)
            archive.writestr(f"train/labels/{number:06}.txt", LABEL)


def _jpeg(seed: int, size: tuple[int, int]) -> bytes:
    grain = np.random.default_rng(seed).integers(0, 255, (60, 90, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def read(path: Path, checked: bool) -> None:
    """Read an archive, and print what it took."""
    before = _peak()
    with path.open("rb") as raw:
        file = Counted(raw)
        start = time.perf_counter()
        archive = Archive(file)  # type: ignore[arg-type]  # it has all that is asked for
        if checked:
            _say("directory", 0, start, before)
            _timed("check", lambda: archive.check().images, before)
        file.reads = file.bytes = 0
        _timed(
            "images" if checked else "images alone",
            lambda: sum(1 for _ in archive.images()),
            before,
        )
        print(
            f"{'':14}{file.reads / len(archive):.1f} reads an image, {file.bytes / 2**20:.0f} MiB"
        )


def _timed(what: str, call: Callable[[], int], before: float) -> None:
    start = time.perf_counter()
    _say(what, call(), start, before)


def _say(what: str, images: int, start: float, before: float) -> None:
    took = time.perf_counter() - start
    rate = f"{images} images, {images / took:6.0f} a second" if images else ""
    print(f"{what:14}{took:7.2f} s  {_peak() - before:6.1f} MiB  {rate}", flush=True)


def _peak() -> float:
    """Return the most memory that this process has had, in MiB; its parent's does not count."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--size", default="450x300")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.zip")
        write(path, given.count, (width, height))
        print(f"{given.count} images of {given.size}: {path.stat().st_size / 2**20:.0f} MiB")
        for checked in (True, False):  # each in a process of its own, whose peak is its own
            process = get_context("spawn").Process(target=read, args=(path, checked))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
