"""Damages pictures of every format and sends each through all that is done with pictures.

    python benchmarks/fuzz.py --count 20000 --seed 0

Every mutant has to be refused by an ``InvalidImage``, or to be a picture for every way in alike:
it is detected in, drawn on, kept, kept again from its own output, fingerprinted, imported in a ZIP
and filtered by the bot. Anything else is printed with the mutant's number and stored in a file.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from chalicelib.bot.captions import Rotate  # noqa: E402
from chalicelib.bot.pictures import filtered  # noqa: E402
from chalicelib.errors import InvalidImage  # noqa: E402
from chalicelib.labels.archive import Archive  # noqa: E402
from chalicelib.labels.fingerprint import fingerprint  # noqa: E402
from chalicelib.predictions.pictures import pictures_of  # noqa: E402
from chalicelib.vision import Detections, decode_image, image_size  # noqa: E402
from chalicelib.vision.letterbox import fill, fit  # noqa: E402

# A damaged header may promise a large picture: this keeps the time of a mutant small.
MAX_PIXELS = 1_000_000
SLOW_SECONDS = 10.0
SIZE = (48, 40)
PNG_START = 8

# What is damaged: the mode and format of each kind of file, and options of Pillow's encoder.
KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg grey": ("L", "JPEG", {}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "jpeg mpo": ("RGB", "MPO", {"save_all": True}),
    "jpeg exif": ("RGB", "JPEG", {"exif": True}),
    "png": ("RGB", "PNG", {}),
    "png palette": ("P", "PNG", {"transparency": 0}),
    "png alpha": ("RGBA", "PNG", {}),
    "png 16 bit": ("I;16", "PNG", {}),
    "png bilevel": ("1", "PNG", {}),
    "png exif": ("RGB", "PNG", {"exif": True}),
    "apng": ("RGB", "PNG", {"save_all": True}),
    "webp": ("RGB", "WEBP", {}),
    "webp alpha": ("RGBA", "WEBP", {"lossless": True}),
    "webp exif": ("RGB", "WEBP", {"exif": True}),
    "webp animated": ("RGB", "WEBP", {"save_all": True}),
    "bmp": ("RGB", "BMP", {}),
    "bmp palette": ("P", "BMP", {}),
    "bmp alpha": ("RGBA", "BMP", {}),
}

# Each format's name begins the names of its kinds, but for an animated PNG's.
FORMATS = ("jpeg", "png", "webp", "bmp")


def shares(file_format: str, count: int) -> dict[str, int]:
    """Return how many mutants of each kind make up so many of a format.

    >>> shares("bmp", 20)
    {'bmp': 7, 'bmp palette': 7, 'bmp alpha': 6}
    """
    kinds = [kind for kind in KINDS if file_format in kind.split()[0]]
    each, left = divmod(count, len(kinds))
    return {kind: each + (place < left) for place, kind in enumerate(kinds)}


def original(kind: str) -> bytes:
    """Return an undamaged file of a kind."""
    mode, file_format, given = KINDS[kind]
    pictures = [_photo(seed) for seed in (0, 1)]
    first = pictures[0].convert("L").convert(mode) if mode == "I;16" else pictures[0].convert(mode)
    options = dict(given)
    if options.pop("exif", False):
        exif = Image.Exif()
        exif.update({0x0112: 6, 0x010E: "a photo", 0x0131: "a camera"})
        options["exif"] = exif
    if options.get("save_all"):
        options["append_images"] = pictures[1:]
    buffer = io.BytesIO()
    first.save(buffer, file_format, **options)
    return buffer.getvalue()


def _photo(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def mutant(rng: random.Random, data: bytes) -> bytes:
    """Return a damaged copy.

    Of half the PNGs the checksums are right, so that more is decoded; of a quarter the damage is
    to the lines before they are compressed: to filters, lengths and samples.
    """
    is_png = data.startswith(b"\x89PNG\r\n")
    if is_png and rng.random() < 0.25:
        return _with_damaged_lines(rng, data)
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if damaged:
            rng.choice(MUTATIONS)(rng, damaged)
    if is_png and rng.random() < 0.5:
        _correct_checksums(damaged)
    return bytes(damaged)


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        data[rng.randrange(len(data))] = rng.randrange(256)


def _flip_header(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 2, 4])):
        data[rng.randrange(min(len(data), 100))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice([1, 2, 4, 100]))


def _cut(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 2, 4, 100])]


def _repeat(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.choice([4, 64, 1000])]


MUTATIONS = (_flip, _flip_header, _truncate, _insert, _cut, _repeat)


def _with_damaged_lines(rng: random.Random, data: bytes) -> bytes:
    """Return a PNG with damaged lines, and in a third of cases a wrong field of its header."""
    chunks = list(_chunks(data))
    lines = bytearray(zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT")))
    rng.choice(MUTATIONS)(rng, lines)
    header = bytearray(chunks[0][1])
    if rng.random() < 1 / 3:
        header[rng.randrange(len(header))] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
    damaged, is_written = bytearray(data[:PNG_START]), False
    for name, body in [(b"IHDR", bytes(header)), *chunks[1:]]:
        if name == b"IDAT" and is_written:
            continue
        is_written |= name == b"IDAT"
        content = zlib.compress(lines) if name == b"IDAT" else body
        damaged += len(content).to_bytes(4) + name + content + bytes(4)
    _correct_checksums(damaged)
    return bytes(damaged)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk of a sound PNG."""
    place = PNG_START
    while place < len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4])
        yield data[place + 4 : place + 8], data[place + 8 : end]
        place = end + 4


