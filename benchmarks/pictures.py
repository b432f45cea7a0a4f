"""Measure the worst that one picture costs: seconds and memory of every stage, for hostile shapes.

    python benchmarks/pictures.py [--only PATTERN] [--bot]

Each picture is made and measured in a process of its own, on one thread: decoding, the network's
input, the annotated picture with 1,000 boxes, both JPEG files, the fingerprint, and with --bot the
slowest filters of the bot. Seconds are of processor time. The time of the network is left out: it
depends on the input's shape alone. Memory is the peak of the process less what it needs before
the picture comes.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chalicelib.bot.captions import Blur, Rotate, SaltAndPepper
from chalicelib.bot.pictures import filtered
from chalicelib.errors import InvalidImage
from chalicelib.labels.fingerprint import fingerprint
from chalicelib.predictions.pictures import pictures_of
from chalicelib.vision import MAX_PIXELS, Detections, decode_image
from chalicelib.vision.letterbox import fill, fit

BOXES = 1000
FRAMED = ("PNG", "WEBP", "GIF")
INPUT = (640, 640)
NAME = "a class with a name of some length"
PNG = b"\x89PNG\r\n\x1a\n"
SHAPES = ((8944, 8944), (65_535, 1220), (1220, 65_535), (65_535, 1), (1, 65_535))
JPEG_SHAPES = ((8944, 8944), (65_500, 1), (1, 65_500), (65_500, 1220), (1220, 65_500))


def chunk(name: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    size: tuple[int, int], *, depth: int = 8, colour: int = 2, interlace: int = 0, more: bytes = b""
) -> bytes:
    """Return a PNG of zeros: the smallest file for so many pixels."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    width, height = size
    packer, packed = zlib.compressobj(9), b""
    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            line = bytes(1 + (columns * bits + 7) // 8)
            for _ in range(rows):
                packed += packer.compress(line)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    pixels = chunk(b"IDAT", packed + packer.flush())
    return PNG + chunk(b"IHDR", header) + palette + more + pixels + chunk(b"IEND", b"")


def relabelled(size: tuple[int, int]) -> bytes:
    """Return a PNG of 3x1 pixels whose header, with a right checksum, has another size."""
    data = png((3, 1))
    fields = struct.pack(">II", *size) + data[24:29]
    return PNG + chunk(b"IHDR", fields) + data[33:]


def noise(size: tuple[int, int], kind: str, mode: str = "RGB", **options: object) -> bytes:
    """Return a picture of noise, which costs decoders the most."""
    rng = np.random.default_rng(0)
    tile = rng.integers(0, 256, (min(size[1], 2048), min(size[0], 2048), 3), np.uint8)
    reps = (-(-size[1] // tile.shape[0]), -(-size[0] // tile.shape[1]), 1)
    pixels = np.tile(tile, reps)[: size[1], : size[0]]
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def many_scans(size: tuple[int, int], scans: int, mode: str = "L") -> bytes:
    """Return a flat progressive JPEG, not subsampled, whose last scan is repeated."""
    flat = io.BytesIO()
    Image.new(mode, size).save(flat, "JPEG", progressive=True, subsampling=0)
    data = flat.getvalue()
    last = data.rindex(b"\xff\xda")
    tables = data.rindex(b"\xff\xc4", 0, last)
    present = data.count(b"\xff\xda")
    return data[:-2] + data[tables:-2] * max(0, scans - present) + b"\xff\xd9"


def rle_bmp(size: tuple[int, int], run: int, *, bits: int = 8) -> bytes:
    """Return a BMP of RLE8 or RLE4 whose runs have so many pixels."""
    width, height = size
    count, rest = divmod(width, run)
    line = bytes((run, 1)) * count + (bytes((rest, 1)) if rest else b"") + b"\x00\x00"
    return bmp(size, bits, {8: 1, 4: 2}[bits], line * height + b"\x00\x01")


def bmp(size: tuple[int, int], bits: int, compression: int, pixels: bytes) -> bytes:
    """Return a BMP of such pixels; ``bits`` is 1, 4 or 8, with a black palette."""
    palette = bytes(4 << bits)
    start = 14 + 40 + len(palette)
    head = struct.pack(
        "<IiiHHIIiiII", 40, *size, 1, bits, compression, len(pixels), 0, 0, 1 << bits, 0
    )
    file_header = struct.pack("<2sIII", b"BM", start + len(pixels), 0, start)
    return file_header + head + palette + pixels


def exif_bomb(size: int) -> bytes:
    """Return EXIF whose 65,535 entries all point at the same megabytes."""
    entry = b"".join(struct.pack("<HHII", 40_000 + n % 20_000, 7, size, 8) for n in range(65_535))
    return b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 65_535) + entry + bytes(size)


def cases() -> dict[str, Callable[[], bytes]]:
    """Return what makes each picture, by name."""
    made: dict[str, Callable[[], bytes]] = {}
    for size in SHAPES:
        shape = f"{size[0]}x{size[1]}"
        made[f"PNG {shape} RGB"] = partial(png, size)
        made[f"PNG {shape} interlaced"] = partial(lambda size: png(size, interlace=1), size)
        made[f"PNG {shape} 16-bit RGBA"] = partial(lambda size: png(size, depth=16, colour=6), size)
        made[f"PNG {shape} 16-bit grey"] = partial(lambda size: png(size, depth=16, colour=0), size)
        made[f"PNG {shape} 1-bit"] = partial(lambda size: png(size, depth=1, colour=0), size)
        made[f"PNG {shape} palette"] = partial(lambda size: png(size, colour=3), size)
        made[f"PNG {shape} 16-bit RGBA interlaced"] = partial(
            lambda size: png(size, depth=16, colour=6, interlace=1), size
        )
        made[f"BMP {shape} RLE, runs of 255"] = partial(lambda size: rle_bmp(size, 255), size)
    made["JPEG 64x64, 50 MB of fill bytes"] = lambda: fill_bytes(50_000_000)
    made |= _jpegs() | _bmps() | _animations()
    made["BMP 65535x400 RLE, runs of 1"] = lambda: rle_bmp((65_535, 400), 1)
    made["BMP 8944x2800 RLE, runs of 1"] = lambda: rle_bmp((8944, 2800), 1)
    made["PNG 4000x4000 RGB noise"] = partial(noise, (4000, 4000), "PNG", compress_level=1)
    made["JPEG 8944x8944 progressive noise"] = lambda: noise(
        (8944, 8944), "JPEG", progressive=True, quality=75
    )
    made["WebP 8900x8900 noise"] = lambda: noise((8900, 8900), "WEBP", quality=50, method=0)
    made["WebP 16383x4882 flat, lossless"] = lambda: _flat_webp((16_383, 4882))
    made["PNG 9x9, EXIF of 65,535 entries of 8 MB"] = lambda: png(
        (9, 9), more=chunk(b"eXIf", exif_bomb(8_000_000))
    )
    made["PNG 9x9, text of 1 GB"] = lambda: png(
        (9, 9), more=chunk(b"zTXt", b"a\x00\x00" + _zeros(1_000_000_000))
    )
    made["PNG 9x9, profile of 1 GB"] = lambda: png(
        (9, 9), more=chunk(b"iCCP", b"a\x00\x00" + _zeros(1_000_000_000))
    )
    made["PNG 9x9, 4 million empty chunks"] = lambda: png(
        (9, 9), more=chunk(b"teXt", b"") * 4_000_000
    )
    made["PNG 1x79999999"] = lambda: relabelled((1, 79_999_999))
    made["PNG 65535x1220, of which a line is there"] = lambda: relabelled((65_535, 1220))
    made["JPEG 12 megapixels, as of a phone"] = lambda: noise((4000, 3000), "JPEG", quality=85)
    return made


def _jpegs() -> dict[str, Callable[[], bytes]]:
    made: dict[str, Callable[[], bytes]] = {}
    for size in JPEG_SHAPES:
        shape = f"{size[0]}x{size[1]}"
        made[f"JPEG {shape} noise"] = partial(noise, size, "JPEG", quality=85)
        made[f"JPEG {shape} 100 scans"] = partial(many_scans, size, 100)
        made[f"JPEG {shape} RGB, 100 scans"] = partial(many_scans, size, 100, "RGB")
        made[f"JPEG {shape} CMYK, 100 scans"] = partial(many_scans, size, 100, "CMYK")
        made[f"JPEG {shape} CMYK"] = partial(noise, size, "JPEG", "CMYK")
    return made


def fill_bytes(count: int) -> bytes:
    """Return a JPEG in whose scan so many fill bytes come, and no marker after them."""
    data = many_scans((64, 64), 1)
    return data[:-2] + b"\xff" * count + b"\x00" + data[-2:]


def _bmps() -> dict[str, Callable[[], bytes]]:
    """Return the BMPs that cost Pillow's decoder, which is written in Python, a step a pixel."""
    size = (8944, 8944)
    short_lines = b"\x01\x01\x00\x00" * size[1] + b"\x00\x01"
    overlong_line = b"\xff\x01" * 36 + b"\x01\x01" * 25_000_000
    return {
        "BMP 8944x8944 RLE, lines of one pixel": lambda: bmp(size, 8, 1, short_lines),
        "BMP 8944x8944 RLE4, runs of 255": lambda: rle_bmp(size, 255, bits=4),
        "BMP 8944x8944 RLE, a line of 50 MB": lambda: bmp(size, 8, 1, overlong_line),
        "BMP 8944x8944 1-bit": lambda: bmp(size, 1, 0, bytes(1120 * size[1])),
        "BMP 8944x8944 4-bit": lambda: bmp(size, 4, 0, bytes(4472 * size[1])),
        "BMP 4000x4000 RGB noise": partial(noise, (4000, 4000), "BMP"),
    }


def _animations() -> dict[str, Callable[[], bytes]]:
    def animated(kind: str) -> bytes:
        frames = [Image.new("RGB", (4000, 4000), (50 * shade, 0, 0)) for shade in range(5)]
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        return buffer.getvalue()

    return {f"{kind} 4000x4000, 5 frames": partial(animated, kind) for kind in FRAMED}


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(1_000_000)
    return b"".join(packer.compress(block) for _ in range(count // len(block))) + packer.flush()


def _flat_webp(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "WEBP", lossless=True, quality=0, method=0)
    return buffer.getvalue()


def peak_mb() -> float:
    """Return the most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def boxes(size: tuple[int, int]) -> Detections:
    """Return as many boxes as a caller may have drawn, all over a picture."""
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((BOXES, 2, 2)), axis=1).reshape(BOXES, 4) * (size * 2)
    count = np.zeros(BOXES, np.int64)
    return Detections(corners.astype(np.float32), rng.random(BOXES).astype(np.float32), count,
                      (NAME,), size)  # fmt: skip


def measure(data: bytes, with_bot: bool) -> dict[str, Any]:
    """Return the seconds of each stage and the peak of memory, or why the picture is refused."""
    png_file = png((64, 48))
    pictures_of(decode_image(png_file), Detections.empty((NAME,), (64, 48)))
    fingerprint(decode_image(png_file).image)
    before, spent = peak_mb(), {}

    def timed[Made](stage: str, make: Callable[[], Made]) -> Made:
        started = time.process_time()
        try:
            return make()
        finally:
            spent[stage] = time.process_time() - started

    def prepare() -> None:
        box = fit(picture.size, INPUT, 32, rect=True)
        fill(np.empty((3, *box.shape), np.float32), picture.image, box)

    refused = None
    try:
        picture = timed("decode", lambda: decode_image(data, max_pixels=MAX_PIXELS))
        timed("input", prepare)
        timed("fingerprint", lambda: fingerprint(picture.image))
        found = boxes(picture.size)
        timed("keep", lambda: pictures_of(picture, found))
    except InvalidImage as error:
        refused = error.detail
    kept_mb = peak_mb() - before
    if with_bot and "input" in spent:
        for wish in (Blur(), SaltAndPepper(), Rotate(90)):
            timed(type(wish).__name__, partial(filtered, wish, [data], MAX_PIXELS))
    return {"bytes": len(data), "spent": spent, "mb": kept_mb, "refused": refused,
            "bot_mb": peak_mb() - before}  # fmt: skip


def run(name: str, with_bot: bool) -> dict[str, Any]:
    """Make and measure one picture in a process of its own."""
    make = "import sys; from benchmarks import pictures; sys.stdout.buffer.write"
    root = Path(__file__).resolve().parents[1]
    data = subprocess.run(
        [sys.executable, "-c", f"{make}(pictures.cases()[sys.argv[1]]())", name],
        cwd=root, capture_output=True, check=True,
    ).stdout  # fmt: skip
    look = (
        "import sys, json; from benchmarks import pictures; "
        f"print(json.dumps(pictures.measure(sys.stdin.buffer.read(), {with_bot})))"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=root, input=data, capture_output=True,
                          check=False, timeout=600)  # fmt: skip
    if done.returncode:
        return {"bytes": len(data), "spent": {}, "mb": 0, "bot_mb": 0,
                "refused": f"died: {done.stderr[-300:]!r}"}  # fmt: skip
    return dict(json.loads(done.stdout))


def main() -> None:
    """Print a row for each picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="pattern of the names of pictures to measure")
    parser.add_argument("--bot", action="store_true", help="measure filters of the bot as well")
    options = parser.parse_args()
    wanted = re.compile(options.only)
    stages = ("decode", "input", "fingerprint", "keep", "Blur", "SaltAndPepper", "Rotate")
    columns = " | ".join(f"{stage} s" for stage in stages)
    print("| picture | file KB |", columns, "| MB | bot MB | |")
    print("| --- |" + " ---: |" * (len(stages) + 3) + " --- |")
    for name in cases():
        if wanted.search(name):
            row = run(name, options.bot)
            spent = [f"{row['spent'][s]:.2f}" if s in row["spent"] else "" for s in stages]
            memory = f"{row['mb']:.0f} | {row['bot_mb']:.0f}"
            cells = [name, row["bytes"] // 1000, *spent, memory, row["refused"] or ""]
            print("|", *cells[:1], *(f"| {cell}" for cell in cells[1:]), "|", flush=True)


if __name__ == "__main__":
    main()
