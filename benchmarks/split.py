"""Measure the leak-proof split: what the fingerprint tells apart, and what a look-up costs.

    python benchmarks/split.py                                     # what it costs
    python benchmarks/split.py --photos ../shared/data/scratch     # and what it tells apart

For the second, the photos are those of the metal tags. Which shows which tag is taken from how they
correlate pixel by pixel (the middle of one in the other, at the best of all shifts), so that the
fingerprint is not its own judge.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this finds its own folder only

from chalicelib.labels.fingerprint import (  # noqa: E402
    NEAR,
    Index,
    distances,
    fingerprint,
    fingerprint_of,
)
from chalicelib.labels.split import Member, Split  # noqa: E402

SIZES = (1_000, 10_000, 100_000)
SAME_TAG = 0.64  # correlation: two photos of one tag reach 0.68, of two tags at most 0.61
WIDTH, HEIGHT, SHIFT = 128, 84, 12
CROPS = (0.02, 0.04, 0.06, 0.08, 0.10)
Matrix = npt.NDArray[np.float32]


def milliseconds(call: Callable[[], object], rounds: int = 15) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def costs() -> None:
    """Print what a fingerprint and a look-up cost."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (30, 45), np.uint8)).resize((450, 300))
    buffer = BytesIO()
    photo.convert("RGB").save(buffer, "JPEG")
    jpeg, asked = buffer.getvalue(), fingerprint(photo)
    print(f"fingerprint of a JPEG of 450x300: {milliseconds(lambda: fingerprint_of(jpeg)):.1f} ms")
    for size in SIZES:
        rows = rng.integers(0, 2**63, (size, 4), np.uint64)
        index = Index()
        for row in rows:
            index.add(row)
        members = [Member(f"{n:064x}", row, "train") for n, row in enumerate(rows)]
        look_up = milliseconds(partial(index.near, asked))
        read_in = milliseconds(partial(Split, members), 3)
        print(f"{size:>7} stored: {look_up:6.2f} ms a look-up, {read_in:6.0f} ms to read them in")


def correlations(pictures: list[Image.Image]) -> Matrix:
    """Return how well the middle of each picture is found in each other, float32 [N, N]."""
    structure = np.stack([_structure(picture) for picture in pictures])
    margin = (slice(HEIGHT * 3 // 20, -HEIGHT * 3 // 20), slice(WIDTH * 3 // 20, -WIDTH * 3 // 20))
    box = np.zeros((HEIGHT, WIDTH), np.float32)
    box[margin] = 1
    size = box.shape  # the margin is wider than a shift: nothing wraps around
    spectra, boxed = np.fft.rfft2(structure), np.conj(np.fft.rfft2(box))
    energy = np.fft.irfft2(np.fft.rfft2(structure**2) * boxed, size).clip(1)
    rows = []
    for one in structure:
        template = one * box
        found = np.fft.irfft2(spectra * np.conj(np.fft.rfft2(template)), size)
        scaled = found / np.sqrt(energy * (template**2).sum())
        nearby = np.roll(scaled, (SHIFT, SHIFT), (1, 2))[:, : 2 * SHIFT + 1, : 2 * SHIFT + 1]
        rows.append(nearby.reshape(len(structure), -1).max(1))
    both = np.stack(rows)
    return np.asarray((both + both.T) / 2)


def _structure(picture: Image.Image) -> Matrix:
    grey = picture.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    smooth = grey.filter(ImageFilter.GaussianBlur(3))
    return np.asarray(grey, np.float32) - np.asarray(smooth, np.float32)


def chained(linked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which are linked by a chain: the transitive closure."""
    while (further := linked @ linked).sum() > linked.sum():
        linked = further
    return linked


def tells_apart(folder: Path) -> None:
    """Print precision and recall over all pairs of photos, by threshold and by crop."""
    paths = sorted((folder / "images").glob("*.jpg"))
    pictures = [Image.open(path).convert("RGB") for path in paths]
    same = chained(correlations(pictures) >= SAME_TAG)
    asked = [fingerprint(picture) for picture in pictures]
    bits = np.stack([one.bits for one in asked])
    apart = np.stack([distances(one, bits) for one in asked]).astype(int)
    pairs = ~np.eye(len(paths), dtype=bool)
    tags = len(np.unique(same, axis=0))
    print(
        f"{len(paths)} photos of {tags} tags; farthest of one tag "
        f"{apart[same & pairs].max()}, nearest of two {apart[~same].min()}"
    )
    for near in range(NEAR - 12, NEAR + 13, 4):
        hit = (apart <= near) & pairs
        print(
            f"  within {near}: recall {hit[same & pairs].mean():.4f}, "
            f"precision {same[hit].mean():.4f}{'   <- NEAR' if near == NEAR else ''}"
        )
    for crop in CROPS:
        found = [
            distances(fingerprint(_cropped(p, crop)), b)[0] <= NEAR
            for p, b in zip(pictures, bits, strict=True)
        ]
        print(f"  cropped by {crop:.0%} a side: {np.mean(found):.3f} recognised")


def _cropped(picture: Image.Image, part: float) -> Image.Image:
    width, height = picture.size
    return picture.crop(
        (
            round(width * part),
            round(height * part),
            round(width * (1 - part)),
            round(height * (1 - part)),
        )
    )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--photos", type=Path, help="folder with images/ of the metal tags")
    given = parser.parse_args()
    costs()
    if given.photos:
        tells_apart(given.photos)


if __name__ == "__main__":
    main()