def _correct_checksums(data: bytearray) -> None:
    place = PNG_START
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end <= len(data):
            data[end - 4 : end] = zlib.crc32(data[place + 4 : end - 4]).to_bytes(4)
        place = end


def check(data: bytes) -> bool:
    """Send a file through all ways in; return whether it is a picture.

    Raises
    ------
    AssertionError
        One way takes it and another does not.
    Exception
        Whatever is unexpected.
    """
    is_picture = _is_taken(data)
    assert _is_taken_in_zip(data) == is_picture, "an import says otherwise"
    try:
        filtered(Rotate(90), [data], MAX_PIXELS)
    except InvalidImage:
        assert not is_picture, "the bot says otherwise"
    else:
        assert is_picture, "the bot says otherwise"
    return is_picture


def _is_taken(data: bytes) -> bool:
    try:
        picture = decode_image(data, max_pixels=MAX_PIXELS)
    except InvalidImage as error:
        assert error.detail
        return False
    assert picture.image.mode == "RGB"
    assert image_size(data, max_pixels=MAX_PIXELS) == picture.size == picture.image.size
    box = fit(picture.size, (64, 64), 32, rect=True)
    fill(np.empty((3, *box.shape), np.float32), picture.image, box)
    fingerprint(picture.image)
    kept = pictures_of(picture, _one_box(picture.size))
    for file in (kept.image, kept.annotated):
        again = decode_image(file, max_pixels=MAX_PIXELS)
        assert again.size == picture.size, "what is kept has another size"
        assert again.jpeg == file, "what is kept has metadata"
    if picture.jpeg:
        same = decode_image(kept.image).image.tobytes() == picture.image.tobytes()
        assert same, "what is kept has other pixels"
    return True


def _one_box(size: tuple[int, int]) -> Detections:
    corners = np.array([[0, 0, *size]], np.float32)
    return Detections(corners, np.ones(1, np.float32), np.zeros(1, np.int64), ("a",), size)


def _is_taken_in_zip(data: bytes) -> bool:
    from chalicelib.labels.archive_directory import Limits  # noqa: PLC0415

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", data)
        archive.writestr("a.txt", "")
    return Archive(buffer, ("a",), Limits(pixels=MAX_PIXELS)).check().sound


def fuzz(kind: str, count: int, seed: int, folder: Path | None = None) -> Counter[str]:
    """Check so many mutants of a kind; return how many were taken, refused, wrong and slow."""
    data, rng, outcome = original(kind), random.Random(f"{seed} {kind}"), Counter[str]()
    for number in range(count):
        damaged = mutant(rng, data)
        started = time.perf_counter()
        try:
            outcome["taken" if check(damaged) else "refused"] += 1
        except Exception as error:  # noqa: BLE001 - any is what is looked for
            outcome["wrong"] += 1
            print(f"{kind} {number} of seed {seed}: {type(error).__name__}: {error}", flush=True)
            if folder:
                (folder / f"{kind}-{seed}-{number}".replace(" ", "-")).write_bytes(damaged)
        outcome["slow"] += time.perf_counter() - started > SLOW_SECONDS
    return outcome


def main() -> None:
    """Print a row for each kind and format; exit with 1 where anything unexpected was raised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="mutants of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=FORMATS, help="only this format")
    parser.add_argument("--failures", type=Path, help="folder for mutants that went wrong")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of Pillow, about damaged files
    wrong = 0
    for file_format in [given.format] if given.format else FORMATS:
        outcome = Counter[str]()
        for kind, count in shares(file_format, given.count).items():
            row = fuzz(kind, count, given.seed, given.failures)
            print(f"  {kind}: {dict(row)}", flush=True)
            outcome += row
        wrong += outcome["wrong"] + outcome["slow"]
        print(f"{file_format}: {given.count} of seed {given.seed}, {dict(outcome)}", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
