"""Measures the bot's filters on a large photo: time, and the memory of a process that does nothing
else.

    python benchmarks/filters.py                     # 12 megapixels, every filter
    python benchmarks/filters.py --size 8000x6000 --rounds 3

Each filter runs in a process of its own, several times; times are medians:

    filter        from pixels to pixels, what `chalicelib/bot/filters.py` does
    Pillow        what Pillow has for it, where it has something
    whole         from the JPEG that Telegram gives to the JPEG that it gets: decode, filter, encode
    processor     processor time of the filter and of the whole, which other work changes less
    peak          the most memory that the process ever had, Python and its libraries included

`concat` joins two such photos.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.bot.captions import Concat, Filter, understand  # noqa: E402
from chalicelib.bot.pictures import apply, filtered  # noqa: E402
from chalicelib.vision import decode_image  # noqa: E402

CAPTIONS = (
    "blur",
    "blur 255",
    "contour",
    "rotate",
    "rotate 180",
    "salt and pepper",
    "salt and pepper 1",
    "segment",
    "concat",
    "concat vertical",
)
PILLOW: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blur": lambda image: image.filter(ImageFilter.BoxBlur(7.5)),
    "blur 255": lambda image: image.filter(ImageFilter.BoxBlur(127)),
    "rotate": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "rotate 180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "segment": lambda image: image.convert("L").point(lambda grey: 255 * (grey > 100)),
}
MOST_PIXELS = 200_000_000


def photo(width: int, height: int) -> bytes:
    """Draw a JPEG with soft shapes and a camera's grain."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.integers(-8, 9, (height, width, 1), np.int16)
    pixels = np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of some work, on the clock and of the processor."""
    walls, processors = [], []
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return 1000 * statistics.median(walls), 1000 * statistics.median(processors)


def measure(caption: str, file: Path, rounds: int) -> dict[str, float | None]:
    """Return what one filter takes; called in a process that does nothing else."""
    wish = understand(caption)
    assert isinstance(wish, Filter)
    jpeg = file.read_bytes()
    files = [jpeg] * (2 if isinstance(wish, Concat) else 1)
    whole, used = timed(lambda: filtered(wish, files, MOST_PIXELS), rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    image = decode_image(jpeg, max_pixels=MOST_PIXELS).image
    pixels = [np.asarray(image)] * len(files)
    wall, processor = timed(lambda: apply(wish, pixels), rounds)
    pillow = PILLOW.get(caption)
    theirs = timed(lambda: pillow(image), rounds)[0] if pillow else None
    return {
        "filter": wall,
        "Pillow": theirs,
        "whole": whole,
        "processor": processor,
        "processor, whole": used,
        "peak": peak,
    }


def in_a_process(caption: str, file: Path, rounds: int) -> dict[str, float | None]:
    """Measure one filter in a process of its own."""
    line = [sys.executable, __file__, "--one", caption, "--file", str(file)]
    line += ["--rounds", str(rounds)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print a row for each filter."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n\n")[0])
    parser.add_argument("--size", default="4000x3000", help="of the photo, pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, default=Path("photo.jpg"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.file, given.rounds)))
        return
    width, height = (int(side) for side in given.size.split("x"))
    load = os.getloadavg()[0]
    print(f"{width}x{height}, {given.rounds} rounds; {os.cpu_count()} cores, load {load:.1f},")
    print(f"Python {platform.python_version()}, numpy {np.__version__}; ms\n")
    print("| caption | filter | Pillow | whole | processor | processor, whole | peak (MiB) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.NamedTemporaryFile(suffix=".jpg") as made:
        file = Path(made.name)
        file.write_bytes(photo(width, height))
        for caption in CAPTIONS:
            row = in_a_process(caption, file, given.rounds)
            cells = ["–" if value is None else f"{value:.0f}" for value in row.values()]
            print(f"| `{caption}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
